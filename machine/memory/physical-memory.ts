/**
 * The one journaled memory. Physical RAM is sparse over a 52-bit space and page-granular; beside it live "files":
 * runs of words for what is not RAM (registers, caches, ghost state) but must be undone and hashed the same way.
 *
 * Everything sits in one Int32Array, cut into slots of one 4 KiB page. Slot 0 is the zero page that stands for every
 * RAM page nobody has written yet: reading costs nothing, the first write gives the page a slot of its own.
 *
 * Two write primitives, both of which restore byte for byte: a word (logged as old value and index) and a run of
 * 64-bit descriptors (old content logged once). Undo pops the log. 64-bit values travel as two int32 words (hi, lo).
 *
 * Most pages are mostly zero, and many are zeroed again and again. Each page knows which of its 32 pieces have been
 * written since they were all zero: only those are cleared, hashed and searched.
 */

import { changesSince, writtenSince } from './changes.ts';
import { grown, hashPage, LONG_RUN, PIECE_WORDS, storeRun } from './runs.ts';
import { SlotFile } from './slot-file.ts';
import {
  BusError,
  PAGE_SHIFT,
  PAGE_SIZE,
  type RamRange,
  StateClass,
  WORDS_PER_PAGE,
  type WordChange,
  type WriteObserver,
} from './types.ts';

interface Region {
  readonly base: number;
  readonly size: number;
  /** Where the pages of each GiB are in the backing store (index of their first word), made on first write. */
  readonly chunks: (Int32Array | undefined)[];
}

/** What one chunk of pages covers: so much that accesses seldom leave it, and offsets in it are 32-bit integers. */
const CHUNK_BYTES = 2 ** 30;
/** Page numbers below this are 32-bit integers. */
const MAX_PAGE = 2 ** 31;
const NO_CHUNK = new Int32Array(0);
const SLOT_WORD_SHIFT = 10;
const MAX_PA = 2 ** 52;
/** The page was written since its hash was taken. Almost every written page has this mark and no other. */
const DIRTY = 1;
const OBSERVERS_MAX = 8;
const PIECE_BYTES = 4 * PIECE_WORDS;
/**
 * In the journal, in place of an index or the length of a run, none of which is that long: the pieces of a slot that were
 * live; and an observer that watched it, or its negative if it did not.
 */
const LIVE_TAG = -(2 ** 31);
const WATCH_TAG = LIVE_TAG + 1;

export class PhysicalMemory {
  /** The backing store. Its identity changes when it grows: read it again after any write. */
  words: Int32Array = new Int32Array(64 * WORDS_PER_PAGE);
  private slots = 1;
  private readonly regions: Region[] = [];
  /** The chunk that was looked at last, and where it starts and how far it goes: most accesses stay near the last one. */
  private near: Int32Array = NO_CHUNK;
  private nearBase = 0;
  private nearSize = 0;
  /** The same in pages; no pages where their numbers are no 32-bit integers. */
  private nearPage = 0;
  private nearPages = 0;
  /** Physical address of each slot's page; -1 for file slots. */
  private slotPa: Float64Array = new Float64Array(64).fill(-1);
  /** Of each slot: {@link DIRTY}, and the bits of the observers that watch it. */
  private marks: Uint16Array = new Uint16Array(64).fill(DIRTY);
  /** Of each slot: its live pieces, one bit each. What is not live is zero. */
  private live: Int32Array = new Int32Array(64);
  /** Of each slot: pieces in which a write has nothing to note, because they are live and the page has no mark but {@link DIRTY}. */
  private quiet: Int32Array = new Int32Array(64);
  private hashes: Int32Array = new Int32Array(128);
  private readonly observers: WriteObserver[] = [];
  /** Whether the observers are told of writes. */
  observing = true;
  private log: Int32Array = new Int32Array(4096);
  private logLength = 0;
  private logging = false;
  private readonly runOld = new Int32Array(WORDS_PER_PAGE);
  /** The class of each page of RAM. */
  private readonly classes: SlotFile;
  /** The class of each slot of a file, which is given once: a file outlives an undo to before its making. */
  private fileClasses: Uint8Array = new Uint8Array(64);

