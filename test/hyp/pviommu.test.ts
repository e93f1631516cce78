/** A guest's paravirtual IOMMU: routes, token, domains, maps of its own pages, and the way of a device there and back. */
import { expect, test } from 'vitest';
import { DeviceRecord, PvIommuRecord } from '#hyp/layout';
import { Errno, GuestStatus, guestCalls } from '#hypercall-abi';
import { offsetOf } from '#lab/oracle/layout-reader';
import { twoSmmus } from '#machine';
import { attached, GPU_ROUTES, guestOn, NET_PFN, NET_ROUTE, NET_SID, SMMU0, served } from './guest-rig.ts';
import { booted, type Harness, pageRecord } from './harness.ts';

const INVALID = GuestStatus.invalid;
const RW = 3;
const PAGE = 4096;

function contextOf(h: Harness, device: number): number {
  return h.machine.memory.read32(h.layout.devices + device * DeviceRecord.size + offsetOf(DeviceRecord, 'context'));
}

test('a guest asks for its device, attaches it, maps its own page, and only that page is reached', () => {
  const { guest, domain } = attached();
  const { h, pages } = guest;
  expect(domain).toBe(256);
  expect(served(guest, 'guest_map_pages', domain, 0x4000, 0x100000, 2 * PAGE, RW)).toMatchObject({
    status: 0,
    value: 2 * PAGE,
  });
  expect(pageRecord(h, pages[0]!).refcount).toBe(1);
  expect(h.machine.device('net').write(0x4000, [0x1234])).toMatchObject({ ok: true, pa: pages[0]! });
  expect(h.machine.device('net').read(0x5000, 1)).toMatchObject({ ok: true, pa: pages[1]! });
  expect(h.machine.device('net').read(0x6000, 1).ok).toBe(false);
  expect(guest.call('guest_unmap_pages', domain, 0x4000, PAGE)).toMatchObject({ status: 0, value: PAGE });
  expect(pageRecord(h, pages[0]!).refcount).toBe(0);
  expect(h.machine.device('net').read(0x4000, 1).ok).toBe(false);
  expect(guest.call('guest_unmap_pages', domain, 0x4000, 2 * PAGE)).toMatchObject({ status: INVALID, value: 0 });
});

test('the token is the SMMU and the StreamID behind the virtual one, and makes the device the guest’s', () => {
  const guest = guestOn();
  expect(guest.call('guest_alloc_domain').value).toBe(256);
  expect(served(guest, 'guest_attach_dev', 7, 1, 0, 256, 0).status).toBe(INVALID);
  expect(contextOf(guest.h, 0)).toBe(0);
  expect(guest.call('guest_dev_req_dma', 7, 1)).toMatchObject({ status: 0, value: SMMU0, value2: NET_SID });
  expect(contextOf(guest.h, 0)).toBe(guest.vm);
  expect(guest.call('guest_dev_req_dma', 7, 1).status).toBe(0);
  expect(served(guest, 'guest_attach_dev', 7, 1, 0, 256, 0).status).toBe(0);
});

test.each([
  ['a pvIOMMU that it has not', [8, 1]],
  ['a virtual StreamID that has no route', [7, 9]],
  ['registers that the host has not given up', [7, 2]],
])('DEV_REQ_DMA is refused for %s', (_, args) => {
  const guest = guestOn();
  expect(guest.call('guest_dev_req_dma', ...args).status).toBe(INVALID);
  expect([0, 1, 2, 3].map((device) => contextOf(guest.h, device))).toEqual([0, 0, 0, 0]);
});

test('DEV_REQ_DMA is refused while the host still has the stream attached', () => {
  const h = booted(twoSmmus);
  const id = h.driver.allocDomain(0, 1);
  expect(h.driver.attach(0, id, NET_SID)).toBe(0);
  const guest = guestOn(h);
  expect(guest.call('guest_dev_req_dma', 7, 1).status).toBe(INVALID);
  expect(h.driver.detach(0, id, NET_SID)).toBe(0);
  expect(guest.call('guest_dev_req_dma', 7, 1).status).toBe(0);
  expect(h.driver.attach(0, id, NET_SID)).toBe(-Errno.EPERM);
});

test('a group goes to a guest as one', () => {
  const guest = guestOn(
    booted(twoSmmus),
    [
      [1, 5, 1, 5],
      [1, 6, 1, 6],
    ],
    [[0x0a020, 1]],
  );
  expect(guest.call('guest_dev_req_dma', 1, 6).status).toBe(0);
  expect([2, 3].map((device) => contextOf(guest.h, device))).toEqual([guest.vm, guest.vm]);
});

