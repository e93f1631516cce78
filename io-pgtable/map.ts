/**
 * Mapping: down to the level of the page size, adding tables on the way, then one run of leaves.
 * Semantics of Linux 7.2: a block may replace a table (which is torn down), nothing may replace a leaf.
 */
import type { Steps } from '#machine';
import { entriesFrom, firstPresent, indexAt, inPage, leafLevelOf, warnUnlessQuiet } from './entries.ts';
import { Errno } from './errno.ts';
import { EntryKind, type PageTable, Prot } from './types.ts';
import { removeEntries } from './unmap.ts';

const TWO32 = 2 ** 32;
const TWO48 = 2 ** 48;

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
  const { format } = layout;
  const { memory } = ops;
  const leafLevel = leafLevelOf(layout, pgsize);
  if (leafLevel < 0) {
    ops.warn();
    return Errno.EINVAL;
  }
  if (!(iova >= 0 && iova < layout.inputEnd && pa >= 0 && pa < layout.outputEnd)) {
    ops.warn();
    return Errno.ERANGE;
  }
  if ((prot & (Prot.READ | Prot.WRITE)) === 0) return Errno.EINVAL;
  let table = pt.root;
  for (let level = layout.startLevel; level !== leafLevel; level++) {
    if (level === 3) {
      ops.warn();
      return Errno.EINVAL;
    }
    const at = table + 8 * indexAt(layout, iova, level);
    yield { kind: 'read', at };
    const index = memory.indexOf(at);
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    if (format.kindOf(hi, lo, level) === EntryKind.TABLE) {
      table = format.addressOf(layout, hi, lo);
    } else {
      table = yield* addTable(pt, at, level, hi, lo);
      if (table < 0) return table;
    }
  }
  const at = table + 8 * indexAt(layout, iova, leafLevel);
  const count = pgcount === 1 ? 1 : Math.min(pgcount, entriesFrom(layout, iova, leafLevel));
  yield { kind: 'read', at };
  const index = memory.indexForWrite(at);
  if (count !== 1 || (memory.words[index] & format.presentMask) !== 0) {
    const error = yield* clearWay(pt, iova, at, leafLevel, count);
    if (error < 0) return error;
  }
  yield { kind: 'write', at };
  if (count === 1) {
    memory.put64(index, format.leafHi(layout, pa, prot, leafLevel), format.leafLo(layout, pa, prot, leafLevel));
  } else {
    writeLeaves(pt, at, pa, leafLevel, count, prot);
  }
  // The leaves must be visible to the walker before the caller lets a device use them.
  yield { kind: 'barrier', at: 0 };
  return count * pgsize;
}

/** Links a table at `at`, where the descriptor (hi, lo) is no table; returns its address or a negative errno. */
function* addTable(pt: PageTable, at: number, level: number, oldHi: number, oldLo: number): Steps<number> {
  const { layout, ops } = pt;
  const { memory } = ops;
  let hi = oldHi;
  let lo = oldLo;
  if ((lo | hi) === 0) {
    const added = yield* ops.allocTable(layout.granule);
    if (added === 0) return Errno.ENOMEM;
    // A walker must not see the link before the zeroes behind it.
    yield { kind: 'barrier', at: 0 };
    yield { kind: 'write', at };
    // Compare and exchange: another CPU may have linked a table of its own meanwhile.
    const index = memory.indexOf(at);
    lo = memory.words[index];
    hi = memory.words[index + 1];
    if ((lo | hi) === 0) {
      memory.write64(at, layout.format.tableHi(layout, added), layout.format.tableLo(layout, added));
      return added;
    }
    yield* ops.freeTable(added, layout.granule);
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

/** Stores `count` leaves from `at` on, with as few runs as the pages of memory and the place of address bits allow. */
function writeLeaves(pt: PageTable, at: number, pa: number, level: number, count: number, prot: number): void {
  const { layout, ops } = pt;
  const { format } = layout;
  const size = layout.leafSizes[level];
  for (let i = 0; i < count; ) {
    const to = pa + i * size;
    let n = size < TWO32 ? inPage(at + 8 * i, count - i) : 1;
    // Address bits 51:48 have a place of their own in a descriptor: a run must not count into them.
    if (to < TWO48 && to + n * size > TWO48) n = Math.ceil((TWO48 - to) / size);
    const hi = format.leafHi(layout, to, prot, level);
    ops.memory.writeRun(at + 8 * i, n, hi, format.leafLo(layout, to, prot, level), n === 1 ? 0 : size);
    i += n;
  }
}
