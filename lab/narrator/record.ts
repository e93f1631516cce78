/**
 * Runs a scenario on a fresh machine with a recorder and the oracles, step by step, and hands over each step with what
 * happened inside it: what stories and timelines are made of.
 */
import { preset } from '#machine';
import { Executor, type Outcome } from '../scenario/execute.ts';
import { hasSchedule, printStep, profileOf, type Scenario, type Step } from '../scenario/index.ts';
import { printValue } from '../scenario/value.ts';
import { type HypervisorFactory, Session, type Violation } from '../session/session.ts';
import { hex, type NameOf } from './names.ts';
import { type Fact, Recorder } from './recorder.ts';
import { momentsOf } from './sentences.ts';

/** One step that was done; the session stands right behind it. */
export interface RecordedStep {
  /** Number of the step, from 1; expectations are not counted. */
  readonly number: number;
  /** The step as the scenario writes it. */
  readonly text: string;
  readonly step: Step;
  readonly outcome: Outcome;
  /** What happened meanwhile, in order. */
  readonly facts: readonly Fact[];
  readonly violations: readonly Violation[];
  readonly session: Session;
  readonly executor: Executor;
  readonly nameOf: NameOf;
}

/** A machine as a scenario left it, and what its pages are called. */
export interface Place {
  readonly session: Session;
  readonly nameOf: NameOf;
}

/** Where a scenario stands in the middle of a step. */
export interface Moment extends Place {
  /** Number of the step, from 1. */
  readonly step: number;
  /** Number of the fact in the step, from 0. */
  readonly fact: number;
}

/** A point of a scenario: behind a step (0: behind boot), or behind a moment of it, from 1. */
export interface Point {
  readonly step: number;
  readonly moment: number | null;
}

export interface RecordOptions {
  /** After each step. */
  readonly each?: (recorded: RecordedStep) => void;
  /** At each fact, in the middle of its step: to look, not to touch. */
  readonly during?: (moment: Moment) => void;
  /** Run the stepped build, whatever the scenario needs. */
  readonly interleaved?: boolean;
  /** Before the first step, with the machine as boot left it. */
  readonly started?: (session: Session) => void;
  /** Steps to do; all when left out. */
  readonly steps?: number;
}

/**
 * Run `scenario` on `hypervisor`. Expectations are not looked at.
 * @returns the session as the last step left it
 * @throws DescriptionError for an unknown machine, CannotDo for a step that the machine cannot do
 */
export function recordScenario(
  scenario: Scenario,
  hypervisor: HypervisorFactory,
  { each, during, started, interleaved, steps = Number.POSITIVE_INFINITY }: RecordOptions = {},
): Place {
  const session = new Session({
    machine: preset(scenario.machine),
    hypervisor,
    full: 'every',
    profile: profileOf(scenario),
    interleaved: interleaved ?? hasSchedule(scenario.steps),
  });
  const recorder = new Recorder(session);
  const executor = new Executor(session);
  started?.(session);
  const nameOf = pageNames(executor);
  let number = 0;
  if (during !== undefined) recorder.onFact = (_, fact) => during({ step: number, fact, session, nameOf });
  for (const step of scenario.steps) {
    if (step.kind === 'expect') continue;
    if (number >= steps) break;
    number++;
    const outcome = executor.perform(step);
    const facts = recorder.take();
    const violations = executor.newViolations();
    each?.({
      number,
      text: printStep(step, session.profile),
      step,
      outcome,
      facts,
      violations,
      session,
      executor,
      nameOf,
    });
  }
  return { session, nameOf };
}

/**
 * Run `scenario` up to a point, which may lie in the middle of a call, and look at the machine there.
 * @param look reads, and changes nothing
 * @returns what `look` returned; null when the step has no such moment
 * @throws as {@link recordScenario}
 */
export function lookAt<T>(
  scenario: Scenario,
  hypervisor: HypervisorFactory,
  { step, moment }: Point,
  look: (place: Place) => T,
): T | null {
  if (moment === null) return look(recordScenario(scenario, hypervisor, { steps: step }));
  // The names of a fact are known only when its step is done: the first run finds it, the second one stops there.
  let fact = -1;
  const each = ({ number, facts, nameOf }: RecordedStep): void => {
    if (number === step) fact = momentsOf(facts, nameOf)[moment - 1]?.last ?? -1;
  };
  recordScenario(scenario, hypervisor, { steps: step, each });
  let seen: { readonly value: T } | null = null;
  const during = (at: Moment): void => {
    if (at.step === step && at.fact === fact) seen ??= { value: look(at) };
  };
  if (fact >= 0) recordScenario(scenario, hypervisor, { steps: step, during });
  return (seen as { readonly value: T } | null)?.value ?? null;
}

function pageNames(executor: Executor): NameOf {
  return (pa) => {
    const value = executor.names.nameOf(pa);
    return typeof value === 'number'
      ? `the page at ${hex(pa)}`
      : printValue(value, 'pa', null).replace('page:', 'page ');
  };
}
