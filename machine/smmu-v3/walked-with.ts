/**
 * What a TLB entry keeps of the walk that made it, as bits of its first word: the fields of the CD or STE, and what the
 * tables above it forbid. A TLB entry is the result of a walk. It is used with these, whatever the CD or STE says by then:
 * the fields that TLBs may hold are no longer looked up.
 */

import { ADDRESS_WIDTHS } from '../stage2-walk.ts';
import type { Regime } from '../table-walk.ts';

/** A stage-1 entry whose output is an IPA. */
export const NESTED = 1 << 18;
/** Its descriptor holds a 52-bit address. */
export const WIDE = 1 << 19;
/** What the tables above it forbid: a leaf's permission is cached after they are combined. */
const LIMITS_SHIFT = 20;
export const NO_ACCESS_FLAG = 1 << 22;
const FLAT = 1 << 23;
const SETS_ACCESS_FLAG = 1 << 24;
const SETS_DIRTY = 1 << 25;
const OUTPUT_SHIFT = 26;
const PROTECTS_WALKS = 1 << 29;
export const NO_TOP_BYTE = 1 << 30;

/** The fields of a CD or STE that decide a walk, but for its start and its input size. */
export function walkedWith(regime: Regime): number {
  return (
    (regime.nested ? NESTED : 0) |
    (regime.wide ? WIDE : 0) |
    (regime.ignoreAccessFlag ? NO_ACCESS_FLAG : 0) |
    (regime.flatPermissions ? FLAT : 0) |
    (regime.setsAccessFlag ? SETS_ACCESS_FLAG : 0) |
    (regime.setsDirty ? SETS_DIRTY : 0) |
    (ADDRESS_WIDTHS.indexOf(regime.outputBits) << OUTPUT_SHIFT) |
    (regime.protectsWalks ? PROTECTS_WALKS : 0) |
    (regime.ignoresTopByte ? NO_TOP_BYTE : 0)
  );
}

/** Fills the fields of {@link walkedWith} back into `regime`. */
export function walkedRegime(bits: number, regime: Regime): void {
  regime.nested = (bits & NESTED) !== 0;
  regime.wide = (bits & WIDE) !== 0;
  regime.ignoreAccessFlag = (bits & NO_ACCESS_FLAG) !== 0;
  regime.flatPermissions = (bits & FLAT) !== 0;
  regime.setsAccessFlag = (bits & SETS_ACCESS_FLAG) !== 0;
  regime.setsDirty = (bits & SETS_DIRTY) !== 0;
  regime.outputBits = ADDRESS_WIDTHS[(bits >>> OUTPUT_SHIFT) & 7]!;
  regime.protectsWalks = (bits & PROTECTS_WALKS) !== 0;
  regime.ignoresTopByte = (bits & NO_TOP_BYTE) !== 0;
}

/** Limits of the tables above an entry: bits of `TableLimit`. */
export function underLimits(limits: number): number {
  return limits << LIMITS_SHIFT;
}

/** The limits in such bits. */
export function limitsOf(bits: number): number {
  return (bits >>> LIMITS_SHIFT) & 3;
}
