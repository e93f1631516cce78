import { expect, test } from 'vitest';
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
} from '#lab/oracle/decode/descriptor';
import { int32s, vectors } from './rig.ts';

interface Sequence {
  id: string;
  cfg: { fmt: string; pgsize_bitmap: string; ias: number; oas: number };
  cfg_out: { pgsize_bitmap: string; start_level: number; ttbr?: string; vttbr?: string } | null;
  ops: { o: string; iova: string; sz: string; n: number; prot: number; ret: number }[];
  final: {
    leaves: [string, string, string, number, string][];
    tables: { pa: string; lvl: number; n: number; e: (readonly [number, string, number?, string?])[] }[];
  };
}

interface FoundLeaf {
  iova: bigint;
  pa: number;
  size: number;
  hi: number;
  lo: number;
}

const sequences: Sequence[] = vectors('linux-7.2-directed').sequences.filter(({ cfg, cfg_out }: Sequence) => {
  return cfg_out !== null && cfg.fmt.startsWith('ARM_64');
});

function granuleOf({ cfg_out }: Sequence): number {
  const bitmap = BigInt(`0x${cfg_out!.pgsize_bitmap}`);
  return [12, 14, 16].find((bits) => ((bitmap >> BigInt(bits)) & 1n) === 1n)!;
}

/** Every leaf, found by decoding the tables of the final state. */
function leavesOf(sequence: Sequence): FoundLeaf[] {
  const granule = granuleOf(sequence);
  const wide = sequence.cfg.oas === 52;
  const tables = new Map(
    sequence.final.tables.map(({ pa, n, e }) => {
      const words = new Int32Array(2 * n);
      for (const [index, value, count = 1, stride = '0'] of e) {
        for (let k = 0; k < count; k++) {
          const each = BigInt.asUintN(64, BigInt(`0x${value}`) + BigInt(k) * BigInt(`0x${stride}`));
          words.set(int32s([each.toString(16)]), 2 * (index + k));
        }
      }
      return [Number(`0x${pa}`), words] as const;
    }),
  );
  const found: FoundLeaf[] = [];
  const visit = (table: number, level: number, from: bigint): void => {
    const words = tables.get(table)!;
    for (let i = 0; i < words.length / 2; i++) {
      const lo = words[2 * i]!;
      const hi = words[2 * i + 1]!;
      const iova = from + (BigInt(i) << BigInt(levelShift(level, granule)));
      const kind = descriptorKind(level, hi, lo, granule, wide);
      if (kind === DescriptorKind.table) visit(nextTableAddress(hi, lo, granule), level + 1, iova);
      else if (kind !== DescriptorKind.invalid) {
        found.push({ iova, pa: outputAddress(level, hi, lo, granule), size: leafSize(level, granule), hi, lo });
      }
    }
  };
  const { start_level, ttbr, vttbr } = sequence.cfg_out!;
  visit(Number(`0x${ttbr ?? vttbr}`), start_level, 0n);
  return found;
}

test('decoding the tables that Linux built finds the leaves that Linux meant, in every granule', () => {
  let checked = 0;
  for (const sequence of sequences) {
    const expected = sequence.final.leaves.flatMap(([iova, pa, size, count, attr]) => {
      return Array.from({ length: count }, (_, k) => {
        const step = BigInt(k) * BigInt(`0x${size}`);
        return [BigInt(`0x${iova}`) + step, Number(BigInt(`0x${pa}`) + step), Number(`0x${size}`), attr] as const;
      });
    });
    const found = leavesOf(sequence).map(({ iova, pa, size, hi, lo }) => {
      const raw = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
      // The high half of the address space is written with its upper bits set.
      const first = expected[0]?.[0] ?? 0n;
      const high = first >> 63n === 1n ? BigInt.asUintN(64, -1n << BigInt(sequence.cfg.ias)) : 0n;
      return [iova | high, pa, size, (raw & 0xffff000000000fffn).toString(16)] as const;
    });
    expect(found, sequence.id).toEqual(expected);
    checked += found.length;
  }
  expect(checked).toBeGreaterThan(3000);
});

test('permissions are those that were asked for: what may be read, written and executed, and by whom', () => {
  let checked = 0;
  for (const sequence of sequences.filter(({ id }) => id.startsWith('prots-'))) {
    const byIova = new Map(leavesOf(sequence).map((leaf) => [leaf.iova, leaf]));
    for (const { o, iova, prot, ret } of sequence.ops) {
      const leaf = byIova.get(BigInt(`0x${iova || '0'}`));
      if (o !== 'map' || ret !== 0 || leaf === undefined) continue;
      const asked = { write: (prot & 2) !== 0, execute: (prot & 8) === 0, privileged: (prot & 32) !== 0 };
      const stage1 = sequence.cfg.fmt.endsWith('S1');
      const access = stage1 ? s1Permissions(leaf.hi, leaf.lo) : s2Permissions(leaf.hi, leaf.lo);
      expect((access & Access.privilegedWrite) !== 0, `${sequence.id} ${prot}`).toBe(asked.write);
      // Stage 1 has no mapping that may be written and not read.
      expect((access & Access.privilegedRead) !== 0).toBe(stage1 || (prot & 1) !== 0);
      expect((access & Access.execute) !== 0).toBe(asked.execute);
      if (stage1) expect((access & Access.read) !== 0).toBe(!asked.privileged);
      checked++;
    }
  }
  expect(checked).toBeGreaterThan(100);
});

test('table limits take away what they name: APTable, UXNTable, PXNTable', () => {
  const all = -1 & 63;
  expect(s1TableLimits(all, 0)).toBe(all);
  expect(s1TableLimits(all, 1 << 29)).toBe(all & ~(Access.read | Access.write));
  expect(s1TableLimits(all, 1 << 30)).toBe(all & ~(Access.write | Access.privilegedWrite));
  expect(s1TableLimits(all, 1 << 28)).toBe(all & ~Access.execute);
  expect(s1TableLimits(all, 1 << 27)).toBe(all & ~Access.privilegedExecute);
});

test('reserved encodings are invalid: 0b01 at level 3, and blocks where the granule has none', () => {
  const { invalid, block } = DescriptorKind;
  expect([0, 1, 2, 3].map((level) => descriptorKind(level, 0, 1))).toEqual([invalid, block, block, invalid]);
  expect([0, 1, 2, 3].map((level) => descriptorKind(level, 0, 1, 14))).toEqual([invalid, invalid, block, invalid]);
  expect([1, 2, 3].map((level) => descriptorKind(level, 0, 1, 16))).toEqual([invalid, block, invalid]);
  expect([1, 2, 3].map((level) => descriptorKind(level, 0, 1, 16, true))).toEqual([block, block, invalid]);
});

test('stage-2 execute-never: two bits with XNX, one without', () => {
  const both = Access.execute | Access.privilegedExecute;
  const execute = (xn: number, xnx: boolean): number => s2Permissions(xn << 21, 0, xnx) & both;
  expect([0, 1, 2, 3].map((xn) => execute(xn, true))).toEqual([both, Access.execute, 0, Access.privilegedExecute]);
  expect([0, 1, 2, 3].map((xn) => execute(xn, false))).toEqual([both, both, 0, 0]);
});
