/** The fuzzer as an engine of the zoo. Of a card it is given profile and machine, and nothing else. */

import { preset } from '#machine';
import { fuzzedHypervisor } from '../fuzz/build.ts';
import { FuzzEngine } from '../fuzz/engine.ts';
import { ALL_FEEDBACK } from '../fuzz/feedback.ts';
import { FindingMaker } from '../fuzz/finding.ts';
import { profileOf } from '../scenario/index.ts';
import type { DefectCard } from './card.ts';
import type { CpuClock, Detection, Engine } from './engine.ts';
import { identityOf } from './loader.ts';

/** Runs between two looks at the clock. */
const RUNS_PER_LOOK = 4;

/** @param cpu tells when the budget is used up */
export function fuzzEngine(cpu: CpuClock): Engine {
  return {
    name: 'fuzz',
    describe:
      'the fuzzer, with feedback from edges, states and rows, on the profile and machine of the card; calls overlap where it needs that',
    limit: () => null,
    hunt: (card, seed, { cpuSeconds }) => {
      const interleaved = card.interleaved !== undefined;
      const { hypervisor, edges } = fuzzedHypervisor([card], interleaved);
      const machine = preset(card.machine);
      const profile = profileOf(card);
      const began = cpu();
      const engine = new FuzzEngine({
        machine,
        profile,
        hypervisor,
        edges,
        interleaved,
        seed,
        feedback: ALL_FEEDBACK,
      });
      for (let n = 1; ; n++) {
        const violated = engine.runOne();
        const spent = violated !== null || n % RUNS_PER_LOOK === 0 ? cpu() - began : 0;
        const { runs, calls } = engine.counts;
        if (violated !== null) {
          const maker = new FindingMaker({ machine, profile, hypervisor, identity: identityOf([card]) });
          return { detection: detectionOf(maker, violated, card), runs, calls, cpuSeconds: spent };
        }
        if (spent >= cpuSeconds) return { detection: null, runs, calls, cpuSeconds: spent };
      }
    },
  };
}

function detectionOf(
  maker: FindingMaker,
  violated: Parameters<FindingMaker['make']>[0],
  { id }: DefectCard,
): Detection {
  const located = maker.locate(violated.steps);
  if (located === null) throw new Error(`a run against ${id} does not repeat what it violated`);
  const { property, rule, text, scenario, stepsAfter } = maker.make(violated, located);
  return { property, rule, text, scenario, steps: stepsAfter };
}
