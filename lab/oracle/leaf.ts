/**
 * Leaves of translation tables: what a descriptor's attributes mean, what a mapping with given protection must mean, and
 * a hash by which two sets of leaves are compared without walking them.
 *
 * The attributes are compared field by field: access, memory type, shareability, access flag, nG, execute-never. Bits
 * that no mapping of ours may have (contiguous, DBM, software bits, and in a block the address bits below its size, where
 * nT is) make one further bit.
 */

import { Prot } from '#hypercall-abi';

const ODD = 1 << 12;
/** Bits of the low word between the page offset and the size of a leaf, by level. */
const ODD_LO = [0, 0x3ffff000, 0x1ff000, 0] as const;
/** DBM, contiguous, and everything above UXN. */
const ODD_HI = (1 << 19) | (1 << 20) | (-1 << 23);

/** The attributes of a leaf descriptor in 13 bits: low word bits 11:2, XN in bits 11:10, {@link ODD}. */
export function leafMeaning(level: number, hi: number, lo: number): number {
  const odd = (lo & ODD_LO[level]!) !== 0 || (hi & ODD_HI) !== 0 ? ODD : 0;
  return ((lo >>> 2) & 0x3ff) | (((hi >>> 21) & 3) << 10) | odd;
}

const AF = 1 << 8;
const NOT_GLOBAL = 1 << 9;
const SH_INNER = 3 << 6;
const SH_OUTER = 2 << 6;
const XN = 3 << 10;
/** Index into MAIR: 0 normal non-cacheable, 1 write-back, 2 device. */
const S1_ATTRIBUTE = { uncached: 0, cached: 1, device: 2 } as const;
const S1_UNPRIVILEGED = 1 << 4;
const S1_READ_ONLY = 1 << 5;
const S2_ATTRIBUTE = { uncached: 5, cached: 15, device: 1 } as const;
const S2_READ = 1 << 4;
const S2_WRITE = 1 << 5;

/** What {@link leafMeaning} must be for a mapping made with those protection bits. */
export function expectedMeaning(stage: number, prot: number): number {
  const cached = (prot & Prot.cache) !== 0;
  const attribute = stage === 1 ? S1_ATTRIBUTE : S2_ATTRIBUTE;
  let meaning = AF | (cached ? SH_INNER : SH_OUTER);
  meaning |= (prot & Prot.mmio) !== 0 ? attribute.device : cached ? attribute.cached : attribute.uncached;
  if ((prot & Prot.noexec) !== 0) meaning |= XN;
  if (stage === 2) {
    return meaning | ((prot & Prot.read) !== 0 ? S2_READ : 0) | ((prot & Prot.write) !== 0 ? S2_WRITE : 0);
  }
  // Stage 1 knows no write-only mapping.
  if ((prot & Prot.write) === 0) meaning |= S1_READ_ONLY;
  if ((prot & Prot.priv) === 0) meaning |= S1_UNPRIVILEGED;
  return meaning | NOT_GLOBAL;
}

/** Whether a leaf with that meaning lets a device write. */
export function isWritable(stage: number, meaning: number): boolean {
  return stage === 1 ? (meaning & S1_READ_ONLY) === 0 : (meaning & S2_WRITE) !== 0;
}

/** Whether a leaf with that meaning belongs to one ASID only (stage 1). */
export function isNotGlobal(meaning: number): boolean {
  return (meaning & NOT_GLOBAL) !== 0;
}

/**
 * Hash of one leaf in two lanes. Sets of leaves are compared by the sums of their members' hashes; `second` picks the lane.
 */
export function leafHash(
  iovaPage: number,
  level: number,
  targetPage: number,
  meaning: number,
  second: boolean,
): number {
  const iovaHigh = (iovaPage / 4294967296) | 0;
  const targetHigh = (targetPage / 4294967296) | 0;
  const seed = second ? 0x27d4eb2f : 0x165667b1;
  let h = Math.imul((iovaPage | 0) ^ seed, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15) ^ (targetPage | 0), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13) ^ (iovaHigh | (level << 8) | (targetHigh << 12)), 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16) ^ meaning, 0x27d4eb2f);
  return h ^ (h >>> 15);
}
