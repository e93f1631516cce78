/**
 * Pages as the calls have made them: whom each belongs to, who may use it beside its owner, and how often it is mapped for
 * DMA. Of a pool's pages it is known that they are the hypervisor's and which pool they were given to, not whether they are
 * free.
 */

import { VM_HANDLE_BASE } from '#hypercall-abi';
import { type PhysicalMemory, StateClass } from '#machine/memory';
import { type Facts, PAGE, TWO32 } from './facts.ts';
import { JournaledTable } from './journaled-table.ts';

/** Whom a page belongs to. */
export const Owner = { host: 0, hyp: 1, guest: 2 } as const;
export const OWNER_NAMES = ['host', 'hypervisor', 'guest'] as const;

const OWNER_MASK = 3;
const SHARED_HYP = 4;
const VM_SHIFT = 8;
const PIN_SHIFT = 16;

/** Pages that are counted together: as many as a block of the host's stage 2 covers. */
const GROUP_LOG2 = 9;
const GROUP = 1 << GROUP_LOG2;

/** Use of a device page for DMA: a page that was mapped once never changes hands again. */
export const DeviceUse = { none: 0, asked: 1, mapped: 2 } as const;

export class GhostPages {
  /** Pages that lose a leaf from now on stay referenced: the hardware does not answer the invalidation. */
  losing = false;
  private readonly memory: PhysicalMemory;
  private readonly state: number;
  /** By group of pages: how many of them are not the host's. */
  private readonly foreign: number;
  private readonly dma: number;
  private readonly shares: number;
  private readonly pools: number;
  private readonly devicePages: JournaledTable;

  constructor({ memory, pages }: Facts) {
    const file = (words: number): number => memory.allocFile(words, StateClass.derived);
    this.memory = memory;
    this.state = file(pages);
    this.foreign = file((pages >>> GROUP_LOG2) + 1);
    this.dma = file(pages);
    this.shares = file(pages);
    this.pools = file(2);
    this.devicePages = new JournaledTable(memory, 1);
  }

  private add(at: number, delta: number): void {
    this.memory.put(at, this.memory.words[at]! + delta);
  }

  owner(page: number): number {
    return this.memory.words[this.state + page]! & OWNER_MASK;
  }

  /** How many of `count` pages from `page` on belong to `owner`, up to the first that does not. */
  ownedRun(page: number, count: number, owner: number): number {
    const { words } = this.memory;
    const first = this.state + page;
    let n = 0;
    for (; n < count; n++) {
      const begins = owner === Owner.host && ((page + n) & (GROUP - 1)) === 0 && n + GROUP <= count;
      if (begins && words[this.foreign + ((page + n) >>> GROUP_LOG2)] === 0) n += GROUP - 1;
      else if ((words[first + n]! & OWNER_MASK) !== owner) break;
    }
    return n;
  }

  /** Slot of the VM that has the page, when {@link owner} is guest; of the hypervisor's: its pool, plus 1. */
  ownerVm(page: number): number {
    return (this.memory.words[this.state + page]! >>> VM_SHIFT) & 0xff;
  }

  /** The page's owner in words. */
  ownerName(page: number): string {
    const owner = this.owner(page);
    return owner === Owner.guest
      ? `guest 0x${(VM_HANDLE_BASE + this.ownerVm(page)).toString(16)}`
      : OWNER_NAMES[owner]!;
  }

  setOwner(page: number, owner: number, vm = 0): void {
    this.leavePool(page);
    this.putOwner(page, owner, vm);
  }

  private putOwner(page: number, owner: number, more: number): void {
    const change = (owner === Owner.host ? 0 : 1) - (this.owner(page) === Owner.host ? 0 : 1);
    this.memory.put(this.state + page, owner | (more << VM_SHIFT));
    if (change !== 0) this.add(this.foreign + (page >>> GROUP_LOG2), change);
  }

  /** The page is the hypervisor's from now on, and in that pool. */
  giveToPool(page: number, pool: number): void {
    this.leavePool(page);
    this.putOwner(page, Owner.hyp, pool + 1);
    this.add(this.pools + pool, 1);
  }

