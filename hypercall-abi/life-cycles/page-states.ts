/**
 * What the tracker knows of each page: the set of states that it may be in, as a bit mask over the states of the page's
 * life cycle, and a count (DMA mappings, or guests it is shared with). Registers do not show everything, so knowledge is
 * a set; an event is judged against all of it, and is a violation only where no possible state allows it.
 *
 * A page that no event has touched is the host's or, since boot, the hypervisor's. Addresses are in bytes; pages lie in
 * chunks of 16 MiB, made when they are first touched.
 */

import { anyOf, eventsIn, type Move, moveOf, rulesFor, setOf, statesIn } from './possible.ts';
import { pageLifeCycle } from './tables.ts';

const PAGE = 4096;
const CHUNK_PAGES = 4096;
/** Low bits of a page's word hold the mask, the others the count. */
const MASK_BITS = 8;
const ONE = 1 << MASK_BITS;
/** A count that is not known any more. */
const LOOSE = 0x7fffff;
/** No address of the model reaches this. */
const PA_LIMIT = 2 ** 52;

const bit = (state: string) => setOf(pageLifeCycle, state);
const move = (...names: readonly string[]) => moveOf(pageLifeCycle, ...names);
const HOST_OWNED = bit('hostOwned');
const HOST_DMA = bit('hostDma');
const HYP_OWNED = bit('hypOwned');
const GUEST_OWNED = bit('guestOwned');
const GUEST_DMA = bit('guestDma');
const SHARED_GUEST = bit('sharedGuest');
const UNTOUCHED = HOST_OWNED | HYP_OWNED;
const ANY = anyOf(pageLifeCycle);

/** A move whose event depends on a count: none yet (or one left), more, or unknown. */
interface CountedMove {
  /** The state in which the count counts. */
  readonly state: number;
  readonly edge: Move;
  readonly inner: Move;
  readonly loose: Move;
}

function counted(state: number, edge: string, inner: string, other: readonly string[] = []): CountedMove {
  return {
    state,
    edge: move(...other, edge),
    inner: move(...other, inner),
    loose: move(...other, edge, inner),
  };
}

const MAP = counted(HOST_DMA, 'MAP_FIRST', 'MAP');
const UNMAP = counted(HOST_DMA, 'UNMAP_LAST', 'UNMAP');
/** Whether a VM is protected stands in memory: its pages are donated, or else shared. */
const GIVE_GUEST = counted(SHARED_GUEST, 'SHARE_GUEST_FIRST', 'SHARE_GUEST', ['DONATE_GUEST']);
const GUEST_MAP = counted(GUEST_DMA, 'GUEST_MAP_FIRST', 'GUEST_MAP');
const GUEST_UNMAP = counted(GUEST_DMA, 'GUEST_UNMAP_LAST', 'GUEST_UNMAP');
const UNSHARE_GUEST = counted(SHARED_GUEST, 'UNSHARE_GUEST_LAST', 'UNSHARE_GUEST');

/** Moves that registers tell exactly, and that no count goes with. */
export const PageMove = {
  shareHyp: move('SHARE_HYP'),
  unshareHyp: move('UNSHARE_HYP'),
  donateHyp: move('DONATE_HYP'),
  returnHost: move('RETURN_HOST'),
  reclaimGuest: move('RECLAIM_GUEST'),
} as const;

/** Is told of an event that no possible state of a page allows. */
export type PageReport = (pa: number, states: string, event: string, rule: string) => void;

interface Chunk {
  /** Count and mask; 0 for an untouched page. */
  readonly words: Int32Array;
  /** When the mask was set, on the clock of unseen transfers. */
  readonly stamps: Uint32Array;
}

export class PageStates {
  readonly #report: PageReport;
  readonly #chunks = new Map<number, Chunk>();
  #chunkNumber = -1;
  #chunk: Chunk = { words: new Int32Array(0), stamps: new Uint32Array(0) };
  /** Counts transfers of pages that registers did not show, and when the last one in each direction was. */
  #clock = 0;
  #lastUnseenDonation = 0;
  #lastUnseenReturn = 0;
  /** States that pages of the host enter and leave without being named, once any did. */
  #unseenStates = 0;

  constructor(report: PageReport) {
    this.#report = report;
  }

