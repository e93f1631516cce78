/**
 * The translation tables of a capture, built anew as its log goes: this project's page-table engine writes them where
 * the captured STEs and CDs point, in the memory of the model, so that the modelled SMMU sees every descriptor change.
 */
import { choosePageSize } from '#host';
import {
  configurePageTable,
  mapPages,
  openPageTable,
  type PageTable,
  type PageTableConfig,
  type PageTableLayout,
  type PageTableOps,
  unmapPages,
} from '#io-pgtable/plain';
import type { Machine } from '#machine';
import { cdAsid, cdGranuleBits0, cdIps, cdT0sz } from '../../oracle/decode/cd.ts';
import { bits, SIZE_BITS } from '../../oracle/decode/fields.ts';
import {
  SteConfig,
  steConfig,
  steS2GranuleBits,
  steS2Ps,
  steS2Sl0,
  steS2T0sz,
  steS2Vmid,
} from '../../oracle/decode/ste.ts';
import type { MapOperation, UnmapOperation } from '../../trace/operation.ts';
import type { WalkSource } from '../../walk/source.ts';
import { walkAccess } from '../../walk/walk.ts';
import type { Tally } from '../tally.ts';

const READ_WRITE_CACHE = 7;
/** WRITE, NOEXEC, MMIO: how Linux maps an interrupt doorbell. */
const DOORBELL = 0x1a;
const PAGE_SIZES: Readonly<Record<number, number>> = {
  12: 2 ** 12 + 2 ** 21 + 2 ** 30,
  14: 2 ** 14 + 2 ** 25,
  16: 2 ** 16 + 2 ** 29,
};

/** How TLB entries of a stream's tables are tagged. */
export interface TlbTag {
  readonly stage: 1 | 2;
  readonly vmid: number;
  /** -1 at stage 2. */
  readonly asid: number;
}

/** The tables of one translation root of the log. */
export interface RootTables {
  readonly pt: PageTable;
  readonly tag: TlbTag;
  readonly sids: readonly number[];
}

/** Hands out pages of zeroes for tables, and never takes one back. */
export class TableMemory {
  private readonly machine: Machine;
  private next: number;
  private readonly end: number;
  warnings = 0;

  constructor(machine: Machine, base: number, size: number) {
    this.machine = machine;
    this.next = base;
    this.end = base + size;
  }

  /** What the engine asks of its owner. It never invalidates: that is the kernel's own business, in its own commands. */
  ops(): PageTableOps {
    return {
      memory: this.machine.memory,
      allocTable: (size) => {
        const bytes = Math.max(4096, 2 ** Math.ceil(Math.log2(size)));
        const at = Math.ceil(this.next / bytes) * bytes;
        if (at + bytes > this.end) return 0;
        this.next = at + bytes;
        return at;
      },
      freeTable: () => {},
      flushAll: () => {},
      flushWalk: () => {},
      addPages: () => {},
      warn: () => {
        this.warnings++;
      },
    };
  }
}

/**
 * Opens the tables that the streams `sids` use, empty. Null when the captured STE or CD asks for what the engine does
 * not make; the tally then says so.
 */
export function rootTables(
  memory: TableMemory,
  source: WalkSource,
  sids: readonly number[],
  tally: Tally,
): RootTables | null {
  const sid = sids[0]!;
  const { steps } = walkAccess(source, sid, 0);
  const wordsOf = (kind: string): Int32Array => {
    const words = steps.find((step) => step.kind === kind)?.words ?? [];
    return Int32Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? words[i >> 1]?.lo : words[i >> 1]?.hi) ?? 0);
  };
  const ste = wordsOf('ste');
  const cd = wordsOf('cd');
  const isStage2 = steConfig(ste[0]!) === SteConfig.stage2;
  const wanted = isStage2 ? stage2Wants(ste) : stage1Wants(cd);
  tally.begin('table configurations', `stream 0x${sid.toString(16)}`);
  const layout = fittingLayout(wanted.config, wanted.registers);
  if (typeof layout === 'number') tally.differs('configuration', 'one that the engine accepts', String(layout));
  else tally.same('registers', wanted.registers, registersOf(layout, wanted.registers));
  if (!tally.end() || typeof layout === 'number') return null;
  const vmid = steS2Vmid(ste[4]!);
  const tag: TlbTag = isStage2 ? { stage: 2, vmid, asid: -1 } : { stage: 1, vmid, asid: cdAsid(cd[1]!) };
  return { pt: openPageTable(memory.ops(), layout, wanted.root), tag, sids };
}

