/**
 * Devices change hands: from the host to a VM, a whole isolation group at once, and back when the VM goes. In between
 * nobody's accesses go through. To a guest: the host has blocked every stream and given up every register range; what the
 * SMMU may still hold of a stream is invalidated before the guest counts as its owner. Back: the hypervisor blocks the
 * streams itself, for guests end as they like.
 *
 * Models pKVM's device.c. Left out: resetting the device, which upstream demands of a driver in the hypervisor.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { freeCdTable } from './context-descriptor.ts';
import { CONTEXT, eachResource, eachStream, GROUP, REFS } from './device.ts';
import { HOST_OWNER } from './domain-record.ts';
import { hostStage2Owner } from './host-stage2.ts';
import { DeviceRecord, OwnerId } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { setOwner } from './ownership.ts';
import { SMMU_LOCK, smmuRecord, syncSte } from './smmu.ts';
import { PAGE_SIZE } from './stage2.ts';
import { clearSte, findSte, STE_CONFIG_S1, steCdBits, steCdTable, steConfig, steLo } from './stream-table.ts';

/**
 * Make sure that the device is the VM's: if it is the host's, its group is assigned now.
 * @returns 0; -EPERM another VM has one of the group, a call is at work on it, or the host has not given up its registers;
 * -EINVAL a stream is not blocked; -ETIMEDOUT
 */
export function* claimDevice(h: Hyp, device: number, vm: number): Steps<number> {
  yield* lock(h, h.layout.deviceLock);
  yield { kind: 'read', at: device + CONTEXT };
  const context = h.memory.read32(device + CONTEXT);
  let result = err('EPERM');
  if (context === vm) result = 0;
  else if (context === HOST_OWNER) result = yield* assignGroup(h, h.memory.read32(device + GROUP), vm);
  yield* unlock(h, h.layout.deviceLock);
  return result;
}

/** All of the group, or nothing. */
function* assignGroup(h: Hyp, group: number, vm: number): Steps<number> {
  const { memory, layout } = h;
  const last = layout.devices + layout.deviceCount * DeviceRecord.size;
  for (let device = layout.devices; device < last; device += DeviceRecord.size) {
    if (memory.read32(device + GROUP) !== group) continue;
    const result = yield* checkAssignable(h, device);
    if (result !== 0) return result;
  }
  for (let device = layout.devices; device < last; device += DeviceRecord.size) {
    if (memory.read32(device + GROUP) === group) yield* setContext(h, device, vm);
  }
  return 0;
}

function* setContext(h: Hyp, device: number, vm: number): Steps<void> {
  yield { kind: 'write', at: device + CONTEXT };
  h.memory.write32(device + CONTEXT, vm);
}

function* checkAssignable(h: Hyp, device: number): Steps<number> {
  yield { kind: 'read', at: device + CONTEXT };
  if (h.memory.read32(device + CONTEXT) !== HOST_OWNER || h.memory.read32(device + REFS) !== 0) return err('EPERM');
  const given = yield* eachResource(h, device, (base, size) => checkGiven(h, base, size));
  return given !== 0 ? given : yield* eachStream(h, device, (iommu, sid) => checkBlocked(h, iommu, sid));
}

/** Whether the host has given those registers to the hypervisor. */
function* checkGiven(h: Hyp, base: number, size: number): Steps<number> {
  yield* lock(h, h.layout.hostLock);
  let result = 0;
  for (let pa = base; pa < base + size && result === 0; pa += PAGE_SIZE) {
    if ((yield* hostStage2Owner(h, pa)) !== OwnerId.hyp) result = err('EPERM');
  }
  yield* unlock(h, h.layout.hostLock);
  return result;
}

/** Whether a stream is blocked; what may still be held of its entry is invalidated, and waited for. */
function* checkBlocked(h: Hyp, iommu: number, sid: number): Steps<number> {
  const smmu = smmuRecord(h, iommu);
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, sid, false);
  let result = 0;
  if (ste !== 0) {
    yield { kind: 'readDescriptor', at: ste };
    // An earlier detach may have ended without an answer: the entry is gone, but not from the SMMU's cache.
    result = steLo(h, ste, 0) !== 0 ? err('EINVAL') : yield* syncSte(h, smmu, sid, true);
  }
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

/**
 * Take every device of a VM that goes back to the host: streams blocked, registers the host's again.
 * @returns 0, or -ETIMEDOUT when an SMMU does not answer: that device and those after it stay the VM's
 */
export function* takeBackDevices(h: Hyp, vm: number): Steps<number> {
  const { memory, layout } = h;
  const last = layout.devices + layout.deviceCount * DeviceRecord.size;
  let result = 0;
  yield* lock(h, layout.deviceLock);
  for (let device = layout.devices; device < last && result === 0; device += DeviceRecord.size) {
    yield { kind: 'read', at: device + CONTEXT };
    if (memory.read32(device + CONTEXT) !== vm) continue;
    result = yield* eachStream(h, device, (iommu, sid) => blockStream(h, iommu, sid));
    if (result !== 0) break;
    yield* setContext(h, device, HOST_OWNER);
    result = yield* eachResource(h, device, (base, size) => giveBack(h, base, size));
  }
  yield* unlock(h, layout.deviceLock);
  return result;
}

function* blockStream(h: Hyp, iommu: number, sid: number): Steps<number> {
  const smmu = smmuRecord(h, iommu);
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, sid, false);
  let result = 0;
  if (ste !== 0) {
    yield { kind: 'readDescriptor', at: ste };
    const first = steLo(h, ste, 0);
    if (first === 0) {
      // An earlier attach or detach may have ended without an answer: nothing of it may be left in the SMMU's cache.
      result = yield* syncSte(h, smmu, sid, true);
    } else {
      const table = steConfig(first) === STE_CONFIG_S1 ? steCdTable(h, ste) : 0;
      const bits = steCdBits(h, ste);
      result = yield* clearSte(h, smmu, sid, ste);
      if (result === 0 && table !== 0) yield* freeCdTable(h, table, bits);
    }
  }
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* giveBack(h: Hyp, base: number, size: number): Steps<number> {
  yield* lock(h, h.layout.hostLock);
  const result = yield* setOwner(h, base, size / PAGE_SIZE, OwnerId.host, OwnerId.hyp);
  yield* unlock(h, h.layout.hostLock);
  return result;
}
