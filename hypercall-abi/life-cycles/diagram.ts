/** A life cycle as the text of a Mermaid state diagram. */

import { FORBIDDEN, type LifeCycle, nextState } from './life-cycle.ts';

/**
 * Mermaid `stateDiagram-v2` text: one arrow for each pair of states, labelled with the events that lead along it. A
 * state that no event leaves or enters stands alone.
 */
export function lifeCycleDiagram(lifeCycle: LifeCycle): string {
  const { states, events, initial } = lifeCycle;
  const lines = ['stateDiagram-v2', `  [*] --> ${states[initial]!.name}`];
  for (let from = 0; from < states.length; from++) {
    const labels = new Map<number, string[]>();
    for (let event = 0; event < events.length; event++) {
      const to = nextState(lifeCycle, from, event);
      if (to !== FORBIDDEN) labels.set(to, [...(labels.get(to) ?? []), events[event]!.name]);
    }
    for (const [to, names] of labels)
      lines.push(`  ${states[from]!.name} --> ${states[to]!.name}: ${names.join(', ')}`);
    const entered = from === initial || states.some((_, state) => leadsTo(lifeCycle, state, from));
    if (labels.size === 0 && !entered) lines.push(`  ${states[from]!.name}`);
  }
  return `${lines.join('\n')}\n`;
}

function leadsTo(lifeCycle: LifeCycle, from: number, to: number): boolean {
  return lifeCycle.events.some((_, event) => nextState(lifeCycle, from, event) === to);
}
