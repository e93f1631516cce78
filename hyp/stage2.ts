/**
 * CPU stage-2 tables, as the host's and the guests' have them: four levels of 4 KiB from a one-page root, 48-bit IPA.
 * An entry is a table (0b11 above level 3), a leaf (0b01 block, 0b11 page), or invalid (bit 0 clear), where what is not
 * zero is an annotation. Callers hold the lock of the table. Tables come from the heap pool.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { allocPages, freePages } from './pool.ts';
import { requestHeap } from './request.ts';

const IPA_BITS = 48;
/** First address beyond the IPA space. */
export const IPA_END = 2 ** 48;
export const PAGE_SIZE = 4096;
export const BLOCK_SIZE = 2 ** 21;
/** Registers of an SMMU: two pages of 64 KiB. */
export const SMMU_MMIO_SIZE = 0x20000;
const ENTRIES = 512;
const VALID = 1;
const TABLE_OR_PAGE = 2;
/** Where the page state begins in the upper half of a leaf. */
export const STATE_SHIFT_HI = 23;
const TWO32 = 4294967296;

/** VTCR_EL2 of these tables: 4 KiB granule, start level 0, inner-shareable write-back walks, `paBits` of output. */
export function stage2Vtcr(paBits: number): number {
  const physicalSize = [32, 36, 40, 42, 44, 48].indexOf(paBits);
  return (physicalSize << 16) | (3 << 12) | (1 << 10) | (1 << 8) | (2 << 6) | (64 - IPA_BITS);
}

/** Bytes that one entry of each level spans. */
const SPANS = [2 ** 39, 2 ** 30, 2 ** 21, 2 ** 12];

function entryAt(table: number, ipa: number, level: number): number {
  // `|` takes the low 32 bits of the integer part, whatever its size.
  return table + (((ipa / SPANS[level]!) | 0) & (ENTRIES - 1)) * 8;
}

/** Bytes that one entry of `level` spans. */
export function spanAt(level: number): number {
  return SPANS[level]!;
}

export function entryLo(h: Hyp, at: number): number {
  return h.memory.words[h.memory.indexOf(at)]!;
}

export function entryHi(h: Hyp, at: number): number {
  return h.memory.words[h.memory.indexOf(at) + 1]!;
}

/** Output address (or next table) in an entry. */
export function addressIn(hi: number, lo: number): number {
  return (hi & 0xffff) * TWO32 + ((lo & 0xfffff000) >>> 0);
}

/** What a guest has of a page, as the software bits 56:55 of its leaf say. */
export function pageStateIn(hi: number): number {
  return (hi >>> STATE_SHIFT_HI) & 3;
}

function isTable(lo: number, level: number): boolean {
  return level < 3 && (lo & (VALID | TABLE_OR_PAGE)) === (VALID | TABLE_OR_PAGE);
}

/** Write one entry. */
export function* writeEntry(h: Hyp, at: number, hi: number, lo: number): Steps<void> {
  yield { kind: 'writeDescriptor', at };
  h.memory.write64(at, hi, lo);
}

/** The entry that decides `ipa`, as its address plus its level (entries are 8 bytes apart). */
export function* findEntry(h: Hyp, root: number, ipa: number): Steps<number> {
  let table = root;
  for (let level = 0; ; level++) {
    const at = entryAt(table, ipa, level);
    yield { kind: 'readDescriptor', at };
    const lo = entryLo(h, at);
    if (level === 3 || !isTable(lo, level)) return at + level;
    table = addressIn(entryHi(h, at), lo);
  }
}

/** Address of an entry found by {@link findEntry}. */
export function placeOf(found: number): number {
  return found - (found & 7);
}

/** Level of an entry found by {@link findEntry}. */
export function levelOf(found: number): number {
  return found & 7;
}

/**
 * The entry for `ipa` at exactly `level`, with every table above it made. A block or a block-wide annotation on the way
 * is split into entries that say the same.
 * @returns the entry's address, or -ENOMEM with a heap request left behind
 */
export function* needEntry(h: Hyp, root: number, ipa: number, level: number): Steps<number> {
  let table = root;
  for (let at = 0, current = 0; ; current++) {
    at = entryAt(table, ipa, current);
    if (current === level) return at;
    yield { kind: 'readDescriptor', at };
    const lo = entryLo(h, at);
    const hi = entryHi(h, at);
    if (isTable(lo, current)) {
      table = addressIn(hi, lo);
      continue;
    }
    table = yield* allocPages(h, h.layout.heapPool, 0);
    if (table === 0) {
      yield* requestHeap(h, 1);
      return err('ENOMEM');
    }
    if ((lo & VALID) !== 0) {
      const pageBit = current + 1 === 3 ? TABLE_OR_PAGE : 0;
      h.memory.writeRun(table, ENTRIES, hi, lo | pageBit, spanAt(current + 1));
      // Break before make: the block must be gone before its replacement appears.
      yield* writeEntry(h, at, 0, 0);
    } else if (lo !== 0 || hi !== 0) {
      h.memory.writeRun(table, ENTRIES, hi, lo, 0);
    }
    yield* writeEntry(h, at, Math.floor(table / TWO32), table | VALID | TABLE_OR_PAGE);
  }
}

/** Free every table below `root` (not the root itself, whose entries become zero). */
export function* freeTables(h: Hyp, root: number): Steps<void> {
  yield* freeBelow(h, root, 0);
}

function* freeBelow(h: Hyp, table: number, level: number): Steps<void> {
  for (let i = 0; i < ENTRIES; i++) {
    const at = table + 8 * i;
    const lo = entryLo(h, at);
    if (isTable(lo, level)) {
      const child = addressIn(entryHi(h, at), lo);
      yield* freeBelow(h, child, level + 1);
      yield* freePages(h, h.layout.heapPool, child, 0);
    }
    if (lo !== 0 || entryHi(h, at) !== 0) yield* writeEntry(h, at, 0, 0);
  }
}
