/** The shortest way to every row of RFC v1. */

import { HostMemcache } from '#host';
import { type MachineDescription, tiny } from '#machine';
import { PAGE, type Rig, RW } from '../../lab/oracle-rig.ts';
import type { Ways } from './way.ts';

const BLOCK = 0x200000;
const SID = tiny.devices[0]!.sid;
const BEYOND = 2 ** 40;
const RAM = tiny.ram[0]!.base;
/** A first table is two pages here. */
const ROOT_ORDER = 1;
const FAR = { name: 'far', base: 0x20000000, size: 0x2000 };
const smmu = tiny.smmus[0]!;
/** Stream tables of two levels, VMIDs of 8 bits, an IOMMU without stage 2, and registers far from everything. */
export const machine: MachineDescription = {
  ...tiny,
  name: 'rows',
  smmus: [
    { ...smmu, twoLevelStreamTable: true, sidBits: 10, vmid16: false },
    { ...smmu, name: 'smmu1', base: smmu.base + 0x40000, stage2: false },
  ],
  mmio: [FAR],
};

/** Put pages into the cache of CPU 0. */
function give(rig: Rig, pages: number): void {
  const cache = new HostMemcache(rig.session.boundary, rig.session.memcaches, 0);
  for (let i = 0; i < pages; i++) cache.push(rig.page());
}

function domain(rig: Rig, id = 1): void {
  give(rig, 1);
  rig.call('alloc_domain', 0, id, rig.page(ROOT_ORDER));
}

function attached(rig: Rig): void {
  domain(rig);
  give(rig, 1);
  rig.call('attach_dev', 0, 1, SID);
}

const map = (rig: Rig, iova: number, pa: number, size = PAGE, count = 1, prot = RW): void => {
  rig.call('map_pages', 0, 1, iova, pa, size, count, prot);
};

function hang(rig: Rig): void {
  for (const one of rig.machine.smmus) one.setAnswers(false);
}

/** Nobody can take pages out of the heap here: use them up by aborts at addresses that are far apart. */
function drainHeap(rig: Rig): void {
  for (let i = 0; i < 200; i++) rig.oracle.abort(0, 0x100000000 + i * 2 ** 30, false);
}

/** A domain with tables for the first 2 MiB. */
function mapped(rig: Rig): void {
  attached(rig);
  give(rig, 2);
  map(rig, 0, rig.page());
}

