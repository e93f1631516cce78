/**
 * How the benchmarks take time. What is measured is cut into slices of some ten microseconds: most of them are over
 * before another program gets the processor, so that their median stands also on a machine that has other things to do.
 */
import { performance } from 'node:perf_hooks';

/** Nanoseconds of one operation. */
export interface Timing {
  readonly name: string;
  readonly best: number;
  readonly median: number;
}

/** A line of the report. */
export interface Row {
  readonly timing: Timing;
  /** Units of work in an operation (1), and what a million of them a second is called (M/s). */
  readonly per?: number;
  readonly unit?: string;
  /** Units a second, in millions, that it should reach. */
  readonly target?: number;
  /** The least that any program could do, and the same work done plainly with bigints. */
  readonly floor?: Timing;
  readonly reference?: Timing;
}

/** What to measure: `body` does `ops` operations, for each of the slices of a round; `reset` is not timed. */
export interface Work {
  readonly ops: number;
  readonly slices: number;
  readonly body: (slice: number) => void;
  readonly reset?: () => void;
  /** Rounds that count, after as many (up to 60) that warm up. */
  readonly rounds?: number;
}

const WARM_UP = 60;
const ROUNDS = 81;

/** Measures `work`. */
export function measure(name: string, { ops, slices, body, reset, rounds = ROUNDS }: Work): Timing {
  const times = new Float64Array(rounds * slices);
  for (let round = -Math.min(WARM_UP, rounds); round < rounds; round++) {
    for (let slice = 0; slice < slices; slice++) {
      const start = performance.now();
      body(slice);
      const end = performance.now();
      if (round >= 0) times[round * slices + slice] = ((end - start) * 1e6) / ops;
    }
    reset?.();
  }
  times.sort();
  return { name, best: times[0]!, median: times[times.length >> 1]! };
}
