/** The predictor's walk: one stage of translation, from its tables to a leaf, with QEMU's deviations where they are on. */
import { cdFlag, cdGranuleBits0, cdGranuleBits1, cdIps, cdTtb } from '../oracle/decode/cd.ts';
import {
  accessFlag,
  DescriptorKind,
  descriptorKind,
  levelShift,
  nextTableAddress,
  outputAddress,
  s2IsDevice,
} from '../oracle/decode/descriptor.ts';
import { EventCode } from '../oracle/decode/event.ts';
import { SIZE_BITS, type Word64 } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import {
  steS2Flag,
  steS2GranuleBits,
  steS2Ps,
  steS2Sl0,
  steS2T0sz,
  steS2Ttb,
  steS2Vmid,
} from '../oracle/decode/ste.ts';
import type { DeviationId } from './deviations.ts';

/** The deviations that are on. */
export interface Deviating {
  has(id: DeviationId): boolean;
  /** Is it on? If so it is noted as having taken part. */
  use(id: DeviationId): boolean;
}

/** One stage of translation. */
export interface Stage {
  readonly stage: 1 | 2;
  /** ASID of stage 1; -1 of stage 2. */
  readonly asid: number;
  readonly vmid: number;
  readonly granuleBits: number;
  readonly inputBits: number;
  readonly startLevel: number;
  /** TTB as given, and aligned to the size of the table. */
  readonly ttb: number;
  readonly base: number;
  readonly outputBits: number;
  /** Leaves need their access flag. */
  readonly accessFlags: boolean;
  readonly hierarchical: boolean;
  /** Translation faults are recorded. */
  readonly records: boolean;
  /** No walk is made (EPD0). */
  readonly disabled: boolean;
  /** S2PTW: no walk of stage 1 goes through Device memory. */
  readonly protectsWalks: boolean;
}

/** What a leaf permits. */
export interface Rights {
  readonly readable: boolean;
  readonly writable: boolean;
}

/** A leaf that was reached, and what it permits. */
export interface Leaf extends Rights {
  readonly level: number;
  readonly granuleBits: number;
  readonly input: number;
  readonly size: number;
  readonly pa: number;
  /** It belongs to every ASID. */
  readonly global: boolean;
  readonly device: boolean;
}

/** One half of stage 1 as a legal CD describes it. */
export function stage1Of(cd: Int32Array, half: 0 | 1, vmid: number, smmu: SmmuCapabilities): Stage {
  const flag = (bit: number): boolean => cdFlag(cd[1]!, cd[0]!, bit);
  const granuleBits = half === 0 ? cdGranuleBits0(cd[0]!) : cdGranuleBits1(cd[0]!);
  const inputBits = 64 - ((cd[0]! >>> (16 * half)) & 63);
  const startLevel = 4 - Math.ceil((inputBits - granuleBits) / (granuleBits - 3));
  const word = 2 + 2 * half;
  const ttb = cdTtb(cd[word + 1]!, cd[word]!);
  return {
    stage: 1,
    asid: cd[1]! >>> 16,
    vmid,
    granuleBits,
    inputBits,
    startLevel,
    ttb,
    base: aligned(ttb, inputBits, startLevel, granuleBits),
    outputBits: Math.min(SIZE_BITS[cdIps(cd[1]!)]!, smmu.oasBits, 48),
    accessFlags: !flag(35),
    hierarchical: (cd[word]! & 2) === 0,
    records: flag(45),
    disabled: flag(half === 0 ? 14 : 30),
    protectsWalks: false,
  };
}

/** Stage 2 as a legal STE describes it. */
export function stage2Of(ste: Int32Array, smmu: SmmuCapabilities): Stage {
  const vtcr = ste[5]!;
  const granuleBits = steS2GranuleBits(vtcr);
  const inputBits = 64 - steS2T0sz(vtcr);
  const startLevel = (granuleBits === 12 ? 2 : 3) - steS2Sl0(vtcr, 0);
  const ttb = steS2Ttb(ste[7]!, ste[6]!);
  return {
    stage: 2,
    asid: -1,
    vmid: steS2Vmid(ste[4]!),
    granuleBits,
    inputBits,
    startLevel,
    ttb,
    base: aligned(ttb, inputBits, startLevel, granuleBits),
    outputBits: Math.min(SIZE_BITS[steS2Ps(vtcr)]!, smmu.oasBits, 48),
    accessFlags: !steS2Flag(vtcr, 53),
    hierarchical: false,
    records: steS2Flag(vtcr, 58),
    disabled: false,
    protectsWalks: steS2Flag(vtcr, 54),
  };
}

/** A table address aligned to the size of a start table for this input. */
export function aligned(ttb: number, inputBits: number, startLevel: number, granuleBits: number): number {
  return ttb - (ttb % (8 * 2 ** (inputBits - levelShift(startLevel, granuleBits))));
}

