/** The predictor's walk: one stage of translation, from its tables to a leaf, with QEMU's deviations where they are on. */
import { cdFlag, cdGranuleBits0, cdIps, cdTtb } from '../oracle/decode/cd.ts';
import {
  accessFlag,
  DescriptorKind,
  descriptorKind,
  levelShift,
  nextTableAddress,
  outputAddress,
} from '../oracle/decode/descriptor.ts';
import { EventCode } from '../oracle/decode/event.ts';
import { SIZE_BITS, type Word64 } from '../oracle/decode/fields.ts';
import type { SmmuCapabilities } from '../oracle/decode/idr.ts';
import { stage2StartLevel } from '../oracle/decode/legal.ts';
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

/** The access does not pass; `event` is recorded for it, 0 for none. */
export class Refused extends Error {
  readonly event: number;
  constructor(event: number) {
    super('refused');
    this.event = event;
  }
}

/** The deviations that are on. */
export interface Deviating {
  has(id: DeviationId): boolean;
  /** Is it on? If so it is noted as having taken part. */
  use(id: DeviationId): boolean;
}

/** One stage of translation. */
export interface Stage {
  readonly stage: 1 | 2;
  /** ASID of stage 1, VMID of stage 2. */
  readonly tag: number;
  readonly granuleBits: number;
  readonly inputBits: number;
  readonly startLevel: number;
  readonly base: number;
  readonly outputBits: number;
  /** Leaves need their access flag. */
  readonly accessFlags: boolean;
  readonly hierarchical: boolean;
  /** Translation faults are recorded. */
  readonly records: boolean;
  /** No walk is made (EPD0). */
  readonly disabled: boolean;
}

/** A leaf that was reached, and what it permits. */
export interface Leaf {
  readonly level: number;
  readonly iova: number;
  readonly size: number;
  readonly pa: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** It belongs to every ASID. */
  readonly global: boolean;
}

/** Stage 1 as a legal CD describes it. */
export function stage1Of(cd: Int32Array, smmu: SmmuCapabilities): Stage {
  const flag = (bit: number): boolean => cdFlag(cd[1]!, cd[0]!, bit);
  const granuleBits = cdGranuleBits0(cd[0]!);
  const inputBits = 64 - (cd[0]! & 63);
  const startLevel = 4 - Math.ceil((inputBits - granuleBits) / (granuleBits - 3));
  const base = cdTtb(cd[3]!, cd[2]!);
  return {
    stage: 1,
    tag: cd[1]! >>> 16,
    granuleBits,
    inputBits,
    startLevel,
    base: base - (base % (8 * 2 ** (inputBits - levelShift(startLevel, granuleBits)))),
    outputBits: Math.min(SIZE_BITS[cdIps(cd[1]!)]!, smmu.oasBits, 48),
    accessFlags: !flag(35),
    hierarchical: (cd[2]! & 2) === 0,
    records: flag(45),
    disabled: flag(14),
  };
}

/** Stage 2 as a legal STE describes it. */
export function stage2Of(ste: Int32Array, smmu: SmmuCapabilities): Stage {
  const vtcr = ste[5]!;
  const granuleBits = steS2GranuleBits(vtcr);
  const t0sz = steS2T0sz(vtcr);
  const startLevel = stage2StartLevel(steS2Sl0(vtcr, ste[6]!), t0sz, granuleBits, false)!;
  const base = steS2Ttb(ste[7]!, ste[6]!);
  return {
    stage: 2,
    tag: steS2Vmid(ste[4]!),
    granuleBits,
    inputBits: 64 - t0sz,
    startLevel,
    base: base - (base % (8 * 2 ** (64 - t0sz - levelShift(startLevel, granuleBits)))),
    outputBits: Math.min(SIZE_BITS[steS2Ps(vtcr)]!, smmu.oasBits, 48),
    accessFlags: !steS2Flag(vtcr, 53),
    hierarchical: false,
    records: steS2Flag(vtcr, 58),
    disabled: false,
  };
}

/** Walks from the root. @throws Refused */
export function walk(
  stage: Stage,
  iova: number,
  write: boolean,
  read: (pa: number) => Word64 | null,
  deviating: Deviating,
): Leaf {
  const { granuleBits, outputBits } = stage;
  const fault = (event: number): never => {
    throw new Refused(stage.records ? event : 0);
  };
  let table = stage.base;
  let readOnly = false;
  let privileged = false;
  let entries = 2 ** (stage.inputBits - levelShift(stage.startLevel, granuleBits));
  for (let level = stage.startLevel; ; level++) {
    const shift = levelShift(level, granuleBits);
    const inOneTable = 2 ** (granuleBits - 3);
    let index = Math.floor(iova / 2 ** shift) % entries;
    if (index >= inOneTable && deviating.use('concatenation-lost')) index %= inOneTable;
    const word = read(table + 8 * index);
    entries = inOneTable;
    if (word === null) throw new Refused(EventCode.F_WALK_EABT);
    const { hi, lo } = word;
    if ((lo & 1) === 0) return fault(EventCode.F_TRANSLATION);
    const kind = descriptorKind(level, hi, lo, granuleBits);
    if (kind === DescriptorKind.invalid && (level === 3 || !deviating.use('block-at-any-level'))) {
      return fault(EventCode.F_TRANSLATION);
    }
    if (kind === DescriptorKind.table) {
      table = nextTableAddress(hi, lo, granuleBits) % 2 ** 48;
      if (stage.hierarchical && (hi & 0x40000000) !== 0) {
        readOnly = true;
        if (write && deviating.use('aptable-early')) return fault(EventCode.F_PERMISSION);
      }
      if (stage.hierarchical && (hi & 0x20000000) !== 0) privileged = true;
      if (table >= 2 ** outputBits && !deviating.use('table-size-ignored')) return fault(EventCode.F_ADDR_SIZE);
      continue;
    }
    const pa = outputAddress(level, hi, lo, granuleBits) % 2 ** 48;
    const tooFar = pa >= 2 ** outputBits;
    if (tooFar && !deviating.has('output-size-late') && !deviating.use('output-size-ignored')) {
      return fault(EventCode.F_ADDR_SIZE);
    }
    if (stage.accessFlags && !accessFlag(lo) && !deviating.use('access-flag-ignored')) {
      if (tooFar) deviating.use('output-size-late');
      return fault(EventCode.F_ACCESS);
    }
    const second = stage.stage === 2;
    const leafReadOnly = second ? (lo & 0x80) === 0 : (lo & 0x80) !== 0;
    const unreadable = second
      ? (lo & 0x40) === 0
      : ((lo & 0x40) === 0 || privileged) && !deviating.use('unprivileged-ignored');
    const forbidden = write ? leafReadOnly || readOnly || (!second && unreadable) : unreadable;
    if (forbidden) {
      if (tooFar) deviating.use('output-size-late');
      return fault(EventCode.F_PERMISSION);
    }
    if (tooFar && deviating.use('output-size-late')) return fault(EventCode.F_ADDR_SIZE);
    const size = 2 ** shift;
    const writable = !leafReadOnly && (!readOnly || deviating.use('aptable-not-cached'));
    const global = !second && (lo & 0x800) === 0;
    return { level, iova: iova - (iova % size), size, pa, readable: !unreadable, writable, global };
  }
}
