/** A call as a step. */

import type { CallName, Profile } from '#hypercall-abi';
import type { CallStep, Value } from '../scenario/index.ts';

/** The call with these arguments, as far as it has them in that profile, the others 0. */
export function callStep(
  profile: Profile,
  cpu: number,
  call: CallName,
  args: Readonly<Record<string, Value>>,
): CallStep {
  const all: Record<string, Value> = {};
  for (const { name } of profile.call(call).args) all[name] = args[name] ?? 0;
  return { kind: 'call', cpu, call, args: all };
}
