/**
 * The contract of the first posted series, "RFC PATCH 00/45" of February 2023 (docs/abi-sources.md, V1): every IOMMU has
 * domains of its own, which translate at stage 2; the host gives each its first table; all other pages come from a cache
 * that each CPU shares with the hypervisor. Everything comes back in x1.
 *
 * The series numbers its calls by their place in an enum of the tree it was made on: their order is the series', the
 * first number is derived (see the page).
 */

import { type CallSpec, call, u32, u64 } from '../calls.ts';
import { android16 } from './android16.ts';
import { Profile } from './profile.ts';

/** A call that android16 has in the same form, at another position. */
const same = (name: string, position: number): CallSpec => ({ ...android16.call(name), position });

const ofDomain = [u32('iommu', 'iommu'), u32('domain', 'domain')] as const;

const calls: readonly CallSpec[] = [
  same('host_share_hyp', 14),
  same('host_unshare_hyp', 15),
  call(
    'alloc_domain',
    30,
    [...ofDomain, u64('pgd', 'pa')],
    'errno',
    ['EPERM', 'EINVAL', 'ENOMEM'],
    'Make a translation domain of an IOMMU, from the pages that the host gives for its first table.',
  ),
  call(
    'free_domain',
    31,
    ofDomain,
    'errno',
    ['EINVAL', 'ETIMEDOUT'],
    'Free an idle domain: its first table goes back to the host, the others to the cache of this CPU.',
  ),
  call(
    'attach_dev',
    32,
    [...ofDomain, u32('endpoint', 'stream')],
    'errno',
    ['EINVAL', 'ETIMEDOUT'],
    'Let a stream translate through a domain of its IOMMU.',
  ),
  call(
    'detach_dev',
    33,
    [...ofDomain, u32('endpoint', 'stream')],
    'errno',
    ['EINVAL', 'ENODEV', 'EACCES', 'ETIMEDOUT'],
    'Block a stream that translates through a domain.',
  ),
  call(
    'map_pages',
    34,
    [
      ...ofDomain,
      u64('iova', 'iova'),
      u64('paddr', 'pa'),
      u64('pgsize', 'bytes'),
      u64('pgcount', 'count'),
      u32('prot', 'prot'),
    ],
    'bytes',
    [],
    'Map host pages for DMA. x1 is the number of bytes mapped: 0 for anything wrong.',
  ),
  call(
    'unmap_pages',
    35,
    [...ofDomain, u64('iova', 'iova'), u64('pgsize', 'bytes'), u64('pgcount', 'count')],
    'bytes',
    [],
    'Unmap. x1 is the number of bytes unmapped; it stops at the first hole.',
  ),
  call(
    'iova_to_phys',
    36,
    [...ofDomain, u64('iova', 'iova')],
    'pa',
    [],
    'The physical address that an IOVA translates to, or 0.',
  ),
];

/** Domains that each IOMMU has, at most; no more than its VMIDs. */
const PER_IOMMU = 4096;
const IOMMUS_MAX = 10;

export const rfcV1 = new Profile({
  name: 'rfc-v1',
  summary: 'RFC v1 of February 2023, 45 patches',
  calls,
  domains: {
    count: IOMMUS_MAX * PER_IOMMU,
    hostCount: IOMMUS_MAX * PER_IOMMU,
    identity: 0,
    table: 'two-level',
    perIommu: PER_IOMMU,
  },
  // No call names a type: all domains translate at stage 2.
  domainTypes: { s1: 1, s2: 0 },
  tableBuilt: 'alloc',
  domainSmmus: 'one',
  pageStates: { owned: 0, sharedOwned: 1, sharedBorrowed: 2, noPage: 8 },
  request: 'needs-page',
  // A level-2 table is one page: the cache has no larger ones.
  streamTableSplit: 6,
});
