/**
 * Looks for violations with random steps: runs of some length, each from boot, until one violates something. Everything
 * follows from the seed; a run can be repeated alone by its number.
 */

import { type CallName, calls } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import {
  CannotDo,
  callOf,
  Executor,
  type Outcome,
  PROFILE,
  type Scenario,
  type Signature,
  type Step,
} from '../scenario/index.ts';
import { type HypervisorFactory, Session, type SessionOptions, type Violation } from '../session/session.ts';
import { StepGenerator } from './generate.ts';
import { Prng } from './prng.ts';

export interface FindOptions {
  readonly machine: MachineDescription;
  /** The hypervisor under test. */
  readonly hypervisor: HypervisorFactory;
  /** The name that scenarios give it. */
  readonly identity: string;
  readonly seed: number;
  /** Most steps of one run; 160 when left out. Runs are of different lengths, up to this. */
  readonly maxSteps?: number;
  /** Most runs; unlimited when left out. */
  readonly maxRuns?: number;
  /** Most hypercalls; the run that reaches them is the last. Unlimited when left out. */
  readonly maxCalls?: number;
  /** Calls that may be made; all of them when left out. */
  readonly calls?: readonly CallName[];
  /** First run; those before are skipped. */
  readonly firstRun?: number;
  readonly full?: NonNullable<SessionOptions['full']>;
  /** Told after every run. */
  readonly onProgress?: (progress: FindProgress) => void;
  /** Asked after every run whether to end. */
  readonly stop?: () => boolean;
}

export interface FindProgress {
  readonly runs: number;
  readonly steps: number;
  /** Hypercalls made. */
  readonly calls: number;
}

export interface Finding {
  readonly scenario: Scenario;
  readonly violation: Violation;
  readonly signature: Signature;
  /** Number of the run that found it. */
  readonly run: number;
}

export interface FindResult extends FindProgress {
  readonly seed: number;
  readonly found: Finding | null;
}

const DEFAULT_STEPS = 160;
const SHORTEST_RUN = 20;

/** Look until something is found or the runs are over. */
export function findViolation(options: FindOptions): FindResult {
  const search = searchViolation(options);
  for (;;) {
    const { done, value } = search.next();
    if (done) return value;
    options.onProgress?.(value);
    if (options.stop?.()) return { ...value, seed: options.seed, found: null };
  }
}

/** The same, run by run: yields after each one, so that a caller can do other things in between. */
export function* searchViolation(options: FindOptions): Generator<FindProgress, FindResult, void> {
  const { machine, hypervisor, seed, maxSteps = DEFAULT_STEPS, firstRun = 0 } = options;
  const { maxRuns = Number.POSITIVE_INFINITY, maxCalls = Number.POSITIVE_INFINITY } = options;
  const session = new Session({ machine, hypervisor, full: options.full ?? 'never' });
  const executor = new Executor(session);
  const allowed = options.calls ?? calls.map(({ name }) => name);
  const generator = new StepGenerator(machine, allowed, new Prng(seed));
  let stepCount = 0;
  let callCount = 0;
  let run = firstRun;
  for (; run < firstRun + maxRuns && callCount < maxCalls; run++) {
    const prng = new Prng(seed, run);
    executor.reset();
    generator.reset(prng);
    const steps: Step[] = [];
    const length = Math.min(maxSteps, prng.between(SHORTEST_RUN, Math.max(SHORTEST_RUN, maxSteps)));
    while (steps.length < length) {
      const step = generator.next();
      const outcome = attempt(executor, step);
      // The host has no page left: the run is over.
      if (outcome === null) break;
      steps.push(step);
      stepCount++;
      if (outcome.kind === 'call') callCount++;
      const [violation] = executor.newViolations();
      if (violation !== undefined) {
        const { property, rule } = violation;
        const found: Finding = {
          scenario: scenarioOf(options, steps, violation),
          violation,
          signature: { property, rule, call: callOf(step) },
          run,
        };
        return { seed, found, runs: run - firstRun + 1, steps: stepCount, calls: callCount };
      }
      generator.world.observe(step, outcome);
    }
    yield { runs: run - firstRun + 1, steps: stepCount, calls: callCount };
  }
  return { seed, found: null, runs: run - firstRun, steps: stepCount, calls: callCount };
}

function attempt(executor: Executor, step: Step): Outcome | null {
  try {
    return executor.perform(step);
  } catch (error) {
    if (error instanceof CannotDo) return null;
    throw error;
  }
}

function scenarioOf({ machine, identity }: FindOptions, steps: readonly Step[], violation: Violation): Scenario {
  return {
    profile: PROFILE,
    machine: machine.name,
    hypervisor: identity,
    steps: [...steps, { kind: 'expect', property: violation.property }],
  };
}
