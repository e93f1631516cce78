/**
 * How fast page tables are, in the plain build with undo on, beside floors measured in the same run: loops over bare
 * arrays that touch the same words. Tables are warm unless said otherwise.
 */
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
import { measure, type Row, type Timing } from './timing.ts';

const PAGE = 4096;
const BLOCK = 2 ** 21;
/** Last-level tables in use: their content fits the second-level cache, like a busy domain's. */
const TABLES = 64;
const PAGES = 512;
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

/** Maps what lies in one last-level table, `pages` a call. */
function mapTable(pt: PageTable, table: number, pages: number): void {
  const at = table * BLOCK;
  for (let page = 0; page < PAGES; page += pages) {
    mapPages(pt, FROM + at + page * PAGE, TO + at + page * PAGE, PAGE, pages, RW);
  }
}

function unmapTable(pt: PageTable, table: number, pages: number): void {
  const at = table * BLOCK;
  for (let page = 0; page < PAGES; page += pages) unmapPages(pt, FROM + at + page * PAGE, PAGE, pages);
}

function mapAll(pt: PageTable): void {
  for (let table = 0; table < TABLES; table++) mapTable(pt, table, PAGES);
}

/** Tables in place, nothing mapped. */
function emptied(pt: PageTable): void {
  mapAll(pt);
  for (let table = 0; table < TABLES; table++) unmapTable(pt, table, PAGES);
}

/** The floor of a batch of 512 pages: a plain loop that stores its 1,024 words. */
export function floorOfBatch(): Timing {
  const words = new Int32Array(TABLES * 2 * PAGES);
  const body = (table: number): void => {
    const start = table * 2 * PAGES;
    let lo = TO | 0x747;
    for (let i = start; i < start + 2 * PAGES; i += 2) {
      words[i] = lo;
      words[i + 1] = 0;
      lo = (lo + PAGE) | 0;
    }
  };
  return measure('store 1,024 words in a loop', { ops: 1, slices: TABLES, body });
}

/** The floor of one page: save two words for undo, and store two. */
export function floorOfPage(): Timing {
  const words = new Int32Array(TABLES * 2 * PAGES);
  const log = new Int32Array(words.length);
  const body = (table: number): void => {
    for (let i = table * 2 * PAGES; i < (table + 1) * 2 * PAGES; i += 2) {
      log[i] = words[i]!;
      log[i + 1] = words[i + 1]!;
      words[i] = TO + i * 2048;
      words[i + 1] = 0;
    }
  };
  return measure('save two words and store two', { ops: PAGES, slices: TABLES, body });
}

/** The floor of a look-up: read a scattered word of an array that has one for each page. */
export function floorOfLookup(): Timing {
  const words = new Int32Array(TABLES * PAGES).fill(1);
  let sum = 0;
  let last = 1;
  const body = (): void => {
    let page = last;
    let read = 0;
    for (let i = 0; i < PAGES; i++) {
      page = scatter(page);
      read += words[page]!;
    }
    last = page;
    sum = read;
  };
  const timing = measure('read a scattered word', { ops: PAGES, slices: TABLES, body });
  if (sum === 0) throw new Error('a benchmark read nothing');
  return timing;
}

/** The next of the scattered pages: all come before one comes again. */
function scatter(page: number): number {
  return (page * 4093 + 7919) & (TABLES * PAGES - 1);
}

/** @param hashed the state is hashed after each call, as an explorer does that compares states */
export function mapBatch(config = STAGE_1, hashed = false): Timing {
  const bench = new Bench(config, emptied);
  const body = (table: number): void => {
    mapTable(bench.pt, table, PAGES);
    if (hashed) bench.memory.stateHash();
  };
  const name = hashed ? 'map 512 pages in one call, hash the state' : 'map 512 pages in one call';
  return measure(name, { ops: 1, slices: TABLES, body, reset: () => bench.rewind() });
}

export function unmapBatch(config = STAGE_1): Timing {
  const bench = new Bench(config, mapAll);
  const body = (table: number): void => unmapTable(bench.pt, table, PAGES);
  return measure('unmap 512 pages in one call', { ops: 1, slices: TABLES, body, reset: () => bench.rewind() });
}

export function mapSingle(config = STAGE_1): Timing {
  const bench = new Bench(config, emptied);
  const body = (table: number): void => mapTable(bench.pt, table, 1);
  return measure('map one page', { ops: PAGES, slices: TABLES, body, reset: () => bench.rewind() });
}

export function unmapSingle(config = STAGE_1): Timing {
  const bench = new Bench(config, mapAll);
  const body = (table: number): void => unmapTable(bench.pt, table, 1);
  return measure('unmap one page', { ops: PAGES, slices: TABLES, body, reset: () => bench.rewind() });
}

