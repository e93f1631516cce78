/** What the workers of a fuzzing run are told, and what is kept of them, in one go and in parts. */
import { expect, test } from 'vitest';
import {
  Coordinator,
  EPOCH_RUNS,
  type FuzzProgress,
  type Resumed,
  type WorkerHandle,
} from '../../lab/fuzz/coordinator.ts';
import type { EpochReport } from '../../lab/fuzz/worker.ts';

const seen = {
  edges: new Uint8Array(1),
  states: new Uint8Array(1),
  rows: new Uint8Array(1),
  hits: new Float64Array(1),
  sometimes: new Float64Array(1),
};

/** What a worker was asked for in an epoch: runs, and the inputs of others. */
interface Asked {
  readonly epoch: number;
  readonly runs: number;
  readonly adopted: readonly string[];
}

/** A worker that keeps every input of others, and two of its own an epoch, of which others should know the second. */
class Recorder implements WorkerHandle {
  readonly asked: Asked[] = [];
  private readonly name: number;
  private readonly partialAt: number;
  private runs: number;
  private inputs: number;
  private readonly shared: number[];

  constructor(name: number, resumed?: Resumed, partialAt = -1) {
    const state = resumed?.workers[name];
    this.name = name;
    this.partialAt = partialAt;
    this.runs = state?.counts.runs ?? 0;
    this.inputs = state?.inputs.length ?? 0;
    this.shared = [...(state?.shared ?? [])];
  }

  async epoch(epoch: number, runs: number, adopted: readonly Uint8Array[]): Promise<EpochReport> {
    this.asked.push({ epoch, runs, adopted: adopted.map((input) => input.join('.')) });
    this.runs += runs;
    this.inputs += adopted.length + 2;
    this.shared.push(this.inputs - 1);
    const own = [0, 1].map((n) => Uint8Array.of(this.name, epoch, n));
    return {
      counts: { runs: this.runs, steps: 0, calls: 0, unexplained: 0 },
      seen,
      inputs: [...adopted, ...own],
      adopted: adopted.length,
      shared: [...this.shared],
      findings: [],
      violations: 0,
      isPartial: epoch === this.partialAt,
    };
  }
}

interface Ran {
  readonly asked: readonly (readonly Asked[])[];
  /** Inputs in the order in which they were told of. */
  readonly kept: Uint8Array[];
  readonly last: FuzzProgress;
}

async function run(runs: number, resumed?: Resumed, known?: Uint8Array[], partialAt?: number): Promise<Ran> {
  const workers = [0, 1].map((name) => new Recorder(name, resumed, partialAt));
  const kept = [...(resumed?.inputs ?? [])];
  let isOver = false;
  const coordinator = new Coordinator(
    {
      workers,
      runs,
      keepGoing: true,
      isOver: () => isOver,
      ...(known !== undefined && { known }),
      onEpoch: ({ newInputs, epoch, corpus }) => {
        kept.push(...newInputs);
        expect(corpus).toBe(kept.length);
        isOver = epoch === partialAt;
      },
    },
    resumed,
  );
  const last = await coordinator.run();
  return { asked: workers.map(({ asked }) => asked), kept, last };
}

function resumedFrom({ kept, last: { epoch, findings, workers } }: Ran): Resumed {
  return { epoch, inputs: kept, findings, workers: structuredClone(workers) };
}

test('workers get what others have found an epoch before, in a run that is resumed, too', async () => {
  const whole = await run(2 * 3 * EPOCH_RUNS);
  expect(whole.asked.map((epochs) => epochs.map(({ adopted }) => adopted))).toEqual([
    [[], ['1.0.1'], ['1.1.1']],
    [[], ['0.0.1'], ['0.1.1']],
  ]);
  const first = await run(2 * EPOCH_RUNS);
  const second = await run(2 * 3 * EPOCH_RUNS, resumedFrom(first));
  expect(first.asked.map((epochs, i) => [...epochs, ...second.asked[i]!])).toEqual(whole.asked);
  expect(second.kept).toEqual(whole.kept);
  expect(second.last.workers).toEqual(whole.last.workers);
});

test('inputs to begin with are kept with the others, and offered once', async () => {
  const known = [Uint8Array.of(9), Uint8Array.of(8)];
  const whole = await run(2 * 2 * EPOCH_RUNS, undefined, known);
  expect(whole.kept.slice(0, 2)).toEqual(known);
  expect(whole.asked[0]!.map(({ adopted }) => adopted)).toEqual([['9', '8'], ['1.0.1']]);
  // Interrupted in its first epoch, which is made again.
  const first = await run(2 * 2 * EPOCH_RUNS, undefined, known, 0);
  expect(first.kept).toEqual(known);
  const second = await run(2 * 2 * EPOCH_RUNS, resumedFrom(first));
  expect(second.asked).toEqual(whole.asked);
  expect(second.kept).toEqual(whole.kept);
});

test('a run that ended within an epoch goes on to the number of runs that is asked for', async () => {
  const first = await run(2 * 44);
  const second = await run(2 * 600, resumedFrom(first));
  expect(second.asked[1]!.map(({ epoch, runs }) => [epoch, runs])).toEqual([
    [1, 256],
    [2, 256],
    [3, 44],
  ]);
  expect(second.last.runs).toBe(1200);
});
