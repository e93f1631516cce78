/** Intel VT-d second stage: the one algorithm over another format. Bits and fields as the architecture writes them. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  allocPageTable,
  configurePageTable,
  Errno,
  freePageTable,
  iovaToPhys,
  mapPages,
  type PageTable,
  type PageTableConfig,
  Prot,
  Quirk,
  readAndClearDirty,
  unmapPages,
  walkDescriptors,
} from '#io-pgtable/plain';
import { operations } from './operations.ts';
import { GIB1, KIB4, MIB2, Reference } from './reference.ts';
import { BASE, GRANULES, RW } from './tables.ts';
import { Arena, word64 } from './vector-runner.ts';

const CONFIG: PageTableConfig = {
  fmt: 'VTD_SECOND_STAGE',
  pgsizeBitmap: GRANULES['4K'],
  ias: 39,
  oas: 52,
  coherentWalk: true,
  quirks: 0,
};

function open(change: Partial<PageTableConfig> = {}): { arena: Arena; pt: PageTable } {
  const arena = new Arena(BASE);
  const pt = allocPageTable(arena.ops, { ...CONFIG, ...change });
  if (typeof pt === 'number') throw new Error(`refused with ${pt}`);
  return { arena, pt };
}

/** The descriptors on the way to `iova`, of levels 0 to 3, in hexadecimal. */
function descriptors(pt: PageTable, iova: number): string[] {
  const out = new Int32Array(8);
  walkDescriptors(pt, iova, out);
  return [0, 1, 2, 3].map((level) => word64(out[2 * level + 1]!, out[2 * level]!));
}

test('map, unmap and translate do what a naive reference does', () => {
  fc.assert(
    fc.property(operations, (calls) => {
      const { arena, pt } = open();
      const reference = new Reference();
      for (const call of calls) {
        const { iova } = call;
        if (call.o === 'map') {
          const { pa, size, count, prot } = call;
          const expected = reference.map(iova, pa, size, count, prot);
          expect([call, mapPages(pt, iova, pa, size, count, prot)]).toEqual([call, expected]);
        } else if (call.o === 'unmap') {
          const expected = reference.unmap(iova, call.size, call.count);
          expect([call, unmapPages(pt, iova, call.size, call.count)]).toEqual([call, expected]);
        } else {
          expect([call, iovaToPhys(pt, iova)]).toEqual([call, reference.translate(iova)]);
        }
        expect(arena.live.size).toBe(1 + reference.tables.size);
      }
      for (const [iova, leaf] of reference.leaves) {
        expect(iovaToPhys(pt, iova + leaf.size - 1)).toBe(leaf.pa + leaf.size - 1);
      }
      freePageTable(pt);
      expect(arena.live.size).toBe(0);
    }),
    { numRuns: 100 },
  );
});

test('a leaf is R (bit 0) and W (bit 1) as asked, PS (bit 7) above the last level, and address bits 51:12', () => {
  const { pt } = open();
  expect(mapPages(pt, 0, 0xabcd_1234_5000, KIB4, 1, RW)).toBe(KIB4);
  expect(descriptors(pt, 0)).toEqual(['0', '80001003', '80002003', 'abcd12345003']);
  mapPages(pt, MIB2, 0xf_0000_4020_0000, MIB2, 1, Prot.READ);
  expect(descriptors(pt, MIB2)).toEqual(['0', '80001003', 'f000040200081', '0']);
  mapPages(pt, GIB1, 3 * GIB1, GIB1, 1, Prot.WRITE);
  expect(descriptors(pt, GIB1)).toEqual(['0', 'c0000082', '0', '0']);
  expect([0, MIB2, GIB1].map((iova) => iovaToPhys(pt, iova + 7))).toEqual([
    0xabcd_1234_5007,
    0xf_0000_4020_0007,
    3 * GIB1 + 7,
  ]);
  // Nothing but R and W comes of a protection; cache, execute and privilege attributes are not the second stage's.
  mapPages(pt, KIB4, KIB4, KIB4, 1, RW | Prot.CACHE | Prot.NOEXEC | Prot.MMIO | Prot.PRIV);
  expect(descriptors(pt, KIB4)[3]).toBe('1003');
});

