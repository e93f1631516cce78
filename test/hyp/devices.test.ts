/** The registry of devices: what boot makes of the description, and that a device keeps its context during a call. */
import { expect, test } from 'vitest';
import { IommuDriver } from '#host';
import { createHypervisor as createStepped } from '#hyp';
import { DeviceRecord, DomainRecord, hypLayout } from '#hyp/layout';
import { createHypervisor } from '#hyp/plain';
import { Boundary, callNamed, Errno, encodeCall, makeRegisters } from '#hypercall-abi';
import { LayoutReader, offsetOf } from '#lab/oracle/layout-reader';
import { hostPort, qemuVirt, run, twoSmmus } from '#machine';
import { booted, type Harness, unbooted } from './harness.ts';

const NET = 0;
const GPU = 1;
const VM = 0x1000;
const STRTAB_BASE_CFG = 0x88;
const TWO_LEVEL_32_STREAMS = 5 | (8 << 6) | (1 << 16);

/** As device assignment would: the device is with that VM. */
function giveTo(h: Harness, device: number, vm: number): void {
  h.machine.memory.write32(h.layout.devices + device * DeviceRecord.size + offsetOf(DeviceRecord, 'context'), vm);
}

test('boot registers the devices that a guest may be given, with their streams, registers and groups', () => {
  const h = booted(twoSmmus);
  const reader = new LayoutReader(h.machine.memory, h.layout);
  expect(h.layout.deviceCount).toBe(4);
  expect([0, 1, 2, 3].map((i) => [reader.deviceGroup(i), reader.deviceContext(i), reader.deviceRefs(i)])).toEqual([
    [0, 0, 0],
    [1, 0, 0],
    [2, 0, 0],
    [2, 0, 0],
  ]);
  expect([0, 1, 2, 3].map((i) => reader.deviceStreams(i))).toEqual([
    [0, 0x20],
    [0, 0x200, 0, 0x201, 1, 3],
    [1, 5],
    [1, 6],
  ]);
  expect(reader.deviceResources(GPU)).toEqual([0x0a010000, 0x2000, 0x0a014000, 0x1000]);
  expect(reader.deviceResources(3)).toEqual([]);
});

test('a machine without such devices has an empty registry', () => {
  expect(booted(qemuVirt).layout.deviceCount).toBe(0);
});

test.each([
  ['a device that is with a guest', 0, 0x20, -Errno.EPERM],
  ['its stream behind another SMMU', 1, 3, -Errno.EPERM],
  ['the same number behind another SMMU', 1, 0x20 % 16, 0],
  ['a device that is in no registry', 0, 0x10, 0],
])('the host attaches %s', (_, iommu, sid, expected) => {
  const h = booted(twoSmmus);
  const id = h.driver.allocDomain(iommu, 1);
  giveTo(h, NET, VM);
  giveTo(h, GPU, VM + 1);
  expect(h.driver.attach(iommu, id, sid)).toBe(expected);
  expect(h.driver.detach(iommu, id, sid)).toBe(expected);
});

test('the context is looked at before the domain, and given back after every outcome', () => {
  const h = booted(twoSmmus);
  const reader = new LayoutReader(h.machine.memory, h.layout);
  const id = h.driver.allocDomain(0, 1);
  giveTo(h, NET, VM);
  expect(h.boundary.call(0, 'attach_dev', 0, 200, 0x20, 0, 0, 0).errno).toBe(-Errno.EPERM);
  expect(h.boundary.call(0, 'detach_dev', 0, 200, 0x20, 0).errno).toBe(-Errno.EPERM);
  expect(h.boundary.call(0, 'set_identity', 0, 0, 0x20, 1, 0).errno).toBe(-Errno.EPERM);
  expect(h.boundary.call(0, 'set_identity', 1, 0, 0x20, 1, 0).errno).toBe(-Errno.ENODEV);
  giveTo(h, NET, 0);
  expect(h.boundary.call(0, 'attach_dev', 0, 200, 0x20, 0, 0, 0).errno).toBe(-Errno.EINVAL);
  expect(h.boundary.call(0, 'detach_dev', 0, 200, 0x20, 0).errno).toBe(-Errno.EINVAL);
  expect(h.driver.attach(0, id, 0x20)).toBe(0);
  expect(h.driver.detach(0, id, 0x20)).toBe(0);
  expect(reader.deviceRefs(NET)).toBe(0);
});

test('while a call works on a stream, its device is referenced', () => {
  const { machine } = unbooted(twoSmmus);
  const hypervisor = createStepped(machine);
  expect(run(hypervisor.boot({ smmus: twoSmmus.smmus.map(({ base }) => base) }))).toBe(0);
  const layout = hypLayout(twoSmmus);
  const refs = layout.devices + offsetOf(DeviceRecord, 'refs');
  const x = makeRegisters();
  encodeCall(x, callNamed('detach_dev'), [0, 1, 0x20, 0]);
  const seen: number[] = [];
  for (const step of hypervisor.hvc(0, x)) {
    if (step.kind === 'lock' && step.at === layout.domainLock) seen.push(machine.memory.read32(refs));
  }
  expect(seen).toEqual([1]);
  expect(machine.memory.read32(refs)).toBe(0);
});

test('a two-level stream table may have fewer streams than one level-2 table', () => {
  const { machine, memory } = unbooted(twoSmmus);
  machine.bus.write32(twoSmmus.smmus[0]!.base + STRTAB_BASE_CFG, TWO_LEVEL_32_STREAMS);
  const hypervisor = createHypervisor(machine);
  expect(hypervisor.boot({ smmus: twoSmmus.smmus.map(({ base }) => base) })).toBe(0);
  const boundary = new Boundary(hypervisor, machine.cpus.map(hostPort), null);
  const driver = new IommuDriver(boundary, memory);
  const id = driver.allocDomain(0, 2);
  expect(driver.attach(0, id, 0x10)).toBe(0);
  const pa = memory.alloc();
  driver.map(id, 0x1000, pa, 4096, 1, 3);
  expect(machine.device('disk').read(0x1000, 1)).toMatchObject({ ok: true, pa });
  expect(boundary.call(0, 'attach_dev', 0, id, 32, 0, 0, 0)).toMatchObject({ errno: -Errno.ENOMEM, request: null });
});

test('the references of a domain stop at 2^31 - 1', () => {
  const h = booted(twoSmmus);
  const id = h.driver.allocDomain(0, 1);
  const refs = h.layout.domains + id * DomainRecord.size + offsetOf(DomainRecord, 'refs');
  h.machine.memory.write32(refs, 0x7fffffff);
  expect(h.boundary.call(0, 'attach_dev', 0, id, 0x10, 0, 0, 0).errno).toBe(-Errno.EINVAL);
  expect(h.boundary.call(0, 'map_pages', id, 0x1000, h.memory.alloc(), 4096, 1, 3).errno).toBe(-Errno.ENOENT);
  expect(h.boundary.call(0, 'unmap_pages', id, 0x1000, 4096, 1).value).toBe(0);
  expect(h.machine.memory.read32(refs)).toBe(0x7fffffff);
});