  /**
   * @param ram the RAM ranges; page aligned, not overlapping, below 2^52
   * @throws RangeError when a range is misaligned, empty, overlapping or out of the 52-bit space
   */
  constructor(ram: readonly RamRange[]) {
    for (const range of ram) {
      const name = `RAM range 0x${range.base.toString(16)}+0x${range.size.toString(16)}`;
      if (range.base % PAGE_SIZE !== 0 || range.size % PAGE_SIZE !== 0 || range.size <= 0 || range.base < 0) {
        throw new RangeError(`${name}: expected a page-aligned base and a positive page-aligned size`);
      }
      if (range.base + range.size > MAX_PA) throw new RangeError(`${name}: reaches beyond the 52-bit physical space`);
      for (const other of this.regions) {
        if (range.base < other.base + other.size && other.base < range.base + range.size) {
          throw new RangeError(`${name}: overlaps another RAM range`);
        }
      }
      this.regions.push({ base: range.base, size: range.size, chunks: [] });
    }
    this.classes = new SlotFile(this);
  }

  // ---- where things are

  /** Whether `pa` is RAM. */
  isRam(pa: number): boolean {
    return this.isRamRange(pa, 1);
  }

  /** Whether the whole of [pa, pa + size) lies in one RAM range. */
  isRamRange(pa: number, size: number): boolean {
    const { regions } = this;
    for (let i = 0; i < regions.length; i++) {
      const region = regions[i]!;
      const offset = pa - region.base;
      if (offset >= 0 && offset < region.size) return offset + size <= region.size;
    }
    return false;
  }

  /** The RAM ranges, as given. */
  ram(): readonly RamRange[] {
    return this.regions;
  }

  /** The slot of the page at `pa` for reading; 0 (the zero page) when it was never written. @throws BusError */
  slotOf(pa: number): number {
    return this.indexOf(pa) >>> SLOT_WORD_SHIFT;
  }

  /** Index into {@link words} of the word at `pa`, for reading only: two neighbouring words are (lo, hi). @throws BusError */
  indexOf(pa: number): number {
    // Most time is spent here: literals, and few of them, make it short enough to be compiled in place of its calls.
    const offset = pa - this.nearBase;
    if (offset >= 0 && offset < this.nearSize) return this.near[offset >>> 12]! + ((offset & 4095) >>> 2);
    return this.indexOfFar(pa);
  }

  /** {@link indexOf}, but -1 where there is no RAM. */
  indexIfRam(pa: number): number {
    const offset = pa - this.nearBase;
    if (offset >= 0 && offset < this.nearSize) return this.near[offset >>> 12]! + ((offset & 4095) >>> 2);
    return this.isRam(pa) ? this.indexOfFar(pa) : -1;
  }

  /**
   * Index into {@link words} of the first word of a page, for reading only; -1 where there is no RAM.
   * @param page the page's number (its address divided by 4096), below 2^31: what a walker can work out in integers
   */
  indexOfPage(page: number): number {
    const n = page - this.nearPage;
    if (n >= 0 && n < this.nearPages) return this.near[n]!;
    return this.indexIfRam(page * PAGE_SIZE);
  }

  private indexOfFar(pa: number): number {
    const region = this.regionOf(pa);
    const number = Math.floor((pa - region.base) / CHUNK_BYTES);
    const chunk = region.chunks[number];
    if (chunk === undefined) return wordInPage(pa);
    this.near = chunk;
    this.nearBase = region.base + number * CHUNK_BYTES;
    this.nearSize = chunk.length * PAGE_SIZE;
    const page = this.nearBase / PAGE_SIZE;
    this.nearPages = page + chunk.length < MAX_PAGE ? chunk.length : 0;
    // Tells the engine too that it is an integer.
    this.nearPage = page | 0;
    return chunk[(pa - this.nearBase) >>> PAGE_SHIFT]! + wordInPage(pa);
  }

