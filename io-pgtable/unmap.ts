/**
 * Unmapping: down to the level of the page size, then a run of descriptors up to the first hole.
 * A block is removed whole or not at all, or (profile `linux-6.12`) split; tables left empty stay until something
 * replaces them.
 */
import type { Steps } from '#machine';
import {
  clearRun,
  entriesFrom,
  entryAt,
  entryIndex,
  indexAt,
  inPage,
  LAST_LEVEL,
  leafLevelOf,
  sync,
  warnUnlessQuiet,
} from './entries.ts';
import { freeTables, reportLeaves } from './free.ts';
import { splitBlock } from './split.ts';
import { EntryKind, type PageTable } from './types.ts';

/**
 * Unmaps up to `pgcount` pages of `pgsize` bytes from `iova`, at most to the end of the table that holds them and to
 * the first hole: callers loop. A table where a block of this size could be is removed with all it maps.
 * Removed leaves are given to `addPages`, removed tables to `flushWalk` and then freed.
 *
 * @returns bytes unmapped; 0 on a hole, on a bad page size or address, and on part of a block where blocks are not split or
 *   there is no memory for the table that takes its place
 */
export function* unmapPages(pt: PageTable, iova: number, pgsize: number, pgcount: number): Steps<number> {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  const leafLevel = leafLevelOf(layout, pgsize);
  if (leafLevel < 0 || !(pgcount > 0) || !(iova >= layout.inputStart && iova < layout.inputEnd)) {
    ops.warn();
    return 0;
  }
  const offset = iova - layout.inputStart;
  let page = pt.rootPage;
  let table = page >= 0 ? 0 : pt.root;
  for (let level = layout.startLevel; level <= LAST_LEVEL; level++) {
    const first = indexAt(layout, offset, level);
    const at = entryAt(page, table, first);
    yield { kind: 'readDescriptor', at };
    const index = entryIndex(memory, page, table, first);
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    if (level < leafLevel && level !== LAST_LEVEL && (lo & format.tableMask) === format.tableBits) {
      page = format.tablePage(layout, hi, lo);
      if (page < 0) table = format.addressOf(layout, hi, lo);
      continue;
    }
    const kind = format.kindOf(hi, lo, level);
    if (kind === EntryKind.EMPTY) {
      warnUnlessQuiet(pt);
      return 0;
    }
    if (level === leafLevel) {
      const count = pgcount === 1 ? 1 : Math.min(pgcount, entriesFrom(layout, first, level));
      let removed = 1;
      if (count === 1 && kind === EntryKind.LEAF) {
        if (ops.leafRemoved !== undefined) yield* ops.leafRemoved(format.addressOf(layout, hi, lo), pgsize, 1);
        yield { kind: 'writeDescriptor', at };
        memory.put64(index, 0, 0);
        if (layout.publishedHi !== 0) yield* sync(pt, at, 8);
      } else {
        removed = yield* removeEntries(pt, iova, at, level, count);
      }
      if (removed > 0) yield* ops.addPages(iova, pgsize, removed);
      return removed * pgsize;
    }
    if (kind === EntryKind.LEAF) {
      if (layout.profile === 'linux-7.2' || level === LAST_LEVEL) break;
      const inTable = indexAt(layout, offset, level + 1);
      const count = level + 1 === leafLevel ? Math.min(pgcount, entriesFrom(layout, inTable, leafLevel)) : 0;
      const removed = yield* splitBlock(pt, at, level, inTable, count);
      if (removed < 0) return 0;
      if (removed > 0) {
        yield* ops.addPages(iova, pgsize, removed);
        return removed * pgsize;
      }
      // Look again at what stands there now.
      level--;
    } else {
      page = format.tablePage(layout, hi, lo);
      if (page < 0) table = format.addressOf(layout, hi, lo);
    }
  }
  // Part of a block, or a page size without a level.
  ops.warn();
  return 0;
}

/**
 * Clears `count` descriptors of one table from `at` on, up to the first hole; tables below them are flushed and freed.
 * The leaves themselves are not invalidated here.
 *
 * @param iova the input address of the first
 * @returns how many were cleared
 */
export function* removeEntries(pt: PageTable, iova: number, at: number, level: number, count: number): Steps<number> {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  const size = layout.spans[level];
  let done = 0;
  while (done < count) {
    done = leavesFrom(pt, at, level, done, count);
    if (done === count) break;
    const entry = at + 8 * done;
    const index = memory.indexOf(entry);
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    const kind = format.kindOf(hi, lo, level);
    if (kind === EntryKind.EMPTY) {
      warnUnlessQuiet(pt);
      break;
    }
    if (kind === EntryKind.TABLE) {
      yield { kind: 'writeDescriptor', at: entry };
      memory.write64(entry, 0, 0);
      yield* sync(pt, entry, 8);
      yield* ops.flushWalk(iova + done * size, size, layout.granule);
      yield* freeTables(pt, format.addressOf(layout, hi, lo), level + 1, layout.granule);
    }
    done++;
  }
  if (ops.leafRemoved !== undefined) yield* reportLeaves(pt, at, level, done, ops.leafRemoved);
  yield { kind: 'writeDescriptor', at };
  clearRun(memory, at, done);
  yield* sync(pt, at, 8 * done);
  return done;
}

/** From which of the descriptors `from` to `count - 1` of the run at `at` on the type is another than that of leaf `from`. */
function leavesFrom(pt: PageTable, at: number, level: number, from: number, count: number): number {
  const { memory } = pt.ops;
  const { kindOf, typeMask } = pt.layout.format;
  const first = memory.indexOf(at + 8 * from);
  const leafType = memory.words[first] & typeMask;
  if (kindOf(memory.words[first + 1], memory.words[first], level) !== EntryKind.LEAF) return from;
  for (let i = from; i < count; ) {
    const end = i + inPage(at + 8 * i, count - i);
    const { words } = memory;
    let index = memory.indexOf(at + 8 * i);
    for (; i < end; i++, index += 2) if ((words[index] & typeMask) !== leafType) return i;
  }
  return count;
}
