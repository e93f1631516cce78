/**
 * What does not change: which pages and devices a machine has, and what shape the translation tables of an SMMU must
 * have. Pages of RAM are numbered from 0 in the order of the RAM ranges; -1 is an address without RAM.
 */

import { defaultProfile, type Profile } from '#hypercall-abi';
import type { PhysicalMemory } from '#machine/memory';

export interface Range {
  readonly base: number;
  readonly size: number;
}

/** The features of an SMMU that decide what its tables may say. A machine description fits. */
export interface OracleSmmu {
  readonly name: string;
  readonly base: number;
  readonly sidBits: number;
  readonly oas: number;
  readonly stage1: boolean;
  readonly stage2: boolean;
  readonly asid16: boolean;
  readonly vmid16: boolean;
  /** Table walks see the caches of the CPUs. */
  readonly coherent: boolean;
  readonly rangeInvalidation: boolean;
  readonly twoLevelStreamTable: boolean;
  readonly ssidBits: number;
  /** Largest queues of commands and of events, log2 of entries. */
  readonly cmdqLog2: number;
  readonly evtqLog2: number;
  readonly powerDomain?: number | null;
  /** What faults may do: stall or terminate, only terminate, only stall. Left out: terminate. */
  readonly stallModel?: 'both' | 'terminate' | 'stall';
}

/** A stream of a device, by the name of its SMMU. */
export interface OracleStream {
  readonly smmu: string;
  readonly sid: number;
}

/** What of a device concerns the oracle: its streams, and what it brings along when a guest may be given it. */
export interface OracleDevice extends OracleStream {
  readonly moreStreams?: readonly OracleStream[];
  readonly assignable?: { readonly group: number; readonly mmio: readonly string[] };
}

export interface OracleDescription {
  readonly ram: readonly Range[];
  readonly mmio: readonly (Range & { readonly name: string })[];
  readonly carveOut: Range;
  readonly cpus: number;
  readonly smmus: readonly OracleSmmu[];
  readonly devices: readonly OracleDevice[];
}

/** A device of the registry, as the description has it: SMMUs by number. */
export interface RegisteredDevice {
  readonly group: number;
  readonly streams: readonly { readonly smmu: number; readonly sid: number }[];
  readonly resources: readonly Range[];
}

/** Two int32 words of a 64-bit register. */
export interface RegisterWords {
  readonly hi: number;
  readonly lo: number;
}

/** EL2 registers that put the host behind stage 2. */
export type OracleSystemRegister = 'HCR_EL2' | 'VTCR_EL2' | 'VTTBR_EL2';

/**
 * What the oracle looks at: raw memory, what the machine is made of, and the registers of its hardware. Without the
 * readers of registers, what boot programs into the hardware cannot be checked; the oracle's statement says so then.
 */
export interface OracleMachine {
  readonly memory: PhysicalMemory;
  readonly description: OracleDescription;
  /** The int32 word of the register at a byte offset from the base of SMMU number `smmu`, without side effects. */
  readonly smmuRegister?: (smmu: number, offset: number) => number;
  /** A system register of a CPU, without side effects. */
  /** Whether an SMMU consumes its commands; left out: it does. */
  readonly answers?: (smmu: number) => boolean;
  readonly systemRegister?: (cpu: number, register: OracleSystemRegister) => RegisterWords;
}

export const PAGE = 4096;
export const TWO32 = 4294967296;
/** Tag of the identity domain. */
export const IDENTITY_VMID = 0;
/** Input bits of the CPUs' stage 2: nothing the host can name lies beyond. */
export const IPA_END = 2 ** 48;
/** Bytes of an SMMU's registers. */
export const SMMU_BYTES = 0x20000;

/** What an address without RAM is. */
export const Place = { nothing: 0, device: 1, smmu: 2 } as const;

/** Shape of a stage's tables with 4 KiB granule. */
export interface Geometry {
  readonly startLevel: number;
  /** Pages of the first table: more than one when tables are concatenated. */
  readonly rootPages: number;
  readonly inputBits: number;
  readonly inputEnd: number;
}

