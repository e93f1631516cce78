/** Calls that were in progress at the same time, and the orders in which they may have taken effect. */

import type { GuestExit } from '#hypercall-abi';

/** One of them, with its registers at the beginning and at the end. */
export interface InterleavedCall {
  readonly cpu: number;
  readonly isGuest: boolean;
  readonly before: Int32Array;
  readonly after: Int32Array;
  readonly exit: GuestExit | null;
  /** What the hypervisor threw, or null. */
  readonly panic: unknown;
  /** Words of the host's memory as they were when the call first fetched them, by address; null for none. */
  readonly fetched: ReadonlyMap<number, number> | null;
  /** When it began and ended, on a common clock. */
  readonly begun: number;
  readonly ended: number;
}

/** More calls than that have too many orders to try. */
const MOST_CALLS = 5;

/** Every order of the calls in which one that ended before another began comes first; none for too many calls. */
export function* ordersOf(calls: readonly InterleavedCall[]): Generator<readonly InterleavedCall[]> {
  if (calls.length <= MOST_CALLS) yield* continued([], calls);
}

function* continued(
  first: readonly InterleavedCall[],
  rest: readonly InterleavedCall[],
): Generator<readonly InterleavedCall[]> {
  if (rest.length === 0) yield first;
  for (const next of rest) {
    if (rest.some((other) => other.ended < next.begun)) continue;
    yield* continued(
      [...first, next],
      rest.filter((other) => other !== next),
    );
  }
}
