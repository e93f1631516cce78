/** Looking up: what an input address translates to, and by which descriptors. */
import type { Steps } from '#machine';
import { entryAt, entryIndex, indexAt, LAST_LEVEL, offsetOf } from './entries.ts';
import { Errno } from './errno.ts';
import { EntryKind, type PageTable } from './types.ts';

const TWO32 = 2 ** 32;

/** The physical address that `iova` translates to, 0 when nothing is mapped. Address bits above the input range are ignored. */
export function* iovaToPhys(pt: PageTable, iova: number): Steps<number> {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  const offset = offsetOf(layout, iova);
  let page = pt.rootPage;
  let table = page >= 0 ? 0 : pt.root;
  for (let level = layout.startLevel; level < 4; level++) {
    const n = indexAt(layout, offset, level);
    yield { kind: 'readDescriptor', at: entryAt(page, table, n) };
    const index = entryIndex(memory, page, table, n);
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    if (level !== LAST_LEVEL && (lo & format.tableMask) === format.tableBits) {
      page = format.tablePage(layout, hi, lo);
      if (page < 0) table = format.addressOf(layout, hi, lo);
      continue;
    }
    if (format.kindOf(hi, lo, level) !== EntryKind.LEAF) return 0;
    return joined(format.addressOf(layout, hi, lo), offset, layout.spans[level]);
  }
  return 0;
}

/**
 * The address of the leaf at `pa` or-ed with the offset in it: of a leaf mapped with a misaligned address the
 * low bits show through, they do not carry.
 */
function joined(pa: number, from: number, span: number): number {
  if (span <= TWO32) return pa - (pa >>> 0) + ((pa | (from & (span - 1))) >>> 0);
  const offset = from - Math.floor(from / span) * span;
  return ((pa / TWO32) | (offset / TWO32)) * TWO32 + ((pa | offset) >>> 0);
}

/**
 * The descriptors that a walk for `iova` visits. For looking at: it takes no steps.
 *
 * @param out eight words: low and high half for each level 0 to 3, zeroes where the walk does not come
 * @returns 0 when the walk ends at a leaf, else `EINVAL`
 */
export function walkDescriptors(pt: PageTable, iova: number, out: Int32Array): number {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  const offset = offsetOf(layout, iova);
  out.fill(0, 0, 8);
  let table = pt.root;
  for (let level = layout.startLevel; level < 4; level++) {
    const index = memory.indexOf(table + 8 * indexAt(layout, offset, level));
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    out[2 * level] = lo;
    out[2 * level + 1] = hi;
    const kind = format.kindOf(hi, lo, level);
    if (kind === EntryKind.LEAF) return 0;
    if (kind !== EntryKind.TABLE) break;
    table = format.addressOf(layout, hi, lo);
  }
  return Errno.EINVAL;
}
