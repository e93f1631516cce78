/**
 * Inputs to begin with: what a fuzzer that was led by the code of the correct hypervisor found worth keeping. A mutant that
 * is in a place that random steps take long to reach is reached by them at once.
 */

import { FuzzEngine } from '../fuzz/engine.ts';
import type { FeedbackChoice } from '../fuzz/feedback.ts';
import type { Ground } from './grounds.ts';
import { buildHypervisor } from './loader.ts';

const WHILE_FUZZING = { edges: true, states: false, rows: true };
/** Rows lead to places; it is the code that is to be reached. */
const KEPT_FOR = { edges: true, states: false, rows: false };

/**
 * Inputs for a ground that between them show every edge of the code that so many runs have shown, as often, in classes of
 * counts. The same seed makes the same.
 * @throws Error when the correct hypervisor violates something
 */
export function seedInputs({ machine, profile }: Ground, seed: number, runs: number): Uint8Array[] {
  const first = makeEngine(machine, profile, seed, WHILE_FUZZING);
  for (let run = 0; run < runs; run++) {
    const violated = first.runOne();
    if (violated !== null)
      throw new Error(
        `the correct hypervisor on ${machine.name} violates ${violated.violation.property}: ${violated.violation.text}`,
      );
  }
  // What came late shows most: those that came before are left out where they show nothing else.
  const second = makeEngine(machine, profile, seed, KEPT_FOR);
  for (const input of first.corpus.inputs.toReversed()) second.adopt(input);
  return second.corpus.inputs;
}

function makeEngine(
  machine: Ground['machine'],
  profile: Ground['profile'],
  seed: number,
  feedback: FeedbackChoice,
): FuzzEngine {
  const { createHypervisor, edges } = buildHypervisor([], { plain: true, counted: true });
  return new FuzzEngine({ machine, profile, hypervisor: createHypervisor, edges, seed, feedback });
}
