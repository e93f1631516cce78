/**
 * One table of every hypercall of profile `android17`: name, position in the function-id space, arguments with their
 * widths, what comes back in which register, and the errors it may give. Encoder, decoder, reference page, scenario
 * syntax and fuzzers are all made from it. Numbers and argument orders follow docs/abi-sources.md, copy N17.
 *
 * The table says nothing of the order in which checks are made: that belongs to the hypervisor, and, independently, to
 * the oracle's call specification.
 */

import type { ErrnoName } from './errors.ts';

/** Base of the vendor-hypervisor SMC64 fast calls: function id = base + position. */
export const FUNCTION_ID_BASE = 0xc6000000;

/** Width and signedness of an argument register. The unused upper half of a 32-bit argument is ignored. */
export type ArgumentType = 'u32' | 'i32' | 'u64';

/** What an argument means, so that tools can choose sensible values and print it well. */
export type ArgumentUnit =
  | 'pfn'
  | 'gfn'
  | 'pages'
  | 'pa'
  | 'iova'
  | 'bytes'
  | 'count'
  | 'prot'
  | 'handle'
  | 'driver'
  | 'iommu'
  | 'domain'
  | 'domainType'
  | 'stream'
  | 'pasid'
  | 'pasidBits'
  | 'flags'
  | 'pool'
  | 'list'
  | 'index';

export interface ArgumentSpec {
  readonly name: string;
  readonly type: ArgumentType;
  readonly unit: ArgumentUnit;
}

/** What x1 holds on return. `errno`: 0 or a negative errno. Others are never negative unless the call says so. */
export type ResultKind = 'errno' | 'handleOrErrno' | 'bytes' | 'pa' | 'pages' | 'list' | 'none';

export interface CallSpec {
  readonly name: CallName;
  /** Position in the upstream enum; x0 = FUNCTION_ID_BASE + position. */
  readonly position: number;
  readonly args: readonly ArgumentSpec[];
  readonly x0: 'smccc' | 'errno';
  readonly x1: ResultKind;
  /** Whether x2 may carry a memory request on return. */
  readonly request: boolean;
  readonly errors: readonly ErrnoName[];
  readonly summary: string;
}

export type CallName =
  | 'host_share_hyp'
  | 'host_unshare_hyp'
  | 'map_guest'
  | 'unshare_guest'
  | 'reserve_vm'
  | 'unreserve_vm'
  | 'init_vm'
  | 'reclaim_dying_guest_page'
  | 'start_teardown_vm'
  | 'finalize_teardown_vm'
  | 'vcpu_load'
  | 'vcpu_put'
  | 'alloc_mgt_refill'
  | 'alloc_mgt_reclaimable'
  | 'alloc_mgt_reclaim'
  | 'alloc_domain'
  | 'free_domain'
  | 'attach_dev'
  | 'detach_dev'
  | 'map_pages'
  | 'unmap_pages'
  | 'iova_to_phys';

const u32 = (name: string, unit: ArgumentUnit): ArgumentSpec => ({ name, type: 'u32', unit });
const i32 = (name: string, unit: ArgumentUnit): ArgumentSpec => ({ name, type: 'i32', unit });
const u64 = (name: string, unit: ArgumentUnit): ArgumentSpec => ({ name, type: 'u64', unit });

function call(
  name: CallName,
  position: number,
  args: readonly ArgumentSpec[],
  x1: ResultKind,
  errors: readonly ErrnoName[],
  summary: string,
  more: { x0?: 'smccc' | 'errno'; request?: boolean } = {},
): CallSpec {
  return { name, position, args, x0: more.x0 ?? 'smccc', x1, request: more.request ?? false, errors, summary };
}

const withRequest = { request: true };

