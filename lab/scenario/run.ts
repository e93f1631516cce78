/** Runs a scenario on a machine of its own, with an account of every step. */

import type { Profile } from '#hypercall-abi';
import { DescriptionError, type MachineDescription, preset } from '#machine';
import { InputError } from '../input-error.ts';
import type { Property } from '../oracle/index.ts';
import type { HypervisorFactory, Session, SessionOptions, Violation } from '../session/session.ts';
import { CannotDo } from './bind.ts';
import { judgedBy } from './candidates.ts';
import { checkFits, lineOf, type Placement } from './check.ts';
import { matches, outcomeText } from './compare.ts';
import type { Executor, Outcome } from './execute.ts';
import { printStep } from './print.ts';
import { makeExecutor } from './twin.ts';
import { type ExpectStep, hasSchedule, profileOf, type Scenario, type Step } from './types.ts';

/** What became of one step. */
export interface StepResult {
  readonly line: number;
  /** The step as text, with what it expects. */
  readonly text: string;
  /** What came back, in the words of the format. */
  readonly result: string;
  /** What was expected, in the same words; null where anything was. Of a call, where it ends. */
  readonly expected: string | null;
  readonly asExpected: boolean;
  /** What was found wrong after it. */
  readonly violations: readonly Violation[];
}

export interface ScenarioReport {
  readonly steps: readonly StepResult[];
  readonly violations: readonly Violation[];
  /** Every step came to what it expects, and just the expected violations appeared. */
  readonly ok: boolean;
  /** Index of the first step that was not as expected, or null. */
  readonly firstDifference: number | null;
  /**
   * Index of the step at which the oracles lost track, because no order of calls in progress explains their results; null
   * when they judged all of the run. From there on only locks and panics are looked at.
   */
  readonly lostTrack: number | null;
}

export interface RunOptions extends Placement {
  /** The hypervisor of that identity. It may throw an InputError. */
  readonly hypervisors: (identity: string) => HypervisorFactory;
  /** The machine of that name; the presets when left out. */
  readonly machines?: (name: string) => MachineDescription;
  /** How often everything is decoded anew; after every call when left out. */
  readonly full?: NonNullable<SessionOptions['full']>;
  /** The properties that are reported; all when left out. */
  readonly properties?: readonly Property[];
  /**
   * Make each step on a second machine, too, that differs only in what the host must not know; where the scenario
   * expects a violation of non-interference when left out.
   */
  readonly twin?: boolean;
  /** Called after every step, while the session stands there: to show it. */
  readonly onStep?: (result: StepResult, index: number, session: Session) => void;
}

/**
 * Run a scenario on a machine of its own.
 * @throws InputError when it does not fit the machine, or machine or hypervisor are not known
 */
export function runScenario(scenario: Scenario, options: RunOptions): ScenarioReport {
  const machine = machineOf(scenario, options);
  checkFits(scenario, machine, options);
  const hypervisor = hypervisorOf(scenario, options);
  const { full = 'every' } = options;
  const needsTwin = scenario.steps.some((step) => isExpect(step) && step.property === 'non-interference');
  const judged = judgedBy({ ...options, twin: options.twin ?? needsTwin, profile: profileOf(scenario) });
  const { session, executor } = makeExecutor({
    ...judged,
    machine,
    hypervisor,
    full,
    interleaved: hasSchedule(scenario.steps),
  });
  const steps: StepResult[] = [];
  const violations: Violation[] = [];
  let isExpectedFound = false;
  let lostTrack: number | null = null;
  scenario.steps.forEach((step, i) => {
    const line = lineOf(scenario, i, options);
    const outcome = perform(executor, step, line, options);
    if (i === lastAction(scenario, scenario.steps.length) && full !== 'never') executor.checkAll();
    if (session.oracle?.hasLostTrack) lostTrack ??= i;
    const found = executor.newViolations();
    violations.push(...found);
    let asExpected: boolean;
    if (step.kind === 'expect') {
      asExpected =
        steps[lastAction(scenario, i)]?.violations.some(({ property }) => property === step.property) ?? false;
      isExpectedFound ||= asExpected;
    } else {
      // What follows from a violation that was announced is no news.
      const announced = isExpectedFound || isExpect(scenario.steps[i + 1]);
      asExpected = matches(step, outcome, executor.names) && (found.length === 0 || announced);
    }
    const result: StepResult = {
      line,
      text: printStep(step, session.profile),
      result: step.kind === 'expect' ? (asExpected ? 'found' : 'not found') : outcomeText(outcome, executor.names),
      expected: step.kind === 'expect' ? null : expectedText(step, outcome, session.profile),
      asExpected,
      violations: found,
    };
    steps.push(result);
    options.onStep?.(result, i, session);
  });
  const first = steps.findIndex(({ asExpected }) => !asExpected);
  return { steps, violations, ok: first < 0, firstDifference: first < 0 ? null : first, lostTrack };
}

/** What should come of the step, or of the call that ends in it; null for nothing in particular. */
function expectedText(step: Step, outcome: Outcome, profile: Profile): string | null {
  const due = outcome.kind === 'progress' ? (outcome.ended?.step ?? null) : step;
  return due === null ? null : (printStep(due, profile).split(' -> ')[1] ?? null);
}

/** Index of the step that an expectation at `i` is about. */
function lastAction(scenario: Scenario, i: number): number {
  let at = i - 1;
  while (isExpect(scenario.steps[at])) at--;
  return at;
}

function isExpect(step: Step | undefined): step is ExpectStep {
  return step?.kind === 'expect';
}

function machineOf({ machine }: Scenario, { machines, file = 'scenario' }: RunOptions): MachineDescription {
  try {
    return (machines ?? preset)(machine);
  } catch (error) {
    if (!(error instanceof DescriptionError)) throw error;
    throw new InputError({ file, field: 'machine', expected: error.message.replace(/^.*expected /, ''), got: machine });
  }
}

function hypervisorOf({ hypervisor }: Scenario, { hypervisors, file = 'scenario' }: RunOptions): HypervisorFactory {
  try {
    return hypervisors(hypervisor);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    // Whoever knows the names does not know where this one stands.
    throw new InputError({ file, field: 'hypervisor', expected: error.expected, got: error.got ?? hypervisor });
  }
}

function perform(executor: Executor, step: Step, line: number, { file = 'scenario' }: Placement): Outcome {
  try {
    return executor.perform(step);
  } catch (error) {
    if (!(error instanceof CannotDo)) throw error;
    throw new InputError({ file, line, expected: 'a step that the machine can do', got: error.message });
  }
}
