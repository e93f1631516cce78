/**
 * Boots: what the host has set up for an SMMU is changed in one place before the hypervisor takes over. Random steps begin
 * after boot, and never see what boot refuses, nor tables and queues of another size than the usual one.
 */

import { HostMemory, setUpSmmu } from '#host';
import { hypLayout } from '#hyp/layout';
import { type BootParameters, type Hypervisor, Memcache, type Profile } from '#hypercall-abi';
import { createMachine, hostPort, type Machine, type MachineDescription, type SmmuDescription, tiny } from '#machine';
import { CheckedHypervisor } from '../oracle/index.ts';
import { oracleView } from '../session/oracle-view.ts';
import type { Violation } from '../session/session.ts';

const GERROR = 0x60;
const GBPA = 0x44;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CMDQ_BASE = 0x90;
const EVENTQ_BASE = 0xa0;
const PAGE = 4096;
const TWO32 = 4294967296;

/** What a variant may change: one SMMU of a machine that is about to boot. */
export interface BeforeBoot {
  readonly machine: Machine;
  readonly smmu: SmmuDescription;
  readonly index: number;
  /** Pages of the host that nothing is in: naturally aligned chunks of 2^order. */
  readonly page: (order?: number) => number;
  readonly get: (offset: number) => number;
  /** The page that a 64-bit address register names. */
  readonly pageIn: (offset: number) => number;
  readonly put: (offset: number, value: number) => void;
  /** Put a 64-bit address register. */
  readonly putAddress: (offset: number, pa: number) => void;
  parameters: BootParameters;
}

type HypervisorMaker = (machine: Machine, profile: Profile) => Hypervisor;

export interface BootVariant {
  readonly name: string;
  readonly change: (b: BeforeBoot) => void;
}

/** The bits of the configuration of a stream table, changed. */
function config(name: string, change: (before: number, smmu: SmmuDescription) => number): BootVariant {
  return {
    name: `STRTAB_BASE_CFG: ${name}`,
    change: ({ smmu, get, put }) => put(STRTAB_BASE_CFG, change(get(STRTAB_BASE_CFG), smmu)),
  };
}

/** A table or queue somewhere else. */
function place(offset: number, register: string): BootVariant[] {
  const at = (name: string, pa: (b: BeforeBoot, before: number) => number): BootVariant => ({
    name: `${register}: ${name}`,
    change: (b) => {
      const log2 = offset === STRTAB_BASE ? 0 : b.get(offset) & 31;
      b.putAddress(offset, pa(b, b.pageIn(offset)) + log2);
    },
  });
  const ram = (b: BeforeBoot) => b.machine.description.ram[0]!;
  const carve = (b: BeforeBoot) => b.machine.description.carveOut;
  return [
    at('in another page', ({ page }) => page()),
    at('64 bytes further', (_, before) => before + 64),
    at('half a page further', (_, before) => before + PAGE / 2),
    at('a page further', (_, before) => before + PAGE),
    at('address 0', () => 0),
    at('the first page of RAM', (b) => ram(b).base),
    at('right behind RAM', (b) => ram(b).base + ram(b).size),
    at('the last page of RAM', (b) => ram(b).base + ram(b).size - PAGE),
    at('the carve-out', (b) => carve(b).base),
    at('the end of the carve-out', (b) => carve(b).base + carve(b).size - PAGE),
    at('right before the carve-out', (b) => carve(b).base - PAGE),
    at('right behind the carve-out', (b) => carve(b).base + carve(b).size),
    at('registers', ({ smmu }) => smmu.base),
    at('bit 51', (_, before) => before + 2 ** 51),
    ...[STRTAB_BASE, CMDQ_BASE, EVENTQ_BASE]
      .filter((other) => other !== offset)
      .map((other) => at(`over ${other}`, ({ pageIn }) => pageIn(other))),
    {
      name: `${register}: without hints`,
      change: ({ get, put }) => put(offset + 4, get(offset + 4) & 0xfffff),
    },
  ];
}

