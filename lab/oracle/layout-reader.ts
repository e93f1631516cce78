/**
 * Reads the hypervisor's records in memory by the tables of hyp/layout.ts: where a field is, and what it holds now.
 * This is the only thing that the oracle knows of the hypervisor.
 */

import {
  CpuRecord,
  DeviceRecord,
  DeviceResourceRecord,
  DeviceStreamRecord,
  DOMAINS_PER_LEAF,
  DomainRecord,
  type Field,
  type HypLayout,
  HypPage,
  PageState,
  PoolRecord,
  PVIOMMU_COUNT,
  PvIommuRecord,
  PvIommuRoute,
  type RecordTable,
  SmmuRecord,
  VmRecord,
} from '#hyp/layout';

import { defaultProfile, type Profile } from '#hypercall-abi';
import type { PhysicalMemory } from '#machine/memory';
import { TWO32 } from './facts.ts';

function fieldOf(table: RecordTable, name: string): Field {
  const found = table.fields.find((field) => field.name === name);
  if (found === undefined) throw new RangeError(`the layout of ${table.name} has no field ${name}`);
  return found;
}

/** Byte offset of a field's word in its record. */
export function offsetOf(table: RecordTable, name: string): number {
  return fieldOf(table, name).offset;
}

/** The bits of a field in its word. */
function maskOf(table: RecordTable, name: string): number {
  const { lsb, width } = fieldOf(table, name);
  return (width === 32 ? -1 : (1 << width) - 1) << lsb;
}

/** Takes a field out of the 32-bit word that holds it, as an unsigned number. */
export function fieldReader(table: RecordTable, name: string): (word: number) => number {
  const { lsb, width } = fieldOf(table, name);
  const mask = width === 32 ? -1 : (1 << width) - 1;
  return (word) => ((word >>> lsb) & mask) >>> 0;
}

const PAGE_REFS = fieldReader(HypPage, 'refcount');
const PAGE_HOST = fieldReader(HypPage, 'hostState');
const PAGE_HYP = fieldReader(HypPage, 'hypStateComplement');
const PAGE_ORDER = fieldReader(HypPage, 'order');
const PAGE_POOL = fieldReader(HypPage, 'pool');

const PAGE_STATES = maskOf(HypPage, 'hostState') | maskOf(HypPage, 'hypStateComplement');

/** NOPAGE is 3 or, with this bit, 8. */
const NO_PAGE_BIT = 8;

/** Fields of the first word of a page record, with states as android17 numbers them. */
export const PageWord = {
  references: PAGE_REFS,
  hostState: (word: number): number => (PAGE_HOST(word) < NO_PAGE_BIT ? PAGE_HOST(word) : PageState.noPage),
  /** The hypervisor's state; the record holds its complement. */
  hypState: (word: number): number =>
    PAGE_HYP(word) < NO_PAGE_BIT ? PAGE_HYP(word) ^ PageState.noPage : PAGE_HYP(word) ^ NO_PAGE_BIT,
  /** The bits of both fields, in place: equal where both are. */
  states: (word: number): number => word & PAGE_STATES,
  /** The two fields as they stand. */
  hostNumber: PAGE_HOST,
  hypNumber: PAGE_HYP,
  /** 0 when the page heads no free block of a pool, else log2 of its pages, plus 1. */
  freeOrder: PAGE_ORDER,
  /** Pool of that free block. */
  freePool: PAGE_POOL,
};

export const PAGE_RECORD_BYTES = HypPage.size;
export const DEVICE_RECORD_BYTES = DeviceRecord.size;
export const DOMAIN_RECORD_BYTES = DomainRecord.size;
export const SMMU_RECORD_BYTES = SmmuRecord.size;
export const VM_RECORD_BYTES = VmRecord.size;
export const CPU_RECORD_BYTES = CpuRecord.size;
export const PVIOMMU_BYTES = PVIOMMU_COUNT * PvIommuRecord.size;

/** Bytes of the bits that say which of the guests' domain ids are taken. */
export function guestDomainBytes({ domains }: Profile): number {
  return Math.ceil((domains.count - domains.hostCount) / 32) * 4;
}

