/**
 * How fast the SMMU translates: nanoseconds an access, with the journal on. 4K granule, four levels in each stage,
 * addresses scattered over {@link PAGES} pages. Nested means that each of the four stage-1 descriptors, the CD and the
 * page itself are looked up in a stage 2 of four levels.
 */
import {
  allocPageTable,
  mapPages,
  type PageTable,
  type PageTableConfig,
  type PageTableOps,
  Prot,
} from '#io-pgtable/plain';
import { createMachine, type MachineDescription, registers, type Smmu, structures, tiny } from '#machine';
import { BigintPageTable } from './bigint-reference.ts';
import { measure, type Row, type Timing } from './timing.ts';

const { CD, STE, SteConfig, encode } = structures;
const { Register } = registers;

const PAGE = 4096;
const RAM = { base: 0x40000000, size: 2 ** 28 };
const STRTAB = RAM.base;
const CDS = RAM.base + PAGE;
const FIRST_TABLE = RAM.base + 2 * PAGE;
const DATA = RAM.base + 2 ** 27;
const IOVA = 0x7f0000000000;
/** Pages that walks are spread over, and those that hits are: as many as the cache has sets. */
const PAGES = 16384;
const HOT_PAGES = 1024;
/** Where in its page each access is. */
const OFFSET = 42;
/** Accesses in a slice. */
const SLICE = 256;
const RW = Prot.READ | Prot.WRITE | Prot.CACHE;

const STREAMS = { stage1: 1, stage2: 2, nested: 3 } as const;

const BOARD: MachineDescription = {
  ...tiny,
  name: 'bench',
  ram: [RAM],
  carveOut: { base: RAM.base + RAM.size - PAGE, size: PAGE },
  smmus: [{ ...tiny.smmus[0]!, oas: 48 }],
};

/** An SMMU with one stream for each way to translate, each of which maps the same addresses. */
class Board {
  readonly smmu: Smmu;
  private readonly ops: PageTableOps;

