/** What the main thread and the workers of a fuzzing run say to each other. */
import type { EngineCounts } from '../fuzz/engine.ts';
import type { FuzzJob } from '../fuzz/job.ts';
import type { WorkerState } from '../fuzz/worker.ts';

/** What a thread begins with. */
export interface ThreadData {
  readonly job: FuzzJob;
  readonly worker: number;
  readonly shared: SharedArrayBuffer;
}

/** What a thread is told to do. */
export type EpochOrder =
  | { readonly kind: 'restore'; readonly state: WorkerState }
  | {
      readonly kind: 'epoch';
      readonly number: number;
      readonly runs: number;
      readonly adopted: readonly Uint8Array[];
      readonly known: readonly string[];
    };

/** What both see at any time: how far the worker is, and whether it is to end. */
export class Counters {
  static readonly BYTES = 32;
  private readonly cells: Float64Array;

  constructor(shared: SharedArrayBuffer) {
    this.cells = new Float64Array(shared);
  }

  publish({ runs, steps, calls }: EngineCounts): void {
    this.cells[0] = runs;
    this.cells[1] = steps;
    this.cells[2] = calls;
  }

  get counts(): EngineCounts {
    return { runs: this.cells[0]!, steps: this.cells[1]!, calls: this.cells[2]! };
  }

  get isOver(): boolean {
    return this.cells[3] !== 0;
  }

  end(): void {
    this.cells[3] = 1;
  }
}