export function mapBlock(config = STAGE_1): Timing {
  const bench = new Bench(config, (pt) => mapPages(pt, FROM, TO, BLOCK, 1, RW));
  const blocks = 256;
  const body = (slice: number): void => {
    const first = 1 + slice * blocks;
    for (let i = first; i < first + blocks; i++) mapPages(bench.pt, FROM + i * BLOCK, TO + i * BLOCK, BLOCK, 1, RW);
  };
  return measure('map one 2M block', { ops: blocks, slices: 16, body, reset: () => bench.rewind() });
}

export function translate(config = STAGE_1): Timing {
  const bench = new Bench(config, mapAll);
  let sum = 0;
  let last = 1;
  const body = (): void => {
    let page = last;
    let reached = 0;
    for (let i = 0; i < PAGES; i++) {
      page = scatter(page);
      reached += iovaToPhys(bench.pt, FROM + page * PAGE + 42);
    }
    last = page;
    sum = reached;
  };
  const timing = measure('iova_to_phys, addresses scattered', { ops: PAGES, slices: TABLES, body });
  if (sum === 0) throw new Error('a benchmark translated nothing');
  return timing;
}

/** Taking back 512-page maps. */
export function undoBatch(config = STAGE_1): Timing {
  const bench = new Bench(config, emptied);
  const marks: number[] = [];
  const redo = (): void => {
    for (let table = 0; table < TABLES; table++) {
      marks[table] = bench.memory.mark();
      mapTable(bench.pt, table, PAGES);
    }
  };
  redo();
  const body = (slice: number): void => bench.memory.undo(marks[TABLES - 1 - slice]!);
  return measure('undo a 512-page map', { ops: 1, slices: TABLES, body, reset: redo });
}

/** The same work done with bigints, without a journal: what the engine is measured against. */
function bigints(name: string, work: (pt: BigintPageTable, iova: bigint, pa: bigint) => void, mapped: boolean): Timing {
  const pt = new BigintPageTable(39n, BigInt(BASE));
  const [page, rw] = [BigInt(PAGE), BigInt(RW)];
  const each = (table: number, step: (iova: bigint, pa: bigint) => void): void => {
    const first = BigInt(table * PAGES);
    for (let i = first; i < first + BigInt(PAGES); i++) step(BigInt(FROM) + i * page, BigInt(TO) + i * page);
  };
  const all = (step: (iova: bigint, pa: bigint) => void): void => {
    for (let table = 0; table < TABLES; table++) each(table, step);
  };
  const map = (iova: bigint, pa: bigint): unknown => pt.map(iova, pa, page, 1n, rw);
  const restore = (): void => all((iova, pa) => (mapped ? map(iova, pa) : pt.unmap(iova, page, 1n)));
  all(map);
  restore();
  const body = (table: number): void => each(table, (iova, pa) => work(pt, iova, pa));
  return measure(name, { ops: PAGES, slices: TABLES, body, reset: restore, rounds: BIGINT_ROUNDS });
}

/** The bigint reference, one page a call. */
export function bigintReference(): { map: Timing; unmap: Timing; lookup: Timing } {
  const [page, rw] = [BigInt(PAGE), BigInt(RW)];
  const lookUp = (pt: BigintPageTable, iova: bigint, pa: bigint): void => {
    if (pt.translate(iova) !== pa) throw new Error('the reference translated wrongly');
  };
  return {
    map: bigints('map one page', (pt, iova, pa) => pt.map(iova, pa, page, 1n, rw), false),
    unmap: bigints('unmap one page', (pt, iova) => pt.unmap(iova, page, 1n), true),
    lookup: bigints('iova_to_phys', lookUp, true),
  };
}

/** All of them, with what they are measured against. */
export function ioPgtable(): Row[] {
  const batch = floorOfBatch();
  const page = floorOfPage();
  const lookup = floorOfLookup();
  const [map, unmap, translated] = [mapSingle(), unmapSingle(), translate()];
  const pages = { per: PAGES, unit: 'M pages/s', floor: batch };
  const rows = [
    { timing: mapBatch(), ...pages, target: 300 },
    { timing: mapBatch(STAGE_1, true), ...pages },
    { timing: unmapBatch(), ...pages },
    { timing: undoBatch(), ...pages },
    { timing: mapBlock(), floor: page },
  ];
  // Bigints last: the garbage that they leave behind changes the heap for those that come after.
  const reference = bigintReference();
  return [
    ...rows,
    { timing: map, target: 20, floor: page, reference: reference.map },
    { timing: unmap, target: 20, floor: page, reference: reference.unmap },
    { timing: translated, target: 30, floor: lookup, reference: reference.lookup },
  ];
}
