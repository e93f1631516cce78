import { expect, test } from 'vitest';
import {
  allocPageTable,
  configurePageTable,
  Errno,
  freePageTable,
  iovaToPhys,
  mapPages,
  openPageTable,
  type PageTable,
  type PageTableConfig,
  Prot,
  Quirk,
  unmapPages,
  walkDescriptors,
} from '#io-pgtable/plain';
import { STAGE_1 } from './operations.ts';
import { GIB1, KIB4, MIB2 } from './reference.ts';
import { Arena } from './vector-runner.ts';

const BASE = 0x80000000;
const RW = Prot.READ | Prot.WRITE;
const STAGE_2: PageTableConfig = { ...STAGE_1, fmt: 'ARM_64_LPAE_S2', ias: 40, oas: 40 };

function open(config: Partial<PageTableConfig> = {}): { arena: Arena; pt: PageTable } {
  const arena = new Arena(BASE);
  const pt = allocPageTable(arena.ops, { ...STAGE_1, ...config });
  if (typeof pt === 'number') throw new Error(`refused with ${pt}`);
  arena.events = [];
  return { arena, pt };
}

test('a page table opened again from its configuration and root is the same page table', () => {
  for (const config of [STAGE_1, STAGE_2]) {
    const arena = new Arena(BASE);
    const first = allocPageTable(arena.ops, config) as PageTable;
    expect(mapPages(first, GIB1, MIB2, KIB4, 3, RW)).toBe(3 * KIB4);
    const mark = arena.memory.mark();
    const again = openPageTable(arena.ops, config, first.root);
    const fromLayout = openPageTable(arena.ops, first.layout, first.root);
    expect(arena.memory.changesSince(mark)).toEqual([]);
    expect(again).toEqual(first);
    expect(fromLayout.layout).toBe(first.layout);
    expect(iovaToPhys(again, GIB1 + KIB4 + 5)).toBe(MIB2 + KIB4 + 5);
    expect(unmapPages(again, GIB1, KIB4, 3)).toBe(3 * KIB4);
    freePageTable(fromLayout);
    expect(arena.live.size).toBe(0);
  }
});

test('what the engine does not have, or the architecture forbids, is refused and allocates nothing', () => {
  const bad: Partial<PageTableConfig>[] = [
    { quirks: 64 },
    { quirks: Quirk.ARM_OUTER_WBWA },
    { quirks: Quirk.ARM_S2FWB },
    { quirks: Quirk.NO_WARN, profile: 'linux-6.12' },
    { fmt: 'ARM_64_LPAE_S2', quirks: Quirk.ARM_NS },
    { fmt: 'ARM_64_LPAE_S2', quirks: Quirk.ARM_S2FWB, profile: 'linux-6.12' },
    { fmt: 'ARM_32_LPAE_S1', ias: 33, oas: 40 },
    { fmt: 'ARM_32_LPAE_S1', ias: 32, oas: 42 },
    { fmt: 'ARM_32_LPAE_S2', ias: 42, oas: 40 },
    { fmt: 'ARM_32_LPAE_S1', ias: 32, oas: 40, pgsizeBitmap: 2 ** 16 },
    { pgsizeBitmap: 0 },
    { pgsizeBitmap: MIB2 },
    { oas: 43 },
    { ias: 12 },
    { fmt: 'ARM_64_LPAE_S2', ias: 48, oas: 42 },
  ];
  for (const change of bad) {
    const arena = new Arena(BASE);
    const config = { ...STAGE_1, ...change };
    expect([change, configurePageTable(config)]).toEqual([change, Errno.EINVAL]);
    expect(allocPageTable(arena.ops, config)).toBe(Errno.EINVAL);
    expect(() => openPageTable(arena.ops, config, BASE)).toThrow(RangeError);
    expect(arena.events).toEqual([]);
  }
});

test('without memory for the first table there is no page table', () => {
  const arena = new Arena(BASE);
  arena.armFailures(0, 1);
  expect(allocPageTable(arena.ops, STAGE_1)).toBe(Errno.ENOMEM);
});

test('a first table of fewer than eight descriptors is allocated and freed as 64 bytes', () => {
  const arena = new Arena(BASE);
  const sizes: number[] = [];
  const ops = {
    ...arena.ops,
    allocTable: (size: number) => {
      sizes.push(size);
      return arena.ops.allocTable(size);
    },
    freeTable: (_pa: number, size: number) => {
      sizes.push(size);
    },
  };
  freePageTable(allocPageTable(ops, { ...STAGE_1, ias: 32 }) as PageTable);
  freePageTable(allocPageTable(ops, STAGE_2) as PageTable);
  expect(sizes).toEqual([64, 64, 8192, 8192]);
});

