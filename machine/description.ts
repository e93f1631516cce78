/**
 * What a machine is made of, as data: RAM, MMIO, CPUs, SMMUs with the features their ID registers report, and the
 * devices behind them. The same shape is what `--machine FILE` reads, so {@link validateDescription} takes nothing on
 * trust and names the field that is wrong. Addresses and sizes are bytes.
 */

import { address, DescriptionError, integer, list, names, object, range, text, unique } from './description-fields.ts';
import type { RamRange } from './memory/index.ts';
import { ID_REGISTER_NAMES, NOT_MODELLED } from './smmu-v3/id-fields.ts';

export { DescriptionError } from './description-fields.ts';

/** A range of MMIO that is not an SMMU's: reads zero, remembers writes, unless a model is attached to it. */
export interface MmioRange {
  readonly name: string;
  readonly base: number;
  readonly size: number;
}

/** Physical address widths that an SMMU can report, in bits. */
export type AddressWidth = 32 | 36 | 40 | 42 | 44 | 48 | 52;

/** One SMMUv3, by the features that its ID registers report. */
export interface SmmuDescription {
  readonly name: string;
  /** Base of its two 64 KiB register pages. */
  readonly base: number;
  /** Width of a StreamID in bits (IDR1.SIDSIZE). */
  readonly sidBits: number;
  /** Output address size in bits (IDR5.OAS). */
  readonly oas: AddressWidth;
  readonly stage1: boolean;
  readonly stage2: boolean;
  /** Granules as log2 of bytes: 12, 14, 16. */
  readonly granules: readonly number[];
  readonly asid16: boolean;
  readonly vmid16: boolean;
  /** Table walks and queue accesses are coherent with the CPUs (IDR0.COHACC). */
  readonly coherent: boolean;
  /** Range and level hints in TLB invalidations (IDR3.RIL). */
  readonly rangeInvalidation: boolean;
  readonly twoLevelStreamTable: boolean;
  /** Width of a SubstreamID in bits (IDR1.SSIDSIZE). */
  readonly ssidBits: number;
  /** Largest command queue, log2 of entries (IDR1.CMDQS). */
  readonly cmdqLog2: number;
  /** Largest event queue, log2 of entries (IDR1.EVENTQS). */
  readonly evtqLog2: number;
  /** CMD_SYNC may signal completion by an event to the CPUs (IDR0.SEV). */
  readonly sev: boolean;
  /** Two-level tables of context descriptors (IDR0.CD2L). Left out: no. */
  readonly twoLevelCdTable?: boolean;
  /** Tables of less than 64 entries for small input ranges (IDR3.STT). Left out: no. */
  readonly smallTables?: boolean;
  /** Width of a virtual address in bits, 48 or 52 (IDR5.VAX). Left out: 48. */
  readonly vaBits?: 48 | 52;
  /** What hardware updates in descriptors (IDR0.HTTU): nothing, the access flag, or also the dirty state. Left out: none. */
  readonly hardwareUpdate?: HardwareUpdate;
  /** What faults may do (IDR0.STALL_MODEL): stall or terminate, only terminate, only stall. Left out: terminate. */
  readonly stallModel?: StallModel;
  /** What a terminated transaction of stage 1 may see (IDR0.TERM_MODEL): only an abort, or by CD.A zeros. Left out: abort. */
  readonly termModel?: TermModel;
  /** PCIe address translation services (IDR0.ATS). Left out: no. */
  readonly ats?: boolean;
  /** ATS for stage 1 alone of a nested stream (IDR0.NS1ATS is 0). Left out: yes. Counts where there is ATS and nesting. */
  readonly splitStageAts?: boolean;
  /** PCIe page requests (IDR0.PRI), which need ATS. Left out: no. */
  readonly pri?: boolean;
  /** Largest queue of page requests, log2 of entries (IDR1.PRIQS). Left out: as {@link evtqLog2}. */
  readonly priqLog2?: number;
  /** Interrupts may be messages (IDR0.MSI). Left out: no. */
  readonly msi?: boolean;
  /** The power domain that it is in, 0 to 31. Left out: it is always on. */
  readonly powerDomain?: number | null;
}

export type HardwareUpdate = 'none' | 'access' | 'dirty';
export type StallModel = 'both' | 'terminate' | 'stall';
export type TermModel = 'abort' | 'both';

/** An SMMU with every feature stated. */
export type SmmuFeatures = Required<SmmuDescription>;