  constructor() {
    const machine = createMachine(BOARD);
    const { memory } = machine;
    let next = FIRST_TABLE;
    this.smmu = machine.smmus[0]!;
    this.ops = {
      memory,
      allocTable: (size) => {
        const pa = next;
        next += Math.max(PAGE, size);
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
    const first = this.table('ARM_64_LPAE_S1');
    const direct = this.table('ARM_64_LPAE_S2');
    const below = this.table('ARM_64_LPAE_S2');
    for (let i = 0; i < PAGES; i++) {
      map(first, IOVA + i * PAGE, DATA + i * PAGE);
      map(direct, IOVA + i * PAGE, DATA + i * PAGE);
    }
    // What the guest sees is where it is: its tables, then its pages.
    for (let pa = CDS; pa < DATA + PAGES * PAGE; pa = pa === next ? DATA : pa + PAGE) map(below, pa, pa);
    const stage2 = { S2VMID: 1, ...this.stage2Of(below) };
    memory.writeBytes(CDS, bytes(this.contextOf(first)));
    const stage1 = { S1ContextPtr: CDS, S1CIR: 1, S1COR: 1, S1CSH: 3 };
    this.stream(STREAMS.stage1, { Config: SteConfig.stage1, ...stage1 });
    this.stream(STREAMS.stage2, { Config: SteConfig.stage2, S2VMID: 2, ...this.stage2Of(direct) });
    this.stream(STREAMS.nested, { Config: SteConfig.nested, ...stage1, ...stage2 });
    this.smmu.write64(Register.STRTAB_BASE, 0, STRTAB);
    this.smmu.write32(Register.STRTAB_BASE_CFG, tiny.smmus[0]!.sidBits);
    this.smmu.write32(Register.CR0, registers.CR0_SMMUEN);
    memory.mark();
  }

  private table(fmt: PageTableConfig['fmt']): PageTable {
    const config = { fmt, pgsizeBitmap: 0x40201000, ias: 48, oas: 48, coherentWalk: true, quirks: 0 };
    const pt = allocPageTable(this.ops, config);
    if (typeof pt === 'number') throw new Error('a benchmark has a bad configuration');
    return pt;
  }

  private contextOf({ root, layout }: PageTable): Int32Array {
    const { registers: of } = layout;
    if (of.stage !== 1) throw new Error('not a stage-1 table');
    const { tsz, tg, ips, sh, orgn, irgn } = of;
    return encode(CD, {
      ...{ T0SZ: tsz, TG0: tg, IPS: ips, SH0: sh, OR0: orgn, IR0: irgn, TTB0: root },
      ...{ EPD1: 1, V: 1, AA64: 1, R: 1, A: 1, ASID: 1 },
    });
  }

  private stage2Of({ root, layout }: PageTable): Record<string, number> {
    const { registers: of } = layout;
    if (of.stage !== 2) throw new Error('not a stage-2 table');
    const { tsz, tg, ps, sl, sh, orgn, irgn } = of;
    return {
      ...{ S2T0SZ: tsz, S2TG: tg, S2PS: ps, S2SL0: sl, S2SH0: sh, S2OR0: orgn, S2IR0: irgn },
      ...{ S2AA64: 1, S2R: 1, S2TTB: root },
    };
  }

  private stream(sid: number, values: Record<string, number>): void {
    this.ops.memory.writeBytes(STRTAB + 64 * sid, bytes(encode<string>(STE, { V: 1, SHCFG: 1, ...values })));
  }
}

function map(pt: PageTable, iova: number, pa: number): void {
  if (mapPages(pt, iova, pa, PAGE, 1, RW) !== PAGE) throw new Error('a benchmark could not map');
}

function bytes(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer);
}

/** The next of `pages` (a power of two) scattered pages: all come before one comes again. */
function scatter(page: number, pages: number): number {
  return (page * 4093 + 7919) & (pages - 1);
}

/** @param access translates an access to the page of this number, and gives the physical address */
function scattered(name: string, pages: number, access: (page: number) => number): Timing {
  let last = 1;
  const body = (): void => {
    let page = last;
    let sum = 0;
    for (let i = 0; i < SLICE; i++) {
      page = scatter(page, pages);
      sum += access(page);
    }
    last = page;
    if (!(sum >= SLICE * DATA)) throw new Error('a benchmark did not translate');
  };
  return measure(name, { ops: SLICE, slices: 2 ** 14 / SLICE, body });
}

/** Accesses to pages that the cache holds, all of them. */
function hits({ smmu }: Board, sid: number): Timing {
  const access = (page: number): number => smmu.translateCached(sid, IOVA + page * PAGE + OFFSET, false).pa;
  check(access);
  return scattered('translate, a hit', HOT_PAGES, access);
}

function walks(name: string, { smmu }: Board, sid: number): Timing {
  const access = (page: number): number => smmu.translate(sid, IOVA + page * PAGE + OFFSET, false).pa;
  check(access);
  return scattered(name, PAGES, access);
}

/** @throws Error unless accesses go where they should */
function check(access: (page: number) => number): void {
  for (let page = 0; page < HOT_PAGES; page++) {
    if (access(page) !== DATA + page * PAGE + OFFSET) throw new Error('a benchmark translated wrongly');
  }
}

/** The floor of a hit: read a scattered word of an array that has one for each page. */
function floorOfHit(): Timing {
  const words = new Float64Array(HOT_PAGES).fill(DATA);
  return scattered('read a scattered word', HOT_PAGES, (page) => words[page]!);
}

/** The floor of a walk: as many reads, each of which says where the next one is, in as many bytes as one stage's leaves. */
function floorOfWalk(reads: number): Timing {
  const words = new Int32Array(2 * PAGES);
  for (let i = 0; i < words.length; i++) words[i] = (i * 4093 + 7919) & (words.length - 1);
  const chase = (page: number): number => {
    let at = page;
    for (let i = 0; i < reads; i++) at = words[at]!;
    return DATA + at;
  };
  return scattered(`${reads} reads, one after the other`, PAGES, chase);
}

/** What is held, as a Map of bigints. */
function bigintHits(): Timing {
  const held = new Map<bigint, bigint>();
  const key = (sid: number, page: number): bigint => (BigInt(sid) << 64n) | BigInt(IOVA / PAGE + page);
  for (let page = 0; page < HOT_PAGES; page++) held.set(key(STREAMS.nested, page), BigInt(DATA + page * PAGE));
  return scattered('a hit, with bigints', HOT_PAGES, (page) => Number(held.get(key(STREAMS.nested, page))!));
}

/** The nested walk with bigints: the CD, then four levels, each of them and the page behind four levels. */
function bigintNested(): Timing {
  const [size, rw] = [BigInt(PAGE), BigInt(RW)];
  const below = new BigintPageTable(48n, BigInt(RAM.base + 2 ** 26));
  const first = new BigintPageTable(48n, BigInt(FIRST_TABLE));
  for (let i = 0; i < PAGES; i++) {
    const data = BigInt(DATA + i * PAGE);
    first.map(BigInt(IOVA + i * PAGE), data, size, 1n, rw);
    below.map(data, data, size, 1n, rw);
  }
  for (const table of [BigInt(CDS), ...first.tables.keys()]) below.map(table, table, size, 1n, rw);
  const access = (page: number): number => {
    const iova = BigInt(IOVA + page * PAGE + OFFSET);
    return below.translate(BigInt(CDS)) === 0n ? 0 : Number(first.translateNested(iova, below));
  };
  check(access);
  return scattered('a nested walk, with bigints', PAGES, access);
}

/** Descriptors that a walk reads: with one stage; and nested, for the CD, each table, and the page. */
const READS = 4;
const NESTED_READS = READS + READS * (READS + 1) + READS;

/** All of them, with what they are measured against. */
export function smmu(): Row[] {
  const board = new Board();
  const hit = hits(board, STREAMS.nested);
  const nested = walks('walk nested, 4 levels by 4 levels', board, STREAMS.nested);
  const floor = floorOfWalk(READS);
  return [
    { timing: hit, target: 20, floor: floorOfHit(), reference: bigintHits() },
    { timing: walks('walk stage 1', board, STREAMS.stage1), floor },
    { timing: walks('walk stage 2', board, STREAMS.stage2), floor },
    { timing: nested, target: 1, floor: floorOfWalk(NESTED_READS), reference: bigintNested() },
  ];
}
