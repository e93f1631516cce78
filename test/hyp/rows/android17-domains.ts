/** The shortest way to every row of android17 about domains, streams, maps and power. */

import { android17, DomainType, Profile } from '#hypercall-abi';
import { tiny, twoSmmus } from '#machine';
import { PAGE, type Rig, RW } from '../../lab/oracle-rig.ts';
import { scatterWays } from '../../lab/scatter-ways.ts';
import {
  attach,
  attached,
  detach,
  domain,
  drain,
  guestWithDevice,
  hang,
  map,
  NET,
  POWER_DOMAIN,
  RAM,
  rich,
  SID,
  withPasids,
} from './android17-rig.ts';
import { withFarRegisters } from './older-rig.ts';
import type { Ways } from './way.ts';

const BLOCK = 0x200000;
const NO_STREAM = 2 ** 31;
/** StreamID without a level-2 table in two-smmus. */
const FAR_SID = 0x200;
const noStage1 = { ...tiny, smmus: [{ ...tiny.smmus[0]!, stage1: false }] };

/** The host may name the ids of guests too: only so an id comes to be more than 8 bits can hold. */
const allIds = new Profile({ ...android17, domains: { ...android17.domains, hostCount: android17.domains.count } });

const on = (machine: typeof tiny, run: (rig: Rig) => unknown) => ({ machine, run });

const domains: Ways = {
  'alloc_domain/ENODEV-driver': (rig) => rig.call('alloc_domain', 1, 0, 1, DomainType.s1),
  'alloc_domain/EINVAL-id': (rig) => domain(rig, 256),
  'alloc_domain/EINVAL-in-use': (rig) => {
    domain(rig);
    domain(rig);
  },
  'alloc_domain/EPERM': (rig) => domain(rig, 0),
  'alloc_domain/ENODEV-iommu': (rig) => domain(rig, 1, DomainType.s1, 9),
  'alloc_domain/EINVAL-type': (rig) => domain(rig, 1, -1),
  'alloc_domain/EINVAL-stage': on(noStage1, (rig) => domain(rig)),
  'alloc_domain/ERANGE': {
    profile: allIds,
    machine: twoSmmus,
    run: (rig) => domain(rig, 256, DomainType.s1, 1),
  },
  'alloc_domain/ok': (rig) => domain(rig),
  'alloc_domain/ENOMEM-iommu': (rig) => rig.call('alloc_domain', 0, 0, 1, DomainType.s1),
  'free_domain/EINVAL-id': (rig) => rig.call('free_domain', 512),
  'free_domain/ENODEV': (rig) => rig.call('free_domain', 9),
  'free_domain/EINVAL-attached': (rig) => {
    attached(rig);
    rig.call('free_domain', 1);
  },
  'free_domain/ETIMEDOUT': (rig) => {
    domain(rig);
    hang(rig);
    rig.call('free_domain', 1);
  },
  'free_domain/ok': (rig) => {
    domain(rig);
    map(rig, 0, rig.page());
    rig.call('free_domain', 1);
  },
  'hvc_pd/E2BIG': (rig) => rig.call('hvc_pd', 32, 0),
  'hvc_pd/ENOENT': (rig) => rig.call('hvc_pd', 5, 0),
  'hvc_pd/ETIMEDOUT': on(rich, (rig) => {
    rig.call('hvc_pd', POWER_DOMAIN, 0);
    hang(rig);
    rig.call('hvc_pd', POWER_DOMAIN, 1);
  }),
  'hvc_pd/off': on(rich, (rig) => rig.call('hvc_pd', POWER_DOMAIN, 0)),
  'hvc_pd/on': on(rich, (rig) => rig.call('hvc_pd', POWER_DOMAIN, 1)),
};

