/** Scenarios as inputs: those of the defects that were real, and the corners. A hypervisor runs them, whatever they expect. */

import type { Profile } from '#hypercall-abi';
import { type MachineDescription, preset } from '#machine';
import { scenarios } from '#scenarios';
import { CandidateRunner, hasSchedule, parseScenario, profileOf, type Scenario } from '../scenario/index.ts';
import type { HypervisorFactory, Violation } from '../session/session.ts';
import { corners } from './corners.ts';

/** Scenarios for one machine and one contract. */
interface Group {
  readonly machine: MachineDescription;
  readonly profile: Profile;
  readonly scenarios: Scenario[];
}

/** Calls between two full checks; the last step of a scenario is followed by one in any case. */
const FULL_EVERY = 64;

let groups: readonly Group[] | null = null;

/** All of them whose calls run one after the other. */
function grouped(): readonly Group[] {
  if (groups !== null) return groups;
  const found = new Map<string, Group>();
  for (const text of [...Object.values(scenarios), ...corners]) {
    const scenario = parseScenario(text);
    if (hasSchedule(scenario.steps)) continue;
    const key = `${scenario.machine} ${profileOf(scenario).name}`;
    const group = found.get(key) ?? { machine: preset(scenario.machine), profile: profileOf(scenario), scenarios: [] };
    group.scenarios.push(scenario);
    found.set(key, group);
  }
  groups = [...found.values()];
  return groups;
}

/** What a scenario showed. */
export interface BadScenario {
  readonly title: string;
  readonly violation: Violation;
}

/**
 * Run all scenarios on a hypervisor. @returns the first violation, or null
 * @throws Error when it does not boot
 */
export function firstBadScenario(create: HypervisorFactory): BadScenario | null {
  for (const { machine, profile, scenarios: list } of grouped()) {
    const runner = new CandidateRunner(machine, create, FULL_EVERY, { profile });
    for (const { title, steps } of list) {
      const found = runner.run(steps.filter(({ kind }) => kind !== 'expect'));
      if (found !== null) return { title: title ?? '', violation: found.violation };
    }
  }
  return null;
}
