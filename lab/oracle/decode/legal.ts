/**
 * When a stream table entry or a context descriptor is ILLEGAL (C_BAD_STE, C_BAD_CD): the architecture's conditions,
 * in the order it lists them, answered with a sentence. Left out: secure streams, MPAM, permission overlays, DPT,
 * and 52-bit addresses with 4K and 16K granules (DS).
 */
import { cdFlag, cdGranuleBits0, cdGranuleBits1, cdIps, cdTtb, cdValid } from './cd.ts';
import { SIZE_BITS } from './fields.ts';
import { hasGranule, type SmmuCapabilities } from './idr.ts';
import {
  steConfig,
  steEats,
  steS1CdMax,
  steS1ContextPtr,
  steS1Fmt,
  steS2Flag,
  steS2GranuleBits,
  steS2Ps,
  steS2Sl0,
  steS2T0sz,
  steS2Ttb,
  steS2Vmid,
  steValid,
} from './ste.ts';

/** Why the STE in the 16 int32s from `words[at]` is ILLEGAL on this SMMU; null when it is legal. */
export function steIllegal(words: ArrayLike<number>, at: number, smmu: SmmuCapabilities): string | null {
  const lo0 = words[at]!;
  const hi0 = words[at + 1]!;
  const lo1 = words[at + 2]!;
  if (!steValid(lo0)) return 'V is 0';
  const config = steConfig(lo0);
  if (config < 4) return null;
  const stage1 = (config & 1) !== 0;
  const stage2 = (config & 2) !== 0;
  if (stage1 && !smmu.stage1) return 'Config asks for stage 1, which the SMMU has not';
  if (stage2 && !smmu.stage2) return 'Config asks for stage 2, which the SMMU has not';
  const stallsStage2 = stage2 && steS2Flag(words[at + 5]!, 57);
  if (smmu.ats && config !== 4) {
    const eats = steEats(lo1);
    if (eats === 2 && (config !== 7 || stallsStage2 || smmu.noSplitStageAts)) return 'EATS asks for split-stage ATS';
    if (eats === 1 && stallsStage2) return 'EATS with a stalling stage 2';
  }
  const world = config === 5 && smmu.el2Worlds ? lo1 >>> 30 : 0;
  if ((world & 1) !== 0) return 'STRW is reserved';
  if (stage1) {
    if ((lo1 & 0x08000000) !== 0 && smmu.stallModel !== 0) return 'S1STALLD without a choice of stall model';
    const cdMax = steS1CdMax(hi0);
    if (smmu.ssidBits !== 0 && cdMax > smmu.ssidBits) return 'S1CDMax is above SSIDSIZE';
    const twoLevels = steS1Fmt(lo0) === 1 || steS1Fmt(lo0) === 2;
    if (smmu.ssidBits !== 0 && cdMax !== 0 && twoLevels && !smmu.twoLevelCdTables) return 'S1Fmt asks for two levels';
    if (steS1ContextPtr(hi0, lo0) >= 2 ** (stage2 ? smmu.iasBits : smmu.oasBits)) return 'S1ContextPtr is out of range';
  }
  if (stage2) {
    const reason = stage2Illegal(words, at, smmu);
    if (reason !== null) return reason;
  }
  const vmidUsed = (config & 3) !== 0 && smmu.stage2 && world === 0;
  if (vmidUsed && !smmu.vmid16 && steS2Vmid(words[at + 4]!) > 0xff) return 'S2VMID has more than 8 bits';
  return null;
}

function stage2Illegal(words: ArrayLike<number>, at: number, smmu: SmmuCapabilities): string | null {
  const hi2 = words[at + 5]!;
  const lo3 = words[at + 6]!;
  const flag = (bit: number): boolean => steS2Flag(hi2, bit);
  if (flag(57) && smmu.stallModel === 1) return 'S2S on an SMMU that only terminates';
  if (!flag(57) && smmu.stallModel === 2) return 'S2S is 0 on an SMMU that only stalls';
  if (!(flag(51) ? smmu.aarch64 : smmu.aarch32)) return 'S2AA64 asks for a table format the SMMU has not';
  if ((flag(56) || flag(55)) && smmu.httu === 0) return 'S2HA or S2HD without hardware updates';
  if (flag(55) && smmu.httu === 1) return 'S2HD without dirty state updates';
  if (flag(59) && smmu.httu === 3 && !flag(56)) return 'S2HAFT without S2HA';
  const granule = steS2GranuleBits(hi2);
  if (granule === 0 || !hasGranule(smmu, granule)) return 'S2TG is a granule the SMMU has not';
  const ttb = steS2Ttb(words[at + 7]!, lo3);
  if (ttb >= 2 ** outputBits(steS2Ps(hi2), smmu, granule)) return 'S2TTB is above S2PS';
  const t0sz = steS2T0sz(hi2);
  const least = Math.max(granule === 16 ? 12 : 16, 64 - smmu.iasBits);
  if (t0sz < least || t0sz > largestTxsz(smmu, granule)) return `S2T0SZ is out of range (${least} and up)`;
  if (stage2StartLevel(steS2Sl0(hi2, lo3), t0sz, granule, smmu.smallTables) === null) {
    return 'S2SL0 does not go with S2T0SZ';
  }
  if (!endianSupported(flag(52), smmu)) return 'S2ENDI is an endianness the SMMU has not';
  return null;
}

