/**
 * The self test of io-pgtable-arm (KUnit `arm_lpae_do_selftests`): 63 configurations of each stage, and the 18 of the
 * older boot-time test, which also unmaps a part of a block. Its checks in its order; VT-d takes them too.
 */
import { expect, test } from 'vitest';
import {
  Errno,
  type FormatName,
  iovaToPhys,
  mapPages,
  type PageTableConfig,
  Prot,
  Quirk,
  unmapPages,
} from '#io-pgtable/plain';
import { GIB1 } from './reference.ts';
import { GRANULES, open, sizesOf } from './tables.ts';

const ADDRESS_SIZES = [32, 36, 40, 42, 44, 48];
const FULL = Prot.READ | Prot.WRITE | Prot.NOEXEC | Prot.CACHE;
const OFFSET = 42;

/** Performs the checks on a new table. */
function selfTest(config: PageTableConfig): void {
  const opened = open(config);
  const { arena, pt } = opened;
  const { layout } = pt;
  const sizes = sizesOf(pt);
  const flushed = new Set<number>();
  const mapped: number[] = [];
  const at = (iova: number): number => iovaToPhys(pt, iova + OFFSET);

  // Nothing translates in an empty table.
  for (const iova of [0, GIB1, 2 * GIB1]) expect(at(iova)).toBe(0);

  // One page of every size, a gibibyte apart.
  sizes.forEach((size, i) => {
    const iova = i * GIB1;
    expect(mapPages(pt, iova, iova, size, 1, FULL)).toBe(size);
    // Mapping over it is refused.
    expect(mapPages(pt, iova, iova + size, size, 1, FULL)).toBe(Errno.EEXIST);
    expect(at(iova)).toBe(iova + OFFSET);
    mapped.push(iova);
  });

  if (config.profile === 'linux-6.12' && sizes.length > 1) {
    // One small page inside the block of the second size goes, and can be mapped elsewhere.
    const small = sizes[0]!;
    const iova = GIB1 + small;
    expect(unmapPages(pt, iova, small, 1)).toBe(small);
    expect(mapPages(pt, iova, small, small, 1, Prot.READ)).toBe(small);
    expect(at(iova)).toBe(small + OFFSET);
    expect(at(iova + small)).toBe(iova + small + OFFSET);
  }

  sizes.forEach((size, i) => {
    const iova = mapped[i]!;
    expect(unmapPages(pt, iova, size, 1)).toBe(size);
    expect(at(iova)).toBe(0);
    // Write-only, as one block, over whatever tables are left.
    expect(mapPages(pt, iova, iova, size, 1, Prot.WRITE)).toBe(size);
    expect(at(iova)).toBe(iova + OFFSET);
  });

  if (config.profile !== 'linux-6.12') {
    // The last and largest page of the input range: the far corner of a concatenated first table.
    const size = sizes.at(-1)!;
    const last = layout.inputEnd - size;
    const isFree = last > 3 * GIB1 || at(last) === 0;
    if (isFree) {
      expect(mapPages(pt, last, last % layout.outputEnd, size, 1, FULL)).toBe(size);
      expect(unmapPages(pt, last, size, 1)).toBe(size);
    }
  }

  // What was flushed are sizes that the table has.
  for (const event of arena.events) if (/^[AW]:/.test(event)) flushed.add(Number.parseInt(event.split(':')[2]!, 16));
  for (const size of flushed) expect(sizes).toContain(size);
}

const STAGES: readonly FormatName[] = ['ARM_64_LPAE_S1', 'ARM_64_LPAE_S2'];

function* matrix(stages: readonly FormatName[]): Generator<PageTableConfig> {
  for (const fmt of stages) {
    for (const pgsizeBitmap of Object.values(GRANULES)) {
      for (const ias of ADDRESS_SIZES) {
        for (const oas of ADDRESS_SIZES.filter((bits) => bits >= ias)) {
          yield { fmt, pgsizeBitmap, ias, oas, coherentWalk: true, quirks: Quirk.NO_WARN };
        }
      }
    }
  }
}

test('arm_lpae_do_selftests: 63 configurations at both stages', () => {
  const all = [...matrix(STAGES)];
  expect(all.length).toBe(126);
  for (const config of all) selfTest(config);
});

test('arm_lpae_do_selftests of Linux 6.12: 18 configurations at both stages, with part of a block unmapped', () => {
  const old = [...matrix(STAGES)].filter(({ oas }) => oas === 48);
  expect(old.length).toBe(36);
  for (const config of old) selfTest({ ...config, quirks: 0, profile: 'linux-6.12' });
});

test('arm_lpae_do_selftests on the formats of 32-bit CPUs and on VT-d', () => {
  const common = { pgsizeBitmap: GRANULES['4K'], coherentWalk: true, quirks: Quirk.NO_WARN };
  selfTest({ fmt: 'ARM_32_LPAE_S1', ias: 32, oas: 40, ...common });
  for (const ias of [32, 36, 40]) selfTest({ fmt: 'ARM_32_LPAE_S2', ias, oas: 40, ...common });
  for (const ias of ADDRESS_SIZES) selfTest({ fmt: 'VTD_SECOND_STAGE', ias, oas: 52, ...common });
});
