/**
 * Virtual machines: a handle is reserved, becomes a VM with a donated top-level table, is torn down, and is free again
 * (pKVM's pkvm.c). A vCPU that is loaded on a CPU says which guest map_guest means.
 *
 * Left out: vCPU state and running a guest. The model needs a guest only as somebody who owns pages.
 */

import { err, getNumber, VM_COUNT, VM_HANDLE_BASE, VmDescription } from '#hypercall-abi';
import type { Steps } from '#machine';
import { takeBackDevices } from './assign.ts';
import type { Hyp } from './context.ts';
import { freeGuestDomains } from './guest-domain.ts';
import { fetchWord } from './host-buffer.ts';
import { VmRecord } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { donateToHost, donateToHyp, pinSharedPage, unpinSharedPage } from './ownership.ts';
import { readPointer, writePointer } from './pool.ts';
import { finalizePvIommus, freePvIommus } from './pviommu.ts';
import { cpuRecord } from './request.ts';
import { freeTables, PAGE_SIZE } from './stage2.ts';

export const VmState = { free: 0, reserved: 1, live: 2, dying: 3 } as const;

const STATE = 0;
const PROTECTED_BIT = 1 << 8;
const VCPUS = 4;
const ROOT = 8;
export const VM_LOCK = 16;
const LOADS = 20;
/** Pages in the guest's stage 2, counted in its record. */
export const GUEST_PAGES = 24;
const LOADED_VM = 8;

/** Record of the VM with that handle; -1 when no handle can be that number. */
function vmRecord(h: Hyp, handle: number): number {
  const slot = handle - VM_HANDLE_BASE;
  return slot >= 0 && slot < VM_COUNT ? h.layout.vms + slot * VmRecord.size : -1;
}

function* vmState(h: Hyp, at: number): Steps<number> {
  yield { kind: 'read', at };
  return h.memory.read32(at + STATE) & 0xff;
}

/** Record of the VM when it is in that state, else -1. Callers hold the VM table lock. */
export function* findVm(h: Hyp, handle: number, state: number): Steps<number> {
  const at = vmRecord(h, handle);
  return at >= 0 && (yield* vmState(h, at)) === state ? at : -1;
}

export function isProtected(h: Hyp, at: number): boolean {
  return (h.memory.read32(at + STATE) & PROTECTED_BIT) !== 0;
}

/** Physical address of the guest's stage-2 root. */
export function vmRoot(h: Hyp, at: number): number {
  return readPointer(h, at + ROOT);
}

/** Record of the live VM whose vCPU is loaded on this CPU, or -1. */
export function* loadedVm(h: Hyp): Steps<number> {
  const handle = h.memory.read32(cpuRecord(h) + LOADED_VM);
  return handle === 0 ? -1 : yield* findVm(h, handle, VmState.live);
}

/** Record of the protected VM whose guest makes a call on this CPU, or -1. */
export function* callingVm(h: Hyp): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const at = yield* loadedVm(h);
  yield* unlock(h, h.layout.vmLock);
  // While its vCPU is loaded the VM cannot go.
  return at >= 0 && isProtected(h, at) ? at : -1;
}

/** Handle of the VM with that record. */
export function vmHandle(h: Hyp, at: number): number {
  return VM_HANDLE_BASE + (at - h.layout.vms) / VmRecord.size;
}

/** reserve_vm. @returns the handle, or -ENOMEM when all are taken */
export function* reserveVm(h: Hyp): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const at = yield* findFreeVm(h);
  if (at >= 0) yield* setState(h, at, VmState.reserved);
  yield* unlock(h, h.layout.vmLock);
  return at < 0 ? err('ENOMEM') : handleOf(h, at);
}

/** Record of a VM that does not exist, or -1 when there are none left. */
function* findFreeVm(h: Hyp): Steps<number> {
  for (let slot = 0; slot < VM_COUNT; slot++) {
    const at = h.layout.vms + slot * VmRecord.size;
    if ((yield* vmState(h, at)) === VmState.free) return at;
  }
  return -1;
}

function handleOf(h: Hyp, at: number): number {
  return VM_HANDLE_BASE + (at - h.layout.vms) / VmRecord.size;
}

function* setState(h: Hyp, at: number, state: number): Steps<void> {
  yield { kind: 'write', at };
  h.memory.write32(at + STATE, state);
}

/** unreserve_vm: acts only on a handle that is still reserved. */
export function* unreserveVm(h: Hyp, handle: number): Steps<void> {
  yield* lock(h, h.layout.vmLock);
  const at = yield* findVm(h, handle, VmState.reserved);
  if (at >= 0) yield* setState(h, at, VmState.free);
  yield* unlock(h, h.layout.vmLock);
}

/**
 * init_vm: x1 address of the VM's description, read once from a page shared with the hypervisor; x2 address of the page
 * for the top-level table. @returns 0, -EPERM (description not shared), -EINVAL (vCPUs, handle, pgd, slot), -ENOMEM
 */
export function* initVm(h: Hyp): Steps<number> {
  return yield* makeVm(h, true);
}

/** init_vm without a handle reserved before: the VM gets a free one. @returns the handle, or also -ENOMEM none is free */
export function* createVm(h: Hyp): Steps<number> {
  return yield* makeVm(h, false);
}

