/** Values at which arithmetic and checks tend to go wrong, by what an argument means. */

import { type ArgumentUnit, AttachFlag } from '#hypercall-abi';
import { type MachineDescription, SMMU_MMIO_SIZE, streamsOf } from '#machine';
import type { Value } from '../scenario/index.ts';
import type { Choices } from './choices.ts';

const MAX64: Value = { big: '0xffffffffffffffff' };
const LAST_PAGE: Value = { big: '0xfffffffffffff000' };
/** So many pages have 2^64 + 4096 bytes. */
const WRAPS_TO_PAGE: Value = 2 ** 52 + 1;
const TOP_BIT: Value = { big: '0x8000000000000000' };

type Edges = Readonly<Record<ArgumentUnit, readonly Value[]>>;

/**
 * Edge values on one machine.
 * @param taken pages that boot has taken over, or pinned: tables and queues of the SMMUs
 */
export function edgesOf({ ram, mmio, carveOut, smmus, devices }: MachineDescription, taken: readonly number[]): Edges {
  const { base, size } = ram[0]!;
  const addresses: Value[] = [
    0,
    base,
    base - 4096,
    base + size - 4096,
    base + size,
    carveOut.base,
    carveOut.base - 4096,
    carveOut.base + carveOut.size,
    ...smmus.flatMap((smmu) => [smmu.base, smmu.base + SMMU_MMIO_SIZE - 4096]),
    ...mmio.flatMap((range) => [range.base, range.base + range.size]),
    ...taken,
    base + 1,
    2 ** 40,
    2 ** 52,
    LAST_PAGE,
    MAX64,
  ];
  const frames: Value[] = [
    0,
    1,
    base / 4096,
    carveOut.base / 4096,
    (base + size) / 4096,
    ...taken.map((pa) => pa / 4096),
    2 ** 28,
    2 ** 40,
    2 ** 52,
    MAX64,
  ];
  // Times 4096, some of them wrap to few bytes: at 32 bits and at 64.
  const counts: Value[] = [0, 1, 2, 511, 512, 513, 2 ** 20, 2 ** 20 + 1, 2 ** 52, WRAPS_TO_PAGE, TOP_BIT, MAX64];
  const words: Value[] = [0, 1, 2, 3, 0x7fffffff, 0xffffffff];
  const sids: Value[] = devices.flatMap((device) =>
    streamsOf(device).flatMap(({ sid }) => [sid, sid + 1, 2 ** (smmus[0]?.sidBits ?? 0)]),
  );
  return {
    pfn: frames,
    gfn: [0, 1, 2, 511, 512, 2 ** 27, 2 ** 28 - 1, 2 ** 28, 2 ** 36 - 1, 2 ** 36, 2 ** 40, 2 ** 52, MAX64],
    pages: counts,
    pa: addresses,
    iova: [
      0,
      0x1000,
      0x1ff000,
      0x200000,
      0x3ffff000,
      0x40000000,
      2 ** 39 - 4096,
      2 ** 39,
      2 ** 40 - 4096,
      2 ** 40,
      2 ** 48,
      2 ** 52,
      0x1001,
      0x1800,
      LAST_PAGE,
      MAX64,
      TOP_BIT,
    ],
    ipa: [0, 0x1000, 0x1001, 2 ** 40, 2 ** 48 - 4096, 2 ** 48, LAST_PAGE, MAX64],
    bytes: [0, 1, 0x800, 0x1000, 0x1001, 0x2000, 0x10000, 0x200000, 0x40000000, 2 ** 39, TOP_BIT, MAX64],
    count: counts,
    prot: [0, 1, 2, 3, 4, 8, 16, 32, 63, 64, 0xffffffff],
    handle: [0, 1, 0xfff, 0x1000, 0x1001, 0x101f, 0x1020, 0xffffffff],
    driver: words,
    iommu: words,
    domain: [
      0,
      1,
      2,
      255,
      256,
      511,
      512,
      0x7fff,
      0x8000,
      0xffff,
      0x10000,
      0x10001,
      0x7fffffff,
      0xffffffff,
      { big: '0x8000000000000001' },
    ],
    domainType: [0, 1, 2, 3, 4, 5, -1, 0x7fffffff],
    stream: [...sids, 0x7fffffff, 0xffffffff],
    pasid: [...words, 7, 8, 63, 64, 1023, 1024, 2 ** 20],
    pasidBits: [0, 1, 3, 6, 7, 10, 11, 20, 32, 0xffffffff],
    attachFlags: [0, AttachFlag.stall, 0xffff, MAX64],
    pageTag: [0, 1, 15, 16, 0xffff, 0x10000, 0xffffffff],
    pageResponse: [0, 1, 2, 3, 0xffffffff],
    flags: [0, 1, MAX64],
    switch: [0, 1, 2, 0x100000000, MAX64],
    powerDomain: [0, 1, 31, 32, 0x100000000, MAX64],
    pool: words,
    list: addresses,
    buffer: [0, 1, 16, 64, 4096, 4097, 2 ** 52, TOP_BIT, MAX64],
    index: words,
    order: [0, 1, 9, 10, 31, 32, MAX64],
  };
}

/** An edge value for an argument of that unit. */
export function edge(edges: Edges, unit: ArgumentUnit, prng: Choices): Value {
  return prng.pick(edges[unit]);
}
