/** Every row of the call specification of android16 and RFC v2, each by the shortest way there. */

import { expect, test } from 'vitest';
import { android16, encodeCall, makeRegisters, type Profile, rfcV2 } from '#hypercall-abi';
import { specificationOf } from '#lab/oracle/index';
import { type MachineDescription, tiny } from '#machine';
import { makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';
import { scatterWays } from './scatter-ways.ts';

const BLOCK = 0x200000;
const SID = tiny.devices[0]!.sid;
const BEYOND = 2 ** 40;
const RAM = tiny.ram[0]!.base;
/** PASIDs, and ASIDs of 8 bits. */
const machine: MachineDescription = {
  ...tiny,
  name: 'rows',
  smmus: [{ ...tiny.smmus[0]!, ssidBits: 12, asid16: false }],
};
const s1 = (rig: Rig): number => rig.session.profile.domainTypes.s1;
const s2 = (rig: Rig): number => rig.session.profile.domainTypes.s2;

/** A domain with that type, and its table, which the first attach builds. */
function domain(rig: Rig, id: number, type: number): void {
  rig.refill(1, 8);
  rig.call('alloc_domain', id, type);
}

function attach(rig: Rig, id: number, sid = SID, pasid = 0, iommu = 0, bits = 0): void {
  const args = [iommu, id, sid, pasid, bits, 0].slice(0, rig.session.profile.call('attach_dev').args.length);
  rig.call('attach_dev', ...args);
}

/** Domains 1 and 2 at stage 1, domain 1 with the first device attached, which has room for eight PASIDs. */
function withPasids(rig: Rig): void {
  domain(rig, 1, s1(rig));
  rig.call('alloc_domain', 2, s1(rig));
  attach(rig, 1, SID, 0, 0, 3);
}

/** Domain 1 at stage 1, with the first device attached. */
function attached(rig: Rig, type = s1(rig)): void {
  domain(rig, 1, type);
  attach(rig, 1);
}

const map = (rig: Rig, iova: number, pa: number, size = PAGE, count = 1, prot = RW, id = 1): void => {
  rig.call('map_pages', id, iova, pa, size, count, prot);
};

/** From now on no SMMU answers. */
function hang(rig: Rig): void {
  for (const smmu of rig.machine.smmus) smmu.setAnswers(false);
}

/** Take every page out of a pool. */
function drain(rig: Rig): void {
  while (rig.call('alloc_mgt_reclaim', 1000).value !== 0);
}

/** A VM with its vCPU loaded on CPU 0. @returns its handle */
function vm(rig: Rig, isProtected: boolean): number {
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
function dying(rig: Rig, page: number): number {
  const handle = vm(rig, true);
  rig.call('donate_guest', page / PAGE, 5, 1);
  rig.call('vcpu_put');
  rig.call('start_teardown_vm', handle);
  return handle;
}

/** Ways to rows that both generations have. */
const common: Readonly<Record<string, (rig: Rig) => void>> = {
  'host_share_hyp/EINVAL-range': (rig) => rig.call('host_share_hyp', BEYOND),
  'host_share_hyp/EPERM': (rig) => rig.call('host_share_hyp', tiny.carveOut.base / PAGE),
  'host_share_hyp/EINVAL-mapped': (rig) => {
    const page = rig.page();
    attached(rig);
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
  'alloc_mgt_refill/EINVAL-pool': (rig) => rig.call('alloc_mgt_refill', 2 ** 32, 0, 0),
  'alloc_mgt_refill/EINVAL-count': (rig) => rig.call('alloc_mgt_refill', 1, 0, 4096),
  'alloc_mgt_refill/EINVAL-chunk': (rig) => rig.call('alloc_mgt_refill', 1, tiny.carveOut.base, 1),
  'alloc_mgt_refill/ok': (rig) => rig.refill(1, 3),
  'alloc_mgt_refill/ENOMEM-heap': (rig) => {
    // Alone in its 2 MiB: the table that would note the donation is not there yet.
    const page = rig.page(9);
    drain(rig);
    rig.call('alloc_mgt_refill', 1, page, 1);
  },
  'alloc_mgt_reclaimable/ok': (rig) => rig.call('alloc_mgt_reclaimable'),
  'alloc_mgt_reclaim/nothing': (rig) => rig.call('alloc_mgt_reclaim', 0),
  'alloc_mgt_reclaim/ok': (rig) => rig.call('alloc_mgt_reclaim', 3),
  'alloc_domain/EPERM': (rig) => rig.call('alloc_domain', 0, s1(rig)),
  'alloc_domain/EINVAL-in-use': (rig) => {
    domain(rig, 1, s1(rig));
    rig.call('alloc_domain', 1, s2(rig));
  },
  'alloc_domain/EINVAL-type': (rig) => domain(rig, 1, -1),
  'alloc_domain/ok': (rig) => domain(rig, 300, s1(rig)),
  'alloc_domain/ENOMEM-iommu': (rig) => rig.call('alloc_domain', 1, s1(rig)),
  'free_domain/EINVAL-id': (rig) => rig.call('free_domain', 9),
  'free_domain/EINVAL-attached': (rig) => {
    attached(rig);
    rig.call('free_domain', 1);
  },
  'free_domain/ok': (rig) => {
    attached(rig);
    map(rig, 0, rig.page());
    rig.call('detach_dev', 0, 1, SID, 0);
    rig.call('free_domain', 1);
  },
  'attach_dev/EINVAL-iommu': (rig) => attach(rig, 1, SID, 0, 9),
  'attach_dev/EINVAL-domain': (rig) => attach(rig, 1),
  'attach_dev/ENOMEM-stream': (rig) => {
    domain(rig, 1, s1(rig));
    attach(rig, 1, 2 ** 31);
  },
  'attach_dev/EBUSY-stage2': (rig) => {
    attached(rig, s2(rig));
    rig.call('alloc_domain', 2, s1(rig));
    attach(rig, 2);
  },
  'attach_dev/EINVAL-no-cd-table': (rig) => {
    domain(rig, 1, s1(rig));
    attach(rig, 1, SID, 5);
  },
  'attach_dev/ETIMEDOUT': (rig) => {
    domain(rig, 1, s1(rig));
    hang(rig);
    attach(rig, 1);
  },
  'detach_dev/ETIMEDOUT': (rig) => {
    attached(rig);
    hang(rig);
    rig.call('detach_dev', 0, 1, SID, 0);
  },
  'attach_dev/ERANGE': (rig) => {
    domain(rig, 256, s1(rig));
    attach(rig, 256);
  },
  'attach_dev/E2BIG-table': (rig) => {
    domain(rig, 1, s1(rig));
    attach(rig, 1, SID, 0, 0, 11);
  },
  'attach_dev/E2BIG-pasid': (rig) => {
    attached(rig);
    attach(rig, 1, SID, 5);
  },
  'attach_dev/EBUSY-descriptor': (rig) => {
    withPasids(rig);
    attach(rig, 2, SID, 5);
    attach(rig, 1, SID, 5);
  },
  'attach_dev/EBUSY-in-use': (rig) => {
    attached(rig);
    attach(rig, 1);
  },
  'attach_dev/EBUSY-in-use-stage2': (rig) => {
    attached(rig, s2(rig));
    attach(rig, 1);
  },
  'attach_dev/EBUSY-pasid-stage2': (rig) => {
    domain(rig, 1, s2(rig));
    attach(rig, 1, SID, 5);
  },
  'attach_dev/ok': (rig) => attached(rig),
  'attach_dev/ENOMEM-iommu': (rig) => {
    rig.refill(1, 1);
    rig.call('alloc_domain', 1, s1(rig));
    attach(rig, 1);
  },
  'detach_dev/EINVAL-iommu': (rig) => rig.call('detach_dev', 9, 1, SID, 0),
  'detach_dev/EINVAL-domain': (rig) => rig.call('detach_dev', 0, 1, SID, 0),
  'detach_dev/ENODEV-stream': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, 2 ** 31, 0);
  },
  'detach_dev/EACCES-stage': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID + 1, 0);
  },
  'detach_dev/E2BIG': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID, 5);
  },
  'detach_dev/EINVAL-other-pasids': (rig) => {
    withPasids(rig);
    attach(rig, 2, SID, 5);
    rig.call('detach_dev', 0, 1, SID, 0);
  },
  'detach_dev/ENOENT': (rig) => {
    withPasids(rig);
    rig.call('detach_dev', 0, 1, SID, 5);
  },
  'detach_dev/EACCES-domain': (rig) => {
    attached(rig);
    rig.call('alloc_domain', 2, s1(rig));
    attach(rig, 2, tiny.devices[1]!.sid);
    rig.call('detach_dev', 0, 2, SID, 0);
  },
  'detach_dev/ok': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID, 0);
  },
  'map_pages/EOPNOTSUPP': (rig) => map(rig, 0, 0, PAGE, 1, 64),
  'map_pages/E2BIG': (rig) => map(rig, 0, 0, 2 ** 40, 2 ** 40),
  'map_pages/EINVAL-alignment': (rig) => map(rig, PAGE, 0, BLOCK),
  'map_pages/ENOENT': (rig) => map(rig, 0, rig.page()),
  'map_pages/EPERM': (rig) => {
    attached(rig);
    map(rig, 0, tiny.carveOut.base);
  },
  'map_pages/EINVAL-range': (rig) => {
    attached(rig);
    map(rig, 0, BEYOND);
  },
  'map_pages/EINVAL-no-table': (rig) => {
    domain(rig, 1, s1(rig));
    map(rig, 0, rig.page());
  },
  'map_pages/EINVAL-granule': (rig) => {
    attached(rig);
    map(rig, 0x800, rig.page(), 0x800, 2);
  },
  'map_pages/empty': (rig) => {
    attached(rig);
    map(rig, 0, rig.page(), PAGE, 0);
  },
  'map_pages/EINVAL-page-size': (rig) => {
    attached(rig);
    map(rig, 0, rig.page(1), 2 * PAGE);
  },
  'map_pages/EINVAL-no-access': (rig) => {
    attached(rig);
    map(rig, 0, rig.page(), PAGE, 1, 4);
  },
  'map_pages/ERANGE': (rig) => {
    attached(rig);
    map(rig, 2 ** 48, rig.page());
  },
  'map_pages/EEXIST': (rig) => {
    attached(rig);
    map(rig, 0, rig.page());
    map(rig, 0, rig.page());
  },
  'map_pages/ok': (rig) => {
    attached(rig);
    map(rig, 0, rig.page());
  },
  'map_pages/ENOMEM-iommu': (rig) => {
    attached(rig);
    drain(rig);
    map(rig, 0, rig.page());
  },
  'unmap_pages/arguments': (rig) => rig.call('unmap_pages', 1, 0, 0, 1),
  'unmap_pages/no-domain': (rig) => rig.call('unmap_pages', 1, 0, PAGE, 1),
  'unmap_pages/no-table': (rig) => {
    domain(rig, 1, s1(rig));
    rig.call('unmap_pages', 1, 0, PAGE, 1);
  },
  'unmap_pages/page-size': (rig) => {
    attached(rig);
    rig.call('unmap_pages', 1, 0, 2 * PAGE, 1);
  },
  'unmap_pages/nothing': (rig) => {
    attached(rig);
    rig.call('unmap_pages', 1, 0, PAGE, 1);
  },
  'unmap_pages/part': (rig) => {
    attached(rig);
    map(rig, 0, rig.page());
    rig.call('unmap_pages', 1, 0, PAGE, 2);
  },
  'unmap_pages/ok': (rig) => {
    attached(rig);
    map(rig, 0, rig.page());
    rig.call('unmap_pages', 1, 0, PAGE, 1);
  },
  'iova_to_phys/no-domain': (rig) => rig.call('iova_to_phys', 1, 0),
  'iova_to_phys/no-table': (rig) => {
    domain(rig, 1, s1(rig));
    rig.call('iova_to_phys', 1, 0);
  },
  'iova_to_phys/beyond': (rig) => {
    attached(rig);
    rig.call('iova_to_phys', 1, 2 ** 50);
  },
  'iova_to_phys/unmapped': (rig) => {
    attached(rig);
    rig.call('iova_to_phys', 1, 0);
  },
  'iova_to_phys/ok': (rig) => {
    attached(rig);
    map(rig, 0, rig.page());
    rig.call('iova_to_phys', 1, 0);
  },
};

