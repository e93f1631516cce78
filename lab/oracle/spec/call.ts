/**
 * One call as the specification sees it: the registers before, the ghost and the memory it is judged on, the outcome.
 * One object serves all calls. Numbers in registers are exact: what does not fit a JS number is compared as words.
 */

import { POOL_ORDER_MAX } from '#hyp/layout';
import { type GuestExit, getBig, getNumber, getSigned, RequestType } from '#hypercall-abi';
import { DescriptorKind, descriptorKind, nextTableAddress } from '../decode/index.ts';
import { type Facts, PAGE } from '../facts.ts';
import type { Ghost } from '../ghost.ts';
import { Owner } from '../ghost-pages.ts';
import type { LayoutReader } from '../layout-reader.ts';
import { LEAF_BYTES } from '../maplets.ts';
import type { Monitor } from '../monitor.ts';

const TWO53 = 9007199254740992;
const TWO64 = 18446744073709551616n;

export class Call {
  readonly facts: Facts;
  readonly ghost: Ghost;
  readonly reader: LayoutReader;
  readonly monitor: Monitor;
  /** Registers as the call was made; good until the next call. */
  readonly x = new Int32Array(16);
  cpu = 0;

  // ---- the outcome, once the call has returned
  errno = 0;
  value = 0;
  /** The request as (type, pages), types as android17 numbers them; 0 is no request, -1 what is none of them. */
  requestType = 0;
  requestPages = 0;
  /** Why a guest's call ended in the host; null for the host's own calls, and when the guest went on. */
  exit: GuestExit | null = null;
  /** Registers as the call left them. */
  after: Int32Array = this.x;

  /** Whether the call has ended, and others have gone on since: memory is not what it found. */
  isAfterwards = false;
  /** Words that the call has fetched already, by address, as they were then: for a call that overlapped with others. */
  fetched: ReadonlyMap<number, number> | null = null;
  /** Whether no other call overlapped with it: what was touched is its own doing. */
  isAlone = true;

  // ---- what a call's preparation found; meaning depends on the call
  verdict = 0;
  size = 0;
  planned = 0;
  plannedErrno = 0;
  slot = 0;
  page = 0;

  constructor(facts: Facts, ghost: Ghost, reader: LayoutReader, monitor: Monitor) {
    this.facts = facts;
    this.ghost = ghost;
    this.reader = reader;
    this.monitor = monitor;
  }

  // ---- registers

  u32(n: number): number {
    return this.x[2 * n]! >>> 0;
  }

  i32(n: number): number {
    return this.x[2 * n]!;
  }

  lo(n: number): number {
    return this.x[2 * n]!;
  }

  hi(n: number): number {
    return this.x[2 * n + 1]!;
  }

  /** x[n]; exact below 2^53, and for multiples of 4096 up to 2^64. */
  number(n: number): number {
    return getNumber(this.x, n);
  }

  /** x[a] * x[b], or -1 when that or the sum of it with x[base1] (x[base2]) does not fit 64 bits. */
  fittingProduct(a: number, b: number, base1: number, base2: number): number {
    const quick = this.number(a) * this.number(b);
    if (quick < TWO53 && this.hi(base1) >= 0 && this.hi(base2) >= 0) return quick;
    const size = getBig(this.x, a) * getBig(this.x, b);
    if (size >= TWO64 || getBig(this.x, base1) + size >= TWO64 || getBig(this.x, base2) + size >= TWO64) return -1;
    return Number(size);
  }

  /** Whether x[a] + x[b] fits 64 bits. */
  sumFits(a: number, b: number): boolean {
    return getBig(this.x, a) + getBig(this.x, b) < TWO64;
  }

  /** Whether x[n] has none of the bits of x[size] - 1: a multiple of it, if that is a power of two. */
  isMultiple(n: number, size: number): boolean {
    const lo = this.lo(size);
    const hi = this.hi(size);
    const maskHi = lo === 0 ? (hi - 1) | 0 : hi;
    return (this.lo(n) & (lo - 1)) === 0 && (this.hi(n) & maskHi) === 0;
  }

  // ---- the outcome

  /** Read what came back. `errnoRegister` is where the errno stands, 0 or 1; -1 when there is none. */
  returned(after: Int32Array, errnoRegister: number, hasRequest: boolean): void {
    this.after = after;
    this.errno = errnoRegister < 0 ? 0 : getSigned(after, errnoRegister);
    this.value = getNumber(after, 1);
    this.requestType = 0;
    this.requestPages = 0;
    if (hasRequest) this.readRequest(after);
  }

  private readRequest(after: Int32Array): void {
    if (this.facts.profile.request === 'x2') {
      this.requestType = after[4]! & 0xff;
      this.requestPages = ((after[4]! >>> 8) | ((after[5]! & 0xff) << 24)) >>> 0;
    } else if (after[4] === (1 | (1 << 8)) && after[5] === 0 && after[7] === PAGE) {
      this.requestType = RequestType.heap;
      this.requestPages = after[6]! >>> 0;
    } else if (after[4] === (1 | (3 << 8)) && after[5] === 0 && after[6] === 1) {
      this.requestType = RequestType.iommu;
      this.requestPages = (after[7]! >>> 0) / PAGE;
    } else if (after[4] !== 0 || after[5] !== 0) {
      this.requestType = -1;
    }
  }

