/**
 * Replays one vector sequence against the plain build and collects every difference: configuration out, results,
 * warnings, events, digests, final tables and leaves, order of frees. It reads the tables with a decoder of its own.
 */
import {
  allocPageTable,
  freePageTable,
  iovaToPhys,
  mapPages,
  type PageTable,
  type PageTableConfig,
  type PageTableLayout,
  type PageTableOps,
  type Profile,
  Quirk,
  readAndClearDirty,
  unmapPages,
  walkDescriptors,
} from '#io-pgtable/plain';
import { PhysicalMemory } from '#machine/memory';
import type { ConfigOut, Leaf, Sequence, Table, VectorConfig, VectorOp } from './vector-file.ts';

export function configFrom(config: VectorConfig, profile: Profile): PageTableConfig {
  return {
    fmt: config.fmt as PageTableConfig['fmt'],
    pgsizeBitmap: Number.parseInt(config.pgsize_bitmap, 16),
    ias: config.ias,
    oas: config.oas,
    coherentWalk: config.coherent_walk,
    quirks: config.quirks.reduce((bits, name) => bits | Quirk[name as keyof typeof Quirk], 0),
    profile,
  };
}

/** A layout in the words of the vectors. */
export function configOut(layout: PageTableLayout, root: string): ConfigOut {
  const { registers } = layout;
  const common = {
    pgsize_bitmap: layout.pgsizeBitmap.toString(16),
    ias: layout.ias,
    oas: layout.oas,
    start_level: layout.startLevel,
    pgd_bits: layout.pgdBits,
    bits_per_level: layout.bitsPerLevel,
    pgd_size: layout.pgdSize,
  };
  if (registers.stage === 1) {
    const { stage, mairHi, mairLo, ...tcr } = registers;
    return { ...common, ttbr: root, tcr, mair: word64(mairHi, mairLo) };
  }
  if (registers.stage !== 2) throw new Error('the vectors are of Arm formats');
  const { stage, ...vtcr } = registers;
  return { ...common, vttbr: root, vtcr };
}

/** A machine with nothing but an arena for tables, which writes down what a page table asks of it. */
export class Arena {
  readonly memory: PhysicalMemory;
  readonly ops: PageTableOps;
  warnings = 0;
  events: string[] = [];
  readonly live = new Set<number>();
  private next: number;
  private skip = 0;
  private fail = 0;

  constructor(base: number) {
    this.next = base;
    this.memory = new PhysicalMemory([{ base, size: 2 ** 30 }]);
    this.ops = {
      memory: this.memory,
      allocTable: (size) => this.allocate(size),
      freeTable: (pa, size) => {
        this.live.delete(pa);
        this.events.push(`-${hex(pa)}:${hex(rounded(size))}`);
      },
      flushAll: () => {
        this.events.push('F');
      },
      flushWalk: (iova, size, granule) => {
        this.events.push(`W:${hex(iova)}:${hex(size)}:${hex(granule)}`);
      },
      addPages: (iova, granule, count) => {
        this.events.push(`A:${hex(iova)}:${hex(granule)}:${count}`);
      },
      syncMemory: (pa, bytes) => this.noteSync(pa, bytes),
      warn: () => {
        this.warnings++;
      },
    };
  }

  /** After `skip` more tables, `count` allocations fail. */
  armFailures(skip: number, count: number): void {
    this.skip = skip;
    this.fail = count;
  }

  /** Cache maintenance; of equal pieces that follow on each other one event is made. */
  private noteSync(pa: number, bytes: number): void {
    const [last, start, size, count = '1'] = this.events.at(-1)?.split(':') ?? [];
    const follows = last === 'S' && address(size!) === bytes && address(start!) + bytes * Number(count) === pa;
    if (follows) this.events[this.events.length - 1] = `S:${start}:${size}:${Number(count) + 1}`;
    else this.events.push(`S:${hex(pa)}:${hex(bytes)}`);
  }

  private allocate(size: number): number {
    if (this.skip > 0) this.skip--;
    else if (this.fail > 0) {
      this.fail--;
      this.events.push('!');
      return 0;
    }
    const bytes = rounded(size);
    const pa = Math.ceil(this.next / bytes) * bytes;
    this.next = pa + bytes;
    this.live.add(pa);
    this.events.push(`+${hex(pa)}:${hex(bytes)}`);
    return pa;
  }
}