/** 4 KiB granule, 9 bits a level. A stage-2 walk may start at level 0 only with 44 bits of output and more. */
export function geometryOf(stage: number, oas: number): Geometry {
  const inputBits = stage === 1 ? 48 : oas;
  let startLevel = 0;
  let first = 39;
  while (inputBits <= first) {
    startLevel++;
    first -= 9;
  }
  if (stage === 2 && startLevel === 0 && oas < 44) {
    startLevel = 1;
    first = 30;
  }
  const rootPages = Math.max(1, (2 ** (inputBits - first) * 8) / PAGE);
  return { startLevel, rootPages, inputBits, inputEnd: 2 ** inputBits };
}

/** IPS, S2PS encodings by output size. */
export const SIZE_CODES: Readonly<Record<number, number>> = { 32: 0, 36: 1, 40: 2, 42: 3, 44: 4, 48: 5 };

function registryOf({ smmus, mmio, devices }: OracleDescription): RegisteredDevice[] {
  const found: RegisteredDevice[] = [];
  for (const { smmu, sid, moreStreams = [], assignable } of devices) {
    if (assignable === undefined) continue;
    found.push({
      group: assignable.group,
      streams: [{ smmu, sid }, ...moreStreams].map((stream) => ({
        smmu: smmus.findIndex(({ name }) => name === stream.smmu),
        sid: stream.sid,
      })),
      resources: assignable.mmio.flatMap((wanted) => mmio.filter(({ name }) => name === wanted)),
    });
  }
  return found;
}

export class Facts {
  readonly memory: PhysicalMemory;
  readonly description: OracleDescription;
  /** The contract that is judged by. */
  readonly profile: Profile;
  /** Pages of RAM. */
  readonly pages: number;
  /** Geometry by 2 * SMMU + stage - 1. */
  readonly geometries: readonly Geometry[];
  /** The SMMUs that can use the identity table, by number. */
  readonly identitySmmus: readonly number[];
  /** Output size in bits of the identity table: the least of those SMMUs'. */
  readonly identityBits: number;
  readonly identityGeometry: Geometry;
  /** Devices that a guest may be given, in the order of the description. */
  readonly registry: readonly RegisteredDevice[];
  private readonly machine: OracleMachine;
  /** Their register ranges. */
  readonly resources: readonly (Range & { readonly device: number })[];
  private readonly bases: readonly number[];
  private readonly sizes: readonly number[];
  private readonly firsts: readonly number[];

  constructor(machine: OracleMachine, profile: Profile = defaultProfile) {
    const { memory, description } = machine;
    this.machine = machine;
    this.memory = memory;
    this.profile = profile;
    this.description = description;
    this.bases = description.ram.map(({ base }) => base);
    this.sizes = description.ram.map(({ size }) => size);
    let first = 0;
    this.firsts = description.ram.map(({ size }) => {
      first += size / PAGE;
      return first - size / PAGE;
    });
    this.pages = first;
    this.geometries = description.smmus.flatMap(({ oas }) => [geometryOf(1, oas), geometryOf(2, oas)]);
    this.identitySmmus = description.smmus.flatMap(({ stage2 }, i) => (stage2 ? [i] : []));
    this.identityBits = Math.min(48, ...this.identitySmmus.map((i) => description.smmus[i]!.oas));
    this.identityGeometry = geometryOf(2, this.identityBits);
    this.registry = registryOf(description);
    this.resources = this.registry.flatMap(({ resources }, device) =>
      resources.map(({ base, size }) => ({ base, size, device })),
    );
  }

  /** Number of the registered device that has that stream, or -1. */
  deviceOf(smmu: number, sid: number): number {
    return this.registry.findIndex(({ streams }) => streams.some((one) => one.smmu === smmu && one.sid === sid));
  }

  /** Whether an SMMU consumes its commands. */
  answers(smmu: number): boolean {
    return this.machine.answers?.(smmu) ?? true;
  }

  /** Whether all of them do. */
  allAnswer(): boolean {
    for (let smmu = 0; smmu < this.description.smmus.length; smmu++) if (!this.answers(smmu)) return false;
    return true;
  }

