/**
 * The contract of android16-6.12 (docs/abi-sources.md; numbers of copy N16, order of checks of copy A16): no drivers with
 * numbers, a page table built by the first attach, domains that span IOMMUs, requests in x2 and x3, donation to a guest
 * and sharing with one as calls of their own.
 */

import { type CallSpec, call, i32, u32, u64, withRequest } from '../calls.ts';
import { android17 } from './android17.ts';
import { Profile } from './profile.ts';

/** A call that android17 has in the same form, at another position. */
const same = (name: string, position: number): CallSpec => ({ ...android17.call(name), position });

const calls: readonly CallSpec[] = [
  same('host_share_hyp', 22),
  same('host_unshare_hyp', 23),
  call(
    'donate_guest',
    24,
    [u64('pfn', 'pfn'), u64('gfn', 'gfn'), u64('pages', 'pages')],
    'errno',
    ['EINVAL', 'EPERM', 'ENOMEM'],
    'Donate pages to the protected guest whose vCPU is loaded.',
    withRequest,
  ),
  call(
    'share_guest',
    26,
    [u64('pfn', 'pfn'), u64('gfn', 'gfn'), u32('prot', 'prot'), u64('pages', 'pages')],
    'errno',
    ['EINVAL', 'EPERM', 'EBUSY', 'ENOMEM'],
    'Share pages with the non-protected guest whose vCPU is loaded.',
    withRequest,
  ),
  same('unshare_guest', 27),
  call(
    'init_vm',
    37,
    [u64('kvm', 'pa'), u64('pgd', 'pa')],
    'handleOrErrno',
    ['EINVAL', 'EPERM', 'ENOMEM'],
    'Make a VM from a description in a shared page and a donated top-level table page; its handle is the result.',
    withRequest,
  ),
  same('start_teardown_vm', 39),
  same('finalize_teardown_vm', 40),
  call(
    'reclaim_dying_guest_page',
    41,
    [u32('vm', 'handle'), u64('pfn', 'pfn'), u64('gfn', 'gfn'), u64('order', 'order')],
    'errno',
    ['EINVAL', 'EPERM', 'ENOENT'],
    'Take back a page of a protected VM that is being torn down; the hypervisor zeroes it.',
  ),
  call(
    'vcpu_load',
    43,
    [u32('vm', 'handle'), u32('vcpu', 'index'), u64('hcr', 'flags')],
    'none',
    [],
    'Make a vCPU of the VM current on this CPU. Nothing happens if that is not possible.',
  ),
  same('vcpu_put', 44),
  call(
    'alloc_mgt_refill',
    57,
    [u64('pool', 'pool'), u64('head', 'list'), u64('count', 'count')],
    'errno',
    ['EINVAL', 'EPERM', 'ENOMEM'],
    'Donate a list of chunks to a pool.',
  ),
  call('alloc_mgt_reclaimable', 58, [], 'pages', [], 'How many pages all pools together could give back.'),
  call(
    'alloc_mgt_reclaim',
    59,
    [i32('target', 'count')],
    'list',
    [],
    'Take free pages back, from the heap first: x1 is the head of a list of pages, x2 their number.',
  ),
  call(
    'alloc_domain',
    60,
    [u32('domain', 'domain'), i32('type', 'domainType')],
    'errno',
    ['EPERM', 'EINVAL', 'ENOMEM'],
    'Make a translation domain; its page table is built when a stream is first attached.',
    withRequest,
  ),
  call(
    'free_domain',
    61,
    [u32('domain', 'domain')],
    'errno',
    ['EINVAL'],
    'Free an idle domain, its page table, and the references of what is still mapped in it.',
    withRequest,
  ),
  {
    ...same('attach_dev', 62),
    errors: ['EPERM', 'EINVAL', 'EBUSY', 'ERANGE', 'ENOMEM', 'E2BIG', 'ETIMEDOUT'],
  },
  { ...same('detach_dev', 63), request: true },
  same('map_pages', 64),
  same('unmap_pages', 65),
  same('iova_to_phys', 66),
  same('map_sg', 69),
];

export const android16 = new Profile({
  name: 'android16',
  summary: 'android16-6.12',
  calls,
  // Ids of guests are the upper half.
  domains: { count: 65536, hostCount: 32768, identity: 0, table: 'two-level' },
  domainTypes: { bypass: 0, any: 1, s1: 2, s2: 3, nested: 4 },
  tableBuilt: 'first-attach',
  domainSmmus: 'several',
  pageStates: { owned: 0, sharedOwned: 1, sharedBorrowed: 2, noPage: 8 },
  request: 'x2-x3',
});
