/** What the ways to rows of android17 stand on. */

import { DomainType } from '#hypercall-abi';
import { type MachineDescription, tiny, twoSmmus } from '#machine';
import { PAGE, type Rig, RW } from '../../lab/oracle-rig.ts';

export const RAM = tiny.ram[0]!.base;
/** First page behind RAM. */
export const BEYOND = (RAM + tiny.ram[0]!.size) / PAGE;
export const SID = tiny.devices[0]!.sid;
/** StreamID of the first device of two-smmus that a guest may be given. */
export const NET = 0x20;
export const POWER_DOMAIN = 4;

/** PASIDs, stalls, and power in a domain of its own. */
export const rich: MachineDescription = {
  ...tiny,
  name: 'rich',
  smmus: [{ ...tiny.smmus[0]!, ssidBits: 12, stallModel: 'both', powerDomain: POWER_DOMAIN }],
};

/** Domain `id` at stage 1, with memory for its tables. */
export function domain(rig: Rig, id = 1, type: number = DomainType.s1, iommu = 0): void {
  rig.refill(1, 12);
  rig.call('alloc_domain', 0, iommu, id, type);
}

export function attach(rig: Rig, id = 1, sid = SID, pasid = 0, bits = 0): void {
  rig.call('attach_dev', 0, id, sid, pasid, bits, 0);
}

export const detach = (rig: Rig, id = 1, sid = SID, pasid = 0): unknown => rig.call('detach_dev', 0, id, sid, pasid);

/** Domain 1 with a stream. */
export function attached(rig: Rig, type: number = DomainType.s1): void {
  domain(rig, 1, type);
  attach(rig);
}

/** The same with room for eight PASIDs, and domain 2 beside it. */
export function withPasids(rig: Rig): void {
  domain(rig, 2);
  domain(rig);
  attach(rig, 1, SID, 0, 3);
}

export const map = (rig: Rig, iova: number, pa: number, size = PAGE, count = 1, prot = RW, id = 1): unknown =>
  rig.call('map_pages', id, iova, pa, size, count, prot);

/** From now on no SMMU answers. */
export function hang(rig: Rig): void {
  for (const smmu of rig.machine.smmus) smmu.setAnswers(false);
}

/** A stream has the identity domain, and its SMMU does not answer: no page can leave the host. */
export function hangWithIdentity(rig: Rig): void {
  rig.call('set_identity', 0, 0, SID, 1, 0);
  hang(rig);
}

/** Take every page out of a pool. */
export function drain(rig: Rig, pool: number): void {
  while (rig.call('alloc_mgt_reclaim', pool, 1000).value !== 0);
}

/** What init_vm reads, in a shared page. */
export function describe(rig: Rig, handle: number, isProtected = true, vcpus = 1, kvm = rig.page()): number {
  [handle, isProtected ? 1 : 0, vcpus].forEach((word, i) => {
    rig.session.boundary.write32(0, kvm + 4 * i, word);
  });
  rig.call('host_share_hyp', kvm / PAGE);
  return kvm;
}

/** A VM, not loaded. @returns its handle */
export function makeVm(rig: Rig, isProtected = true): number {
  const handle = rig.call('reserve_vm').value;
  rig.call('init_vm', describe(rig, handle, isProtected), rig.page());
  return handle;
}

/** A VM with its vCPU loaded on CPU 0. @returns its handle */
export function vm(rig: Rig, isProtected = true): number {
  const handle = makeVm(rig, isProtected);
  rig.call('vcpu_load', handle, 0);
  return handle;
}

export const give = (rig: Rig, pfn: number, gfn = 5, pages = 1, prot = 7): unknown =>
  rig.call('map_guest', pfn, gfn, pages, prot);

/** A protected VM that is being torn down, with a page at guest page 5. @returns its handle */
export function dying(rig: Rig): number {
  const handle = vm(rig);
  give(rig, rig.page() / PAGE);
  rig.call('vcpu_put');
  rig.call('start_teardown_vm', handle);
  return handle;
}

/** A guest has the first device of two-smmus; none of its vCPUs is loaded. */
export function guestWithDevice(rig: Rig): void {
  rig.refill(0, 8);
  rig.call('host_donate_hyp_mmio', twoSmmus.mmio[0]!.base / PAGE, 1);
  const handle = rig.call('reserve_vm').value;
  const kvm = describe(rig, handle);
  rig.call('pviommu_attach', kvm, 7);
  rig.call('pviommu_add_vsid', kvm, 7, 0, NET, 1);
  rig.call('init_vm', kvm, rig.page());
  rig.call('vcpu_load', handle, 0);
  rig.session.boundary.guestCall(0, 'guest_dev_req_dma', 7, 1);
  rig.call('vcpu_put');
}