/** A queue of another size, where there is room for it. */
function sizes(
  offset: number,
  register: string,
  entryLog2: number,
  max: (smmu: SmmuDescription) => number,
): BootVariant[] {
  const of = (name: string, log2: (smmu: SmmuDescription) => number, skew = 0): BootVariant => ({
    name: `${register}: ${name}`,
    change: ({ smmu, page, putAddress }) => {
      const entries = log2(smmu);
      const order = Math.min(8, Math.max(0, entries + entryLog2 - 12));
      putAddress(offset, page(order + (skew === 0 ? 0 : 1)) + skew + entries);
    },
  });
  return [
    of('one entry', () => 0),
    of('two entries', () => 1),
    of('the largest', max),
    of('the largest, not aligned to its size', max, PAGE),
    of('larger than there are', (smmu) => max(smmu) + 1),
    of('31', () => 31),
  ];
}

export const bootVariants: readonly BootVariant[] = [
  { name: 'as it is', change: () => {} },
  { name: 'devices are let through', change: ({ put }) => put(GBPA, 0x1000) },
  { name: 'service failure', change: ({ get, put }) => put(GERROR, get(GERROR) ^ (1 << 8)) },
  { name: 'an error of the event queue', change: ({ get, put }) => put(GERROR, get(GERROR) ^ 4) },
  { name: 'an error of the command queue', change: ({ get, put }) => put(GERROR, get(GERROR) ^ 1) },
  config('one stream', (before) => before & ~63),
  config('half of the streams', (before) => before - 1),
  config('twice the streams', (before) => before + 1),
  config('fewer streams than a level-2 table', (before) => (before & ~63) | 3),
  config('linear', (before, smmu) => (smmu.twoLevelStreamTable ? 4 : before & 63)),
  config('linear, with a split', (before, smmu) => (smmu.twoLevelStreamTable ? 4 : before & 63) | (8 << 6)),
  config('two levels, split at 6', (before) => (before & 63) | (6 << 6) | 0x10000),
  config('two levels, split at 8', (before) => (before & 63) | (8 << 6) | 0x10000),
  config('two levels, split at 10', (before) => (before & 63) | (10 << 6) | 0x10000),
  ...[11, 15, 18, 31].map((bit) => config(`bit ${bit}`, (before) => before | (1 << bit))),
  config('format 2', (before) => (before & ~0x30000) | 0x20000),
  config('format 3', (before) => before | 0x30000),
  ...place(STRTAB_BASE, 'STRTAB_BASE'),
  ...place(CMDQ_BASE, 'CMDQ_BASE'),
  ...sizes(CMDQ_BASE, 'CMDQ_BASE', 4, ({ cmdqLog2 }) => cmdqLog2),
  ...place(EVENTQ_BASE, 'EVENTQ_BASE'),
  ...sizes(EVENTQ_BASE, 'EVENTQ_BASE', 5, ({ evtqLog2 }) => evtqLog2),
  { name: 'the SMMU does not answer', change: ({ machine, index }) => machine.smmus[index]!.setAnswers(false) },
  {
    name: 'the host names another SMMU',
    change: (b) => {
      b.parameters = {
        ...b.parameters,
        smmus: b.parameters.smmus.map((base, i) => (i === b.index ? base + PAGE : base)),
      };
    },
  },
  {
    name: 'the host does not name the SMMU',
    change: (b) => {
      b.parameters = { ...b.parameters, smmus: b.parameters.smmus.slice(0, b.index) };
    },
  },
  ...memcaches(),
];

/** Where pages come from memcaches: where those are. Elsewhere it means nothing. */
function memcaches(): BootVariant[] {
  const at = (name: string, pa: (b: BeforeBoot) => number): BootVariant => ({
    name: `memcaches: ${name}`,
    change: (b) => {
      b.parameters = { ...b.parameters, memcaches: pa(b) };
    },
  });
  return [
    {
      name: 'no memcaches',
      change: (b) => {
        b.parameters = { smmus: b.parameters.smmus };
      },
    },
    at('inside a page', ({ page }) => page() + Memcache.size),
    at('not RAM', ({ smmu }) => smmu.base),
    at('the carve-out', ({ machine }) => machine.description.carveOut.base),
    at('the event queue', ({ pageIn }) => pageIn(EVENTQ_BASE)),
    at('the stream table', ({ pageIn }) => pageIn(STRTAB_BASE)),
  ];
}