/** What the row is called where map_pages says no errno. */
const silently = (id: string): string => id.replace(/^map_pages\/E/, 'map_pages/0-E').replace('0-ENOMEM', 'ENOMEM');

const ofAndroid16: Readonly<Record<string, (rig: Rig) => void>> = {
  'alloc_domain/EINVAL-id': (rig) => rig.call('alloc_domain', 32768, s1(rig)),
  'attach_dev/EINVAL-type': (rig) => {
    domain(rig, 1, android16.domainTypes.nested!);
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
  'init_vm/ok': (rig) => vm(rig, true),
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

const ofRfcV2: Readonly<Record<string, (rig: Rig) => void>> = {
  'free_domain/ETIMEDOUT': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID, 0);
    hang(rig);
    rig.call('free_domain', 1);
  },
  'alloc_domain/ENOMEM-id': (rig) => rig.call('alloc_domain', 65536, s1(rig)),
};

function initWith(rig: Rig, pgd: number, kvm = rig.page()): void {
  rig.session.boundary.write32(0, kvm + 8, 1);
  rig.call('host_share_hyp', kvm / PAGE);
  rig.call('init_vm', kvm, pgd);
}

/**
 * Rows that need another machine, or many thousand calls: see below. `EPERM` of attach and detach needs a device that a
 * guest has, which no call of these generations gives it; `share_guest/EBUSY` needs 2^32 - 1 shares of one page.
 */
