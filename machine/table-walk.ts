/**
 * The translation-table walker of the hardware: VMSAv8-64 long descriptors, stage 1 and stage 2, literally as the
 * architecture describes them. It shares no code with what writes tables, so that it judges them.
 *
 * Covers the 4K, 16K and 64K granules, 52-bit addresses with 64K (LPA), blocks, small tables (STT), concatenated
 * stage-2 start tables, hierarchical permissions, the access flag and the dirty state with their hardware update,
 * address-size checks, and stage-1 tables that lie behind a stage 2. Leaves out 52-bit addresses with 4K and 16K (LPA2)
 * and execute permissions: devices move data. Of memory attributes only stage 2's Device type is interpreted.
 */

import { PAGE_SHIFT, type PhysicalMemory } from './memory/index.ts';
import { INVERSE_POW2, POW2 } from './pow2.ts';
import { below, join } from './word64.ts';

/** How a walk can end. */
export const WalkFault = {
  none: 0,
  /** The input address is out of range, or a descriptor is invalid or not allowed at its level. */
  translation: 1,
  /** A table or output address is wider than the configured output size. */
  addressSize: 2,
  /** The access flag of the leaf is 0. */
  access: 3,
  permission: 4,
  /** A descriptor could not be fetched: there is no RAM at its address. */
  external: 5,
  /** Stage 2 did not let a stage-1 descriptor be fetched or updated; who asked has the details. */
  stage2: 6,
} as const;
export type WalkFault = (typeof WalkFault)[keyof typeof WalkFault];

/** One stage of translation: everything about a walk except the address. Plain numbers, meant to be reused. */
export class Regime {
  stage: 1 | 2 = 1;
  /** Log2 of the granule in bytes: 12, 14 or 16. */
  granule = 12;
  /** Width of the input address in bits (64 - TxSZ). */
  inputBits = 48;
  startLevel = 0;
  /** Physical address of the start table. */
  base = 0;
  /** Width of the output address in bits. */
  outputBits = 48;
  /** Treat every access flag as set (AFFD). */
  ignoreAccessFlag = false;
  /** Hierarchical permissions are off (HAD). */
  flatPermissions = false;
  /** Hardware sets a clear access flag (HA), and marks a writable-clean leaf dirty (HD). */
  setsAccessFlag = false;
  setsDirty = false;
  /** Descriptors hold 52-bit addresses: 64K on hardware with a 52-bit output size (LPA). */
  wide = false;
  /** Stage 1 over a stage 2: tables lie, and outputs are, in the IPA space. */
  nested = false;
  /** Bits [63:56] of the input address are ignored (TBI). */
  ignoresTopByte = false;
  /** Stage 2: stage 1 must not walk through Device memory (S2PTW). */
  protectsWalks = false;
}

/** Stage 2 as a nested stage-1 walk needs it. */
export interface Underneath {
  /** Physical address of a stage-1 descriptor from its IPA; -1 when stage 2 refuses, and remembers why. */
  descriptor(ipa: number, update: boolean): number;
}

/** What a walk found. Reused; good until the next walk into it. */
export class WalkResult {
  fault: WalkFault = WalkFault.none;
  /** Level of the last descriptor looked at; 0 when the input address was out of range. */
  level = 0;
  /** Output address; -1 after a fault. */
  pa = -1;
  /** Size of the leaf, log2 of bytes. */
  leafLog2 = 0;
  /** The leaf descriptor, or the last one fetched. */
  hi = 0;
  lo = 0;
  /** How many descriptors were fetched, where, and what they held: for explanations. */
  fetches = 0;
  /** The descriptor that hardware updates to {@link updateLo} for this access; -1 for none. Who walks decides when. */
  updateAt = -1;
  updateLo = 0;
  /** IPA of the last descriptor of a nested walk. */
  descriptorIpa = 0;
  readonly fetchPa: Float64Array = new Float64Array(5);
  readonly fetchHi: Int32Array = new Int32Array(5);
  readonly fetchLo: Int32Array = new Int32Array(5);
}

/** Descriptor bits used here. `Hi` ones are in the upper 32 bits. */
const VALID = 1;
const TABLE_OR_PAGE = 2;
const AF = 1 << 10;
const S1_AP_UNPRIVILEGED = 1 << 6;
const S1_AP_READ_ONLY = 1 << 7;
const S2AP_READ = 1 << 6;
const S2AP_WRITE = 1 << 7;
const HI_APTABLE_NO_UNPRIVILEGED = 1 << 29;
const HI_APTABLE_READ_ONLY = 1 << 30;
/** From the upper word of a table descriptor to {@link TableLimit}. */
const APTABLE_SHIFT = 29;
const HI_DBM = 1 << 19;
const HI_ADDRESS = 0xffff;
/** Below this, the upper bits of a 4K table's address leave its page number a 31-bit integer. */
const SMALL_HI = 0x800;
/** Bits [15:12] of a 64K descriptor: address bits [51:48] with LPA. */
const WIDE_BITS = 0xf000;

