/** Small steps that map, unmap and walk share: page size to level, address to descriptor, runs of descriptors. */
import type { PhysicalMemory } from '#machine/memory';
import { type PageTable, type PageTableLayout, Quirk } from './types.ts';

/** A page size that is offered but has no level in this table: one that covers more than the whole input range. */
export const NO_LEVEL = 4;

const TWO32 = 2 ** 32;
const PAGE_BYTES = 4096;

/** The level whose leaves have `pgsize` bytes; {@link NO_LEVEL}; or -1 when the page size is not in the bitmap. */
export function leafLevelOf(layout: PageTableLayout, pgsize: number): number {
  const { leafSizes } = layout;
  for (let level = 3; level >= 0; level--) if (leafSizes[level] === pgsize && pgsize !== 0) return level;
  return pgsize > 0 && isSubset(pgsize, layout.pgsizeBitmap) ? NO_LEVEL : -1;
}

/** Whether all bits of `bits` are in `bitmap`; both may have more than 32. */
function isSubset(bits: number, bitmap: number): boolean {
  return ((bits | 0) & ~(bitmap | 0)) === 0 && ((bits / TWO32) & ~(bitmap / TWO32)) === 0;
}

/** The number of the descriptor of `iova` in its table of `level`. Address bits above the input range are ignored. */
export function indexAt(layout: PageTableLayout, iova: number, level: number): number {
  // `|` takes the low 32 bits of the integer part, whatever its size; no table has more descriptors than that.
  return ((iova * layout.inverseSpans[level]) | 0) & layout.indexMasks[level];
}

/** How many descriptors from that of `iova` on one call may touch: to the end of a table, also of a concatenated one. */
export function entriesFrom(layout: PageTableLayout, iova: number, level: number): number {
  const index = indexAt(layout, iova, level);
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