const streams: Ways = {
  'attach_dev/EPERM': on(twoSmmus, (rig) => {
    guestWithDevice(rig);
    domain(rig);
    attach(rig, 1, NET);
  }),
  'attach_dev/EINVAL-domain': (rig) => attach(rig),
  'attach_dev/ENODEV': (rig) => {
    domain(rig);
    rig.call('attach_dev', 9, 1, SID, 0, 0, 0);
  },
  'attach_dev/EBUSY-other-iommu': on(twoSmmus, (rig) => {
    domain(rig, 1, DomainType.s1, 1);
    attach(rig);
  }),
  'attach_dev/ENOMEM-stream': (rig) => {
    domain(rig);
    attach(rig, 1, NO_STREAM);
  },
  'attach_dev/EBUSY-stage2': (rig) => {
    attached(rig, DomainType.s2);
    domain(rig, 2);
    attach(rig, 2);
  },
  'attach_dev/ENOMEM-iommu': on(twoSmmus, (rig) => {
    domain(rig);
    drain(rig, 1);
    attach(rig, 1, FAR_SID, 5);
  }),
  'attach_dev/EBUSY-in-use': (rig) => {
    attached(rig);
    attach(rig);
  },
  'attach_dev/E2BIG-table': on(rich, (rig) => {
    domain(rig);
    attach(rig, 1, SID, 0, 11);
  }),
  'attach_dev/EINVAL-no-cd-table': on(rich, (rig) => {
    domain(rig);
    attach(rig, 1, SID, 5);
  }),
  'attach_dev/E2BIG-pasid': on(rich, (rig) => {
    withPasids(rig);
    attach(rig, 2, SID, 8);
  }),
  'attach_dev/EBUSY-descriptor': on(rich, (rig) => {
    withPasids(rig);
    attach(rig, 2, SID, 5);
    attach(rig, 1, SID, 5);
  }),
  'attach_dev/EBUSY-in-use-stage2': (rig) => {
    attached(rig, DomainType.s2);
    attach(rig);
  },
  'attach_dev/EBUSY-pasid-stage2': (rig) => {
    domain(rig, 1, DomainType.s2);
    attach(rig, 1, SID, 5);
  },
  'attach_dev/ETIMEDOUT': (rig) => {
    domain(rig);
    hang(rig);
    attach(rig);
  },
  'attach_dev/ENOMEM-tables': (rig) => {
    domain(rig);
    drain(rig, 1);
    attach(rig);
  },
  'attach_dev/ok': (rig) => attached(rig),
  'detach_dev/EPERM': on(twoSmmus, (rig) => {
    guestWithDevice(rig);
    detach(rig, 1, NET);
  }),
  'detach_dev/EINVAL-domain': (rig) => {
    domain(rig);
    detach(rig);
  },
  'detach_dev/ENODEV-iommu': (rig) => {
    attached(rig);
    rig.call('detach_dev', 9, 1, SID, 0);
  },
  'detach_dev/ENODEV-stream': (rig) => {
    attached(rig);
    detach(rig, 1, NO_STREAM);
  },
  'detach_dev/EACCES-stage': (rig) => {
    attached(rig);
    detach(rig, 1, SID + 1);
  },
  'detach_dev/E2BIG': on(rich, (rig) => {
    withPasids(rig);
    detach(rig, 1, SID, 8);
  }),
  'detach_dev/EINVAL-other-pasids': on(rich, (rig) => {
    withPasids(rig);
    attach(rig, 2, SID, 5);
    detach(rig);
  }),
  'detach_dev/ENOENT': on(rich, (rig) => {
    withPasids(rig);
    detach(rig, 1, SID, 5);
  }),
  'detach_dev/EACCES-domain': (rig) => {
    attached(rig);
    domain(rig, 2);
    attach(rig, 2, tiny.devices[1]!.sid);
    detach(rig, 2);
  },
  'detach_dev/ETIMEDOUT': (rig) => {
    attached(rig);
    hang(rig);
    detach(rig);
  },
  'detach_dev/ok': (rig) => {
    attached(rig);
    detach(rig);
  },
};

const identity = (rig: Rig, on = 1, sid = SID, iommu = 0, driver = 0): unknown =>
  rig.call('set_identity', driver, iommu, sid, on, 0);
