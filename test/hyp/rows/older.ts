/** The shortest way to every row that android16 and RFC v2 share. */

import { tiny } from '#machine';
import { PAGE, RW } from '../../lab/oracle-rig.ts';
import {
  attach,
  attached,
  BEYOND,
  BLOCK,
  domain,
  drain,
  hang,
  map,
  RAM,
  SID,
  s1,
  s2,
  withFarRegisters,
  withPasids,
} from './older-rig.ts';
import type { Ways } from './way.ts';

/** Ways to rows that both generations have. */
export const older: Ways = {
  'map_pages/EINVAL-no-level': (rig) => {
    attached(rig);
    map(rig, 0, RAM, PAGE + BLOCK);
  },
  'map_pages/EBUSY': (rig) => {
    attached(rig);
    rig.refill(1, 200);
    for (let i = 0; i <= 65535; i++) map(rig, i * PAGE, RAM);
  },
  'map_pages/ENOMEM-heap': {
    machine: withFarRegisters,
    run: (rig) => {
      attached(rig);
      rig.refill(1, 10);
      drain(rig);
      map(rig, 0, withFarRegisters.mmio[0]!.base, PAGE, 1, RW | 16);
    },
  },
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