/** How a walk gets at memory, and how it ends early. */
export interface WalkContext {
  read(pa: number): Word64 | null;
  /** Physical address of entry `index` of a table. */
  place(table: number, index: number, root: boolean): number;
  /** The event of this stage; `fetch` is the place of a descriptor that could not be read. */
  fault(event: number, fetch?: number): never;
  readonly deviating: Deviating;
}

/** Walks from the root. @throws whatever `context.fault` throws */
export function walk(stage: Stage, input: number, write: boolean, context: WalkContext): Leaf {
  const { granuleBits, outputBits } = stage;
  const { deviating } = context;
  let table = stage.base;
  let readOnly = false;
  let privileged = false;
  let entries = 2 ** (stage.inputBits - levelShift(stage.startLevel, granuleBits));
  for (let level = stage.startLevel; ; level++) {
    const shift = levelShift(level, granuleBits);
    const inOneTable = 2 ** (granuleBits - 3);
    let index = Math.floor(input / 2 ** shift) % entries;
    if (index >= inOneTable && deviating.use('concatenation-lost')) index %= inOneTable;
    const at = context.place(table, index, level === stage.startLevel);
    const word = context.read(at);
    entries = inOneTable;
    if (word === null) return context.fault(EventCode.F_WALK_EABT, at);
    const { hi, lo } = word;
    if ((lo & 1) === 0) return context.fault(EventCode.F_TRANSLATION);
    const kind = descriptorKind(level, hi, lo, granuleBits);
    if (kind === DescriptorKind.invalid && (level === 3 || !deviating.use('block-at-any-level'))) {
      return context.fault(EventCode.F_TRANSLATION);
    }
    if (kind === DescriptorKind.table) {
      table = nextTableAddress(hi, lo, granuleBits) % 2 ** 48;
      if (stage.hierarchical && (hi & 0x40000000) !== 0) {
        readOnly = true;
        if (write && deviating.use('aptable-early')) return context.fault(EventCode.F_PERMISSION);
      }
      if (stage.hierarchical && (hi & 0x20000000) !== 0) privileged = true;
      if (table >= 2 ** outputBits && !deviating.use('table-size-ignored')) {
        return context.fault(EventCode.F_ADDR_SIZE);
      }
      continue;
    }
    const leaf = leafOf(stage, level, input, word);
    const rights = rightsOf(stage, lo, readOnly, privileged, deviating);
    judge(stage, leaf.pa, lo, write ? rights.mayWrite : rights.readable, context);
    return { ...leaf, readable: rights.readable, writable: rights.writable };
  }
}

function leafOf(stage: Stage, level: number, input: number, { hi, lo }: Word64): Omit<Leaf, keyof Rights> {
  const { granuleBits } = stage;
  const size = 2 ** levelShift(level, granuleBits);
  return {
    level,
    granuleBits,
    input: input - (input % size),
    size,
    pa: outputAddress(level, hi, lo, granuleBits) % 2 ** 48,
    global: stage.stage === 1 && (lo & 0x800) === 0,
    device: stage.stage === 2 && s2IsDevice(lo),
  };
}

/** What a leaf permits to this access, and what a cache remembers of it. */
function rightsOf(
  stage: Stage,
  lo: number,
  readOnly: boolean,
  privileged: boolean,
  deviating: Deviating,
): Rights & { readonly mayWrite: boolean } {
  if (stage.stage === 2) {
    const writable = (lo & 0x80) !== 0;
    return { readable: (lo & 0x40) !== 0, writable, mayWrite: writable };
  }
  const readable = ((lo & 0x40) !== 0 && !privileged) || deviating.use('unprivileged-ignored');
  const ownWrite = (lo & 0x80) === 0;
  const mayWrite = ownWrite && !readOnly && readable;
  return { readable, mayWrite, writable: ownWrite && readable && (!readOnly || deviating.use('aptable-not-cached')) };
}

/** Output size, access flag, permission. */
function judge(stage: Stage, pa: number, lo: number, permitted: boolean, { fault, deviating }: WalkContext): void {
  const tooFar = pa >= 2 ** stage.outputBits;
  if (tooFar && !deviating.has('output-size-late') && !deviating.use('output-size-ignored')) {
    fault(EventCode.F_ADDR_SIZE);
  }
  if (stage.accessFlags && !accessFlag(lo) && !deviating.use('access-flag-ignored')) {
    if (tooFar) deviating.use('output-size-late');
    fault(EventCode.F_ACCESS);
  }
  if (!permitted) {
    if (tooFar) deviating.use('output-size-late');
    fault(EventCode.F_PERMISSION);
  }
  if (tooFar && deviating.use('output-size-late')) fault(EventCode.F_ADDR_SIZE);
}