const respond = (rig: Rig, driver = 0, sid = SID): unknown => rig.call('page_response', driver, 0, sid, 0, 1, 0);

const identities: Ways = {
  'set_identity/ENODEV-driver': (rig) => identity(rig, 1, SID, 0, 1),
  'set_identity/EPERM': on(twoSmmus, (rig) => {
    guestWithDevice(rig);
    identity(rig, 1, NET);
  }),
  'set_identity/ENODEV-iommu': (rig) => identity(rig, 1, SID, 9),
  'set_identity/EINVAL-stage': on({ ...tiny, smmus: [{ ...tiny.smmus[0]!, stage2: false }] }, (rig) => identity(rig)),
  'set_identity/ENOMEM-stream': (rig) => identity(rig, 1, NO_STREAM),
  'set_identity/EBUSY': (rig) => {
    identity(rig);
    identity(rig);
  },
  'set_identity/EINVAL-not-on': (rig) => identity(rig, 0),
  'set_identity/ENOMEM-iommu': on(twoSmmus, (rig) => identity(rig, 1, FAR_SID)),
  'set_identity/ETIMEDOUT': (rig) => {
    hang(rig);
    identity(rig);
  },
  'set_identity/off': (rig) => {
    identity(rig);
    identity(rig, 0);
  },
  'set_identity/on': (rig) => identity(rig),
  'page_response/EPERM': on(twoSmmus, (rig) => {
    guestWithDevice(rig);
    respond(rig, 0, NET);
  }),
  'page_response/ENODEV-driver': on(rich, (rig) => respond(rig, 1)),
  'page_response/ENODEV-no-stalls': (rig) => respond(rig),
  'page_response/ETIMEDOUT': on(rich, (rig) => {
    hang(rig);
    respond(rig);
  }),
  'page_response/ok': on(rich, (rig) => respond(rig)),
};

/** A page that is shared with the hypervisor. */
function shared(rig: Rig): number {
  const pa = rig.page();
  rig.call('host_share_hyp', pa / PAGE);
  return pa;
}

const nested = (rig: Rig, descriptor: number, sid = SID, id = 1): unknown =>
  rig.call('attach_dev_nested', 0, id, sid, 0, 0, descriptor, 64);

const refusedAlways: Ways = {
  'attach_dev_nested/EPERM-context': on(twoSmmus, (rig) => {
    guestWithDevice(rig);
    nested(rig, 0, NET);
  }),
  'attach_dev_nested/EINVAL-range': (rig) => nested(rig, 0),
  'attach_dev_nested/EPERM-pin': (rig) => nested(rig, rig.page()),
  'attach_dev_nested/EINVAL-domain': (rig) => nested(rig, shared(rig)),
  'attach_dev_nested/ENODEV': (rig) => {
    domain(rig);
    nested(rig, shared(rig));
  },
  'iotlb_inv_nested_domain/EINVAL': (rig) => rig.call('iotlb_inv_nested_domain', 1, 0, PAGE, PAGE, 1),
  'iotlb_inv_nested_domain/ENODEV': (rig) => {
    domain(rig);
    rig.call('iotlb_inv_nested_domain', 1, 0, PAGE, PAGE, 1);
  },
  'nested_cfg_sync/EINVAL': (rig) => rig.call('nested_cfg_sync', 0, 0, 0, 16),
  'nested_cfg_sync/EPERM': (rig) => rig.call('nested_cfg_sync', 0, 0, rig.page(), 16),
  'nested_cfg_sync/ENODEV': (rig) => rig.call('nested_cfg_sync', 0, 0, shared(rig), 16),
  'iotlb_sync_map/EINVAL-range': (rig) => rig.call('iotlb_sync_map', 1, 0, 0),
  'iotlb_sync_map/EINVAL-domain': (rig) => rig.call('iotlb_sync_map', 1, 0, PAGE),
  'iotlb_sync_map/ENODEV': (rig) => {
    domain(rig);
    rig.call('iotlb_sync_map', 1, 0, PAGE);
  },
};

