/**
 * How fast page tables are: nanoseconds a call, in the plain build with undo on, beside a floor measured in the same
 * run (a loop that stores the same words to a bare Int32Array). Tables are warm unless said otherwise.
 */
import { performance } from 'node:perf_hooks';
import {
  allocPageTable,
  iovaToPhys,
  mapPages,
  type PageTable,
  type PageTableConfig,
  type PageTableOps,
  Prot,
  unmapPages,
} from '#io-pgtable/plain';
import { PhysicalMemory } from '#machine/memory';
import { BigintPageTable } from './bigint-reference.ts';

/** Nanoseconds of one operation over several rounds. */
export interface Timing {
  readonly name: string;
  readonly best: number;
  readonly median: number;
}

const PAGE = 4096;
const BLOCK = 2 ** 21;
/** Last-level tables in use: their content fits the second-level cache, like a busy domain's. */
const TABLES = 64;
const PAGES = 512;
const WARM_UP = 60;
const ROUNDS = 81;
const BIGINT_ROUNDS = 9;
const BASE = 0x80000000;
const FROM = 0x100000000;
const TO = 0x40000000;
const RW = Prot.READ | Prot.WRITE | Prot.CACHE;

const STAGE_1: PageTableConfig = {
  fmt: 'ARM_64_LPAE_S1',
  pgsizeBitmap: 0x40201000,
  ias: 39,
  oas: 48,
  coherentWalk: true,
  quirks: 0,
};

/** Runs `body` (`ops` operations) for some rounds, `reset` untimed after each. */
export function measure(name: string, ops: number, body: () => void, reset: () => void = () => {}): Timing {
  const times: number[] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const start = performance.now();
    body();
    if (round >= 0) times.push(((performance.now() - start) * 1e6) / ops);
    reset();
  }
  times.sort((a, b) => a - b);
  return { name, best: times[0]!, median: times[times.length >> 1]! };
}

/** A page table of its own in a memory of its own; what is mapped between `start` and `rewind` is undone by it. */
class Bench {
  readonly memory = new PhysicalMemory([
    { base: 0x8000000, size: 0x1000000 },
    { base: BASE, size: 2 ** 28 },
  ]);
  readonly pt: PageTable;
  private next = BASE;
  private readonly marked: number;

  constructor(config: PageTableConfig, prepare: (pt: PageTable) => void) {
    const { memory } = this;
    const ops: PageTableOps = {
      memory,
      allocTable: (size) => {
        const pa = this.next;
        this.next += Math.max(PAGE, size);
        return pa;
      },
      freeTable: () => {},
      flushAll: () => {},
      flushWalk: () => {},
      addPages: () => {},
      warn: () => {
        throw new Error('a benchmark broke the contract');
      },
    };
    const pt = allocPageTable(ops, config);
    if (typeof pt === 'number') throw new Error('a benchmark has a bad configuration');
    this.pt = pt;
    prepare(pt);
    this.marked = memory.mark();
  }

  rewind(): void {
    this.memory.undo(this.marked);
  }
}

function mapAll(pt: PageTable, pages = PAGES): void {
  for (let table = 0; table < TABLES; table++) {
    const at = table * BLOCK;
    for (let page = 0; page < PAGES; page += pages) {
      mapPages(pt, FROM + at + page * PAGE, TO + at + page * PAGE, PAGE, pages, RW);
    }
  }
}

function unmapAll(pt: PageTable, pages = PAGES): void {
  for (let table = 0; table < TABLES; table++) {
    for (let page = 0; page < PAGES; page += pages) unmapPages(pt, FROM + table * BLOCK + page * PAGE, PAGE, pages);
  }
}

/** Tables in place, nothing mapped. */
function emptied(pt: PageTable): void {
  mapAll(pt);
  unmapAll(pt);
}

/** The floor of a batch of 512 pages: a plain loop that stores its 1,024 words. */
export function floorOfBatch(): Timing {
  const words = new Int32Array(TABLES * 2 * PAGES);
  return measure('store 1,024 words in a loop (floor)', TABLES, () => {
    for (let table = 0; table < TABLES; table++) {
      const start = table * 2 * PAGES;
      let lo = TO | 0x747;
      for (let i = start; i < start + 2 * PAGES; i += 2) {
        words[i] = lo;
        words[i + 1] = 0;
        lo = (lo + PAGE) | 0;
      }
    }
  });
}

export function mapBatch(config = STAGE_1): Timing {
  const bench = new Bench(config, emptied);
  return measure(
    'map 512 pages in one call',
    TABLES,
    () => mapAll(bench.pt),
    () => bench.rewind(),
  );
}

