/** The random search as an engine of the zoo. Of a card it is given profile and machine, and nothing else. */

import { preset } from '#machine';
import { type Finding, searchViolation } from '../random/find.ts';
import { CandidateRunner, printScenario, profileOf, shrink } from '../scenario/index.ts';
import type { DefectCard } from './card.ts';
import type { CpuClock, Detection, Engine } from './engine.ts';
import { between } from './limits.ts';
import { buildHypervisor, identityOf } from './loader.ts';

/** Candidates that shrinking tries at most. */
const SHRINK_RUNS = 4000;

/** @param cpu tells when the budget is used up */
export function randomEngine(cpu: CpuClock): Engine {
  return {
    name: 'random',
    describe: 'random steps from boot, on the profile and machine of the card; no feedback',
    limit: between,
    hunt: (card, seed, { cpuSeconds }) => {
      const machine = preset(card.machine);
      const profile = profileOf(card);
      const { createHypervisor } = buildHypervisor([card]);
      const began = cpu();
      const search = searchViolation({
        machine,
        profile,
        hypervisor: createHypervisor,
        identity: identityOf([card]),
        seed,
      });
      for (;;) {
        const { done, value } = search.next();
        const spent = cpu() - began;
        const { runs, calls } = value;
        if (!done && spent < cpuSeconds) continue;
        const found = done ? value.found : null;
        return { detection: found === null ? null : detectionOf(card, found), runs, calls, cpuSeconds: spent };
      }
    },
  };
}

function detectionOf(card: DefectCard, { scenario, signature, violation, full }: Finding): Detection {
  const { createHypervisor } = buildHypervisor([card]);
  const runner = new CandidateRunner(preset(card.machine), createHypervisor, full, {
    profile: profileOf(card),
  });
  const small = shrink(scenario, signature, (steps) => runner.run(steps), { maxRuns: SHRINK_RUNS });
  const { property, rule, text } = violation;
  const expect = { kind: 'expect' as const, property };
  const shown = { ...small.scenario, steps: [...small.scenario.steps, expect] };
  return { property, rule, text, scenario: printScenario(shown), steps: small.stepsAfter };
}
