/**
 * Watches a session and writes down, in order, what happened inside one step: entries that were removed while the SMMU
 * may still hold them, commands, SYNCs, DMA references and owners of pages, events, accesses of devices. Facts, no
 * judgement: the oracles judge, the narrator tells.
 */
import { hypLayout, PageState } from '#hyp/layout';
import { type EventRecord, PAGE_SIZE, type StaleEntry, type WriteObserver } from '#machine';
import { commandName, commandOpcode } from '../oracle/decode/command.ts';
import type { Session } from '../session/session.ts';

/** Something that happened. Addresses and sizes in bytes. */
export type Fact =
  | { readonly kind: 'removed'; readonly entry: StaleEntry; readonly pa: number }
  | {
      readonly kind: 'command';
      readonly name: string;
      readonly waiting: number;
      /** What may still be cached after it, what it covers marked as pending. */
      readonly held: readonly StaleEntry[];
    }
  | {
      readonly kind: 'sync';
      readonly dropped: number;
      readonly left: number;
      readonly held: readonly StaleEntry[];
    }
  | {
      readonly kind: 'references';
      readonly pa: number;
      readonly from: number;
      readonly to: number;
      /** The page is shared: what is counted is a pin of the hypervisor, not a mapping for DMA. */
      readonly pin: boolean;
      /** Whether a translation of this page that was removed may still be cached at this moment. */
      readonly cached: boolean;
    }
  | { readonly kind: 'owner'; readonly pa: number; readonly from: string; readonly to: string }
  | { readonly kind: 'event'; readonly event: EventRecord; readonly recorded: boolean };

const CMD_SYNC = 0x46;
const REFCOUNT_MASK = 0xffff;
const HOST_STATE_SHIFT = 24;
const STATE_MASK = 0xf;
const RECORD_SIZE = 8;

const STATE_NAMES: Readonly<Record<number, string>> = {
  [PageState.owned]: "the host's",
  [PageState.sharedOwned]: "the host's, shared",
  [PageState.sharedBorrowed]: 'lent to the host',
  [PageState.noPage]: "not the host's",
};

/** Records until it is told to stop; facts are taken step by step. */
export class Recorder implements WriteObserver {
  /** Called in the middle of a step, at each fact with its number in the step from 0: to look at the machine there. */
  onFact: ((fact: Fact, index: number) => void) | null = null;
  private facts: Fact[] = [];
  private known = new Map<string, StaleEntry>();
  private readonly session: Session;
  private readonly vmemmap: number;
  private readonly vmemmapEnd: number;
  /** The observer's bit: see `PhysicalMemory.watch`. */
  private readonly bit: number;

  constructor(session: Session) {
    this.session = session;
    const { memory, description, smmus } = session.machine;
    this.vmemmap = hypLayout(description, session.profile).vmemmap;
    const pages = description.ram.reduce((sum, { size }) => sum + size / PAGE_SIZE, 0);
    this.vmemmapEnd = this.vmemmap + pages * RECORD_SIZE;
    this.bit = memory.observe(this);
    for (let pa = this.vmemmap; pa < this.vmemmapEnd; pa += PAGE_SIZE) memory.watch(pa, this.bit);
    this.watchGivenPages();
    for (const smmu of smmus) {
      smmu.observer = {
        command: (_index, _hi0, lo0) => this.command(commandOpcode(lo0)),
        event: (event, recorded) => this.push({ kind: 'event', event, recorded }),
      };
    }
    this.refresh();
    this.facts = [];
  }

  /** The facts since the last call, and begins anew. */
  take(): readonly Fact[] {
    this.refresh();
    const { facts } = this;
    this.facts = [];
    return facts;
  }

