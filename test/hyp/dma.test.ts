import { expect, test } from 'vitest';
import { iommuMap, iommuUnmap, PAGE_SIZES_4K } from '#host';
import { qemuVirt, tiny } from '#machine';
import { booted, commandsDuring, type Harness, pageRecord } from './harness.ts';

const CFGI_STE = 0x03;
const TLBI_NH_ASID = 0x11;
const TLBI_NH_VA = 0x12;
const TLBI_S2_IPA = 0x2a;
const SYNC = 0x46;
const RW = 3;

function withDomain(h: Harness, stage: 1 | 2 = 1): number {
  const id = h.driver.allocDomain(0, stage);
  expect(id).toBeGreaterThan(0);
  return id;
}

test.each([
  ['tiny, stage 1', tiny, 1],
  ['tiny, stage 2', tiny, 2],
  ['qemu-virt, stage 1', qemuVirt, 1],
  ['qemu-virt, stage 2', qemuVirt, 2],
] as const)('a device reaches what is mapped and nothing else (%s)', (_name, description, stage) => {
  const h = booted(description);
  const id = withDomain(h, stage);
  const device = h.machine.devices[1]!;
  expect(h.driver.attach(0, id, device.sid)).toBe(0);
  const pa = h.memory.alloc();
  expect(h.driver.map(id, 0x7000, pa, 4096, 1, RW)).toBe(4096);
  expect(device.write(0x7010, [0xabcd]).ok).toBe(true);
  expect(h.boundary.read32(0, pa + 0x10)).toBe(0xabcd);
  expect(h.driver.iovaToPhys(id, 0x7010)).toBe(pa + 0x10);
  expect(device.read(0x8000, 1).ok).toBe(false);
  expect(h.machine.devices[2]!.read(0x7000, 1).ok).toBe(false);
  expect(h.driver.unmap(id, 0x7000, 4096, 1)).toBe(4096);
  expect(device.read(0x7010, 1).ok).toBe(false);
  expect(h.machine.smmus[0]!.stale()).toEqual([]);
});

test('an STE is never made valid in the epoch in which its other words are written', () => {
  const h = booted();
  const id = withDomain(h);
  h.driver.attach(0, id, 1);
  // The CD page has to come from the pool first: only the second attach runs without a top-up.
  expect(commandsDuring(h.machine, () => expect(h.driver.attach(0, id, 2)).toBe(0)).filter((op) => op !== 0)).toEqual([
    CFGI_STE,
    SYNC,
    CFGI_STE,
    SYNC,
  ]);
  expect(commandsDuring(h.machine, () => expect(h.driver.detach(0, id, 2)).toBe(0))).toEqual([
    CFGI_STE,
    SYNC,
    CFGI_STE,
    SYNC,
  ]);
});

test.each([
  [1, TLBI_NH_VA],
  [2, TLBI_S2_IPA],
] as const)('one ranged invalidation and one SYNC for an unmap at stage %i', (stage, opcode) => {
  const h = booted();
  const id = withDomain(h, stage);
  h.driver.attach(0, id, 0);
  const pa = h.memory.alloc(2);
  expect(h.driver.map(id, 0x4000, pa, 4096, 4, RW)).toBe(4 * 4096);
  expect(commandsDuring(h.machine, () => expect(h.driver.unmap(id, 0x4000, 4096, 4)).toBe(4 * 4096))).toEqual([
    opcode,
    SYNC,
  ]);
});

test('the reference of a page goes only after the SYNC that covers its invalidation', () => {
  const h = booted();
  const id = withDomain(h);
  h.driver.attach(0, id, 0);
  const pa = h.memory.alloc();
  h.driver.map(id, 0x4000, pa, 4096, 1, RW);
  expect(pageRecord(h, pa).refcount).toBe(1);
  const seen: number[] = [];
  h.machine.smmus[0]!.observer = { command: () => void seen.push(pageRecord(h, pa).refcount) };
  h.driver.unmap(id, 0x4000, 4096, 1);
  expect(seen).toEqual([1, 1]);
  expect(pageRecord(h, pa).refcount).toBe(0);
});

