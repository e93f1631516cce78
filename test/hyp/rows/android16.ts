/** The shortest way to every row of android16. */

import { android16 as profile } from '#hypercall-abi';
import { type MachineDescription, tiny, twoSmmus } from '#machine';
import { PAGE, RW } from '../../lab/oracle-rig.ts';
import { scatterWays } from '../../lab/scatter-ways.ts';
import { older } from './older.ts';
import {
  attach,
  attached,
  BEYOND,
  domain,
  drain,
  dying,
  initWith,
  map,
  SID,
  s1,
  two,
  vm,
  withFarRegisters,
} from './older-rig.ts';
import { assignFirstDevice, type Ways, withSharesAtEnd } from './way.ts';

/** The second SMMU's addresses are narrower: no table of the first fits it. */
const odd: MachineDescription = { ...two, smmus: [two.smmus[0]!, { ...two.smmus[1]!, oas: 36 }] };
/** StreamID of the first device that a guest may be given. */
const NET = 0x20;

const mine: Ways = {
  'attach_dev/EBUSY-other-iommu': {
    machine: odd,
    run: (rig) => {
      attached(rig);
      attach(rig, 1, SID, 0, 1);
    },
  },
  'attach_dev/EPERM': {
    machine: twoSmmus,
    run: (rig) => {
      domain(rig, 1, s1(rig));
      assignFirstDevice(rig);
      attach(rig, 1, NET);
    },
  },
  'detach_dev/EPERM': {
    machine: twoSmmus,
    run: (rig) => {
      assignFirstDevice(rig);
      rig.call('detach_dev', 0, 1, NET, 0);
    },
  },
  'share_guest/EBUSY': (rig) => {
    const page = rig.page();
    vm(rig, false);
    rig.call('share_guest', page / PAGE, 5, 7, 1);
    withSharesAtEnd(rig, page, () => rig.call('share_guest', page / PAGE, 6, 7, 1));
  },
  'alloc_domain/EINVAL-id': (rig) => rig.call('alloc_domain', 32768, s1(rig)),
  'attach_dev/EINVAL-type': (rig) => {
    domain(rig, 1, profile.domainTypes.nested!);
    attach(rig, 1);
  },
  'map_pages/EINVAL-identity': (rig) => map(rig, 0, rig.page(), PAGE, 1, RW, 0),
  'unmap_pages/identity': (rig) => rig.call('unmap_pages', 0, 0, PAGE, 1),
  'iova_to_phys/identity': (rig) => rig.call('iova_to_phys', 0, 2n ** 64n - 3n),
  'donate_guest/EINVAL-no-vcpu': (rig) => rig.call('donate_guest', rig.page() / PAGE, 5, 1),
  'donate_guest/EINVAL-size': (rig) => {
    vm(rig, true);
    rig.call('donate_guest', rig.page() / PAGE, 5, 2);
  },
  'donate_guest/EINVAL-range': (rig) => {
    vm(rig, true);
    rig.call('donate_guest', BEYOND, 5, 1);
  },
  'donate_guest/EPERM-donate': (rig) => {
    vm(rig, true);
    rig.call('donate_guest', tiny.carveOut.base / PAGE, 5, 1);
  },
  'donate_guest/EINVAL-donate-mapped': (rig) => {
    vm(rig, true);
    const page = rig.page();
    attached(rig);
    map(rig, 0, page);
    rig.call('donate_guest', page / PAGE, 5, 1);
  },
  'donate_guest/EPERM-guest-has': (rig) => {
    vm(rig, true);
    rig.call('donate_guest', rig.page() / PAGE, 5, 1);
    rig.call('donate_guest', rig.page() / PAGE, 5, 1);
  },
  'donate_guest/donated': (rig) => {
    vm(rig, true);
    rig.call('donate_guest', rig.page() / PAGE, 5, 1);
  },
  'donate_guest/ENOMEM-heap': (rig) => {
    vm(rig, true);
    const page = rig.page();
    drain(rig);
    rig.call('donate_guest', page / PAGE, 5, 1);
  },
  'share_guest/EINVAL-no-vcpu': (rig) => {
    vm(rig, true);
    rig.call('share_guest', rig.page() / PAGE, 5, 7, 1);
  },
  'share_guest/EINVAL-prot': (rig) => {
    vm(rig, false);
    rig.call('share_guest', rig.page() / PAGE, 5, 8, 1);
  },
  'share_guest/EINVAL-size': (rig) => {
    vm(rig, false);
    rig.call('share_guest', rig.page() / PAGE, 5, 7, 2);
  },
  'share_guest/EINVAL-range': (rig) => {
    vm(rig, false);
    rig.call('share_guest', BEYOND, 5, 7, 1);
  },
  'share_guest/EPERM-guest-has': (rig) => {
    vm(rig, false);
    rig.call('share_guest', rig.page() / PAGE, 5, 7, 1);
    rig.call('share_guest', rig.page() / PAGE, 5, 7, 1);
  },
  'share_guest/EPERM-share': (rig) => {
    vm(rig, false);
    rig.call('share_guest', tiny.carveOut.base / PAGE, 5, 7, 1);
  },
  'share_guest/EINVAL-share-mapped': (rig) => {
    vm(rig, false);
    const page = rig.page();
    attached(rig);
    map(rig, 0, page);
    rig.call('share_guest', page / PAGE, 5, 7, 1);
  },
  'share_guest/shared': (rig) => {
    vm(rig, false);
    rig.call('share_guest', rig.page() / PAGE, 5, 7, 1);
  },
  'share_guest/ENOMEM-heap': (rig) => {
    vm(rig, false);
    const page = rig.page();
    drain(rig);
    rig.call('share_guest', page / PAGE, 5, 7, 1);
  },
  'unshare_guest/EINVAL-vm': (rig) => rig.call('unshare_guest', 0x1000, 5, 1),
  'unshare_guest/EINVAL-size': (rig) => rig.call('unshare_guest', vm(rig, false), 5, 2),
  'unshare_guest/ENOENT': (rig) => rig.call('unshare_guest', vm(rig, false), 5, 1),
  'unshare_guest/ok': (rig) => {
    const handle = vm(rig, false);
    rig.call('share_guest', rig.page() / PAGE, 5, 7, 1);
    rig.call('unshare_guest', handle, 5, 1);
  },
  'init_vm/EINVAL-address': (rig) => rig.call('init_vm', rig.page() + 2, rig.page()),
  'init_vm/EPERM': (rig) => rig.call('init_vm', rig.page(), rig.page()),
  'init_vm/EINVAL-vcpus': (rig) => {
    const kvm = rig.page();
    rig.call('host_share_hyp', kvm / PAGE);
    rig.call('init_vm', kvm, rig.page());
  },
  'init_vm/EINVAL-pgd': (rig) => initWith(rig, rig.page() + 8),
  'init_vm/ENOMEM-handles': (rig) => {
    for (let i = 0; i < 33; i++) initWith(rig, rig.page());
  },
  'init_vm/EINVAL-donation': (rig) => initWith(rig, tiny.carveOut.base),
  'init_vm/ok': (rig) => initWith(rig, rig.page()),
  'init_vm/ENOMEM-heap': (rig) => {
    const kvm = rig.page();
    const page = rig.page(9);
    drain(rig);
    initWith(rig, page, kvm);
  },
  'reclaim_dying_guest_page/EINVAL-vm': (rig) => rig.call('reclaim_dying_guest_page', 0x1000, 0, 5, 0),
  'reclaim_dying_guest_page/EINVAL-size': (rig) => {
    const page = rig.page();
    rig.call('reclaim_dying_guest_page', dying(rig, page), page / PAGE, 5, 3);
  },
  'reclaim_dying_guest_page/EPERM': (rig) => {
    const handle = vm(rig, false);
    rig.call('vcpu_put');
    rig.call('start_teardown_vm', handle);
    rig.call('reclaim_dying_guest_page', handle, 0, 5, 0);
  },
  'reclaim_dying_guest_page/ENOENT': (rig) => {
    const page = rig.page();
    rig.call('reclaim_dying_guest_page', dying(rig, page), page / PAGE, 6, 0);
  },
  'reclaim_dying_guest_page/EINVAL-page': (rig) => {
    const page = rig.page();
    rig.call('reclaim_dying_guest_page', dying(rig, page), page / PAGE + 1, 5, 0);
  },
  'reclaim_dying_guest_page/ok': (rig) => {
    const page = rig.page();
    rig.call('reclaim_dying_guest_page', dying(rig, page), page / PAGE, 5, 0);
  },
  'start_teardown_vm/ENOENT': (rig) => rig.call('start_teardown_vm', 0x1000),
  'start_teardown_vm/EINVAL': (rig) => rig.call('start_teardown_vm', dying(rig, rig.page())),
  'start_teardown_vm/EBUSY': (rig) => rig.call('start_teardown_vm', vm(rig, true)),
  'start_teardown_vm/ok': (rig) => dying(rig, rig.page()),
  'finalize_teardown_vm/ENOENT': (rig) => rig.call('finalize_teardown_vm', 0x1000),
  'finalize_teardown_vm/EBUSY-live': (rig) => rig.call('finalize_teardown_vm', vm(rig, true)),
  'finalize_teardown_vm/EBUSY-pages': (rig) => rig.call('finalize_teardown_vm', dying(rig, rig.page())),
  'finalize_teardown_vm/ok': (rig) => {
    const page = rig.page();
    const handle = dying(rig, page);
    rig.call('reclaim_dying_guest_page', handle, page / PAGE, 5, 0);
    rig.call('finalize_teardown_vm', handle);
  },
  'vcpu_load/nothing': (rig) => rig.call('vcpu_load', 0x1000, 0, 0),
  'vcpu_load/ok': (rig) => vm(rig, true),
  'vcpu_put/nothing': (rig) => rig.call('vcpu_put'),
  'vcpu_put/ok': (rig) => {
    vm(rig, true);
    rig.call('vcpu_put');
  },
};

/** That for device registers needs a machine where they are far from everything. */
const { 'map_sg/ENOMEM-heap': far, ...ofLists } = scatterWays;

/** Every row of android16. */
export const android16Ways: Ways = {
  ...older,
  ...mine,
  ...ofLists,
  'map_sg/ENOMEM-heap': { machine: withFarRegisters, run: far! },
};