/** Every call, in the order of its position. */
export const calls: readonly CallSpec[] = [
  call(
    'host_share_hyp',
    21,
    [u64('pfn', 'pfn')],
    'errno',
    ['EINVAL', 'EPERM'],
    'Share a host page with the hypervisor.',
  ),
  call(
    'host_unshare_hyp',
    22,
    [u64('pfn', 'pfn')],
    'errno',
    ['EINVAL', 'EPERM', 'EBUSY'],
    'Take back a page shared with the hypervisor.',
  ),
  call(
    'map_guest',
    23,
    [u64('pfn', 'pfn'), u64('gfn', 'gfn'), u64('pages', 'pages'), u32('prot', 'prot')],
    'errno',
    ['EINVAL', 'EPERM', 'EBUSY', 'ENOMEM'],
    'Give pages to the guest whose vCPU is loaded: donated to a protected VM, shared with another.',
    withRequest,
  ),
  call(
    'unshare_guest',
    25,
    [u32('vm', 'handle'), u64('gfn', 'gfn'), u64('pages', 'pages')],
    'errno',
    ['EINVAL', 'ENOENT', 'EPERM'],
    'Take back pages shared with a non-protected guest.',
  ),
  call('reserve_vm', 36, [], 'handleOrErrno', ['ENOMEM'], 'Reserve a VM handle.'),
  call('unreserve_vm', 37, [u32('vm', 'handle')], 'none', [], 'Give back a handle that never became a VM.'),
  call(
    'init_vm',
    38,
    [u64('kvm', 'pa'), u64('pgd', 'pa')],
    'errno',
    ['EINVAL', 'EPERM', 'ENOMEM'],
    'Make a VM from a description in a shared page and a donated top-level table page.',
    withRequest,
  ),
  call(
    'reclaim_dying_guest_page',
    40,
    [u32('vm', 'handle'), u64('gfn', 'gfn'), u64('pages', 'pages')],
    'errno',
    ['EINVAL', 'EPERM', 'ENOENT'],
    'Take back a page of a protected VM that is being torn down; the hypervisor zeroes it.',
  ),
  call(
    'start_teardown_vm',
    41,
    [u32('vm', 'handle')],
    'errno',
    ['ENOENT', 'EBUSY', 'EINVAL'],
    'Begin to tear a VM down.',
  ),
  call(
    'finalize_teardown_vm',
    42,
    [u32('vm', 'handle')],
    'errno',
    ['ENOENT', 'EBUSY'],
    'End a teardown: table pages go back to the hypervisor heap, the pgd page to the host, the handle is free.',
  ),
  call(
    'vcpu_load',
    45,
    [u32('vm', 'handle'), u32('vcpu', 'index')],
    'none',
    [],
    'Make a vCPU of the VM current on this CPU. Nothing happens if that is not possible.',
  ),
  call('vcpu_put', 46, [], 'none', [], 'No vCPU is current on this CPU any more.'),
  call(
    'alloc_mgt_refill',
    59,
    [u32('pool', 'pool'), u64('head', 'list'), u64('count', 'count')],
    'errno',
    ['EINVAL', 'EPERM', 'ENOMEM'],
    'Donate a list of chunks to a pool. x3 returns what is left of the list.',
    withRequest,
  ),
  call('alloc_mgt_reclaimable', 60, [u32('pool', 'pool')], 'pages', [], 'How many pages a pool could give back.'),
  call(
    'alloc_mgt_reclaim',
    61,
    [u32('pool', 'pool'), i32('target', 'count')],
    'list',
    [],
    'Take free pages back from a pool: x1 is the head of a list of pages, x2 their number.',
  ),
  call(
    'alloc_domain',
    64,
    [u32('driver', 'driver'), u32('iommu', 'iommu'), u32('domain', 'domain'), i32('type', 'domainType')],
    'errno',
    ['ENODEV', 'EINVAL', 'EPERM', 'ENOMEM'],
    'Make a translation domain with its own page table.',
    withRequest,
  ),
  call(
    'free_domain',
    65,
    [u32('domain', 'domain')],
    'errno',
    ['EINVAL', 'ENODEV'],
    'Free an idle domain, its page table, and the references of what is still mapped in it.',
  ),
  call(
    'attach_dev',
    66,
    [
      u32('iommu', 'iommu'),
      u32('domain', 'domain'),
      u32('endpoint', 'stream'),
      u32('pasid', 'pasid'),
      u32('pasidBits', 'pasidBits'),
      u64('flags', 'flags'),
    ],
    'errno',
    ['EINVAL', 'ENODEV', 'EBUSY', 'ENOMEM', 'E2BIG', 'ETIMEDOUT'],
    'Let a stream translate through a domain.',
    withRequest,
  ),
  call(
    'detach_dev',
    68,
    [u32('iommu', 'iommu'), u32('domain', 'domain'), u32('endpoint', 'stream'), u32('pasid', 'pasid')],
    'errno',
    ['EINVAL', 'ENODEV', 'EACCES', 'E2BIG', 'ETIMEDOUT'],
    'Block a stream that translates through a domain.',
  ),
  call(
    'map_pages',
    71,
    [
      u32('domain', 'domain'),
      u64('iova', 'iova'),
      u64('paddr', 'pa'),
      u64('pgsize', 'bytes'),
      u64('pgcount', 'count'),
      u32('prot', 'prot'),
    ],
    'bytes',
    ['EOPNOTSUPP', 'E2BIG', 'EINVAL', 'ENOENT', 'EPERM', 'EEXIST', 'ERANGE', 'EBUSY', 'ENOMEM'],
    'Map host pages for DMA. x1 is the number of bytes mapped, which may be short when memory is missing.',
    { x0: 'errno', request: true },
  ),
  call(
    'unmap_pages',
    72,
    [u32('domain', 'domain'), u64('iova', 'iova'), u64('pgsize', 'bytes'), u64('pgcount', 'count')],
    'bytes',
    [],
    'Unmap. x1 is the number of bytes unmapped; it stops at the first hole.',
    withRequest,
  ),
  call(
    'iova_to_phys',
    73,
    [u32('domain', 'domain'), u64('iova', 'iova')],
    'pa',
    [],
    'The physical address that an IOVA translates to, or 0.',
  ),
];

