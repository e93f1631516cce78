/**
 * Where the hypervisor keeps what it remembers, and what each word means. Everything lies in simulated physical memory
 * inside the machine's carve-out; nothing of it is in JavaScript objects. These tables are the only part of `hyp` that
 * an oracle may read: facts about bytes, no behaviour.
 */

import { defaultProfile, type Profile, VM_COUNT } from '#hypercall-abi';

/** One field of a record: byte offset of the 32-bit word that holds it, lowest bit, width in bits, meaning. */
export interface Field {
  readonly name: string;
  readonly offset: number;
  readonly lsb: number;
  readonly width: number;
  readonly meaning: string;
}

export interface RecordTable {
  readonly name: string;
  /** Size of one record in bytes. */
  readonly size: number;
  readonly fields: readonly Field[];
}

const word = (name: string, offset: number, meaning: string): Field => ({ name, offset, lsb: 0, width: 32, meaning });
const bits = (name: string, offset: number, lsb: number, width: number, meaning: string): Field => ({
  name,
  offset,
  lsb,
  width,
  meaning,
});

/** Per-page record of the vmemmap (pKVM's struct hyp_page). All zero means: owned by the host, not DMA-mapped. */
export const HypPage: RecordTable = {
  name: 'hyp_page',
  size: 8,
  fields: [
    bits('refcount', 0, 0, 16, 'times the page is mapped for DMA or pinned; for a pool page, 1 while allocated'),
    bits('order', 0, 16, 4, 'pool pages: log2 of the free block this page heads, plus 1; 0 when it heads none'),
    bits('pool', 0, 20, 1, 'pool of that free block: 0 heap, 1 IOMMU'),
    bits(
      'hostState',
      0,
      24,
      4,
      'what the host has: OWNED 0, SHARED_OWNED 1, SHARED_BORROWED 2; NOPAGE 3 or 8, by profile',
    ),
    bits('hypStateComplement', 0, 28, 4, 'what the hypervisor has, XOR the number of NOPAGE, so that zero is NOPAGE'),
    word('shareCount', 4, 'times the page is shared with non-protected guests'),
  ],
};

/** Page states, as android17 numbers them; records hold the profile's number of NOPAGE. */
export const PageState = { owned: 0, sharedOwned: 1, sharedBorrowed: 2, noPage: 3 } as const;
export type PageState = (typeof PageState)[keyof typeof PageState];

/** Owner ids in annotations of the host's stage 2 (pKVM's component ids). */
export const OwnerId = { host: 0, hyp: 1, guest: 3 } as const;
export type OwnerId = (typeof OwnerId)[keyof typeof OwnerId];

/** IOMMU domain record. */
export const DomainRecord: RecordTable = {
  name: 'domain',
  size: 64,
  fields: [
    word('refs', 0, '0 free, 1 allocated and idle, plus 1 per attached stream and per call in flight'),
    word('owner', 4, 'VM handle of the owner, 0 for the host'),
    bits('stage', 8, 0, 8, 'translation stage: 1 or 2; 0 while there is no table'),
    bits('smmu', 8, 8, 8, 'index of the SMMU whose geometry the table has'),
    bits('type', 8, 16, 8, 'type it was allocated with, where the first attach builds the table'),
    word('lock', 12, 'page-table lock: 0 free, else CPU number plus 1'),
    word('rootLo', 16, 'physical address of the top-level table, bits 31:0'),
    word('rootHi', 20, 'same, bits 51:32'),
    word(
      'smmuStreams',
      24,
      'first of ten counts, one per SMMU: its streams that are attached, where several may share',
    ),
  ],
};

/** SMMUs that can share a domain. */
export const DOMAIN_SMMUS_MAX = 10;
/** Domain records in a leaf page of a two-level table. */
export const DOMAINS_PER_LEAF = 64;