const elsewhere = [
  'attach_dev/EPERM',
  'detach_dev/EPERM',
  'map_pages/EBUSY',
  'map_pages/0-EBUSY',
  'map_pages/EINVAL-no-level',
  'map_pages/0-EINVAL-no-level',
  'map_pages/ENOMEM-heap',
  'share_guest/EBUSY',
  'map_sg/ENOMEM-heap',
  'attach_dev/EBUSY-other-iommu',
  'attach_dev/EINVAL-other-iommu',
];

/** That for device registers needs a machine where they are far from everything: see test/hyp/scatter.test.ts. */
const { 'map_sg/ENOMEM-heap': _far, ...ofLists } = scatterWays;

const generations: readonly (readonly [Profile, Readonly<Record<string, (rig: Rig) => void>>])[] = [
  [android16, { ...common, ...ofAndroid16, ...ofLists }],
  [rfcV2, { ...Object.fromEntries(Object.entries(common).map(([id, way]) => [silently(id), way])), ...ofRfcV2 }],
];

for (const [profile, ways] of generations) {
  test.each(Object.entries(ways))(`${profile.name}: %s`, (id, way) => {
    const rig = makeRig({ profile, machine, full: 'never' });
    const hits = (): number => rig.oracle.rows().find((row) => row.id === id)?.hits ?? -1;
    way(rig);
    expect(hits(), id).toBeGreaterThan(0);
    rig.oracle.checkAll();
    expect(tell(rig.oracle.findings)).toBe('');
    expect(rig.session.boundary.violations).toEqual([]);
  });

  test(`${profile.name}: no row is left out`, () => {
    const rows = specificationOf(profile).rows.map(({ id }) => id);
    const calls = rows.filter((id) => !/^(boot|abort|unknown)\//.test(id));
    const missing = calls.filter((id) => !(id in ways) && !elsewhere.includes(id));
    expect(missing).toEqual(profile === rfcV2 ? ['attach_dev/EINVAL-type'] : []);
  });
}

/** How often a row decided. */
function hits(rig: Rig, id: string): number {
  return rig.oracle.rows().find((row) => row.id === id)?.hits ?? -1;
}

for (const [profile, nothing] of [
  [android16, ''],
  [rfcV2, '0-'],
] as const) {
  test(`${profile.name}: a size that is no level's, and a page that is mapped 65535 times`, () => {
    const rig = makeRig({ profile, full: 'never' });
    attached(rig);
    rig.refill(1, 200);
    map(rig, 0, RAM, PAGE + BLOCK);
    expect(hits(rig, `map_pages/${nothing}EINVAL-no-level`)).toBe(1);
    for (let i = 0; i <= 65535; i++) map(rig, i * PAGE, RAM);
    expect(hits(rig, `map_pages/${nothing}EBUSY`)).toBe(1);
    expect(tell(rig.oracle.findings)).toBe('');
  });

  test(`${profile.name}: a device is mapped when the heap is empty`, () => {
    const far = { name: 'far', base: 0x20000000, size: 0x1000 };
    const rig = makeRig({ profile, full: 'never', machine: { ...tiny, mmio: [far] } });
    attached(rig);
    rig.refill(1, 10);
    drain(rig);
    map(rig, 0, far.base, PAGE, 1, RW | 16);
    expect(hits(rig, 'map_pages/ENOMEM-heap')).toBe(1);
    expect(tell(rig.oracle.findings)).toBe('');
  });
}

/** Two SMMUs, the first without the second stage of the other. */
const two: MachineDescription = {
  ...tiny,
  name: 'two',
  smmus: [tiny.smmus[0]!, { ...tiny.smmus[0]!, name: 'smmu1', base: tiny.smmus[0]!.base + 0x40000 }],
  devices: [...tiny.devices, { ...tiny.devices[0]!, name: 'far', smmu: 'smmu1' }],
};

test('android16: streams behind two SMMUs share a table, and each SMMU is rid of it when its last stream leaves', () => {
  const rig = makeRig({ profile: android16, machine: two });
  attached(rig);
  attach(rig, 1, SID, 0, 1);
  const page = rig.page();
  map(rig, 0x10000, page);
  expect(rig.call('iova_to_phys', 1, 0x10000).value).toBe(page);
  expect(rig.call('unmap_pages', 1, 0x10000, PAGE, 1).value).toBe(PAGE);
  map(rig, 0x10000, page);
  expect(rig.call('detach_dev', 0, 1, SID, 0).errno).toBe(0);
  expect(rig.call('unmap_pages', 1, 0x10000, PAGE, 1).value).toBe(PAGE);
  expect(rig.call('detach_dev', 1, 1, SID, 0).errno).toBe(0);
  expect(rig.call('free_domain', 1).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  expect(rig.session.boundary.violations).toEqual([]);
});

test('a domain bound to one SMMU takes no stream of another, or of one that its table does not fit', () => {
  const odd = { ...two, smmus: [two.smmus[0]!, { ...two.smmus[1]!, oas: 36 as const }] };
  for (const [profile, machine, errno] of [
    [rfcV2, two, -22],
    [android16, odd, -16],
  ] as const) {
    const rig = makeRig({ profile, machine });
    attached(rig);
    const args = [1, 1, SID, 0, 0, 0].slice(0, profile.call('attach_dev').args.length);
    expect(rig.call('attach_dev', ...args).errno).toBe(errno);
    expect(tell(rig.oracle.findings)).toBe('');
  }
});

test('a function id beyond the table, or of a call that a generation has not, is not supported', () => {
  for (const profile of [android16, rfcV2]) {
    const rig = makeRig({ profile, full: 'never' });
    const x = rig.session.boundary.registers(0);
    x.set(makeRegisters());
    for (let position = 0; position < 130; position++) {
      if (profile.at(position) !== undefined) continue;
      encodeCall(x, { ...profile.calls[0]!, position, args: [] }, []);
      rig.session.boundary.hvc(0);
      expect([x[0], x[1]]).toEqual([-1, -1]);
    }
    expect(tell(rig.oracle.findings)).toBe('');
  }
});