const SHARE_COUNT = offsetOf(HypPage, 'shareCount');
export const DOMAIN_REFS = offsetOf(DomainRecord, 'refs');
export const DOMAIN_ROOT = offsetOf(DomainRecord, 'rootLo');
const DOMAIN_OWNER = offsetOf(DomainRecord, 'owner');
const DOMAIN_LOCK = offsetOf(DomainRecord, 'lock');
const DOMAIN_KIND = offsetOf(DomainRecord, 'stage');
const stageField = fieldReader(DomainRecord, 'stage');
const smmuField = fieldReader(DomainRecord, 'smmu');
const typeField = fieldReader(DomainRecord, 'type');
const DOMAIN_STREAMS = offsetOf(DomainRecord, 'smmuStreams');
export const SMMU_PROD = offsetOf(SmmuRecord, 'cmdqProd');
export const SMMU_POWER = offsetOf(SmmuRecord, 'power');
const SMMU_LOCK = offsetOf(SmmuRecord, 'lock');
const SMMU_IDENTITY_STREAMS = offsetOf(SmmuRecord, 'identityStreams');
const POOL_TOTAL = offsetOf(PoolRecord, 'totalPages');
const VM_STATE = offsetOf(VmRecord, 'state');
const vmStateField = fieldReader(VmRecord, 'state');
const vmProtectedField = fieldReader(VmRecord, 'protected');
const SMMU_MMIO_LO = offsetOf(SmmuRecord, 'mmioLo');
const SMMU_STRTAB_LO = offsetOf(SmmuRecord, 'strtabLo');
const SMMU_CMDQ_LO = offsetOf(SmmuRecord, 'cmdqLo');
const VM_VCPUS = offsetOf(VmRecord, 'vcpus');
const VM_ROOT_LO = offsetOf(VmRecord, 'rootLo');
const VM_LOCK = offsetOf(VmRecord, 'lock');
const VM_LOADS = offsetOf(VmRecord, 'loads');
const VM_GUEST_PAGES = offsetOf(VmRecord, 'guestPages');
const CPU_LOADED_VM = offsetOf(CpuRecord, 'loadedVm');
const CPU_REQUEST_TYPE = offsetOf(CpuRecord, 'requestType');
const POOL_LOCK = offsetOf(PoolRecord, 'lock');
const POOL_FREE_PAGES = offsetOf(PoolRecord, 'freePages');
const POOL_HEADS = offsetOf(PoolRecord, 'heads');
/** Offset of the word that says how large the stream table and the command queue are. */
const SMMU_GEOMETRY = offsetOf(SmmuRecord, 'strtabLog2');
const strtabLog2Field = fieldReader(SmmuRecord, 'strtabLog2');
const strtabSplitField = fieldReader(SmmuRecord, 'strtabSplit');
const cmdqLog2Field = fieldReader(SmmuRecord, 'cmdqLog2');

/** Reads records at their places. Every number is unsigned. */
export class LayoutReader {
  readonly layout: HypLayout;
  /** Whether domain records are in leaf pages. */
  private readonly inLeaves: boolean;
  private readonly memory: PhysicalMemory;

  constructor(memory: PhysicalMemory, layout: HypLayout, profile: Profile = defaultProfile) {
    this.memory = memory;
    this.layout = layout;
    this.inLeaves = profile.domains.table === 'two-level';
  }

  private word(pa: number): number {
    return this.memory.read32(pa) >>> 0;
  }

  private pointer(pa: number): number {
    return this.word(pa + 4) * TWO32 + this.word(pa);
  }

  /** First word of a page's record; see {@link PageWord}. */
  page(page: number): number {
    return this.memory.read32(this.layout.vmemmap + page * PAGE_RECORD_BYTES);
  }

  /** Whether a page's record is all zero: the host's alone, and not referenced. */
  isPlainPage(page: number): boolean {
    const at = this.memory.indexOf(this.layout.vmemmap + page * PAGE_RECORD_BYTES);
    return this.memory.words[at] === 0 && this.memory.words[at + 1] === 0;
  }

  /** Whether all that a page's record says is that number of references: else it is the host's alone. */
  isJustReferenced(page: number, references: number): boolean {
    const at = this.memory.indexOf(this.layout.vmemmap + page * PAGE_RECORD_BYTES);
    return this.memory.words[at] === references && this.memory.words[at + 1] === 0;
  }

  pageShares(page: number): number {
    return this.word(this.layout.vmemmap + page * PAGE_RECORD_BYTES + SHARE_COUNT);
  }

  /** Address of the leaf page with the records of domains 64n and up, 0 when there is none. */
  domainLeaf(n: number): number {
    return this.pointer(this.layout.domains + 8 * n);
  }

  /** Whether there is a record of that domain: else it cannot be in use. */
  hasDomain(id: number): boolean {
    return !this.inLeaves || this.domainLeaf(Math.floor(id / DOMAINS_PER_LEAF)) !== 0;
  }

  private domain(id: number): number {
    if (!this.inLeaves) return this.layout.domains + id * DOMAIN_RECORD_BYTES;
    return this.domainLeaf(Math.floor(id / DOMAINS_PER_LEAF)) + (id % DOMAINS_PER_LEAF) * DOMAIN_RECORD_BYTES;
  }