  private regionOf(pa: number): Region {
    for (const region of this.regions) {
      const offset = pa - region.base;
      if (offset >= 0 && offset < region.size) return region;
    }
    throw new BusError(pa);
  }

  /** The slot of the page at `pa`, given to it now if it has none. @throws BusError */
  slotForWrite(pa: number): number {
    return this.indexForWrite(pa) >>> SLOT_WORD_SHIFT;
  }

  /** Physical address of the page in `slot`; -1 when the slot belongs to a file. */
  paOfSlot(slot: number): number {
    return this.slotPa[slot]!;
  }

  /** Gives the page at `pa` a slot; returns the index of the word at `pa`. */
  private giveSlot(pa: number): number {
    const region = this.regionOf(pa);
    const number = Math.floor((pa - region.base) / CHUNK_BYTES);
    const base = region.base + number * CHUNK_BYTES;
    let chunk = region.chunks[number];
    if (chunk === undefined) {
      // The last chunk ends with its region, so that a lookup in it finds no RAM beyond.
      chunk = new Int32Array(Math.min(CHUNK_BYTES, region.base + region.size - base) / PAGE_SIZE);
      region.chunks[number] = chunk;
    }
    const page = (pa - base) >>> PAGE_SHIFT;
    const slot = this.takeSlots(1);
    chunk[page] = slot << SLOT_WORD_SHIFT;
    this.slotPa[slot] = base + page * PAGE_SIZE;
    return (slot << SLOT_WORD_SHIFT) + wordInPage(pa);
  }

  private takeSlots(count: number): number {
    const first = this.slots;
    this.slots += count;
    let capacity = this.marks.length;
    if (this.slots > capacity) {
      while (capacity < this.slots) capacity *= 2;
      this.words = grown(this.words, new Int32Array(capacity * WORDS_PER_PAGE));
      this.slotPa = grown(this.slotPa, new Float64Array(capacity).fill(-1));
      this.marks = grown(this.marks, new Uint16Array(capacity).fill(DIRTY));
      this.live = grown(this.live, new Int32Array(capacity));
      this.quiet = grown(this.quiet, new Int32Array(capacity));
      this.hashes = grown(this.hashes, new Int32Array(capacity * 2));
      this.fileClasses = grown(this.fileClasses, new Uint8Array(capacity));
    }
    return first;
  }

  // ---- reading

  /** The 32-bit word at `pa` (4-byte aligned), as int32. @throws BusError */
  read32(pa: number): number {
    return this.words[this.indexOf(pa)]!;
  }

  /** Index into {@link words} of the word at `pa`, to be written with {@link put64}. @throws BusError */
  indexForWrite(pa: number): number {
    return this.indexOfWritable(this.indexOf(pa), pa);
  }

  /** {@link indexForWrite} of `pa` where {@link indexOf} is known to be `index`. */
  indexOfWritable(index: number, pa: number): number {
    return index >= WORDS_PER_PAGE ? index : this.giveSlot(pa);
  }

  /** Read `count` words from `pa` on, within one page, to the front of `into`. @throws BusError */
  readWords(pa: number, into: Int32Array, count: number): void {
    const start = this.indexOf(pa);
    const { words } = this;
    if (count < LONG_RUN) for (let i = 0; i < count; i++) into[i] = words[start + i]!;
    else into.set(words.subarray(start, start + count));
  }

  /** A copy of `size` bytes from `pa` (4-byte aligned, any size). @throws BusError */
  readBytes(pa: number, size: number): Uint8Array {
    const out = new Uint8Array(size);
    for (let i = 0; i < size; i += 4) {
      const word = this.read32(pa + i);
      for (let k = 0; k < 4 && i + k < size; k++) out[i + k] = (word >>> (8 * k)) & 0xff;
    }
    return out;
  }

