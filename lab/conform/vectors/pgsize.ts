/** `iommu-pgsize`: which page size and how many the IOMMU core picks for the next step of a map or unmap. */
import { choosePageSize } from '#host';
import type { Tally } from '../tally.ts';
import { count, hex, list, record, type Shape } from './shape.ts';
import { address } from './words.ts';

export interface PageSizeCase {
  readonly pgsize_bitmap: string;
  readonly iova: string;
  readonly pa: string;
  readonly size: string;
  readonly pgsize: string;
  readonly count: number;
}

export const PGSIZE: Shape = record({
  cases: list(record({ pgsize_bitmap: hex, iova: hex, pa: hex, size: hex, pgsize: hex, count })),
});

/** Compares one choice. */
export function checkPageSize(vector: PageSizeCase, i: number, tally: Tally): void {
  const { pgsize_bitmap, iova, pa, size, pgsize, count: pages } = vector;
  tally.begin('page sizes', () => `cases[${i}], bitmap ${pgsize_bitmap} iova ${iova} pa ${pa} size ${size}`);
  try {
    const choice = choosePageSize(address(pgsize_bitmap), address(iova), address(pa), address(size));
    tally.same('page size and count', [pgsize, pages], [choice.pgsize.toString(16), choice.count]);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    tally.differs('page size and count', JSON.stringify([pgsize, pages]), error.message);
  }
  tally.end();
}