  private domainWord(id: number, offset: number): number {
    return this.hasDomain(id) ? this.word(this.domain(id) + offset) : 0;
  }

  domainRefs(id: number): number {
    return this.domainWord(id, DOMAIN_REFS);
  }

  domainOwner(id: number): number {
    return this.domainWord(id, DOMAIN_OWNER);
  }

  domainStage(id: number): number {
    return stageField(this.domainWord(id, DOMAIN_KIND));
  }

  domainSmmu(id: number): number {
    return smmuField(this.domainWord(id, DOMAIN_KIND));
  }

  /** Type it was allocated with, where that decides the stage later. */
  domainType(id: number): number {
    return typeField(this.domainWord(id, DOMAIN_KIND));
  }

  domainRoot(id: number): number {
    return this.hasDomain(id) ? this.pointer(this.domain(id) + DOMAIN_ROOT) : 0;
  }

  /** Address of the domain's lock. */
  lockOfDomain(id: number): number {
    return this.domain(id) + DOMAIN_LOCK;
  }

  domainLock(id: number): number {
    return this.domainWord(id, DOMAIN_LOCK);
  }

  /** Streams of the domain behind an SMMU, as the record counts them. */
  domainStreams(id: number, smmu: number): number {
    return this.domainWord(id, DOMAIN_STREAMS + 4 * smmu);
  }

  private smmu(index: number): number {
    return this.layout.smmus + index * SMMU_RECORD_BYTES;
  }

  private geometry(index: number): number {
    return this.memory.read32(this.smmu(index) + SMMU_GEOMETRY);
  }

  smmuBase(index: number): number {
    return this.pointer(this.smmu(index) + SMMU_MMIO_LO);
  }

  streamTable(index: number): number {
    return this.pointer(this.smmu(index) + SMMU_STRTAB_LO);
  }

  streamTableLog2(index: number): number {
    return strtabLog2Field(this.geometry(index));
  }

  /** Split of a two-level stream table; 0 for a linear one. */
  streamTableSplit(index: number): number {
    return strtabSplitField(this.geometry(index));
  }

  commandQueue(index: number): number {
    return this.pointer(this.smmu(index) + SMMU_CMDQ_LO);
  }

  commandQueueLog2(index: number): number {
    return cmdqLog2Field(this.geometry(index));
  }

  /** PROD as the hypervisor last made it: index and wrap bit. */
  commandProducer(index: number): number {
    return this.word(this.smmu(index) + SMMU_PROD);
  }

  /** Whether the record of an SMMU says that it is off. */
  smmuOff(index: number): boolean {
    return this.word(this.smmu(index) + SMMU_POWER) !== 0;
  }

  /** Streams of an SMMU that use, or may still use, the identity domain. */
  identityStreams(index: number): number {
    return this.word(this.smmu(index) + SMMU_IDENTITY_STREAMS);
  }

  smmuLock(index: number): number {
    return this.word(this.smmu(index) + SMMU_LOCK);
  }

  private vm(slot: number): number {
    return this.layout.vms + slot * VM_RECORD_BYTES;
  }

  vmState(slot: number): number {
    return vmStateField(this.memory.read32(this.vm(slot) + VM_STATE));
  }

  vmProtected(slot: number): boolean {
    return vmProtectedField(this.memory.read32(this.vm(slot) + VM_STATE)) !== 0;
  }

  vmVcpus(slot: number): number {
    return this.word(this.vm(slot) + VM_VCPUS);
  }

  vmRoot(slot: number): number {
    return this.pointer(this.vm(slot) + VM_ROOT_LO);
  }

  vmLock(slot: number): number {
    return this.word(this.vm(slot) + VM_LOCK);
  }

  vmLoads(slot: number): number {
    return this.word(this.vm(slot) + VM_LOADS);
  }

  vmPages(slot: number): number {
    return this.word(this.vm(slot) + VM_GUEST_PAGES);
  }

  private cpu(cpu: number): number {
    return this.layout.cpuRecords + cpu * CPU_RECORD_BYTES;
  }

  /** Handle of the VM that is loaded on a CPU, 0 for none. */
  loadedVm(cpu: number): number {
    return this.word(this.cpu(cpu) + CPU_LOADED_VM);
  }

  /** Memory request left in a CPU's slot, 0 for none. */
  requestType(cpu: number): number {
    return this.word(this.cpu(cpu) + CPU_REQUEST_TYPE);
  }

  private deviceField(index: number, name: string): number {
    const at = this.layout.devices + index * DEVICE_RECORD_BYTES;
    return fieldReader(DeviceRecord, name)(this.memory.read32(at + offsetOf(DeviceRecord, name)));
  }

