/** The situations of the sweep: what stands before a call that can allocate, the call, and how all of it is freed. */

import { ScatterList, type ScatterRange } from '#host';
import { type ProfileName, VM_HANDLE_BASE } from '#hypercall-abi';
import { type MachineDescription, tiny, twoSmmus } from '#machine';
import { PAGE, RW } from '../lab/oracle-rig.ts';
import { describeVm, endVm, IOMMU, makeVm, type SweepRig, type Work } from './sweep-rig.ts';

const BLOCK = 0x200000;
const GIB = 2 ** 30;
const RAM = tiny.ram[0]!.base;
/** RAM that nothing has touched: the host's stage 2 has no last-level table there. */
const FAR_RAM = RAM + 2 * BLOCK;
const FAR_DEVICE = 0x20000000;

/** More RAM than tiny has, and device registers that are far from everything. */
const roomy: MachineDescription = {
  ...tiny,
  name: 'roomy',
  ram: [{ base: RAM, size: 4 * BLOCK }],
  mmio: [{ name: 'far', base: FAR_DEVICE, size: 0x2000 }],
};
const wideAddresses: MachineDescription = { ...tiny, name: 'oas 42', smmus: [{ ...tiny.smmus[0]!, oas: 42 }] };

/** Stage at which a domain translates. */
type Stage = 1 | 2;

export interface Situation {
  readonly name: string;
  readonly machine: MachineDescription;
  /** Brings the machine to where the call is interesting. @returns the call, and how everything is freed after it */
  readonly prepare: (sweep: SweepRig) => Prepared;
  /** How many of the call's allocations can fail. */
  readonly allocations: number;
}

export interface Prepared {
  readonly work: Work;
  readonly end: () => void;
}

function makeDomain(sweep: SweepRig, iommu: number, stage: Stage): void {
  sweep.rig.refill(IOMMU, 1);
  sweep.finish(sweep.allocation(iommu, stage));
  sweep.rig.refill(IOMMU, 20);
}

function allocation(name: string, machine: MachineDescription, stage: Stage): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    sweep.rig.refill(IOMMU, 1);
    return { work: sweep.allocation(0, stage), end: () => void sweep.must('free_domain', 1) };
  };
  return { name, machine, allocations: 1, prepare };
}

function attachment(name: string, allocations: number, iommu: number, sid: number, stage: Stage, bits = 0): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    makeDomain(sweep, iommu, stage);
    const end = (): void => {
      sweep.must('detach_dev', iommu, 1, sid, 0);
      sweep.must('free_domain', 1);
    };
    return { work: sweep.attachment(iommu, sid, bits), end };
  };
  return { name, allocations, machine: twoSmmus, prepare };
}

/** Upstream has room for a request in these two; no memory is needed. */
function freeing(name: string, stage: Stage): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    makeDomain(sweep, 0, stage);
    return { work: { name: 'free_domain', args: [1] }, end: () => {} };
  };
  return { name, machine: tiny, allocations: 0, prepare };
}

function detachment(name: string, stage: Stage): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    makeDomain(sweep, 0, stage);
    sweep.mustDo(sweep.attachment(0, 0));
    return { work: { name: 'detach_dev', args: [0, 1, 0, 0] }, end: () => void sweep.must('free_domain', 1) };
  };
  return { name, machine: tiny, allocations: 0, prepare };
}

interface MapOptions {
  readonly stage?: Stage;
  readonly machine?: MachineDescription;
  readonly prot?: number;
  readonly before?: (sweep: SweepRig) => void;
  readonly name?: Work['name'];
}

/** A map (or what `options.name` says) in a domain with one stream attached. */
function mapping(name: string, allocations: number, args: readonly number[], options: MapOptions = {}): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    makeDomain(sweep, 0, options.stage ?? 1);
    sweep.mustDo(sweep.attachment(0, 0));
    options.before?.(sweep);
    const end = (): void => {
      sweep.must('detach_dev', 0, 1, 0, 0);
      sweep.must('free_domain', 1);
    };
    const work: Work =
      options.name === undefined
        ? { name: 'map_pages', args: [1, ...args, options.prot ?? RW] }
        : { name: options.name, args: [1, ...args] };
    return { work, end };
  };
  return { name, allocations, machine: options.machine ?? tiny, prepare };
}

function mapped(iova: number, pgsize = PAGE): (sweep: SweepRig) => void {
  return (sweep) => void sweep.must('map_pages', 1, iova, FAR_RAM, pgsize, 1, RW);
}

