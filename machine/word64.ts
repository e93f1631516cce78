/**
 * 64-bit values as (hi, lo) int32 pairs, and addresses as JS numbers. An address is at most 52 bits wide, or, for the
 * upper half of a device's address space, a negative number: the sign-extended 64-bit address. Both are exact.
 */

const TWO32 = 4294967296;

/** `value` modulo a power of two, for numbers of any size and sign: `%` on doubles is slow. */
export function below(value: number, power: number): number {
  return value - Math.floor(value / power) * power;
}

/** The unsigned number that a pair of int32 words stands for. Exact up to 2^53. */
export function join(hi: number, lo: number): number {
  return hi === 0 ? lo >>> 0 : (hi >>> 0) * TWO32 + (lo >>> 0);
}

/** The number that a pair of int32 words stands for when bit 63 is a sign. Exact from -2^53 to 2^53. */
export function joinSigned(hi: number, lo: number): number {
  return hi === 0 ? lo >>> 0 : (hi | 0) * TWO32 + (lo >>> 0);
}

/** Upper 32 bits of an address, as int32. */
export function hiOf(value: number): number {
  return value >= 0 && value < TWO32 ? 0 : Math.floor(value / TWO32) | 0;
}

/** Lower 32 bits of an address, as int32. */
export function loOf(value: number): number {
  return value | 0;
}

/** A 64-bit value as 16 hex digits after `0x`, for people. */
export function hex64(hi: number, lo: number): string {
  return `0x${(hi >>> 0).toString(16).padStart(8, '0')}${(lo >>> 0).toString(16).padStart(8, '0')}`;
}

/** An address in hex. A negative one is shown as the 64-bit address that it sign-extends to. */
export function hex(value: number): string {
  return value < 0 ? hex64(hiOf(value), loOf(value)) : `0x${value.toString(16)}`;
}
