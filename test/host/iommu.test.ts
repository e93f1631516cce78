import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type IommuDomain, type IommuDriver, iommuMap, iommuUnmap, PAGE_SIZES_4K } from '#host';

/** A driver over a flat map of pages, which can be made to fail after so many pages. */
function fakeDomain(failAfter = Number.POSITIVE_INFINITY) {
  const pages = new Map<number, number>();
  const steps: number[] = [];
  /** Start and end of what was mapped, as long as each step begins where the last one ended. */
  const covered: number[] = [];
  let left = failAfter;
  const driver = {
    lastErrno: 0,
    map(_id: number, iova: number, pa: number, pgsize: number, count: number): number {
      steps.push(pgsize);
      if (covered.length === 0) covered.push(iova, iova);
      if (covered[1] === iova) covered[1] = iova + pgsize * count;
      let mapped = 0;
      for (let i = 0; i < count; i++) {
        if (left === 0) {
          this.lastErrno = -12;
          return mapped;
        }
        left--;
        pages.set(iova + mapped, pa + mapped);
        mapped += pgsize;
      }
      return mapped;
    },
    unmap(_id: number, iova: number, pgsize: number, count: number): number {
      let unmapped = 0;
      for (let i = 0; i < count && pages.delete(iova + unmapped); i++) unmapped += pgsize;
      return unmapped;
    },
  };
  const domain: IommuDomain = { id: 1, pgsizeBitmap: PAGE_SIZES_4K, driver: driver as unknown as IommuDriver };
  return { domain, pages, steps, covered };
}

const pageNumber = fc.integer({ min: 1, max: 2 ** 24 });

test('a map reaches every page of the range at the right offset, and no other', () => {
  fc.assert(
    fc.property(pageNumber, pageNumber, fc.integer({ min: 1, max: 2000 }), (iovaPage, paPage, count) => {
      const { domain, pages, steps, covered } = fakeDomain();
      const [iova, pa, size] = [iovaPage * 4096, paPage * 4096, count * 4096];
      expect(iommuMap(domain, iova, pa, size, 3)).toBe(0);
      expect([...pages].filter(([at, to]) => to - at !== pa - iova)).toEqual([]);
      for (const step of new Set(steps)) expect([2 ** 12, 2 ** 21, 2 ** 30]).toContain(step);
      expect(covered).toEqual([iova, iova + size]);
    }),
  );
});

test('a map that fails half way unmaps what it had mapped, and tells why', () => {
  const { domain, pages } = fakeDomain(5);
  expect(iommuMap(domain, 0x1000, 0x40000000, 8 * 4096, 3)).toBe(-12);
  expect(pages.size).toBe(0);
});

test('ranges that are not multiples of the smallest page are refused', () => {
  const { domain, pages } = fakeDomain();
  expect(iommuMap(domain, 0x1800, 0x40000000, 4096, 3)).toBe(-22);
  expect(iommuMap(domain, 0x1000, 0x40000200, 4096, 3)).toBe(-22);
  expect(iommuMap(domain, 0x1000, 0x40000000, 100, 3)).toBe(-22);
  expect(iommuUnmap(domain, 0x1234, 4096)).toBe(0);
  expect(pages.size).toBe(0);
});

test('an unmap stops at the first hole', () => {
  const { domain } = fakeDomain();
  iommuMap(domain, 0x1000, 0x40000000, 2 * 4096, 3);
  iommuMap(domain, 0x4000, 0x40005000, 4096, 3);
  expect(iommuUnmap(domain, 0x1000, 4 * 4096)).toBe(2 * 4096);
});