test('a page mapped for DMA cannot be shared or donated, and can be afterwards', () => {
  const h = booted();
  const id = withDomain(h);
  const pa = h.memory.alloc();
  h.driver.map(id, 0x4000, pa, 4096, 1, RW);
  expect(h.boundary.call(0, 'host_share_hyp', pa / 4096).errno).toBe(-22);
  expect(h.boundary.call(0, 'alloc_mgt_refill', 1, pa, 1).errno).toBe(-22);
  h.driver.unmap(id, 0x4000, 4096, 1);
  expect(h.boundary.call(0, 'host_share_hyp', pa / 4096).errno).toBe(0);
  expect(h.driver.map(id, 0x4000, pa, 4096, 1, RW)).toBe(0);
  expect(h.driver.lastErrno).toBe(-1);
});

test('a map that stops short keeps the references of what it mapped and no others', () => {
  const h = booted();
  const id = withDomain(h);
  const pa = h.memory.alloc(4);
  // Up to the 2 MiB border there is a table after the first driver map; beyond it there is none, and no memory.
  h.driver.map(id, 0x1ff000, pa, 4096, 1, RW);
  h.driver.unmap(id, 0x1ff000, 4096, 1);
  while (h.boundary.call(0, 'alloc_mgt_reclaim', 1, 1).value !== 0);
  const result = h.boundary.call(0, 'map_pages', id, 0x1fe000, pa, 4096, 4, RW);
  expect(result).toMatchObject({ errno: 0, value: 2 * 4096, request: { pool: 1, pages: 1 } });
  expect([0, 1, 2, 3].map((i) => pageRecord(h, pa + i * 4096).refcount)).toEqual([1, 1, 0, 0]);
});

test('a map onto a mapping takes back what it counted', () => {
  const h = booted();
  const id = withDomain(h);
  const pa = h.memory.alloc(2);
  h.driver.map(id, 0x5000, pa, 4096, 1, RW);
  expect(h.boundary.call(0, 'map_pages', id, 0x4000, pa, 4096, 4, RW)).toMatchObject({ errno: -17, value: 0 });
  expect([0, 1, 2, 3].map((i) => pageRecord(h, pa + i * 4096).refcount)).toEqual([1, 0, 0, 0]);
});

test('a block that replaces a table of pages drops their references, after the walk invalidation', () => {
  const h = booted(qemuVirt);
  const id = withDomain(h);
  h.driver.attach(0, id, 0x10);
  const pa = h.memory.alloc();
  h.driver.map(id, 0x200000, pa, 4096, 1, RW);
  const block = 0x48000000;
  expect(h.driver.map(id, 0x200000, block, 2 ** 21, 1, RW)).toBe(2 ** 21);
  expect(pageRecord(h, pa).refcount).toBe(0);
  expect(pageRecord(h, block + 511 * 4096).refcount).toBe(1);
  expect(h.driver.unmap(id, 0x200000, 2 ** 21, 1)).toBe(2 ** 21);
  expect(pageRecord(h, block).refcount).toBe(0);
  expect(h.machine.smmus[0]!.stale()).toEqual([]);
});

test('freeing a domain with mappings invalidates its tag and releases their pages and tables', () => {
  const h = booted();
  const id = withDomain(h);
  const pa = h.memory.alloc(1);
  h.driver.map(id, 0x4000, pa, 4096, 2, RW);
  expect(commandsDuring(h.machine, () => expect(h.driver.freeDomain(id)).toBe(0))).toEqual([TLBI_NH_ASID, SYNC]);
  expect(pageRecord(h, pa).refcount).toBe(0);
  const pool = h.layout.iommuPool;
  expect(h.machine.memory.read32(pool + 4)).toBe(h.machine.memory.read32(pool + 8));
});

test('scattered pages beyond the unmap list are all released', () => {
  const h = booted(qemuVirt);
  const id = withDomain(h);
  const domain = { id, pgsizeBitmap: PAGE_SIZES_4K, driver: h.driver };
  h.driver.attach(0, id, 0x10);
  const pages = Array.from({ length: 1600 }, (_, i) => 0x41000000 + i * 0x2000);
  const mapped = pages.map((pa, i) => iommuMap(domain, 0x100000 + i * 4096, pa, 4096, RW));
  expect(mapped.filter((result) => result !== 0)).toEqual([]);
  expect(iommuUnmap(domain, 0x100000, pages.length * 4096)).toBe(pages.length * 4096);
  expect(pages.filter((pa) => pageRecord(h, pa).refcount !== 0)).toEqual([]);
  expect(h.machine.smmus[0]!.stale()).toEqual([]);
});
