/** Splitting a block into a table, as Linux did up to 6.12 when part of a block was unmapped. */
import type { Steps } from '#machine';
import { linkTable, sync, writeLeaves } from './entries.ts';
import { Errno } from './errno.ts';
import type { PageTable } from './types.ts';

/**
 * Replaces the block at `at` by a table that maps the same, but for `count` descriptors from number `index` on. The
 * table is filled before it is linked. What is left out is told to `leafRemoved`; to invalidate it is the caller's.
 *
 * @param level the level of the block
 * @returns how many were left out: none when another CPU changed the block meanwhile; or `ENOMEM`
 */
export function* splitBlock(pt: PageTable, at: number, level: number, index: number, count: number): Steps<number> {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  const block = memory.indexOf(at);
  const lo = memory.words[block];
  const hi = memory.words[block + 1];
  const table = yield* ops.allocTable(layout.granule);
  if (table === 0) return Errno.ENOMEM;
  const pa = format.addressOf(layout, hi, lo);
  const entries = layout.indexMasks[level + 1] + 1;
  yield* fill(pt, table, pa, level + 1, 0, index, hi, lo);
  yield* fill(pt, table, pa, level + 1, index + count, entries, hi, lo);
  const size = layout.spans[level + 1];
  if (yield* linkTable(pt, at, table, hi, lo)) {
    if (count > 0 && ops.leafRemoved !== undefined) yield* ops.leafRemoved(pa + index * size, size, count);
    return count;
  }
  yield* ops.freeTable(table, layout.granule);
  return 0;
}

/** Leaves with the attributes of the block (hi, lo) at `pa`, in the descriptors `from` to `end - 1` of a table. */
function* fill(
  pt: PageTable,
  table: number,
  pa: number,
  level: number,
  from: number,
  end: number,
  hi: number,
  lo: number,
): Steps<void> {
  const { attributeMaskHi, attributeMaskLo } = pt.layout.format;
  if (from >= end) return;
  const to = pa + from * pt.layout.spans[level];
  yield { kind: 'writeDescriptor', at: table + 8 * from };
  writeLeaves(pt, table + 8 * from, to, level, end - from, hi & attributeMaskHi, lo & attributeMaskLo);
  if (pt.layout.coherentWalk) return;
  for (let i = from; i < end; i++) yield* sync(pt, table + 8 * i, 8);
}