  // ---- writing RAM

  /** Write one 32-bit word (4-byte aligned). @throws BusError */
  write32(pa: number, value: number): void {
    const index = this.indexForWrite(pa);
    const words = this.words;
    const old = words[index]!;
    if (this.logging) this.logWord(index, old);
    words[index] = value;
    if (((this.quiet[index >>> 10]! >>> (index >>> 5)) & 1) === 0) this.wroteHalf(index, old);
  }

  /** Write one 32-bit word if it is `expected`, as an atomic instruction does; returns what it was. @throws BusError */
  compareExchange32(pa: number, expected: number, value: number): number {
    const index = this.indexForWrite(pa);
    const words = this.words;
    const old = words[index]!;
    if (old !== expected) return old;
    if (this.logging) this.logWord(index, old);
    words[index] = value;
    if (((this.quiet[index >>> 10]! >>> (index >>> 5)) & 1) === 0) this.wroteHalf(index, old);
    return old;
  }

  /** Write one 64-bit word (8-byte aligned) as two int32 halves. @throws BusError */
  write64(pa: number, hi: number, lo: number): void {
    this.put64(this.indexForWrite(pa), hi, lo);
  }

  /** {@link write64} by an index that {@link indexForWrite} gave; it stays good for ever. */
  put64(index: number, hi: number, lo: number): void {
    const words = this.words;
    const oldLo = words[index]!;
    const oldHi = words[index + 1]!;
    if (this.logging) this.logPair(index, oldHi, oldLo);
    words[index] = lo;
    words[index + 1] = hi;
    if (((this.quiet[index >>> 10]! >>> (index >>> 5)) & 1) === 0) this.wrote(index, oldHi, oldLo);
  }

  /**
   * Write a run of `count` 64-bit words within one page: word k gets (hi, lo) + k * step. The old content is logged
   * once for the run. `step` is a byte count below 2^32 (0 fills with one value).
   * @throws RangeError when the run leaves its page
   */
  writeRun(pa: number, count: number, hi: number, lo: number, step: number): void {
    const slot = this.slotForWrite(pa);
    const first = wordInPage(pa);
    if (first + 2 * count > WORDS_PER_PAGE) throw new RangeError(`a run of ${count} words leaves its page`);
    const start = (slot << SLOT_WORD_SHIFT) + first;
    const watched = this.beforeRun(start, 2 * count);
    storeRun(this.words, start, start + 2 * count, hi, lo, step);
    this.afterRun(start, 2 * count, watched, (hi | lo | step) !== 0);
  }

  /**
   * Write the first `count` words of `from`, an even number, to `pa` (8-byte aligned), within one page. The old content is
   * logged once.
   * @throws RangeError when they leave the page
   */
  writeWords(pa: number, from: Int32Array, count: number): void {
    const start = this.indexForWrite(pa);
    if ((start & (WORDS_PER_PAGE - 1)) + count > WORDS_PER_PAGE) {
      throw new RangeError(`a run of ${count / 2} words leaves its page`);
    }
    const watched = this.beforeRun(start, count);
    const { words } = this;
    if (count < LONG_RUN) for (let i = 0; i < count; i++) words[start + i] = from[i]!;
    else words.set(from.subarray(0, count), start);
    this.afterRun(start, count, watched, true);
  }

  /** Logs the words of a run before they are written. @returns whether somebody watches them, with their content kept */
  private beforeRun(start: number, count: number): boolean {
    if (this.logging) this.logRun(start, count);
    if (this.marks[start >>> SLOT_WORD_SHIFT]! <= DIRTY) return false;
    this.runOld.set(this.words.subarray(start, start + count));
    return true;
  }

