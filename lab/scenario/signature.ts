/** By what a violation is known again when the steps around it change. */

import type { Profile } from '#hypercall-abi';
import type { Violation } from '../session/session.ts';
import { callOfRegisters, guestCallOfRegisters } from './print.ts';
import type { Step } from './types.ts';

/** The same signature: the same violation. */
export interface Signature {
  readonly property: string;
  readonly rule: string;
  /** The call, or the kind of step, at which it appeared. */
  readonly call: string;
}

/** A violation and the step at which it appeared. */
export interface Found extends Signature {
  readonly step: number;
  readonly violation: Violation;
}

export function sameSignature(a: Signature, b: Signature): boolean {
  return a.property === b.property && a.rule === b.rule && a.call === b.call;
}

/** The call that a step makes, or its kind. */
export function callOf(step: Step, profile?: Profile): string {
  if (step.kind === 'call' || step.kind === 'guest') return step.call;
  if (step.kind === 'guestHvc') return guestCallOfRegisters(step.registers)?.name ?? 'guest_hvc';
  if (step.kind === 'topup') return 'alloc_mgt_refill';
  return step.kind === 'hvc' ? (callOfRegisters(step.registers, profile)?.name ?? 'hvc') : step.kind;
}
