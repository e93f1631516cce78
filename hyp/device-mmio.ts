/**
 * Registers of devices that a guest may be given, on their way there: the host gives a whole range to the hypervisor, which
 * keeps everybody out while nobody has the device (assign.ts), or takes it back before anything came of it.
 *
 * Models pkvm_device_hyp_assign_mmio and pkvm_device_reclaim_mmio of pKVM's device.c.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { CONTEXT, eachResource, REFS } from './device.ts';
import { HOST_OWNER } from './domain-record.ts';
import { hostStage2Owner, isTaintedMmio } from './host-stage2.ts';
import { DeviceRecord, OwnerId } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { setOwner } from './ownership.ts';
import { PAGE_SIZE } from './stage2.ts';

/** Record of the device that has exactly that register range, or -1. */
function* deviceOfResource(h: Hyp, pa: number, size: number): Steps<number> {
  for (let i = 0; i < h.layout.deviceCount; i++) {
    const device = h.layout.devices + i * DeviceRecord.size;
    const found = yield* eachResource(h, device, (base, length) => sameRange(base, length, pa, size));
    if (found !== 0) return device;
  }
  return -1;
}

function* sameRange(base: number, length: number, pa: number, size: number): Steps<number> {
  return base === pa && length === size ? 1 : 0;
}

/**
 * host_donate_hyp_mmio. @returns 0; -ENODEV not exactly a register range of a device that can be assigned; -EBUSY the device
 * is a guest's, or a call is at work on it; -EPERM not the host's, or mapped for DMA once; -ENOMEM; -ETIMEDOUT
 */
export function* donateMmio(h: Hyp, pa: number, pages: number): Steps<number> {
  return yield* moveMmio(h, pa, pages, OwnerId.host, OwnerId.hyp);
}

/** host_reclaim_hyp_mmio. @returns 0; -ENODEV as above; -EBUSY the device is a guest's; -EPERM not the hypervisor's */
export function* reclaimMmio(h: Hyp, pa: number, pages: number): Steps<number> {
  return yield* moveMmio(h, pa, pages, OwnerId.hyp, OwnerId.host);
}

function* moveMmio(h: Hyp, pa: number, pages: number, from: OwnerId, to: OwnerId): Steps<number> {
  const device = yield* deviceOfResource(h, pa, pages * PAGE_SIZE);
  if (device < 0) return err('ENODEV');
  yield* lock(h, h.layout.deviceLock);
  yield { kind: 'read', at: device + CONTEXT };
  const isTaken = h.memory.read32(device + CONTEXT) !== HOST_OWNER;
  let result = err('EBUSY');
  if (!isTaken && (from === OwnerId.hyp || h.memory.read32(device + REFS) === 0)) {
    yield* lock(h, h.layout.hostLock);
    result = yield* checkMmio(h, pa, pages, from);
    if (result === 0) result = yield* setOwner(h, pa, pages, to, from);
    yield* unlock(h, h.layout.hostLock);
  }
  yield* unlock(h, h.layout.deviceLock);
  return result;
}

function* checkMmio(h: Hyp, pa: number, pages: number, owner: OwnerId): Steps<number> {
  for (let i = 0; i < pages; i++) {
    if ((yield* hostStage2Owner(h, pa + i * PAGE_SIZE)) !== owner) return err('EPERM');
    if (yield* isTaintedMmio(h, pa + i * PAGE_SIZE)) return err('EPERM');
  }
  return 0;
}
