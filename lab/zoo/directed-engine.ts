/** The scenario of each card as an engine: no search, but the proof that the oracles see the defect when it shows. */

import { runScenario, type Scenario } from '../scenario/index.ts';
import type { CpuClock, Engine } from './engine.ts';
import { hypervisorByIdentity } from './identity.ts';
import { scenarioOf, scenarioText } from './scenario.ts';

export function directedEngine(cpu: CpuClock): Engine {
  return {
    name: 'directed',
    describe: 'the scenario of the card, step by step; no search',
    limit: () => null,
    hunt: (card) => {
      const began = cpu();
      const scenario = scenarioOf(card);
      const { violations } = runScenario(scenario, { hypervisors: hypervisorByIdentity });
      const [first] = violations;
      const steps = actionsOf(scenario);
      const result = { runs: 1, calls: steps, cpuSeconds: cpu() - began };
      if (first === undefined) return { detection: null, ...result };
      const { property, rule, text } = first;
      return { detection: { property, rule, text, scenario: scenarioText(card.id), steps }, ...result };
    },
  };
}

function actionsOf({ steps }: Scenario): number {
  return steps.filter(({ kind }) => kind !== 'expect').length;
}
