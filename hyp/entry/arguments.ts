/** Arguments as a called function reads them. */

import { getNumber } from '#hypercall-abi';
import type { Hyp } from '../context.ts';

const TWO32 = 4294967296;

/** Low 32 bits of x[n], unsigned. */
export function u32(h: Hyp, n: number): number {
  return h.x[2 * n]! >>> 0;
}

/** Low 32 bits of x[n], signed. */
export function i32(h: Hyp, n: number): number {
  return h.x[2 * n]!;
}

/** x[n]. */
export function u64(h: Hyp, n: number): number {
  return getNumber(h.x, n);
}

/** Whether x[n] is a multiple of x[m], where x[m] is meant to be a power of two (upstream's IS_ALIGNED on 64 bits). */
export function isAligned(x: Int32Array, n: number, m: number): boolean {
  const lo = x[2 * m]!;
  const maskLo = (lo - 1) | 0;
  const maskHi = lo === 0 ? (x[2 * m + 1]! - 1) | 0 : x[2 * m + 1]!;
  return (x[2 * n]! & maskLo) === 0 && (x[2 * n + 1]! & maskHi) === 0;
}

/** Whether x[a] + x[b] does not fit 64 bits. */
export function wraps64(x: Int32Array, a: number, b: number): boolean {
  const carry = (x[2 * a]! >>> 0) + (x[2 * b]! >>> 0) >= TWO32 ? 1 : 0;
  return (x[2 * a + 1]! >>> 0) + (x[2 * b + 1]! >>> 0) + carry >= TWO32;
}