test('NO_WARN silences mapping over a mapping and unmapping a hole, and nothing else', () => {
  for (const quirks of [0, Quirk.NO_WARN]) {
    const { arena, pt } = open({ quirks });
    const warnings = (call: () => number): [number, number] => {
      arena.warnings = 0;
      const result = call();
      return [result, arena.warnings];
    };
    const usual = quirks === 0 ? 1 : 0;
    mapPages(pt, 0, 0, MIB2, 1, RW);
    mapPages(pt, GIB1, 0, KIB4, 1, RW);
    expect(warnings(() => mapPages(pt, 0, 0, MIB2, 1, RW))).toEqual([Errno.EEXIST, usual]);
    expect(warnings(() => mapPages(pt, 0, 0, KIB4, 1, RW))).toEqual([Errno.EEXIST, usual]);
    expect(warnings(() => unmapPages(pt, 4 * GIB1, KIB4, 1))).toEqual([0, usual]);
    expect(warnings(() => unmapPages(pt, GIB1, KIB4, 2))).toEqual([KIB4, usual]);
    expect(warnings(() => unmapPages(pt, 0, KIB4, 1))).toEqual([0, 1]);
    expect(warnings(() => unmapPages(pt, 0, KIB4, 0))).toEqual([0, 1]);
    expect(warnings(() => mapPages(pt, 0, 0, 3 * KIB4, 1, RW))).toEqual([Errno.EINVAL, 1]);
    expect(warnings(() => mapPages(pt, 2 ** 39, 0, KIB4, 1, RW))).toEqual([Errno.ERANGE, 1]);
    expect(warnings(() => mapPages(pt, 0, 2 ** 48, KIB4, 1, RW))).toEqual([Errno.ERANGE, 1]);
    expect(warnings(() => mapPages(pt, 0, 0, KIB4, 1, Prot.CACHE))).toEqual([Errno.EINVAL, 0]);
  }
});

test('a page size that covers more than the input range passes the check and finds no level', () => {
  const { arena, pt } = open({ ias: 30, oas: 32 });
  expect(mapPages(pt, 0, 0, GIB1, 1, RW)).toBe(Errno.EINVAL);
  expect(arena.warnings).toBe(1);
  expect(arena.events).toEqual(['+80001000:1000']);
  expect(unmapPages(pt, 0, GIB1, 1)).toBe(0);
  expect(arena.warnings).toBe(2);
});

test('a run never leaves a first table that is smaller than a page', () => {
  const { arena, pt } = open({ ias: 32 });
  expect(mapPages(pt, 2 * GIB1, 0, GIB1, 9, RW)).toBe(2 * GIB1);
  expect(arena.memory.readBytes(BASE + 32, 64).every((byte) => byte === 0)).toBe(true);
});

test('a run stops where one of several concatenated first tables ends', () => {
  const { pt } = open(STAGE_2);
  expect(pt.layout.pgdSize).toBe(8192);
  expect(mapPages(pt, 510 * GIB1, 0, GIB1, 4, RW)).toBe(2 * GIB1);
  expect(mapPages(pt, 512 * GIB1, 2 * GIB1, GIB1, 2, RW)).toBe(2 * GIB1);
  expect(unmapPages(pt, 510 * GIB1, GIB1, 4)).toBe(2 * GIB1);
  expect(iovaToPhys(pt, 513 * GIB1 + 1)).toBe(3 * GIB1 + 1);
});

test('a map that finds a leaf in its way has torn down the tables before it and written nothing', () => {
  const { arena, pt } = open();
  mapPages(pt, 0, 0, KIB4, 1, RW);
  mapPages(pt, 2 * MIB2, 0, MIB2, 1, RW);
  arena.events = [];
  expect(mapPages(pt, 0, GIB1, MIB2, 3, RW)).toBe(Errno.EEXIST);
  expect(arena.events).toEqual(['W:0:200000:1000', '-80002000:1000']);
  expect([0, MIB2, 2 * MIB2 + 7].map((iova) => iovaToPhys(pt, iova))).toEqual([0, 0, 7]);
});

