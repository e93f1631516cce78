/** The shortest way to every row of android17 about pages, pools and VMs. */

import { tiny } from '#machine';
import { PAGE } from '../../lab/oracle-rig.ts';
import {
  attached,
  BEYOND,
  describe,
  domain,
  drain,
  dying,
  give,
  hangWithIdentity,
  makeVm,
  map,
  RAM,
  vm,
} from './android17-rig.ts';
import { type Ways, withSharesAtEnd } from './way.ts';

const CARVE_OUT = tiny.carveOut.base / PAGE;

export const memoryWays: Ways = {
  'host_share_hyp/EINVAL-range': (rig) => rig.call('host_share_hyp', BEYOND),
  'host_share_hyp/EPERM': (rig) => rig.call('host_share_hyp', CARVE_OUT),
  'host_share_hyp/EINVAL-mapped': (rig) => {
    const page = rig.page();
    domain(rig);
    map(rig, 0, page);
    rig.call('host_share_hyp', page / PAGE);
  },
  'host_share_hyp/ok': (rig) => rig.call('host_share_hyp', rig.page() / PAGE),
  'host_unshare_hyp/EINVAL': (rig) => rig.call('host_unshare_hyp', BEYOND),
  'host_unshare_hyp/EPERM': (rig) => rig.call('host_unshare_hyp', rig.page() / PAGE),
  'host_unshare_hyp/EBUSY': (rig) => rig.call('host_unshare_hyp', rig.session.smmuMemory[0]!.evtq / PAGE),
  'host_unshare_hyp/ok': (rig) => {
    const pfn = rig.page() / PAGE;
    rig.call('host_share_hyp', pfn);
    rig.call('host_unshare_hyp', pfn);
  },
  'map_guest/EINVAL-no-vcpu': (rig) => give(rig, rig.page() / PAGE),
  'map_guest/EINVAL-prot': (rig) => {
    vm(rig, false);
    give(rig, rig.page() / PAGE, 5, 1, 8);
  },
  'map_guest/EINVAL-size': (rig) => {
    vm(rig);
    give(rig, rig.page(1) / PAGE, 5, 2);
  },
  'map_guest/EINVAL-range': (rig) => {
    vm(rig);
    give(rig, BEYOND);
  },
  'map_guest/EPERM-donate': (rig) => {
    vm(rig);
    give(rig, CARVE_OUT);
  },
  'map_guest/EINVAL-donate-mapped': (rig) => {
    vm(rig);
    attached(rig);
    map(rig, 0, RAM);
    give(rig, RAM / PAGE);
  },
  'map_guest/EPERM-guest-has': (rig) => {
    vm(rig);
    give(rig, rig.page() / PAGE);
    give(rig, rig.page() / PAGE);
  },
  'map_guest/EPERM-share': (rig) => {
    vm(rig, false);
    give(rig, CARVE_OUT);
  },
  'map_guest/EBUSY': (rig) => {
    const page = rig.page();
    vm(rig, false);
    give(rig, page / PAGE);
    withSharesAtEnd(rig, page, () => give(rig, page / PAGE, 6));
  },
  'map_guest/EINVAL-share-mapped': (rig) => {
    vm(rig, false);
    attached(rig);
    map(rig, 0, RAM);
    give(rig, RAM / PAGE);
  },
  'map_guest/ETIMEDOUT': (rig) => {
    vm(rig);
    hangWithIdentity(rig);
    give(rig, rig.page() / PAGE);
  },
  'map_guest/ENOMEM-heap': (rig) => {
    vm(rig);
    drain(rig, 0);
    give(rig, rig.page() / PAGE);
  },
  'map_guest/donated': (rig) => {
    vm(rig);
    give(rig, rig.page() / PAGE);
  },
  'map_guest/shared': (rig) => {
    vm(rig, false);
    give(rig, rig.page() / PAGE);
  },
  'unshare_guest/EINVAL-vm': (rig) => rig.call('unshare_guest', 0x1000, 5, 1),
  'unshare_guest/EINVAL-size': (rig) => rig.call('unshare_guest', vm(rig, false), 5, 2),
  'unshare_guest/ENOENT': (rig) => rig.call('unshare_guest', vm(rig, false), 5, 1),
  'unshare_guest/ok': (rig) => {
    const handle = vm(rig, false);
    give(rig, rig.page() / PAGE);
    rig.call('unshare_guest', handle, 5, 1);
  },
  'reserve_vm/ENOMEM': (rig) => {
    for (let i = 0; i < 33; i++) rig.call('reserve_vm');
  },
  'reserve_vm/ok': (rig) => rig.call('reserve_vm'),
  'unreserve_vm/nothing': (rig) => rig.call('unreserve_vm', 0x1000),
  'unreserve_vm/ok': (rig) => rig.call('unreserve_vm', rig.call('reserve_vm').value),
  'init_vm/EINVAL-address': (rig) => rig.call('init_vm', rig.page() + 2, rig.page()),
  'init_vm/EPERM': (rig) => rig.call('init_vm', rig.page(), rig.page()),
  'init_vm/EINVAL-vcpus': (rig) => rig.call('init_vm', describe(rig, 0x1000, true, 0), rig.page()),
  'init_vm/EINVAL-handle': (rig) => rig.call('init_vm', describe(rig, 7), rig.page()),
  'init_vm/EINVAL-pgd': (rig) => rig.call('init_vm', describe(rig, 0x1000), rig.page() + 8),
  'init_vm/EINVAL-slot': (rig) => rig.call('init_vm', describe(rig, 0x1000), rig.page()),
  'init_vm/EINVAL-donation': (rig) => {
    rig.call('init_vm', describe(rig, rig.call('reserve_vm').value), tiny.carveOut.base);
  },
  'init_vm/ETIMEDOUT': (rig) => {
    const kvm = describe(rig, rig.call('reserve_vm').value);
    hangWithIdentity(rig);
    rig.call('init_vm', kvm, rig.page());
  },
  'init_vm/ENOMEM-heap': (rig) => {
    const kvm = describe(rig, rig.call('reserve_vm').value);
    // Alone in its 2 MiB: the table that would note the donation is not there yet.
    const page = rig.page(9);
    drain(rig, 0);
    rig.call('init_vm', kvm, page);
  },
  'init_vm/ok': (rig) => makeVm(rig),
  'reclaim_dying_guest_page/EINVAL-vm': (rig) => rig.call('reclaim_dying_guest_page', vm(rig), 5, 1),
  'reclaim_dying_guest_page/EINVAL-size': (rig) => rig.call('reclaim_dying_guest_page', dying(rig), 5, 2),
  'reclaim_dying_guest_page/EPERM': (rig) => {
    const handle = makeVm(rig, false);
    rig.call('start_teardown_vm', handle);
    rig.call('reclaim_dying_guest_page', handle, 5, 1);
  },
  'reclaim_dying_guest_page/ENOENT': (rig) => rig.call('reclaim_dying_guest_page', dying(rig), 6, 1),
  'reclaim_dying_guest_page/ok': (rig) => rig.call('reclaim_dying_guest_page', dying(rig), 5, 1),
  'start_teardown_vm/ENOENT': (rig) => rig.call('start_teardown_vm', rig.call('reserve_vm').value),
  'start_teardown_vm/EINVAL': (rig) => rig.call('start_teardown_vm', dying(rig)),
  'start_teardown_vm/EBUSY': (rig) => rig.call('start_teardown_vm', vm(rig)),
  'start_teardown_vm/ok': (rig) => rig.call('start_teardown_vm', makeVm(rig)),
  'finalize_teardown_vm/ENOENT': (rig) => rig.call('finalize_teardown_vm', 0x1000),
  'finalize_teardown_vm/EBUSY-live': (rig) => rig.call('finalize_teardown_vm', makeVm(rig)),
  'finalize_teardown_vm/EBUSY-pages': (rig) => rig.call('finalize_teardown_vm', dying(rig)),
  'finalize_teardown_vm/ok': (rig) => {
    const handle = dying(rig);
    rig.call('reclaim_dying_guest_page', handle, 5, 1);
    rig.call('finalize_teardown_vm', handle);
  },
  'vcpu_load/nothing': (rig) => rig.call('vcpu_load', 0x1000, 0),
  'vcpu_load/ok': (rig) => vm(rig),
  'vcpu_put/nothing': (rig) => rig.call('vcpu_put'),
  'vcpu_put/ok': (rig) => {
    vm(rig);
    rig.call('vcpu_put');
  },
  'alloc_mgt_refill/EINVAL-pool': (rig) => rig.call('alloc_mgt_refill', 2, 0, 0),
  'alloc_mgt_refill/EINVAL-count': (rig) => rig.call('alloc_mgt_refill', 1, 0, 4096),
  'alloc_mgt_refill/EINVAL-chunk': (rig) => rig.call('alloc_mgt_refill', 1, BEYOND * PAGE, 1),
  'alloc_mgt_refill/ENOMEM-heap': (rig) => {
    const page = rig.page(9);
    drain(rig, 0);
    rig.call('alloc_mgt_refill', 1, page, 1);
  },
  'alloc_mgt_refill/EPERM': (rig) => rig.call('alloc_mgt_refill', 1, tiny.carveOut.base, 1),
  'alloc_mgt_refill/ETIMEDOUT': (rig) => {
    hangWithIdentity(rig);
    rig.call('alloc_mgt_refill', 1, rig.page(), 1);
  },
  'alloc_mgt_refill/ok': (rig) => rig.refill(1, 3),
  'alloc_mgt_reclaimable/no-pool': (rig) => rig.call('alloc_mgt_reclaimable', 2),
  'alloc_mgt_reclaimable/ok': (rig) => rig.call('alloc_mgt_reclaimable', 1),
  'alloc_mgt_reclaim/nothing': (rig) => rig.call('alloc_mgt_reclaim', 1, 5),
  'alloc_mgt_reclaim/ok': (rig) => rig.call('alloc_mgt_reclaim', 0, 3),
};
