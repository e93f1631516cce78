/**
 * Buffers that the host shares with the hypervisor: pinned while a call uses them, and writable by the host on another
 * CPU all that time. Each word is fetched once; what was checked is what is used.
 */

import type { Steps } from '#machine';
import type { Hyp } from './context.ts';

/** Fetch the 32-bit word at physical address `at`, which the host may change before and after. @returns it, unsigned */
export function* fetchWord(h: Hyp, at: number): Steps<number> {
  yield { kind: 'fetch', at };
  return h.memory.read32(at) >>> 0;
}

/** Fetch the 64-bit word at physical address `at`, at once, into register n of `x`. */
export function* fetchDouble(h: Hyp, at: number, x: Int32Array, n: number): Steps<void> {
  yield { kind: 'fetchDouble', at };
  const i = h.memory.indexOf(at);
  x[2 * n] = h.memory.words[i]!;
  x[2 * n + 1] = h.memory.words[i + 1]!;
}
