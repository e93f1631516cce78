/**
 * The contract of the second posted series, "RFC PATCH v2 00/58" of December 2024 (docs/abi-sources.md, V2): map_pages
 * gives bytes and no errno, a domain belongs to the IOMMU of its first stream, guests have no domains.
 *
 * The series numbers its calls by their place in an enum of the tree it was made on, which was not found: their order is
 * the series', the first number is derived (see the page).
 */

import { type CallSpec, call, u32, withRequest } from '../calls.ts';
import { android16 } from './android16.ts';
import { Profile } from './profile.ts';

/** A call that android16 has in the same form, at another position. */
const same = (name: string, position: number): CallSpec => ({ ...android16.call(name), position });

const calls: readonly CallSpec[] = [
  same('host_share_hyp', 20),
  same('host_unshare_hyp', 21),
  same('alloc_mgt_refill', 49),
  same('alloc_mgt_reclaimable', 50),
  same('alloc_mgt_reclaim', 51),
  same('alloc_domain', 52),
  { ...same('free_domain', 53), errors: ['EINVAL', 'ETIMEDOUT'] },
  call(
    'attach_dev',
    54,
    [
      u32('iommu', 'iommu'),
      u32('domain', 'domain'),
      u32('endpoint', 'stream'),
      u32('pasid', 'pasid'),
      u32('pasidBits', 'pasidBits'),
    ],
    'errno',
    ['EINVAL', 'EBUSY', 'ERANGE', 'ENOMEM', 'E2BIG', 'ETIMEDOUT'],
    'Let a stream, or one PASID of it, translate through a domain.',
    withRequest,
  ),
  {
    ...same('detach_dev', 55),
    errors: android16.call('detach_dev').errors.filter((error) => error !== 'EPERM'),
  },
  {
    ...same('map_pages', 56),
    x0: 'smccc',
    errors: [],
    summary: 'Map host pages for DMA. x1 is the number of bytes mapped: 0 for anything wrong.',
  },
  same('unmap_pages', 57),
  same('iova_to_phys', 58),
];

export const rfcV2 = new Profile({
  name: 'rfc-v2',
  summary: 'RFC v2 of December 2024, 58 patches',
  calls,
  domains: { count: 65536, hostCount: 65536, identity: 0, table: 'two-level' },
  domainTypes: { s1: 0, s2: 1 },
  tableBuilt: 'first-attach',
  domainSmmus: 'one',
  pageStates: { owned: 0, sharedOwned: 1, sharedBorrowed: 2, noPage: 8 },
  request: 'x2-x3',
});
