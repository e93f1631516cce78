/** Calls that were in progress at the same time, and the orders in which they may have taken effect. */

import {
  type ArgumentSpec,
  type CallSpec,
  decodeFunction,
  decodeGuestCall,
  firstGuestArgument,
  type GuestCallSpec,
  type GuestExit,
  type Profile,
} from '#hypercall-abi';

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

/**
 * Calls that count a domain while they are in progress. A free of the same domain is refused meanwhile, and a detach finds
 * the domain attached: neither is one indivisible step.
 * @returns those in progress at the same time as `one` that name its domain
 */
export function holdersOf(
  one: InterleavedCall,
  calls: readonly InterleavedCall[],
  profile: Profile,
): readonly InterleavedCall[] {
  const id = domainNamed(one, profile);
  return calls.filter(
    (other) =>
      id >= 0 &&
      other !== one &&
      other.begun < one.ended &&
      other.ended > one.begun &&
      domainNamed(other, profile) === id,
  );
}

/** What the call is called; undefined for none that there is. */
export function nameOf(one: InterleavedCall, profile: Profile): string | undefined {
  return specOf(one, profile)?.name;
}

function specOf({ isGuest, before }: InterleavedCall, profile: Profile): CallSpec | GuestCallSpec | undefined {
  return isGuest ? decodeGuestCall(before) : decodeFunction(before, profile);
}

/** Low word of the domain that a call names; -1 when it names none. */
function domainNamed(one: InterleavedCall, profile: Profile): number {
  const spec = specOf(one, profile);
  const args: readonly ArgumentSpec[] = spec?.args ?? [];
  const index = args.findIndex(({ unit }) => unit === 'domain');
  if (spec === undefined || index < 0) return -1;
  return one.before[2 * (index + ('op' in spec ? firstGuestArgument(spec) : 1))]! >>> 0;
}
