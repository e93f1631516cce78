/**
 * Stream table entries: the 64 bytes that say what happens to a stream, decoded, and judged ILLEGAL or not.
 *
 * Abort, bypass, stage 1, stage 2, and stage 1 over stage 2 (nested). Ignored because the ID registers say they are
 * absent: attribute overrides, MPAM, permission indirection, device permission tables.
 */

import type { SmmuFeatures } from '../description.ts';
import { POW2 } from '../pow2.ts';
import { ADDRESS_WIDTHS, TG0_GRANULES } from '../stage2-walk.ts';
import { Regime, stage2StartFits, stage2StartLevel, startTableSize } from '../table-walk.ts';
import { below, join } from '../word64.ts';

/** Bytes of an STE. */
export const STE_SIZE = 64;

/** What a legal STE does with its stream. */
export const SteKind = { illegal: 0, abort: 1, bypass: 2, stage1: 3, stage2: 4, nested: 5 } as const;
export type SteKind = (typeof SteKind)[keyof typeof SteKind];

/** STE.S1DSS: what a transaction without a SubstreamID does when there are substreams. */
export const S1DSS_TERMINATE = 0;
export const S1DSS_BYPASS = 1;
export const S1DSS_SUBSTREAM0 = 2;

/** q0 */
const V = 1;
const CONFIG_TRANSLATE_OR_BYPASS = 4;
/** Lower word of q1. */
const S1STALLD = 1 << 27;
/** Upper word of q2: S2 fields start at bit 32. */
const S2AA64 = 1 << 19;
const S2ENDI = 1 << 20;
const S2AFFD = 1 << 21;
const S2HD = 1 << 23;
const S2PTW = 1 << 22;
const S2HA = 1 << 24;
const S2S = 1 << 25;
const S2R = 1 << 26;

/** STE.S1Fmt: log2 of the CDs in a leaf of a two-level table. */
const LEAF_CDS: readonly number[] = [0, 6, 10, 0];

/** STE.EATS: what ATS may do for the stream. */
export const Eats = { off: 0, full: 1, splitStage: 2 } as const;

/** A decoded STE. Reused. */
export class Ste {
  /** The entry as read: q0 to q7 as (lo, hi). */
  readonly words: Int32Array = new Int32Array(16);
  decoded = false;
  kind: SteKind = SteKind.illegal;
  /** Why the entry is ILLEGAL, for people; empty when it is legal. */
  illegal = '';
  /** VMID that tags the stream's TLB entries: S2VMID, or 0 on an SMMU without stage 2. */
  vmid = 0;
  /** Physical address of the CD, or of the table of CDs. */
  contextPointer = 0;
  /** Log2 of the number of CDs, 0 where substreams are not supported. */
  contextLog2 = 0;
  substreamDefault = 0;
  /** Log2 of the CDs in a leaf of a two-level table; 0 for one linear table. */
  contextSplit = 0;
  /** S1STALLD: CDs of the stream must not ask for stalls. */
  stallDisabled = false;
  /** EATS; `off` where there is no ATS. */
  ats = 0;
  /** Stage-2 translation. */
  readonly stage2: Regime = new Regime();
  /** S2R: stage-2 faults are recorded. */
  stage2Records = false;
  /** S2S: stage-2 faults stall. */
  stage2Stalls = false;
}

/** Whether stage 1 is on, with or without a stage 2 below it. */
export function walksStage1(ste: Ste): boolean {
  return ste.kind === SteKind.stage1 || ste.kind === SteKind.nested;
}

/** Decodes `ste.words` as an SMMU with these features does. */
export function decodeSte(ste: Ste, smmu: SmmuFeatures): void {
  const w = ste.words;
  const config = (w[0]! >>> 1) & 7;
  ste.decoded = true;
  ste.kind = SteKind.illegal;
  ste.illegal = '';
  ste.vmid = smmu.stage2 ? w[4]! & 0xffff : 0;
  ste.contextLog2 = smmu.ssidBits === 0 ? 0 : w[1]! >>> 27;
  ste.ats = smmu.ats ? (w[2]! >>> 28) & 3 : Eats.off;
  if (ste.ats === 3) ste.ats = Eats.off;
  if ((w[0]! & V) === 0) {
    ste.illegal = 'V is 0';
    return;
  }
  if ((config & CONFIG_TRANSLATE_OR_BYPASS) === 0) {
    ste.kind = SteKind.abort;
    return;
  }
  if (config === 4) {
    ste.kind = SteKind.bypass;
    return;
  }
  if ((config & 1) !== 0) ste.illegal = stage1Illegal(ste, smmu, config);
  if (ste.illegal === '' && (config & 2) !== 0) ste.illegal = stage2Illegal(ste, smmu);
  if (ste.illegal === '') ste.illegal = atsIllegal(ste, config);
  if (ste.illegal === '') ste.kind = config === 5 ? SteKind.stage1 : config === 6 ? SteKind.stage2 : SteKind.nested;
}

function atsIllegal(ste: Ste, config: number): string {
  const stalls = (config & 2) !== 0 && (ste.words[5]! & S2S) !== 0;
  if (ste.ats === Eats.splitStage && (config !== 7 || stalls))
    return 'EATS selects split-stage ATS without nesting, or with stalls';
  if (ste.ats === Eats.full && stalls) return 'EATS is 1 but stage 2 stalls';
  return '';
}

