import { expect, test } from 'vitest';
import type { CallName } from '#hypercall-abi';
import { booted, type Harness, pageRecord } from './harness.ts';

const OWNED = 0;
const SHARED_OWNED = 1;
const NO_PAGE = 3;

function errno(h: Harness, name: CallName, ...args: number[]): number {
  return h.boundary.call(0, name, ...args).errno;
}

/** A VM whose vCPU 0 is loaded on CPU 0. */
function makeVm(h: Harness, isProtected: boolean): number {
  const handle = h.boundary.call(0, 'reserve_vm').value;
  const kvm = h.memory.alloc();
  h.boundary.write32(0, kvm, handle);
  h.boundary.write32(0, kvm + 4, isProtected ? 1 : 0);
  h.boundary.write32(0, kvm + 8, 1);
  expect(errno(h, 'init_vm', kvm, h.memory.alloc())).toBe(-1);
  expect(errno(h, 'host_share_hyp', kvm / 4096)).toBe(0);
  expect(errno(h, 'init_vm', kvm, h.memory.alloc())).toBe(0);
  expect(errno(h, 'host_unshare_hyp', kvm / 4096)).toBe(0);
  h.boundary.call(0, 'vcpu_load', handle, 0);
  return handle;
}

test('a page donated to a protected guest is out of reach of the host and of its devices, until it is reclaimed zeroed', () => {
  const h = booted();
  const vm = makeVm(h, true);
  const id = h.driver.allocDomain(0, 1);
  h.driver.attach(0, id, 0);
  const pa = h.memory.alloc();
  h.boundary.write32(0, pa, 0x5ec2e7);
  expect(errno(h, 'map_guest', pa / 4096, 0x100, 1, 7)).toBe(0);
  expect(pageRecord(h, pa).hostState).toBe(NO_PAGE);
  expect(h.boundary.read32(0, pa)).toBeNull();
  expect(h.driver.map(id, 0x4000, pa, 4096, 1, 3)).toBe(0);
  expect(h.driver.lastErrno).toBe(-1);
  expect(errno(h, 'map_guest', pa / 4096, 0x101, 1, 7)).toBe(-1);
  expect(errno(h, 'reclaim_dying_guest_page', vm, 0x100, 1)).toBe(-22);
  expect(errno(h, 'start_teardown_vm', vm)).toBe(-16);
  h.boundary.call(0, 'vcpu_put');
  expect(errno(h, 'start_teardown_vm', vm)).toBe(0);
  expect(errno(h, 'start_teardown_vm', vm)).toBe(-22);
  expect(errno(h, 'finalize_teardown_vm', vm)).toBe(-16);
  expect(errno(h, 'reclaim_dying_guest_page', vm, 0x101, 1)).toBe(-2);
  expect(errno(h, 'reclaim_dying_guest_page', vm, 0x100, 1)).toBe(0);
  expect(h.boundary.read32(0, pa)).toBe(0);
  expect(errno(h, 'finalize_teardown_vm', vm)).toBe(0);
  expect(errno(h, 'finalize_teardown_vm', vm)).toBe(-2);
});

test('a page mapped for DMA is refused to a guest, donated or shared', () => {
  for (const isProtected of [true, false]) {
    const h = booted();
    makeVm(h, isProtected);
    const id = h.driver.allocDomain(0, 1);
    const pa = h.memory.alloc();
    h.driver.map(id, 0x4000, pa, 4096, 1, 3);
    expect(errno(h, 'map_guest', pa / 4096, 0x100, 1, 7)).toBe(-22);
    h.driver.unmap(id, 0x4000, 4096, 1);
    expect(errno(h, 'map_guest', pa / 4096, 0x100, 1, 7)).toBe(0);
  }
});

test("a page shared with a guest stays the host's, counts its shares, and is not mapped for DMA meanwhile", () => {
  const h = booted();
  const vm = makeVm(h, false);
  const id = h.driver.allocDomain(0, 1);
  const pa = h.memory.alloc();
  expect(errno(h, 'map_guest', pa / 4096, 0x100, 1, 8)).toBe(-22);
  expect(errno(h, 'map_guest', pa / 4096, 0x100, 1, 6)).toBe(0);
  expect(errno(h, 'map_guest', pa / 4096, 0x200, 1, 6)).toBe(0);
  expect(pageRecord(h, pa).hostState).toBe(SHARED_OWNED);
  expect(h.boundary.write32(0, pa, 7)).toBe(true);
  h.driver.map(id, 0x4000, pa, 4096, 1, 3);
  expect(h.driver.lastErrno).toBe(-1);
  expect(errno(h, 'unshare_guest', vm, 0x100, 1)).toBe(0);
  expect(pageRecord(h, pa).hostState).toBe(SHARED_OWNED);
  expect(errno(h, 'unshare_guest', vm, 0x100, 1)).toBe(-2);
  expect(errno(h, 'unshare_guest', vm, 0x200, 1)).toBe(0);
  expect(pageRecord(h, pa).hostState).toBe(OWNED);
});

test('512 pages go as a block or not at all', () => {
  const h = booted();
  makeVm(h, true);
  const pa = 0x40000000;
  expect(errno(h, 'map_guest', pa / 4096, 0x100, 512, 7)).toBe(-22);
  expect(errno(h, 'map_guest', pa / 4096, 0x200, 2, 7)).toBe(-22);
  const id = h.driver.allocDomain(0, 1);
  h.driver.map(id, 0x4000, pa + 300 * 4096, 4096, 1, 3);
  expect(errno(h, 'map_guest', pa / 4096, 0x200, 512, 7)).toBe(-22);
  expect(pageRecord(h, pa).hostState).toBe(OWNED);
  h.driver.unmap(id, 0x4000, 4096, 1);
  expect(errno(h, 'map_guest', pa / 4096, 0x200, 512, 7)).toBe(0);
  expect(pageRecord(h, pa + 511 * 4096).hostState).toBe(NO_PAGE);
});

test('only a loaded vCPU makes map_guest mean a guest', () => {
  const h = booted();
  const vm = makeVm(h, true);
  h.boundary.call(0, 'vcpu_put');
  expect(errno(h, 'map_guest', h.memory.alloc() / 4096, 0x100, 1, 7)).toBe(-22);
  h.boundary.call(0, 'vcpu_load', vm, 1);
  expect(errno(h, 'map_guest', h.memory.alloc() / 4096, 0x100, 1, 7)).toBe(-22);
});

test('init_vm tells a misaligned description by its low bits, whatever the register holds above', () => {
  const h = booted();
  expect(h.boundary.call(0, 'init_vm', 0xffffffffffffffffn, 0n).errno).toBe(-22);
  expect(h.boundary.call(0, 'init_vm', 0xfffffffffffff000n, 0n).errno).toBe(-1);
});