test('a guest is refused every id that it was not given, and every device of somebody else', () => {
  const { guest, domain } = attached();
  const { h } = guest;
  const hosts = h.driver.allocDomain(0, 1);
  for (const id of [0, hosts, 200, domain + 1, 511, 512, 2 ** 31]) {
    expect(guest.call('guest_free_domain', id).status).toBe(INVALID);
    expect(guest.call('guest_map_pages', id, 0, 0x100000, PAGE, RW)).toMatchObject({ status: INVALID, value: 0 });
    expect(guest.call('guest_unmap_pages', id, 0, PAGE).status).toBe(INVALID);
    expect(guest.call('guest_attach_dev', 7, 1, 0, id, 0).status).toBe(INVALID);
    expect(guest.call('guest_detach_dev', 7, 1, 0, id).status).toBe(INVALID);
  }
  expect(guest.call('guest_free_domain', domain).status).toBe(INVALID);
  expect(guest.call('guest_detach_dev', 7, 1, 0, domain).status).toBe(0);
  expect(guest.call('guest_free_domain', domain).status).toBe(0);
  expect(guest.call('guest_free_domain', domain).status).toBe(INVALID);
  expect(guest.call('guest_alloc_domain').value).toBe(domain);
});

test('the host is refused a guest’s domain', () => {
  const { guest, domain } = attached();
  const { h, host } = guest;
  expect(h.driver.map(domain, 0x4000, h.memory.alloc(), 4096, 1, RW)).toBe(0);
  expect(h.driver.lastErrno).toBe(-Errno.ENOENT);
  expect(host('free_domain', domain)).toBe(-Errno.EINVAL);
  expect(host('attach_dev', 0, domain, 0x10, 0, 0, 0)).toBe(-Errno.EINVAL);
  expect(host('detach_dev', 0, domain, 0x10, 0)).toBeLessThan(0);
  expect(host('detach_dev', 0, domain, NET_SID, 0)).toBe(-Errno.EPERM);
  expect(host('set_identity', 0, 0, NET_SID, 1, 0)).toBe(-Errno.EPERM);
});

test('a page that the guest has not is asked for, and the map goes on from there', () => {
  const { guest, domain } = attached();
  const map = served(guest, 'guest_map_pages', domain, 0, 0x103000, 2 * PAGE, RW);
  expect(map).toMatchObject({ status: 0, value: PAGE, exit: { reason: 'map', ipa: 0x104000, size: PAGE } });
  expect(guest.call('guest_map_pages', domain, 0x100000, 2 ** 48, PAGE, RW)).toMatchObject({
    status: INVALID,
    value: 0,
    exit: null,
  });
});

test('a call for which memory is missing is made again, and has done nothing before', () => {
  const guest = guestOn();
  expect(guest.call('guest_dev_req_dma', 7, 1).status).toBe(0);
  const domain = guest.call('guest_alloc_domain').value;
  const first = guest.call('guest_attach_dev', 7, 1, 0, domain, 0);
  expect(first).toMatchObject({ again: true, exit: { reason: 'memory', request: { pool: 1 } } });
  expect(guest.call('guest_free_domain', domain).status).toBe(0);
  expect(guest.call('guest_alloc_domain').value).toBe(domain);
  expect(served(guest, 'guest_attach_dev', 7, 1, 0, domain, 0).status).toBe(0);
});

test('when the VM goes, its devices are blocked and the host’s, its pages and domains free', () => {
  const { guest, domain } = attached();
  const { h, host, vm, pages } = guest;
  expect(served(guest, 'guest_map_pages', domain, 0x4000, 0x100000, 4 * PAGE, RW).value).toBe(4 * PAGE);
  expect(h.boundary.read32(0, NET_PFN * PAGE)).toBeNull();
  h.boundary.call(0, 'vcpu_put');
  expect(host('start_teardown_vm', vm)).toBe(0);
  expect(h.machine.device('net').read(0x4000, 1).ok).toBe(false);
  expect(contextOf(h, 0)).toBe(0);
  expect(h.boundary.read32(0, NET_PFN * PAGE)).not.toBeNull();
  pages.forEach((pa, i) => {
    expect(pageRecord(h, pa).refcount).toBe(0);
    expect(host('reclaim_dying_guest_page', vm, 0x100 + i, 1)).toBe(0);
  });
  expect(host('finalize_teardown_vm', vm)).toBe(0);
  const id = h.driver.allocDomain(0, 1);
  expect(h.driver.attach(0, id, NET_SID)).toBe(0);
  const first = h.machine.memory.read32(h.layout.pviommus + offsetOf(PvIommuRecord, 'vm'));
  expect(first).toBe(0);
  const next = guestOn(h, [NET_ROUTE, ...GPU_ROUTES], []);
  expect(next.call('guest_alloc_domain').value).toBe(domain);
});

