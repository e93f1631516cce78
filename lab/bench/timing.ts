/** How the benchmarks take time: many short rounds after a warm-up, of which the best and the median are kept. */
import { performance } from 'node:perf_hooks';

/** Nanoseconds of one operation over several rounds. */
export interface Timing {
  readonly name: string;
  readonly best: number;
  readonly median: number;
}

const WARM_UP = 60;
const ROUNDS = 81;

/** Runs `body` (`ops` operations) for some rounds, `reset` untimed after each. */
export function measure(
  name: string,
  ops: number,
  body: () => void,
  reset: () => void = () => {},
  rounds = ROUNDS,
): Timing {
  const times: number[] = [];
  for (let round = -Math.min(WARM_UP, rounds); round < rounds; round++) {
    const start = performance.now();
    body();
    if (round >= 0) times.push(((performance.now() - start) * 1e6) / ops);
    reset();
  }
  times.sort((a, b) => a - b);
  return { name, best: times[0]!, median: times[times.length >> 1]! };
}
