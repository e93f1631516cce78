/** A call as a step. */

import { type CallName, callNamed } from '#hypercall-abi';
import type { CallStep, Value } from '../scenario/index.ts';

/** The call with these arguments, the others 0. */
export function callStep(cpu: number, call: CallName, args: Readonly<Record<string, Value>>): CallStep {
  const all: Record<string, Value> = {};
  for (const { name } of callNamed(call).args) all[name] = args[name] ?? 0;
  return { kind: 'call', cpu, call, args: all };
}