/** Replays a sequence; returns what differs, in words. Nothing means that all is equal. */
export function replay(sequence: Sequence, profile: Profile): string[] {
  const differences: string[] = [];
  const check = (what: string | VectorOp, got: unknown, expected: unknown): void => {
    if (got === expected) return;
    const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
    if (a !== b) differences.push(`${sequence.id}: ${nameOf(what)}: ${a} instead of ${b}`);
  };
  const arena = new Arena(Number.parseInt(sequence.cfg.arena, 16));
  const pt = allocPageTable(arena.ops, configFrom(sequence.cfg, profile));
  if (typeof pt === 'number') return [`${sequence.id}: refused with ${pt}`];
  check('configuration', configOut(pt.layout, hex(pt.root)), sequence.cfg_out);
  check('events of alloc', arena.events, sequence.alloc_ev);
  const nameOf = (what: string | VectorOp): string =>
    typeof what === 'string' ? what : `op ${sequence.ops.indexOf(what)} ${JSON.stringify(what)}`;
  sequence.ops.forEach((op) => {
    arena.events = [];
    arena.warnings = 0;
    check(op, perform(arena, pt, op), expectedOf(op));
    check(op, arena.warnings, op.w ?? 0);
    if (arena.events.length > 0 || op.ev !== undefined) check(op, arena.events, op.ev);
    if (op.ck !== undefined) check(op, digestOf(leavesOf(arena, pt)), op.ck);
  });
  const tables = tablesOf(arena, pt);
  const leaves = leavesOf(arena, pt);
  check('final leaves', leaves, sequence.final.leaves);
  check('final digest', digestOf(leaves), sequence.final.digest);
  const byAddress = (list: readonly Table[]): Table[] =>
    list.toSorted((a, b) => Number.parseInt(a.pa, 16) - Number.parseInt(b.pa, 16));
  check(
    'final tables',
    byAddress(tables.map(condensed)),
    byAddress(sequence.final.tables.map(expanded).map(condensed)),
  );
  check('live tables', [...arena.live].map(hex).sort(), tables.map((table) => hex(table.pa)).sort());
  arena.events = [];
  freePageTable(pt);
  check('events of free', arena.events, sequence.free_ev);
  return differences;
}

function perform(arena: Arena, pt: PageTable, op: VectorOp): unknown {
  switch (op.o) {
    case 'map': {
      const ret = mapPages(pt, address(op.iova), address(op.pa), address(op.sz), op.n, op.prot);
      return ret < 0 ? [ret, '0'] : [0, hex(ret)];
    }
    case 'unmap':
      return hex(unmapPages(pt, address(op.iova), address(op.sz), op.n));
    case 'i2p':
      return hex(iovaToPhys(pt, address(op.iova)));
    case 'walk': {
      const out = new Int32Array(8);
      const ret = walkDescriptors(pt, address(op.iova), out);
      return [ret, [0, 1, 2, 3].map((level) => word64(out[2 * level + 1]!, out[2 * level]!))];
    }
    case 'failalloc':
      arena.armFailures(op.skip, op.count);
      return undefined;
    case 'hwdirty':
      return writeByDevice(arena, pt, address(op.iova));
    case 'dirty': {
      const ranges: [number, number][] = [];
      const ret = readAndClearDirty(pt, address(op.iova), address(op.sz), op.flags !== 1, (iova, size) => {
        const last = ranges.at(-1);
        if (last !== undefined && last[0] + last[1] === iova) last[1] += size;
        else ranges.push([iova, size]);
      });
      return [ret, ranges.map((range) => range.map(hex))];
    }
  }
}

/** What a walker with hardware update of the dirty state does: DBM (bit 51) set and AP[2] (bit 7) set, it clears AP[2]. */
function writeByDevice(arena: Arena, pt: PageTable, iova: number): number {
  const { startLevel, bitsPerLevel, granuleShift } = pt.layout;
  const ptes = new Int32Array(8);
  if (walkDescriptors(pt, iova, ptes) !== 0) return 0;
  let table = BigInt(pt.root);
  for (let level = startLevel; ; level++) {
    const bits = BigInt(level === startLevel ? pt.layout.pgdBits : bitsPerLevel);
    const shift = BigInt(granuleShift + bitsPerLevel * (3 - level));
    const at = Number(table + 8n * BigInt.asUintN(Number(bits), BigInt(iova) >> shift));
    const [hi, lo] = [arena.memory.read32(at + 4), arena.memory.read32(at)];
    const descriptor = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
    if (level === 3 || (descriptor & 2n) === 0n) {
      if ((descriptor & (1n << 51n)) === 0n || (descriptor & (1n << 7n)) === 0n) return 0;
      arena.memory.write64(at, hi, lo & ~(1 << 7));
      return 1;
    }
    table = addressIn(descriptor, granuleShift);
  }
}

function expectedOf(op: VectorOp): unknown {
  if (op.o === 'map') return [op.ret, op.mapped];
  if (op.o === 'walk') return [op.ret, op.ptes];
  if (op.o === 'dirty') return [op.ret, op.dirty];
  if (op.o === 'hwdirty') return op.hit;
  return 'ret' in op ? op.ret : undefined;
}

// ---- the tables in memory, decoded

interface RawTable {
  readonly pa: number;
  readonly level: number;
  readonly length: number;
  /** The descriptors that are not zero, by index. */
  readonly descriptors: ReadonlyMap<number, bigint>;
}

function tablesOf(arena: Arena, pt: PageTable): RawTable[] {
  const { startLevel, pgdBits, bitsPerLevel, granuleShift } = pt.layout;
  const found: RawTable[] = [];
  const visit = (pa: number, level: number): void => {
    const length = 2 ** (level === startLevel ? pgdBits : bitsPerLevel);
    const descriptors = descriptorsAt(arena.memory, pa, length);
    found.push({ pa, level, length, descriptors });
    if (level === 3) return;
    for (const descriptor of descriptors.values()) {
      if ((descriptor & 3n) === 3n) visit(Number(addressIn(descriptor, granuleShift)), level + 1);
    }
  };
  visit(pt.root, startLevel);
  return found;
}

