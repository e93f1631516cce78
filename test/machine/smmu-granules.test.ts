import { expect, test } from 'vitest';
import type { SmmuDescription } from '#machine';
import { cdWord, S1_RW, S2_RW, type Setup } from './bench-setup.ts';
import { SID, smmuWith } from './nested-setup.ts';

type Features = Partial<SmmuDescription>;
const ALL: Features = { granules: [12, 14, 16], oas: 48 };
const TG0: Readonly<Record<number, bigint>> = { 12: 0n, 14: 2n, 16: 1n };
const ARENA = 0x4010_0000;
const PA = 0x4000_0000;

function enabled(change: Features): Setup {
  return smmuWith(change).enable();
}

function stage2(s: Setup, granule: number, t0sz: number, sl0: number, table: number, ps = 5n): void {
  const vtcr = BigInt(t0sz) | (BigInt(sl0) << 6n) | (TG0[granule]! << 14n) | (ps << 16n);
  const table4 = BigInt(table);
  s.ste(SID, 0xdn, 0n, 5n | (vtcr << 32n) | (1n << 51n) | (1n << 58n), table4);
}

function stage1(s: Setup, granule: number, t0sz: number, table: number, ips = 5n): void {
  const cd = s.page();
  s.cd(cd, 9, table, t0sz);
  s.put(cd, (cdWord(9, t0sz) & ~(7n << 32n)) | (TG0[granule]! << 6n) | (ips << 32n));
  s.ste(SID, BigInt(cd) | 0xbn, 0xd6n, 0n, 0n);
}

const shiftOf = (granule: number, level: number): number => granule + (3 - level) * (granule - 3);

/** Maps one page at `iova` by tables from `level` on, in 64 KiB steps of the arena; returns its physical address. */
function mapFrom(s: Setup, granule: number, level: number, iova: number, attributes: number): number {
  let table = ARENA;
  for (let l = level; l <= 3; l++) {
    const below = l === level ? iova : iova % 2 ** shiftOf(granule, l - 1);
    const at = table + 8 * Math.floor(below / 2 ** shiftOf(granule, l));
    table = l === level ? ARENA + 0x100000 : table + 0x10000;
    s.put(at, l === 3 ? BigInt(PA) | BigInt(attributes) | 3n : BigInt(table) | 3n);
  }
  return PA;
}

/** The architecture's table of stage-2 start levels: T0SZ from, to. With [low, most] for 52 bits and small tables. */
const STARTS: readonly [granule: number, level: number, sl0: number, from: number, to: number][] = [
  [12, 0, 2, 16, 24],
  [12, 1, 1, 21, 33],
  [12, 2, 0, 30, 39],
  [14, 1, 2, 16, 27],
  [14, 2, 1, 24, 38],
  [14, 3, 0, 35, 39],
  [16, 1, 2, 16, 21],
  [16, 2, 1, 18, 34],
  [16, 3, 0, 31, 39],
];
const SMALL_STARTS: typeof STARTS = [
  [12, 0, 2, 16, 24],
  [12, 1, 1, 21, 33],
  [12, 2, 0, 30, 42],
  [12, 3, 3, 39, 48],
  [14, 1, 2, 16, 27],
  [14, 2, 1, 24, 38],
  [14, 3, 0, 35, 48],
  [16, 1, 2, 16, 21],
  [16, 2, 1, 18, 34],
  [16, 3, 0, 31, 47],
];

test.each([
  ['without small tables', false, STARTS],
  ['with small tables', true, SMALL_STARTS],
] as const)('S2TG, S2SL0 and S2T0SZ: legal exactly where the architecture says, %s', (_, smallTables, starts) => {
  const s = enabled({ ...ALL, smallTables });
  for (const granule of [12, 14, 16]) {
    for (let sl0 = 0; sl0 < 4; sl0++) {
      for (let t0sz = 0; t0sz < 64; t0sz++) {
        stage2(s, granule, t0sz, sl0, 0);
        const row = starts.find(([g, , sl]) => g === granule && sl === sl0);
        const legal = row !== undefined && t0sz >= row[3] && t0sz <= row[4];
        expect(s.smmu.translate(SID, 0, false).fault !== 4, `2^${granule} SL0 ${sl0} T0SZ ${t0sz}`).toBe(legal);
      }
    }
  }
});

test.each(SMALL_STARTS)(
  'stage 2 with granule 2^%i from level %i (SL0 %i), T0SZ %i to %i',
  (granule, level, sl0, from, to) => {
    for (const t0sz of new Set([from, to])) {
      const s = enabled({ ...ALL, smallTables: true });
      const iova = 2 ** (64 - t0sz) - 2 ** granule + 0x10;
      mapFrom(s, granule, level, iova, S2_RW);
      stage2(s, granule, t0sz, sl0, ARENA);
      expect(s.smmu.translate(SID, iova, true)).toEqual({ ok: true, pa: PA + 0x10, fault: 0 });
      expect(s.smmu.explain(SID, iova, true).descriptors.map((d) => d.level)).toEqual([0, 1, 2, 3].slice(level));
      if (64 - t0sz < 48) expect(s.smmu.translate(SID, 2 ** (64 - t0sz), false).fault).toBe(0x10);
    }
  },
);

