/** The tables in memory, read with a decoder of their own: the canonical leaves, their digest, and the raw tables. */
import type { PageTable } from '#io-pgtable/plain';
import type { PhysicalMemory } from '#machine/memory';
import type { Arena } from './lpae-arena.ts';
import type { Leaf, Table } from './lpae-types.ts';
import { address, hex, word64 } from './words.ts';

export interface RawTable {
  readonly pa: number;
  readonly level: number;
  readonly length: number;
  /** The descriptors that are not zero, by index. */
  readonly descriptors: ReadonlyMap<number, bigint>;
}

export function tablesOf(arena: Arena, pt: PageTable): RawTable[] {
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

export function addressIn(descriptor: bigint, granuleShift: number): bigint {
  const address = descriptor & 0xfffffffff000n;
  return granuleShift < 16 ? address : (address & ~0xf000n) | ((address & 0xf000n) << 36n);
}

/** The leaves in order of address, joined where they follow on each other. Plain numbers: this runs often. */
export function leavesOf(arena: Arena, pt: PageTable): Leaf[] {
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
export function digestOf(leaves: readonly Leaf[]): string {
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

export function condensed({ pa, level, length, descriptors }: RawTable): Table {
  return { pa: hex(pa), lvl: level, n: length, e: [...descriptors].map(([i, value]) => [i, value.toString(16)]) };
}

/** A table of the vectors with its runs written out. */
export function expanded(table: Table): RawTable {
  const descriptors = new Map<number, bigint>();
  for (const [index, value, count = 1, stride = '0'] of table.e) {
    const [first, step] = [BigInt(`0x${value}`), BigInt(`0x${stride}`)];
    for (let k = 0; k < count; k++) descriptors.set(index + k, BigInt.asUintN(64, first + BigInt(k) * step));
  }
  return { pa: address(table.pa), level: table.lvl, length: table.n, descriptors };
}
