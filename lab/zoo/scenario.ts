/** The scenario of a card: the shortest way to see the defect, with what comes of it. */

import { scenarios } from '#scenarios';
import { parseScenario, type Scenario } from '../scenario/index.ts';
import type { DefectCard } from './card.ts';

/** The scenario that shows a defect. @throws RangeError when none was written */
export function scenarioOf({ id }: Pick<DefectCard, 'id'>): Scenario {
  return parseScenario(scenarioText(id), `${id}.txt`);
}

/** Its text, comments included. @throws RangeError when none was written */
export function scenarioText(id: string): string {
  const text = Object.hasOwn(scenarios, id) ? scenarios[id] : undefined;
  if (text === undefined) throw new RangeError(`${id} has no scenario`);
  return text;
}
