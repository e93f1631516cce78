/**
 * The cases of the generic_pt KUnit suites, by their names upstream, on every format and granule here (upstream has
 * none of Arm). What has no counterpart is said where it would stand.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { choosePageSize } from '#host';
import {
  EntryKind,
  Errno,
  freePageTable,
  iovaToPhys,
  mapPages,
  PROTECTIONS,
  Prot,
  readAndClearDirty,
  unmapPages,
} from '#io-pgtable/plain';
import { indexAt, leafLevelOf, NO_LEVEL, offsetOf } from '../../io-pgtable/entries.ts';
import { GIB1, KIB4, MIB2 } from './reference.ts';
import { configs, descriptorAt, isMapped, leavesBySize, mapRange, open, RW, sizesOf, unmapRange } from './tables.ts';

const TWO32 = 2 ** 32;

/** Any bits below 2^52. */
const bits52 = fc.tuple(fc.nat(2 ** 20 - 1), fc.nat(TWO32 - 1)).map(([hi, lo]) => hi * TWO32 + lo);

function word(hi: number, lo: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}

describe.each(configs)('format suite, %s', (_name, config) => {
  const { layout } = open(config).pt;
  const { format } = layout;
  const levels = [...layout.leafSizes].flatMap((size, level) => (size > 0 ? [level] : []));

  test('test_init: there are page sizes, and the granule is one', () => {
    expect(sizesOf(open(config).pt)[0]).toBe(layout.granule);
    expect(levels.length).toBeGreaterThan(1);
  });

  test('test_bitops: addresses and page sizes beyond 32 bits are taken apart as whole 64-bit numbers are', () => {
    const size = BigInt(layout.inputEnd - layout.inputStart);
    fc.assert(
      fc.property(bits52, fc.boolean(), fc.constantFrom(0, 1, 2, 3), (value, negative, level) => {
        const iova = negative ? -value : value;
        const offset = (((BigInt(iova) - BigInt(layout.inputStart)) % size) + size) % size;
        expect(BigInt(offsetOf(layout, iova))).toBe(offset);
        const index = (offset / BigInt(layout.spans[level]!)) & BigInt(layout.indexMasks[level]!);
        expect(BigInt(indexAt(layout, Number(offset), level))).toBe(index);
      }),
      { numRuns: 50 },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          bits52,
          fc.nat(52).map((bit) => 2 ** bit),
        ),
        (size) => {
          const offered = BigInt(layout.pgsizeBitmap);
          const found = leafLevelOf(layout, size);
          const exact = layout.leafSizes.indexOf(size);
          const isOffered = size > 0 && (BigInt(size) & ~offered) === 0n;
          expect(found).toBe(size > 0 && exact >= 0 ? exact : isOffered ? NO_LEVEL : -1);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('test_best_pgsize: the largest page that both addresses and the size allow', () => {
    const { granule, pgsizeBitmap } = layout;
    const sizes = [...Array(53).keys()]
      .map((bit) => 2 ** bit)
      .filter((size) => Math.floor(pgsizeBitmap / size) % 2 === 1);
    const pages = fc.tuple(fc.nat(2 ** 10), fc.nat(30)).map(([n, shift]) => (n * 2 ** shift * granule) % 2 ** 51);
    fc.assert(
      fc.property(pages, pages, pages, (iova, pa, size) => {
        if (size === 0) return;
        const fits = sizes.filter((page) => page <= size && iova % page === 0 && pa % page === 0);
        expect(choosePageSize(pgsizeBitmap, iova, pa, size).pgsize).toBe(fits.at(-1));
      }),
      { numRuns: 50 },
    );
    expect(() => choosePageSize(0, 0, 0, granule)).toThrow(RangeError);
  });

  test('test_pgsz_count: as many pages as fit before a larger one can take over', () => {
    const { granule, pgsizeBitmap } = layout;
    fc.assert(
      fc.property(fc.nat(2 ** 12), fc.integer({ min: 1, max: 2 ** 11 }), (page, count) => {
        const [at, size] = [page * granule, count * granule];
        const choice = choosePageSize(pgsizeBitmap, at, at, size);
        let expected = 0;
        for (let from = 0; from + choice.pgsize <= size; from += choice.pgsize, expected++) {
          if (choosePageSize(pgsizeBitmap, at + from, at + from, size - from).pgsize > choice.pgsize) break;
        }
        expect(choice.count).toBe(expected);
      }),
      { numRuns: 15 },
    );
  });

  test('test_table_ptr: a table descriptor gives its address back, also when stored again; cleared, nothing', () => {
    for (const table of [layout.granule, 0x80000000, 2 ** 40, layout.outputEnd - layout.granule]) {
      const [hi, lo] = [format.tableHi(layout, table), format.tableLo(layout, table)];
      for (let level = layout.startLevel; level < 3; level++) {
        expect(format.kindOf(hi, lo, level)).toBe(EntryKind.TABLE);
        expect(format.kindOf(0, 0, level)).toBe(EntryKind.EMPTY);
      }
      const again = format.addressOf(layout, hi, lo);
      expect(again).toBe(table);
      expect([format.tableHi(layout, again), format.tableLo(layout, again)]).toEqual([hi, lo]);
    }
  });

  test('what is a table is told quickly as it is told thoroughly', () => {
    fc.assert(
      fc.property(fc.nat(0xfff), fc.integer({ min: layout.startLevel, max: 3 }), (lo, level) => {
        const isTable = level < 3 && (lo & format.tableMask) === format.tableBits;
        expect(isTable).toBe(format.kindOf(0, lo, level) === EntryKind.TABLE);
      }),
    );
  });

  test('test_max_va: the last page of the input range can be mapped, and none beyond or before the range', () => {
    const { pt } = open(config);
    const { granule, inputStart, inputEnd } = layout;
    expect(mapPages(pt, inputEnd - granule, granule, granule, 1, RW)).toBe(granule);
    expect(iovaToPhys(pt, inputEnd - 1)).toBe(2 * granule - 1);
    expect(mapPages(pt, inputEnd, granule, granule, 1, RW)).toBe(Errno.ERANGE);
    expect(mapPages(pt, inputStart - granule, granule, granule, 1, RW)).toBe(Errno.ERANGE);
    expect(unmapPages(pt, inputEnd, granule, 1)).toBe(0);
  });

  test('test_table_radix: the levels decode neighbouring bits that together are the whole input range', () => {
    let covered = BigInt(layout.granule);
    for (let level = 3; level >= layout.startLevel; level--) {
      expect(BigInt(layout.spans[level]!)).toBe(covered);
      covered *= BigInt(layout.indexMasks[level]! + 1);
    }
    expect(covered).toBe(BigInt(layout.inputEnd - layout.inputStart));
  });

  test('test_entry_possible_sizes: a leaf has the size of its descriptor and less than its table', () => {
    let sum = 0;
    for (const level of levels) {
      const size = layout.leafSizes[level]!;
      expect(size).toBe(layout.spans[level]);
      expect(size).toBeLessThan(size * (layout.indexMasks[level]! + 1));
      sum += size;
    }
    expect(sum % (2 * layout.pgsizeBitmap)).toBeLessThanOrEqual(layout.pgsizeBitmap);
    expect(levels).toContain(3);
  });

  test('test_entry_oa: every size at a middle, the zero and the last output address reads back and clears', () => {
    for (const level of levels) {
      const size = layout.leafSizes[level]!;
      for (const pa of [0, size * 2, layout.outputEnd - size]) {
        const opened = open(config);
        const { pt } = opened;
        const iova = layout.inputStart + size;
        expect(mapPages(pt, iova, pa, size, 1, RW)).toBe(size);
        expect(isMapped(pt, iova, pa, size)).toBe(true);
        const { hi, lo } = descriptorAt(opened, iova, level);
        expect([format.kindOf(hi, lo, level), format.addressOf(layout, hi, lo)]).toEqual([EntryKind.LEAF, pa]);
        expect(unmapPages(pt, iova, size, 1)).toBe(size);
        expect(descriptorAt(opened, iova, level)).toMatchObject({ hi: 0, lo: 0 });
      }
    }
  });

  test('test_attr_from_entry: a leaf made again from its attributes and address is the same, for every protection', () => {
    const seen = new Map<number, bigint>();
    for (const level of levels) {
      const opened = open(config);
      const iova = layout.inputStart;
      const size = layout.leafSizes[level]!;
      const pa = layout.outputEnd - size;
      for (let prot = 0; prot < PROTECTIONS; prot++) {
        if ((prot & RW) === 0) continue;
        mapPages(opened.pt, iova, pa, size, 1, prot);
        const { hi, lo } = descriptorAt(opened, iova, level);
        const attributes = [hi & format.attributeMaskHi, lo & format.attributeMaskLo] as const;
        expect([format.leafHi(pa, attributes[0]), format.leafLo(pa, attributes[1], level)]).toEqual([hi, lo]);
        const before = seen.get(prot);
        if (before !== undefined) expect(word(...attributes)).toBe(before);
        seen.set(prot, word(...attributes));
        unmapPages(opened.pt, iova, size, 1);
      }
    }
    expect(seen.get(Prot.READ)).not.toBe(seen.get(RW));
  });

  if (format.dirty !== undefined)
    test('test_dirty: hardware marks a leaf, reading tells, clearing makes it clean', () => {
      const dirty = format.dirty!;
      for (const level of levels) {
        const opened = open(config);
        const { arena, pt } = opened;
        const size = layout.leafSizes[level]!;
        mapPages(pt, layout.inputStart, size, size, 3, RW);
        const at = layout.inputStart < 0 ? 0 : layout.inputStart;
        const read = (clear: boolean): number[] => {
          const found: number[] = [];
          expect(readAndClearDirty(pt, at, 3 * size, clear, (iova) => found.push(iova / size))).toBe(0);
          return found;
        };
        const device = descriptorAt(opened, layout.inputStart + size, level);
        read(true);
        expect(read(false)).toEqual([]);
        // As hardware does it: DBM allows AP[2] to be cleared; in VT-d, D (bit 9) is set.
        const isArm = config.fmt.startsWith('ARM');
        const now = arena.memory.read32(device.at);
        arena.memory.write64(device.at, device.hi, isArm ? now & ~(1 << 7) : now | (1 << 9));
        const keepsState = !isArm || (device.hi & (1 << 19)) !== 0;
        expect(dirty.isDirty(device.hi, arena.memory.read32(device.at))).toBe(keepsState);
        for (const clear of [false, true]) expect(read(clear)).toEqual(keepsState ? [1] : []);
        expect(read(true)).toEqual([]);
      }
    });

  const softwareBits =
    config.fmt === 'VTD_SECOND_STAGE' ? [10, 52, 53, 54, 55, 56, 57, 58, 59, 60, 63] : [55, 56, 57, 58];

  test('test_sw_bit_leaf: a bit of software is no part of address, kind or attributes of a leaf', () => {
    for (const level of levels) {
      const pa = layout.outputEnd - layout.leafSizes[level]!;
      const plain = [format.leafHi(pa, 0), format.leafLo(pa, 1, level)] as const;
      for (const bit of softwareBits) {
        const hi = plain[0] | (bit >= 32 ? 1 << (bit - 32) : 0);
        const lo = plain[1] | (bit < 32 ? 1 << bit : 0);
        expect(word(hi, lo) ^ word(...plain)).toBe(1n << BigInt(bit));
        expect(format.addressOf(layout, hi, lo)).toBe(pa);
        expect(format.kindOf(hi, lo, level)).toBe(EntryKind.LEAF);
        expect(word(format.attributeMaskHi, format.attributeMaskLo) & (1n << BigInt(bit))).toBe(0n);
      }
    }
  });

  test('test_sw_bit_table: a bit of software is no part of address or kind of a table', () => {
    const table = layout.outputEnd - layout.granule;
    for (const bit of softwareBits) {
      const hi = format.tableHi(layout, table) | (bit >= 32 ? 1 << (bit - 32) : 0);
      const lo = format.tableLo(layout, table) | (bit < 32 ? 1 << bit : 0);
      expect(format.addressOf(layout, hi, lo)).toBe(table);
      expect(format.kindOf(hi, lo, layout.startLevel)).toBe(EntryKind.TABLE);
    }
  });
});

describe.each(configs)('iommu suite, %s', (_name, config) => {
  test('test_increase_level: the same pages map at every input size, whatever the number of levels', () => {
    // Upstream grows one table; here the number of levels is fixed when a table is laid out.
    const startLevels = new Set<number>();
    const smallest = Math.log2(open(config).pt.layout.granule) + 4;
    for (let ias = smallest; ias <= config.ias; ias++) {
      let opened: ReturnType<typeof open>;
      try {
        opened = open({ ...config, ias });
      } catch {
        continue;
      }
      const { pt } = opened;
      const { granule, inputStart, inputEnd } = pt.layout;
      startLevels.add(pt.layout.startLevel);
      for (const iova of [inputStart, inputEnd - granule])
        expect(mapPages(pt, iova, granule, granule, 1, RW)).toBe(granule);
      expect(iovaToPhys(pt, inputEnd - 1)).toBe(2 * granule - 1);
      expect(leavesBySize(opened)).toEqual({ [granule]: 2 });
    }
    // VT-d has tables of three levels and of four.
    expect(startLevels.size).toBeGreaterThan(config.fmt === 'VTD_SECOND_STAGE' ? Math.sign(config.ias - 39) : 1);
  });

  test('test_map_simple: every size maps, each smallest page of it translates, and all goes again', () => {
    const opened = open(config);
    const { pt } = opened;
    const start = pt.layout.inputStart;
    const sizes = sizesOf(pt).filter((size) => size < 2 ** config.ias / 8);
    const at = (i: number): number =>
      start + sizes.slice(0, i).reduce((sum, size) => Math.ceil((sum + size) / sizes[i]!) * sizes[i]!, 0);
    expect(sizes.map((size, i) => mapPages(pt, at(i), 2 * size, size, 1, RW))).toEqual(sizes);
    expect(sizes.every((size, i) => isMapped(pt, at(i), 2 * size, size))).toBe(true);
    const twin = open(config);
    for (const [i, size] of sizes.entries()) mapPages(twin.pt, at(i), 2 * size, size, 1, RW);
    expect(leavesBySize(twin)).toEqual(Object.fromEntries(sizes.map((size) => [size, 1])));
    expect(sizes.map((size, i) => unmapPages(pt, at(i), size, 1))).toEqual(sizes);
    expect(sizes.map((_size, i) => iovaToPhys(pt, at(i)))).toEqual(sizes.map(() => 0));
    expect(leavesBySize(opened)).toEqual({});
  });

  test('test_map_table_to_oa: after small pages have gone, a larger page takes the place of their table', () => {
    const opened = open(config);
    const { pt, arena } = opened;
    const start = pt.layout.inputStart;
    const [granule, ...larger] = sizesOf(pt);
    for (const size of larger) {
      for (const offset of [0, size / 2, size - granule!]) mapPages(pt, start + offset, 0, granule!, 1, RW);
      for (const offset of [0, size / 2, size - granule!]) unmapPages(pt, start + offset, granule!, 1);
      const tables = arena.live.size;
      expect(mapPages(pt, start, size, size, 1, RW)).toBe(size);
      expect(arena.live.size).toBeLessThan(tables);
      expect(isMapped(pt, start, size, size)).toBe(true);
      expect(unmapPages(pt, start, size, 1)).toBe(size);
    }
    expect(leavesBySize(opened)).toEqual({});
  });

  test('test_unmap_split: part of a larger page cannot go alone, or goes alone where blocks are split', () => {
    // Upstream's generic_pt removes the whole page instead; io-pgtable refuses (7.2) or splits (6.12).
    const { pt } = open(config);
    const start = pt.layout.inputStart;
    const sizes = sizesOf(pt);
    sizes.slice(1).forEach((size, i) => {
      const small = sizes[i]!;
      const splits = pt.layout.profile === 'linux-6.12';
      mapPages(pt, start, size, size, 1, RW);
      expect(unmapPages(pt, start + small, small, 1)).toBe(splits ? small : 0);
      expect(iovaToPhys(pt, start + small)).toBe(splits ? 0 : size + small);
      expect([0, 2 * small].map((offset) => iovaToPhys(pt, start + offset))).toEqual([size, size + 2 * small]);
      expect(unmapPages(pt, start, size, 1)).toBe(size);
    });
  });

  test('test_random_map: a thousand random maps and unmaps agree with a list of intervals', () => {
    const step = fc.record({
      map: fc.boolean(),
      at: fc.nat(2 ** 20),
      pages: fc.nat(2 ** 12),
      pick: fc.nat(99),
      far: fc.nat(7),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 100 }), (steps) => {
        const opened = open(config);
        const { pt } = opened;
        const { granule, inputStart, outputEnd } = pt.layout;
        const block = sizesOf(pt)[1]!;
        let intervals: { iova: number; pa: number; size: number }[] = [];
        for (const { map, at, pages, pick, far } of steps) {
          const chosen = intervals[pick % Math.max(1, intervals.length)];
          if (map) {
            const iova = inputStart + ((at * granule) % (4 * block));
            const size = Math.min(
              (pages % 37 === 0 ? 2 * block : 1 + (pages % 21)) * (pages % 37 === 0 ? 1 : granule),
              2 * block,
            );
            const pa = (iova - inputStart + far * block) % (outputEnd / 2);
            if (!intervals.some((other) => iova < other.iova + other.size && other.iova < iova + size)) {
              expect(mapRange(pt, iova, pa, size)).toBe(size);
              intervals.push({ iova, pa, size });
            } else if (chosen !== undefined) {
              const before = iovaToPhys(pt, chosen.iova);
              expect(mapPages(pt, chosen.iova, 0, granule, 1, RW)).toBe(Errno.EEXIST);
              expect([before, iovaToPhys(pt, chosen.iova)]).toEqual([chosen.pa, chosen.pa]);
            }
          } else if (chosen !== undefined) {
            expect(unmapRange(pt, chosen.iova, chosen.size)).toBe(chosen.size);
            for (const offset of [0, chosen.size - 1]) expect(iovaToPhys(pt, chosen.iova + offset)).toBe(0);
            intervals = intervals.filter((other) => other !== chosen);
          }
        }
        for (const { iova, pa, size } of intervals) {
          expect(iovaToPhys(pt, iova)).toBe(pa);
          expect(iovaToPhys(pt, iova + size - 1)).toBe(pa + size - 1);
        }
        freePageTable(pt);
        expect(opened.arena.live.size).toBe(0);
      }),
      { numRuns: 10 },
    );
  });

  test('test_pgsize_boundary: a range across 4 GiB maps wholly, whichever address crosses', () => {
    const sizes = sizesOf(open(config).pt);
    for (const size of sizes.filter((other) => 4 * other <= TWO32)) {
      for (const [from, to] of [
        [TWO32 - 2 * size, 4 * size],
        [4 * size, TWO32 - 2 * size],
        [TWO32 - size, TWO32 - 2 * size],
      ] as const) {
        const opened = open(config);
        const { pt } = opened;
        const { inputStart, inputEnd } = pt.layout;
        // Within 32 bits of input, only the output address crosses.
        if (inputStart + from + 4 * size > inputEnd) continue;
        expect(mapRange(pt, inputStart + from, to, 4 * size)).toBe(4 * size);
        expect(isMapped(pt, inputStart + from, to, 4 * size)).toBe(true);
        expect(unmapRange(pt, inputStart + from, 4 * size)).toBe(4 * size);
      }
    }
  });

  if (config.pgsizeBitmap === KIB4 + MIB2 + GIB1 && config.ias > 35)
    test('test_mixed: a range from 0x3fe400000 to 0x4c0600000 takes 14 + 3 leaves of 2M and 3 of 1G', () => {
      const opened = open(config);
      const [start, end] = [0x3fe400000, 0x4c0600000];
      expect(mapRange(opened.pt, opened.pt.layout.inputStart + start, start, end - start)).toBe(end - start);
      expect(isMapped(opened.pt, opened.pt.layout.inputStart + start, start, end - start)).toBe(true);
      expect(leavesBySize(opened)).toEqual({ [MIB2]: 17, [GIB1]: 3 });
    });
});