/** What a descriptor is at its level. */
export const Descriptor = { invalid: 0, leaf: 1, table: 2 } as const;
export type Descriptor = (typeof Descriptor)[keyof typeof Descriptor];

/** Log2 of the bytes that one descriptor at `level` covers. */
export function levelShift(granule: number, level: number): number {
  return granule + (3 - level) * (granule - 3);
}

/** What a descriptor means at `level`; an encoding that is not allowed there is invalid. */
export function classify(granule: number, level: number, lo: number, wide = false): Descriptor {
  if ((lo & VALID) === 0) return Descriptor.invalid;
  if (level === 3) return (lo & TABLE_OR_PAGE) !== 0 ? Descriptor.leaf : Descriptor.invalid;
  if ((lo & TABLE_OR_PAGE) !== 0) return Descriptor.table;
  // Blocks: 1 GiB and 2 MiB with 4K, 32 MiB with 16K, 512 MiB with 64K, and 4 TiB with 64K and LPA.
  return level === 2 || (level === 1 && (granule === 12 || wide)) ? Descriptor.leaf : Descriptor.invalid;
}

/** Address field of a descriptor, bits [47:log2]; with LPA, bits [15:12] are the address's [51:48]. */
export function descriptorAddress(hi: number, lo: number, log2: number, wide = false): number {
  let aligned: number;
  if (log2 < 32) aligned = join(hi & HI_ADDRESS, lo & (-1 << log2));
  else aligned = (hi & HI_ADDRESS & (-1 << (log2 - 32))) * POW2[32]!;
  return wide ? aligned + (lo & WIDE_BITS) * POW2[36]! : aligned;
}

/** Level of the first table of a stage-1 walk over `inputBits`. */
export function stage1StartLevel(granule: number, inputBits: number): number {
  return 4 - Math.ceil((inputBits - granule) / (granule - 3));
}

/** Start level that SL0 selects for a granule, or -1 when the encoding is reserved (4K level 3 needs small tables). */
export function stage2StartLevel(granule: number, sl0: number, smallTables = false): number {
  if (sl0 === 3) return granule === 12 && smallTables ? 3 : -1;
  return granule === 12 ? 2 - sl0 : 3 - sl0;
}

/** Whether a stage-2 input of `inputBits` can start at `level`, with at most 16 concatenated tables. */
export function stage2StartFits(granule: number, level: number, inputBits: number): boolean {
  const indexBits = inputBits - levelShift(granule, level);
  return indexBits >= 1 && indexBits <= granule - 3 + 4;
}

/** Bytes of the start table (all concatenated tables together). At least 64. */
export function startTableSize(granule: number, level: number, inputBits: number): number {
  return Math.max(64, 8 * POW2[inputBits - levelShift(granule, level)]!);
}

/**
 * Translates `ia` (an offset from the start of the regime's input range) for an unprivileged data access.
 * The result is left in `out`.
 */
export function walk(
  memory: PhysicalMemory,
  regime: Regime,
  ia: number,
  write: boolean,
  out: WalkResult,
  under: Underneath | null = null,
): void {
  begin(out);
  if (ia < 0 || ia >= POW2[regime.inputBits]!) {
    out.fault = WalkFault.translation;
    return;
  }
  descend(memory, regime, regime.startLevel, regime.base, ia, write, 0, out, under);
}

/** Table permissions, as they are combined on the way down: what limits the leaves below. Stage 2 has none. */
export const TableLimit = { none: 0, noUnprivileged: 1, readOnly: 2 } as const;

/** What a table descriptor adds to the limits of those above it (APTable; off with HAD). */
export function tableLimits(regime: Regime, tableHi: number): number {
  return regime.stage === 1 && !regime.flatPermissions ? (tableHi >>> APTABLE_SHIFT) & 3 : 0;
}

/**
 * Continues a walk at the table at `base`, which is one of `level` and was reached under `limits`: what a walk cache
 * does.
 */
export function walkFrom(
  memory: PhysicalMemory,
  regime: Regime,
  level: number,
  base: number,
  limits: number,
  ia: number,
  write: boolean,
  out: WalkResult,
  under: Underneath | null = null,
): void {
  begin(out);
  if (base >= POW2[regime.outputBits]!) {
    out.fault = WalkFault.addressSize;
    return;
  }
  const rest = below(ia, POW2[levelShift(regime.granule, level - 1)]!);
  const hierarchical = limits << APTABLE_SHIFT;
  descend(memory, regime, level, base, rest, write, hierarchical, out, under);
}

/** Judges a leaf descriptor that is already known, and was reached under `limits`: what a TLB does. */
export function judgeLeaf(
  regime: Regime,
  level: number,
  hi: number,
  lo: number,
  limits: number,
  ia: number,
  write: boolean,
  out: WalkResult,
): void {
  begin(out);
  out.level = level;
  out.hi = hi;
  out.lo = lo;
  const hierarchical = limits << APTABLE_SHIFT;
  leaf(regime, ia, write, hierarchical, out);
  // The flags of a cached leaf are updated by a walk of its own.
  out.updateAt = -1;
}