test('lookups ignore address bits above the input range, and low bits of a misaligned leaf show through', () => {
  const { pt } = open();
  mapPages(pt, MIB2, GIB1 + 0x3000, MIB2, 1, RW);
  expect(iovaToPhys(pt, MIB2 + 0x1008)).toBe(GIB1 + 0x3008);
  expect(iovaToPhys(pt, 2 ** 39 + MIB2 + 0x4008)).toBe(GIB1 + 0x7008);
});

test('a walk shows the descriptors on the way, also where it ends without a leaf', () => {
  const { pt } = open();
  mapPages(pt, 0, 0xabc_1234_5000, KIB4, 1, Prot.READ | Prot.NOEXEC);
  const out = new Int32Array(8).fill(-1);
  expect(walkDescriptors(pt, 0xfff, out)).toBe(0);
  const leafHi = 0xabc | (3 << 21);
  expect([...out]).toEqual([0, 0, 0x80001003 | 0, 0, 0x80002003 | 0, 0, 0x12345ec3, leafHi]);
  expect(walkDescriptors(pt, KIB4, out)).toBe(Errno.EINVAL);
  expect([...out]).toEqual([0, 0, 0x80001003 | 0, 0, 0x80002003 | 0, 0, 0, 0]);
});

test('a 64K granule keeps address bits 51:48 right where a run crosses 2^48', () => {
  const page = 2 ** 16;
  const { pt } = open({ pgsizeBitmap: page, ias: 48, oas: 52 });
  const pa = 2 ** 48 - 3 * page;
  expect(mapPages(pt, 0, pa, page, 6, RW)).toBe(6 * page);
  expect([0, 1, 2, 3, 4, 5].map((i) => iovaToPhys(pt, i * page + 9))).toEqual(
    [0, 1, 2, 3, 4, 5].map((i) => pa + i * page + 9),
  );
});

test('addresses of the upper half are negative numbers, in calls and in what the owner is told', () => {
  const { arena, pt } = open({ ias: 48, quirks: Quirk.ARM_TTBR1 });
  expect([pt.layout.inputStart, pt.layout.inputEnd]).toEqual([-(2 ** 48), 0]);
  expect(mapPages(pt, -2 * KIB4, GIB1, KIB4, 2, RW)).toBe(2 * KIB4);
  expect(mapPages(pt, -(2 ** 48), MIB2, KIB4, 1, RW)).toBe(KIB4);
  expect([-1, -2 * KIB4, -(2 ** 48) + 5].map((iova) => iovaToPhys(pt, iova))).toEqual([
    GIB1 + 2 * KIB4 - 1,
    GIB1,
    MIB2 + 5,
  ]);
  expect(mapPages(pt, 0, GIB1, KIB4, 1, RW)).toBe(Errno.ERANGE);
  expect(mapPages(pt, -(2 ** 48) - KIB4, GIB1, KIB4, 1, RW)).toBe(Errno.ERANGE);
  // Only the bits of the input range count in a lookup.
  expect(iovaToPhys(pt, 2 ** 48 - 1)).toBe(GIB1 + 2 * KIB4 - 1);
  arena.events = [];
  expect(unmapPages(pt, -2 * KIB4, KIB4, 2)).toBe(2 * KIB4);
  expect(arena.events).toEqual(['A:ffffffffffffe000:1000:2']);
});

test('where blocks are split, an owner that asks is told of the part that goes, and of no other', () => {
  const { arena, pt } = open({ profile: 'linux-6.12' });
  const told: number[][] = [];
  const asking = openPageTable({ ...arena.ops, leafRemoved: (...run) => told.push(run) }, pt.layout, pt.root);
  mapPages(asking, 0, GIB1, GIB1, 1, RW);
  expect(unmapPages(asking, MIB2 + 3 * KIB4, KIB4, 2)).toBe(2 * KIB4);
  expect(told).toEqual([[GIB1 + MIB2 + 3 * KIB4, KIB4, 2]]);
  // Without memory for the second of two tables the first stays, and nothing is unmapped.
  arena.armFailures(0, 1);
  expect(unmapPages(asking, 2 * MIB2, KIB4, 1)).toBe(0);
  expect([MIB2 + 2 * KIB4, MIB2 + 3 * KIB4, 2 * MIB2].map((iova) => iovaToPhys(pt, iova))).toEqual([
    GIB1 + MIB2 + 2 * KIB4,
    0,
    GIB1 + 2 * MIB2,
  ]);
  freePageTable(pt);
  expect(arena.live.size).toBe(0);
});
