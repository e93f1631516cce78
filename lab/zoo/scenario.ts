/** The scenario of a card: the shortest way to see the defect, with what comes of it. */

import { scenarios } from '#scenarios';
import { parseScenario, type Scenario } from '../scenario/index.ts';
import type { DefectCard } from './card.ts';

/** The scenario that shows a defect; null where no sequence of calls does, because it takes CPUs that are in the middle of one. */
export function scenarioOf({ id }: Pick<DefectCard, 'id'>): Scenario | null {
  const text = scenarioText(id);
  return text === null ? null : parseScenario(text, `${id}.txt`);
}

/** Its text, comments included. */
export function scenarioText(id: string): string | null {
  return Object.hasOwn(scenarios, id) ? scenarios[id]! : null;
}
