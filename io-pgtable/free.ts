/** Freeing tables that nothing points to any more. */
import type { Steps } from '#machine';
import { inPage } from './entries.ts';
import { EntryKind, type PageTable, type PageTableOps } from './types.ts';

/**
 * Frees the table at `table` and every table below it, children first.
 *
 * @param level the level of its descriptors
 * @param sizeBytes the size it was allocated with
 */
export function* freeTables(pt: PageTable, table: number, level: number, sizeBytes: number): Steps<void> {
  const { layout, ops } = pt;
  if (level < 3) {
    const { memory } = ops;
    const end = table + 8 * (layout.indexMasks[level] + 1);
    yield { kind: 'readDescriptor', at: table };
    for (let at = table; at < end; at += 8) {
      const index = memory.indexOf(at);
      const blanks = memory.blanksFrom(index);
      if (blanks !== 0) {
        at += 4 * blanks - 8;
        continue;
      }
      const lo = memory.words[index];
      if ((lo & layout.format.presentMask) === 0) continue;
      const hi = memory.words[index + 1];
      if (layout.format.kindOf(hi, lo, level) !== EntryKind.TABLE) continue;
      yield* freeTables(pt, layout.format.addressOf(layout, hi, lo), level + 1, layout.granule);
    }
  }
  if (ops.leafFreed !== undefined) yield* reportLeaves(pt, table, level, layout.indexMasks[level] + 1, ops.leafFreed);
  yield* ops.freeTable(table, sizeBytes);
}

/** Tells `report` what the leaves among `count` descriptors from `at` on point to, in runs that follow on each other. */
export function* reportLeaves(
  pt: PageTable,
  at: number,
  level: number,
  count: number,
  report: NonNullable<PageTableOps['leafRemoved']>,
): Steps<void> {
  const { layout, ops } = pt;
  const size = layout.leafSizes[level];
  let start = 0;
  let pages = 0;
  let index = 0;
  for (let i = 0; i < count; i++) {
    index = i === 0 || inPage(at + 8 * (i - 1), 2) === 1 ? ops.memory.indexOf(at + 8 * i) : index + 2;
    const blanks = ops.memory.blanksFrom(index) >>> 1;
    if (blanks !== 0) {
      i += blanks - 1;
      index += 2 * (blanks - 1);
      continue;
    }
    const lo = ops.memory.words[index];
    if ((lo & layout.format.presentMask) === 0) continue;
    const hi = ops.memory.words[index + 1];
    if (layout.format.kindOf(hi, lo, level) !== EntryKind.LEAF) continue;
    const pa = layout.format.addressOf(layout, hi, lo);
    if (pages > 0 && pa === start + pages * size) {
      pages++;
      continue;
    }
    if (pages > 0) yield* report(start, size, pages);
    start = pa;
    pages = 1;
  }
  if (pages > 0) yield* report(start, size, pages);
}