function descriptorsAt(memory: PhysicalMemory, pa: number, length: number): Map<number, bigint> {
  const descriptors = new Map<number, bigint>();
  for (let page = 0; page < length; page += 512) {
    const start = memory.indexOf(pa + 8 * page);
    for (let i = 0; i < Math.min(512, length - page); i++) {
      const lo = memory.words[start + 2 * i]!;
      const hi = memory.words[start + 2 * i + 1]!;
      if ((lo | hi) !== 0) descriptors.set(page + i, (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0));
    }
  }
  return descriptors;
}

function addressIn(descriptor: bigint, granuleShift: number): bigint {
  const address = descriptor & 0xfffffffff000n;
  return granuleShift < 16 ? address : (address & ~0xf000n) | ((address & 0xf000n) << 36n);
}

/** The leaves in order of address, joined where they follow on each other. Plain numbers: this runs often. */
function leavesOf(arena: Arena, pt: PageTable): Leaf[] {
  const { granuleShift, bitsPerLevel, startLevel, pgdBits, inputStart } = pt.layout;
  const runs: { iova: number; pa: number; size: number; count: number; hi: number; lo: number }[] = [];
  const visit = (table: number, level: number, from: number): void => {
    const size = 2 ** (granuleShift + bitsPerLevel * (3 - level));
    const length = 2 ** (level === startLevel ? pgdBits : bitsPerLevel);
    const { words } = arena.memory;
    let index = 0;
    for (let i = 0; i < length; i++, index += 2) {
      if ((i & 511) === 0) index = arena.memory.indexOf(table + 8 * i);
      const lo = words[index]!;
      if ((lo & 1) === 0) continue;
      const hi = words[index + 1]!;
      const high = granuleShift < 16 ? 0 : (lo >>> 12) & 15;
      const pa = (high * 2 ** 16 + (hi & 0xffff)) * 2 ** 32 + ((lo & (granuleShift < 16 ? ~0xfff : ~0xffff)) >>> 0);
      const iova = from + i * size;
      if (level < 3 && (lo & 2) !== 0) visit(pa, level + 1, iova);
      else if (level < 3 || (lo & 2) !== 0) {
        const leaf = { iova, pa, size, count: 1, hi: hi & 0xffff0000, lo: lo & 0xfff };
        const last = runs.at(-1);
        const length = last === undefined ? 0 : last.size * last.count;
        const isAlike = last?.size === size && last.hi === leaf.hi && last.lo === leaf.lo;
        if (last !== undefined && isAlike && last.iova + length === iova && last.pa + length === pa) last.count++;
        else runs.push(leaf);
      }
    }
  };
  visit(pt.root, startLevel, inputStart);
  return runs.map(({ iova, pa, size, count, hi, lo }) => [hex(iova), hex(pa), hex(size), count, word64(hi, lo)]);
}

/** FNV-1a 64 over the lines of the leaves. The prime is 2^40 + 435. */
function digestOf(leaves: readonly Leaf[]): string {
  let hi = 0xcbf29ce4;
  let lo = 0x84222325;
  for (const leaf of leaves) {
    const line = `${leaf.join(':')}\n`;
    for (let i = 0; i < line.length; i++) {
      lo = (lo ^ line.charCodeAt(i)) >>> 0;
      const product = lo * 435;
      hi = (Math.imul(hi, 435) + Math.floor(product / 2 ** 32) + (lo << 8)) >>> 0;
      lo = product >>> 0;
    }
  }
  return hi.toString(16).padStart(8, '0') + lo.toString(16).padStart(8, '0');
}

function condensed({ pa, level, length, descriptors }: RawTable): Table {
  return { pa: hex(pa), lvl: level, n: length, e: [...descriptors].map(([i, value]) => [i, value.toString(16)]) };
}

/** A table of the vectors with its runs written out. */
function expanded(table: Table): RawTable {
  const descriptors = new Map<number, bigint>();
  for (const [index, value, count = 1, stride = '0'] of table.e) {
    const [first, step] = [BigInt(`0x${value}`), BigInt(`0x${stride}`)];
    for (let k = 0; k < count; k++) descriptors.set(index + k, BigInt.asUintN(64, first + BigInt(k) * step));
  }
  return { pa: address(table.pa), level: table.lvl, length: table.n, descriptors };
}

// ---- numbers

function rounded(size: number): number {
  return Math.max(4096, 2 ** Math.ceil(Math.log2(size)));
}

/** The number of an address; of the upper half, a negative one. */
function address(text: string): number {
  return text.length < 16 ? Number.parseInt(text, 16) : Number(BigInt.asIntN(64, BigInt(`0x${text}`)));
}

function hex(value: number): string {
  return value < 0 ? BigInt.asUintN(64, BigInt(value)).toString(16) : value.toString(16);
}

/** A 64-bit word as the vectors write it. */
export function word64(hi: number, lo: number): string {
  return ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16);
}
