/**
 * The level-1 stream table descriptor (8 bytes) and, because it has the same shape, the level-1 context descriptor
 * (8 bytes). Architecture: Stream table descriptors, Level 1 Context Descriptor.
 */
import { bitsInPlace, fieldTable } from './fields.ts';

export const L1STD_FIELDS = fieldTable([
  ['Span', 0, 4, 0, '2^(Span-1) entries in the level-2 table; 0 and values above 11 are invalid', { 0: 'invalid' }],
  ['L2Ptr', 0, 55, 6, 'address of the level-2 array of STEs', 'address'],
]);

export const L1CD_FIELDS = fieldTable([
  ['V', 0, 0, 0, 'valid', { 0: 'invalid', 1: 'valid' }],
  ['L2Ptr', 0, 55, 12, 'address of the level-2 array of context descriptors', 'address'],
]);

/** Span[4:0]; see {@link l1stdEntries}. */
export function l1stdSpan(lo: number): number {
  return lo & 31;
}

/** How many STEs the descriptor reaches; 0 when it reaches none (Span 0, reserved, or wider than the split allows). */
export function l1stdEntries(lo: number, split: number): number {
  const span = lo & 31;
  return span === 0 || span > 11 || span > split + 1 ? 0 : 2 ** (span - 1);
}

/** Address of the level-2 table; the hardware ignores bits below the table's size. */
export function l1stdL2Ptr(hi: number, lo: number): number {
  const span = lo & 31;
  const size = 64 * 2 ** Math.max(0, span - 1);
  const address = bitsInPlace(hi, lo, 55, 6);
  return address - (address % size);
}

/** Is the level-1 context descriptor valid? */
export function l1cdValid(lo: number): boolean {
  return (lo & 1) === 1;
}

/** Address of the level-2 table of context descriptors. */
export function l1cdL2Ptr(hi: number, lo: number): number {
  return bitsInPlace(hi, lo, 55, 12);
}