  /**
   * Whether a pool had no block of that order (nor a larger one) left. Of a call that overlapped with others nobody knows
   * what was left when it asked: memory may always run out.
   */
  poolLacks(pool: number, order: number): boolean {
    if (this.isAfterwards) return true;
    for (let o = order; o <= POOL_ORDER_MAX; o++) if (this.reader.poolHead(pool, o) !== 0) return false;
    return true;
  }

  /** Whether an SMMU leaves commands unanswered that it is given: it is on, and consumes none. */
  isUnanswered(smmu: number): boolean {
    const isKnown = smmu < this.facts.description.smmus.length && !this.ghost.smmuOff(smmu);
    if (!isKnown || this.facts.answers(smmu)) return false;
    this.ghost.mayLeak();
    return true;
  }

  /** Whether a page cannot leave the host now: an SMMU that may hold it in the identity domain does not answer. */
  identityIsUnanswered(): boolean {
    return this.facts.identitySmmus.some((i) => this.ghost.identityStreams(i) !== 0 && this.isUnanswered(i));
  }

  /** Whether an SMMU that may hold translations of a domain leaves invalidations unanswered. */
  domainIsUnanswered(id: number): boolean {
    const { profile, description } = this.facts;
    if (profile.domainSmmus === 'one') return this.isUnanswered(this.ghost.domainSmmu(id));
    return description.smmus.some((_, i) => this.ghost.domainStreams(id, i) > 0 && this.isUnanswered(i));
  }

  /** Have `effect` on the ghost, where what is unmapped in the domain may not be invalidated. */
  unmapIn(id: number, effect: () => void): void {
    this.ghost.pages.losing = this.domainIsUnanswered(id);
    effect();
    this.ghost.pages.losing = false;
  }

  // ---- effects

  /** A page's record is to be looked at after the call. Bound, to be handed on. */
  readonly touch = (page: number): void => {
    this.monitor.touched.pages.add(page);
  };

  /** Device pages [pa, pa + size) were asked for in a mapping; the first `mapped` bytes were made ready for it. */
  useDevicePages(pa: number, size: number, mapped: number): void {
    for (let done = 0; done < size; done += PAGE) {
      this.ghost.pages.useDevicePage(pa + done, done < mapped);
      this.monitor.touched.devicePages.push(pa + done);
    }
  }

  /** The page belongs to somebody else from now on. */
  setOwner(page: number, owner: number, vm = 0): void {
    const wasGuests = this.ghost.pages.owner(page) === Owner.guest;
    this.ghost.pages.setOwner(page, owner, vm);
    if (wasGuests && owner === Owner.host) this.monitor.releases.checkLeftGuest(page);
    this.monitor.touched.owners.add(page);
    this.touch(page);
    if (owner !== Owner.host) this.monitor.releases.checkUnreached(page, 'given-away');
  }

  /** The host's page is the hypervisor's from now on, in that pool. */
  giveToPool(page: number, pool: number): void {
    this.setOwner(page, Owner.hyp);
    this.ghost.pages.giveToPool(page, pool);
  }

  /** Pages of a pool that a call could give at most; all that it can hold, of a call that overlapped with others. */
  freePages(pool: number): number {
    return this.isAfterwards ? this.facts.pages : this.reader.poolFreePages(pool);
  }

  /** The word at `pa`, in memory that the host may still write: as the call has found it. Unsigned. */
  hostWord(pa: number): number {
    return (this.fetched?.get(pa) ?? this.facts.memory.read32(pa)) >>> 0;
  }

  /** Whether a page is all zero from byte `from` on. */
  isZero(page: number, from = 0): boolean {
    return this.facts.memory.isZeroFrom(this.facts.paOf(page) + from);
  }

  /** Whether the tables of a domain have, at the slot of `level` for `iova`, a pointer to a further table. */
  hasTable(id: number, iova: number, level: number): boolean {
    return this.kindAt(id, iova, level) === DescriptorKind.table;
  }

  /** What the domain's tables have at the slot of `level`: one of DescriptorKind; invalid when they do not reach it. */
  private kindAt(id: number, iova: number, level: number): number {
    const { facts, ghost } = this;
    const { startLevel } = facts.geometry(ghost.domainSmmu(id), ghost.domainStage(id));
    let table = this.reader.domainRoot(id);
    for (let current = startLevel; current <= level; current++) {
      const number = Math.floor(iova / LEAF_BYTES[current]!);
      const at = table + 8 * (current === startLevel ? number : number % 512);
      if (facts.pageOf(at) < 0) return DescriptorKind.invalid;
      const i = facts.memory.indexOf(at);
      const lo = facts.memory.words[i]!;
      const hi = facts.memory.words[i + 1]!;
      const kind = descriptorKind(current, hi, lo);
      if (current === level || kind !== DescriptorKind.table) return current === level ? kind : DescriptorKind.invalid;
      table = nextTableAddress(hi, lo);
    }
    return DescriptorKind.invalid;
  }
}
