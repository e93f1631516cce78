/**
 * Spinlocks: a word in memory that holds 0 or the owner's CPU number plus 1. A CPU that waits is not scheduled, so
 * taking a held lock here means that a CPU waits for itself.
 */

import type { Steps } from '#machine';
import type { Hyp } from './context.ts';

/** Take the lock at `at`. @throws Error on self-deadlock */
export function* lock(h: Hyp, at: number): Steps<void> {
  yield { kind: 'lock', at };
  const holder = h.memory.compareExchange32(at, 0, h.cpu + 1);
  if (holder !== 0) throw waitsForItself(h, at, holder);
}

/** Release the lock at `at`. @throws Error when this CPU does not hold it */
export function* unlock(h: Hyp, at: number): Steps<void> {
  yield { kind: 'unlock', at };
  const mine = h.cpu + 1;
  if (h.memory.compareExchange32(at, mine, 0) !== mine) throw notHeld(h, at);
}

function waitsForItself(h: Hyp, at: number, holder: number): Error {
  return new Error(`CPU ${h.cpu} waits for lock 0x${at.toString(16)} held by CPU ${holder - 1}`);
}

function notHeld(h: Hyp, at: number): Error {
  return new Error(`CPU ${h.cpu} releases lock 0x${at.toString(16)}, which it does not hold`);
}
