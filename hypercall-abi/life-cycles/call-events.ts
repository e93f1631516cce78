/**
 * Which events of which life cycles a call that succeeds may be: for readers, and for the test that no call of any
 * profile, and none of a guest, is left out.
 */

import type { CallName } from '../calls.ts';
import type { GuestCallName } from '../guest-calls.ts';
import type { lifeCycles } from './tables.ts';

/** `life cycle.EVENT`. */
export type EventName = `${keyof typeof lifeCycles}.${string}`;

const refused = 'The driver of this generation refuses it, whatever is asked.';

/** Calls that no life cycle is moved by, whatever comes of them, and why. */
export const pureCalls: Readonly<Partial<Record<CallName, string>>> = {
  alloc_mgt_reclaimable: 'It only counts.',
  attach_dev_nested: refused,
  iotlb_inv_nested_domain: refused,
  iotlb_sync_map: refused,
  nested_cfg_sync: refused,
  page_response: 'It ends the wait of one access; what the stream may reach stays as it is.',
};

const give: readonly EventName[] = ['vm.GIVE'];
const share: readonly EventName[] = ['page.SHARE_GUEST_FIRST', 'page.SHARE_GUEST'];
const unmap: readonly EventName[] = ['page.UNMAP', 'page.UNMAP_LAST', 'power.COMMAND'];
const guestUnmap: readonly EventName[] = ['page.GUEST_UNMAP', 'page.GUEST_UNMAP_LAST', 'power.COMMAND'];
const guestDomain: readonly EventName[] = ['vm.CALL', 'guestDomain.USE_OTHERS'];

/** The events of every other call. */
export const callEvents: Readonly<Partial<Record<CallName | GuestCallName, readonly EventName[]>>> = {
  host_share_hyp: ['page.SHARE_HYP'],
  host_unshare_hyp: ['page.UNSHARE_HYP'],
  map_guest: ['page.DONATE_GUEST', ...share, ...give],
  donate_guest: ['page.DONATE_GUEST', ...give],
  share_guest: [...share, ...give],
  unshare_guest: ['page.UNSHARE_GUEST', 'page.UNSHARE_GUEST_LAST'],
  reserve_vm: ['vm.RESERVE'],
  unreserve_vm: ['vm.UNRESERVE'],
  init_vm: ['vm.INIT', 'vm.CREATE', 'page.DONATE_HYP', 'pviommu.FIX'],
  reclaim_dying_guest_page: ['page.RECLAIM_GUEST', 'vm.RECLAIM'],
  start_teardown_vm: [
    'vm.START_TEARDOWN',
    'device.VM_GONE',
    'guestDomain.VM_GONE',
    'pviommu.VM_GONE',
    'stream.DETACH',
    ...guestUnmap,
  ],
  finalize_teardown_vm: ['vm.FINALIZE', 'page.RETURN_HOST'],
  vcpu_load: ['vm.LOAD_FIRST', 'vm.LOAD'],
  vcpu_put: ['vm.PUT', 'vm.PUT_LAST'],
  alloc_mgt_refill: ['page.DONATE_HYP'],
  alloc_mgt_reclaim: ['page.RETURN_HOST'],
  alloc_domain: ['domain.ALLOC'],
  free_domain: ['domain.FREE', ...unmap],
  attach_dev: [
    'domain.ATTACH_FIRST',
    'domain.ATTACH',
    'domain.ATTACH_ELSEWHERE',
    'stream.ATTACH',
    'stream.PASID_FIRST',
    'stream.PASID',
    'pasid.ATTACH',
    'device.HOST_USE',
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
    'device.HOST_USE',
    'power.COMMAND',
  ],
  map_pages: ['domain.MAP', 'page.MAP_FIRST', 'page.MAP', 'device.MAP'],
  map_sg: ['domain.MAP', 'page.MAP_FIRST', 'page.MAP', 'device.MAP'],
  unmap_pages: ['domain.UNMAP', ...unmap],
  iova_to_phys: ['domain.TRANSLATE'],
  set_identity: ['stream.ATTACH', 'stream.DETACH', 'device.HOST_USE', 'power.COMMAND'],
  host_donate_hyp_mmio: ['device.DONATE'],
  host_reclaim_hyp_mmio: ['device.RECLAIM'],
  hvc_pd: ['power.SWITCH_OFF', 'power.SWITCH_ON', 'power.SWITCH_ON_UNANSWERED'],
  pviommu_attach: ['pviommu.ATTACH'],
  pviommu_add_vsid: ['pviommu.ADD_VSID', 'pviommu.ADD_VSID_AGAIN'],
  guest_dev_req_dma: [
    'vm.CALL',
    'pviommu.RESOLVE',
    'device.CLAIM',
    'device.CLAIM_AGAIN',
    'device.CLAIM_OTHERS',
    'device.CLAIM_ATTACHED',
    'power.COMMAND',
  ],
  guest_attach_dev: [
    ...guestDomain,
    'pviommu.RESOLVE',
    'device.GUEST_USE',
    'guestDomain.ATTACH_FIRST',
    'guestDomain.ATTACH',
    'guestDomain.ATTACH_ELSEWHERE',
    'stream.ATTACH',
    'power.COMMAND',
  ],
  guest_detach_dev: [
    ...guestDomain,
    'pviommu.RESOLVE',
    'device.GUEST_USE',
    'guestDomain.DETACH',
    'guestDomain.DETACH_LAST',
    'stream.DETACH',
    'stream.DETACH_OTHER',
    'power.COMMAND',
  ],
  guest_alloc_domain: ['vm.CALL', 'guestDomain.ALLOC'],
  guest_free_domain: [...guestDomain, 'guestDomain.FREE', ...guestUnmap],
  guest_map_pages: [...guestDomain, 'guestDomain.MAP', 'page.GUEST_MAP_FIRST', 'page.GUEST_MAP'],
  guest_unmap_pages: [...guestDomain, 'guestDomain.UNMAP', ...guestUnmap],
};

/** Events that no call is: accesses of devices and of the host. */
export const eventsOfAccesses: readonly EventName[] = ['device.ACCESS', 'power.TRANSLATE'];
