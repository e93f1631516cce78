/**
 * The set of things that caches may still hold although memory has changed: what was reachable, was overwritten or cut
 * off, and whose covering invalidation and SYNC have not completed. It is state: it lives in journaled words.
 *
 * Leaves that lie side by side and map to side-by-side memory with equal attributes share one entry.
 */

import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { RecordFile } from '../record-file.ts';
import { levelShift, type Regime } from '../table-walk.ts';
import { hiOf, join, joinSigned, loOf } from '../word64.ts';
import type { StaleEntry, StaleKind } from './types.ts';
import { limitsOf, NESTED, NO_TOP_BYTE, walkedRegime } from './walked-with.ts';

/** Kinds as stored. */
export const Kind = { leaf: 1, table: 2, tag: 3, cd: 4, ste: 5, l1std: 6, strtab: 7, l1cd: 8 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

const KIND_NAMES: readonly (StaleKind | '')[] = ['', 'leaf', 'table', 'tag', 'cd', 'ste', 'l1std', 'strtab', 'l1cd'];

/** Words of an entry. */
export const Field = {
  /**
   * kind[3:0] pending[4] level[7:5] stage[9:8] global[10] granule[16:12] combined[17], then of a TLB entry the fields of
   * the walk that made it (`walkedWith`, `underLimits`)
   */
  what: 0,
  /** vmid[31:16] asid[15:0] of a TLB entry. */
  tag: 1,
  /**
   * TLB: first input page (signed, 4 KiB units). Configuration: StreamID, first StreamID for `l1std`; the upper word of
   * a `cd` and an `l1cd` is the (first) SubstreamID.
   */
  addressLo: 2,
  addressHi: 3,
  /** Leaves in the run. */
  count: 4,
  oldLo: 5,
  oldHi: 6,
  /** Address of the word that was overwritten. */
  atLo: 7,
  atHi: 8,
  /** Root that a TLB entry or stream-table entry belongs to. */
  root: 9,
  /** What stays reachable through the entry: targets of {@link Reach}. */
  heldA: 10,
  heldB: 11,
  /** Part that an invalidation has covered, relative to the first page or StreamID. */
  coveredFrom: 12,
  coveredTo: 13,
  /** What below the covered part of a `table` is still cached: see `Remainder.spared`. */
  spared: 14,
  /** A stage-2 entry: what combines it with stage 1 has been invalidated since its own invalidation. */
  combinedGone: 15,
} as const;

/** In {@link Field.what}: covered by an invalidation, waits for the SYNC. */
export const PENDING = 1 << 4;
export const GLOBAL = 1 << 10;
/** A stage-2 leaf that is cached only as a part of stage-1 entries: no invalidation by IPA finds it. */
export const COMBINED = 1 << 17;
const LOOK_BACK = 64;
const ENTRY_WORDS = 16;

/** What an entry is, packed as in {@link Field.what}. */
export function what(kind: Kind, level: number, stage: number, global: boolean, granule: number): number {
  return kind | (level << 5) | (stage << 8) | (global ? GLOBAL : 0) | (granule << 12);
}

/** The entries 0 to {@link size} - 1. */
export class StaleSet {
  private readonly memory: PhysicalMemory;
  private readonly records: RecordFile;
  private readonly header: number;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
    this.header = memory.allocFile(2);
    this.records = new RecordFile(memory, ENTRY_WORDS, StateClass.state, 64);
  }

  get size(): number {
    return this.memory.words[this.header]!;
  }

  /** Entries that wait for a SYNC. */
  get waiting(): number {
    return this.memory.words[this.header + 1]!;
  }

  /** Index in {@link PhysicalMemory.words} of entry `i`, to be read by {@link Field}. */
  entry(i: number): number {
    return this.records.at(i);
  }

  get(i: number, field: number): number {
    return this.records.get(i, field);
  }

  put(i: number, field: number, value: number): void {
    this.records.put(i, field, value);
  }

  kind(i: number): number {
    return this.records.get(i, Field.what) & 15;
  }

  pending(i: number): boolean {
    return (this.records.get(i, Field.what) & PENDING) !== 0;
  }

  level(i: number): number {
    return (this.records.get(i, Field.what) >>> 5) & 7;
  }

  stage(i: number): number {
    return (this.records.get(i, Field.what) >>> 8) & 3;
  }

  global(i: number): boolean {
    return (this.records.get(i, Field.what) & GLOBAL) !== 0;
  }

  combined(i: number): boolean {
    return (this.records.get(i, Field.what) & COMBINED) !== 0;
  }

  nested(i: number): boolean {
    return (this.records.get(i, Field.what) & NESTED) !== 0;
  }

  /** Limits of the tables above a TLB entry ({@link TableLimit}). */
  limits(i: number): number {
    return limitsOf(this.records.get(i, Field.what));
  }

  /** Whether the address that a TLB entry matches leaves out the top byte. */
  ignoresTopByte(i: number): boolean {
    return (this.records.get(i, Field.what) & NO_TOP_BYTE) !== 0;
  }

  /** Fills what is known of the regime that a TLB entry was walked with: all but its start and its input size. */
  regime(i: number, regime: Regime): void {
    regime.stage = this.stage(i) === 1 ? 1 : 2;
    regime.granule = this.granule(i);
    walkedRegime(this.records.get(i, Field.what), regime);
  }

  granule(i: number): number {
    return (this.records.get(i, Field.what) >>> 12) & 31;
  }

  /** First input page of a TLB entry. */
  page(i: number): number {
    return joinSigned(this.records.get(i, Field.addressHi), this.records.get(i, Field.addressLo));
  }

  at(i: number): number {
    return join(this.records.get(i, Field.atHi), this.records.get(i, Field.atLo));
  }

  /** Pages that one leaf, or the region of one table descriptor, of entry `i` covers. */
  pagesPer(i: number): number {
    return POW2[levelShift(this.granule(i), this.level(i)) - 12]!;
  }

  /** Notes that an invalidation covers entry `i`: it goes with the next SYNC. */
  markPending(i: number): void {
    const { memory } = this;
    const at = this.records.at(i);
    const value = memory.words[at]!;
    if ((value & PENDING) !== 0) return;
    memory.put(at, value | PENDING);
    memory.put(this.header + 1, this.waiting + 1);
  }

  /**
   * Adds an entry. An equal live one absorbs it.
   * @returns whether it was added
   */
  add(
    kindOf: number,
    tag: number,
    address: number,
    oldHi: number,
    oldLo: number,
    at: number,
    root: number,
    heldA: number,
    heldB: number,
  ): boolean {
    const records = this.records;
    const addressLo = loOf(address);
    const addressHi = hiOf(address);
    const n = this.size;
    const { words } = this.memory;
    for (let i = n - 1; i >= 0 && i >= n - LOOK_BACK; i--) {
      const entry = records.at(i);
      if (
        words[entry] === kindOf &&
        words[entry + Field.addressLo] === addressLo &&
        words[entry + Field.oldLo] === oldLo &&
        words[entry + Field.oldHi] === oldHi &&
        words[entry + Field.addressHi] === addressHi &&
        words[entry + Field.tag] === tag &&
        words[entry + Field.root] === root &&
        words[entry + Field.heldA] === heldA &&
        words[entry + Field.heldB] === heldB &&
        this.at(i) === at
      ) {
        return false;
      }
    }
    this.append(kindOf, tag, address, 1, oldHi, oldLo, at, root);
    records.put(n, Field.heldA, heldA);
    records.put(n, Field.heldB, heldB);
    return true;
  }

  /** Adds a leaf that was overwritten: joins it to a run, or finds it already there, or makes an entry. */
  addLeaf(kindOf: number, tag: number, page: number, oldHi: number, oldLo: number, at: number, root: number): void {
    if (this.size === 0 || !this.joinsRun(kindOf, tag, page, oldHi, oldLo, at, root)) {
      this.append(kindOf, tag, page, 1, oldHi, oldLo, at, root);
    }
  }

  private joinsRun(
    kindOf: number,
    tag: number,
    page: number,
    oldHi: number,
    oldLo: number,
    at: number,
    root: number,
  ): boolean {
    const n = this.size;
    const records = this.records;
    const leafLog2 = levelShift((kindOf >>> 12) & 31, (kindOf >>> 5) & 7);
    const pages = POW2[leafLog2 - 12]!;
    if (this.extendsLast(n - 1, kindOf, tag, page, oldHi, oldLo, root, pages)) return true;
    const { words } = this.memory;
    for (let i = n - 1; i >= 0 && i >= n - LOOK_BACK; i--) {
      const entry = records.at(i);
      if (words[entry] !== kindOf || words[entry + Field.tag] !== tag || words[entry + Field.root] !== root) continue;
      const count = records.get(i, Field.count);
      const k = (page - this.page(i)) / pages;
      if (k < -1 || k > count || !this.continues(i, k, leafLog2, oldHi, oldLo)) continue;
      if (k === count) records.put(i, Field.count, count + 1);
      else if (k === -1) {
        records.put(i, Field.count, count + 1);
        records.put(i, Field.addressLo, loOf(page));
        records.put(i, Field.addressHi, hiOf(page));
        records.put(i, Field.oldLo, oldLo);
        records.put(i, Field.oldHi, oldHi);
        records.put(i, Field.atLo, loOf(at));
        records.put(i, Field.atHi, hiOf(at));
      }
      return true;
    }
    return false;
  }

  /** The common case of {@link joinsRun}: the leaf continues the newest run. Then the run is one longer. */
  private extendsLast(
    i: number,
    kindOf: number,
    tag: number,
    page: number,
    oldHi: number,
    oldLo: number,
    root: number,
    pages: number,
  ): boolean {
    const words = this.memory.words;
    const at = this.records.at(i);
    if (words[at] !== kindOf || words[at + Field.tag] !== tag || words[at + Field.root] !== root) return false;
    const count = words[at + Field.count]!;
    const first = joinSigned(words[at + Field.addressHi]!, words[at + Field.addressLo]!);
    if (page !== first + count * pages) return false;
    const sum = (words[at + Field.oldLo]! >>> 0) + count * pages * 4096;
    if ((sum | 0) !== oldLo) return false;
    if (
      sum < 4294967296
        ? oldHi !== words[at + Field.oldHi]
        : !this.continues(i, count, 12 + Math.log2(pages), oldHi, oldLo)
    ) {
      return false;
    }
    this.memory.put(at + Field.count, count + 1);
    return true;
  }

  /** Whether a descriptor equals what leaf `k` of run `i` is, or would be. */
  private continues(i: number, k: number, leafLog2: number, hi: number, lo: number): boolean {
    this.leafWord(i, k, leafLog2);
    return this.leafLo === lo && this.leafHi === hi;
  }

  leafHi = 0;
  leafLo = 0;

  /** Leaves the descriptor of leaf `k` of run `i` in {@link leafHi}, {@link leafLo}. */
  leafWord(i: number, k: number, leafLog2: number): void {
    const sum = (this.records.get(i, Field.oldLo) >>> 0) + k * POW2[leafLog2]!;
    this.leafLo = sum | 0;
    this.leafHi = (this.records.get(i, Field.oldHi) + Math.floor(sum / 4294967296)) | 0;
  }

  private append(
    kindOf: number,
    tag: number,
    address: number,
    count: number,
    oldHi: number,
    oldLo: number,
    at: number,
    root: number,
  ): void {
    const n = this.size;
    this.memory.put(this.header, n + 1);
    const entry = this.records.atForWrite(n);
    const words = this.memory.edit(entry, ENTRY_WORDS);
    words[entry] = kindOf;
    words[entry + Field.tag] = tag;
    words[entry + Field.addressLo] = loOf(address);
    words[entry + Field.addressHi] = hiOf(address);
    words[entry + Field.count] = count;
    words[entry + Field.oldLo] = oldLo;
    words[entry + Field.oldHi] = oldHi;
    words[entry + Field.atLo] = loOf(at);
    words[entry + Field.atHi] = hiOf(at);
    words[entry + Field.root] = root;
  }

  /** Covers leaves [from, to) of run `i`: that part waits for the SYNC, the rest stays as entries of its own. */
  coverRun(i: number, from: number, to: number): void {
    const count = this.records.get(i, Field.count);
    const leafLog2 = levelShift(this.granule(i), this.level(i));
    const pages = POW2[leafLog2 - 12]!;
    if (from > 0) this.appendPart(i, 0, from, leafLog2, pages);
    if (to < count) this.appendPart(i, to, count, leafLog2, pages);
    if (from > 0) {
      const page = this.page(i) + from * pages;
      const at = this.at(i) + 8 * from;
      this.leafWord(i, from, leafLog2);
      this.records.put(i, Field.addressLo, loOf(page));
      this.records.put(i, Field.addressHi, hiOf(page));
      this.records.put(i, Field.oldLo, this.leafLo);
      this.records.put(i, Field.oldHi, this.leafHi);
      this.records.put(i, Field.atLo, loOf(at));
      this.records.put(i, Field.atHi, hiOf(at));
    }
    this.records.put(i, Field.count, to - from);
    this.markPending(i);
  }

  private appendPart(i: number, from: number, to: number, leafLog2: number, pages: number): void {
    this.leafWord(i, from, leafLog2);
    this.append(
      this.records.get(i, Field.what),
      this.records.get(i, Field.tag),
      this.page(i) + from * pages,
      to - from,
      this.leafHi,
      this.leafLo,
      this.at(i) + 8 * from,
      this.records.get(i, Field.root),
    );
  }

  /** Removes every entry that waits; the others keep their order. */
  removeWaiting(): void {
    const n = this.size;
    let kept = 0;
    for (let i = 0; i < n; i++) {
      if ((this.memory.words[this.records.at(i)]! & PENDING) !== 0) continue;
      if (kept !== i) this.records.copy(i, kept);
      kept++;
    }
    for (let i = kept; i < n; i++) this.records.clear(i);
    const words = this.memory.edit(this.header, 2);
    words[this.header] = kept;
    words[this.header + 1] = 0;
  }

  /** Entry `i` for people and tools. */
  describe(i: number): StaleEntry {
    const kind = this.kind(i);
    const tlb = kind === Kind.leaf || kind === Kind.table || kind === Kind.tag;
    const stage = this.stage(i) as 0 | 1 | 2;
    const tag = this.get(i, Field.tag);
    const spans = kind === Kind.leaf || kind === Kind.table;
    return {
      id: i,
      kind: KIND_NAMES[kind] as StaleKind,
      pending: this.pending(i),
      sid: kind >= Kind.cd && kind !== Kind.strtab ? this.get(i, Field.addressLo) : -1,
      ssid: kind === Kind.cd || kind === Kind.l1cd ? this.get(i, Field.addressHi) : -1,
      combined: this.combined(i),
      stage,
      vmid: tlb ? tag >>> 16 : -1,
      asid: tlb && stage === 1 && !this.global(i) ? tag & 0xffff : -1,
      iova: spans ? this.page(i) * 4096 : 0,
      size: spans ? this.pagesPer(i) * 4096 * this.get(i, Field.count) : 0,
      level: this.level(i),
      at: this.at(i),
      oldHi: this.get(i, Field.oldHi),
      oldLo: this.get(i, Field.oldLo),
    };
  }
}
