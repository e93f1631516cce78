/**
 * Looks for violations with random steps: runs of some length, each from boot, until one violates something. Everything
 * follows from the seed; a run can be repeated alone by its number.
 */

import { type CallName, defaultProfile, type Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import type { Property, SometimesCount } from '../oracle/index.ts';
import {
  CandidateRunner,
  CannotDo,
  type Executor,
  judgedBy,
  makeExecutor,
  type Outcome,
  type Scenario,
  type Signature,
  type Step,
} from '../scenario/index.ts';
import type { HypervisorFactory, SessionOptions, Violation } from '../session/session.ts';
import { StepGenerator } from './generate.ts';
import { Prng } from './prng.ts';

export interface FindOptions {
  readonly machine: MachineDescription;
  /** The hypervisor under test. */
  readonly hypervisor: HypervisorFactory;
  /** The name that scenarios give it. */
  readonly identity: string;
  /** The contract that it is asked to keep; the default one when left out. */
  readonly profile?: Profile;
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
  /** The properties that are reported; all when left out. */
  readonly properties?: readonly Property[];
  /** Make each step on a second machine, too, that differs only in what the host must not know. */
  readonly twin?: boolean;
  /** How often everything is decoded anew; every 64 calls when left out. If not `never`, also at the end of a run. */
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
  /** States that runs should have been in, and how often they were. */
  readonly sometimes: readonly SometimesCount[];
}

export interface Finding {
  readonly scenario: Scenario;
  readonly violation: Violation;
  readonly signature: Signature;
  /** What a session or a {@link CandidateRunner} needs to see it at that step: whether everything is decoded anew. */
  readonly full: 'never' | 'every';
  /** Number of the run that found it. */
  readonly run: number;
}

export interface FindResult extends FindProgress {
  readonly seed: number;
  readonly found: Finding | null;
}

const DEFAULT_STEPS = 160;
const SHORTEST_RUN = 20;
const FULL_EVERY = 64;

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
  const { full = FULL_EVERY } = options;
  const { session, executor } = makeExecutor({ ...judgedBy(options), machine, hypervisor, full });
  const allowed = options.calls ?? session.profile.calls.map(({ name }) => name);
  const taken = session.takenPages;
  const generator = new StepGenerator(machine, allowed, new Prng(seed), taken, session.profile);
  const sometimes = (): readonly SometimesCount[] => session.oracle?.sometimesCounts() ?? [];
  let stepCount = 0;
  let callCount = 0;
  let run = firstRun;
  const end = (steps: readonly Step[]): FindResult => {
    const found = locate(options, steps, run);
    return { seed, found, runs: run - firstRun + 1, steps: stepCount, calls: callCount, sometimes: sometimes() };
  };
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
      if (outcome.kind === 'call' || outcome.kind === 'guest') callCount++;
      if (executor.newViolations().length !== 0) return end(steps);
      generator.world.observe(step, outcome);
    }
    if (full !== 'never') {
      executor.checkAll();
      if (executor.newViolations().length !== 0) return end(steps);
    }
    yield { runs: run - firstRun + 1, steps: stepCount, calls: callCount, sometimes: sometimes() };
  }
  return { seed, found: null, runs: run - firstRun, steps: stepCount, calls: callCount, sometimes: sometimes() };
}

/**
 * The step at which a run that violates something first does so. What is compared after every call mostly shows it at
 * the step that does it; what only a full check sees may have been done long before: so the run is repeated with one
 * after every step, too, and counts where that shows something earlier.
 * @throws Error when neither shows anything
 */
function locate(options: FindOptions, steps: readonly Step[], run: number): Finding {
  const { machine, hypervisor, seed } = options;
  const judged = judgedBy(options);
  const quick = new CandidateRunner(machine, hypervisor, 'never', judged).run(steps);
  const thorough = new CandidateRunner(machine, hypervisor, 'every', judged).run(steps);
  const isThorough = thorough !== null && (quick === null || thorough.step < quick.step);
  const found = isThorough ? thorough : quick;
  if (found === null) throw new Error(`run ${run} of seed ${seed} does not repeat what it violated`);
  const { property, rule, call, step, violation } = found;
  const scenario = scenarioOf(options, steps.slice(0, step + 1), violation);
  return { scenario, violation, signature: { property, rule, call }, full: isThorough ? 'every' : 'never', run };
}

function attempt(executor: Executor, step: Step): Outcome | null {
  try {
    return executor.perform(step);
  } catch (error) {
    if (error instanceof CannotDo) return null;
    throw error;
  }
}

function scenarioOf(
  { machine, identity, profile = defaultProfile }: FindOptions,
  steps: readonly Step[],
  violation: Violation,
): Scenario {
  return {
    profile: profile.name,
    machine: machine.name,
    hypervisor: identity,
    steps: [...steps, { kind: 'expect', property: violation.property }],
  };
}