/** Fills in what a description leaves out. */
export function featuresOf(description: SmmuDescription): SmmuFeatures {
  return {
    twoLevelCdTable: false,
    smallTables: false,
    vaBits: 48,
    hardwareUpdate: 'none',
    stallModel: 'terminate',
    termModel: 'abort',
    ats: false,
    splitStageAts: true,
    pri: false,
    priqLog2: description.evtqLog2,
    msi: false,
    powerDomain: null,
    ...description,
  };
}

/** One stream of a device: the SMMU it goes through, and its StreamID there. */
export interface StreamDescription {
  readonly smmu: string;
  readonly sid: number;
}

/** What a device that a guest may be given brings along. */
export interface AssignableDescription {
  /** Isolation group, 0 to 65535: its devices change hands together. */
  readonly group: number;
  /** Names of the MMIO ranges that are its registers. */
  readonly mmio: readonly string[];
}

/** A device that does DMA: its name, the SMMU it sits behind, and its StreamID there. */
export interface DeviceDescription extends StreamDescription {
  readonly name: string;
  /** Its further streams, behind whichever SMMUs. Left out: none. */
  readonly moreStreams?: readonly StreamDescription[];
  /** A guest may be given it: the hypervisor has it in its registry. Left out: it is the host's for good. */
  readonly assignable?: AssignableDescription;
}

/** All streams of a device, the first one first. */
export function streamsOf({ smmu, sid, moreStreams = [] }: DeviceDescription): readonly StreamDescription[] {
  return [{ smmu, sid }, ...moreStreams];
}

/** A whole machine. */
export interface MachineDescription {
  readonly name: string;
  readonly ram: readonly RamRange[];
  /** MMIO other than the SMMUs'. */
  readonly mmio: readonly MmioRange[];
  /** The part of RAM that the hypervisor keeps for itself. */
  readonly carveOut: RamRange;
  readonly cpus: number;
  readonly smmus: readonly SmmuDescription[];
  readonly devices: readonly DeviceDescription[];
}

/** Bytes of register space of one SMMU: two pages of 64 KiB. */
export const SMMU_MMIO_SIZE = 0x20000;

const WIDTHS = [32, 36, 40, 42, 44, 48, 52];

/**
 * Checks a machine description of unknown origin and returns a copy of it with exactly the known fields. Addresses may
 * be numbers or strings such as "0x40000000".
 * @throws DescriptionError naming the first field that is wrong and what was expected
 */
export function validateDescription(value: unknown): MachineDescription {
  const fields = object(value, 'the description', ['name', 'ram', 'mmio', 'carveOut', 'cpus', 'smmus', 'devices']);
  const ram = list(fields.ram, 'ram', 1).map((item, i) => range(item, `ram[${i}]`));
  const carveOut = range(fields.carveOut, 'carveOut');
  const mmio = list(fields.mmio ?? [], 'mmio', 0).map((item, i): MmioRange => {
    const at = `mmio[${i}]`;
    const entry = object(item, at, ['name', 'base', 'size']);
    return { name: text(entry.name, `${at}.name`), ...range({ base: entry.base, size: entry.size }, at) };
  });
  const smmus = list(fields.smmus, 'smmus', 0).map((item, i) => smmu(item, `smmus[${i}]`));
  const devices = list(fields.devices, 'devices', 0).map((item, i) => device(item, `devices[${i}]`, smmus, mmio));
  const description: MachineDescription = {
    name: text(fields.name, 'name'),
    ram,
    mmio,
    carveOut,
    cpus: integer(fields.cpus, 'cpus', 1, 8),
    smmus,
    devices,
  };
  checkPlacement(description);
  return description;
}

/** No two ranges overlap, the carve-out is RAM, names and streams are unique. */
function checkPlacement({ ram, mmio, carveOut, smmus, devices }: MachineDescription): void {
  const placed: { field: string; base: number; size: number }[] = [];
  const place = (field: string, base: number, size: number): void => {
    for (const other of placed) {
      if (base < other.base + other.size && other.base < base + size) {
        throw new DescriptionError(field, `a range that does not overlap ${other.field}`);
      }
    }
    placed.push({ field, base, size });
  };
  ram.forEach(({ base, size }, i) => {
    place(`ram[${i}]`, base, size);
  });
  mmio.forEach(({ base, size }, i) => {
    place(`mmio[${i}]`, base, size);
  });
  smmus.forEach(({ base }, i) => {
    place(`smmus[${i}]`, base, SMMU_MMIO_SIZE);
  });
  if (!ram.some(({ base, size }) => carveOut.base >= base && carveOut.base + carveOut.size <= base + size)) {
    throw new DescriptionError('carveOut', 'a range inside one RAM range');
  }
  unique(smmus, 'smmus');
  smmus.forEach(({ powerDomain }, i) => {
    const twin = smmus.findIndex((other) => typeof powerDomain === 'number' && other.powerDomain === powerDomain);
    if (twin >= 0 && twin !== i)
      throw new DescriptionError(`smmus[${i}].powerDomain`, `another than that of smmus[${twin}]`);
  });
  unique(devices, 'devices');
  checkStreams(devices);
  checkRegisters(devices);
}