export const rfcV1Ways: Ways = {
  'host_share_hyp/EINVAL-range': (rig) => rig.call('host_share_hyp', BEYOND),
  'host_share_hyp/EPERM': (rig) => rig.call('host_share_hyp', tiny.carveOut.base / PAGE),
  'host_share_hyp/EINVAL-mapped': (rig) => {
    const page = rig.page();
    attached(rig);
    give(rig, 2);
    map(rig, 0, page);
    rig.call('host_share_hyp', page / PAGE);
  },
  'host_share_hyp/ok': (rig) => rig.call('host_share_hyp', rig.page() / PAGE),
  'host_unshare_hyp/EINVAL': (rig) => rig.call('host_unshare_hyp', BEYOND),
  'host_unshare_hyp/EPERM': (rig) => rig.call('host_unshare_hyp', rig.page() / PAGE),
  'host_unshare_hyp/EBUSY': (rig) => rig.call('host_unshare_hyp', rig.session.memcaches / PAGE),
  'host_unshare_hyp/ok': (rig) => {
    const pfn = rig.page() / PAGE;
    rig.call('host_share_hyp', pfn);
    rig.call('host_unshare_hyp', pfn);
  },
  'alloc_domain/EINVAL-id': (rig) => {
    rig.call('alloc_domain', 2, 1, rig.page(ROOT_ORDER));
    rig.call('alloc_domain', 0, 256, rig.page(ROOT_ORDER));
  },
  'alloc_domain/EPERM': (rig) => rig.call('alloc_domain', 0, 0, rig.page(ROOT_ORDER)),
  'alloc_domain/EINVAL-in-use': (rig) => {
    domain(rig);
    domain(rig);
  },
  'alloc_domain/EINVAL-page': (rig) => rig.call('alloc_domain', 0, 1, rig.page(ROOT_ORDER)),
  'alloc_domain/EINVAL-stage': (rig) => {
    give(rig, 1);
    rig.call('alloc_domain', 1, 1, rig.page(ROOT_ORDER));
  },
  'alloc_domain/EINVAL-alignment': (rig) => {
    give(rig, 1);
    rig.call('alloc_domain', 0, 1, rig.page(ROOT_ORDER) + PAGE);
  },
  'alloc_domain/ENOMEM-root': (rig) => {
    give(rig, 1);
    rig.call('alloc_domain', 0, 1, tiny.carveOut.base);
  },
  'alloc_domain/ENOMEM-heap': (rig) => {
    // The second page of the table is the one that the cache gives for the record.
    const root = rig.page(ROOT_ORDER);
    new HostMemcache(rig.session.boundary, rig.session.memcaches, 0).push(root + PAGE);
    rig.call('alloc_domain', 0, 1, root);
  },
  'alloc_domain/ok': (rig) => domain(rig, 255),
  'free_domain/EINVAL-id': (rig) => rig.call('free_domain', 0, 1),
  'free_domain/EINVAL-attached': (rig) => {
    attached(rig);
    rig.call('free_domain', 0, 1);
  },
  'free_domain/ETIMEDOUT': (rig) => {
    domain(rig);
    hang(rig);
    rig.call('free_domain', 0, 1);
  },
  'free_domain/ok': (rig) => {
    mapped(rig);
    rig.call('detach_dev', 0, 1, SID);
    rig.call('free_domain', 0, 1);
  },
  'attach_dev/EINVAL-domain': (rig) => {
    rig.call('attach_dev', 0, 1, SID);
    rig.call('attach_dev', 9, 1, SID);
  },
  'attach_dev/EINVAL-stream': (rig) => {
    domain(rig);
    rig.call('attach_dev', 0, 1, 2 ** 31);
  },
  'attach_dev/EINVAL-page': (rig) => {
    domain(rig);
    rig.call('attach_dev', 0, 1, SID);
  },
  'attach_dev/EINVAL-in-use-stage2': (rig) => {
    attached(rig);
    rig.call('attach_dev', 0, 1, SID);
  },
  'attach_dev/ETIMEDOUT': (rig) => {
    domain(rig);
    give(rig, 1);
    hang(rig);
    rig.call('attach_dev', 0, 1, SID);
  },
  'attach_dev/ok': attached,
  'detach_dev/EINVAL-domain': (rig) => {
    domain(rig);
    rig.call('detach_dev', 0, 1, SID);
  },
  'detach_dev/ENODEV-stream': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, 0x200);
  },
  'detach_dev/EACCES-stage': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID + 7);
  },
  'detach_dev/EACCES-domain': (rig) => {
    attached(rig);
    domain(rig, 2);
    rig.call('attach_dev', 0, 2, SID + 1);
    rig.call('detach_dev', 0, 2, SID);
  },
  'detach_dev/ETIMEDOUT': (rig) => {
    attached(rig);
    hang(rig);
    rig.call('detach_dev', 0, 1, SID);
  },
  'detach_dev/ok': (rig) => {
    attached(rig);
    rig.call('detach_dev', 0, 1, SID);
  },
  'map_pages/0-EOPNOTSUPP': (rig) => {
    domain(rig);
    map(rig, 0, rig.page(), PAGE, 1, 64);
  },
  'map_pages/0-E2BIG': (rig) => {
    domain(rig);
    rig.call('map_pages', 0, 1, 2n ** 64n - 4096n, rig.page(), PAGE, 1, RW);
  },
  'map_pages/0-EINVAL-alignment': (rig) => {
    domain(rig);
    map(rig, PAGE, RAM, BLOCK);
  },
  'map_pages/0-ENOENT': (rig) => {
    map(rig, 0, rig.page());
    rig.call('map_pages', 7, 1, 0, rig.page(), PAGE, 1, RW);
  },
  'map_pages/0-EINVAL-granule': (rig) => {
    domain(rig);
    map(rig, 0x800, RAM + 0x800, 0x800, 2);
  },
  'map_pages/empty': (rig) => {
    domain(rig);
    map(rig, 0, rig.page(), PAGE, 0);
  },
  'map_pages/0-EBUSY': (rig) => {
    domain(rig);
    give(rig, 150);
    for (let i = 0; i <= 65535; i++) map(rig, i * PAGE, RAM);
  },
  'map_pages/0-EPERM': (rig) => {
    domain(rig);
    map(rig, 0, tiny.carveOut.base);
  },
  'map_pages/0-EINVAL-range': (rig) => {
    domain(rig);
    map(rig, 0, BEYOND * PAGE);
  },
  'map_pages/0-EINVAL-page-size': (rig) => {
    domain(rig);
    map(rig, 0, RAM, 2 * PAGE);
  },
  'map_pages/0-EINVAL-no-access': (rig) => {
    domain(rig);
    map(rig, 0, RAM, PAGE, 1, 4);
  },
  'map_pages/0-ERANGE': (rig) => {
    domain(rig);
    map(rig, 2 ** 40, RAM);
  },
  'map_pages/0-EEXIST': (rig) => {
    mapped(rig);
    map(rig, 0, rig.page());
  },
  'map_pages/0-EINVAL-no-level': (rig) => {
    domain(rig);
    give(rig, 4);
    map(rig, 0, RAM, PAGE + BLOCK);
  },
  'map_pages/ok': mapped,
  'map_pages/ENOMEM-iommu': (rig) => {
    mapped(rig);
    map(rig, BLOCK, rig.page());
  },
  'map_pages/ENOMEM-heap': (rig) => {
    domain(rig);
    give(rig, 4);
    drainHeap(rig);
    map(rig, 0, FAR.base, PAGE, 1, RW | 16);
  },
  'unmap_pages/arguments': (rig) => rig.call('unmap_pages', 0, 1, 0, PAGE, 0),
  'unmap_pages/no-domain': (rig) => rig.call('unmap_pages', 0, 1, 0, PAGE, 1),
  'unmap_pages/page-size': (rig) => {
    domain(rig);
    rig.call('unmap_pages', 0, 1, 0, 2 * PAGE, 1);
  },
  'unmap_pages/nothing': (rig) => {
    domain(rig);
    rig.call('unmap_pages', 0, 1, 0, PAGE, 1);
  },
  'unmap_pages/part': (rig) => {
    mapped(rig);
    rig.call('unmap_pages', 0, 1, 0, PAGE, 2);
  },
  'unmap_pages/ok': (rig) => {
    mapped(rig);
    rig.call('unmap_pages', 0, 1, 0, PAGE, 1);
  },
  'iova_to_phys/no-domain': (rig) => rig.call('iova_to_phys', 0, 1, 0),
  'iova_to_phys/beyond': (rig) => {
    domain(rig);
    rig.call('iova_to_phys', 0, 1, 2 ** 52);
  },
  'iova_to_phys/unmapped': (rig) => {
    domain(rig);
    rig.call('iova_to_phys', 0, 1, 0);
  },
  'iova_to_phys/ok': (rig) => {
    mapped(rig);
    rig.call('iova_to_phys', 0, 1, 0);
  },
};
