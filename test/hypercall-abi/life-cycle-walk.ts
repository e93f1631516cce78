/** Ways through the statecharts of life cycles, and what walks them on the real hypervisor. */

import { expect } from 'vitest';
import { getShortestPaths } from 'xstate/graph';
import { eventIndex, FORBIDDEN, lifeCycles, nextState, stateIndex } from '#hypercall-abi';
import { lifeCycleMachines } from '../../hypercall-abi/life-cycles/machines.ts';
import { tell } from '../lab/oracle-rig.ts';
import type { Driver, Subject } from './life-cycle-subject.ts';

export type Name = keyof typeof lifeCycles;

export const actOf = ({ acts }: Pick<Driver, 'acts'>, event: string): string => acts[event] ?? event.toLowerCase();

/** The events that there are in the driver's generation. */
export function eventsOf(name: Name, { elsewhere = [] }: Pick<Driver, 'elsewhere'>): string[] {
  return lifeCycles[name].events.map((event) => event.name).filter((event) => !elsewhere.includes(event));
}

/** Where an event leads, or null where it is forbidden. */
export function target(name: Name, state: string, event: string): string | null {
  const table = lifeCycles[name];
  const to = nextState(table, stateIndex(table, state), eventIndex(table, event));
  return to === FORBIDDEN ? null : table.states[to]!.name;
}

/** The events on a shortest way to each state that can be reached. */
export function waysTo(name: Name, driver: Pick<Driver, 'elsewhere'>): Map<string, string[]> {
  const events = eventsOf(name, driver);
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
export function follow(name: Name, driver: Pick<Driver, 'acts'>, subject: Subject, events: readonly string[]): string {
  let state = lifeCycles[name].states[lifeCycles[name].initial]!.name;
  expect(subject.state()).toBe(state);
  for (const event of events) {
    const to = target(name, state, event);
    expect(to, `${state} ${event}`).not.toBe(null);
    expect(subject.act(actOf(driver, event)), `${state} ${event}`).toBe(true);
    state = to!;
    expect(subject.state(), `after ${event}`).toBe(state);
  }
  return state;
}

export function settle({ rig }: Subject): void {
  rig.oracle.checkAll();
  expect(tell(rig.oracle.findings)).toBe('');
  expect(rig.session.boundary.violations).toEqual([]);
}