/** One SMMU as the hypervisor's driver knows it. */
export const SmmuRecord: RecordTable = {
  name: 'smmu',
  size: 64,
  fields: [
    word('mmioLo', 0, 'physical address of the register file, bits 31:0'),
    word('mmioHi', 4, 'same, bits 51:32'),
    word('strtabLo', 8, 'physical address of the stream table (level 1, or linear), bits 31:0'),
    word('strtabHi', 12, 'same, bits 51:32'),
    bits('strtabLog2', 16, 0, 8, 'log2 of the number of StreamIDs'),
    bits('strtabSplit', 16, 8, 8, 'StreamID split of a two-level table, 0 for a linear one'),
    bits('cmdqLog2', 16, 16, 8, 'log2 of the command queue entries'),
    word('cmdqLo', 20, 'physical address of the command queue, bits 31:0'),
    word('cmdqHi', 24, 'same, bits 51:32'),
    word('cmdqProd', 28, 'next PROD index with its wrap bit; the hardware is told at each SYNC'),
    word('lock', 32, 'lock over stream table, context descriptors and command queue'),
    word('cmdqCons', 40, 'CONS index as last read from the hardware'),
    word('identityStreams', 44, 'streams that use the identity table'),
    word('power', 48, '0 on, 1 off'),
  ],
};

/** A device of the registry: one that a guest may be given. */
export const DeviceRecord: RecordTable = {
  name: 'device',
  size: 32,
  fields: [
    word('context', 0, 'handle of the VM that has the device, 0 for the host'),
    word('refs', 4, 'calls in flight that count on the context'),
    word('group', 8, 'isolation group: its devices change hands together'),
    bits('firstStream', 12, 0, 16, 'position of its first stream in the table of streams'),
    bits('streams', 12, 16, 16, 'number of its streams'),
    bits('firstResource', 16, 0, 16, 'position of its first register range in the table of resources'),
    bits('resources', 16, 16, 16, 'number of its register ranges'),
  ],
};

/** A stream of a device of the registry. */
export const DeviceStreamRecord: RecordTable = {
  name: 'device stream',
  size: 8,
  fields: [word('iommu', 0, 'index of the SMMU'), word('endpoint', 4, 'StreamID there')],
};

/** A register range of a device of the registry. */
export const DeviceResourceRecord: RecordTable = {
  name: 'device resource',
  size: 16,
  fields: [
    word('baseLo', 0, 'physical address, bits 31:0'),
    word('baseHi', 4, 'same, bits 51:32'),
    word('sizeLo', 8, 'size in bytes, bits 31:0'),
    word('sizeHi', 12, 'same, bits 51:32'),
  ],
};

/** Virtual machine record. */
export const VmRecord: RecordTable = {
  name: 'vm',
  size: 64,
  fields: [
    bits('state', 0, 0, 8, '0 free, 1 reserved, 2 live, 3 dying'),
    bits('protected', 0, 8, 1, '1 for a protected VM'),
    word('vcpus', 4, 'number of vCPUs'),
    word('rootLo', 8, 'physical address of the guest stage-2 top-level table, bits 31:0'),
    word('rootHi', 12, 'same, bits 51:32'),
    word('lock', 16, 'lock over the guest stage 2'),
    word('loads', 20, 'CPUs on which one of its vCPUs is loaded'),
    word('guestPages', 24, 'pages in its stage 2, owned and shared'),
  ],
};

/** Routes that one paravirtual IOMMU can have. */
export const PVIOMMU_ROUTES_MAX = 16;
/** Paravirtual IOMMUs that can exist at once. */
export const PVIOMMU_COUNT = 32;

/** A paravirtual IOMMU: what the host has promised a VM, fixed once the VM is made. */
export const PvIommuRecord: RecordTable = {
  name: 'pviommu',
  size: 256,
  fields: [
    word(
      'kvmLo',
      0,
      'address of the description of the VM that it is for, bits 31:0; both words 0 while the record is free',
    ),
    word('kvmHi', 4, 'same, bits 63:32'),
    word('id', 8, 'number by which the guest names it'),
    word('vm', 12, 'handle of its VM, 0 until that is made'),
    word('count', 16, 'number of its routes'),
    word('routes', 32, 'first of the routes, see PvIommuRoute'),
  ],
};

