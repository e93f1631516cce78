/** Crossings in short: what a host called and what came back, for tests of the tracker. */
import { type CallName, LifeCycleTracker } from '#hypercall-abi';
import { outcome, type Registers } from './outcome.ts';

export const PAGE = 4096;
export const PA = 0x40000000;
export const PFN = PA / PAGE;
export const EINVAL = { x1: -22 };
export const ok = {};

export type Step = readonly [name: CallName, args: readonly number[], result?: Registers, cpu?: number];

export const alloc = (id: number, iommu = 0): Step => ['alloc_domain', [0, iommu, id, 0]];
export const free = (id: number): Step => ['free_domain', [id]];
export const attach = (id: number, sid: number, iommu = 0, pasid = 0): Step => [
  'attach_dev',
  [iommu, id, sid, pasid, 0, 0],
];
export const detach = (id: number, sid: number, iommu = 0, pasid = 0): Step => ['detach_dev', [iommu, id, sid, pasid]];
export const map = (id: number, iova: number, pa: number, pages = 1, pgsize = PAGE): Step => [
  'map_pages',
  [id, iova, pa, pgsize, pages, 3],
  { x1: pages * pgsize },
];
export const unmap = (id: number, iova: number, pages = 1, pgsize = PAGE): Step => [
  'unmap_pages',
  [id, iova, pgsize, pages],
  { x1: pages * pgsize },
];
export const share = (pfn = PFN): Step => ['host_share_hyp', [pfn]];
export const unshare = (pfn = PFN): Step => ['host_unshare_hyp', [pfn]];
export const refill = (head: number, count = 1, result: Registers = ok): Step => [
  'alloc_mgt_refill',
  [1, head, count],
  result,
];
export const reclaim = (head: number, count = 1): Step => ['alloc_mgt_reclaim', [1, 16], { x1: head, x2: count }];
export const load = (vm: number, cpu = 0): Step => ['vcpu_load', [vm, 0], ok, cpu];
export const give = (pfn = PFN, gfn = 1, pages = 1, cpu = 0): Step => ['map_guest', [pfn, gfn, pages, 7], ok, cpu];
export const takeBack = (vm: number, gfn = 1, pages = 1): Step => ['unshare_guest', [vm, gfn, pages]];
export const reclaimGuest = (vm: number, gfn = 1, pages = 1): Step => ['reclaim_dying_guest_page', [vm, gfn, pages]];
export const initVm = (pgd: number): Step => ['init_vm', [PA, pgd]];
export const finalize = (vm: number): Step => ['finalize_teardown_vm', [vm]];
export const VM = 0x1000;
/** Top-level table of the first VM of {@link live}; that of the next is the next page. */
export const PGD = PA + 2 ** 32;
export const reserve = (vm = VM): Step => ['reserve_vm', [], { x1: vm }];
export const put = (cpu = 0): Step => ['vcpu_put', [], ok, cpu];
export const teardown = (vm = VM): Step => ['start_teardown_vm', [vm]];
/** VM and the `count` - 1 after it are made, of pages that nothing else is said of. */
export const live = (count = 1): Step[] =>
  Array.from({ length: count }, (_, i) => [reserve(VM + i), initVm(PGD + i * PAGE)]).flat();

export function play(...steps: readonly Step[]): LifeCycleTracker {
  const tracker = new LifeCycleTracker();
  for (const [name, args, result, cpu] of steps) outcome(tracker, name, args, result, cpu);
  return tracker;
}
