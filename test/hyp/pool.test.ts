import fc from 'fast-check';
import { expect, test } from 'vitest';
import { booted, type Harness, pageRecord } from './harness.ts';

const IOMMU = 1;
const HEAP = 0;
const NO_PAGE = 3;

function freePages(h: Harness): number {
  return h.boundary.call(0, 'alloc_mgt_reclaimable', IOMMU).value;
}

/** Link chunks as the host does; returns the head. */
function link(h: Harness, chunks: readonly { pa: number; order: number }[]): number {
  let head = 0;
  for (const { pa, order } of [...chunks].reverse()) {
    h.boundary.write64(0, pa, 0, head);
    head = pa + order;
  }
  return head;
}

test('what the host donates it can have back, zeroed, in any order of donation and size', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 6 }), (orders) => {
      const h = booted();
      const chunks = orders.map((order) => ({ pa: h.memory.alloc(order), order })).filter(({ pa }) => pa !== 0);
      for (const { pa } of chunks) h.boundary.write32(0, pa + 8, 0x5ec2e7);
      const pages = chunks.reduce((sum, { order }) => sum + 2 ** order, 0);
      expect(h.boundary.call(0, 'alloc_mgt_refill', IOMMU, link(h, chunks), chunks.length).errno).toBe(0);
      expect(freePages(h)).toBe(pages);
      for (const { pa } of chunks) expect(h.boundary.read32(0, pa)).toBeNull();
      const back = new Set<number>();
      for (;;) {
        let head = h.boundary.call(0, 'alloc_mgt_reclaim', IOMMU, 16).value;
        if (head === 0) break;
        while (head !== 0) {
          back.add(head);
          expect(h.boundary.read32(0, head + 8)).toBe(0);
          head = h.boundary.read32(0, head)!;
        }
      }
      expect(back.size).toBe(pages);
      for (const { pa, order } of chunks)
        for (let i = 0; i < 2 ** order; i++) expect(back.has(pa + i * 4096)).toBe(true);
      expect(freePages(h)).toBe(0);
    }),
    { numRuns: 25 },
  );
});

test('neighbouring blocks join: after all is freed the largest block is there again', () => {
  const h = booted();
  const pa = h.memory.alloc(6);
  const chunks = Array.from({ length: 64 }, (_, i) => ({ pa: pa + ((i * 29) % 64) * 4096, order: 0 }));
  expect(h.boundary.call(0, 'alloc_mgt_refill', IOMMU, link(h, chunks), 64).errno).toBe(0);
  const heads = h.layout.iommuPool + 16;
  expect(h.machine.memory.read32(heads + 8 * 6)).toBe(pa);
  for (let order = 0; order < 6; order++) expect(h.machine.memory.read32(heads + 8 * order)).toBe(0);
});

test.each([
  ['an unknown pool', 2, 0, 1, -22],
  ['a chunk order above 6', IOMMU, 7, 1, -22],
  ['an order on the heap', HEAP, 1, 1, -22],
])('refill refuses %s and takes nothing', (_name, pool, order, count, expected) => {
  const h = booted();
  const pa = h.memory.alloc(6);
  const result = h.boundary.call(0, 'alloc_mgt_refill', pool, pa + order, count);
  expect(result.errno).toBe(expected);
  expect(pageRecord(h, pa).hostState).toBe(0);
});

test('a list that goes bad half way keeps what was taken and tells what is left', () => {
  const h = booted();
  const good = h.memory.alloc();
  h.boundary.write64(0, good, 0, h.layout.base);
  const result = h.boundary.call(0, 'alloc_mgt_refill', IOMMU, good, 5);
  expect(result.errno).toBe(-1);
  expect(h.boundary.registers(0)[6]! >>> 0).toBe(h.layout.base + 4);
  expect(pageRecord(h, good).hostState).toBe(NO_PAGE);
  expect(freePages(h)).toBe(1);
});

test('a misaligned chunk is refused', () => {
  const h = booted();
  const pa = h.memory.alloc(1) + 4096;
  expect(h.boundary.call(0, 'alloc_mgt_refill', IOMMU, pa + 1, 1).errno).toBe(-22);
});

test('a list head of all ones is refused for its order, and comes back to the last bit', () => {
  const h = booted();
  expect(h.boundary.call(0, 'alloc_mgt_refill', IOMMU, 0xffffffffffffffffn, 1).errno).toBe(-22);
  const x = h.boundary.registers(0);
  expect([x[7]! >>> 0, x[6]! >>> 0]).toEqual([0xffffffff, 0xfffff001]);
});

test('an abort that finds no memory leaves no request for the next call', () => {
  const h = booted();
  while (h.boundary.call(0, 'alloc_mgt_reclaim', HEAP, 4095).value !== 0);
  expect(h.boundary.read32(0, 0x0a000000)).toBeNull();
  expect(h.boundary.call(0, 'alloc_domain', 0, 0, 1, 0).request).toEqual({ pool: IOMMU, pages: 1 });
  expect(h.boundary.read32(0, 0x0a000000)).toBeNull();
  expect(h.boundary.call(0, 'free_domain', 1).errno).toBe(-19);
  expect(h.boundary.call(0, 'map_pages', 0, 0, 0, 4096, 0, 3).request).toBeNull();
});
