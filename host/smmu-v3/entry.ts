/**
 * Entries (STEs and CDs) as the driver handles them: 16 int32s, eight 64-bit words, lower half first. The driver keeps
 * addresses to 52 bits, which is less than the fields have.
 */

import { structures } from '#machine/host-view';

/** An STE or a CD: word `w` is `entry[2w]` (lower half) and `entry[2w + 1]`. */
export type Entry = Int32Array;

export const ENTRY_INTS = 16;

/** Bits 51:32 of an address. */
const ADDRESS_HI = 0x000fffff;

/** Puts bits 51 and down of a 64-bit address into a field. */
export function putAddress(entry: Entry, field: structures.Field, hi: number, lo: number): void {
  structures.setWord(entry, field, hi & ADDRESS_HI, lo);
}

/** Removes the bits of an address field that the driver does not use. */
export function narrowAddress(mask: Entry, field: structures.Field): void {
  mask[2 * field.word + 1]! &= ~field.maskHi | ADDRESS_HI;
}

/** `into |= bits` */
export function join(into: Entry, bits: Entry): void {
  for (let i = 0; i < into.length; i++) into[i]! |= bits[i]!;
}
