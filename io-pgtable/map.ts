/**
 * Mapping: down to the level of the page size, adding tables on the way, then one run of leaves.
 * Semantics of Linux: a block may replace a table (which is torn down), nothing may replace a leaf.
 */
import type { Steps } from '#machine';
import {
  entriesFrom,
  entryAt,
  entryIndex,
  firstPresent,
  indexAt,
  isPublished,
  LAST_LEVEL,
  leafLevelOf,
  linkTable,
  sync,
  warnUnlessQuiet,
  writeLeaves,
} from './entries.ts';
import { Errno } from './errno.ts';
import { EntryKind, type PageTable, PROTECTIONS, Prot } from './types.ts';
import { removeEntries } from './unmap.ts';

/**
 * Maps up to `pgcount` pages of `pgsize` bytes from `iova` to `pa`. One call never crosses the end of the table that
 * holds the leaves: callers loop. Only the first address is checked against the ranges, and alignment is not checked.
 *
 * @param prot bits of {@link Prot}; READ or WRITE is needed
 * @returns bytes mapped (0 when `pgcount` is 0), or a negative errno: `EINVAL`, `ERANGE`, `ENOMEM` (tables added on the
 *   way stay), `EEXIST` (no leaf was written, but tables met before the leaf in the way were torn down)
 */
export function* mapPages(
  pt: PageTable,
  iova: number,
  pa: number,
  pgsize: number,
  pgcount: number,
  prot: number,
): Steps<number> {
  const { layout, ops } = pt;
  const { format, publishedHi } = layout;
  const { memory } = ops;
  const leafLevel = leafLevelOf(layout, pgsize);
  if (leafLevel < 0) {
    ops.warn();
    return Errno.EINVAL;
  }
  if (!(iova >= layout.inputStart && iova < layout.inputEnd && pa >= 0 && pa < layout.outputEnd)) {
    ops.warn();
    return Errno.ERANGE;
  }
  if ((prot & (Prot.READ | Prot.WRITE)) === 0) return Errno.EINVAL;
  const offset = iova - layout.inputStart;
  let page = pt.rootPage;
  let table = page >= 0 ? 0 : pt.root;
  for (let level = layout.startLevel; level !== leafLevel; level++) {
    if (level === LAST_LEVEL) {
      ops.warn();
      return Errno.EINVAL;
    }
    const n = indexAt(layout, offset, level);
    yield { kind: 'readDescriptor', at: entryAt(page, table, n) };
    const index = entryIndex(memory, page, table, n);
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    if ((lo & format.tableMask) === format.tableBits && (hi & publishedHi) === publishedHi) {
      page = format.tablePage(layout, hi, lo);
      if (page < 0) table = format.addressOf(layout, hi, lo);
    } else {
      table = yield* nextTable(pt, entryAt(page, table, n), level, hi, lo);
      page = -1;
      if (table < 0) return table;
    }
  }
  const first = indexAt(layout, offset, leafLevel);
  const at = entryAt(page, table, first);
  const count = pgcount === 1 ? 1 : Math.min(pgcount, entriesFrom(layout, first, leafLevel));
  const attributes = 2 * (prot & (PROTECTIONS - 1));
  const attributesLo = layout.attributes[attributes];
  const attributesHi = layout.attributes[attributes + 1];
  yield { kind: 'readDescriptor', at };
  const index = memory.indexOfWritable(entryIndex(memory, page, table, first), at);
  if (count === 1 && (memory.words[index] & format.presentMask) === 0) {
    yield { kind: 'writeDescriptor', at };
    memory.put64(index, format.leafHi(pa, attributesHi), format.leafLo(pa, attributesLo, leafLevel));
  } else {
    const error = yield* clearWay(pt, iova, at, leafLevel, count);
    if (error < 0) return error;
    yield { kind: 'writeDescriptor', at };
    writeLeaves(pt, at, pa, leafLevel, count, attributesHi, attributesLo);
  }
  if (publishedHi !== 0) yield* sync(pt, at, 8 * count);
  // The leaves must be visible to the walker before the caller lets a device use them.
  yield { kind: 'barrier', at: 0 };
  return count * pgsize;
}

/**
 * The table below `at`, where the descriptor (hi, lo) is nothing, no table, or a table that the walker may not see yet.
 *
 * @returns its address or a negative errno
 */
function* nextTable(pt: PageTable, at: number, level: number, oldHi: number, oldLo: number): Steps<number> {
  const { layout, ops } = pt;
  const { memory } = ops;
  let hi = oldHi;
  let lo = oldLo;
  if ((lo | hi) === 0) {
    const added = yield* ops.allocTable(layout.granule);
    if (added === 0) return Errno.ENOMEM;
    if (yield* linkTable(pt, at, added, 0, 0)) return added;
    yield* ops.freeTable(added, layout.granule);
    const index = memory.indexOf(at);
    lo = memory.words[index];
    hi = memory.words[index + 1];
  } else if (!isPublished(layout, hi)) {
    yield* sync(pt, at, 8);
  }
  if (layout.format.kindOf(hi, lo, level) === EntryKind.LEAF) {
    warnUnlessQuiet(pt);
    return Errno.EEXIST;
  }
  return layout.format.addressOf(layout, hi, lo);
}

/** Tears down the tables among `count` descriptors from `at` on; `EEXIST` when it meets a leaf, else 0. */
function* clearWay(pt: PageTable, iova: number, at: number, level: number, count: number): Steps<number> {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  for (let i = 0; ; i++) {
    i = firstPresent(memory, at, i, count, format.presentMask);
    if (i >= count) return 0;
    const index = memory.indexOf(at + 8 * i);
    const kind = format.kindOf(memory.words[index + 1], memory.words[index], level);
    if (kind === EntryKind.LEAF) {
      warnUnlessQuiet(pt);
      return Errno.EEXIST;
    }
    if (kind === EntryKind.TABLE) yield* removeEntries(pt, iova + i * layout.spans[level], at + 8 * i, level, 1);
  }
}
