/** Runs many candidates in a row on one booted machine: what shrinking and fuzzing need. */

import type { MachineDescription } from '#machine';
import type { HypervisorFactory, SessionOptions } from '../session/session.ts';
import { CannotDo } from './bind.ts';
import { withOutcome } from './compare.ts';
import type { Executor, Outcome } from './execute.ts';
import { callOf, type Found } from './signature.ts';
import { makeExecutor, type RunSessionOptions } from './twin.ts';
import { hasSchedule, type Step } from './types.ts';

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
  private readonly makeScheduled: () => Executor;
  private scheduled: Executor | null = null;
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
    const options = { ...judged, machine, hypervisor, full };
    this.executor = makeExecutor(options).executor;
    this.makeScheduled = () => makeExecutor({ ...options, interleaved: true }).executor;
  }

  /** The executor for these steps: calls that are left in progress need the stepped build. */
  private executorFor(steps: readonly Step[]): Executor {
    if (!hasSchedule(steps)) return this.executor;
    this.scheduled ??= this.makeScheduled();
    return this.scheduled;
  }

  /**
   * Run the steps up to the first violation. Steps that the machine cannot do are passed over.
   * @returns the violation, or null
   */
  run(steps: readonly Step[]): Found | null {
    const executor = this.executorFor(steps);
    this.runs++;
    executor.reset();
    for (let i = 0; i < steps.length; i++) {
      attempt(executor, steps[i]!);
      if (i === steps.length - 1) this.end(executor);
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
    const executor = this.executorFor(steps);
    executor.reset();
    const recorded: Step[] = [];
    /** Where a step that has begun a call stands among those recorded. */
    const places = new Map<Step, number>();
    const actions = steps.filter(({ kind }) => kind !== 'expect');
    for (const [i, step] of actions.entries()) {
      const outcome = attempt(executor, step);
      if (i === actions.length - 1) this.end(executor);
      const violations = executor.newViolations();
      // A call that stopped the hypervisor has no result: its registers hold what it was made with.
      const hasResult = outcome !== null && violations.every(({ property }) => property !== 'panic');
      places.set(step, recorded.length);
      recorded.push(hasResult ? withOutcome(step, outcome, executor.names) : step);
      const ended = hasResult && outcome.kind === 'progress' ? outcome.ended : null;
      if (ended !== null) recorded[places.get(ended.step)!] = withOutcome(ended.step, ended.outcome, executor.names);
      for (const property of new Set(violations.map((violation) => violation.property))) {
        const { text } = violations.find((violation) => violation.property === property)!;
        recorded.push({ kind: 'expect', property, text: oneLine(text) });
      }
    }
    return recorded;
  }

  /** What is left unseen by what was touched must be found at the end. */
  private end(executor: Executor): void {
    if (this.isThorough) executor.checkAll();
  }
}

function attempt(executor: Executor, step: Step): Outcome | null {
  try {
    return executor.perform(step);
  } catch (error) {
    if (error instanceof CannotDo) return null;
    throw error;
  }
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\s]+/gu, ' ').trim() || 'found';
}
