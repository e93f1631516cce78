/**
 * A CPU's stage-2 translation of an EL1 access: VTCR_EL2 and VTTBR_EL2 decoded, then the walker. On a PE a start level
 * that does not fit the input size, or a start table above the output size, is a fault of the access (at level 0), not
 * a configuration error as in an SMMU.
 */

import type { PhysicalMemory } from './memory/index.ts';
import { POW2 } from './pow2.ts';
import {
  Regime,
  stage2StartFits,
  stage2StartLevel,
  startTableSize,
  WalkFault,
  WalkResult,
  walk,
} from './table-walk.ts';
import { below, join } from './word64.ts';

/** An EL1 access that stage 2 did not let through. */
export interface Stage2Fault {
  readonly ipa: number;
  readonly write: boolean;
  readonly kind: 'translation' | 'permission' | 'access' | 'address-size';
  /** Level of the table at which it ended. */
  readonly level: number;
}

/** Widths in bits that PS, IPS and OAS fields encode; 56 counts as 52 here. */
export const ADDRESS_WIDTHS: readonly number[] = [32, 36, 40, 42, 44, 48, 52, 52];
/** Log2 of the granule that TG0 encodes; 0 is reserved. */
export const TG0_GRANULES: readonly number[] = [12, 16, 14, 0];

const regime = new Regime();
const result = new WalkResult();

/**
 * Translates an IPA through the tables at VTTBR_EL2.
 * @returns the physical address, or the fault
 */
export function walkStage2(
  memory: PhysicalMemory,
  vttbrHi: number,
  vttbrLo: number,
  vtcrLo: number,
  ipa: number,
  write: boolean,
): number | Stage2Fault {
  if (!decodeVtcr(vttbrHi, vttbrLo, vtcrLo)) return { ipa, write, kind: 'translation', level: 0 };
  if (regime.base >= POW2[regime.outputBits]!) return { ipa, write, kind: 'address-size', level: 0 };
  walk(memory, regime, ipa, write, result);
  switch (result.fault) {
    case WalkFault.none:
      return result.pa;
    case WalkFault.access:
      return { ipa, write, kind: 'access', level: result.level };
    case WalkFault.permission:
      return { ipa, write, kind: 'permission', level: result.level };
    case WalkFault.addressSize:
      return { ipa, write, kind: 'address-size', level: result.level };
    default:
      // A table outside RAM is an external abort on a PE. It ends the access like an invalid descriptor.
      return { ipa, write, kind: 'translation', level: result.level };
  }
}

/** Fills {@link regime} from VTCR_EL2 (T0SZ, SL0, TG0, PS) and VTTBR_EL2.BADDR; false when they do not fit. */
function decodeVtcr(vttbrHi: number, vttbrLo: number, vtcrLo: number): boolean {
  const granule = TG0_GRANULES[(vtcrLo >>> 14) & 3]!;
  const t0sz = vtcrLo & 0x3f;
  if (granule === 0 || t0sz < 16 || t0sz > 39) return false;
  const level = stage2StartLevel(granule, (vtcrLo >>> 6) & 3);
  if (level < 0 || !stage2StartFits(granule, level, 64 - t0sz)) return false;
  regime.stage = 2;
  regime.granule = granule;
  regime.inputBits = 64 - t0sz;
  regime.startLevel = level;
  regime.outputBits = Math.min(48, ADDRESS_WIDTHS[(vtcrLo >>> 16) & 7]!);
  const base = join(vttbrHi & 0xffff, vttbrLo & ~1);
  regime.base = base - below(base, startTableSize(granule, level, regime.inputBits));
  return true;
}
