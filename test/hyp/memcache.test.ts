/** Pages that come from the memcache of a CPU and go back there, and a host that writes what it likes into it. */

import { expect, test } from 'vitest';
import { HostMemcache } from '#host';
import { createHypervisor } from '#hyp/plain';
import { Memcache, rfcV1 } from '#hypercall-abi';
import { tiny } from '#machine';
import { makeRig, PAGE, type Rig, RW, tell } from '../lab/oracle-rig.ts';
import { unbooted } from './harness.ts';

const BLOCK = 0x200000;
const { sid } = tiny.devices[0]!;

function start() {
  const rig = makeRig({ profile: rfcV1 });
  return { rig, cache: new HostMemcache(rig.session.boundary, rig.session.memcaches, 0) };
}

function word(rig: Rig, offset: number, cpu = 0): number {
  return rig.session.boundary.read32(0, rig.session.memcaches + cpu * Memcache.size + offset)! >>> 0;
}

/** Pages in the cache, following the links. */
function pagesOf(rig: Rig): number[] {
  const pages: number[] = [];
  for (let pa = word(rig, Memcache.head); pa !== 0; pa = rig.session.boundary.read32(0, pa)! >>> 0) pages.push(pa);
  return pages;
}

test('pages come from the cache, and what a call frees goes back to its front, zeroed', () => {
  const { rig, cache } = start();
  const [a, b, c, d] = [rig.page(), rig.page(), rig.page(), rig.page()];
  for (const page of [d, c, b, a]) cache.push(page!);
  const root = rig.page(1);
  expect(rig.call('alloc_domain', 0, 1, root).errno).toBe(0);
  expect(pagesOf(rig)).toEqual([b, c, d]);
  expect(rig.session.boundary.read32(0, root)).toBeNull();
  const page = rig.page();
  expect(rig.call('map_pages', 0, 1, 0, page, PAGE, 1, RW).value).toBe(PAGE);
  expect(pagesOf(rig)).toEqual([d]);
  expect(rig.call('unmap_pages', 0, 1, 0, PAGE, 1).value).toBe(PAGE);
  expect(rig.call('free_domain', 0, 1).errno).toBe(0);
  expect(pagesOf(rig).slice().sort()).toEqual([b, c, d].sort());
  expect(word(rig, Memcache.pages)).toBe(3);
  // The first table is the host's again, and empty.
  expect(rig.session.boundary.read32(0, root)).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('an empty cache is marked, and the call goes on where it ended once there are pages', () => {
  const { rig, cache } = start();
  expect(rig.call('alloc_domain', 0, 1, rig.page(1)).errno).toBe(-22);
  expect(cache.takeNeed()).toBe(true);
  expect(cache.takeNeed()).toBe(false);
  cache.push(rig.page());
  expect(rig.call('alloc_domain', 0, 1, rig.page(1)).errno).toBe(0);
  const pages = rig.page(1);
  for (let i = 0; i < 2; i++) cache.push(rig.page());
  expect(rig.call('map_pages', 0, 1, BLOCK - PAGE, pages, PAGE, 2, RW).value).toBe(PAGE);
  expect(cache.takeNeed()).toBe(true);
  cache.push(rig.page());
  expect(rig.call('map_pages', 0, 1, BLOCK, pages + PAGE, PAGE, 1, RW).value).toBe(PAGE);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('however many pages the cache has, each call goes on once it gets one more, and nothing is lost', () => {
  for (let given = 0; given <= 8; given++) {
    const { rig, cache } = start();
    const root = rig.page(1);
    const target = rig.page(1);
    for (let i = 0; i < given; i++) cache.push(rig.page());
    let pages = given;
    const serve = (): void => {
      expect(cache.takeNeed(), `with ${pages} pages`).toBe(true);
      cache.push(rig.page());
      pages++;
    };
    while (rig.call('alloc_domain', 0, 1, root).errno !== 0) serve();
    const iova = 2 ** 30 - PAGE;
    for (let done = 0; ; serve()) {
      done += rig.call('map_pages', 0, 1, iova + done, target + done, PAGE, 2 - done / PAGE, RW).value;
      if (done === 2 * PAGE) break;
    }
    expect(rig.call('unmap_pages', 0, 1, iova, PAGE, 2).value).toBe(2 * PAGE);
    expect(rig.call('free_domain', 0, 1).errno).toBe(0);
    // The page of domain records stays.
    expect(pagesOf(rig)).toHaveLength(pages - 1);
    expect(tell(rig.oracle.findings)).toBe('');
  }
});

test('each IOMMU has domains of its own, and the host’s driver drives them', () => {
  const smmu = tiny.smmus[0]!;
  const machine = {
    ...tiny,
    smmus: [smmu, { ...smmu, name: 'smmu1', base: smmu.base + 0x40000 }],
    devices: [...tiny.devices, { ...tiny.devices[0]!, name: 'far', smmu: 'smmu1' }],
  };
  const rig = makeRig({ profile: rfcV1, machine });
  const { driver } = rig.session;
  const ids = [driver.allocDomain(0, 2), driver.allocDomain(1, 2)];
  expect(ids.every((id) => id > 0)).toBe(true);
  for (const [iommu, id] of ids.entries()) {
    expect(driver.attach(iommu, id, sid)).toBe(0);
    const page = rig.page();
    expect(driver.map(id, 0x5000, page, PAGE, 1, RW)).toBe(PAGE);
    expect(driver.iovaToPhys(id, 0x5000)).toBe(page);
  }
  expect(rig.call('attach_dev', 1, ids[0]! % 4096, sid).errno).toBe(-22);
  for (const [iommu, id] of ids.entries()) {
    expect(driver.unmap(id, 0x5000, PAGE, 1)).toBe(PAGE);
    expect(driver.detach(iommu, id, sid)).toBe(0);
    expect(driver.freeDomain(id)).toBe(0);
  }
  expect(tell(rig.oracle.findings)).toBe('');
});

test.each([
  ['no RAM', () => 0x1000],
  ['the hypervisor’s page', () => tiny.carveOut.base],
  ['the cache itself', (rig: Rig) => rig.session.memcaches],
  ['an address inside a page', (rig: Rig) => rig.page() + 8],
])('a cache whose first page is %s has none', (_name, head) => {
  const { rig } = start();
  const { boundary, memcaches } = rig.session;
  boundary.write32(0, memcaches + Memcache.head, head(rig) | 0);
  boundary.write32(0, memcaches + Memcache.pages, 5);
  expect(rig.call('alloc_domain', 0, 1, rig.page(1)).errno).toBe(-22);
  expect(word(rig, Memcache.pages)).toBe(5);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('a list that leads to itself ends', () => {
  const { rig } = start();
  const { boundary, memcaches } = rig.session;
  const page = rig.page();
  boundary.write32(0, page, page | 0);
  boundary.write32(0, memcaches + Memcache.head, page | 0);
  boundary.write32(0, memcaches + Memcache.pages, -1);
  boundary.write32(0, memcaches + Memcache.pages + 4, -1);
  expect(rig.call('alloc_domain', 0, 1, rig.page(1)).errno).toBe(0);
  expect(rig.call('map_pages', 0, 1, 0, rig.page(), PAGE, 1, RW).value).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('boot wants the page of the caches, the host’s own and aligned', () => {
  const smmus = [tiny.smmus[0]!.base];
  const boot = (memcaches?: number): number =>
    createHypervisor(unbooted(tiny).machine, rfcV1).boot({ smmus, ...(memcaches !== undefined && { memcaches }) });
  expect(boot()).toBe(-22);
  expect(boot(tiny.ram[0]!.base + 8)).toBe(-22);
  expect(boot(tiny.carveOut.base)).toBe(-1);
});