/** Register fields by their names in the engine. */
type Registers = Readonly<Record<string, number>>;

interface Wants {
  readonly config: Omit<PageTableConfig, 'profile'>;
  readonly registers: Registers;
  readonly root: number;
}

function stage1Wants(cd: Int32Array): Wants {
  const [lo0, hi0] = [cd[0]!, cd[1]!];
  const field = (top: number, bottom: number): number => bits(hi0, lo0, top, bottom);
  const registers = {
    ips: cdIps(hi0),
    tg: field(7, 6),
    sh: field(13, 12),
    orgn: field(11, 10),
    irgn: field(9, 8),
    tsz: cdT0sz(lo0),
    mairHi: cd[7]!,
    mairLo: cd[6]!,
  };
  const granule = cdGranuleBits0(lo0);
  return { config: configOf('ARM_64_LPAE_S1', granule, registers.tsz, registers.ips), registers, root: address(cd, 1) };
}

function stage2Wants(ste: Int32Array): Wants {
  const hi2 = ste[5]!;
  const registers = {
    ps: steS2Ps(hi2),
    tg: (hi2 >>> 14) & 3,
    sh: (hi2 >>> 12) & 3,
    orgn: (hi2 >>> 10) & 3,
    irgn: (hi2 >>> 8) & 3,
    sl: steS2Sl0(hi2, ste[6]!),
    tsz: steS2T0sz(hi2),
  };
  const granule = steS2GranuleBits(hi2);
  return { config: configOf('ARM_64_LPAE_S2', granule, registers.tsz, registers.ps), registers, root: address(ste, 3) };
}

function configOf(fmt: PageTableConfig['fmt'], granule: number, tsz: number, size: number): Wants['config'] {
  const pgsizeBitmap = PAGE_SIZES[granule] ?? 0;
  return { fmt, pgsizeBitmap, ias: 64 - tsz, oas: Math.min(48, SIZE_BITS[size]!), coherentWalk: true, quirks: 0 };
}

function address(words: Int32Array, word: number): number {
  return (words[2 * word + 1]! & 0xfffff) * 2 ** 32 + ((words[2 * word]! & ~15) >>> 0);
}

/** The layout whose registers are the captured ones, of the kernel generations that the engine knows. */
function fittingLayout(config: Wants['config'], registers: Registers): PageTableLayout | number {
  let last: PageTableLayout | number = -1;
  for (const profile of ['linux-6.12', 'linux-7.2'] as const) {
    last = configurePageTable({ ...config, profile });
    if (typeof last === 'number') continue;
    const got = registersOf(last, registers);
    if (Object.entries(registers).every(([name, value]) => got[name] === value)) return last;
  }
  return last;
}

function registersOf({ registers }: PageTableLayout, like: Registers): Registers {
  return Object.fromEntries(Object.keys(like).map((name) => [name, (registers as unknown as Registers)[name] ?? -1]));
}

/** Does what the kernel did; the number of bytes mapped, or a negative errno. */
export function mapOperation({ pt }: RootTables, { iova, pa, size, prot }: MapOperation): number {
  const assumed = pt.ops.memory.isRam(pa) ? READ_WRITE_CACHE : DOORBELL;
  let done = 0;
  while (done < size) {
    const { pgsize, count } = choosePageSize(pt.layout.pgsizeBitmap, iova + done, pa + done, size - done);
    const mapped = mapPages(pt, iova + done, pa + done, pgsize, count, prot ?? assumed);
    if (mapped <= 0) return mapped;
    done += mapped;
  }
  return done;
}

/** Likewise; the number of bytes removed. */
export function unmapOperation({ pt }: RootTables, { iova, size }: UnmapOperation): number {
  let done = 0;
  while (done < size) {
    const at = iova + done;
    const { pgsize, count } = choosePageSize(pt.layout.pgsizeBitmap, at, at, size - done);
    const removed = unmapPages(pt, at, pgsize, count);
    if (removed === 0) break;
    done += removed;
  }
  return done;
}
