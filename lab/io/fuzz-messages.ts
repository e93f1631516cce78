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
  static readonly BYTES = 40;
  private readonly cells: Float64Array;

  constructor(shared: SharedArrayBuffer) {
    this.cells = new Float64Array(shared);
  }

  publish({ runs, steps, calls, unexplained }: EngineCounts): void {
    this.cells[0] = runs;
    this.cells[1] = steps;
    this.cells[2] = calls;
    this.cells[3] = unexplained;
  }

  get counts(): EngineCounts {
    const [runs, steps, calls, unexplained] = this.cells;
    return { runs: runs!, steps: steps!, calls: calls!, unexplained: unexplained! };
  }

  get isOver(): boolean {
    return this.cells[4] !== 0;
  }

  end(): void {
    this.cells[4] = 1;
  }
}