function begin(out: WalkResult): void {
  out.fault = WalkFault.none;
  out.level = 0;
  out.pa = -1;
  out.leafLog2 = 0;
  out.hi = 0;
  out.lo = 0;
  out.fetches = 0;
  out.updateAt = -1;
}

function descend(
  memory: PhysicalMemory,
  regime: Regime,
  firstLevel: number,
  base: number,
  ia: number,
  write: boolean,
  tableBits: number,
  out: WalkResult,
  under: Underneath | null,
): void {
  const { granule, wide } = regime;
  const collects = regime.stage === 1 && !regime.flatPermissions;
  const step = granule - 3;
  let shift = levelShift(granule, firstLevel);
  // Concatenated start tables have more entries than the others.
  let index = (ia * INVERSE_POW2[shift]!) | 0;
  let table = base;
  let hierarchical = tableBits;
  // Word of the table in the backing store, where it is known to lie there in one piece; otherwise -1.
  let words = -1;
  for (let level = firstLevel; ; level++) {
    out.level = level;
    let at = table + 8 * index;
    if (under !== null) {
      const ipa = at;
      at = under.descriptor(ipa, false);
      if (at < 0) {
        out.fault = WalkFault.stage2;
        return;
      }
      out.descriptorIpa = ipa;
    }
    const n = out.fetches++;
    out.fetchPa[n] = at;
    const word = words >= 0 ? words + 2 * index : memory.indexIfRam(at);
    if (word < 0) {
      out.lo = out.fetchLo[n] = 0;
      out.hi = out.fetchHi[n] = 0;
      out.fault = WalkFault.external;
      return;
    }
    const lo = memory.words[word]!;
    const hi = memory.words[word + 1]!;
    out.lo = out.fetchLo[n] = lo;
    out.hi = out.fetchHi[n] = hi;
    const kind = classify(granule, level, lo, wide);
    if (kind === Descriptor.invalid) {
      out.fault = WalkFault.translation;
      return;
    }
    if (kind === Descriptor.leaf) {
      leaf(regime, ia, write, hierarchical, out);
      if (out.updateAt >= 0) locateUpdate(at, under, out);
      return;
    }
    table = descriptorAddress(hi, lo, granule, wide);
    if (table >= POW2[regime.outputBits]!) {
      out.fault = WalkFault.addressSize;
      return;
    }
    const isNear = under === null && granule === PAGE_SHIFT && (hi & HI_ADDRESS) < SMALL_HI;
    words = isNear ? memory.indexOfPage(((hi & HI_ADDRESS) << 20) | (lo >>> PAGE_SHIFT)) : -1;
    if (collects) hierarchical |= hi;
    shift -= step;
    index = (ia * INVERSE_POW2[shift]!) & ((1 << step) - 1);
  }
}

/** The update of a descriptor is a write: for a nested walk, one that stage 2 has to allow. */
function locateUpdate(at: number, under: Underneath | null, out: WalkResult): void {
  out.updateAt = at;
  if (under === null || under.descriptor(out.descriptorIpa, true) >= 0) return;
  out.updateAt = -1;
  out.pa = -1;
  out.fault = WalkFault.stage2;
}

/** Output size, then access flag, then permission: the order in which a leaf is judged. */
function leaf(regime: Regime, ia: number, write: boolean, hierarchical: number, out: WalkResult): void {
  const log2 = levelShift(regime.granule, out.level);
  out.leafLog2 = log2;
  const { lo } = out;
  const base = descriptorAddress(out.hi, lo, log2, regime.wide);
  if (base >= POW2[regime.outputBits]!) {
    out.fault = WalkFault.addressSize;
    return;
  }
  let now = lo;
  if ((lo & AF) === 0 && !regime.ignoreAccessFlag) {
    if (!regime.setsAccessFlag) {
      out.fault = WalkFault.access;
      return;
    }
    now |= AF;
  }
  if (write && regime.setsDirty && (out.hi & HI_DBM) !== 0) {
    now = regime.stage === 1 ? now & ~S1_AP_READ_ONLY : now | S2AP_WRITE;
  }
  if (!permitted(regime.stage, now, hierarchical, write)) {
    out.fault = WalkFault.permission;
    return;
  }
  if (now !== lo) {
    out.updateAt = 0;
    out.updateLo = now;
  }
  out.pa = base + (log2 < 32 ? (ia & ~(-1 << log2)) >>> 0 : below(ia, POW2[log2]!));
}

/** Whether a stage-2 leaf maps Device memory (S2FWB off: MemAttr[3:2] is 0). */
export function isDevice(lo: number): boolean {
  return (lo & 0x30) === 0;
}

function permitted(stage: 1 | 2, lo: number, hierarchical: number, write: boolean): boolean {
  if (stage === 2) return (lo & (write ? S2AP_WRITE : S2AP_READ)) !== 0;
  if ((lo & S1_AP_UNPRIVILEGED) === 0 || (hierarchical & HI_APTABLE_NO_UNPRIVILEGED) !== 0) return false;
  return !write || ((lo & S1_AP_READ_ONLY) === 0 && (hierarchical & HI_APTABLE_READ_ONLY) === 0);
}
