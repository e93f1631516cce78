/**
 * Makes a scenario that violates something as small as it gets while it still violates the same: first fewer steps
 * (delta debugging), then simpler arguments, and again until nothing changes. The result is 1-minimal:
 * without any single one of its steps the violation does not appear.
 */

import type { Profile } from '#hypercall-abi';
import { orderlyNames } from './rename.ts';
import { type Found, type Signature, sameSignature } from './signature.ts';
import { simplerSteps } from './simplify.ts';
import { profileOf, type Scenario, type Step } from './types.ts';

export interface ShrinkResult {
  readonly scenario: Scenario;
  /** No single step can be left out. False only when the limit of runs ended it early. */
  readonly oneMinimal: boolean;
  readonly stepsBefore: number;
  readonly stepsAfter: number;
  /** Candidates that were run. */
  readonly runs: number;
}

export interface ShrinkOptions {
  /** Most candidates to run; unlimited when left out. */
  readonly maxRuns?: number;
  readonly onProgress?: (steps: number, runs: number) => void;
}

/** Runs steps from boot up to the first violation (see CandidateRunner.run). */
export type RunCandidate = (steps: readonly Step[]) => (Signature & Pick<Found, 'step'>) | null;

/**
 * Shrink a scenario.
 * @param signature what must go on appearing
 * @throws RangeError when the scenario as given does not show it
 */
export function shrink(
  scenario: Scenario,
  signature: Signature,
  run: RunCandidate,
  options: ShrinkOptions = {},
): ShrinkResult {
  const search = new Search(signature, run, options, profileOf(scenario));
  const steps = scenario.steps.filter(({ kind }) => kind !== 'expect').map(withoutExpectation);
  if (!search.accepts(steps)) {
    throw new RangeError(`the scenario does not show ${signature.property}: ${signature.rule} at ${signature.call}`);
  }
  let size = -1;
  while (size !== search.changes) {
    size = search.changes;
    search.deltaDebug();
    search.simplify();
  }
  const { isOver } = search;
  search.accepts(orderlyNames(search.best));
  const { best, runs } = search;
  const { title, ...rest } = scenario;
  return {
    scenario: { ...rest, ...(title !== undefined && { title }), steps: best },
    oneMinimal: !isOver,
    stepsBefore: steps.length,
    stepsAfter: best.length,
    runs,
  };
}

/** The step without what it expects: results change as steps go. */
export function withoutExpectation(step: Step): Step {
  if (step.kind === 'expect' || !('expect' in step) || step.expect === undefined) return step;
  const { expect: _, ...rest } = step;
  return rest as Step;
}

class Search {
  best: readonly Step[] = [];
  runs = 0;
  /** How often something smaller was found. */
  changes = 0;
  private readonly signature: Signature;
  private readonly run: RunCandidate;
  private readonly options: ShrinkOptions;
  private readonly profile: Profile;
  /** Candidates that did not show it, so that none is run twice. */
  private readonly failed = new Set<string>();

  constructor(signature: Signature, run: RunCandidate, options: ShrinkOptions, profile: Profile) {
    this.profile = profile;
    this.signature = signature;
    this.run = run;
    this.options = options;
  }

  get isOver(): boolean {
    return this.runs >= (this.options.maxRuns ?? Number.POSITIVE_INFINITY);
  }

  /** Try a candidate; if it shows the violation, it is the best so far, cut after the step that shows it. */
  accepts(candidate: readonly Step[]): boolean {
    if (this.isOver && this.changes > 0) return false;
    const key = JSON.stringify(candidate);
    if (this.failed.has(key)) return false;
    this.runs++;
    const found = this.run(candidate);
    if (found === null || !sameSignature(found, this.signature)) {
      this.failed.add(key);
      return false;
    }
    this.best = candidate.slice(0, found.step + 1);
    this.changes++;
    this.options.onProgress?.(this.best.length, this.runs);
    return true;
  }

  /** Zeller's ddmin over steps: leave out ever smaller pieces, until no single step can go. */
  deltaDebug(): void {
    let pieces = 2;
    while (this.best.length >= 2 && !this.isOver) {
      const { best } = this;
      const size = Math.ceil(best.length / pieces);
      let removed = false;
      // Later steps depend on earlier ones, so the end is tried first.
      for (let from = (Math.ceil(best.length / size) - 1) * size; from >= 0 && !removed; from -= size) {
        removed = this.accepts([...best.slice(0, from), ...best.slice(from + size)]);
      }
      if (removed) pieces = Math.max(2, pieces - 1);
      else if (size === 1) return;
      else pieces = Math.min(best.length, pieces * 2);
    }
  }

  /** Take the first simpler form that still shows it, until there is none. */
  simplify(): void {
    for (let again = true; again && !this.isOver; ) {
      again = false;
      for (const candidate of simplerSteps(this.best, this.profile)) {
        if (this.isOver) return;
        if (this.accepts(candidate)) {
          again = true;
          break;
        }
      }
    }
  }
}
