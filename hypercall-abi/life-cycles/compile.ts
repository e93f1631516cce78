/**
 * From a statechart to a dense table. Each state is put into the machine, each event is sent, and what comes out is
 * written down once; `tables.ts` is made from it, and a test proves that both say the same. Imports XState: nothing that
 * runs in a session does.
 */

import { type AnyStateMachine, transition } from 'xstate';
import { FORBIDDEN, type LifeCycle } from './life-cycle.ts';
import type { LifeCycleMeta } from './meta.ts';

const rulesOf = (meta: unknown): Readonly<Record<string, string>> => (meta as LifeCycleMeta | undefined)?.rules ?? {};

/**
 * Compile a statechart of flat states whose root names a rule for every event.
 * @throws Error when the statechart has an event without a rule, or a state or rule that a table cannot hold
 */
export function compileLifeCycle(machine: AnyStateMachine): LifeCycle {
  const names = Object.keys(machine.states);
  const defaults = rulesOf(machine.root.meta);
  const events = Object.keys(defaults);
  for (const event of machine.events) {
    if (defaults[event] === undefined) throw new Error(`life cycle ${machine.id}: event ${event} has no rule`);
  }
  const rules: Record<string, string> = {};
  const next = new Uint8Array(names.length * events.length);
  names.forEach((name, state) => {
    const node = machine.states[name]!;
    if (node.type !== 'atomic') throw new Error(`life cycle ${machine.id}: state ${name} is not atomic`);
    const snapshot = machine.resolveState({ value: name, context: undefined });
    events.forEach((event, i) => {
      next[state * events.length + i] = snapshot.can({ type: event })
        ? names.indexOf(transition(machine, snapshot, { type: event })[0].value)
        : FORBIDDEN;
    });
    for (const [event, rule] of Object.entries(rulesOf(node.meta))) {
      const i = events.indexOf(event);
      if (i < 0 || next[state * events.length + i] !== FORBIDDEN) {
        throw new Error(`life cycle ${machine.id}: state ${name} has a rule for ${event}, which it does not forbid`);
      }
      rules[`${name}.${event}`] = rule;
    }
  });
  return {
    name: machine.id,
    description: machine.root.description ?? '',
    initial: names.indexOf(machine.getInitialSnapshot(undefined as never).value),
    states: names.map((name) => ({ name, description: machine.states[name]!.description ?? '' })),
    events: events.map((name) => ({ name, rule: defaults[name]! })),
    rules,
    next,
  };
}
