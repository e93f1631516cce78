/** What fuzzing costs: the engine with and without feedback, beside the same steps and properties as commands of fast-check. */
import { performance } from 'node:perf_hooks';
import fc from 'fast-check';
import { defaultProfile } from '#hypercall-abi';
import { tiny } from '#machine';
import { Coordinator } from '../fuzz/coordinator.ts';
import { DEFAULT_MAX_STEPS, FuzzEngine } from '../fuzz/engine.ts';
import { ALL_FEEDBACK, type FeedbackChoice, NO_FEEDBACK } from '../fuzz/feedback.ts';
import type { FuzzJob } from '../fuzz/job.ts';
import { RECORD_BYTES, RecordChoices } from '../fuzz/records.ts';
import { startWorkers } from '../io/fuzz-workers.ts';
import { StepGenerator } from '../random/generate.ts';
import { CannotDo, Executor } from '../scenario/index.ts';
import { Session } from '../session/session.ts';
import { buildHypervisor } from '../zoo/index.ts';
import type { Rate } from './hypercalls.ts';

const SEED = 1;
const STEPS = 60;
/** Milliseconds of warming up (so long the engine's code takes to be compiled), and of each of the measurements. */
const WARM_UP = 30_000;
const SLICE = 1500;
const SLICES = 5;

/** Hypercalls a second of the fuzzer's engine with all oracles. */
export function engineRate(name: string, feedback: FeedbackChoice): Rate {
  const { createHypervisor, edges } = buildHypervisor([], { plain: true, counted: feedback.edges });
  const engine = new FuzzEngine({ machine: tiny, hypervisor: createHypervisor, edges, seed: SEED, feedback });
  return measured(name, () => {
    const before = engine.counts.calls;
    const violated = engine.runOne();
    if (violated !== null) throw new Error(`a benchmark found ${violated.violation.text}`);
    return engine.counts.calls - before;
  });
}

export const fuzzRates = (): Rate[] => [
  engineRate('all oracles, blind', NO_FEEDBACK),
  engineRate('all oracles, edges, states and rows', ALL_FEEDBACK),
];

/** Hypercalls a second of workers side by side, feedback and exchange of inputs included. */
export async function workersRate(name: string, workers: number): Promise<Rate> {
  const job: FuzzJob = {
    machine: tiny,
    profile: defaultProfile.name,
    hypervisor: 'postern',
    feedback: ALL_FEEDBACK,
    seed: SEED,
    maxSteps: DEFAULT_MAX_STEPS,
    prefix: [],
    interleaved: false,
    twin: false,
    stopAtFirst: true,
  };
  const threads = await startWorkers(job, workers, 0);
  const began = performance.now();
  const rates: number[] = [];
  let last: { readonly at: number; readonly calls: number } | null = null;
  const coordinator = new Coordinator({
    workers: threads,
    keepGoing: false,
    isOver: () => rates.length === SLICES,
    onEpoch: ({ calls }) => {
      const at = performance.now();
      if (last !== null && at - last.at < SLICE) return;
      if (last !== null) rates.push((1000 * (calls - last.calls)) / (at - last.at));
      if (at - began > WARM_UP) last = { at, calls };
    },
  });
  const { findings } = await coordinator.run();
  await Promise.all(threads.map((thread) => thread.close()));
  if (findings.length > 0) throw new Error(`a benchmark found ${findings[0]!.key}`);
  rates.sort((a, b) => b - a);
  return { name, best: rates[0]!, median: rates[SLICES >> 1]! };
}

/** One step of a host, as a command: what the fuzzer's records are. */
class StepCommand implements fc.Command<StepGenerator, Executor> {
  private readonly record: Uint8Array;
  private readonly choices = new RecordChoices();
  /** Hypercalls that all commands have made. */
  static calls = 0;

  constructor(record: Uint8Array) {
    this.record = record;
  }

  check(): boolean {
    return true;
  }

  run(host: StepGenerator, executor: Executor): void {
    host.decideBy(this.choices);
    const step = host.nextBy(this.choices.open(this.record, 0) % host.recipes.length);
    try {
      const outcome = executor.perform(step);
      if (outcome.kind === 'call') StepCommand.calls++;
      host.world.observe(step, outcome);
    } catch (error) {
      if (!(error instanceof CannotDo)) throw error;
    }
    if (executor.hasNewViolations) throw new Error(executor.newViolations()[0]!.text);
  }

  toString(): string {
    return `step ${this.record.join(' ')}`;
  }
}

/**
 * The same through fast-check's model runner. `boot` is how its users do it: a fresh system for every run; `undo` lends
 * it the journal, so that only generating and running are compared.
 */
export function fastCheckRate(name: string, system: 'boot' | 'undo'): Rate {
  const record = fc.uint8Array({ minLength: RECORD_BYTES, maxLength: RECORD_BYTES });
  const commands = fc.commands([record.map((bytes) => new StepCommand(bytes))], { maxCommands: STEPS, size: 'max' });
  let session = new Session({ machine: tiny });
  let executor = new Executor(session);
  let seed = 0;
  return measured(name, () => {
    const before = StepCommand.calls;
    fc.assert(
      fc.property(commands, (sequence) => {
        if (system === 'boot') {
          session = new Session({ machine: tiny });
          executor = new Executor(session);
        } else {
          executor.reset();
        }
        const names = session.profile.calls.map((call) => call.name);
        const host = new StepGenerator(tiny, names, new RecordChoices(), [], session.profile);
        fc.modelRun(() => ({ model: host, real: executor }), sequence);
        executor.checkAll();
      }),
      { numRuns: 4, seed: seed++ },
    );
    return StepCommand.calls - before;
  });
}

/** @param work does some of it and tells how many hypercalls that was */
function measured(name: string, work: () => number): Rate {
  const during = (milliseconds: number): number => {
    const began = performance.now();
    let calls = 0;
    while (performance.now() - began < milliseconds) calls += work();
    return (1000 * calls) / (performance.now() - began);
  };
  during(WARM_UP);
  const rates = Array.from({ length: SLICES }, () => during(SLICE)).toSorted((a, b) => b - a);
  return { name, best: rates[0]!, median: rates[SLICES >> 1]! };
}