/** A machine on which tables and queues may have several pages, for each machine: its SMMUs have room for larger ones. */
export function roomy(machine: MachineDescription): MachineDescription {
  const smmus = machine.smmus.map((smmu) => ({ ...smmu, cmdqLog2: 10, evtqLog2: 9 }));
  return { ...machine, smmus };
}

/**
 * Boot once with a variant. A boot that succeeded is checked in full.
 * @returns what was found wrong first, or null
 */
export function bootOnce(
  create: HypervisorMaker,
  description: MachineDescription,
  profile: Profile,
  { change }: BootVariant,
  index: number,
): Violation | null {
  const machine = createMachine(description);
  const memory = new HostMemory(description);
  const port = hostPort(machine.cpus[0]!);
  for (const smmu of description.smmus) setUpSmmu(port, memory, smmu, profile.streamTableSplit);
  const hardware = machine.smmus[index]!;
  const b: BeforeBoot = {
    machine,
    smmu: description.smmus[index]!,
    index,
    page: (order = 0) => memory.alloc(order),
    get: (offset) => hardware.get(offset),
    pageIn: (offset) => (hardware.get(offset + 4) & 0xfffff) * TWO32 + ((hardware.get(offset) & -PAGE) >>> 0),
    put: (offset, value) => hardware.put(offset, value),
    putAddress: (offset, pa) => {
      hardware.put(offset, pa | 0);
      hardware.put(offset + 4, Math.floor(pa / TWO32));
    },
    parameters: {
      smmus: description.smmus.map(({ base }) => base),
      ...(profile.request === 'needs-page' && { memcaches: memory.alloc() }),
    },
  };
  change(b);
  const oracle = new CheckedHypervisor(create(machine, profile), oracleView(machine));
  if (oracle.boot(b.parameters) === 0) oracle.checkAll();
  return oracle.findings[0] ?? null;
}

/** A boot at which something was wrong. */
export interface BadBoot {
  readonly variant: string;
  readonly violation: Violation;
}

/** Boot with every variant for every SMMU. @returns the first boot at which something was wrong, or null */
export function firstBadBoot(create: HypervisorMaker, machine: MachineDescription, profile: Profile): BadBoot | null {
  for (let index = 0; index < machine.smmus.length; index++) {
    for (const variant of bootVariants) {
      const violation = bootOnce(create, machine, profile, variant, index);
      if (violation !== null) return { variant: variant.name, violation };
    }
  }
  return null;
}

/** RAM that takes more tables of the identity domain than the smallest heap has pages. */
const WIDE_RAM = { base: 0x40000000, size: 0x4000000 };
const WIDE_CARVE_OUT = { base: 0x43e00000, size: 0x200000 };
/** Pages of the smallest heap that a hypervisor begins with, and of one that is enough. */
const SMALLEST_HEAP = 32;
const LARGE_HEAP = 64;

/** Boot with a heap that is too small, and with larger ones up to one that is not. @returns the first boot at which something was wrong */
export function firstCrampedBoot(create: HypervisorMaker, profile: Profile): BadBoot | null {
  const roomyHeap = { ...tiny, name: 'cramped', ram: [WIDE_RAM], carveOut: WIDE_CARVE_OUT };
  const records = WIDE_CARVE_OUT.size - hypLayout(roomyHeap, profile).heap.size;
  for (let pages = SMALLEST_HEAP; pages <= LARGE_HEAP; pages++) {
    const machine = { ...roomyHeap, carveOut: { ...WIDE_CARVE_OUT, size: records + pages * PAGE } };
    const violation = bootOnce(create, machine, profile, bootVariants[0]!, 0);
    if (violation !== null) return { variant: `a heap of ${pages} pages`, violation };
  }
  return null;
}
