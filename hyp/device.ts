/**
 * The registry of the devices that a guest may be given: their streams, their registers, their isolation group, and the
 * context they are in, which is the host or one VM. Made at boot from the machine description and never extended; a
 * device that is not in it is the host's for good, and nothing is asked about its streams.
 *
 * Models pKVM's device.c of android17. A call that works on a stream holds a reference to the context of the device
 * meanwhile, so that the device cannot change hands in the middle of it.
 */

import { err } from '#hypercall-abi';
import { type DeviceDescription, type Steps, streamsOf } from '#machine';
import type { Hyp } from './context.ts';
import { HOST_OWNER } from './domain-record.ts';
import { DeviceRecord, DeviceResourceRecord, DeviceStreamRecord } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { readPointer, writePointer } from './pool.ts';

export const CONTEXT = 0;
export const REFS = 4;
export const GROUP = 8;
const STREAMS = 12;
const RESOURCES = 16;
const ENDPOINT = 4;

/** Fill the registry. The host is trusted until boot has ended, so is the description. */
export function registerDevices(h: Hyp): void {
  let streams = 0;
  let resources = 0;
  let device = h.layout.devices;
  for (const description of h.machine.devices) {
    const { assignable } = description;
    if (assignable === undefined) continue;
    h.memory.write32(device + GROUP, assignable.group);
    h.memory.write32(device + STREAMS, streams | (writeStreams(h, streams, description) << 16));
    h.memory.write32(device + RESOURCES, resources | (assignable.mmio.length << 16));
    writeResources(h, resources, assignable.mmio);
    streams += h.memory.read32(device + STREAMS) >>> 16;
    resources += assignable.mmio.length;
    device += DeviceRecord.size;
  }
}

/** @returns how many there are */
function writeStreams(h: Hyp, first: number, description: DeviceDescription): number {
  let at = h.layout.deviceStreams + first * DeviceStreamRecord.size;
  const streams = streamsOf(description);
  for (const { smmu, sid } of streams) {
    const iommu = h.smmus.findIndex(({ name }) => name === smmu);
    h.memory.write64(at, sid, iommu);
    at += DeviceStreamRecord.size;
  }
  return streams.length;
}

function writeResources(h: Hyp, first: number, names: readonly string[]): void {
  let at = h.layout.deviceResources + first * DeviceResourceRecord.size;
  for (const wanted of names) {
    const { base, size } = h.machine.mmio.find(({ name }) => name === wanted)!;
    writePointer(h, at, base);
    writePointer(h, at + 8, size);
    at += DeviceResourceRecord.size;
  }
}

/** Record of the device that has that stream; -1 when it is in no registry. */
export function deviceOfStream(h: Hyp, iommu: number, endpoint: number): number {
  const { memory, layout } = h;
  for (let i = 0; i < layout.deviceCount; i++) {
    const device = layout.devices + i * DeviceRecord.size;
    const range = memory.read32(device + STREAMS);
    let at = layout.deviceStreams + (range & 0xffff) * DeviceStreamRecord.size;
    for (let left = range >>> 16; left > 0; left--) {
      if (memory.read32(at) >>> 0 === iommu && memory.read32(at + ENDPOINT) >>> 0 === endpoint) return device;
      at += DeviceStreamRecord.size;
    }
  }
  return -1;
}

/** Calls `visit` with SMMU index and StreamID of each stream of a device, until one call gives something other than 0. @returns that */
export function* eachStream(
  h: Hyp,
  device: number,
  visit: (iommu: number, endpoint: number) => Steps<number>,
): Steps<number> {
  const range = h.memory.read32(device + STREAMS);
  let at = h.layout.deviceStreams + (range & 0xffff) * DeviceStreamRecord.size;
  let result = 0;
  for (let left = range >>> 16; left > 0 && result === 0; left--) {
    result = yield* visit(h.memory.read32(at) >>> 0, h.memory.read32(at + ENDPOINT) >>> 0);
    at += DeviceStreamRecord.size;
  }
  return result;
}

/** The same with base and size of each register range. */
export function* eachResource(
  h: Hyp,
  device: number,
  visit: (base: number, size: number) => Steps<number>,
): Steps<number> {
  const range = h.memory.read32(device + RESOURCES);
  let at = h.layout.deviceResources + (range & 0xffff) * DeviceResourceRecord.size;
  let result = 0;
  for (let left = range >>> 16; left > 0 && result === 0; left--) {
    result = yield* visit(readPointer(h, at), readPointer(h, at + 8));
    at += DeviceResourceRecord.size;
  }
  return result;
}

/**
 * Hold on to the context of the device that has the stream. A device that is in no registry has none: it is the host's.
 * @param vm handle of the VM that asks, 0 for the host
 * @returns 0; -EPERM the device is somebody else's
 */
export function* getDeviceContext(h: Hyp, iommu: number, endpoint: number, vm: number): Steps<number> {
  const device = deviceOfStream(h, iommu, endpoint);
  if (device < 0) return vm === HOST_OWNER ? 0 : err('EPERM');
  yield* lock(h, h.layout.deviceLock);
  yield { kind: 'read', at: device + CONTEXT };
  const isTheirs = h.memory.read32(device + CONTEXT) === vm;
  if (isTheirs) yield* addReference(h, device, 1);
  yield* unlock(h, h.layout.deviceLock);
  return isTheirs ? 0 : err('EPERM');
}

/** Let go of it. */
export function* putDeviceContext(h: Hyp, iommu: number, endpoint: number): Steps<void> {
  const device = deviceOfStream(h, iommu, endpoint);
  if (device < 0) return;
  yield* lock(h, h.layout.deviceLock);
  yield* addReference(h, device, -1);
  yield* unlock(h, h.layout.deviceLock);
}

function* addReference(h: Hyp, device: number, delta: number): Steps<void> {
  yield { kind: 'write', at: device + REFS };
  h.memory.write32(device + REFS, h.memory.read32(device + REFS) + delta);
}
