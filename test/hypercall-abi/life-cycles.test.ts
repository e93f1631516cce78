import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { getAdjacencyMap } from 'xstate/graph';
import { compileLifeCycle, lifeCycleMachines } from '../../hypercall-abi/life-cycles/machines.ts';
import { renderTables } from '../../hypercall-abi/life-cycles/render-tables.ts';

const tablesFile = new URL('../../hypercall-abi/life-cycles/tables.ts', import.meta.url);
const update = process.env.UPDATE === '1';
const compiled = Object.values(lifeCycleMachines).map((machine) => compileLifeCycle(machine));
if (update) writeFileSync(tablesFile, renderTables(compiled));

const { eventIndex, FORBIDDEN, lifeCycleDiagram, lifeCycles, nextState, ruleAt, stateIndex } = await import(
  '#hypercall-abi'
);

test('tables.ts is what the statecharts compile to (UPDATE=1 npx vitest run test/hypercall-abi/life-cycles.test.ts)', () => {
  expect(Object.values(lifeCycles)).toEqual(compiled);
});

const cases = Object.values(lifeCycleMachines).map((machine) => ({ name: machine.id, machine }));

test.each(cases)('$name: from every state that can be reached, each event does what the table says', ({ machine }) => {
  const table = lifeCycles[machine.id as keyof typeof lifeCycles];
  const events = table.events.map(({ name }) => ({ type: name }));
  // A walk of XState's own over the machine, which shares nothing with the compiler but the machine.
  const reached = getAdjacencyMap(machine as never, { events: events as never });
  const states = Object.values(reached) as unknown as {
    state: { value: string; can(event: { type: string }): boolean };
    transitions: Record<string, { event: { type: string }; state: { value: string } }>;
  }[];
  for (const { state, transitions } of states) {
    for (const event of events) {
      const to = nextState(table, stateIndex(table, state.value), eventIndex(table, event.type));
      const step = Object.values(transitions).find((transition) => transition.event.type === event.type);
      expect(to === FORBIDDEN ? null : table.states[to]?.name, `${state.value} ${event.type}`).toBe(
        state.can(event) ? step?.state.value : null,
      );
    }
  }
  const unreachable = table.states
    .map(({ name }) => name)
    .filter((name) => !states.some((s) => s.state.value === name));
  expect(unreachable).toEqual(['domain', 'guestDomain'].includes(machine.id) ? ['reserved'] : []);
});

test.each(cases)('$name: every state has a description, every forbidden event a rule', ({ machine }) => {
  const table = lifeCycles[machine.id as keyof typeof lifeCycles];
  for (const { name, description } of table.states) expect(description, name).toMatch(/^[A-Z].*\.$/);
  for (const [state] of table.states.entries()) {
    for (const [event] of table.events.entries()) {
      if (nextState(table, state, event) === FORBIDDEN) expect(ruleAt(table, state, event)).toMatch(/^[A-Z].*\.$/);
    }
  }
  for (const key of Object.keys(table.rules)) {
    const [state, event] = key.split('.') as [string, string];
    expect(nextState(table, stateIndex(table, state), eventIndex(table, event)), key).toBe(FORBIDDEN);
  }
});

test('a statechart that a table cannot hold is refused', async () => {
  const { createMachine } = await import('xstate');
  const meta = { rules: { GO: 'Only once.' } };
  const nested = createMachine({ id: 'x', initial: 'a', meta, states: { a: { initial: 'b', states: { b: {} } } } });
  expect(() => compileLifeCycle(nested)).toThrow('state a is not atomic');
  const noRule = createMachine({ id: 'x', initial: 'a', meta, states: { a: { on: { STOP: 'a' } } } });
  expect(() => compileLifeCycle(noRule)).toThrow('event STOP has no rule');
  const allowed = createMachine({ id: 'x', initial: 'a', meta, states: { a: { on: { GO: 'a' }, meta } } });
  expect(() => compileLifeCycle(allowed)).toThrow('a rule for GO, which it does not forbid');
});

test('the contract does not load XState', () => {
  const seen = new Set<string>();
  const read = (url: URL) => {
    if (seen.has(url.href)) return;
    seen.add(url.href);
    const source = readFileSync(url, 'utf8');
    for (const [, path] of source.matchAll(/^(?:import|export) (?:[^;]*? from )?'([^']+)';/gms)) {
      expect(path, url.href).toMatch(/^\.{1,2}\//);
      read(new URL(path as string, url));
    }
  };
  read(new URL('../../hypercall-abi/index.ts', import.meta.url));
  expect([...seen].some((url) => url.endsWith('/life-cycles/tracker.ts'))).toBe(true);
});

test('a diagram has an arrow for each pair of states, and the states that stand alone', () => {
  const text = lifeCycleDiagram(lifeCycles.pasid);
  expect(text).toBe(
    'stateDiagram-v2\n  [*] --> blocked\n  blocked --> attached: ATTACH\n  attached --> blocked: DETACH\n',
  );
  expect(lifeCycleDiagram(lifeCycles.domain)).toContain(
    '\n  attached --> attached: ATTACH, DETACH, MAP, UNMAP, TRANSLATE\n',
  );
  expect(lifeCycleDiagram(lifeCycles.domain)).toMatch(/\n {2}reserved\n$/);
});
