/** The identity domain: which pages a stream with identity reaches, through every change of owner; and set_identity. */

import { describe, expect, test } from 'vitest';
import { defaultProfile, Errno } from '#hypercall-abi';
import { type MachineDescription, tiny } from '#machine';
import { hits, kinds, makeRig, PAGE, type Rig, RW, tell } from '../lab/oracle-rig.ts';

const RAM = tiny.ram[0]!.base;
const { s1: S1, s2: S2 } = defaultProfile.domainTypes;
const ON = 1;
const OFF = 0;
const smmu = tiny.smmus[0]!;
const DOORBELL = 0x08090000;

/** A second SMMU without stage 2, a narrower third one, and a device page. */
const several: MachineDescription = {
  ...tiny,
  name: 'several',
  mmio: [{ name: 'doorbell', base: DOORBELL, size: 0x1000 }],
  smmus: [
    smmu,
    { ...smmu, name: 'first-stage', base: 0x09080000, stage2: false, vmid16: false },
    { ...smmu, name: 'narrow', base: 0x090a0000, oas: 36, rangeInvalidation: false },
  ],
  devices: [...tiny.devices, { name: 'far', smmu: 'narrow', sid: 5 }],
};

const device = (rig: Rig, name = 'disk') => rig.session.devices[rig.machine.devices.findIndex((d) => d.name === name)]!;
const reaches = (rig: Rig, pa: number, name = 'disk'): boolean => device(rig, name).read(pa).ok;
/** Whether any cache may still let the device through. */
const mayReach = (rig: Rig, pa: number, name = 'disk'): boolean =>
  device(rig, name)
    .device.possible(pa, true)
    .some(({ ok }) => ok);
const on = (rig: Rig, sid = 0, iommu = 0): number => rig.call('set_identity', 0, iommu, sid, ON, 0).errno;
const off = (rig: Rig, sid = 0, iommu = 0): number => rig.call('set_identity', 0, iommu, sid, OFF, 0).errno;

function makeVm(rig: Rig, isProtected: boolean): number {
  const { boundary } = rig.session;
  const kvm = rig.page();
  const handle = rig.call('reserve_vm').value;
  rig.call('host_share_hyp', kvm / PAGE);
  boundary.write32(0, kvm, handle);
  boundary.write32(0, kvm + 4, isProtected ? 1 : 0);
  boundary.write32(0, kvm + 8, 1);
  expect(rig.call('init_vm', kvm, rig.page()).errno).toBe(0);
  rig.call('vcpu_load', handle, 0);
  return handle;
}

