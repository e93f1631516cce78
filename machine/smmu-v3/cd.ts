/**
 * Context descriptors: the 64 bytes that say how stage 1 translates, decoded, and judged ILLEGAL or not. Both halves of
 * the address space are decoded. Left out, because the ID registers say they are absent: AArch32 and big-endian tables,
 * 52-bit addresses with 4K and 16K, permission indirection. MAIR is not interpreted.
 */

import type { SmmuFeatures } from '../description.ts';
import { POW2 } from '../pow2.ts';
import { ADDRESS_WIDTHS, TG0_GRANULES } from '../stage2-walk.ts';
import { Regime, stage1StartLevel, startTableSize } from '../table-walk.ts';
import { below, join } from '../word64.ts';

/** Bytes of a CD. */
export const CD_SIZE = 64;

/** Lower word of q0. */
const EPD0 = 1 << 14;
const ENDI = 1 << 15;
const EPD1 = 1 << 30;
const V = 1 << 31;
/** Upper word of q0: bits 32 and up. */
const AFFD = 1 << 3;
const TBI0 = 1 << 6;
const TBI1 = 1 << 7;
const AA64 = 1 << 9;
const HD = 1 << 10;
const HA = 1 << 11;
const S = 1 << 12;
const R = 1 << 13;
const A = 1 << 14;

/** Log2 of the granule that TG1 encodes; 0 is reserved. */
const TG1_GRANULES: readonly number[] = [0, 14, 12, 16];

/** A decoded CD. Reused. Top bytes are ignored as its halves say, also where those are not walked. */
export class Cd {
  /** The descriptor as read: q0 to q7 as (lo, hi). */
  readonly words: Int32Array = new Int32Array(16);
  /** What it was decoded as beside its words: nested[0] S1STALLD[1]; -1 before the first time. */
  decodedAs = -1;
  /** Why the descriptor is ILLEGAL, for people; empty when it is legal. */
  illegal = '';
  asid = 0;
  /** R: translation faults are recorded. */
  records = false;
  /** S: translation faults stall. */
  stalls = false;
  /** Whether each half of the address space may be walked (EPDx is 0). */
  walks0 = false;
  walks1 = false;
  readonly half0: Regime = new Regime();
  readonly half1: Regime = new Regime();
}

/**
 * Decodes `cd.words` as an SMMU with these features does.
 * @param nested its tables lie behind a stage 2
 * @param stallDisabled STE.S1STALLD
 */
export function decodeCd(cd: Cd, smmu: SmmuFeatures, nested = false, stallDisabled = false): void {
  const w = cd.words;
  const lo = w[0]!;
  const hi = w[1]!;
  cd.asid = hi >>> 16;
  cd.records = (hi & R) !== 0;
  cd.stalls = (hi & S) !== 0;
  cd.walks0 = (lo & EPD0) === 0;
  cd.walks1 = (lo & EPD1) === 0;
  cd.half0.ignoresTopByte = (hi & TBI0) !== 0;
  cd.half1.ignoresTopByte = (hi & TBI1) !== 0;
  cd.decodedAs = (nested ? 1 : 0) | (stallDisabled ? 2 : 0);
  cd.half0.nested = nested;
  cd.half1.nested = nested;
  cd.illegal = stallDisabled && cd.stalls ? 'S is 1 but the STE has S1STALLD' : illegal(cd, smmu, lo, hi);
}

function illegal(cd: Cd, smmu: SmmuFeatures, lo: number, hi: number): string {
  if ((lo & V) === 0) return 'V is 0';
  if ((hi & AA64) === 0) return 'AA64 is 0: AArch32 tables are not supported';
  if ((hi & A) === 0) return 'A is 0 but TERM_MODEL is 1';
  if (cd.stalls && smmu.stallModel === 'terminate') return 'S is 1 but STALL_MODEL is 1';
  if (!cd.stalls && smmu.stallModel === 'stall') return 'S is 0 but STALL_MODEL is 2';
  const { hardwareUpdate } = smmu;
  if (hardwareUpdate === 'none' && (hi & (HA | HD)) !== 0) return 'HA or HD without hardware flag update';
  if (hardwareUpdate !== 'dirty' && (hi & HD) !== 0) return 'HD without hardware update of the dirty state';
  if ((lo & ENDI) !== 0 && (cd.walks0 || cd.walks1)) return 'ENDI is 1: big-endian tables are not supported';
  if (!smmu.asid16 && cd.asid > 0xff) return 'ASID exceeds 8 bits';
  const outputBits = Math.min(ADDRESS_WIDTHS[hi & 7]!, smmu.oas);
  const w = cd.words;
  if (cd.walks0) {
    const why = half(cd.half0, smmu, lo & 0x3f, TG0_GRANULES[(lo >>> 6) & 3]!, outputBits, w[3]!, w[2]!, hi);
    if (why !== '') return `${why} (TTB0)`;
  }
  if (cd.walks1) {
    const why = half(cd.half1, smmu, (lo >>> 16) & 0x3f, TG1_GRANULES[(lo >>> 22) & 3]!, outputBits, w[5]!, w[4]!, hi);
    if (why !== '') return `${why} (TTB1)`;
  }
  return '';
}

/** Fills `regime` for one half; says what is ILLEGAL about it, or nothing. */
function half(
  regime: Regime,
  smmu: SmmuFeatures,
  size: number,
  granule: number,
  outputBits: number,
  ttbHi: number,
  ttbLo: number,
  q0Hi: number,
): string {
  if (!smmu.granules.includes(granule)) return 'TG selects a granule that is not supported';
  const most = smmu.smallTables ? (granule === 16 ? 47 : 48) : 39;
  if (size < (granule === 16 && smmu.vaBits === 52 ? 12 : 16) || size > most) return 'TxSZ is out of range';
  const wide = granule === 16 && smmu.oas === 52;
  const base = join(ttbHi & 0x000fffff, ttbLo & ~0xf);
  const widest = wide ? outputBits : Math.min(48, outputBits);
  if (base >= POW2[widest]!) return 'TTB exceeds the output address size';
  regime.stage = 1;
  regime.granule = granule;
  regime.inputBits = 64 - size;
  regime.startLevel = stage1StartLevel(granule, regime.inputBits);
  regime.outputBits = widest;
  regime.wide = wide;
  regime.setsAccessFlag = (q0Hi & HA) !== 0;
  // HD without HA behaves as neither.
  regime.setsDirty = regime.setsAccessFlag && (q0Hi & HD) !== 0;
  regime.base = base - below(base, startTableSize(granule, regime.startLevel, regime.inputBits));
  regime.ignoreAccessFlag = (q0Hi & AFFD) !== 0;
  // HADx is bit 1 of the word that holds TTBx.
  regime.flatPermissions = (ttbLo & 2) !== 0;
  return '';
}
