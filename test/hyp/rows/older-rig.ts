/** What the ways to rows of android16 and RFC v2 stand on: their registers differ from android17's. */

import { type MachineDescription, tiny } from '#machine';
import { PAGE, type Rig, RW } from '../../lab/oracle-rig.ts';

export const BLOCK = 0x200000;
export const SID = tiny.devices[0]!.sid;
export const BEYOND = 2 ** 40;
export const RAM = tiny.ram[0]!.base;
/** PASIDs, and ASIDs of 8 bits. */
export const machine: MachineDescription = {
  ...tiny,
  name: 'rows',
  smmus: [{ ...tiny.smmus[0]!, ssidBits: 12, asid16: false }],
};
export const s1 = (rig: Rig): number => rig.session.profile.domainTypes.s1;
export const s2 = (rig: Rig): number => rig.session.profile.domainTypes.s2;

/** A domain with that type, and its table, which the first attach builds. */
export function domain(rig: Rig, id: number, type: number): void {
  rig.refill(1, 8);
  rig.call('alloc_domain', id, type);
}

export function attach(rig: Rig, id: number, sid = SID, pasid = 0, iommu = 0, bits = 0): void {
  const args = [iommu, id, sid, pasid, bits, 0].slice(0, rig.session.profile.call('attach_dev').args.length);
  rig.call('attach_dev', ...args);
}

/** Domains 1 and 2 at stage 1, domain 1 with the first device attached, which has room for eight PASIDs. */
export function withPasids(rig: Rig): void {
  domain(rig, 1, s1(rig));
  rig.call('alloc_domain', 2, s1(rig));
  attach(rig, 1, SID, 0, 0, 3);
}

/** Domain 1 at stage 1, with the first device attached. */
export function attached(rig: Rig, type = s1(rig)): void {
  domain(rig, 1, type);
  attach(rig, 1);
}

export const map = (rig: Rig, iova: number, pa: number, size = PAGE, count = 1, prot = RW, id = 1): void => {
  rig.call('map_pages', id, iova, pa, size, count, prot);
};

/** From now on no SMMU answers. */
export function hang(rig: Rig): void {
  for (const smmu of rig.machine.smmus) smmu.setAnswers(false);
}

/** Take every page out of a pool. */
export function drain(rig: Rig): void {
  while (rig.call('alloc_mgt_reclaim', 1000).value !== 0);
}

/** A VM with its vCPU loaded on CPU 0. @returns its handle */
export function vm(rig: Rig, isProtected: boolean): number {
  const { boundary } = rig.session;
  const kvm = rig.page();
  [0, isProtected ? 1 : 0, 1].forEach((word, i) => {
    boundary.write32(0, kvm + 4 * i, word);
  });
  rig.call('host_share_hyp', kvm / PAGE);
  const handle = rig.call('init_vm', kvm, rig.page()).value;
  rig.call('vcpu_load', handle, 0, 0);
  return handle;
}

/** A protected VM that is being torn down, with `page` at guest page 5. */
export function dying(rig: Rig, page: number): number {
  const handle = vm(rig, true);
  rig.call('donate_guest', page / PAGE, 5, 1);
  rig.call('vcpu_put');
  rig.call('start_teardown_vm', handle);
  return handle;
}

export function initWith(rig: Rig, pgd: number, kvm = rig.page()): void {
  rig.session.boundary.write32(0, kvm + 8, 1);
  rig.call('host_share_hyp', kvm / PAGE);
  rig.call('init_vm', kvm, pgd);
}

/** Two SMMUs, and a device behind each under one StreamID. */
export const two: MachineDescription = {
  ...tiny,
  name: 'two',
  smmus: [tiny.smmus[0]!, { ...tiny.smmus[0]!, name: 'smmu1', base: tiny.smmus[0]!.base + 0x40000 }],
  devices: [...tiny.devices, { ...tiny.devices[0]!, name: 'far', smmu: 'smmu1' }],
};

/** Device registers that are far from everything: the host's stage 2 has no table there. */
export const withFarRegisters: MachineDescription = {
  ...tiny,
  mmio: [{ name: 'far', base: 0x20000000, size: 0x2000 }],
};