describe('a stream with identity', () => {
  test('reaches what is the host’s where it is, and nothing of the hypervisor', () => {
    const rig = makeRig({ machine: several });
    const page = rig.page();
    rig.session.boundary.write32(0, page + 8, 0x1234);
    expect(reaches(rig, page)).toBe(false);
    expect(on(rig)).toBe(0);
    const read = device(rig).read(page + 8);
    expect(read.ok && read.data[0]).toBe(0x1234);
    expect(device(rig).write(page + 12, 0x5678).ok).toBe(true);
    expect(rig.session.boundary.read32(0, page + 12)).toBe(0x5678);
    expect(reaches(rig, DOORBELL)).toBe(true);
    const { strtab, cmdq, evtq } = rig.session.smmuMemory[0]!;
    expect(reaches(rig, evtq)).toBe(true);
    for (const pa of [tiny.carveOut.base, strtab, cmdq, smmu.base, smmu.base + 0x10000]) {
      expect(reaches(rig, pa), pa.toString(16)).toBe(false);
    }
    expect(off(rig)).toBe(0);
    expect(reaches(rig, page)).toBe(false);
    expect(mayReach(rig, page)).toBe(false);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('reaches no address beyond the smallest output size of all SMMUs', () => {
    const rig = makeRig({ machine: several });
    on(rig);
    expect(
      device(rig)
        .device.possible(2 ** 36 - PAGE, false)
        .some(({ ok }) => ok),
    ).toBe(true);
    expect(
      device(rig)
        .device.possible(2 ** 36, false)
        .some(({ ok }) => ok),
    ).toBe(false);
  });

  test('loses a page that is donated to the hypervisor, and gets it back', () => {
    const rig = makeRig();
    on(rig);
    const page = rig.page();
    expect(reaches(rig, page)).toBe(true);
    expect(rig.call('alloc_mgt_refill', 1, page, 1).errno).toBe(0);
    expect(mayReach(rig, page)).toBe(false);
    expect(rig.call('alloc_mgt_reclaim', 1, 1).value).toBe(page);
    expect(reaches(rig, page)).toBe(true);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('loses a page that is donated to a guest, and gets it back zeroed; keeps one that is shared', () => {
    const rig = makeRig();
    on(rig);
    const [guest, shared] = [rig.page(), rig.page()];
    rig.session.boundary.write32(0, guest, 7);
    const vm = makeVm(rig, true);
    expect(reaches(rig, guest)).toBe(true);
    expect(rig.call('map_guest', guest / PAGE, 3, 1, 0).errno).toBe(0);
    expect(mayReach(rig, guest)).toBe(false);
    rig.call('vcpu_put');
    rig.call('start_teardown_vm', vm);
    expect(rig.call('reclaim_dying_guest_page', vm, 3, 1).errno).toBe(0);
    const read = device(rig).read(guest);
    expect(read.ok && read.data[0]).toBe(0);
    makeVm(rig, false);
    expect(rig.call('map_guest', shared / PAGE, 0, 1, 7).errno).toBe(0);
    expect(reaches(rig, shared)).toBe(true);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('loses a whole block of 512 pages, with and without range invalidation', () => {
    const rig = makeRig({ machine: several });
    on(rig);
    expect(on(rig, 5, 2)).toBe(0);
    makeVm(rig, true);
    expect(reaches(rig, RAM + 0x1000)).toBe(true);
    expect(reaches(rig, RAM + 0x1ff000, 'far')).toBe(true);
    expect(rig.call('map_guest', RAM / PAGE, 512, 512, 0).errno).toBe(0);
    for (const pa of [RAM, RAM + 0x1000, RAM + 0x1ff000]) {
      expect(mayReach(rig, pa)).toBe(false);
      expect(mayReach(rig, pa, 'far')).toBe(false);
    }
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('needs no memory after boot: a page of the carve-out comes to the host with the heap empty', () => {
    const rig = makeRig();
    on(rig);
    let last = 0;
    for (;;) {
      const { value } = rig.call('alloc_mgt_reclaim', 0, 1);
      if (value === 0) break;
      last = value;
      expect(reaches(rig, last)).toBe(true);
    }
    expect(last).toBeGreaterThanOrEqual(tiny.carveOut.base);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('turned off and on again meets nothing stale', () => {
    const rig = makeRig();
    const page = rig.page();
    on(rig);
    expect(reaches(rig, page)).toBe(true);
    off(rig);
    expect(rig.call('alloc_mgt_refill', 1, page, 1).errno).toBe(0);
    on(rig);
    expect(mayReach(rig, page)).toBe(false);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('on one SMMU while another has none: the last one that goes is counted by SMMU', () => {
    const rig = makeRig({ machine: several });
    const page = rig.page();
    expect(on(rig, 0, 0)).toBe(0);
    expect(on(rig, 1, 0)).toBe(0);
    expect(on(rig, 5, 2)).toBe(0);
    expect(off(rig, 0, 0)).toBe(0);
    expect(off(rig, 5, 2)).toBe(0);
    expect(reaches(rig, page, 'net')).toBe(true);
    rig.call('alloc_mgt_refill', 1, page, 1);
    expect(mayReach(rig, page, 'net')).toBe(false);
    expect(on(rig, 5, 2)).toBe(0);
    expect(mayReach(rig, page, 'far')).toBe(false);
    expect(tell(rig.oracle.findings)).toBe('');
  });
});

describe('set_identity', () => {
  test('-ENODEV: no such driver, no such IOMMU', () => {
    const rig = makeRig();
    expect(rig.call('set_identity', 1, 0, 0, ON, 0).errno).toBe(-Errno.ENODEV);
    expect(hits(rig, 'set_identity/ENODEV-driver')).toBe(1);
    expect(on(rig, 0, 1)).toBe(-Errno.ENODEV);
    expect(hits(rig, 'set_identity/ENODEV-iommu')).toBe(1);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('-EINVAL: an IOMMU without stage 2', () => {
    const rig = makeRig({ machine: several });
    expect(on(rig, 0, 1)).toBe(-Errno.EINVAL);
    expect(hits(rig, 'set_identity/EINVAL-stage')).toBe(1);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('-ENOMEM: a StreamID out of range asks for nothing, a missing level-2 table for its pages', () => {
    const wide: MachineDescription = { ...tiny, smmus: [{ ...smmu, twoLevelStreamTable: true, sidBits: 10, oas: 44 }] };
    const rig = makeRig({ machine: wide });
    expect(rig.call('set_identity', 0, 0, 0x400, ON, 0)).toMatchObject({ errno: -Errno.ENOMEM, request: null });
    expect(hits(rig, 'set_identity/ENOMEM-stream')).toBe(1);
    const asked = { errno: -Errno.ENOMEM, request: { pool: 1, pages: 4 } };
    expect(rig.call('set_identity', 0, 0, 0x200, OFF, 0)).toMatchObject(asked);
    expect(rig.call('set_identity', 0, 0, 0x200, ON, 0)).toMatchObject(asked);
    expect(hits(rig, 'set_identity/ENOMEM-iommu')).toBe(2);
    expect(rig.call('alloc_mgt_refill', 1, rig.page(2) + 2, 1).errno).toBe(0);
    expect(on(rig, 0x200)).toBe(0);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('-EBUSY: on where the stream has an entry', () => {
    const rig = makeRig();
    rig.refill(1, 10);
    rig.call('alloc_domain', 0, 0, 1, S1);
    expect(rig.call('attach_dev', 0, 1, 0, 0, 0, 0).errno).toBe(0);
    expect(on(rig, 0)).toBe(-Errno.EBUSY);
    expect(on(rig, 1)).toBe(0);
    expect(on(rig, 1)).toBe(-Errno.EBUSY);
    expect(hits(rig, 'set_identity/EBUSY')).toBe(2);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('-EINVAL: off where identity is not on', () => {
    const rig = makeRig();
    rig.refill(1, 10);
    rig.call('alloc_domain', 0, 0, 1, S1);
    rig.call('alloc_domain', 0, 0, 2, S2);
    rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
    rig.call('attach_dev', 0, 2, 1, 0, 0, 0);
    for (const sid of [0, 1, 2]) expect(off(rig, sid)).toBe(-Errno.EINVAL);
    expect(hits(rig, 'set_identity/EINVAL-not-on')).toBe(3);
    expect(on(rig, 2)).toBe(0);
    expect(off(rig, 2)).toBe(0);
    expect(off(rig, 2)).toBe(-Errno.EINVAL);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('any bit of the 64 turns it on', () => {
    const rig = makeRig();
    expect(rig.call('set_identity', 0, 0, 0, 2n ** 63n, 0).errno).toBe(0);
    expect(hits(rig, 'set_identity/on')).toBe(1);
    expect(off(rig)).toBe(0);
    expect(hits(rig, 'set_identity/off')).toBe(1);
  });

  test('the identity domain is no domain of the host’s: nothing is attached to it, mapped in it or asked of it', () => {
    const rig = makeRig();
    on(rig);
    expect(rig.call('attach_dev', 0, 0, 1, 0, 0, 0).errno).toBe(-Errno.EINVAL);
    expect(rig.call('detach_dev', 0, 0, 0, 0).errno).toBe(-Errno.EINVAL);
    expect(rig.call('map_pages', 0, 0, RAM, PAGE, 1, RW).errno).toBe(-Errno.ENOENT);
    expect(rig.call('unmap_pages', 0, RAM, PAGE, 1).value).toBe(0);
    expect(rig.call('iova_to_phys', 0, RAM).value).toBe(0);
    expect(rig.call('free_domain', 0).errno).toBe(-Errno.ENODEV);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test('an attached stream keeps it from attach_dev, and detach_dev of another domain from it', () => {
    const rig = makeRig();
    rig.refill(1, 10);
    rig.call('alloc_domain', 0, 0, 1, S1);
    rig.call('alloc_domain', 0, 0, 2, S2);
    rig.call('attach_dev', 0, 1, 1, 0, 0, 0);
    rig.call('attach_dev', 0, 2, 2, 0, 0, 0);
    on(rig, 0);
    for (const id of [1, 2]) {
      expect(rig.call('attach_dev', 0, id, 0, 0, 0, 0).errno).toBe(-Errno.EBUSY);
      expect(rig.call('detach_dev', 0, id, 0, 0).errno).toBe(-Errno.EACCES);
    }
    expect(tell(rig.oracle.findings)).toBe('');
  });
});

test('each SMMU fetches the table its own way: one that does not see the caches of the CPUs, from memory', () => {
  const mixed = { ...several, smmus: several.smmus.map((one, i) => ({ ...one, coherent: i !== 0 })) };
  const rig = makeRig({ machine: mixed });
  rig.refill(0, 4);
  expect(on(rig)).toBe(0);
  expect(on(rig, 5, 2)).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  const walk = (n: number): number =>
    rig.machine.memory.read32(rig.session.smmuMemory[n]!.strtab + (n === 0 ? 0 : 320) + 20);
  // IR0, OR0 and SH0 of the entry.
  expect((walk(0) >>> 8) & 0x3f).toBe(0x20);
  expect((walk(2) >>> 8) & 0x3f).toBe(0x35);
});

test('the oracle sees an identity table that is not what the host has', () => {
  const rig = makeRig({ full: 'never' });
  on(rig);
  const { layout } = (rig.oracle as unknown as { reader: { layout: { identityRoot: number } } }).reader;
  const { memory } = rig.machine;
  let table = memory.read32(layout.identityRoot);
  // Root (level 1), level 2, level 3: the entry of the first page of RAM.
  for (const shift of [30, 21]) table = memory.read32(table + 8 * (Math.floor(RAM / 2 ** shift) % 512)) & ~0xfff;
  const [hi, lo] = [memory.read32(table + 4), memory.read32(table)];
  memory.write64(table, 0, 0);
  rig.call('vcpu_put');
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toContain('identity/page');
  expect(kinds(rig.oracle.findings)).toContain('identity/hole');
  memory.write64(table, hi, lo ^ (1 << 7));
  rig.oracle.checkAll();
  expect(kinds(rig.oracle.findings)).toContain('identity/attributes');
});
