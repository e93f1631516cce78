/** Runs many candidates in a row on one booted machine: what shrinking and fuzzing need. */

import type { MachineDescription } from '#machine';
import type { HypervisorFactory, SessionOptions } from '../session/session.ts';
import { CannotDo } from './bind.ts';
import { withOutcome } from './compare.ts';
import type { Executor, Outcome } from './execute.ts';
import { callOf, type Found } from './signature.ts';
import { makeExecutor, type RunSessionOptions } from './twin.ts';
import type { Step } from './types.ts';

/** What candidates are judged by: the contract, and the properties. */
export type JudgeOptions = Pick<RunSessionOptions, 'profile' | 'properties' | 'twin'>;

/** Those of the options that candidates are judged by. */
export function judgedBy({ profile, properties, twin }: JudgeOptions): JudgeOptions {
  return {
    ...(profile !== undefined && { profile }),
    ...(properties !== undefined && { properties }),
    ...(twin !== undefined && { twin }),
  };
}

/** One booted machine on which candidates are run, each from boot. */
export class CandidateRunner {
  readonly executor: Executor;
  private readonly isThorough: boolean;
  /** Candidates run so far. */
  runs = 0;

  /** @param full as for a session; if not `never`, the last step of a candidate is followed by a full check */
  constructor(
    machine: MachineDescription,
    hypervisor: HypervisorFactory,
    full: NonNullable<SessionOptions['full']> = 'never',
    judged: JudgeOptions = {},
  ) {
    this.isThorough = full !== 'never';
    this.executor = makeExecutor({ ...judged, machine, hypervisor, full }).executor;
  }

  /**
   * Run the steps up to the first violation. Steps that the machine cannot do are passed over.
   * @returns the violation, or null
   */
  run(steps: readonly Step[]): Found | null {
    const { executor } = this;
    this.runs++;
    executor.reset();
    for (let i = 0; i < steps.length; i++) {
      this.attempt(steps[i]!);
      if (i === steps.length - 1) this.end();
      const [violation] = executor.newViolations();
      if (violation !== undefined) {
        const { property, rule } = violation;
        return { property, rule, call: callOf(steps[i]!, executor.boundary.profile), step: i, violation };
      }
    }
    return null;
  }

  /** The steps, each with what it came to as what is expected of it; after the last one, what it violates. */
  record(steps: readonly Step[]): Step[] {
    const { executor } = this;
    executor.reset();
    const recorded: Step[] = [];
    const actions = steps.filter(({ kind }) => kind !== 'expect');
    for (const [i, step] of actions.entries()) {
      const outcome = this.attempt(step);
      if (i === actions.length - 1) this.end();
      const violations = executor.newViolations();
      // A call that stopped the hypervisor has no result: its registers hold what it was made with.
      const hasResult = outcome !== null && violations.every(({ property }) => property !== 'panic');
      recorded.push(hasResult ? withOutcome(step, outcome, executor.names) : step);
      for (const property of new Set(violations.map((violation) => violation.property))) {
        const { text } = violations.find((violation) => violation.property === property)!;
        recorded.push({ kind: 'expect', property, text: oneLine(text) });
      }
    }
    return recorded;
  }

  /** What is left unseen by what was touched must be found at the end. */
  private end(): void {
    if (this.isThorough) this.executor.checkAll();
  }

  private attempt(step: Step): Outcome | null {
    try {
      return this.executor.perform(step);
    } catch (error) {
      if (error instanceof CannotDo) return null;
      throw error;
    }
  }
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\s]+/gu, ' ').trim() || 'found';
}
