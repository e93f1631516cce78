/**
 * The life cycles against the real hypervisor, with every oracle: paths made from the statecharts lead to each state that
 * can be reached, and there each event does what the statechart says: it is done and leads where it must, or it is
 * refused and nothing moves.
 */

import { describe, expect, test } from 'vitest';
import { getShortestPaths } from 'xstate/graph';
import {
  callEvents,
  eventIndex,
  eventsOfAccesses,
  FORBIDDEN,
  guestCalls,
  lifeCycles,
  nextState,
  profiles,
  pureCalls,
  stateIndex,
} from '#hypercall-abi';
import { lifeCycleMachines } from '../../hypercall-abi/life-cycles/machines.ts';
import { tell } from '../lab/oracle-rig.ts';
import { drivers } from './life-cycle-drivers.ts';
import type { Subject } from './life-cycle-subject.ts';

type Name = keyof typeof lifeCycles;
const names = Object.keys(lifeCycles) as Name[];

const actOf = (name: Name, event: string): string => drivers[name].acts[event] ?? event.toLowerCase();

/** Where an event leads, or null where it is forbidden. */
function target(name: Name, state: string, event: string): string | null {
  const table = lifeCycles[name];
  const to = nextState(table, stateIndex(table, state), eventIndex(table, event));
  return to === FORBIDDEN ? null : table.states[to]!.name;
}

/** The events on a shortest way to each state that can be reached. */
function waysTo(name: Name): Map<string, string[]> {
  const { elsewhere = [] } = drivers[name];
  const events = lifeCycles[name].events.map((event) => event.name).filter((event) => !elsewhere.includes(event));
  const paths = getShortestPaths(lifeCycleMachines[name] as never, {
    events: events.map((type) => ({ type })) as never,
  }) as unknown as { state: { value: string }; steps: { event: { type: string } }[] }[];
  const ways = new Map<string, string[]>();
  for (const { state, steps } of paths) {
    ways.set(
      state.value,
      steps.map(({ event }) => event.type).filter((type) => !type.startsWith('xstate.')),
    );
  }
  return ways;
}

/** Perform allowed events one by one. @returns the state they lead to */
function follow(name: Name, subject: Subject, events: readonly string[]): string {
  let state = lifeCycles[name].states[lifeCycles[name].initial]!.name;
  expect(subject.state()).toBe(state);
  for (const event of events) {
    const to = target(name, state, event);
    expect(to, `${state} ${event}`).not.toBe(null);
    expect(subject.act(actOf(name, event)), `${state} ${event}`).toBe(true);
    state = to!;
    expect(subject.state(), `after ${event}`).toBe(state);
  }
  return state;
}

function settle({ rig }: Subject): void {
  rig.oracle.checkAll();
  expect(tell(rig.oracle.findings)).toBe('');
  expect(rig.session.boundary.violations).toEqual([]);
}

describe.each(names)('%s', (name) => {
  const { elsewhere = [], paths, make } = drivers[name];
  const ways = waysTo(name);
  const events = lifeCycles[name].events.map((event) => event.name).filter((event) => !elsewhere.includes(event));

  test('every transition', () => {
    const taken: string[] = [];
    for (const [state, way] of ways) {
      for (const event of events) {
        if (target(name, state, event) === null) continue;
        const subject = make();
        const whole = paths[event]?.at(-1) === event ? paths[event]! : [...way, event];
        follow(name, subject, whole);
        settle(subject);
        taken.push(`${state} ${event}`);
      }
    }
    expect(taken.length).toBeGreaterThan(1);
  });

  test('every refusal', () => {
    let refused = 0;
    for (const [state, way] of ways) {
      const allowed = new Set(events.filter((event) => target(name, state, event) !== null).map((e) => actOf(name, e)));
      const acts = new Set(events.map((event) => actOf(name, event)));
      for (const act of acts) {
        if (allowed.has(act)) continue;
        const subject = make();
        follow(name, subject, way);
        expect(subject.act(act), `${state} ${act}`).toBe(false);
        expect(subject.state(), `${state} ${act}`).toBe(state);
        settle(subject);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(0);
  });
});

test('where nothing is reserved before, a VM is made of a free handle', () => {
  const profile = profiles.find(({ name }) => name === 'android16')!;
  const subject = drivers.vm.make(profile);
  follow('vm', subject, ['CREATE', 'START_TEARDOWN', 'FINALIZE']);
  settle(subject);
});

test('every call of every profile is an event of a life cycle, or moves nothing', () => {
  for (const { name, calls } of profiles) {
    for (const call of calls) {
      const known = (callEvents[call.name]?.length ?? 0) > 0;
      expect(known !== call.name in pureCalls, `${name}: ${call.name}`).toBe(true);
    }
  }
  for (const { name } of guestCalls) expect(callEvents[name]?.length, name).toBeGreaterThan(0);
});

test('every event of a life cycle is one of a call, or an access', () => {
  const named = new Set<string>([...Object.values(callEvents).flat(), ...eventsOfAccesses]);
  const all = names.flatMap((name) => lifeCycles[name].events.map((event) => `${name}.${event.name}`));
  expect([...named].sort()).toEqual(all.sort());
});
