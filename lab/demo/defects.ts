/** Finds a defect of the zoo by random calls, shrinks what was found, and tells it. */
import { preset } from '#machine';
import { type Story, tell } from '../narrator/tell.ts';
import { type FindProgress, searchViolation } from '../random/index.ts';
import { CandidateRunner } from '../scenario/candidates.ts';
import { encodeShare, type Scenario, type Signature } from '../scenario/index.ts';
import { shrink } from '../scenario/shrink.ts';
import { cardOf, type DefectCard, hypervisorByIdentity, identityOf, unifiedDiff } from '../zoo/index.ts';

/** What was found of one defect, and all that a report needs to tell it. */
export interface FoundDefect {
  readonly card: DefectCard;
  readonly signature: Signature;
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

/**
 * Random calls against the hypervisor with that defect, from `seed`; yields after each run of them.
 * @returns null when `maxCalls` hypercalls did not find it
 */
export function* findDefect(
  id: string,
  seed: number,
  maxCalls: number,
): Generator<FindProgress, FoundDefect | null, void> {
  const card = cardOf(id);
  const identity = identityOf([card]);
  const hypervisor = hypervisorByIdentity(identity);
  const machine = preset(card.machine);
  const { found, calls } = yield* searchViolation({ machine, hypervisor, identity, seed, maxCalls });
  if (found === null) return null;
  const runner = new CandidateRunner(machine, hypervisor, found.full);
  const shrunk = shrink(found.scenario, found.signature, (steps) => runner.run(steps));
  const scenario = { ...shrunk.scenario, title: card.title, steps: runner.record(shrunk.scenario.steps) };
  return {
    card,
    signature: found.signature,
    calls,
    stepsBefore: shrunk.stepsBefore,
    scenario,
    oneMinimal: shrunk.oneMinimal,
    share: encodeShare(scenario),
    story: tell(scenario, hypervisor),
    diff: unifiedDiff(card),
  };
}
