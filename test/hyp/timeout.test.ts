import { expect, test } from 'vitest';
import { booted, pageRecord } from './harness.ts';

const CR0 = 0x20;
const CMDQEN = 1 << 3;
const RW = 3;

test('pages and tables stay counted when the SMMU does not answer an invalidation', () => {
  const h = booted();
  const { base } = h.machine.description.smmus[0]!;
  const id = h.driver.allocDomain(0, 1);
  h.driver.attach(0, id, 0);
  const pa = h.memory.alloc(1);
  h.driver.map(id, 0x4000, pa, 4096, 2, RW);
  const free = h.boundary.call(0, 'alloc_mgt_reclaimable', 1).value;
  // The queue stops: commands are written, but nothing consumes them.
  h.machine.bus.write32(base + CR0, h.machine.bus.read32(base + CR0) & ~CMDQEN);
  expect(h.driver.unmap(id, 0x4000, 4096, 1)).toBe(4096);
  expect(pageRecord(h, pa).refcount).toBe(1);
  expect(h.boundary.call(0, 'detach_dev', 0, id, 0, 0).errno).toBe(-110);
  expect(h.boundary.call(0, 'free_domain', id).errno).toBe(-22);
  expect(pageRecord(h, pa + 4096).refcount).toBe(1);
  expect(h.boundary.call(0, 'alloc_mgt_reclaimable', 1).value).toBe(free);
});

test('a domain is not freed while the SMMU does not answer, and keeps its tables and pages', () => {
  const h = booted();
  const { base } = h.machine.description.smmus[0]!;
  const id = h.driver.allocDomain(0, 1);
  const pa = h.memory.alloc();
  h.driver.map(id, 0x4000, pa, 4096, 1, RW);
  const free = h.boundary.call(0, 'alloc_mgt_reclaimable', 1).value;
  h.machine.bus.write32(base + CR0, h.machine.bus.read32(base + CR0) & ~CMDQEN);
  expect(h.driver.freeDomain(id)).toBe(-110);
  expect(pageRecord(h, pa).refcount).toBe(1);
  expect(h.boundary.call(0, 'alloc_mgt_reclaimable', 1).value).toBe(free);
  expect(h.boundary.call(0, 'iova_to_phys', id, 0x4000).value).toBe(pa);
});

test('an attach that the SMMU does not answer keeps the domain alive', () => {
  const h = booted();
  const { base } = h.machine.description.smmus[0]!;
  const id = h.driver.allocDomain(0, 1);
  h.boundary.call(0, 'alloc_mgt_refill', 1, h.memory.alloc(), 1);
  h.machine.bus.write32(base + CR0, h.machine.bus.read32(base + CR0) & ~CMDQEN);
  expect(h.driver.attach(0, id, 0)).toBe(-110);
  expect(h.driver.freeDomain(id)).toBe(-22);
});

test('what an unanswered stage-2 attach left in the entry does not tag a later stage-1 stream', () => {
  const h = booted();
  const { base } = h.machine.description.smmus[0]!;
  const device = h.machine.devices[0]!;
  const [s1, s2] = [h.driver.allocDomain(0, 1), h.driver.allocDomain(0, 2)];
  h.boundary.call(0, 'alloc_mgt_refill', 1, h.memory.alloc(), 1);
  const cr0 = h.machine.bus.read32(base + CR0);
  h.machine.bus.write32(base + CR0, cr0 & ~CMDQEN);
  expect(h.driver.attach(0, s2, device.sid)).toBe(-110);
  h.machine.bus.write32(base + CR0, cr0);
  expect(h.driver.attach(0, s1, device.sid)).toBe(0);
  const pa = h.memory.alloc();
  h.driver.map(s1, 0x4000, pa, 4096, 1, RW);
  expect(device.read(0x4000, 1).ok).toBe(true);
  h.driver.unmap(s1, 0x4000, 4096, 1);
  expect(device.possible(0x4000, false).some(({ ok }) => ok)).toBe(false);
});