/** A list that is mapped in a domain with one stream attached. */
function scatter(name: string, allocations: number, iova: number, ranges: readonly ScatterRange[]): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    makeDomain(sweep, 0, 1);
    sweep.mustDo(sweep.attachment(0, 0));
    const page = sweep.rig.page();
    sweep.list = new ScatterList(sweep.rig.session.boundary, page, ranges);
    sweep.must('host_share_hyp', page / PAGE);
    const end = (): void => {
      sweep.must('detach_dev', 0, 1, 0, 0);
      sweep.must('free_domain', 1);
      sweep.must('host_unshare_hyp', page / PAGE);
    };
    return {
      work: { name: 'map_sg', args: [1, iova, page, ranges.length, RW | (ranges[0]!.phys === FAR_DEVICE ? 16 : 0)] },
      end,
    };
  };
  return { name, allocations, machine: roomy, prepare };
}

/** Giving a page or a block to a guest; `first` is a page that it has already. */
function guest(
  name: string,
  allocations: number,
  isProtected: boolean,
  args: readonly [pa: number, gfn: number, pages: number],
  first?: readonly [pa: number, gfn: number],
): Situation {
  const [pa, gfn, pages] = args;
  const prepare = (sweep: SweepRig): Prepared => {
    sweep.rig.refill(IOMMU, 1);
    const handle = makeVm(sweep, isProtected);
    const has: [number, number, number][] = [[pa, gfn, pages]];
    if (first !== undefined) {
      sweep.mustDo(sweep.gift(isProtected, ...first, 1));
      has.push([...first, 1]);
    }
    return {
      work: sweep.gift(isProtected, pa, gfn, pages),
      end: () => {
        endVm(sweep, handle, has);
      },
    };
  };
  return { name, allocations, machine: roomy, prepare };
}

/** A VM whose top-level table is a page at `pgd`, or any page. */
function newVm(name: string, allocations: number, pgd?: number): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    sweep.rig.refill(IOMMU, 1);
    const vm = describeVm(sweep, true);
    return {
      work: { name: 'init_vm', args: [vm.kvm, pgd ?? vm.pgd] },
      end: () => {
        // The first handle, where none was reserved.
        endVm(sweep, vm.handle === 0 ? VM_HANDLE_BASE : vm.handle, []);
        sweep.must('host_unshare_hyp', vm.kvm / PAGE);
      },
    };
  };
  return { name, allocations, machine: roomy, prepare };
}

/** A refill of pool `pool` with one chunk. */
function donation(name: string, allocations: number, pool: number, pa: number, order: number): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    sweep.rig.refill(IOMMU, 1);
    return { work: { name: 'alloc_mgt_refill', args: [pool, pa + order, 1] }, end: () => {} };
  };
  return { name, allocations, machine: roomy, prepare };
}

function identity(name: string, allocations: number, iommu: number, sid: number): Situation {
  const prepare = (sweep: SweepRig): Prepared => {
    sweep.rig.refill(IOMMU, 1);
    const end = (): void => void sweep.must('set_identity', 0, iommu, sid, 0, 0);
    return { work: { name: 'set_identity', args: [0, iommu, sid, 1, 0] }, end };
  };
  return { name, allocations, machine: twoSmmus, prepare };
}

/** Registers of a device on their way to a guest, and back. */
function registers(name: string, allocations: number, pfn: number, pages: number): Situation {
  const prepare = (sweep: SweepRig): Prepared => ({
    work: { name: 'host_donate_hyp_mmio', args: [pfn, pages] },
    end: () => void sweep.must('host_reclaim_hyp_mmio', pfn, pages),
  });
  return { name, allocations, machine: twoSmmus, prepare };
}

/** Maps in a domain that has its table: the same in every profile. */
const maps: readonly Situation[] = [
  mapping('map_pages, stage 1, no tables', 3, [0, RAM, PAGE, 1]),
  mapping('map_pages, stage 2, no tables', 2, [0, RAM, PAGE, 1], { stage: 2 }),
  mapping('map_pages, tables are there', 0, [PAGE, RAM, PAGE, 1], { before: mapped(0), machine: roomy }),
  mapping('map_pages across two last-level tables', 4, [BLOCK - PAGE, RAM, PAGE, 2]),
  mapping('map_pages across two level-2 tables', 5, [GIB - PAGE, RAM, PAGE, 2]),
  mapping('map_pages across two level-1 tables', 6, [2 ** 39 - PAGE, RAM, PAGE, 2]),
  mapping('map_pages, one last-level table there, one not', 1, [BLOCK - PAGE, RAM, PAGE, 2], {
    before: mapped(0),
    machine: roomy,
  }),
  mapping('map_pages, a block', 2, [0, RAM, BLOCK, 1]),
  mapping('map_pages, a block over a table', 0, [0, FAR_RAM, BLOCK, 1], { machine: roomy, before: mapped(0) }),
  mapping('map_pages onto a mapping, behind a table that is missing', 1, [BLOCK - 2 * PAGE, RAM, PAGE, 3], {
    machine: roomy,
    before: mapped(BLOCK),
  }),
  mapping('map_pages, device registers', 4, [0, FAR_DEVICE, PAGE, 2], { machine: roomy, prot: RW | 16 }),
  mapping('unmap_pages, a page', 0, [0, PAGE, 1], { name: 'unmap_pages', machine: roomy, before: mapped(0) }),
  mapping('unmap_pages, a page of a block', 0, [0, PAGE, 1], {
    name: 'unmap_pages',
    machine: roomy,
    before: mapped(0, BLOCK),
  }),
];

