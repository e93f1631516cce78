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
import { measure, type Timing } from './timing.ts';

const { CD, STE, SteConfig, encode } = structures;
const { Register } = registers;

const PAGE = 4096;
const RAM = { base: 0x40000000, size: 2 ** 28 };
const STRTAB = RAM.base;
const CDS = RAM.base + PAGE;
const FIRST_TABLE = RAM.base + 2 * PAGE;
const DATA = RAM.base + 2 ** 27;
const IOVA = 0x7f0000000000;
/** Pages that accesses are spread over; far more than a TLB holds. */
const PAGES = 16384;
const HOT_PAGES = 1024;
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

/** Accesses of a stream to scattered pages among the first {@link HOT_PAGES}: all of them are held. */
function hits(smmu: Smmu, sid: number): () => void {
  return () => {
    let page = 1;
    let sum = 0;
    for (let i = 0; i < PAGES; i++) {
      page = (page * 4093 + 7919) & (HOT_PAGES - 1);
      sum += smmu.translateCached(sid, IOVA + page * PAGE + 42, false).pa;
    }
    if (!(sum > PAGES * DATA)) throw new Error('a benchmark did not translate');
  };
}

/** Accesses of a stream to pages scattered over all. */
function walks(smmu: Smmu, sid: number): () => void {
  return () => {
    let page = 1;
    let sum = 0;
    for (let i = 0; i < PAGES; i++) {
      page = (page * 4093 + 7919) & (PAGES - 1);
      sum += smmu.translate(sid, IOVA + page * PAGE + 42, false).pa;
    }
    if (!(sum > PAGES * DATA)) throw new Error('a benchmark did not translate');
  };
}

/** All of them. */
export function smmu(): Timing[] {
  const board = new Board();
  const walk = (name: string, sid: number): Timing => measure(name, PAGES, walks(board.smmu, sid));
  return [
    measure('translate, held in the cache', PAGES, hits(board.smmu, STREAMS.nested)),
    walk('walk stage 1', STREAMS.stage1),
    walk('walk stage 2', STREAMS.stage2),
    walk('walk nested', STREAMS.nested),
  ];
}
