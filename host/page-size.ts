/**
 * Which page size and how many of them the IOMMU core picks for the next step of a map or unmap (Linux 7.2
 * iommu_pgsize): the largest supported size that divides IOVA and PA and fits; with a larger size within reach, only as
 * many as lead up to the boundary where the larger one can take over.
 */

/** The chosen step. */
export interface PageSizeChoice {
  /** Page size in bytes. */
  readonly pgsize: number;
  readonly count: number;
}

const ADDRESS_BITS = 52;

/** The sizes in a bitmap, smallest first. Few bitmaps are ever used, so each is taken apart once. */
const sizesOf = new Map<number, readonly number[]>();

function pageSizes(bitmap: number): readonly number[] {
  let sizes = sizesOf.get(bitmap);
  if (sizes === undefined) {
    const all = Array.from({ length: ADDRESS_BITS + 1 }, (_, log2) => 2 ** log2);
    sizes = all.filter((size) => Math.floor(bitmap / size) % 2 === 1);
    sizesOf.set(bitmap, sizes);
  }
  return sizes;
}

/**
 * @param bitmap supported page sizes, a sum of powers of two (bytes)
 * @param iova, pa, size multiples of the smallest of them; for an unmap pass the IOVA as `pa` too
 * @throws RangeError when no supported size fits
 */
export function choosePageSize(bitmap: number, iova: number, pa: number, size: number): PageSizeChoice {
  let best = 0;
  let next = 0;
  for (const candidate of pageSizes(bitmap)) {
    if (candidate <= size && iova % candidate === 0 && pa % candidate === 0) {
      best = candidate;
      next = 0;
    } else if (next === 0) {
      next = candidate;
    }
  }
  if (best === 0) {
    throw new RangeError(`no page size of bitmap 0x${bitmap.toString(16)} fits a size of 0x${size.toString(16)}`);
  }
  // The next size can take over only where IOVA and PA reach a boundary of it together.
  if (next !== 0 && iova % next === pa % next) {
    const toBoundary = next - (iova % next);
    if (toBoundary + next <= size) return { pgsize: best, count: toBoundary / best };
  }
  return { pgsize: best, count: Math.floor(size / best) };
}