function vmidIllegal(ste: Ste, smmu: SmmuFeatures): boolean {
  return smmu.stage2 && !smmu.vmid16 && ste.vmid > 0xff;
}

function stage1Illegal(ste: Ste, smmu: SmmuFeatures, config: number): string {
  const w = ste.words;
  if (!smmu.stage1) return 'Config selects stage 1, which the SMMU does not have';
  // STRW is ignored where stage 2 is on.
  if (config === 5 && ((w[2]! >>> 30) & 1) !== 0) return 'STRW is reserved';
  ste.stallDisabled = (w[2]! & S1STALLD) !== 0;
  if (ste.stallDisabled && smmu.stallModel !== 'both') return `S1STALLD is 1 but STALL_MODEL is ${stallCode(smmu)}`;
  if (ste.contextLog2 > smmu.ssidBits) return 'S1CDMax exceeds SSIDSIZE';
  const format = (w[0]! >>> 4) & 3;
  ste.contextSplit = ste.contextLog2 === 0 ? 0 : LEAF_CDS[format]!;
  if (ste.contextSplit !== 0 && !smmu.twoLevelCdTable) return 'S1Fmt selects a two-level CD table';
  ste.contextPointer = join(w[1]! & 0x00ffffff, w[0]! & ~0x3f);
  if (ste.contextPointer >= POW2[smmu.oas]!) return 'S1ContextPtr exceeds the output address size';
  if (ste.contextLog2 !== 0) {
    const { contextLog2, contextSplit } = ste;
    const size = contextSplit === 0 ? 64 * POW2[contextLog2]! : 8 * POW2[Math.max(0, contextLog2 - contextSplit)]!;
    ste.contextPointer -= below(ste.contextPointer, Math.max(64, size));
  }
  if (vmidIllegal(ste, smmu)) return 'S2VMID exceeds 8 bits';
  ste.substreamDefault = w[2]! & 3;
  return '';
}

function stage2Illegal(ste: Ste, smmu: SmmuFeatures): string {
  const w = ste.words;
  if (!smmu.stage2) return 'Config selects stage 2, which the SMMU does not have';
  const vtcr = w[5]!;
  ste.stage2Stalls = (vtcr & S2S) !== 0;
  if (ste.stage2Stalls && smmu.stallModel === 'terminate') return 'S2S is 1 but STALL_MODEL is 1';
  if (!ste.stage2Stalls && smmu.stallModel === 'stall') return 'S2S is 0 but STALL_MODEL is 2';
  if ((vtcr & S2AA64) === 0) return 'S2AA64 is 0: AArch32 tables are not supported';
  const { hardwareUpdate } = smmu;
  if (hardwareUpdate === 'none' && (vtcr & (S2HA | S2HD)) !== 0) return 'S2HA or S2HD without hardware flag update';
  if (hardwareUpdate !== 'dirty' && (vtcr & S2HD) !== 0) return 'S2HD without hardware update of the dirty state';
  if ((vtcr & S2ENDI) !== 0) return 'S2ENDI is 1: big-endian tables are not supported';
  const granule = TG0_GRANULES[(vtcr >>> 14) & 3]!;
  if (!smmu.granules.includes(granule)) return 'S2TG selects a granule that is not supported';
  const t0sz = vtcr & 0x3f;
  const most = smmu.smallTables ? (granule === 16 ? 47 : 48) : 39;
  if (t0sz > most || t0sz < Math.max(granule === 16 ? 12 : 16, 64 - smmu.oas)) return 'S2T0SZ is out of range';
  const level = stage2StartLevel(granule, (vtcr >>> 6) & 3, smmu.smallTables);
  if (level < 0 || !stage2StartFits(granule, level, 64 - t0sz)) return 'S2SL0 and S2T0SZ do not fit each other';
  if (vmidIllegal(ste, smmu)) return 'S2VMID exceeds 8 bits';
  const wide = granule === 16 && smmu.oas === 52;
  const outputBits = Math.min(ADDRESS_WIDTHS[(vtcr >>> 16) & 7]!, smmu.oas, wide ? 52 : 48);
  const base = join(w[7]! & 0x000fffff, w[6]! & ~0xf);
  if (base >= POW2[outputBits]!) return 'S2TTB exceeds the output address size';
  const regime = ste.stage2;
  regime.stage = 2;
  regime.granule = granule;
  regime.inputBits = 64 - t0sz;
  regime.startLevel = level;
  regime.outputBits = outputBits;
  regime.base = base - below(base, startTableSize(granule, level, regime.inputBits));
  regime.ignoreAccessFlag = (vtcr & S2AFFD) !== 0;
  regime.flatPermissions = false;
  regime.setsAccessFlag = (vtcr & S2HA) !== 0;
  // HD without HA behaves as neither.
  regime.setsDirty = regime.setsAccessFlag && (vtcr & S2HD) !== 0;
  regime.wide = wide;
  regime.protectsWalks = (vtcr & S2PTW) !== 0;
  ste.stage2Records = (vtcr & S2R) !== 0;
  return '';
}

function stallCode(smmu: SmmuFeatures): number {
  return smmu.stallModel === 'both' ? 0 : smmu.stallModel === 'terminate' ? 1 : 2;
}
