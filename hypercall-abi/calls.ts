/**
 * What a call is: name, position in the function-id space, arguments with their widths, what comes back in which
 * register, and the errors it may give. Each generation has a table of its own (profiles/). Encoder, decoder, reference
 * page, scenario syntax and fuzzers are all made from these tables.
 *
 * A table says nothing of the order in which checks are made: that belongs to the hypervisor, and, independently, to
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
  | 'ipa'
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
  | 'attachFlags'
  | 'pageTag'
  | 'pageResponse'
  | 'flags'
  | 'switch'
  | 'powerDomain'
  | 'pool'
  | 'list'
  | 'buffer'
  | 'index'
  | 'order';

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
  | 'donate_guest'
  | 'share_guest'
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
  | 'iova_to_phys'
  | 'set_identity'
  | 'attach_dev_nested'
  | 'iotlb_inv_nested_domain'
  | 'nested_cfg_sync'
  | 'map_sg'
  | 'hvc_pd'
  | 'iotlb_sync_map'
  | 'host_donate_hyp_mmio'
  | 'host_reclaim_hyp_mmio'
  | 'pviommu_attach'
  | 'pviommu_add_vsid'
  | 'page_response';

/** An argument of which the call reads the low 32 bits. */
export const u32 = (name: string, unit: ArgumentUnit): ArgumentSpec => ({ name, type: 'u32', unit });
/** The same, signed. */
export const i32 = (name: string, unit: ArgumentUnit): ArgumentSpec => ({ name, type: 'i32', unit });
/** An argument of 64 bits. */
export const u64 = (name: string, unit: ArgumentUnit): ArgumentSpec => ({ name, type: 'u64', unit });

/** One entry of a call table; without `more` it answers in x1 alone. */
export function call(
  name: CallName,
  position: number,
  args: readonly ArgumentSpec[],
  x1: ResultKind,
  errors: readonly ErrnoName[],
  summary: string,
  more: { readonly x0?: 'smccc' | 'errno'; readonly request?: boolean } = {},
): CallSpec {
  return { name, position, args, x0: more.x0 ?? 'smccc', x1, request: more.request ?? false, errors, summary };
}

/** For {@link call}: x2 may carry a memory request. */
export const withRequest = { request: true };

/** The x0 value that invokes the call. */
export function functionId(spec: CallSpec): number {
  return FUNCTION_ID_BASE + spec.position;
}

/**
 * Bits of attach_dev's flags. Upstream's driver looks at none of them, and its host passes 0; this one is the model's own:
 * faults of what is attached stall, if the IOMMU leaves a choice.
 */
export const AttachFlag = { stall: 1 << 16 } as const;

/** What page_response may say of a stalled access: try it again; end it with an abort (twice). Anything else just ends it. */
export const PageResponse = { success: 0, invalid: 1, failure: 2 } as const;

/** DMA protection bits of map_pages (the six that upstream knows). */
export const Prot = { read: 1, write: 2, cache: 4, noexec: 8, mmio: 16, priv: 32 } as const;
export const PROT_MASK = 0x3f;

/** VM handles start here; the slot is handle - VM_HANDLE_BASE. */
export const VM_HANDLE_BASE = 0x1000;
/** VMs that can exist at once in this model (upstream: 255). */
export const VM_COUNT = 32;

/**
 * The description of a VM that init_vm reads once, from a page the host has shared with the hypervisor. Upstream reads
 * struct kvm; this is the part of it that matters here. Byte offsets of 32-bit fields.
 */
export const VmDescription = { handle: 0, protected: 4, vcpus: 8, size: 12 } as const;

/** An element of map_sg's list, in memory that the host shares with the hypervisor: byte offsets, `pgcount` of 32 bits. */
export const ScatterElement = { phys: 0, pgsize: 8, pgcount: 16, size: 24 } as const;

/** Power domains that the host can name (upstream: MAX_POWER_DOMAINS). */
export const POWER_DOMAIN_COUNT = 32;