/** One route of a paravirtual IOMMU: the stream that a virtual StreamID stands for. */
export const PvIommuRoute: RecordTable = {
  name: 'pviommu route',
  size: 12,
  fields: [
    word('iommu', 0, 'index of the SMMU'),
    word('endpoint', 4, 'StreamID there'),
    word('vsid', 8, 'virtual StreamID by which the guest names it'),
  ],
};

/** A free-list pool: heads of the free blocks by order. Block links stand in the free pages themselves. */
export const PoolRecord: RecordTable = {
  name: 'pool',
  size: 128,
  fields: [
    word('lock', 0, 'lock over the pool'),
    word('freePages', 4, 'pages on the free lists'),
    word('totalPages', 8, 'pages ever donated and not given back'),
    word('heads', 16, 'first of the list heads: one 64-bit physical address per order, 0 when empty'),
  ],
};

/** What the hypervisor keeps per CPU. */
export const CpuRecord: RecordTable = {
  name: 'cpu',
  size: 16,
  fields: [
    word('requestType', 0, 'memory request left for the host, 0 when there is none; moved to x2 when a call returns'),
    word('requestPages', 4, 'pages that request asks for'),
    word('loadedVm', 8, 'handle of the VM whose vCPU is loaded, 0 for none'),
  ],
};

/**
 * The one order in which a CPU takes locks, the outermost first: whoever holds one takes only locks further down, and
 * never two of a class. `call` is held around each call where pages come from memcaches. `guest`, `domain`, `smmu` and `pool` are the `lock` fields of VM, domain, SMMU and pool records,
 * the others global words of {@link HypLayout}.
 */
export const LOCK_ORDER = [
  'call',
  'vmTable',
  'pviommu',
  'device',
  'domainTable',
  'domain',
  'host',
  'guest',
  'hyp',
  'smmu',
  'pool',
] as const;

/** Highest block order of a pool: 2^6 pages. */
export const POOL_ORDER_MAX = 6;
/** Entries of the per-CPU list of pages that an unmap will release once its invalidation completed. */
export const UNMAP_CACHE_ENTRIES = 1024;

const PAGE = 4096;

/** Physical addresses of everything above, for one machine. */
export interface HypLayout {
  readonly base: number;
  readonly size: number;
  /** Lock of the host's page states and stage 2. */
  readonly hostLock: number;
  /** Lock of the hypervisor's own page states. */
  readonly hypLock: number;
  /** Lock of the domain table: alloc, free, attach, detach. */
  readonly domainLock: number;
  /** Lock of the VM table. */
  readonly vmLock: number;
  /** Lock of the contexts of devices. */
  readonly deviceLock: number;
  /** Lock of the paravirtual IOMMUs. */
  readonly pviommuLock: number;
  /** Lock around each call of an IOMMU, where pages come from memcaches. */
  readonly callLock: number;
  /** Pointer to the page with the memcaches of the CPUs, which the host shares; 0 where there are none. */
  readonly memcaches: number;
  readonly hostStage2Root: number;
  /** Pointer to the identity domain's table; 0 before the snapshot, and where no SMMU has stage 2. */
  readonly identityRoot: number;
  readonly heapPool: number;
  readonly iommuPool: number;
  readonly smmus: number;
  readonly vms: number;
  readonly cpuRecords: number;
  readonly unmapCaches: number;
  /** The domain records, or, for a two-level table, the pointers to their leaf pages: 64 bits each, 0 for none. */
  readonly domains: number;
  /** The registry: number of devices, their records, and the tables of their streams and register ranges. */
  readonly deviceCount: number;
  readonly devices: number;
  readonly deviceStreams: number;
  readonly deviceResources: number;
  /** Records of the paravirtual IOMMUs; and one bit for each domain id from the first of the guests' on: 1 while taken. */
  readonly pviommus: number;
  readonly guestDomains: number;
  readonly vmemmap: number;
  readonly heap: { readonly base: number; readonly size: number };
}