test('every register that has no argument must be zero, and an unknown operation is not supported', () => {
  const guest = guestOn();
  const { boundary } = guest.h;
  for (const spec of guestCalls) {
    const first = spec.op < 0 ? 1 : 2;
    for (let n = first + spec.args.length; n < 7; n++) {
      const x = boundary.guestRegisters(0);
      x.fill(0);
      x[0] = spec.functionId | 0;
      if (spec.op >= 0) x[2] = spec.op;
      x[2 * n + 1] = 1;
      expect(boundary.guestHvc(0), `${spec.name} x${n}`).toBeNull();
      expect([x[0], x[1]], `${spec.name} x${n}`).toEqual([INVALID, -1]);
    }
  }
  for (const [x0, x1, hi] of [
    [0xc600003e, 6, 0],
    [0xc600003e, 0, 1],
    [0xc600003f, 0, 0],
    [0, 0, 0],
  ] as const) {
    const x = boundary.guestRegisters(0);
    x.fill(0);
    x[0] = x0 | 0;
    x[2] = x1;
    x[3] = hi;
    boundary.guestHvc(0);
    expect(x[0]).toBe(GuestStatus.notSupported);
  }
});

test('without a loaded vCPU, and for a guest that is not protected, no call is supported', () => {
  const guest = guestOn(booted(twoSmmus), [NET_ROUTE], [], false);
  expect(guest.call('guest_alloc_domain').status).toBe(GuestStatus.notSupported);
  guest.h.boundary.call(0, 'vcpu_put');
  expect(guest.call('guest_alloc_domain').status).toBe(GuestStatus.notSupported);
});

test('routes are refused without an address, twice, when full, and once the VM is made', () => {
  const h = booted(twoSmmus);
  const call = (name: 'pviommu_attach' | 'pviommu_add_vsid', ...args: number[]): number =>
    h.boundary.call(0, name, ...args).errno;
  expect(call('pviommu_attach', 0, 1)).toBe(-Errno.EINVAL);
  expect(call('pviommu_add_vsid', 0x1000, 1, 0, 0, 0)).toBe(-Errno.ENOENT);
  expect(call('pviommu_attach', 0x1000, 1)).toBe(0);
  for (let i = 0; i < 16; i++) expect(call('pviommu_add_vsid', 0x1000, 1, 0, i, i)).toBe(0);
  expect(call('pviommu_add_vsid', 0x1000, 1, 0, 16, 16)).toBe(-Errno.EBUSY);
  expect(call('pviommu_attach', 0x2000, 1)).toBe(0);
  expect(call('pviommu_add_vsid', 0x2000, 1, 0, 1, 5)).toBe(0);
  expect(call('pviommu_add_vsid', 0x2000, 1, 0, 2, 5)).toBe(-Errno.EEXIST);
  for (let i = 2; i < 32; i++) expect(call('pviommu_attach', 0x3000, i)).toBe(0);
  expect(call('pviommu_attach', 0x3000, 99)).toBe(-Errno.EBUSY);
});

test('registers go to the hypervisor and back as a whole range, and not once they were mapped for DMA', () => {
  const h = booted(twoSmmus);
  const host = (name: 'host_donate_hyp_mmio' | 'host_reclaim_hyp_mmio', ...args: (number | bigint)[]): number =>
    h.boundary.call(0, name, ...args).errno;
  expect(host('host_donate_hyp_mmio', 0x0a010, 1)).toBe(-Errno.ENODEV);
  expect(host('host_donate_hyp_mmio', 2n ** 64n - 1n, 2n ** 64n - 1n)).toBe(-Errno.ENODEV);
  expect(host('host_reclaim_hyp_mmio', 0x0a010, 2)).toBe(-Errno.EPERM);
  expect(host('host_donate_hyp_mmio', 0x0a010, 2)).toBe(0);
  expect(host('host_donate_hyp_mmio', 0x0a010, 2)).toBe(-Errno.EPERM);
  expect(h.boundary.read32(0, 0x0a011000)).toBeNull();
  expect(host('host_reclaim_hyp_mmio', 0x0a010, 2)).toBe(0);
  expect(h.boundary.read32(0, 0x0a011000)).toBe(0);
  const id = h.driver.allocDomain(0, 1);
  expect(h.driver.map(id, 0x4000, 0x0a020000, 4096, 1, RW | 16)).toBe(4096);
  expect(host('host_donate_hyp_mmio', 0x0a020, 1)).toBe(-Errno.EPERM);
  const { guest } = attached();
  expect(guest.host('host_donate_hyp_mmio', NET_PFN, 1)).toBe(-Errno.EBUSY);
  expect(guest.host('host_reclaim_hyp_mmio', NET_PFN, 1)).toBe(-Errno.EBUSY);
});