  /** The pool that a page of the hypervisor's was given to, or -1. */
  poolOf(page: number): number {
    return this.owner(page) === Owner.hyp ? this.ownerVm(page) - 1 : -1;
  }

  private leavePool(page: number): void {
    const pool = this.poolOf(page);
    if (pool >= 0) this.add(this.pools + pool, -1);
  }

  /** Whether a page of the hypervisor's was given to a pool. */
  isInPool(page: number): boolean {
    return this.poolOf(page) >= 0;
  }

  /** Pages that were given to a pool and not given back. */
  poolPages(pool: number): number {
    return this.memory.words[this.pools + pool]!;
  }

  /** Whether the host has it, and nobody else may touch it. */
  isHostAlone(page: number): boolean {
    return (this.memory.words[this.state + page]! & (OWNER_MASK | SHARED_HYP)) === 0 && this.shareCount(page) === 0;
  }

  /** Whether the page is the host's, shared with nobody and not pinned. */
  isPlain(page: number): boolean {
    const { words } = this.memory;
    return words[this.state + page] === 0 && words[this.shares + page] === 0;
  }

  /** Whether the page is the host's, shared with nobody, and neither mapped for DMA nor pinned. */
  isUntouched(page: number): boolean {
    const { words } = this.memory;
    return words[this.state + page] === 0 && words[this.dma + page] === 0 && words[this.shares + page] === 0;
  }

  isSharedWithHyp(page: number): boolean {
    return (this.memory.words[this.state + page]! & SHARED_HYP) !== 0;
  }

  setSharedWithHyp(page: number, shared: boolean): void {
    const at = this.state + page;
    this.memory.put(at, shared ? this.memory.words[at]! | SHARED_HYP : this.memory.words[at]! & ~SHARED_HYP);
  }

  /** How often the page is pinned for good: the hardware itself writes there. */
  pins(page: number): number {
    return this.memory.words[this.state + page]! >>> PIN_SHIFT;
  }

  addPin(page: number): void {
    this.add(this.state + page, 1 << PIN_SHIFT);
  }

  /** How many leaves of all domains lead to the page. */
  dmaCount(page: number): number {
    return this.memory.words[this.dma + page]!;
  }

  /** What the page's reference count must be while the host has it. */
  references(page: number): number {
    return this.dmaCount(page) + this.pins(page);
  }

  /** Times the page is shared with guests, as the 32 bits of its record. */
  shareCount(page: number): number {
    return this.memory.words[this.shares + page]! >>> 0;
  }

  addShare(page: number, delta: number): void {
    this.add(this.shares + page, delta);
  }

  /** A leaf that leads to `count` pages from `page` on is there (`sign` 1) or gone (-1). @param touched is told of each page */
  countLeaf(page: number, count: number, sign: number, touched: (page: number) => void): void {
    if (count === 1) this.add(this.dma + page, sign);
    else this.memory.addRun(this.dma + page, count, sign);
    for (let at = page; at < page + count; at++) {
      if (sign < 0 && this.losing) this.addPin(at);
      touched(at);
    }
  }

  // ---- device pages

  /** The device page at `pa` was asked for in a mapping for DMA; `mapped` when it was made ready for that, for good. */
  useDevicePage(pa: number, mapped: boolean): void {
    const at = this.devicePages.insert((pa / PAGE) | 0, (pa / PAGE / TWO32) | 0);
    const use = mapped ? DeviceUse.mapped : DeviceUse.asked;
    if (this.memory.words[at]! < use) this.memory.put(at, use);
  }

  /** What became of the device page at `pa` so far: one of {@link DeviceUse}. */
  deviceUse(pa: number): number {
    const at = this.devicePages.find((pa / PAGE) | 0, (pa / PAGE / TWO32) | 0);
    return at < 0 ? DeviceUse.none : this.memory.words[at]!;
  }

  /** Calls `visit` with each device page that was ever asked for. */
  forEachDevicePage(visit: (pa: number) => void): void {
    this.devicePages.forEach((low, high) => {
      visit(((low >>> 0) + high * TWO32) * PAGE);
    });
  }
}
