/** Small steps that map, unmap and walk share: page size to level, address to descriptor, runs of descriptors. */
import type { Steps } from '#machine';
import type { PhysicalMemory } from '#machine/memory';
import { type PageTable, type PageTableLayout, Quirk } from './types.ts';

/** The level that has no tables below. */
export const LAST_LEVEL = 3;

/** A page size that is offered but has no level in this table: one that covers more than the whole input range. */
export const NO_LEVEL = 4;

const TWO32 = 2 ** 32;
const TWO48 = 2 ** 48;
const PAGE_BYTES = 4096;

/** The level whose leaves have `pgsize` bytes; {@link NO_LEVEL}; or -1 when the page size is not in the bitmap. */
export function leafLevelOf(layout: PageTableLayout, pgsize: number): number {
  const { leafSizes } = layout;
  for (let level = LAST_LEVEL; level >= 0; level--) if (leafSizes[level] === pgsize && pgsize !== 0) return level;
  return pgsize > 0 && isSubset(pgsize, layout.pgsizeBitmap) ? NO_LEVEL : -1;
}

/** Whether all bits of `bits` are in `bitmap`; both may have more than 32. */
function isSubset(bits: number, bitmap: number): boolean {
  return ((bits | 0) & ~(bitmap | 0)) === 0 && ((bits / TWO32) & ~(bitmap / TWO32)) === 0;
}

/** The number of the descriptor for `offset` bytes into the input range, in its table of `level`. */
export function indexAt(layout: PageTableLayout, offset: number, level: number): number {
  // `|` takes the low 32 bits of the integer part, whatever its size; no table has more descriptors than that.
  return ((offset * layout.inverseSpans[level]) | 0) & layout.indexMasks[level];
}

/**
 * Index among the words of memory of entry `n` of a table.
 * @param page the table by its {@link Format.tablePage}; -1 for one that has none
 * @param table its address, looked at only where it has none
 */
export function entryIndex(memory: PhysicalMemory, page: number, table: number, n: number): number {
  const words = page >= 0 ? memory.indexOfPage(page) : -1;
  return words >= 0 ? words + 2 * n : entryIndexFar(memory, page, table, n);
}

/** Apart, so that the usual way is short. @throws BusError where there is no RAM */
function entryIndexFar(memory: PhysicalMemory, page: number, table: number, n: number): number {
  return memory.indexOf(entryAt(page, table, n));
}

/** Address of entry `n` of a table that is given as for {@link entryIndex}. */
export function entryAt(page: number, table: number, n: number): number {
  return (page >= 0 ? page * PAGE_BYTES : table) + 8 * n;
}

/** How far into the input range `iova` is. Address bits above the input range are ignored. */
export function offsetOf(layout: PageTableLayout, iova: number): number {
  const offset = iova - layout.inputStart;
  const size = layout.inputEnd - layout.inputStart;
  return offset >= 0 && offset < size ? offset : offset - Math.floor(offset / size) * size;
}

/** How many descriptors from number `index` on one call may touch: to the end of a table, also of a concatenated one. */
export function entriesFrom(layout: PageTableLayout, index: number, level: number): number {
  const perTable = 1 << layout.bitsPerLevel;
  return Math.min(perTable - (index & (perTable - 1)), layout.indexMasks[level] + 1 - index);
}

/** Warns of what is the caller's mistake unless the caller said that it is none. */
export function warnUnlessQuiet(pt: PageTable): void {
  if ((pt.layout.quirks & Quirk.NO_WARN) === 0) pt.ops.warn();
}

/** How many of `count` descriptors from `at` lie in the same page of memory. */
export function inPage(at: number, count: number): number {
  return Math.min(count, (PAGE_BYTES - (at & (PAGE_BYTES - 1))) >>> 3);
}

/** The first of the descriptors `from` to `count - 1` of the run at `at` that is a leaf or a table; `count` if none is. */
export function firstPresent(memory: PhysicalMemory, at: number, from: number, count: number, mask: number): number {
  for (let i = from; i < count; ) {
    const end = i + inPage(at + 8 * i, count - i);
    const { words } = memory;
    let index = memory.indexOf(at + 8 * i);
    for (; i < end; i++, index += 2) if ((words[index] & mask) !== 0) return i;
  }
  return count;
}

/** Zeroes `count` descriptors from `at`. */
export function clearRun(memory: PhysicalMemory, at: number, count: number): void {
  for (let i = 0; i < count; ) {
    const n = inPage(at + 8 * i, count - i);
    memory.writeRun(at + 8 * i, n, 0, 0, 0);
    i += n;
  }
}

/** Makes `bytes` of descriptors at `pa` visible to a walker that does not see the CPUs' caches. */
export function* sync(pt: PageTable, pa: number, bytes: number): Steps<void> {
  if (pt.layout.coherentWalk || pt.ops.syncMemory === undefined) return;
  yield* pt.ops.syncMemory(pa, bytes);
}

/**
 * Links the table at `table` from the descriptor at `at`, provided that this still is (hi, lo): another CPU may have
 * linked a table of its own meanwhile.
 *
 * @returns whether it was
 */
export function* linkTable(pt: PageTable, at: number, table: number, hi: number, lo: number): Steps<boolean> {
  const { layout, ops } = pt;
  const { memory } = ops;
  // A walker must not see the link before what is behind it.
  yield { kind: 'barrier', at: 0 };
  // Compared and exchanged: an atomic instruction, which no store buffer holds back.
  yield { kind: 'write', at };
  const index = memory.indexOf(at);
  if (memory.words[index] !== lo || memory.words[index + 1] !== hi) {
    if (!isPublished(layout, memory.words[index + 1])) yield* sync(pt, at, 8);
    return false;
  }
  const linkHi = layout.format.tableHi(layout, table);
  const linkLo = layout.format.tableLo(layout, table);
  memory.write64(at, linkHi, linkLo);
  if (layout.publishedHi !== 0) {
    yield* sync(pt, at, 8);
    yield { kind: 'writeDescriptor', at };
    memory.write64(at, linkHi | layout.publishedHi, linkLo);
  }
  return true;
}

/** Whether the walker sees the table descriptor with this high word. */
export function isPublished(layout: PageTableLayout, hi: number): boolean {
  return (hi & layout.publishedHi) === layout.publishedHi;
}

/**
 * Stores `count` leaves of `level` from `at` on, with as few runs as the pages of memory and the place of address bits
 * allow.
 */
export function writeLeaves(
  pt: PageTable,
  at: number,
  pa: number,
  level: number,
  count: number,
  attributesHi: number,
  attributesLo: number,
): void {
  const { layout, ops } = pt;
  const { format } = layout;
  const size = layout.spans[level];
  for (let i = 0; i < count; ) {
    const to = pa + i * size;
    let n = size < TWO32 ? inPage(at + 8 * i, count - i) : 1;
    // Address bits 51:48 may have a place of their own in a descriptor: a run must not count into them.
    if (to < TWO48 && to + n * size > TWO48) n = Math.ceil((TWO48 - to) / size);
    const lo = format.leafLo(to, attributesLo, level);
    ops.memory.writeRun(at + 8 * i, n, format.leafHi(to, attributesHi), lo, n === 1 ? 0 : size);
    i += n;
  }
}