  /** Number of the register range that has `pa`, or -1. */
  resourceOf(pa: number): number {
    return this.resources.findIndex(({ base, size }) => pa >= base && pa < base + size);
  }

  /** Number of the page at `pa`, or -1. */
  pageOf(pa: number): number {
    const { bases, sizes } = this;
    for (let i = 0; i < bases.length; i++) {
      const offset = pa - bases[i]!;
      if (offset >= 0 && offset < sizes[i]!) return this.firsts[i]! + ((offset / PAGE) | 0);
    }
    return -1;
  }

  /** Physical address of a page. */
  paOf(page: number): number {
    let i = this.firsts.length - 1;
    while (this.firsts[i]! > page) i--;
    return this.bases[i]! + (page - this.firsts[i]!) * PAGE;
  }

  /** Number of the first page of [pa, pa + pages), or -1 when that does not lie in one range of RAM. */
  ramRange(pa: number, pages: number): number {
    const { bases, sizes } = this;
    for (let i = 0; i < bases.length; i++) {
      const offset = pa - bases[i]!;
      if (offset >= 0 && offset < sizes[i]!) {
        return pages > 0 && offset + pages * PAGE <= sizes[i]! ? this.firsts[i]! + Math.floor(offset / PAGE) : -1;
      }
    }
    return -1;
  }

  /** Calls `visit` with the first page and the number of pages of each piece of [pa, pa + size) that is RAM. */
  forEachRamPiece(pa: number, size: number, visit: (page: number, pages: number) => void): void {
    const { bases, sizes } = this;
    for (let i = 0; i < bases.length; i++) {
      const from = Math.max(pa, bases[i]!);
      const to = Math.min(pa + size, bases[i]! + sizes[i]!);
      if (from < to) visit(this.firsts[i]! + (from - bases[i]!) / PAGE, (to - from) / PAGE);
    }
  }

  /** What [pa, pa + size), which is not RAM, is: inside one device, inside one SMMU's registers, or neither. */
  placeOf(pa: number, size: number): number {
    for (const { base } of this.description.smmus) {
      if (pa >= base && pa + size <= base + SMMU_BYTES) return Place.smmu;
    }
    for (const { base, size: length } of this.description.mmio) {
      if (pa >= base && pa + size <= base + length) return Place.device;
    }
    return Place.nothing;
  }

  /** Whether any byte of [pa, pa + size) is a register of an SMMU. */
  touchesSmmu(pa: number, size: number): boolean {
    for (const { base } of this.description.smmus) if (pa < base + SMMU_BYTES && base < pa + size) return true;
    return false;
  }

  /** Whether no byte of [pa, pa + size) is RAM, a register of an SMMU, or one that a guest may be given. */
  isPlainDevice(pa: number, size: number): boolean {
    let isPlain =
      !this.touchesSmmu(pa, size) && !this.resources.some((r) => pa < r.base + r.size && r.base < pa + size);
    this.forEachRamPiece(pa, size, () => {
      isPlain = false;
    });
    return isPlain;
  }

  /** Bytes of [from, to) that are registers of SMMUs. */
  smmuBytes(from: number, to: number): number {
    let bytes = 0;
    for (const { base } of this.description.smmus) {
      bytes += Math.max(0, Math.min(to, base + SMMU_BYTES) - Math.max(from, base));
    }
    return bytes;
  }

  /** Number of the domain whose translations have that tag on that SMMU. */
  domainWithTag(smmu: number, tag: number): number {
    return smmu * (this.profile.domains.perIommu ?? 0) + tag;
  }

  /** Tag of a domain's translations. */
  tagOf(domain: number): number {
    const { perIommu } = this.profile.domains;
    return perIommu === undefined ? domain : domain % perIommu;
  }

  geometry(smmu: number, stage: number): Geometry {
    return this.geometries[2 * smmu + stage - 1]!;
  }

  /** The 64-bit word at `pa` as a number: an address, or bits of one. */
  read64(pa: number): number {
    const { memory } = this;
    const i = memory.indexOf(pa);
    return (memory.words[i + 1]! >>> 0) * TWO32 + (memory.words[i]! >>> 0);
  }
}