/** A map in domain 1, which is there. */
const mapIn =
  (iova: number, pa: number, size = PAGE, count = 1, prot = RW) =>
  (rig: Rig): void => {
    domain(rig);
    map(rig, iova, pa, size, count, prot);
  };

const maps: Ways = {
  'map_pages/EOPNOTSUPP': mapIn(0, RAM, PAGE, 1, 64),
  'map_pages/E2BIG': mapIn(0, 0, 2 ** 40, 2 ** 40),
  'map_pages/EINVAL-alignment': mapIn(PAGE, 0, BLOCK),
  'map_pages/ENOENT': (rig) => map(rig, 0, RAM),
  'map_pages/EINVAL-granule': mapIn(0x800, 0x800, 0x800, 2),
  'map_pages/empty': mapIn(0, RAM, PAGE, 0),
  'map_pages/EPERM': mapIn(0, tiny.carveOut.base),
  'map_pages/EBUSY': (rig) => {
    domain(rig);
    rig.refill(1, 200);
    for (let i = 0; i <= 65535; i++) map(rig, i * PAGE, RAM);
  },
  'map_pages/EINVAL-range': mapIn(0, 2 ** 40),
  'map_pages/EINVAL-page-size': mapIn(0, RAM, 2 * PAGE),
  'map_pages/ENOMEM-heap': on(withFarRegisters, (rig) => {
    domain(rig);
    drain(rig, 0);
    map(rig, 0, withFarRegisters.mmio[0]!.base, PAGE, 1, RW | 16);
  }),
  'map_pages/EINVAL-no-access': mapIn(0, RAM, PAGE, 1, 4),
  'map_pages/ERANGE': mapIn(2 ** 48, RAM),
  'map_pages/ENOMEM-iommu': (rig) => {
    domain(rig);
    drain(rig, 1);
    map(rig, 0, RAM);
  },
  'map_pages/EEXIST': (rig) => {
    domain(rig);
    map(rig, 0, RAM);
    map(rig, 0, RAM);
  },
  'map_pages/EINVAL-no-level': mapIn(0, RAM, PAGE + BLOCK),
  'map_pages/ok': mapIn(0, RAM),
  'unmap_pages/arguments': (rig) => rig.call('unmap_pages', 1, 0, 0, 1),
  'unmap_pages/no-domain': (rig) => rig.call('unmap_pages', 1, 0, PAGE, 1),
  'unmap_pages/page-size': (rig) => {
    domain(rig);
    rig.call('unmap_pages', 1, 0, 2 * PAGE, 1);
  },
  'unmap_pages/nothing': (rig) => {
    domain(rig);
    rig.call('unmap_pages', 1, 0, PAGE, 1);
  },
  'unmap_pages/part': (rig) => {
    mapIn(0, RAM)(rig);
    rig.call('unmap_pages', 1, 0, PAGE, 2);
  },
  'unmap_pages/ok': (rig) => {
    mapIn(0, RAM)(rig);
    rig.call('unmap_pages', 1, 0, PAGE, 1);
  },
  'iova_to_phys/no-domain': (rig) => rig.call('iova_to_phys', 1, 0),
  'iova_to_phys/beyond': (rig) => {
    domain(rig);
    rig.call('iova_to_phys', 1, 2 ** 50);
  },
  'iova_to_phys/unmapped': (rig) => {
    domain(rig);
    rig.call('iova_to_phys', 1, 0);
  },
  'iova_to_phys/ok': (rig) => {
    mapIn(0, RAM)(rig);
    rig.call('iova_to_phys', 1, 0);
  },
};

/** That for device registers needs a machine where they are far from everything. */
const { 'map_sg/ENOMEM-heap': far, ...lists } = scatterWays;

export const domainWays: Ways = {
  ...domains,
  ...streams,
  ...identities,
  ...refusedAlways,
  ...maps,
  ...lists,
  'map_sg/ENOMEM-heap': on(withFarRegisters, far!),
};
