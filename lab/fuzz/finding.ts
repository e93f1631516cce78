/** From a run that violated something to a finding: the smallest scenario that shows the same, checked anew. */

import { defaultProfile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import {
  CandidateRunner,
  type Found,
  type JudgeOptions,
  judgedBy,
  parseScenario,
  printScenario,
  type Scenario,
  type Step,
} from '../scenario/index.ts';
import { shrink } from '../scenario/shrink.ts';
import type { HypervisorFactory } from '../session/session.ts';
import type { Violated } from './engine.ts';

/** Who is fuzzed. */
export interface Subject extends JudgeOptions {
  readonly machine: MachineDescription;
  readonly hypervisor: HypervisorFactory;
  /** Its name, as scenarios carry it. */
  readonly identity: string;
}

export interface FuzzFinding {
  /** What it is known by: findings of one key are the same. */
  readonly key: string;
  readonly property: string;
  /** Row of the call specification, or rule of the property. */
  readonly rule: string;
  /** The call, or kind of step, at which it showed. */
  readonly call: string;
  readonly text: string;
  /** Number of the run, and steps that it had made. */
  readonly run: number;
  readonly stepsBefore: number;
  /** Shrunk: as text, with what every step comes to and the violation it ends in. */
  readonly scenario: string;
  readonly stepsAfter: number;
  /** No single step of it can be left out. */
  readonly oneMinimal: boolean;
  /** The input that found it. */
  readonly input: Uint8Array;
}

/** Most candidates that shrinking runs. */
const SHRINK_RUNS = 20_000;

/** The key of a finding: property, rule, call. */
export function findingKey(found: { readonly property: string; readonly rule: string; readonly call: string }): string {
  return [found.property, found.rule, found.call].map((part) => part.replace(/[^A-Za-z0-9_-]+/g, '-')).join('.');
}

/** Finds out what a violating run shows, and shrinks it. Keeps two booted machines. */
export class FindingMaker {
  private readonly subject: Subject;
  private readonly quick: CandidateRunner;
  private readonly thorough: CandidateRunner;

  constructor(subject: Subject) {
    const { machine, hypervisor } = subject;
    const judged = judgedBy(subject);
    this.subject = subject;
    this.quick = new CandidateRunner(machine, hypervisor, 'never', judged);
    this.thorough = new CandidateRunner(machine, hypervisor, 'every', judged);
  }

  /**
   * The step at which the run first violates something, and what. What is compared after every call shows most
   * violations at the step that makes them; what only a full check sees may be older: so the run is made again with one
   * after every step.
   * @returns null when it violates nothing
   */
  locate(steps: readonly Step[]): Located | null {
    const quick = this.quick.run(steps);
    // What is seen without decoding everything is seen at once: only what comes before it can be earlier.
    const thorough = this.thorough.run(quick === null ? steps : steps.slice(0, quick.step + 1));
    if (thorough !== null && (quick === null || thorough.step < quick.step))
      return { found: thorough, isThorough: true };
    return quick === null ? null : { found: quick, isThorough: false };
  }

  /** Shrink what was located. @param onProgress told of each smaller form */
  make(
    violated: Violated,
    { found, isThorough }: Located,
    onProgress?: (steps: number, runs: number) => void,
  ): FuzzFinding {
    const { machine, profile = defaultProfile, identity } = this.subject;
    const runner = isThorough ? this.thorough : this.quick;
    const steps = violated.steps.slice(0, found.step + 1);
    const scenario: Scenario = { profile: profile.name, machine: machine.name, hypervisor: identity, steps };
    const shrunk = shrink(scenario, found, (candidate) => runner.run(candidate), {
      maxRuns: SHRINK_RUNS,
      ...(onProgress !== undefined && { onProgress }),
    });
    const recorded = { ...shrunk.scenario, title: found.violation.text, steps: runner.record(shrunk.scenario.steps) };
    const text = printScenario(recorded);
    this.recheck(text, found);
    return {
      key: findingKey(found),
      property: found.property,
      rule: found.rule,
      call: found.call,
      text: found.violation.text,
      run: violated.run,
      stepsBefore: steps.length,
      scenario: text,
      stepsAfter: shrunk.stepsAfter,
      oneMinimal: shrunk.oneMinimal,
      input: violated.input,
    };
  }

  /** The text alone must show it. */
  private recheck(text: string, expected: Found): void {
    const { steps } = parseScenario(text, 'finding');
    const again = this.thorough.run(steps.filter(({ kind }) => kind !== 'expect'));
    if (again?.property === expected.property) return;
    throw new Error(`the shrunk scenario does not show ${expected.property} again:\n${text}`);
  }
}

/** Where a run violates something. */
export interface Located {
  readonly found: Found;
  /** Only decoding everything anew shows it. */
  readonly isThorough: boolean;
}
