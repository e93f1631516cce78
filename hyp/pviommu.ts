/**
 * Paravirtual IOMMUs: the host says, before a VM is made, which virtual StreamIDs the guest will find and which streams
 * they stand for. Once the VM is made nothing of it changes until the VM is gone. A VM that is not there yet is named by
 * the address of the description that init_vm will read.
 *
 * Models pKVM's pviommu-host.c. What a route leads to is not looked at here: that the device is the guest's is found when it
 * is used.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { PVIOMMU_COUNT, PVIOMMU_ROUTES_MAX, PvIommuRecord, PvIommuRoute } from './layout.ts';
import { lock, unlock } from './lock.ts';

const KVM = 0;
const ID = 8;
const VM = 12;
const COUNT = 16;
const ROUTES = 32;
const ROUTE_ENDPOINT = 4;
const ROUTE_VSID = 8;

/** Whether record `at` is for the VM whose description's address is in x1. */
function isFor(h: Hyp, at: number): boolean {
  const { memory, x } = h;
  return memory.read32(at + KVM) === x[2] && memory.read32(at + KVM + 4) === x[3];
}

function isFree(h: Hyp, at: number): boolean {
  return (h.memory.read32(at + KVM) | h.memory.read32(at + KVM + 4)) === 0;
}

/** pviommu_attach: x1 address of the description. @returns 0, -EINVAL no address, -EBUSY all records are taken */
export function* attachPvIommu(h: Hyp, id: number): Steps<number> {
  if ((h.x[2]! | h.x[3]!) === 0) return err('EINVAL');
  yield* lock(h, h.layout.pviommuLock);
  let result = err('EBUSY');
  for (let i = 0; i < PVIOMMU_COUNT && result !== 0; i++) {
    const at = h.layout.pviommus + i * PvIommuRecord.size;
    if (!isFree(h, at)) continue;
    yield { kind: 'write', at };
    h.memory.write64(at + KVM, h.x[3]!, h.x[2]!);
    h.memory.write32(at + ID, id);
    result = 0;
  }
  yield* unlock(h, h.layout.pviommuLock);
  return result;
}

/**
 * pviommu_add_vsid: x1 address of the description. @returns 0; -ENOENT no such IOMMU that may still change; -EBUSY it has
 * all the routes it can; -EEXIST the virtual StreamID has one
 */
export function* addVsid(h: Hyp, id: number, iommu: number, endpoint: number, vsid: number): Steps<number> {
  yield* lock(h, h.layout.pviommuLock);
  let result = err('ENOENT');
  for (let i = 0; i < PVIOMMU_COUNT && result === err('ENOENT'); i++) {
    const at = h.layout.pviommus + i * PvIommuRecord.size;
    if (isFree(h, at) || h.memory.read32(at + VM) !== 0) continue;
    if (h.memory.read32(at + ID) === id && isFor(h, at)) result = yield* addRoute(h, at, iommu, endpoint, vsid);
  }
  yield* unlock(h, h.layout.pviommuLock);
  return result;
}

function* addRoute(h: Hyp, pviommu: number, iommu: number, endpoint: number, vsid: number): Steps<number> {
  const count = h.memory.read32(pviommu + COUNT);
  if (count === PVIOMMU_ROUTES_MAX) return err('EBUSY');
  if (routeIn(h, pviommu, vsid) >= 0) return err('EEXIST');
  const at = pviommu + ROUTES + count * PvIommuRoute.size;
  yield { kind: 'write', at };
  h.memory.write32(at, iommu);
  h.memory.write32(at + ROUTE_ENDPOINT, endpoint);
  h.memory.write32(at + ROUTE_VSID, vsid);
  h.memory.write32(pviommu + COUNT, count + 1);
  return 0;
}

function routeIn(h: Hyp, pviommu: number, vsid: number): number {
  const count = h.memory.read32(pviommu + COUNT);
  for (let i = 0; i < count; i++) {
    const at = pviommu + ROUTES + i * PvIommuRoute.size;
    if (h.memory.read32(at + ROUTE_VSID) === (vsid | 0)) return at;
  }
  return -1;
}

/** The VM with that handle has been made from the description whose address is in x1: its IOMMUs are fixed. */
export function* finalizePvIommus(h: Hyp, handle: number): Steps<void> {
  yield* lock(h, h.layout.pviommuLock);
  for (let i = 0; i < PVIOMMU_COUNT; i++) {
    const at = h.layout.pviommus + i * PvIommuRecord.size;
    if (isFree(h, at) || h.memory.read32(at + VM) !== 0 || !isFor(h, at)) continue;
    yield { kind: 'write', at };
    h.memory.write32(at + VM, handle);
  }
  yield* unlock(h, h.layout.pviommuLock);
}

/** The VM goes: its IOMMUs are free. */
export function* freePvIommus(h: Hyp, handle: number): Steps<void> {
  yield* lock(h, h.layout.pviommuLock);
  for (let i = 0; i < PVIOMMU_COUNT; i++) {
    const at = h.layout.pviommus + i * PvIommuRecord.size;
    if (h.memory.read32(at + VM) !== handle) continue;
    yield { kind: 'write', at };
    for (let word = 0; word < PvIommuRecord.size; word += 4) h.memory.write32(at + word, 0);
  }
  yield* unlock(h, h.layout.pviommuLock);
}

/**
 * What a virtual StreamID of a VM's IOMMU stands for. Of several IOMMUs with one number the first counts. No lock: nothing
 * of it changes while a vCPU of the VM is loaded.
 * @returns address of the route, or -1
 */
export function* findRoute(h: Hyp, vm: number, id: number, vsid: number): Steps<number> {
  for (let i = 0; i < PVIOMMU_COUNT; i++) {
    const at = h.layout.pviommus + i * PvIommuRecord.size;
    if (h.memory.read32(at + VM) !== vm || h.memory.read32(at + ID) !== (id | 0)) continue;
    yield { kind: 'read', at };
    return routeIn(h, at, vsid);
  }
  return -1;
}

/** Index of the SMMU that a route leads to. */
export function routeIommu(h: Hyp, route: number): number {
  return h.memory.read32(route) >>> 0;
}

/** StreamID that a route leads to. */
export function routeEndpoint(h: Hyp, route: number): number {
  return h.memory.read32(route + ROUTE_ENDPOINT) >>> 0;
}