test('a run of 512 pages across 2^48 and across 2^32 keeps every address', () => {
  for (const boundary of [2 ** 32, 2 ** 48, 2 ** 51]) {
    const { pt } = open();
    expect(mapPages(pt, 0, boundary - 3 * KIB4, KIB4, 512, RW)).toBe(512 * KIB4);
    for (const page of [0, 2, 3, 511]) expect(iovaToPhys(pt, page * KIB4)).toBe(boundary + (page - 3) * KIB4);
  }
});

test('AW is 1 with three levels and 2 with four; the input size is that of the levels', () => {
  for (const [ias, aw, bits, start] of [
    [30, 1, 39, 1],
    [39, 1, 39, 1],
    [40, 2, 48, 0],
    [48, 2, 48, 0],
  ] as const) {
    const layout = configurePageTable({ ...CONFIG, ias });
    expect(layout).toMatchObject({ ias: bits, startLevel: start, pgdSize: 4096, registers: { stage: 'second', aw } });
  }
  const { pt } = open({ ias: 48 });
  expect(mapPages(pt, 2 ** 48 - GIB1, 0, GIB1, 1, RW)).toBe(GIB1);
  expect(descriptors(pt, 2 ** 48 - 1)).toEqual(['80001003', '83', '0', '0']);
});

test('five levels, other granules, quirks of Arm and outputs beyond 52 bits are refused', () => {
  const bad: Partial<PageTableConfig>[] = [
    { ias: 49 },
    { ias: 57 },
    { ias: 12 },
    { oas: 53 },
    { oas: 11 },
    { pgsizeBitmap: 2 ** 14 },
    { pgsizeBitmap: MIB2 },
    { quirks: Quirk.ARM_NS },
    { quirks: Quirk.ARM_S2FWB },
  ];
  for (const change of bad)
    expect([change, configurePageTable({ ...CONFIG, ...change })]).toEqual([change, Errno.EINVAL]);
  expect(configurePageTable({ ...CONFIG, quirks: Quirk.NO_WARN })).toMatchObject({ oas: 52 });
});

test('hardware that sets A (bit 8) and D (bit 9) dirties a leaf; reading reports it and clears D alone', () => {
  const { arena, pt } = open();
  mapPages(pt, 0, 0, KIB4, 4, RW);
  const table = BASE + 2 * KIB4;
  arena.memory.write64(table + 8, 0, 0x1303);
  arena.memory.write64(table + 24, 0, 0x3303);
  const found: number[] = [];
  expect(readAndClearDirty(pt, 0, 4 * KIB4, false, (iova) => found.push(iova))).toBe(0);
  expect(readAndClearDirty(pt, 0, 4 * KIB4, true, (iova) => found.push(iova))).toBe(0);
  expect(readAndClearDirty(pt, 0, 4 * KIB4, true, (iova) => found.push(iova))).toBe(0);
  expect(found).toEqual([KIB4, 3 * KIB4, KIB4, 3 * KIB4]);
  expect(arena.memory.read32(table + 8)).toBe(0x1103);
  expect(iovaToPhys(pt, KIB4)).toBe(KIB4);
  // A hole ends the reading.
  expect(readAndClearDirty(pt, 0, 5 * KIB4, true, () => {})).toBe(Errno.EINVAL);
});

test('with a walker that does not snoop, software bit 52 marks a table that was written back', () => {
  const { arena, pt } = open({ coherentWalk: false });
  arena.events = [];
  mapPages(pt, 0, 0, KIB4, 1, RW);
  expect(arena.events).toEqual(['+80001000:1000', 'S:80000000:8', '+80002000:1000', 'S:80001000:8', 'S:80002000:8']);
  expect(descriptors(pt, 0)).toEqual(['0', '10000080001003', '10000080002003', '3']);
  expect(iovaToPhys(pt, 5)).toBe(5);
});

test('a split block keeps its permissions and its accessed and dirty bits', () => {
  const { arena, pt } = open({ profile: 'linux-6.12' });
  mapPages(pt, 0, 4 * MIB2, MIB2, 1, Prot.READ);
  arena.memory.write64(BASE + KIB4, 0, (4 * MIB2) | 0x381);
  expect(unmapPages(pt, KIB4, KIB4, 2)).toBe(2 * KIB4);
  expect([0, KIB4, 2 * KIB4, 3 * KIB4].map((iova) => descriptors(pt, iova)[3])).toEqual(['800301', '0', '0', '803301']);
});
