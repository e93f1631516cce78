/** Reading, and clearing, the dirty state that hardware keeps in leaves. */
import type { Steps } from '#machine';
import { indexAt, offsetOf } from './entries.ts';
import { Errno } from './errno.ts';
import { EntryKind, type PageTable } from './types.ts';

/**
 * Reports the leaves in [iova, iova + size) that a device may have written to, and makes them clean if `clear`. What
 * may still be cached of them is for the caller to invalidate. Walks leaf by leaf: the first starts at `iova` wherever
 * in a leaf that is.
 *
 * @param report gets the address and size, in bytes, of each dirty leaf
 * @returns 0; `EINVAL` when the size is 0, the range leaves the lower half's input range, the format keeps no dirty
 *   state, or something in the range is not mapped (what comes before it was reported, and cleaned)
 */
export function* readAndClearDirty(
  pt: PageTable,
  iova: number,
  size: number,
  clear: boolean,
  report: (iova: number, size: number) => void,
): Steps<number> {
  const { layout, ops } = pt;
  const { format } = layout;
  const { memory } = ops;
  const end = iova + size;
  if (!(size > 0 && end > 0 && end <= layout.inputEnd - layout.inputStart)) {
    ops.warn();
    return Errno.EINVAL;
  }
  const { dirty } = format;
  if (dirty === undefined) return Errno.EINVAL;
  let from = iova;
  let table = pt.root;
  let level = layout.startLevel;
  while (from < end) {
    const at = table + 8 * indexAt(layout, offsetOf(layout, from), level);
    yield { kind: 'readDescriptor', at };
    const index = memory.indexOf(at);
    const lo = memory.words[index];
    const hi = memory.words[index + 1];
    const kind = format.kindOf(hi, lo, level);
    if (kind === EntryKind.TABLE) {
      table = format.addressOf(layout, hi, lo);
      level++;
      continue;
    }
    if (kind !== EntryKind.LEAF) {
      if (layout.profile === 'linux-6.12') ops.warn();
      return Errno.EINVAL;
    }
    const bytes = layout.spans[level];
    if (dirty.isDirty(hi, lo)) {
      report(from, bytes);
      if (clear) {
        yield { kind: 'writeDescriptor', at };
        memory.write64(at, hi, dirty.cleanLo(lo));
      }
    }
    from += bytes;
    table = pt.root;
    level = layout.startLevel;
  }
  return 0;
}
