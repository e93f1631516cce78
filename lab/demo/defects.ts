/** Finds a defect of the zoo by random calls, shrinks what was found, and tells it. */
import { preset } from '#machine';
import { type Story, tell } from '../narrator/tell.ts';
import { findViolation } from '../random/index.ts';
import { encodeShare, type Scenario } from '../scenario/index.ts';
import { CandidateRunner, type Found } from '../scenario/run.ts';
import { shrink } from '../scenario/shrink.ts';
import { cardOf, type DefectCard, hypervisorByIdentity, identityOf, unifiedDiff } from '../zoo/index.ts';

/** What was found of one defect, and all that a report needs to tell it. */
export interface FoundDefect {
  readonly card: DefectCard;
  readonly found: Found;
  /** Hypercalls made until it was found. */
  readonly calls: number;
  /** Steps of the sequence that found it. */
  readonly stepsBefore: number;
  /** The shrunk scenario, with what each step comes to and the violation it ends in. */
  readonly scenario: Scenario;
  /** No step of it can be left out. */
  readonly oneMinimal: boolean;
  readonly share: string;
  readonly story: Story;
  readonly diff: string;
}

/** @returns null when `maxCalls` random hypercalls did not find it */
export function findDefect(id: string, seed: number, maxCalls: number): FoundDefect | null {
  const card = cardOf(id);
  const identity = identityOf([card]);
  const hypervisor = hypervisorByIdentity(identity);
  const machine = preset(card.machine);
  const result = findViolation({ machine, hypervisor, identity, seed, maxCalls });
  if (result === null) return null;
  const runner = new CandidateRunner(machine, hypervisor);
  const shrunk = shrink(result.scenario, result.found, (steps) => runner.run(steps));
  const scenario = { ...shrunk.scenario, title: card.title, steps: runner.record(shrunk.scenario.steps) };
  return {
    card,
    found: result.found,
    calls: result.calls,
    stepsBefore: result.scenario.steps.length,
    scenario,
    oneMinimal: shrunk.oneMinimal,
    share: encodeShare(scenario),
    story: tell(scenario, hypervisor),
    diff: unifiedDiff(card),
  };
}
