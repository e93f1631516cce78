/**
 * The IOMMU core (Linux drivers/iommu/iommu.c): map and unmap any aligned range by splitting it into the page sizes that
 * fit, and undo a map that fails half way.
 */

import { Errno } from '#hypercall-abi';
import type { IommuDriver } from './driver.ts';
import { choosePageSize } from './page-size.ts';

/** Page sizes of a 4 KiB granule: 4 KiB, 2 MiB, 1 GiB. */
export const PAGE_SIZES_4K = 2 ** 12 + 2 ** 21 + 2 ** 30;

/** A domain as the core sees it. */
export interface IommuDomain {
  readonly id: number;
  /** Supported page sizes, a sum of powers of two (bytes). */
  readonly pgsizeBitmap: number;
  readonly driver: IommuDriver;
}

function isAligned(domain: IommuDomain, value: number): boolean {
  // The lowest page size is the lowest set bit of the bitmap, and always below 2^31.
  const smallest = domain.pgsizeBitmap & -domain.pgsizeBitmap;
  return value % smallest === 0;
}

/**
 * Map [iova, iova + size) to [pa, pa + size).
 * @returns 0; -EINVAL when something is not a multiple of the smallest page size; else the errno of the step that failed,
 *   with everything mapped before it unmapped again
 */
export function iommuMap(domain: IommuDomain, iova: number, pa: number, size: number, prot: number): number {
  if (!isAligned(domain, iova) || !isAligned(domain, pa) || !isAligned(domain, size)) return -Errno.EINVAL;
  let done = 0;
  while (done < size) {
    const { pgsize, count } = choosePageSize(domain.pgsizeBitmap, iova + done, pa + done, size - done);
    const mapped = domain.driver.map(domain.id, iova + done, pa + done, pgsize, count, prot);
    done += mapped;
    if (mapped < pgsize * count) {
      const error = domain.driver.lastErrno;
      if (done > 0) iommuUnmap(domain, iova, done);
      return error;
    }
  }
  return 0;
}

/**
 * Unmap [iova, iova + size), up to the first hole.
 * @returns the bytes unmapped; 0 also when something is not a multiple of the smallest page size
 */
export function iommuUnmap(domain: IommuDomain, iova: number, size: number): number {
  if (!isAligned(domain, iova) || !isAligned(domain, size)) return 0;
  let done = 0;
  while (done < size) {
    const { pgsize, count } = choosePageSize(domain.pgsizeBitmap, iova + done, iova + done, size - done);
    const unmapped = domain.driver.unmap(domain.id, iova + done, pgsize, count);
    if (unmapped === 0) break;
    done += unmapped;
  }
  return done;
}