  private afterRun(start: number, count: number, watched: boolean, mayBeLive: boolean): void {
    const slot = start >>> SLOT_WORD_SHIFT;
    this.marks[slot]! |= DIRTY;
    if (mayBeLive) this.enliven(slot, piecesBetween(start, start + count));
    if (watched && this.observing) this.tellOfRun(slot, start, count);
  }

  private tellOfRun(slot: number, start: number, count: number): void {
    const { words, runOld, observers } = this;
    const pa = this.slotPa[slot]! + ((start & (WORDS_PER_PAGE - 1)) << 2);
    for (let i = 0; i < observers.length; i++) {
      if ((this.marks[slot]! & (2 << i)) === 0) continue;
      const observer = observers[i]!;
      if (observer.wroteRun?.(pa, slot, runOld, count) === true) continue;
      for (let k = 0; k < count; k += 2) {
        const lo = words[start + k]!;
        const hi = words[start + k + 1]!;
        const isChanged = lo !== runOld[k] || hi !== runOld[k + 1];
        if (isChanged) observer.wrote(pa + 4 * k, slot, runOld[k + 1]!, runOld[k]!, hi, lo);
      }
    }
  }

  /** Zero a whole page. */
  zeroPage(pa: number): void {
    const slot = this.slotOf(pa);
    const live = this.live[slot]!;
    if (live === 0) return;
    const first = firstPiece(live);
    const pieces = 32 - Math.clz32(live) - first;
    const page = pa - (pa & (PAGE_SIZE - 1));
    this.writeRun(page + first * PIECE_BYTES, (pieces * PIECE_WORDS) / 2, 0, 0, 0);
    this.setLive(slot, 0);
  }

  /** How many of the words of a page from `index` on are known to be zero: for skipping what is empty in a search. */
  blanksFrom(index: number): number {
    const piece = (index >>> 5) & 31;
    const live = this.live[index >>> 10]! >>> piece;
    if ((live & 1) !== 0) return 0;
    const end = live === 0 ? 32 : piece + firstPiece(live);
    return end * PIECE_WORDS - (index & (WORDS_PER_PAGE - 1));
  }

  /** Whether the page at `pa` is all zero from there on. @throws BusError */
  isZeroFrom(pa: number): boolean {
    let index = this.indexOf(pa);
    const end = (index | (WORDS_PER_PAGE - 1)) + 1;
    while (index < end) {
      const blanks = this.blanksFrom(index);
      if (blanks === 0 && this.words[index++] !== 0) return false;
      index += blanks;
    }
    return true;
  }

