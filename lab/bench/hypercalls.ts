/** How fast hypercalls are in the plain build: single-page map and unmap through the boundary, without and with oracles. */
import { performance } from 'node:perf_hooks';
import { Boundary } from '#hypercall-abi';
import { createMachine, hostPort, tiny } from '#machine';
import { Session } from '../session/session.ts';

/** Calls per second over several rounds. */
export interface Rate {
  readonly name: string;
  readonly best: number;
  readonly median: number;
}

const PAGE = 4096;
const IOVA = 0x100000;
/** Pages of one round: each is mapped, then each is unmapped. */
const PAGES = 256;
const RW_CACHE = 7;
const WARM_UP = 60;

/** The floor: crossings into a hypervisor that does nothing, with the same arguments. */
export function crossingRate(rounds: number): Rate {
  const nothing = { identity: 'nothing', boot: () => 0, hvc: () => {}, abort: () => 'inject' as const };
  const boundary = new Boundary(nothing, createMachine(tiny).cpus.map(hostPort), null);
  return measureRounds('crossings into a hypervisor that does nothing (floor)', rounds, () => {
    for (let i = 0; i < PAGES; i++) boundary.call(0, 'map_pages', 1, IOVA + i * PAGE, IOVA, PAGE, 1, RW_CACHE);
    for (let i = 0; i < PAGES; i++) boundary.call(0, 'unmap_pages', 1, IOVA + i * PAGE, PAGE, 1);
  });
}

/** Rates of `body`, which makes a call and its undoing for each page. */
function measureRounds(name: string, rounds: number, body: () => void): Rate {
  const rates: number[] = [];
  for (let round = -Math.min(rounds, WARM_UP); round < rounds; round++) {
    const start = performance.now();
    body();
    if (round >= 0) rates.push((2 * PAGES * 1000) / (performance.now() - start));
  }
  rates.sort((a, b) => b - a);
  return { name, best: rates[0]!, median: rates[rates.length >> 1]! };
}

/** @param rounds how many rounds are counted; the same number of them, up to 60, warms up */
export function hypercallRate(name: string, unchecked: boolean, rounds: number): Rate {
  const session = new Session({ machine: tiny, ...(unchecked ? { unchecked: true } : {}) });
  const { boundary, driver, hostMemory } = session;
  const domain = driver.allocDomain(0, 1);
  driver.attach(0, domain, 0);
  const pages = Array.from({ length: PAGES }, () => hostMemory.alloc());
  // One map and unmap brings the tables in, so that no call has to ask for memory.
  driver.map(domain, IOVA, pages[0]!, PAGE, 1, RW_CACHE);
  driver.unmap(domain, IOVA, PAGE, 1);
  const rate = measureRounds(name, rounds, () => {
    for (let i = 0; i < PAGES; i++) {
      boundary.call(0, 'map_pages', domain, IOVA + i * PAGE, pages[i]!, PAGE, 1, RW_CACHE);
    }
    for (let i = 0; i < PAGES; i++) boundary.call(0, 'unmap_pages', domain, IOVA + i * PAGE, PAGE, 1);
    // Without a mark nothing is undone, and the journal must not grow without end.
    session.machine.memory.forget();
  });
  if (session.violationCount() !== 0) throw new Error(`a benchmark found ${session.violations()[0]!.text}`);
  return rate;
}