const byName = new Map<string, CallSpec>(calls.map((spec) => [spec.name, spec]));
const byPosition: (CallSpec | undefined)[] = [];
for (const spec of calls) byPosition[spec.position] = spec;

/** The call of that name. @throws RangeError naming the calls there are */
export function callNamed(name: string): CallSpec {
  const spec = byName.get(name);
  if (spec === undefined) throw new RangeError(`no hypercall '${name}'; there are: ${[...byName.keys()].join(', ')}`);
  return spec;
}

/** Whether there is a call of that name. */
export function isCallName(name: string): name is CallName {
  return byName.has(name);
}

/** The call at that position of the function-id space, if it exists. */
export function callAt(position: number): CallSpec | undefined {
  return byPosition[position];
}

/** The x0 value that invokes the call. */
export function functionId(spec: CallSpec): number {
  return FUNCTION_ID_BASE + spec.position;
}

/** DMA protection bits of map_pages (the six that upstream knows). */
export const Prot = { read: 1, write: 2, cache: 4, noexec: 8, mmio: 16, priv: 32 } as const;
export const PROT_MASK = 0x3f;

/** Domain types of android17: ANY and S1 are the same value, S2 the other one. */
export const DomainType = { s1: 0, s2: 1 } as const;
export const DOMAIN_TYPE_LIMIT = 2;

/** How many domains there are, how many of them the host may name, and the one that is never the host's to allocate. */
export const DOMAIN_COUNT = 512;
export const HOST_DOMAIN_COUNT = 256;
export const IDENTITY_DOMAIN = 0;

/** VM handles start here; the slot is handle - VM_HANDLE_BASE. */
export const VM_HANDLE_BASE = 0x1000;
/** VMs that can exist at once in this model (upstream: 255). */
export const VM_COUNT = 32;

/**
 * The description of a VM that init_vm reads once, from a page the host has shared with the hypervisor. Upstream reads
 * struct kvm; this is the part of it that matters here. Byte offsets of 32-bit fields.
 */
export const VmDescription = { handle: 0, protected: 4, vcpus: 8, size: 12 } as const;
