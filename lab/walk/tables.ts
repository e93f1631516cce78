/**
 * Walking translation tables, one stage at a time, with the checks in the architecture's order: per level F_WALK_EABT,
 * F_TRANSLATION, F_ADDR_SIZE; then on the leaf F_ADDR_SIZE, F_ACCESS, F_PERMISSION. Left out: 52-bit addresses with 4K
 * and 16K granules, permission indirection, and the tables of TTB1 (their addresses have bit 55 set).
 */
import { cdFlag, cdGranuleBits0, cdIps, cdMemoryAttribute, cdT0sz, cdTtb } from '../oracle/decode/cd.ts';
import {
  Access,
  accessFlag,
  attributeIndex,
  DescriptorKind,
  descriptorKind,
  dirtyModifier,
  INVALID_FIELDS,
  leafFields,
  leafSize,
  levelShift,
  memAttr,
  memoryTypeName,
  nextTableAddress,
  outputAddress,
  s1Permissions,
  s1TableLimits,
  s2IsDevice,
  s2MemoryTypeName,
  s2Permissions,
  tableFields,
} from '../oracle/decode/descriptor.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import { outputBits, stage2StartLevel } from '../oracle/decode/legal.ts';
import { steS2Flag, steS2GranuleBits, steS2Ps, steS2Sl0, steS2T0sz, steS2Ttb } from '../oracle/decode/ste.ts';
import { type Fetched, fault, step } from './fetch.ts';
import type { Beneath, Faulted, WalkStep } from './result.ts';

/** What a walk of one stage needs to know. */
export interface StageTables {
  readonly stage: 1 | 2;
  readonly base: number;
  readonly startLevel: number;
  readonly granuleBits: number;
  /** Bits of the input address, and of what comes out. */
  readonly inputBits: number;
  readonly outputBits: number;
  /** 52-bit output addresses. */
  readonly wide: boolean;
  readonly accessFlagFaults: boolean;
  readonly hardwareDirty: boolean;
  readonly hierarchical: boolean;
  readonly xnx: boolean;
  readonly forcedWriteBack: boolean;
  readonly mair: Word64;
}

/** A leaf that was reached. */
export interface Leaf {
  readonly output: number;
  readonly size: number;
  /** {@link Access} bits, with what the tables above take away. */
  readonly access: number;
  readonly hi: number;
  readonly lo: number;
  readonly address: number;
  readonly level: number;
  readonly memoryType: string;
  readonly device: boolean;
  readonly dirtyByHardware: boolean;
}

/** The stage-1 tables of a context descriptor (TTB0). */
export function stage1Tables(cd: Int32Array, smmu: SmmuCapabilities): StageTables {
  const flag = (bit: number): boolean => cdFlag(cd[1]!, cd[0]!, bit);
  const granuleBits = cdGranuleBits0(cd[0]!);
  const inputBits = 64 - cdT0sz(cd[0]!);
  const startLevel = 4 - Math.ceil((inputBits - granuleBits) / (granuleBits - 3));
  return {
    stage: 1,
    base: alignedBase(cdTtb(cd[3]!, cd[2]!), inputBits, startLevel, granuleBits),
    startLevel,
    granuleBits,
    inputBits,
    outputBits: outputBits(cdIps(cd[1]!), smmu, granuleBits),
    wide: smmu.oasBits === 52,
    accessFlagFaults: !flag(35) && !flag(43),
    hardwareDirty: flag(42) && flag(43),
    hierarchical: (cd[2]! & 2) === 0,
    xnx: true,
    forcedWriteBack: false,
    mair: { hi: cd[7]!, lo: cd[6]! },
  };
}

/** The stage-2 tables of an STE that is legal. */
export function stage2Tables(ste: Int32Array, smmu: SmmuCapabilities): StageTables {
  const hi2 = ste[5]!;
  const granuleBits = steS2GranuleBits(hi2);
  const inputBits = 64 - steS2T0sz(hi2);
  const startLevel = stage2StartLevel(steS2Sl0(hi2, ste[6]!), steS2T0sz(hi2), granuleBits, smmu.smallTables)!;
  return {
    stage: 2,
    base: alignedBase(steS2Ttb(ste[7]!, ste[6]!), inputBits, startLevel, granuleBits),
    startLevel,
    granuleBits,
    inputBits,
    outputBits: outputBits(steS2Ps(hi2), smmu, granuleBits),
    wide: smmu.oasBits === 52,
    accessFlagFaults: !steS2Flag(hi2, 53) && !steS2Flag(hi2, 56),
    hardwareDirty: steS2Flag(hi2, 55) && steS2Flag(hi2, 56),
    hierarchical: false,
    xnx: smmu.executeNeverAtBothLevels,
    forcedWriteBack: (ste[2]! & 0x2000000) !== 0,
    mair: { hi: 0, lo: 0 },
  };
}

/** A first table is aligned to its size, all of a concatenated one included: the bits below are ignored. */
function alignedBase(base: number, inputBits: number, startLevel: number, granuleBits: number): number {
  const size = 8 * 2 ** (inputBits - levelShift(startLevel, granuleBits));
  return base - (base % size);
}

