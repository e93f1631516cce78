/** Pools that hold exactly the chunks a test wants: for failing the n-th allocation of a call without a hook in it. */

import type { ScatterList } from '#host';
import { type HypLayout, hypLayout } from '#hyp/layout';
import { type CallName, type CallResult, defaultProfile, type MemoryRequest, type Profile } from '#hypercall-abi';
import { LayoutReader } from '#lab/oracle/layout-reader';
import type { MachineDescription } from '#machine';
import { makeRig, PAGE, type Rig } from '../lab/oracle-rig.ts';

export const HEAP = 0;
export const IOMMU = 1;
const TOTAL_PAGES = 8;
const ALL = 4095;
/** More requests than any one piece of work can have. */
const REQUESTS_MAX = 40;

/** A call, and what it has to come to: a map may be continued, others are made again. */
export interface Work {
  readonly name: CallName;
  readonly args: readonly number[];
}

/** What a piece of work did: the request of each call that stopped for want of memory, and the last result. */
export interface Done {
  readonly requests: readonly MemoryRequest[];
  readonly result: CallResult;
  /** Bytes of all calls. */
  readonly bytes: number;
}

export class SweepRig {
  readonly rig: Rig;
  readonly profile: Profile;
  private readonly layout: HypLayout;
  private readonly pools: LayoutReader;
  /** Pages of the heap that the host has taken back. */
  private readonly spare: number[] = [];

  constructor(machine: MachineDescription, profile: Profile = defaultProfile) {
    this.rig = makeRig({ machine, profile, full: 'never' });
    this.profile = profile;
    this.layout = hypLayout(machine, profile);
    this.pools = new LayoutReader(this.rig.machine.memory, this.layout);
  }

  call(name: CallName, ...args: readonly number[]): CallResult {
    return this.rig.call(name, ...args);
  }

  /** @throws Error when the call does not succeed */
  must(name: CallName, ...args: readonly number[]): CallResult {
    const result = this.call(name, ...args);
    if (result.errno !== 0 || !result.supported) throw new Error(`${name}(${args.join(', ')}): ${result.errno}`);
    return result;
  }

  free(pool: number): number {
    return this.pools.poolFreePages(pool);
  }

  /** A call that makes domain 1. Where the first attach builds the table, the IOMMU is not known yet. */
  allocation(iommu: number, stage: 1 | 2): Work {
    const { s1, s2 } = this.profile.domainTypes;
    const type = stage === 1 ? s1 : s2;
    const args = this.profile.tableBuilt === 'alloc' ? [0, iommu, 1, type] : [1, type];
    return { name: 'alloc_domain', args };
  }

  /** A call that attaches a stream to domain 1. */
  attachment(iommu: number, sid: number, bits = 0): Work {
    const args = [iommu, 1, sid, 0, bits, 0].slice(0, this.profile.call('attach_dev').args.length);
    return { name: 'attach_dev', args };
  }

  /** A call that gives pages to the guest that is loaded. */
  gift(isProtected: boolean, pa: number, gfn: number, pages: number): Work {
    if (this.profile.has('map_guest')) return { name: 'map_guest', args: [pa / PAGE, gfn, pages, 7] };
    if (isProtected) return { name: 'donate_guest', args: [pa / PAGE, gfn, pages] };
    return { name: 'share_guest', args: [pa / PAGE, gfn, 7, pages] };
  }

  /** @throws Error when the work does not succeed at once */
  mustDo({ name, args }: Work): CallResult {
    return this.must(name, ...args);
  }

  /** Pages of a pool that are in use: tables, descriptors, what was lost. */
  used(pool: number): number {
    const { memory } = this.rig.machine;
    const { heapPool, iommuPool } = this.layout;
    return memory.read32((pool === HEAP ? heapPool : iommuPool) + TOTAL_PAGES) - this.free(pool);
  }

  /** Take every free page back from both pools. */
  drain(): void {
    // Where no pool can be named, one call takes of both: any page of either is as good for the heap afterwards.
    const isNamed = this.profile.call('alloc_mgt_reclaim').args.length > 1;
    for (const pool of [IOMMU, HEAP]) {
      for (;;) {
        let head = this.call('alloc_mgt_reclaim', ...(isNamed ? [pool] : []), ALL).value;
        if (head === 0) break;
        while (head !== 0) {
          if (pool === HEAP || !isNamed) this.spare.push(head);
          head = this.rig.session.boundary.read32(0, head)! >>> 0;
        }
      }
      if (this.free(pool) !== 0) throw new Error(`pool ${pool} keeps ${this.free(pool)} pages`);
    }
  }