  /** Write bytes at `pa` (4-byte aligned; a size that is not a multiple of 4 keeps the rest of the last word). */
  writeBytes(pa: number, bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i += 4) {
      let word = i + 4 <= bytes.length ? 0 : this.read32(pa + i);
      for (let k = 0; k < 4 && i + k < bytes.length; k++) {
        word = (word & ~(0xff << (8 * k))) | (bytes[i + k]! << (8 * k));
      }
      this.write32(pa + i, word);
    }
  }

  // ---- files: journaled words that are not RAM

  /** Reserve a zeroed file of at least `wordCount` words; returns the index of its first word in {@link words}. */
  allocFile(wordCount: number, stateClass: StateClass = StateClass.state): number {
    const count = Math.max(1, Math.ceil(wordCount / WORDS_PER_PAGE));
    const slot = this.takeSlots(count);
    this.fileClasses.fill(stateClass, slot, slot + count);
    // Files are written in ways that note nothing.
    this.live.fill(-1, slot, slot + count);
    return slot << SLOT_WORD_SHIFT;
  }

  /** Journaled write of the word at `index` of a file. */
  put(index: number, value: number): void {
    const words = this.words;
    if (this.logging) this.logWord(index, words[index]!);
    words[index] = value;
    this.marks[index >>> 10] = DIRTY;
  }

  /** Journaled addition to `count` words of a file from `index` on. */
  addRun(index: number, count: number, delta: number): void {
    const end = index + count;
    for (let at = index; at < end; ) {
      const to = Math.min(end, (at | (WORDS_PER_PAGE - 1)) + 1);
      if (this.logging) this.logRun(at, to - at);
      this.marks[at >>> SLOT_WORD_SHIFT] = DIRTY;
      const { words } = this;
      for (; at < to; at++) words[at] = words[at]! + delta;
    }
  }

  /**
   * Journals the words [index, index + count) of one page of a file at once, and gives {@link words} for the caller to
   * write those words in before anything else happens.
   */
  edit(index: number, count: number): Int32Array {
    if (this.logging) this.logRun(index, count);
    this.marks[index >>> 10] = DIRTY;
    return this.words;
  }

  // ---- observing

  /** Register an observer; returns the bit to pass to {@link watch}. At most eight. */
  observe(observer: WriteObserver): number {
    if (this.observers.length === OBSERVERS_MAX) throw new RangeError('at most eight write observers');
    this.observers.push(observer);
    return DIRTY << this.observers.length;
  }

  /**
   * From now on `observer` sees writes to the page at `pa`, whatever is undone. It ignores pages that no longer concern
   * it.
   * @returns the slot of the page
   */
  watch(pa: number, observer: number): number {
    const slot = this.slotForWrite(pa);
    this.marks[slot]! |= observer;
    this.quiet[slot] = 0;
    return slot;
  }

  /**
   * From now on `observer` sees writes to the page in `slot`, or does no more. Journaled like any write: for an observer
   * whose interest in pages is journaled too.
   */
  setWatched(slot: number, observer: number, watched: boolean): void {
    if (((this.marks[slot]! & observer) !== 0) === watched) return;
    if (this.logging) this.logMark(slot, watched ? -observer : observer, WATCH_TAG);
    this.putWatched(slot, observer, watched);
  }

  private putWatched(slot: number, observer: number, watched: boolean): void {
    const marks = this.marks[slot]!;
    this.marks[slot] = watched ? marks | observer : marks & ~observer;
    this.quiet[slot] = this.marks[slot] === DIRTY ? this.live[slot]! : 0;
  }

  /** One half of the 64-bit word at `index` was written; it was `old`. */
  private wroteHalf(index: number, old: number): void {
    const even = index & ~1;
    if (index === even) this.wrote(even, this.words[even + 1]!, old);
    else this.wrote(even, old, this.words[even]!);
  }

  /** The 64-bit word at `index` was written; it was (oldHi, oldLo). */
  private wrote(index: number, oldHi: number, oldLo: number): void {
    const slot = index >>> SLOT_WORD_SHIFT;
    const bits = this.marks[slot]! | DIRTY;
    this.marks[slot] = bits;
    this.enliven(slot, 1 << (index >>> 5));
    const lo = this.words[index]!;
    const hi = this.words[index + 1]!;
    if (bits === DIRTY || !this.observing || (oldLo === lo && oldHi === hi)) return;
    const pa = this.slotPa[slot]! + ((index & (WORDS_PER_PAGE - 1)) << 2);
    const { observers } = this;
    for (let i = 0; i < observers.length; i++) {
      if ((bits & (2 << i)) !== 0) observers[i]!.wrote(pa, slot, oldHi, oldLo, hi, lo);
    }
  }

  /** These pieces of a page may hold something from now on. */
  private enliven(slot: number, pieces: number): void {
    const live = this.live[slot]!;
    if ((live & pieces) !== pieces) this.setLive(slot, live | pieces);
    else if (this.marks[slot] === DIRTY) this.quiet[slot] = live;
  }

  private setLive(slot: number, pieces: number): void {
    if (this.logging) this.logMark(slot, this.live[slot]!, LIVE_TAG);
    this.putLive(slot, pieces);
  }

  private putLive(slot: number, pieces: number): void {
    this.live[slot] = pieces;
    this.quiet[slot] = this.marks[slot] === DIRTY ? pieces : 0;
  }

  /**
   * Store a word by its index with neither journal nor observers: for views of memory that are put back before anything
   * else looks (see store-buffers.ts).
   */
  putUnseen(index: number, value: number): void {
    const slot = index >>> SLOT_WORD_SHIFT;
    this.words[index] = value;
    this.marks[slot]! |= DIRTY;
    this.live[slot]! |= 1 << (index >>> 5);
  }

  // ---- journal

  /** Start (or continue) logging; returns a mark to undo to. */
  mark(): number {
    this.logging = true;
    return this.logLength;
  }

  /** Take back every write since `mark`. Logging stays on. */
  undo(mark: number): void {
    const { log, words, marks } = this;
    let length = this.logLength;
    while (length > mark) {
      const tag = log[--length]!;
      if (tag >= 0) {
        words[tag] = log[--length]!;
        marks[tag >>> SLOT_WORD_SHIFT]! |= DIRTY;
      } else if (tag <= WATCH_TAG) {
        const slot = log[--length]!;
        const old = log[--length]!;
        if (tag === LIVE_TAG) this.putLive(slot, old);
        else this.putWatched(slot, Math.abs(old), old > 0);
      } else {
        const first = log[--length]!;
        const count = ~tag;
        length -= count;
        if (count < LONG_RUN) for (let i = 0; i < count; i++) words[first + i] = log[length + i]!;
        else words.set(log.subarray(length, length + count), first);
        marks[first >>> SLOT_WORD_SHIFT]! |= DIRTY;
      }
    }
    this.logLength = length;
  }

  /** Forget everything logged: marks taken before are void. Logging stops until the next {@link mark}. */
  forget(): void {
    this.logLength = 0;
    this.logging = false;
  }

  /** Where the journal stands: what {@link eachLogged} takes; -1 while nothing is logged. */
  get logged(): number {
    return this.logging ? this.logLength : -1;
  }

  /** Calls `visit` with the index and the old content of each word that was logged since `mark`, the last one first. */
  eachLogged(mark: number, visit: (index: number, old: number) => void): void {
    this.eachLoggedRun(mark, (start, count, log, at) => {
      for (let i = count - 1; i >= 0; i--) visit(start + i, log[at + i]!);
    });
  }

  /**
   * The same by runs, each in one page: `visit` is given the index of the first word, how many there are, and where in
   * the journal their old content stands.
   */
  eachLoggedRun(mark: number, visit: (start: number, count: number, log: Int32Array, at: number) => void): void {
    const { log } = this;
    let at = this.logLength;
    while (at > mark) {
      const tag = log[--at]!;
      if (tag <= WATCH_TAG) {
        at -= 2;
        continue;
      }
      const start = tag >= 0 ? tag : log[--at]!;
      const count = tag >= 0 ? 1 : ~tag;
      at -= count;
      visit(start, count, log, at);
    }
  }

  /** Words whose content now differs from what it was at `mark`, in the order of their first write. */
  changesSince(mark: number): WordChange[] {
    return changesSince(this, mark);
  }

  /** Words written since `mark`, by index in the order of their first write, with what they held at `mark`. */
  writtenSince(mark: number): Map<number, number> {
    return writtenSince(this, mark);
  }

  private logWord(index: number, old: number): void {
    const at = this.logLength;
    if (at + 2 > this.log.length) this.growLog(2);
    const { log } = this;
    log[at] = old;
    log[at + 1] = index;
    this.logLength = at + 2;
  }

  /** Two words, as a run of them. */
  private logPair(index: number, oldHi: number, oldLo: number): void {
    const at = this.logLength;
    if (at + 4 > this.log.length) this.growLog(4);
    const { log } = this;
    log[at] = oldLo;
    log[at + 1] = oldHi;
    log[at + 2] = index;
    log[at + 3] = ~2;
    this.logLength = at + 4;
  }

  private logRun(start: number, count: number): void {
    if (this.logLength + count + 2 > this.log.length) this.growLog(count + 2);
    const { log, words } = this;
    let at = this.logLength;
    if (count < LONG_RUN) for (let i = 0; i < count; i++) log[at + i] = words[start + i]!;
    else log.set(words.subarray(start, start + count), at);
    at += count;
    log[at++] = start;
    log[at++] = ~count;
    this.logLength = at;
  }

  /** What a slot was, beside its words. */
  private logMark(slot: number, old: number, tag: number): void {
    const at = this.logLength;
    if (at + 3 > this.log.length) this.growLog(3);
    const { log } = this;
    log[at] = old;
    log[at + 1] = slot;
    log[at + 2] = tag;
    this.logLength = at + 3;
  }

  private growLog(extra: number): void {
    let capacity = this.log.length * 2;
    while (capacity < this.logLength + extra) capacity *= 2;
    this.log = grown(this.log, new Int32Array(capacity));
  }

  // ---- meaning and hashes

  /** Say what the content of the page at `pa` means from now on. Journaled like any write. */
  setClass(pa: number, stateClass: StateClass): void {
    this.classes.put(this.slotForWrite(pa), stateClass);
  }

  /** The class of the page or file word at `index` of {@link words}. */
  classOf(index: number): StateClass {
    return this.classOfSlot(index >>> SLOT_WORD_SHIFT);
  }

  private classOfSlot(slot: number): StateClass {
    return (this.slotPa[slot]! < 0 ? this.fileClasses[slot] : this.classes.get(slot)) as StateClass;
  }

  /**
   * Hash of one page's bytes as two int32 lanes, computed only when the page was written since it was last asked for.
   * An all-zero page hashes to (0, 0), so a page never written and one written back to zero are the same.
   */
  pageHash(slot: number): readonly [number, number] {
    if ((this.marks[slot]! & DIRTY) !== 0) {
      hashPage(this.words, slot << SLOT_WORD_SHIFT, this.live[slot]!, this.hashes, 2 * slot);
      this.marks[slot]! &= ~DIRTY;
      this.quiet[slot] = 0;
    }
    return [this.hashes[2 * slot]!, this.hashes[2 * slot + 1]!];
  }

  /** Hash of all pages and files of class `state` (or of everything, with `all`), as 16 hex digits. */
  stateHash(all = false): string {
    let a = 0;
    let b = 0;
    for (let slot = 1; slot < this.slots; slot++) {
      if (!all && this.classOfSlot(slot) !== StateClass.state) continue;
      const [x, y] = this.pageHash(slot);
      if (x === 0 && y === 0) continue;
      // A RAM page counts by its address, a file by its slot: slots are given in order of first write.
      const pa = this.slotPa[slot]!;
      const where = pa < 0 ? slot | 0x40000000 : (pa / PAGE_SIZE) | 0;
      const m = Math.imul(x ^ Math.imul(where, 0x9e3779b1), 0x85ebca6b);
      a = (a + (m ^ (m >>> 15))) | 0;
      b = (b + Math.imul(y ^ Math.imul(where + 1, 0xc2b2ae35), 0x27d4eb2f)) | 0;
    }
    return (a >>> 0).toString(16).padStart(8, '0') + (b >>> 0).toString(16).padStart(8, '0');
  }

  /** Bytes of backing store in use (pages that were written, and files). */
  bytesInUse(): number {
    return this.slots * PAGE_SIZE;
  }
}

/** The pieces that the words from index `start` to `end`, all in one page and at least one, lie in. */
function piecesBetween(start: number, end: number): number {
  const first = (start >>> 5) & 31;
  const last = ((end - 1) >>> 5) & 31;
  return (-1 << first) & (-1 >>> (31 - last));
}

/** Number of the lowest of `pieces`, of which there is one at least. */
function firstPiece(pieces: number): number {
  return 31 - Math.clz32(pieces & -pieces);
}

function wordInPage(pa: number): number {
  return (pa & (PAGE_SIZE - 1)) >>> 2;
}
