/** What a worker is told to do, as plain data: it can be sent to a thread, another process, another machine. */

import { type CallName, findProfile, type ProfileName } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import type { Property } from '../oracle/properties.ts';
import type { Step } from '../scenario/index.ts';
import { cardsOf } from '../zoo/index.ts';
import { fuzzedHypervisor } from './build.ts';
import type { FeedbackChoice } from './feedback.ts';
import { FuzzWorker } from './worker.ts';

export interface FuzzJob {
  readonly machine: MachineDescription;
  readonly profile: ProfileName;
  /** Who is fuzzed: `postern`, or `postern+Z14`. */
  readonly hypervisor: string;
  /** Properties that are checked; all of them when left out. */
  readonly properties?: readonly Property[];
  readonly feedback: FeedbackChoice;
  readonly seed: number;
  readonly maxSteps: number;
  /** Calls that may be made; all of the profile when left out. */
  readonly calls?: readonly CallName[];
  /** How often recipes are chosen, by name. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Steps that every run begins with. */
  readonly prefix: readonly Step[];
  /** Run two machines in lock step that differ only in a secret, and compare what the host can see of them. */
  readonly twin: boolean;
  /** Whether calls of several CPUs overlap. */
  readonly interleaved: boolean;
  readonly stopAtFirst: boolean;
}

/**
 * Boots a worker for a job.
 * @param worker its number among all workers of all machines
 * @throws InputError for an unknown hypervisor, Error when the steps to begin with violate something
 */
export function workerOf(job: FuzzJob, worker: number): FuzzWorker {
  const { hypervisor: identity, profile, feedback, ...rest } = job;
  const { hypervisor, edges } = fuzzedHypervisor(cardsOf(identity), rest.interleaved);
  return new FuzzWorker({
    ...rest,
    worker,
    feedback,
    identity,
    hypervisor,
    edges,
    profile: findProfile(profile)!,
  });
}