/** No two streams are one. */
function checkStreams(devices: readonly DeviceDescription[]): void {
  const seen = new Map<string, string>();
  devices.forEach((device, i) => {
    streamsOf(device).forEach(({ smmu, sid }, n) => {
      const field = n === 0 ? `devices[${i}]` : `devices[${i}].moreStreams[${n - 1}]`;
      const twin = seen.get(`${smmu} ${sid}`);
      if (twin !== undefined) throw new DescriptionError(`${field}.sid`, `another StreamID than ${twin}`);
      seen.set(`${smmu} ${sid}`, field);
    });
  });
}

/** No two devices have the same registers. */
function checkRegisters(devices: readonly DeviceDescription[]): void {
  const seen = new Map<string, string>();
  devices.forEach(({ assignable }, i) => {
    assignable?.mmio.forEach((name, n) => {
      const field = `devices[${i}].assignable.mmio[${n}]`;
      const twin = seen.get(name);
      if (twin !== undefined) throw new DescriptionError(field, `another range than ${twin}`);
      seen.set(name, field);
    });
  });
}

/** A device may have no more streams and no more MMIO ranges than upstream's record of it has room for. */
const DEVICE_LIST_MAX = 32;

function device(
  value: unknown,
  at: string,
  smmus: readonly SmmuDescription[],
  mmio: readonly MmioRange[],
): DeviceDescription {
  const fields = object(value, at, ['name', 'smmu', 'sid', 'moreStreams', 'assignable']);
  const name = text(fields.name, `${at}.name`);
  const { moreStreams, assignable } = fields;
  const result: DeviceDescription = {
    name,
    ...stream({ smmu: fields.smmu, sid: fields.sid }, at, smmus),
    ...(moreStreams === undefined
      ? {}
      : {
          moreStreams: list(moreStreams, `${at}.moreStreams`, 0).map((item, i) =>
            stream(item, `${at}.moreStreams[${i}]`, smmus),
          ),
        }),
    ...(assignable === undefined ? {} : { assignable: assignableOf(assignable, `${at}.assignable`, mmio) }),
  };
  if (streamsOf(result).length > DEVICE_LIST_MAX) {
    throw new DescriptionError(`${at}.moreStreams`, `at most ${DEVICE_LIST_MAX - 1} streams`);
  }
  return result;
}

function stream(value: unknown, at: string, smmus: readonly SmmuDescription[]): StreamDescription {
  const fields = object(value, at, ['smmu', 'sid']);
  const owner = smmus.find((candidate) => candidate.name === fields.smmu);
  if (owner === undefined) throw new DescriptionError(`${at}.smmu`, `one of ${names(smmus)}`);
  return { smmu: owner.name, sid: integer(fields.sid, `${at}.sid`, 0, 2 ** owner.sidBits - 1) };
}

function assignableOf(value: unknown, at: string, mmio: readonly MmioRange[]): AssignableDescription {
  const fields = object(value, at, ['group', 'mmio']);
  const ranges = list(fields.mmio, `${at}.mmio`, 0).map((item, i) => {
    const range = mmio.find(({ name }) => name === item);
    if (range === undefined) {
      const known = mmio.map(({ name }) => name).join(', ') || 'the MMIO ranges (there are none)';
      throw new DescriptionError(`${at}.mmio[${i}]`, `one of ${known}`);
    }
    return range.name;
  });
  if (ranges.length > DEVICE_LIST_MAX) throw new DescriptionError(`${at}.mmio`, `at most ${DEVICE_LIST_MAX} ranges`);
  return { group: integer(fields.group, `${at}.group`, 0, 0xffff), mmio: ranges };
}

const SMMU_FIELDS = [
  'name',
  'base',
  'sidBits',
  'oas',
  'stage1',
  'stage2',
  'granules',
  'asid16',
  'vmid16',
  'coherent',
  'rangeInvalidation',
  'twoLevelStreamTable',
  'ssidBits',
  'cmdqLog2',
  'evtqLog2',
  'sev',
  'twoLevelCdTable',
  'smallTables',
  'vaBits',
  'hardwareUpdate',
  'stallModel',
  'termModel',
  'ats',
  'splitStageAts',
  'pri',
  'priqLog2',
  'msi',
  'powerDomain',
];

