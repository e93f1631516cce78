/**
 * A cache of whole translations, as hardware may have one: by stream, SubstreamID and page, the physical page that a
 * walk once ended at. It holds the configuration, both stages and the leaf in one, so that a hit reads one record.
 *
 * It forgets at once what a command covers, and often more, which is always allowed: an invalidation by address drops
 * the pages (of every stream; an IPA is no address of a nested one), any other drops everything. It may answer with what was true before memory changed, like
 * any cache: until the invalidation, and never with anything that is not possible (see `possible.ts`).
 *
 * The records are in journaled memory, so undo restores what was held. They are of class `derived`: they are no part of
 * what a state means.
 */

import { type PhysicalMemory, StateClass, WORDS_PER_PAGE } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { below } from '../word64.ts';
import type { TlbScope } from './caches.ts';
import type { TranslationUnit } from './unit.ts';

/** Four places for each page, of which the stream picks one: what an address drops can be found without the stream. */
const WAYS_LOG2 = 2;
const SETS_LOG2 = 10;
const SETS = 1 << SETS_LOG2;
const RECORD_LOG2 = 3;
const ENTRIES = SETS << WAYS_LOG2;

/** Words of the header, which has a page of its own. */
const Header = {
  /** Records of another generation hold nothing. */
  generation: 0,
  /** Log2 of the largest leaf held: an address in a block drops the block. */
  largest: 1,
} as const;

/** Words of a record. */
const Field = { generation: 0, pageLo: 1, pageHi: 2, sid: 3, ssid: 4, outLo: 5, outHi: 6, allows: 7 } as const;

/** Bits of {@link Field.allows}: the accesses that were let through. None means an empty record. */
const READ = 1;
const WRITE = 2;

const PER_PAGE = 1 / 4096;
const TWO32 = 2 ** 32;
const PER_TWO32 = 1 / TWO32;

export class TranslationCache {
  /** Where the header is among the words of memory; -1 before anything was kept. */
  file = -1;
  private readonly memory: PhysicalMemory;
  private records = 0;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
  }

  /** The physical address that is held for an access; -1 for none. Changes nothing. */
  find(sid: number, ssid: number, iova: number, write: boolean): number {
    const { file } = this;
    if (file < 0) return -1;
    const page = Math.floor(iova * PER_PAGE);
    const lo = page | 0;
    const { words } = this.memory;
    const at = this.records + placeOf(lo, sid, ssid);
    if (
      words[at + Field.pageLo] !== lo ||
      words[at + Field.sid] !== (sid | 0) ||
      words[at + Field.ssid] !== ssid ||
      words[at + Field.generation] !== words[file + Header.generation] ||
      words[at + Field.pageHi] !== Math.floor(page * PER_TWO32) ||
      (words[at + Field.allows]! & (write ? WRITE : READ)) === 0
    ) {
      return -1;
    }
    const high = words[at + Field.outHi]!;
    const low = (words[at + Field.outLo]! | (iova & 4095)) >>> 0;
    return high === 0 ? low : high * TWO32 + low;
  }

  /** Keeps what `u` has just found by a walk, if a cache may: nothing that has still to be written to a descriptor. */
  keep(u: TranslationUnit): void {
    const { sid, ssid, iova, write } = u.fault;
    if (u.pa < 0 || u.steAt < 0 || u.updates !== 0 || ignoresTopByte(u, iova)) return;
    if (this.file < 0) this.allocate();
    const { memory, file } = this;
    const page = Math.floor(iova * PER_PAGE);
    const pageHi = Math.floor(page * PER_TWO32);
    const at = this.records + placeOf(page | 0, sid, ssid);
    const outLo = (u.pa & ~4095) | 0;
    const outHi = Math.floor(u.pa * PER_TWO32);
    const generation = memory.words[file + Header.generation]!;
    let allows = write ? WRITE : READ;
    const words = memory.edit(at, 1 << RECORD_LOG2);
    const same =
      words[at + Field.generation] === generation &&
      words[at + Field.pageLo] === (page | 0) &&
      words[at + Field.pageHi] === pageHi &&
      words[at + Field.sid] === (sid | 0) &&
      words[at + Field.ssid] === ssid &&
      words[at + Field.outLo] === outLo &&
      words[at + Field.outHi] === outHi;
    if (same) allows |= words[at + Field.allows]!;
    words[at + Field.generation] = generation;
    words[at + Field.pageLo] = page | 0;
    words[at + Field.pageHi] = pageHi;
    words[at + Field.sid] = sid;
    words[at + Field.ssid] = ssid;
    words[at + Field.outLo] = outLo;
    words[at + Field.outHi] = outHi;
    words[at + Field.allows] = allows;
    if (u.stage !== 0 && u.walk.leafLog2 > words[file + Header.largest]!) {
      memory.put(file + Header.largest, u.walk.leafLog2);
    }
  }

  /** A TLB invalidation was consumed. */
  invalidate(scope: TlbScope): void {
    const { file } = this;
    if (file < 0) return;
    if (scope.whole) {
      this.clear();
      return;
    }
    const block = POW2[Math.max(0, this.memory.words[file + Header.largest]! - 12)]!;
    const from = scope.from - below(scope.from, block);
    const to = scope.to + below(-scope.to, block);
    if (to - from >= SETS) this.clear();
    else for (let page = from; page < to; page++) this.dropPage(page | 0);
  }

  /** Forgets everything. */
  clear(): void {
    const { file, memory } = this;
    if (file < 0) return;
    const generation = (memory.words[file + Header.generation]! + 1) | 0;
    memory.put(file + Header.generation, generation);
    memory.put(file + Header.largest, 0);
    // Generations start over: what is left of the first must not come back.
    if (generation === 0) for (let i = 0; i < ENTRIES; i++) memory.put(this.allowsAt(i), 0);
  }

  private allocate(): void {
    const { memory } = this;
    this.file = memory.allocFile(WORDS_PER_PAGE + (ENTRIES << RECORD_LOG2), StateClass.derived);
    this.records = this.file + WORDS_PER_PAGE;
  }

  private dropPage(lo: number): void {
    const { memory } = this;
    const first = (lo & (SETS - 1)) << WAYS_LOG2;
    for (let i = first; i < first + (1 << WAYS_LOG2); i++) {
      const at = this.allowsAt(i);
      const isPage = memory.words[at - Field.allows + Field.pageLo] === lo;
      if (isPage && memory.words[at] !== 0) memory.put(at, 0);
    }
  }

  private allowsAt(entry: number): number {
    return this.records + (entry << RECORD_LOG2) + Field.allows;
  }
}

/** Word of the record of a page (by the low bits of its number) of a stream, from the first record on. */
function placeOf(lo: number, sid: number, ssid: number): number {
  const way = (sid ^ ssid) & ((1 << WAYS_LOG2) - 1);
  return (((lo & (SETS - 1)) << WAYS_LOG2) | way) << RECORD_LOG2;
}

/** Whether the walk was for another address than `iova`: commands name that one. */
function ignoresTopByte(u: TranslationUnit, iova: number): boolean {
  if (u.stage !== 1) return false;
  return u.input !== (iova < 0 ? iova + POW2[u.regime!.inputBits]! : iova);
}
