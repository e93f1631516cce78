/**
 * The life cycles against the real hypervisor, with every oracle: paths made from the statecharts lead to each state that
 * can be reached, and there each event does what the statechart says: it is done and leads where it must, or it is
 * refused and nothing moves.
 */

import { describe, expect, test } from 'vitest';
import { callEvents, eventsOfAccesses, guestCalls, lifeCycles, profiles, pureCalls } from '#hypercall-abi';
import { drivers } from './life-cycle-drivers.ts';
import { actOf, eventsOf, follow, type Name, settle, target, waysTo } from './life-cycle-walk.ts';

const names = Object.keys(lifeCycles) as Name[];

describe.each(names)('%s', (name) => {
  const driver = drivers[name];
  const { paths, make } = driver;
  const ways = waysTo(name, driver);
  const events = eventsOf(name, driver);

  test('every transition', () => {
    const taken: string[] = [];
    for (const [state, way] of ways) {
      for (const event of events) {
        if (target(name, state, event) === null) continue;
        const subject = make();
        const whole = paths[event]?.at(-1) === event ? paths[event]! : [...way, event];
        follow(name, driver, subject, whole);
        settle(subject);
        taken.push(`${state} ${event}`);
      }
    }
    expect(taken.length).toBeGreaterThan(1);
  });

  test('every refusal', () => {
    let refused = 0;
    for (const [state, way] of ways) {
      const allowed = new Set(
        events.filter((event) => target(name, state, event) !== null).map((e) => actOf(driver, e)),
      );
      const acts = new Set(events.map((event) => actOf(driver, event)));
      for (const act of acts) {
        if (allowed.has(act)) continue;
        const subject = make();
        follow(name, driver, subject, way);
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
  follow('vm', drivers.vm, subject, ['CREATE', 'START_TEARDOWN', 'FINALIZE']);
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