  wrote(pa: number, _slot: number, oldHi: number, oldLo: number, _newHi: number, newLo: number): void {
    if (pa < this.vmemmap || pa >= this.vmemmapEnd) {
      // A page that the hypervisor was given: an entry may have gone just now. Nothing can go where nothing stood.
      if ((oldHi | oldLo) !== 0) this.refresh();
      return;
    }
    const page = this.pageOf((pa - this.vmemmap) / RECORD_SIZE);
    const from = oldLo & REFCOUNT_MASK;
    const to = newLo & REFCOUNT_MASK;
    const fromState = (oldLo >>> HOST_STATE_SHIFT) & STATE_MASK;
    const toState = (newLo >>> HOST_STATE_SHIFT) & STATE_MASK;
    // Pages of the hypervisor's own pools are counted too; they say nothing about DMA.
    if (from !== to && fromState !== PageState.noPage) {
      this.refresh();
      const pin = fromState !== PageState.owned;
      this.push({ kind: 'references', pa: page, from, to, pin, cached: this.isCached(page) });
    }
    if (fromState !== toState) {
      this.push({ kind: 'owner', pa: page, from: stateName(fromState), to: stateName(toState) });
      if (toState === PageState.noPage) this.session.machine.memory.watch(page, this.bit);
    }
  }

  /**
   * Watches what the host has given away before: the stream table, and whatever else of the SMMU's stands there. Pages
   * that are given later are watched from then on.
   */
  private watchGivenPages(): void {
    const { memory, description } = this.session.machine;
    const { base, size } = description.carveOut;
    for (let pa = this.vmemmap; pa < this.vmemmapEnd; pa += RECORD_SIZE) {
      if (((memory.read32(pa) >>> HOST_STATE_SHIFT) & STATE_MASK) !== PageState.noPage) continue;
      const page = this.pageOf((pa - this.vmemmap) / RECORD_SIZE);
      if (page < base || page >= base + size) memory.watch(page, this.bit);
    }
  }

  private push(fact: Fact): void {
    this.facts.push(fact);
    if (this.onFact !== null) this.onFact(fact, this.facts.length - 1);
  }

  private pageOf(index: number): number {
    let rest = index;
    for (const { base, size } of this.session.machine.description.ram) {
      if (rest < size / PAGE_SIZE) return base + rest * PAGE_SIZE;
      rest -= size / PAGE_SIZE;
    }
    throw new RangeError(`no page ${index} in the vmemmap`);
  }

  /** Whether a removed leaf that led to this page may still be held. */
  private isCached(page: number): boolean {
    return [...this.known.values()].some((entry) => {
      const pa = leafPa(entry);
      return pa >= 0 && page >= pa && page < pa + entry.size;
    });
  }

  private command(opcode: number): void {
    const before = this.known.size;
    this.refresh();
    const held = [...this.known.values()];
    if (opcode === CMD_SYNC) {
      this.push({ kind: 'sync', dropped: Math.max(0, before - held.length), left: held.length, held });
    } else {
      const waiting = held.filter(({ pending }) => pending).length;
      this.push({ kind: 'command', name: commandName(opcode), waiting, held });
    }
  }

  /** Bring the list of what may still be cached up to date; what is new in it was removed just now. */
  private refresh(): void {
    const now = new Map<string, StaleEntry>();
    const before = this.known;
    for (const smmu of this.session.machine.smmus) {
      for (const entry of smmu.stale()) {
        const key = `${entry.kind}:${entry.at}:${entry.iova}:${entry.oldHi}:${entry.oldLo}:${entry.sid}:${entry.asid}:${entry.vmid}`;
        now.set(key, entry);
        if (!before.has(key)) this.push({ kind: 'removed', entry, pa: leafPa(entry) });
      }
    }
    this.known = now;
  }
}

/** Output address of a removed leaf; -1 for another kind of entry. */
export function leafPa({ kind, oldHi, oldLo }: StaleEntry): number {
  return kind === 'leaf' ? (oldHi & 0xffff) * 4294967296 + ((oldLo & 0xfffff000) >>> 0) : -1;
}

function stateName(state: number): string {
  return STATE_NAMES[state] ?? `state ${state}`;
}