export function mapSingle(config = STAGE_1): Timing {
  const bench = new Bench(config, emptied);
  return measure(
    'map one page',
    TABLES * PAGES,
    () => mapAll(bench.pt, 1),
    () => bench.rewind(),
  );
}

export function unmapBatch(config = STAGE_1): Timing {
  const bench = new Bench(config, mapAll);
  return measure(
    'unmap 512 pages in one call',
    TABLES,
    () => unmapAll(bench.pt),
    () => bench.rewind(),
  );
}

export function unmapSingle(config = STAGE_1): Timing {
  const bench = new Bench(config, mapAll);
  return measure(
    'unmap one page',
    TABLES * PAGES,
    () => unmapAll(bench.pt, 1),
    () => bench.rewind(),
  );
}

export function mapBlock(config = STAGE_1): Timing {
  const bench = new Bench(config, (pt) => mapPages(pt, FROM, TO, BLOCK, 1, RW));
  const blocks = 256;
  return measure(
    'map one 2M block',
    blocks,
    () => {
      for (let i = 1; i <= blocks; i++) mapPages(bench.pt, FROM + i * BLOCK, TO + i * BLOCK, BLOCK, 1, RW);
    },
    () => bench.rewind(),
  );
}

export function translate(config = STAGE_1): Timing {
  const bench = new Bench(config, mapAll);
  let sum = 0;
  const timing = measure('iova_to_phys, addresses scattered', TABLES * PAGES, () => {
    let page = 1;
    for (let i = 0; i < TABLES * PAGES; i++) {
      page = (page * 4093 + 7919) & (TABLES * PAGES - 1);
      sum += iovaToPhys(bench.pt, FROM + page * PAGE + 42);
    }
  });
  if (sum === 0) throw new Error('a benchmark translated nothing');
  return timing;
}

/** Taking back 512-page maps. */
export function undoBatch(config = STAGE_1): Timing {
  const bench = new Bench(config, emptied);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    mapAll(bench.pt);
    const start = performance.now();
    bench.rewind();
    times.push(((performance.now() - start) * 1e6) / TABLES);
  }
  times.sort((a, b) => a - b);
  return { name: 'undo a 512-page map', best: times[0]!, median: times[times.length >> 1]! };
}

/** The same work done with bigints, without a journal: what the engine is measured against. */
function bigints(name: string, work: (pt: BigintPageTable, iova: bigint, pa: bigint) => void, mapped: boolean): Timing {
  const pt = new BigintPageTable(39n, BigInt(BASE));
  const [page, rw] = [BigInt(PAGE), BigInt(RW)];
  const each = (step: (iova: bigint, pa: bigint) => void): void => {
    for (let i = 0n; i < BigInt(TABLES * PAGES); i++) step(BigInt(FROM) + i * page, BigInt(TO) + i * page);
  };
  const restore = (): void =>
    each((iova, pa) => {
      if (mapped) pt.map(iova, pa, page, 1n, rw);
      else pt.unmap(iova, page, 1n);
    });
  each((iova, pa) => pt.map(iova, pa, page, 1n, rw));
  restore();
  const times: number[] = [];
  for (let round = 0; round < BIGINT_ROUNDS; round++) {
    const start = performance.now();
    each((iova, pa) => work(pt, iova, pa));
    times.push(((performance.now() - start) * 1e6) / (TABLES * PAGES));
    restore();
  }
  times.sort((a, b) => a - b);
  return { name, best: times[0]!, median: times[times.length >> 1]! };
}

/** The bigint reference, one page a call. */
export function bigintReference(): Timing[] {
  const [page, rw] = [BigInt(PAGE), BigInt(RW)];
  const translate = (pt: BigintPageTable, iova: bigint, pa: bigint): void => {
    if (pt.translate(iova) !== pa) throw new Error('the reference translated wrongly');
  };
  return [
    bigints('map one page, with bigints', (pt, iova, pa) => pt.map(iova, pa, page, 1n, rw), false),
    bigints('unmap one page, with bigints', (pt, iova) => pt.unmap(iova, page, 1n), true),
    bigints('iova_to_phys, with bigints', translate, true),
  ];
}

/** All of them, the floor first. */
export function ioPgtable(): Timing[] {
  const cases = [floorOfBatch, mapBatch, unmapBatch, undoBatch, mapSingle, unmapSingle, mapBlock, translate];
  return [...cases.map((run) => run()), ...bigintReference()];
}