/**
 * The level at which stage 2 starts, from {S2SL0_2, S2SL0}, S2T0SZ and the granule; null when they do not go together.
 * Up to 16 tables may be concatenated at the start level.
 */
export function stage2StartLevel(sl0: number, t0sz: number, granuleBits: number, smallTables: boolean): number | null {
  if (sl0 > 3) return null;
  const level = granuleBits === 12 ? [2, 1, 0, 3][sl0]! : 3 - sl0;
  if (granuleBits !== 12 && level === 0) return null;
  if (granuleBits === 12 && level === 3 && !smallTables) return null;
  const resolved = 64 - t0sz - (granuleBits + (3 - level) * (granuleBits - 3));
  return resolved >= 1 && resolved <= granuleBits - 3 + 4 ? level : null;
}

/** Why the CD in the 16 int32s from `words[at]` is ILLEGAL, reached through the STE at `ste[steAt]`; null when legal. */
export function cdIllegal(
  words: ArrayLike<number>,
  at: number,
  ste: ArrayLike<number>,
  steAt: number,
  smmu: SmmuCapabilities,
): string | null {
  const lo0 = words[at]!;
  const hi0 = words[at + 1]!;
  const flag = (bit: number): boolean => cdFlag(hi0, lo0, bit);
  if (!cdValid(lo0)) return 'V is 0';
  if (flag(44) && (ste[steAt + 2]! & 0x08000000) !== 0) return 'S although the STE forbids stalls';
  if (!flag(46) && smmu.abortOnly) return 'A is 0 on an SMMU that only aborts';
  if (flag(44) && smmu.stallModel === 1) return 'S on an SMMU that only terminates';
  if (!flag(44) && smmu.stallModel === 2) return 'S is 0 on an SMMU that only stalls';
  if (!(flag(14) && flag(30)) && !endianSupported(flag(15), smmu)) return 'ENDI is an endianness the SMMU has not';
  if (!(flag(41) ? smmu.aarch64 : smmu.aarch32)) return 'AA64 asks for a table format the SMMU has not';
  if (flag(41) && steConfig(ste[steAt]!) === 7 && !steS2Flag(ste[steAt + 5]!, 51)) {
    return 'AA64 above an AArch32 stage 2';
  }
  if ((flag(43) || flag(42)) && smmu.httu === 0) return 'HA or HD without hardware updates';
  if (flag(42) && smmu.httu === 1) return 'HD without dirty state updates';
  if ((words[at + 2]! & 8) !== 0 && smmu.httu === 3 && !flag(43)) return 'HAFT without HA';
  if (!smmu.asid16 && hi0 >>> 24 !== 0) return 'ASID has more than 8 bits';
  const ips = cdIps(hi0);
  if (!flag(14)) {
    const reason = halfIllegal('0', lo0 & 63, cdGranuleBits0(lo0), cdTtb(words[at + 3]!, words[at + 2]!), ips, smmu);
    if (reason !== null) return reason;
  }
  if (flag(30)) return null;
  return halfIllegal('1', (lo0 >>> 16) & 63, cdGranuleBits1(lo0), cdTtb(words[at + 5]!, words[at + 4]!), ips, smmu);
}

function halfIllegal(
  half: string,
  txsz: number,
  granule: number,
  ttb: number,
  ips: number,
  smmu: SmmuCapabilities,
): string | null {
  if (granule === 0 || !hasGranule(smmu, granule)) return `TG${half} is a granule the SMMU has not`;
  const least = granule === 16 && smmu.largeVa ? 12 : 16;
  if (txsz < least || txsz > largestTxsz(smmu, granule)) return `T${half}SZ is out of range (${least} and up)`;
  return ttb >= 2 ** outputBits(ips, smmu, granule) ? `TTB${half} is above IPS` : null;
}

/** Effective size of the addresses a stage makes: IPS or S2PS, capped by OAS, and by 48 bits below the 64K granule. */
export function outputBits(encoded: number, smmu: SmmuCapabilities, granuleBits: number): number {
  return Math.min(SIZE_BITS[encoded]!, smmu.oasBits, granuleBits === 16 ? 52 : 48);
}

function largestTxsz(smmu: SmmuCapabilities, granuleBits: number): number {
  if (!smmu.smallTables) return 39;
  return granuleBits === 16 ? 47 : 48;
}

function endianSupported(big: boolean, smmu: SmmuCapabilities): boolean {
  return smmu.tableEndianness === 0 || (smmu.tableEndianness === 3) === big;
}
