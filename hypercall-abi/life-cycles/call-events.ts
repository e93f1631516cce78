/**
 * Which events of which life cycles a call that succeeds may be: for readers, and for the test that no call of any
 * profile is left out.
 */

import type { CallName } from '../calls.ts';
import type { lifeCycles } from './tables.ts';

/** `life cycle.EVENT`. */
export type EventName = `${keyof typeof lifeCycles}.${string}`;

/** Calls that no life cycle is moved by, whatever comes of them, and why. */
export const pureCalls: Readonly<Partial<Record<CallName, string>>> = {
  alloc_mgt_reclaimable: 'It only counts.',
  attach_dev_nested: 'The driver of this generation refuses it, whatever is asked.',
  iotlb_sync_map: 'The driver of this generation refuses it, whatever is asked.',
  iotlb_inv_nested_domain: 'The driver of this generation refuses it, whatever is asked.',
  nested_cfg_sync: 'The driver of this generation refuses it, whatever is asked.',
  page_response: 'It ends the wait of one access; what the stream may reach stays as it is.',
};

/** Calls whose state no life cycle follows: the routes of a guest's paravirtual IOMMU, judged by the oracle alone. */
export const unfollowedCalls: readonly CallName[] = ['pviommu_attach', 'pviommu_add_vsid'];

/** The events of every other call. */
export const callEvents: Readonly<Partial<Record<CallName, readonly EventName[]>>> = {
  host_share_hyp: ['page.SHARE_HYP'],
  host_unshare_hyp: ['page.UNSHARE_HYP'],
  map_guest: ['page.DONATE_GUEST', 'page.SHARE_GUEST_FIRST', 'page.SHARE_GUEST', 'vm.GIVE'],
  donate_guest: ['page.DONATE_GUEST', 'vm.GIVE'],
  share_guest: ['page.SHARE_GUEST_FIRST', 'page.SHARE_GUEST', 'vm.GIVE'],
  unshare_guest: ['page.UNSHARE_GUEST', 'page.UNSHARE_GUEST_LAST'],
  reserve_vm: ['vm.RESERVE'],
  unreserve_vm: ['vm.UNRESERVE'],
  init_vm: ['vm.INIT', 'vm.CREATE', 'page.DONATE_HYP'],
  reclaim_dying_guest_page: ['page.RECLAIM_GUEST', 'vm.RECLAIM'],
  start_teardown_vm: ['vm.START_TEARDOWN'],
  finalize_teardown_vm: ['vm.FINALIZE', 'page.RETURN_HOST'],
  vcpu_load: ['vm.LOAD_FIRST', 'vm.LOAD'],
  vcpu_put: ['vm.PUT', 'vm.PUT_LAST'],
  alloc_mgt_refill: ['page.DONATE_HYP'],
  alloc_mgt_reclaim: ['page.RETURN_HOST'],
  alloc_domain: ['domain.ALLOC'],
  free_domain: ['domain.FREE', 'page.UNMAP', 'page.UNMAP_LAST', 'power.COMMAND'],
  attach_dev: [
    'domain.ATTACH_FIRST',
    'domain.ATTACH',
    'domain.ATTACH_ELSEWHERE',
    'stream.ATTACH',
    'stream.PASID_FIRST',
    'stream.PASID',
    'pasid.ATTACH',
    'power.COMMAND',
  ],
  detach_dev: [
    'domain.DETACH',
    'domain.DETACH_LAST',
    'stream.DETACH',
    'stream.DETACH_OTHER',
    'stream.PASID_GONE',
    'stream.PASID_LAST',
    'pasid.DETACH',
    'pasid.DETACH_OTHER',
    'power.COMMAND',
  ],
  map_pages: ['domain.MAP', 'page.MAP_FIRST', 'page.MAP', 'device.MAP'],
  map_sg: ['domain.MAP', 'page.MAP_FIRST', 'page.MAP', 'device.MAP'],
  unmap_pages: ['domain.UNMAP', 'page.UNMAP', 'page.UNMAP_LAST', 'power.COMMAND'],
  iova_to_phys: ['domain.TRANSLATE'],
  set_identity: ['stream.ATTACH', 'stream.DETACH', 'power.COMMAND'],
  host_donate_hyp_mmio: ['device.DONATE'],
  host_reclaim_hyp_mmio: ['device.RECLAIM'],
  hvc_pd: ['power.SWITCH_OFF', 'power.SWITCH_ON', 'power.SWITCH_ON_UNANSWERED'],
};

/** Events that no call is: accesses of devices and of the host. */
export const eventsOfAccesses: readonly EventName[] = ['device.ACCESS', 'power.TRANSLATE'];