  /** Handle of the VM that a device of the registry is with, 0 for the host. */
  deviceContext(index: number): number {
    return this.deviceField(index, 'context');
  }

  /** Calls in flight that count on it. */
  deviceRefs(index: number): number {
    return this.deviceField(index, 'refs');
  }

  deviceGroup(index: number): number {
    return this.deviceField(index, 'group');
  }

  /** Streams of a device of the registry, as pairs (SMMU, StreamID). */
  deviceStreams(index: number): number[] {
    const first = this.deviceField(index, 'firstStream');
    return Array.from({ length: this.deviceField(index, 'streams') }, (_, i) => {
      const at = this.layout.deviceStreams + (first + i) * DeviceStreamRecord.size;
      return [
        this.word(at + offsetOf(DeviceStreamRecord, 'iommu')),
        this.word(at + offsetOf(DeviceStreamRecord, 'endpoint')),
      ];
    }).flat();
  }

  /** Register ranges of a device of the registry, as pairs (base, size). */
  deviceResources(index: number): number[] {
    const first = this.deviceField(index, 'firstResource');
    return Array.from({ length: this.deviceField(index, 'resources') }, (_, i) => {
      const at = this.layout.deviceResources + (first + i) * DeviceResourceRecord.size;
      return [
        this.pointer(at + offsetOf(DeviceResourceRecord, 'baseLo')),
        this.pointer(at + offsetOf(DeviceResourceRecord, 'sizeLo')),
      ];
    }).flat();
  }

  /** Whether the page at `pa` holds the hypervisor's own records: the carve-out below the heap. */
  isRecordPage(pa: number): boolean {
    return pa >= this.layout.base && pa < this.layout.heap.base;
  }

  /** A paravirtual IOMMU as words: address of the description (lo, hi), id, handle, count, then its routes of three. */
  pviommu(n: number): number[] {
    const at = this.layout.pviommus + n * PvIommuRecord.size;
    const field = (name: string): number => this.memory.read32(at + offsetOf(PvIommuRecord, name));
    const words = ['kvmLo', 'kvmHi', 'id', 'vm', 'count'].map(field);
    for (let i = 0; i < words[4]!; i++) {
      const route = at + offsetOf(PvIommuRecord, 'routes') + i * PvIommuRoute.size;
      for (const name of ['iommu', 'endpoint', 'vsid']) {
        words.push(this.memory.read32(route + offsetOf(PvIommuRoute, name)));
      }
    }
    return words;
  }

  /** Whether the bit of a guests' domain id, counted from their first, is set. */
  isGuestDomainTaken(index: number): boolean {
    return ((this.word(this.layout.guestDomains + 4 * (index >>> 5)) >>> (index & 31)) & 1) !== 0;
  }

  /** Address of a pool's record: 0 heap, 1 IOMMU. */
  private pool(id: number): number {
    return id === 0 ? this.layout.heapPool : this.layout.iommuPool;
  }

  poolLock(id: number): number {
    return this.word(this.pool(id) + POOL_LOCK);
  }

  poolFreePages(id: number): number {
    return this.word(this.pool(id) + POOL_FREE_PAGES);
  }

  /** Pages ever donated and not given back. */
  poolTotalPages(id: number): number {
    return this.word(this.pool(id) + POOL_TOTAL);
  }

  /** First free block of 2^order pages, 0 when there is none. */
  poolHead(id: number, order: number): number {
    return this.pointer(this.pool(id) + POOL_HEADS + 8 * order);
  }

  /** The page with the memcaches of the CPUs, 0 when there is none. */
  memcaches(): number {
    return this.pointer(this.layout.memcaches);
  }

  /** The identity domain's table, 0 when there is none. */
  identityRoot(): number {
    return this.pointer(this.layout.identityRoot);
  }

  hostRoot(): number {
    return this.pointer(this.layout.hostStage2Root);
  }

  /** The lock word that is held, as a name; null when all of the global ones are free. */
  heldLock(): string | null {
    const { layout } = this;
    if (this.word(layout.callLock) !== 0) return 'call lock';
    if (this.word(layout.hostLock) !== 0) return 'host lock';
    if (this.word(layout.hypLock) !== 0) return 'hyp lock';
    if (this.word(layout.domainLock) !== 0) return 'domain table lock';
    if (this.word(layout.vmLock) !== 0) return 'VM table lock';
    if (this.word(layout.deviceLock) !== 0) return 'device lock';
    if (this.word(layout.pviommuLock) !== 0) return 'paravirtual IOMMU lock';
    if (this.poolLock(0) !== 0) return 'heap pool lock';
    return this.poolLock(1) !== 0 ? 'IOMMU pool lock' : null;
  }
}