/** The parts of a machine description that place the hypervisor. */
export interface PlacedMachine {
  readonly ram: readonly { readonly base: number; readonly size: number }[];
  readonly carveOut: { readonly base: number; readonly size: number };
  readonly cpus: number;
  readonly devices: readonly PlacedDevice[];
}

/** What of a device decides how much room the registry takes. */
export interface PlacedDevice {
  readonly moreStreams?: readonly unknown[];
  readonly assignable?: { readonly mmio: readonly unknown[] };
}

/**
 * Place every structure in the carve-out of `machine`, in the number that the profile asks for.
 * @throws RangeError when the carve-out is too small to leave at least 32 pages of heap
 */
export function hypLayout(machine: PlacedMachine, profile: Profile = defaultProfile): HypLayout {
  const { base, size } = machine.carveOut;
  let at = base;
  const take = (bytes: number): number => {
    const start = at;
    at += Math.ceil(bytes / PAGE) * PAGE;
    return start;
  };
  const globals = take(PAGE);
  const smmus = take(PAGE);
  const vms = take(VM_COUNT * VmRecord.size);
  const cpuRecords = take(machine.cpus * CpuRecord.size);
  const unmapCaches = take(machine.cpus * UNMAP_CACHE_ENTRIES * 16);
  const domains = take(domainTableBytes(profile));
  const registry = placeRegistry(machine.devices);
  const devices = take(registry.size);
  const pviommus = take(PVIOMMU_COUNT * PvIommuRecord.size);
  const guestDomains = take(Math.ceil((profile.domains.count - profile.domains.hostCount) / 32) * 4);
  const pages = machine.ram.reduce((sum, range) => sum + range.size / PAGE, 0);
  const vmemmap = take(pages * HypPage.size);
  if (base + size - at < 32 * PAGE) {
    const need = at + 32 * PAGE - base;
    throw new RangeError(`carveOut: expected at least ${need} bytes for this machine, got ${size}`);
  }
  return {
    base,
    size,
    hostLock: globals,
    hypLock: globals + 4,
    domainLock: globals + 8,
    vmLock: globals + 12,
    deviceLock: globals + 32,
    pviommuLock: globals + 36,
    callLock: globals + 40,
    memcaches: globals + 48,
    hostStage2Root: globals + 16,
    identityRoot: globals + 24,
    heapPool: globals + 128,
    iommuPool: globals + 256,
    smmus,
    vms,
    cpuRecords,
    unmapCaches,
    domains,
    deviceCount: registry.devices,
    devices,
    deviceStreams: devices + registry.streams,
    deviceResources: devices + registry.resources,
    pviommus,
    guestDomains,
    vmemmap,
    heap: { base: at, size: base + size - at },
  };
}

/** Number of devices in the registry, byte offsets of its tables from its start, and its size. */
function placeRegistry(all: readonly PlacedDevice[]): {
  readonly devices: number;
  readonly streams: number;
  readonly resources: number;
  readonly size: number;
} {
  const registered = all.filter(({ assignable }) => assignable !== undefined);
  const streamCount = registered.reduce((sum, { moreStreams = [] }) => sum + 1 + moreStreams.length, 0);
  const resourceCount = registered.reduce((sum, { assignable }) => sum + assignable!.mmio.length, 0);
  const streams = registered.length * DeviceRecord.size;
  const resources = streams + streamCount * DeviceStreamRecord.size;
  return {
    devices: registered.length,
    streams,
    resources,
    size: resources + resourceCount * DeviceResourceRecord.size,
  };
}

function domainTableBytes({ domains: { count, table } }: Profile): number {
  return table === 'array' ? count * DomainRecord.size : (count / DOMAINS_PER_LEAF) * 8;
}