  /** Forget everything: all pages are untouched. */
  reset(): void {
    for (const { words } of this.#chunks.values()) words.fill(0);
    this.#clock = 0;
    this.#lastUnseenDonation = 0;
    this.#lastUnseenReturn = 0;
    this.#unseenStates = 0;
  }

  /** Pages of the host that nobody named became the hypervisor's. */
  unseenDonation(): void {
    this.#lastUnseenDonation = ++this.#clock;
  }

  /** Pages of the hypervisor that nobody named became the host's. */
  unseenReturn(): void {
    this.#lastUnseenReturn = ++this.#clock;
  }

  /** Pages of the host that nobody named were mapped for DMA. Unmapping them will not name them either. */
  unseenMap(): void {
    this.#unseenStates |= HOST_DMA;
  }

  /** The page may have become the host's, or not. */
  mayBeHosts(pa: number): void {
    const i = this.#find(pa);
    if (i < 0) return;
    this.#set(i, this.#maskAt(i) | HOST_OWNED, LOOSE);
  }

  /** A mapping of the page may be gone, or not. */
  mayBeUnmapped(pa: number, size: number): void {
    for (let at = pa; at < pa + size; at += PAGE) {
      const i = this.#find(at);
      if (i < 0) return;
      this.#set(i, this.#maskAt(i) | HOST_OWNED, LOOSE);
    }
  }

  /** One more DMA mapping of each page of [pa, pa + size). */
  map(pa: number, size: number): void {
    this.#add(pa, size, MAP);
  }

  /** One DMA mapping less of each page of [pa, pa + size). */
  unmap(pa: number, size: number): void {
    this.#subtract(pa, size, UNMAP);
  }

  /** Each page of [pa, pa + size) went to a guest: donated, or shared once more. */
  giveGuest(pa: number, size: number): void {
    this.#add(pa, size, GIVE_GUEST);
  }

  /** Each page of [pa, pa + size) is shared with one guest less. */
  unshareGuest(pa: number, size: number): void {
    this.#subtract(pa, size, UNSHARE_GUEST);
  }

  /** One more mapping by its guest of each page of [pa, pa + size). */
  guestMap(pa: number, size: number): void {
    this.#add(pa, size, GUEST_MAP);
  }

  /** One mapping by its guest less of each page of [pa, pa + size). */
  guestUnmap(pa: number, size: number): void {
    this.#subtract(pa, size, GUEST_UNMAP);
  }

  /** A mapping of the page by its guest may be gone, or not. */
  mayBeGuestUnmapped(pa: number, size: number): void {
    for (let at = pa; at < pa + size; at += PAGE) {
      const i = this.#find(at);
      if (i < 0) return;
      this.#set(i, this.#maskAt(i) | GUEST_OWNED, LOOSE);
    }
  }

  /** A guest mapped a page that nobody named: any page of a guest may be it. */
  mayBeGuestMapped(): void {
    for (const { words } of this.#chunks.values()) {
      for (let i = 0; i < words.length; i++) {
        const mask = words[i]! & (ONE - 1);
        if (mask !== ANY && (mask & (GUEST_OWNED | GUEST_DMA)) !== 0) words[i] = LOOSE * ONE + (mask | GUEST_DMA);
      }
    }
  }

  /** Each page of [pa, pa + size) makes a move that no count goes with. */
  move(pa: number, size: number, how: Move): void {
    for (let at = pa; at < pa + size; at += PAGE) {
      const i = this.#find(at);
      if (i < 0) return;
      this.#take(i, at, how, this.#maskAt(i), 0);
    }
  }

  /** Names of the states that the page may be in. */
  statesOf(pa: number): string {
    const i = this.#find(pa);
    return i < 0 ? 'unknown' : statesIn(pageLifeCycle, this.#maskAt(i));
  }

  #add(pa: number, size: number, how: CountedMove): void {
    for (let at = pa; at < pa + size; at += PAGE) {
      const i = this.#find(at);
      if (i < 0) return;
      const mask = this.#maskAt(i);
      const count = (mask & how.state) === 0 ? 0 : this.#countAt(i, how);
      if (count === LOOSE) this.#take(i, at, how.loose, mask, LOOSE);
      else this.#take(i, at, count === 0 ? how.edge : how.inner, mask, count + 1);
    }
  }

  #subtract(pa: number, size: number, how: CountedMove): void {
    for (let at = pa; at < pa + size; at += PAGE) {
      const i = this.#find(at);
      if (i < 0) return;
      const count = this.#countAt(i, how);
      const mask = this.#maskAt(i);
      if (count === LOOSE) this.#take(i, at, how.loose, mask, LOOSE);
      else this.#take(i, at, count > 1 ? how.inner : how.edge, mask, count === 0 ? 0 : count - 1);
    }
  }

  /** The count that such a move changes. */
  #countAt(i: number, { state }: CountedMove): number {
    return (this.#unseenStates & state) !== 0 ? LOOSE : this.#chunk.words[i]! >>> MASK_BITS;
  }

  /** Enter the set after the move. Where it is empty, report; the page may be anything then, and is judged no more. */
  #take(i: number, pa: number, how: Move, mask: number, count: number): void {
    if (mask === ANY) return;
    const to = how.to[mask]!;
    if (to !== 0) {
      this.#set(i, to, count);
      return;
    }
    this.#set(i, ANY, LOOSE);
    const states = statesIn(pageLifeCycle, mask);
    this.#report(pa, states, eventsIn(pageLifeCycle, how), rulesFor(pageLifeCycle, mask, how));
  }

  #set(i: number, mask: number, count: number): void {
    this.#chunk.words[i] = count * ONE + mask;
    this.#chunk.stamps[i] = this.#clock;
  }

  /** Index of the page in its chunk, which becomes the current one; -1 beyond all memory. */
  #find(pa: number): number {
    const page = Math.floor(pa / PAGE);
    const number = Math.floor(page / CHUNK_PAGES);
    if (number !== this.#chunkNumber) {
      if (pa >= PA_LIMIT) return -1;
      let chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        chunk = { words: new Int32Array(CHUNK_PAGES), stamps: new Uint32Array(CHUNK_PAGES) };
        this.#chunks.set(number, chunk);
      }
      this.#chunk = chunk;
      this.#chunkNumber = number;
    }
    return page - number * CHUNK_PAGES;
  }

  /** The set of states, with what may have happened unseen since it was entered. */
  #maskAt(i: number): number {
    const mask = this.#transferredMaskAt(i);
    const unseen = this.#unseenStates | HOST_OWNED;
    return this.#unseenStates !== 0 && (mask & unseen) !== 0 ? mask | unseen : mask;
  }

  #transferredMaskAt(i: number): number {
    const word = this.#chunk.words[i]!;
    if (word === 0) return UNTOUCHED;
    let mask = word & (ONE - 1);
    if ((mask & UNTOUCHED) === 0) return mask;
    const stamp = this.#chunk.stamps[i]!;
    if ((mask & HOST_OWNED) !== 0 && stamp < this.#lastUnseenDonation) mask |= HYP_OWNED;
    if ((mask & HYP_OWNED) !== 0 && stamp < this.#lastUnseenReturn) mask |= HOST_OWNED;
    return mask;
  }
}