/** @param isReserved whether the description names a handle that was reserved for the VM */
function* makeVm(h: Hyp, isReserved: boolean): Steps<number> {
  // What lies below a page boundary is told by the low word, exactly, whatever else the register holds.
  const offset = h.x[2]! & (PAGE_SIZE - 1);
  const isPgdAligned = (h.x[4]! & (PAGE_SIZE - 1)) === 0;
  const kvm = getNumber(h.x, 1);
  const pgd = getNumber(h.x, 2);
  const page = kvm - offset;
  if (offset % 4 !== 0 || offset + VmDescription.size > PAGE_SIZE) return err('EINVAL');
  // The host may still write the page: it must not go away, and each field is fetched once.
  const pinned = yield* pinSharedPage(h, page);
  if (pinned < 0) return pinned;
  const handle = yield* fetchWord(h, kvm + VmDescription.handle);
  const isProtectedVm = (yield* fetchWord(h, kvm + VmDescription.protected)) !== 0;
  const vcpus = yield* fetchWord(h, kvm + VmDescription.vcpus);
  yield* unpinSharedPage(h, page);
  if (vcpus < 1) return err('EINVAL');
  if (isReserved && vmRecord(h, handle) < 0) return err('EINVAL');
  // Upstream returns 0 without making a VM here (see docs/profiles.md).
  if (!isPgdAligned) return err('EINVAL');
  yield* lock(h, h.layout.vmLock);
  const at = isReserved ? yield* findVm(h, handle, VmState.reserved) : yield* findFreeVm(h);
  let result = at < 0 ? err(isReserved ? 'EINVAL' : 'ENOMEM') : yield* donateToHyp(h, pgd, 1);
  if (result === err('EPERM')) result = err('EINVAL');
  if (result === 0) {
    h.memory.zeroPage(pgd);
    writePointer(h, at + ROOT, pgd);
    h.memory.write32(at + VCPUS, vcpus);
    yield* finalizePvIommus(h, vmHandle(h, at));
    yield* setState(h, at, VmState.live | (isProtectedVm ? PROTECTED_BIT : 0));
    if (!isReserved) result = handleOf(h, at);
  }
  yield* unlock(h, h.layout.vmLock);
  return result;
}

/** vcpu_load: the vCPU becomes current on this CPU, unless one is already or there is no such vCPU. */
export function* vcpuLoad(h: Hyp, handle: number, vcpu: number): Steps<void> {
  yield* lock(h, h.layout.vmLock);
  const loaded = cpuRecord(h) + LOADED_VM;
  const at = yield* findVm(h, handle, VmState.live);
  if (at >= 0 && h.memory.read32(loaded) === 0 && vcpu < h.memory.read32(at + VCPUS) >>> 0) {
    yield { kind: 'write', at: loaded };
    h.memory.write32(loaded, handle);
    h.memory.write32(at + LOADS, h.memory.read32(at + LOADS) + 1);
  }
  yield* unlock(h, h.layout.vmLock);
}

/** vcpu_put. */
export function* vcpuPut(h: Hyp): Steps<void> {
  yield* lock(h, h.layout.vmLock);
  const loaded = cpuRecord(h) + LOADED_VM;
  const at = vmRecord(h, h.memory.read32(loaded));
  if (at >= 0) {
    yield { kind: 'write', at: loaded };
    h.memory.write32(loaded, 0);
    h.memory.write32(at + LOADS, h.memory.read32(at + LOADS) - 1);
  }
  yield* unlock(h, h.layout.vmLock);
}

/**
 * start_teardown_vm: the VM's devices go back to the host, its domains and paravirtual IOMMUs are gone. Only then can its
 * pages be reclaimed.
 * @returns 0, -ENOENT, -EBUSY while a vCPU is loaded, -EINVAL when it is dying already, -ETIMEDOUT an SMMU does not answer
 */
export function* startTeardownVm(h: Hyp, handle: number): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const live = yield* findVm(h, handle, VmState.live);
  let result = 0;
  if (live < 0) {
    result = (yield* findVm(h, handle, VmState.dying)) >= 0 ? err('EINVAL') : err('ENOENT');
  } else if (h.memory.read32(live + LOADS) !== 0) {
    result = err('EBUSY');
  } else {
    // Its devices first: what a stream leads to must not be freed while it does.
    result = yield* takeBackDevices(h, handle);
    if (result === 0) result = yield* freeGuestDomains(h, handle);
    if (result === 0) {
      yield* freePvIommus(h, handle);
      yield* setState(h, live, VmState.dying | (isProtected(h, live) ? PROTECTED_BIT : 0));
    }
  }
  yield* unlock(h, h.layout.vmLock);
  return result;
}

/**
 * finalize_teardown_vm: tables go back to the heap, the top-level page to the host, the handle is free. Pages that the
 * guest still holds stay out of the host's reach until they are reclaimed, so a VM that holds any is not finalised.
 * @returns 0, -ENOENT, -EBUSY when it is not dying or still holds pages, -ENOMEM
 */
export function* finalizeTeardownVm(h: Hyp, handle: number): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const at = yield* findVm(h, handle, VmState.dying);
  let result = at >= 0 ? 0 : (yield* findVm(h, handle, VmState.live)) >= 0 ? err('EBUSY') : err('ENOENT');
  if (result === 0 && h.memory.read32(at + GUEST_PAGES) !== 0) result = err('EBUSY');
  if (result === 0) {
    const pgd = vmRoot(h, at);
    yield* freeTables(h, pgd);
    result = yield* donateToHost(h, pgd, 1);
    if (result === 0) {
      writePointer(h, at + ROOT, 0);
      h.memory.write32(at + VCPUS, 0);
      yield* setState(h, at, VmState.free);
    }
  }
  yield* unlock(h, h.layout.vmLock);
  return result;
}