/**
 * Walks to the leaf of `input`. `read` fetches a descriptor at an address that this stage's tables hold: for a nested
 * stage 1 it goes through stage 2. `kind` is what faults report as their class. `beneath`: what a stage 2 under a
 * nested stage 1 translates for.
 */
export function walkTables(
  tables: StageTables,
  input: number,
  kind: Faulted['class'],
  read: (address: number, title: string) => Fetched,
  steps: WalkStep[],
  beneath: Beneath | null = null,
): Leaf {
  const { stage, granuleBits } = tables;
  const ipa = stage === 2 ? input : null;
  const where = (level: number | null) => ({ stage, class: kind, level, ipa });
  if (input >= 2 ** tables.inputBits) {
    fault('F_TRANSLATION', `the address has more than ${tables.inputBits} bits`, where(null));
  }
  let table = tables.base;
  let limits: number = -1;
  for (let level = tables.startLevel; ; level++) {
    const shift = levelShift(level, granuleBits);
    const entries = level === tables.startLevel ? 2 ** (tables.inputBits - shift) : 2 ** (granuleBits - 3);
    const address = table + 8 * (Math.floor(input / 2 ** shift) % entries);
    const title = `stage ${stage} level ${level}`;
    const { words, pa } = read(address, title);
    const place = { stage, level, pa, beneath };
    if (words === null) {
      steps.push(step('descriptor', title, address, null, INVALID_FIELDS, 'the fetch aborts', place));
      const fetching = kind === 'IN' ? 'TTD' : kind;
      fault('F_WALK_EABT', `the fetch of the ${title} descriptor aborts`, { ...where(level), class: fetching });
    }
    const lo = words[0]!;
    const hi = words[1]!;
    const found = descriptorKind(level, hi, lo, granuleBits, tables.wide);
    if (found === DescriptorKind.invalid) {
      const reason = (lo & 1) === 0 ? 'invalid: bit 0 is 0' : 'reserved: no block at this level';
      steps.push(step('descriptor', title, address, words, INVALID_FIELDS, reason, place));
      fault('F_TRANSLATION', `the ${title} descriptor is ${reason}`, where(level));
    }
    if (found === DescriptorKind.table) {
      table = nextTableAddress(hi, lo, granuleBits);
      const note = `table at 0x${table.toString(16)}`;
      steps.push(step('descriptor', title, address, words, tableFields(stage, granuleBits), note, place));
      if (table >= 2 ** tables.outputBits) {
        fault('F_ADDR_SIZE', `the next table lies beyond ${tables.outputBits} bits`, where(level));
      }
      if (tables.hierarchical) limits = s1TableLimits(limits, hi);
      continue;
    }
    const size = leafSize(level, granuleBits);
    const base = outputAddress(level, hi, lo, granuleBits);
    const note = `${found === DescriptorKind.page ? 'page' : 'block'} of ${sizeName(size)} at 0x${base.toString(16)}`;
    steps.push(step('descriptor', title, address, words, leafFields(stage, level, granuleBits), note, place));
    if (base >= 2 ** tables.outputBits) {
      fault('F_ADDR_SIZE', `the output address lies beyond ${tables.outputBits} bits`, where(level));
    }
    if (tables.accessFlagFaults && !accessFlag(lo)) fault('F_ACCESS', 'the access flag is 0', where(level));
    const access = (stage === 1 ? s1Permissions(hi, lo) : s2Permissions(hi, lo, tables.xnx)) & limits;
    const attribute = cdMemoryAttribute(tables.mair.hi, tables.mair.lo, attributeIndex(lo));
    return {
      output: base + (input % size),
      size,
      access,
      hi,
      lo,
      address,
      level,
      memoryType: stage === 1 ? memoryTypeName(attribute) : s2MemoryTypeName(memAttr(lo), tables.forcedWriteBack),
      device: stage === 1 ? attribute < 16 : s2IsDevice(lo, tables.forcedWriteBack),
      dirtyByHardware: tables.hardwareDirty && dirtyModifier(hi),
    };
  }
}

/** Ends the walk unless the leaf permits the access. */
export function checkPermission(
  tables: StageTables,
  leaf: Leaf,
  write: boolean,
  privileged: boolean,
  kind: Faulted['class'],
  input: number,
): void {
  const needed = privileged
    ? write
      ? Access.privilegedWrite
      : Access.privilegedRead
    : write
      ? Access.write
      : Access.read;
  const readBit = privileged ? Access.privilegedRead : Access.read;
  // With hardware dirty state a write-protected leaf is writable: the walker lifts the protection.
  if ((leaf.access & needed) !== 0 || (write && leaf.dirtyByHardware && (leaf.access & readBit) !== 0)) return;
  const how = `${privileged ? 'privileged' : 'unprivileged'} ${write ? 'write' : 'read'}`;
  fault('F_PERMISSION', `the stage ${tables.stage} leaf permits no ${how}`, {
    stage: tables.stage,
    class: kind,
    level: leaf.level,
    ipa: tables.stage === 2 ? input : null,
  });
}

/** `4K`, `2M`, `1G`, … */
export function sizeName(size: number): string {
  if (size % 2 ** 30 === 0) return `${size / 2 ** 30}G`;
  if (size % 2 ** 20 === 0) return `${size / 2 ** 20}M`;
  return size % 1024 === 0 ? `${size / 1024}K` : `${size} bytes`;
}
