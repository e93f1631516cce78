/**
 * The general-purpose registers x0..x7 of one hypercall: an Int32Array of 16 words, x[n] as (lo, hi) at 2n and 2n+1.
 * They carry one call across and are not part of any state. Arithmetic that must wrap or must not overflow at 64 bits
 * is done here on word pairs, exactly.
 */

export const REGISTER_COUNT = 8;

const TWO32 = 4294967296;
const TWO53 = 9007199254740992;

/** Fresh registers, all zero. */
export function makeRegisters(): Int32Array {
  return new Int32Array(2 * REGISTER_COUNT);
}

/** Copy all registers. A loop: for so few words the typed array's own way takes longer. */
export function copyRegisters(to: Int32Array, from: Int32Array): void {
  for (let i = 0; i < 2 * REGISTER_COUNT; i++) to[i] = from[i]!;
}

/** x[n] as an unsigned number; exact below 2^53, and for page-aligned values up to 2^64. */
export function getNumber(x: Int32Array, n: number): number {
  const lo = x[2 * n]! >>> 0;
  const hi = x[2 * n + 1]!;
  // Most values fit one word, and then stay integers to the compiler.
  return hi === 0 ? lo : (hi >>> 0) * TWO32 + lo;
}

/** Low 32 bits of x[n], unsigned: how a u32 argument is read (the upper half is ignored). */
export function getU32(x: Int32Array, n: number): number {
  return x[2 * n]! >>> 0;
}

/** x[n] as a signed 64-bit number (exact for |value| < 2^53). */
export function getSigned(x: Int32Array, n: number): number {
  const lo = x[2 * n]! >>> 0;
  const hi = x[2 * n + 1]!;
  return hi === 0 ? lo : hi * TWO32 + lo;
}

/** Set x[n] to an integer: negative values become their two's complement at 64 bits. |value| < 2^53 or page aligned. */
export function setNumber(x: Int32Array, n: number, value: number): void {
  // A pointer-sized result almost always fits one word: spare it the division.
  if (value >= 0 && value < TWO32) {
    x[2 * n] = value;
    x[2 * n + 1] = 0;
    return;
  }
  x[2 * n] = value;
  x[2 * n + 1] = Math.floor(value / TWO32);
}

/** x[n] as 0x-prefixed hexadecimal. */
export function hexRegister(x: Int32Array, n: number): string {
  const hi = x[2 * n + 1]! >>> 0;
  const lo = x[2 * n]! >>> 0;
  return hi === 0 ? `0x${lo.toString(16)}` : `0x${hi.toString(16)}${lo.toString(16).padStart(8, '0')}`;
}

/** Set x[n] from text or a bigint, modulo 2^64. For edges only (parsing). */
export function setBig(x: Int32Array, n: number, value: bigint): void {
  x[2 * n] = Number(BigInt.asIntN(32, value));
  x[2 * n + 1] = Number(BigInt.asIntN(32, value >> 32n));
}

/** x[n] as an unsigned bigint. For edges only (printing). */
export function getBig(x: Int32Array, n: number): bigint {
  return (BigInt(x[2 * n + 1]! >>> 0) << 32n) | BigInt(x[2 * n]! >>> 0);
}

/**
 * The product of x[a] and x[b] as a number, or -1 when it does not fit 64 bits. A product of 2^53 and more is rounded,
 * which cannot matter to a caller that goes on to compare it with an address range below 2^52.
 */
export function product(x: Int32Array, a: number, b: number): number {
  const quick = getNumber(x, a) * getNumber(x, b);
  return quick < TWO53 || productFits(x, a, b) ? quick : -1;
}

function productFits(x: Int32Array, a: number, b: number): boolean {
  return multiplyFits(x[2 * a + 1]! >>> 0, x[2 * a]! >>> 0, x[2 * b + 1]! >>> 0, x[2 * b]! >>> 0);
}

/** Whether (ah:al) * (bh:bl) fits 64 bits; all four words unsigned. */
function multiplyFits(ah: number, al: number, bh: number, bl: number): boolean {
  if (ah !== 0 && bh !== 0) return false;
  // Upper words cross once: what they add to bits 63:32 must fit together with the carry of al * bl.
  const cross = ah * bl + bh * al;
  const mid = (al >>> 16) * (bl & 0xffff) + (((al & 0xffff) * (bl & 0xffff)) >>> 16);
  const mid2 = (al & 0xffff) * (bl >>> 16) + (mid % 65536);
  const high = (al >>> 16) * (bl >>> 16) + Math.floor(mid / 65536) + Math.floor(mid2 / 65536);
  return cross + high < TWO32;
}

/** Whether x[n] + size reaches 2^64 (so that the sum wraps). `size` is a {@link product}, below 2^64. */
export function additionWraps(x: Int32Array, n: number, a: number, b: number, size: number): boolean {
  // Far from 2^64 the rounded sum is decisive; near it the words are added exactly.
  const sum = getNumber(x, n) + size;
  return sum >= 18446744073709500000 && (sum > 18446744073709600000 || exactSumWraps(x, n, a, b));
}

function exactSumWraps(x: Int32Array, n: number, a: number, b: number): boolean {
  const [sizeHi, sizeLo] = exactProduct(x, a, b);
  const lo = (x[2 * n]! >>> 0) + sizeLo;
  const hi = (x[2 * n + 1]! >>> 0) + sizeHi + (lo >= TWO32 ? 1 : 0);
  return hi >= TWO32;
}

/** x[a] * x[b] modulo 2^64 as unsigned words (hi, lo). */
function exactProduct(x: Int32Array, a: number, b: number): readonly [number, number] {
  const p = BigInt.asUintN(64, getBig(x, a) * getBig(x, b));
  return [Number(p >> 32n), Number(p & 0xffffffffn)];
}