/** Stage-1 start levels: TxSZ from, to, with small tables. */
const STAGE1: readonly [granule: number, level: number, from: number, to: number][] = [
  [12, 0, 16, 24],
  [12, 1, 25, 33],
  [12, 2, 34, 42],
  [12, 3, 43, 48],
  [14, 0, 16, 16],
  [14, 1, 17, 27],
  [14, 2, 28, 38],
  [14, 3, 39, 48],
  [16, 1, 16, 21],
  [16, 2, 22, 34],
  [16, 3, 35, 47],
];

test.each(STAGE1)('stage 1 with granule 2^%i starts at level %i for TxSZ %i to %i', (granule, level, from, to) => {
  for (const t0sz of new Set([from, to])) {
    const s = enabled({ ...ALL, smallTables: true });
    const iova = 2 ** (64 - t0sz) - 2 ** granule + 0x10;
    mapFrom(s, granule, level, iova, S1_RW);
    stage1(s, granule, t0sz, ARENA);
    expect(s.smmu.translate(SID, iova, true)).toEqual({ ok: true, pa: PA + 0x10, fault: 0 });
    const plain = enabled(ALL);
    stage1(plain, granule, t0sz, ARENA);
    expect(plain.smmu.translate(SID, iova, true).fault === 10).toBe(t0sz > 39);
  }
});

test('TxSZ beyond 48 bits needs 52-bit virtual addresses and 64K', () => {
  for (const [granule, vaBits, legal] of [
    [16, 52, true],
    [16, 48, false],
    [12, 52, false],
    [14, 52, false],
  ] as const) {
    const s = enabled({ ...ALL, vaBits });
    const iova = 2 ** 52 - 2 ** granule;
    stage1(s, granule, 12, ARENA);
    if (legal) mapFrom(s, granule, 1, iova, S1_RW);
    expect(s.smmu.translate(SID, iova, true).fault).toBe(legal ? 0 : 10);
  }
});

test('52-bit output addresses: bits [15:12] of a 64K descriptor, blocks of 4 TiB, and only with OAS 52', () => {
  const high = 0xf000n;
  const wide = enabled({ ...ALL, oas: 52 });
  mapFrom(wide, 16, 1, 0, S2_RW);
  stage2(wide, 16, 16, 2, ARENA, 6n);
  const leaf = ARENA + 0x110000;
  wide.put(leaf, wide.get(leaf) | high);
  expect(wide.smmu.translate(SID, 0x10, false).pa).toBe(0xf * 2 ** 48 + PA + 0x10);
  // S2PS 5 is 48 bits: the same output is too wide.
  stage2(wide, 16, 16, 2, ARENA, 5n);
  expect(wide.smmu.translate(SID, 0, false).fault).toBe(0x11);
  stage2(wide, 16, 12, 2, ARENA, 6n);
  wide.put(ARENA, (1n << 42n) | BigInt(S2_RW) | 1n);
  expect(wide.smmu.translate(SID, 0x1234, false).pa).toBe(2 ** 42 + 0x1234);
  wide.put(ARENA, BigInt(ARENA + 0x100000) | 0x1000n | 3n);
  expect(wide.smmu.translate(SID, 0, false).fault).toBe(0xb);
  const narrow = enabled(ALL);
  mapFrom(narrow, 16, 1, 0, S2_RW);
  stage2(narrow, 16, 16, 2, ARENA, 6n);
  narrow.put(leaf, narrow.get(leaf) | high);
  expect(narrow.smmu.translate(SID, 0x10, false).pa).toBe(PA + 0x10);
  narrow.put(ARENA, (1n << 42n) | BigInt(S2_RW) | 1n);
  expect(narrow.smmu.translate(SID, 0, false).fault).toBe(0x10);
});

test('a table base of 2^48 and more is ILLEGAL with 4K and 16K, whatever IPS and OAS', () => {
  for (const granule of [12, 14, 16]) {
    const s = enabled({ ...ALL, oas: 52 });
    stage1(s, granule, 25, 2 ** 48, 6n);
    expect(s.smmu.translate(SID, 0, false).fault).toBe(granule === 16 ? 0xb : 0xa);
    stage2(s, granule, 24, 1, 2 ** 48, 6n);
    expect(s.smmu.translate(SID, 0, false).fault).toBe(granule === 16 ? 0xb : 4);
  }
});