const lists: readonly Situation[] = [
  scatter('map_sg, no tables', 3, 0, [
    { phys: FAR_RAM, pgsize: PAGE, pgcount: 1 },
    { phys: FAR_RAM + 4 * PAGE, pgsize: PAGE, pgcount: 2 },
  ]),
  scatter('map_sg, an element across two last-level tables', 4, BLOCK - 2 * PAGE, [
    { phys: FAR_RAM, pgsize: PAGE, pgcount: 1 },
    { phys: FAR_RAM, pgsize: PAGE, pgcount: 0 },
    { phys: FAR_RAM + 4 * PAGE, pgsize: PAGE, pgcount: 3 },
  ]),
  scatter('map_sg, device registers first', 4, 0, [
    { phys: FAR_DEVICE, pgsize: PAGE, pgcount: 2 },
    { phys: FAR_RAM, pgsize: PAGE, pgcount: 1 },
  ]),
];

/** Pages for guests; what the call is called, the profile says. */
const gifts: readonly Situation[] = [
  guest('a page for a guest, donated, no tables at all', 4, true, [FAR_RAM, 0, 1]),
  guest('a page for a guest, donated, a block', 4, true, [FAR_RAM, 512, 512]),
  guest('a page for a guest, donated, a far page', 3, true, [FAR_RAM + PAGE, 2 ** 27, 1], [FAR_RAM, 0]),
  guest('a page for a guest, donated, tables are there', 0, true, [FAR_RAM + PAGE, 1, 1], [FAR_RAM, 0]),
  guest('a page for a guest, shared, no tables', 3, false, [FAR_RAM, 0, 1]),
  guest('a page for a guest, shared, a block', 3, false, [FAR_RAM, 512, 512]),
];

const vms: readonly Situation[] = [newVm('init_vm', 0), newVm('init_vm, top-level table in untouched RAM', 1, FAR_RAM)];

const android17: readonly Situation[] = [
  allocation('alloc_domain, stage 1', tiny, 1),
  allocation('alloc_domain, stage 2', tiny, 2),
  allocation('alloc_domain, stage 2 with more root pages', wideAddresses, 2),
  attachment('attach_dev, stage 1, linear stream table', 1, 1, 5, 1),
  attachment('attach_dev, stage 1, no level-2 stream table', 2, 0, 0x10, 1),
  attachment('attach_dev, stage 1, room for 512 PASIDs', 2, 0, 0x10, 1, 9),
  attachment('attach_dev, stage 2, no level-2 stream table', 1, 0, 0x200, 2),
  ...maps,
  ...lists,
  ...gifts,
  ...vms,
  donation('refill of the IOMMU pool from untouched RAM', 1, IOMMU, FAR_RAM, 3),
  donation('refill of the heap from untouched RAM', 1, 0, FAR_RAM, 0),
  registers('host_donate_hyp_mmio, no last-level table', 1, 0x0a010, 2),
  identity('set_identity, linear stream table', 0, 1, 5),
  identity('set_identity, no level-2 stream table', 1, 0, 0x200),
];

/** Where the first attach builds the table, and an allocation makes at most a page of domain records. */
const older: readonly Situation[] = [
  allocation('alloc_domain, no page of records', tiny, 1),
  attachment('attach_dev, stage 1, linear stream table', 2, 1, 5, 1),
  attachment('attach_dev, stage 1, no level-2 stream table', 3, 0, 0x10, 1),
  attachment('attach_dev, stage 1, room for 512 PASIDs', 3, 0, 0x10, 1, 9),
  attachment('attach_dev, stage 2, no level-2 stream table', 2, 0, 0x200, 2),
  detachment('detach_dev', 1),
  freeing('free_domain', 1),
  ...maps,
];

/** The situations of each profile. */
export const situations: Readonly<Record<ProfileName, readonly Situation[]>> = {
  android17,
  android16: [...older, ...lists, ...gifts, ...vms],
  'rfc-v2': older,
  // No pool to drain: pages come from memcaches, which test/hyp/memcache.test.ts sweeps.
  'rfc-v1': [],
};
