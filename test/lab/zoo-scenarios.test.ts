/** The scenario of each card shows its defect, and shows nothing on the correct hypervisor. */
import { describe, expect, test } from 'vitest';
import {
  CandidateRunner,
  parseScenario,
  printScenario,
  profileOf,
  runScenario,
  type Scenario,
} from '#lab/scenario/index';
import { cards, hypervisorByIdentity, scenarioOf } from '#lab/zoo/index';
import { preset } from '#machine';
import { scenarios } from '#scenarios';

/** It takes 32 ids to use a word of the bitmap up. */
const STEPS_MAX: Readonly<Record<string, number>> = { Z51c: 40 };

/** What was not as expected, and every violation, as text. */
function account(scenario: Scenario): string[] {
  const { steps } = runScenario(scenario, { hypervisors: hypervisorByIdentity });
  return steps.flatMap(({ text, result, asExpected, violations }) => [
    ...(asExpected ? [] : [`${text}: ${result}`]),
    ...violations.map((violation) => `${violation.property}/${violation.rule}: ${violation.text}`),
  ]);
}

test('every card has a scenario, and every scenario a card', () => {
  expect(Object.keys(scenarios).toSorted()).toEqual(cards.map(({ id }) => id).toSorted());
});

describe.each(cards.flatMap((card) => (scenarioOf(card) === null ? [] : [[card.id, card] as const])))(
  '%s',
  (id, card) => {
    const scenario = scenarioOf(card)!;
    const actions = scenario.steps.filter(({ kind }) => kind !== 'expect');

    test('is about the machine, the profile and the defect of its card', () => {
      const { profile, machine } = card;
      expect(scenario).toMatchObject({ profile, machine, hypervisor: `postern+${id}`, title: card.title });
      expect(actions.length).toBeLessThanOrEqual(STEPS_MAX[id] ?? 20);
    });

    test('shows the defect, by the property that its card names', () => {
      const report = runScenario(scenario, { hypervisors: hypervisorByIdentity });
      expect(report.ok, account(scenario).join('\n')).toBe(true);
      expect(scenario.steps).toContainEqual(expect.objectContaining({ kind: 'expect', property: card.property }));
    });

    test('can be read again with what its steps come to', () => {
      const runner = new CandidateRunner(preset(card.machine), hypervisorByIdentity(`postern+${id}`), 'every', {
        profile: profileOf(card),
      });
      const recorded = { ...scenario, steps: runner.record(scenario.steps) };
      expect(parseScenario(printScenario(recorded))).toEqual(recorded);
    });

    test('finds nothing on the correct hypervisor', () => {
      const correct = { ...scenario, hypervisor: 'postern', steps: actions };
      const { violations } = runScenario(correct, { hypervisors: hypervisorByIdentity });
      expect(violations).toEqual([]);
    });
  },
);
