/** The workers of a fuzzing run: one in this thread, which lets others have their turn, or several in threads of their own. */
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { WorkerHandle } from '../fuzz/coordinator.ts';
import type { EngineCounts } from '../fuzz/engine.ts';
import { type FuzzJob, workerOf } from '../fuzz/job.ts';
import type { EpochReport, FuzzNames, FuzzWorker, WorkerState } from '../fuzz/worker.ts';
import { Counters, type EpochOrder, type ThreadData } from './fuzz-messages.ts';

export interface FuzzThread extends WorkerHandle {
  readonly names: FuzzNames;
  /** How far it is, in the middle of an epoch, too. */
  readonly counts: EngineCounts;
  restore(state: WorkerState): void;
  /** Have the epoch end early. */
  end(): void;
  close(): Promise<void>;
}

/** Milliseconds of work before others have their turn. */
const SLICE = 40;

/**
 * Starts workers.
 * @param first number of the first one among those of all machines
 * @throws what {@link workerOf} throws
 */
export async function startWorkers(job: FuzzJob, count: number, first: number): Promise<FuzzThread[]> {
  if (count === 1) return [new LocalWorker(workerOf(job, first))];
  const threads = Array.from({ length: count }, (_, i) => new ThreadWorker(job, first + i));
  try {
    await Promise.all(threads.map((thread) => thread.ready()));
  } catch (error) {
    await Promise.all(threads.map((thread) => thread.close()));
    throw error;
  }
  return threads;
}

class LocalWorker implements FuzzThread {
  readonly names: FuzzNames;
  private readonly worker: FuzzWorker;
  private isOver = false;

  constructor(worker: FuzzWorker) {
    this.worker = worker;
    this.names = worker.names;
  }

  get counts(): EngineCounts {
    return this.worker.counts;
  }

  async epoch(...[number, runs, adopted, known]: Parameters<WorkerHandle['epoch']>): Promise<EpochReport> {
    const epoch = this.worker.epoch(number, runs, adopted, known, () => this.isOver);
    let began = performance.now();
    for (;;) {
      const { done, value } = epoch.next();
      if (done) return value;
      if (performance.now() - began < SLICE) continue;
      await setImmediate();
      began = performance.now();
    }
  }

  restore(state: WorkerState): void {
    this.worker.restore(state);
  }

  end(): void {
    this.isOver = true;
  }

  async close(): Promise<void> {}
}

class ThreadWorker implements FuzzThread {
  names: FuzzNames = { recipes: [], rows: [], sometimes: [] };
  private readonly thread: Worker;
  private readonly counters: Counters;

  constructor(job: FuzzJob, worker: number) {
    const shared = new SharedArrayBuffer(Counters.BYTES);
    this.counters = new Counters(shared);
    const workerData: ThreadData = { job, worker, shared };
    this.thread = new Worker(new URL('./fuzz-thread.js', import.meta.url), { workerData });
  }

  get counts(): EngineCounts {
    return this.counters.counts;
  }

  async ready(): Promise<void> {
    this.names = (await this.answer()) as FuzzNames;
  }

  async epoch(...[number, runs, adopted, known]: Parameters<WorkerHandle['epoch']>): Promise<EpochReport> {
    this.tell({ kind: 'epoch', number, runs, adopted, known });
    return (await this.answer()) as EpochReport;
  }

  restore(state: WorkerState): void {
    this.tell({ kind: 'restore', state });
  }

  end(): void {
    this.counters.end();
  }

  async close(): Promise<void> {
    await this.thread.terminate();
  }

  private tell(order: EpochOrder): void {
    this.thread.postMessage(order);
  }

  /** The next message. @throws what the thread threw */
  private answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.thread.off('message', onMessage).off('error', onError);
      };
      const onMessage = (message: unknown): void => {
        done();
        resolve(message);
      };
      const onError = (error: unknown): void => {
        done();
        reject(error as Error);
      };
      this.thread.on('message', onMessage).on('error', onError);
    });
  }
}