  /** Give a pool exactly what was asked for: single pages for the heap, one chunk for the IOMMU pool. */
  give({ pool, pages }: MemoryRequest): void {
    const before = this.free(pool);
    if (pool === HEAP) for (let i = 0; i < pages; i++) this.must('alloc_mgt_refill', HEAP, this.spare.pop()!, 1);
    else {
      const order = Math.ceil(Math.log2(pages));
      const pa = this.rig.page(order);
      this.rig.session.boundary.write64(0, pa, 0, 0);
      this.must('alloc_mgt_refill', IOMMU, pa + order, 1);
    }
    if (this.free(pool) !== before + pages) throw new Error(`pool ${pool} did not take ${pages} pages`);
  }

  /** The list that a map_sg of the work is about. */
  list: ScatterList | null = null;

  /** The arguments that are left to do; a list is shortened where it stands. */
  private continued(name: CallName, args: readonly number[], result: CallResult): readonly number[] {
    if (name !== 'map_sg' || this.list === null) return continued(name, args, result);
    const [domain, iova, , , prot] = args as [number, number, number, number, number];
    this.list.skip(result.value);
    return [domain, iova + result.value, this.list.at, this.list.count, prot];
  }

  /** Do the work: whenever it asks for memory it gets exactly that, and is continued. */
  finish({ name, args }: Work): Done {
    const requests: MemoryRequest[] = [];
    let bytes = 0;
    let next = args;
    for (;;) {
      const result = this.call(name, ...next);
      this.rig.oracle.checkAll();
      bytes += result.value;
      if (result.request === null) return { requests, result, bytes };
      requests.push(result.request);
      if (requests.length > REQUESTS_MAX) throw new Error(`${name} asks for memory without end`);
      this.give(result.request);
      next = this.continued(name, next, result);
    }
  }
}

/** The arguments that are left to do after a call that stopped half way. */
function continued(name: CallName, args: readonly number[], { value }: CallResult): readonly number[] {
  if (name === 'map_pages') {
    const [domain, iova, paddr, pgsize, pgcount, prot] = args as [number, number, number, number, number, number];
    return [domain, iova + value, paddr + value, pgsize, pgcount - value / pgsize, prot];
  }
  if (name === 'unmap_pages') {
    const [domain, iova, pgsize, pgcount] = args as [number, number, number, number];
    return [domain, iova + value, pgsize, pgcount - value / pgsize];
  }
  return args;
}

/** Make a VM with a vCPU on CPU 0. @returns its handle */
export function makeVm(sweep: SweepRig, isProtected: boolean): number {
  const { kvm, pgd, ...vm } = describeVm(sweep, isProtected);
  const made = sweep.must('init_vm', kvm, pgd);
  const handle = vm.handle === 0 ? made.value : vm.handle;
  sweep.call('vcpu_load', ...[handle, 0, 0].slice(0, sweep.profile.call('vcpu_load').args.length));
  return handle;
}

/** Everything that init_vm needs: a reserved handle where there are such, a shared description, a page for the table. */
export function describeVm(sweep: SweepRig, isProtected: boolean): { handle: number; kvm: number; pgd: number } {
  const { rig } = sweep;
  const handle = sweep.profile.has('reserve_vm') ? sweep.call('reserve_vm').value : 0;
  const kvm = rig.page();
  sweep.must('host_share_hyp', kvm / PAGE);
  const words = [handle, isProtected ? 1 : 0, 1];
  words.forEach((word, i) => void rig.session.boundary.write32(0, kvm + 4 * i, word));
  return { handle, kvm, pgd: rig.page() };
}

/** End a VM that has these pages, as [address, guest page, count]. */
export function endVm(
  sweep: SweepRig,
  handle: number,
  pages: readonly (readonly [pa: number, gfn: number, count: number])[],
): void {
  const isNamed = sweep.profile.call('reclaim_dying_guest_page').args.length > 3;
  sweep.call('vcpu_put');
  sweep.must('start_teardown_vm', handle);
  for (const [pa, gfn, count] of pages) {
    const args = isNamed ? [handle, pa / PAGE, gfn, Math.log2(count)] : [handle, gfn, count];
    const back = sweep.call('reclaim_dying_guest_page', ...args);
    if (back.errno !== 0) sweep.must('unshare_guest', handle, gfn, count);
  }
  sweep.must('finalize_teardown_vm', handle);
}