const UPDATES: readonly HardwareUpdate[] = ['none', 'access', 'dirty'];
const STALLS: readonly StallModel[] = ['both', 'terminate', 'stall'];
const TERMS: readonly TermModel[] = ['abort', 'both'];

function smmu(value: unknown, at: string): SmmuDescription {
  const fields = object(withoutDenied(value, at), at, SMMU_FIELDS);
  const flag = (key: string): boolean => {
    if (typeof fields[key] !== 'boolean') throw new DescriptionError(`${at}.${key}`, 'true or false');
    return fields[key];
  };
  const choice = <T>(key: string, values: readonly T[]): T => {
    const found = values.find((value) => value === fields[key]);
    if (found === undefined) throw new DescriptionError(`${at}.${key}`, `one of ${values.join(', ')}`);
    return found;
  };
  const number = (key: string, min: number, max: number): number => integer(fields[key], `${at}.${key}`, min, max);
  const granules = list(fields.granules, `${at}.granules`, 1).map((item, i) => {
    if (item !== 12 && item !== 14 && item !== 16) throw new DescriptionError(`${at}.granules[${i}]`, '12, 14 or 16');
    return item;
  });
  const oas = fields.oas;
  if (!WIDTHS.includes(oas as number)) throw new DescriptionError(`${at}.oas`, `one of ${WIDTHS.join(', ')}`);
  const base = address(fields.base, `${at}.base`);
  if (base % 0x10000 !== 0) throw new DescriptionError(`${at}.base`, 'a multiple of 64 KiB');
  const result: SmmuDescription = {
    name: text(fields.name, `${at}.name`),
    base,
    sidBits: number('sidBits', 0, 32),
    oas: oas as AddressWidth,
    stage1: flag('stage1'),
    stage2: flag('stage2'),
    granules,
    asid16: flag('asid16'),
    vmid16: flag('vmid16'),
    coherent: flag('coherent'),
    rangeInvalidation: flag('rangeInvalidation'),
    twoLevelStreamTable: flag('twoLevelStreamTable'),
    ssidBits: number('ssidBits', 0, 20),
    cmdqLog2: number('cmdqLog2', 0, 19),
    evtqLog2: number('evtqLog2', 0, 19),
    sev: flag('sev'),
    ...(fields.twoLevelCdTable === undefined ? {} : { twoLevelCdTable: flag('twoLevelCdTable') }),
    ...(fields.smallTables === undefined ? {} : { smallTables: flag('smallTables') }),
    ...(fields.vaBits === undefined ? {} : { vaBits: choice<48 | 52>('vaBits', [48, 52]) }),
    ...(fields.hardwareUpdate === undefined ? {} : { hardwareUpdate: choice('hardwareUpdate', UPDATES) }),
    ...(fields.stallModel === undefined ? {} : { stallModel: choice('stallModel', STALLS) }),
    ...(fields.termModel === undefined ? {} : { termModel: choice('termModel', TERMS) }),
    ...(fields.ats === undefined ? {} : { ats: flag('ats') }),
    ...(fields.splitStageAts === undefined ? {} : { splitStageAts: flag('splitStageAts') }),
    ...(fields.pri === undefined ? {} : { pri: flag('pri') }),
    ...(fields.priqLog2 === undefined ? {} : { priqLog2: number('priqLog2', 0, 19) }),
    ...(fields.msi === undefined ? {} : { msi: flag('msi') }),
    ...(fields.powerDomain === undefined || fields.powerDomain === null
      ? {}
      : { powerDomain: number('powerDomain', 0, 31) }),
  };
  if (result.pri === true && result.ats !== true) throw new DescriptionError(`${at}.pri`, 'false: there is no ats');
  if (!result.stage1 && !result.stage2) throw new DescriptionError(`${at}.stage2`, 'stage 1, stage 2 or both');
  return result;
}

/** What is left without features that are not modelled, which may only be off. */
function withoutDenied(value: unknown, at: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const rest: Record<string, unknown> = { ...value };
  for (const [field, { register, name, meaning }] of NOT_MODELLED) {
    const asked = rest[field];
    delete rest[field];
    if (asked === undefined || asked === false) continue;
    throw new DescriptionError(
      `${at}.${field}`,
      `false: ${ID_REGISTER_NAMES[register]}.${name} (${meaning}) is not modelled`,
    );
  }
  return rest;
}
