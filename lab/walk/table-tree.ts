/** The tables of one stream as a tree: each table with the tables below it, its leaves joined into runs. */
import {
  Access,
  DescriptorKind,
  descriptorKind,
  leafSize,
  levelShift,
  nextTableAddress,
  outputAddress,
  s1Permissions,
  s1TableLimits,
  s2Permissions,
} from '../oracle/decode/descriptor.ts';
import { streamTables } from './leaves.ts';
import type { WalkSource } from './source.ts';
import type { StageTables } from './tables.ts';

/** Leaves side by side that lead to memory side by side, with equal attributes. Addresses and sizes in bytes. */
export interface LeafRun {
  readonly kind: 'run';
  readonly iova: number;
  readonly pa: number;
  /** Bytes of one leaf, and how many there are. */
  readonly size: number;
  readonly count: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

/** One table. */
export interface TableNode {
  readonly kind: 'table';
  readonly level: number;
  /** Its own address. */
  readonly address: number;
  /** First input address that it covers, and how many bytes each of its entries covers. */
  readonly iova: number;
  readonly span: number;
  readonly entries: number;
  /** Indexes of the entries that are valid, in ascending order. */
  readonly used: readonly number[];
  /** What its entries are, in ascending order of address. */
  readonly children: readonly (TableNode | LeafRun)[];
}

export interface TableTree {
  readonly stage: 1 | 2;
  readonly root: TableNode;
}

/** The tables of a stream with one stage of translation; null where it has none, or two. */
export function tableTree({ memory, ...source }: WalkSource, sid: number): TableTree | null {
  const tables = streamTables({ memory, ...source }, sid);
  if (tables === null) return null;
  const read = (address: number) => memory.read64(address);
  return { stage: tables.stage, root: nodeOf(tables, read, tables.startLevel, tables.base, 0, -1) };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function nodeOf(
  tables: StageTables,
  read: (address: number) => { hi: number; lo: number } | null,
  level: number,
  address: number,
  iova: number,
  limits: number,
): TableNode {
  const { granuleBits, stage } = tables;
  const shift = levelShift(level, granuleBits);
  const entries = level === tables.startLevel ? 2 ** (tables.inputBits - shift) : 2 ** (granuleBits - 3);
  const used: number[] = [];
  const children: (TableNode | LeafRun)[] = [];
  let run: { leaf: Mutable<LeafRun>; attributes: string } | null = null;
  for (let i = 0; i < entries; i++) {
    const word = read(address + 8 * i);
    if (word === null) break;
    const { hi, lo } = word;
    const kind = descriptorKind(level, hi, lo, granuleBits, tables.wide);
    if (kind === DescriptorKind.invalid) continue;
    used.push(i);
    const at = iova + i * 2 ** shift;
    if (kind === DescriptorKind.table) {
      const below = tables.hierarchical ? s1TableLimits(limits, hi) : limits;
      children.push(nodeOf(tables, read, level + 1, nextTableAddress(hi, lo, granuleBits), at, below));
      run = null;
      continue;
    }
    const size = leafSize(level, granuleBits);
    const pa = outputAddress(level, hi, lo, granuleBits);
    const attributes = `${hi >>> 16} ${lo & 0xfff}`;
    const last: Mutable<LeafRun> | null = run?.leaf ?? null;
    if (
      last !== null &&
      run!.attributes === attributes &&
      at === last.iova + last.count * size &&
      pa === last.pa + last.count * size
    ) {
      last.count++;
      continue;
    }
    const access = (stage === 1 ? s1Permissions(hi, lo) : s2Permissions(hi, lo, tables.xnx)) & limits;
    const leaf: Mutable<LeafRun> = {
      kind: 'run',
      iova: at,
      pa,
      size,
      count: 1,
      read: (access & Access.read) !== 0,
      write: (access & Access.write) !== 0,
      execute: (access & Access.execute) !== 0,
    };
    run = { leaf, attributes };
    children.push(leaf);
  }
  return { kind: 'table', level, address, iova, span: 2 ** shift, entries, used, children };
}
