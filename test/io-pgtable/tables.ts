/** Page tables of every format and granule, and the range operations that the suites borrowed from upstream need. */
import {
  allocPageTable,
  type FormatName,
  freePageTable,
  iovaToPhys,
  mapPages,
  type PageTable,
  type PageTableConfig,
  Prot,
  Quirk,
  unmapPages,
} from '#io-pgtable/plain';
import { GIB1, KIB4, MIB2 } from './reference.ts';
import { Arena } from './vector-runner.ts';

export const BASE = 0x80000000;
export const RW = Prot.READ | Prot.WRITE;
const KIB16 = 2 ** 14;
const KIB64 = 2 ** 16;
const MIB32 = 2 ** 25;
const MIB512 = 2 ** 29;
const TIB4 = 2 ** 42;

/** The page sizes of each granule. */
export const GRANULES = { '4K': KIB4 + MIB2 + GIB1, '16K': KIB16 + MIB32, '64K': KIB64 + MIB512 } as const;

export type NamedConfig = readonly [name: string, config: PageTableConfig];

function named(name: string, fmt: FormatName, pgsizeBitmap: number, ias: number, oas: number, quirks = 0): NamedConfig {
  return [name, { fmt, pgsizeBitmap, ias, oas, quirks, coherentWalk: true }];
}

/** One or more of every format and granule, with the quirks that change descriptors or addresses. */
export const configs: readonly NamedConfig[] = [
  named('stage 1, 4K, 39 bits', 'ARM_64_LPAE_S1', GRANULES['4K'], 39, 48),
  named('stage 1, 4K, 48 bits', 'ARM_64_LPAE_S1', GRANULES['4K'], 48, 48, Quirk.ARM_HD),
  named('stage 1, 4K, upper half', 'ARM_64_LPAE_S1', GRANULES['4K'], 48, 48, Quirk.ARM_TTBR1 | Quirk.ARM_HD),
  named('stage 1, 16K, non-secure', 'ARM_64_LPAE_S1', GRANULES['16K'], 48, 48, Quirk.ARM_NS),
  named('stage 1, 64K', 'ARM_64_LPAE_S1', GRANULES['64K'], 48, 48, Quirk.ARM_HD),
  named('stage 1, 64K, 52 bits', 'ARM_64_LPAE_S1', GRANULES['64K'] + TIB4, 52, 52),
  named('stage 2, 4K', 'ARM_64_LPAE_S2', GRANULES['4K'], 40, 40),
  named('stage 2, 4K, forced write-back', 'ARM_64_LPAE_S2', GRANULES['4K'], 48, 48, Quirk.ARM_S2FWB),
  named('stage 2, 16K', 'ARM_64_LPAE_S2', GRANULES['16K'], 48, 48),
  named('stage 2, 64K, 52 bits', 'ARM_64_LPAE_S2', GRANULES['64K'] + TIB4, 48, 52),
  named('32-bit stage 1', 'ARM_32_LPAE_S1', GRANULES['4K'], 32, 40),
  named('32-bit stage 2', 'ARM_32_LPAE_S2', GRANULES['4K'], 40, 40),
  named('VT-d, 3 levels', 'VTD_SECOND_STAGE', GRANULES['4K'], 39, 52),
  named('VT-d, 4 levels', 'VTD_SECOND_STAGE', GRANULES['4K'], 48, 52),
  ['stage 1, 4K, not coherent', { ...named('', 'ARM_64_LPAE_S1', GRANULES['4K'], 39, 48)[1], coherentWalk: false }],
  ['stage 2, 4K, Linux 6.12', { ...named('', 'ARM_64_LPAE_S2', GRANULES['4K'], 42, 44)[1], profile: 'linux-6.12' }],
];

export interface Opened {
  readonly arena: Arena;
  readonly pt: PageTable;
  /** How many leaves of each size were freed with tables of theirs. */
  readonly freed: Map<number, number>;
}

export function open(config: PageTableConfig): Opened {
  const arena = new Arena(BASE);
  const freed = new Map<number, number>();
  const leafFreed = (_pa: number, size: number, count: number): void => {
    freed.set(size, (freed.get(size) ?? 0) + count);
  };
  const pt = allocPageTable({ ...arena.ops, leafFreed }, config);
  if (typeof pt === 'number') throw new Error(`refused with ${pt}`);
  return { arena, pt, freed };
}

/** The page sizes of a table that have a level, smallest first. */
export function sizesOf({ layout }: PageTable): number[] {
  return [...layout.leafSizes].filter((size) => size > 0).sort((a, b) => a - b);
}

/** Maps a range as the IOMMU core does: each step with the largest page that both addresses and the rest allow. */
export function mapRange(pt: PageTable, iova: number, pa: number, size: number, prot: number = RW): number {
  const sizes = sizesOf(pt);
  for (let done = 0; done < size; ) {
    const [pgsize, count] = stepAt(sizes, iova + done, pa + done, size - done);
    const mapped = mapPages(pt, iova + done, pa + done, pgsize, count, prot);
    if (mapped < 0) return mapped;
    done += mapped;
  }
  return size;
}

/** Unmaps a range, each step with the largest page that lies in it; returns the bytes unmapped. */
export function unmapRange(pt: PageTable, iova: number, size: number): number {
  const sizes = sizesOf(pt);
  let done = 0;
  while (done < size) {
    const bytes = unmapPages(pt, iova + done, ...stepAt(sizes, iova + done, iova + done, size - done));
    if (bytes === 0) break;
    done += bytes;
  }
  return done;
}

/** The largest page that fits, and how many of them lead up to where a larger one does. */
function stepAt(sizes: readonly number[], iova: number, pa: number, size: number): [pgsize: number, count: number] {
  const fits = (page: number, at: number): boolean =>
    page <= size - at && (iova + at) % page === 0 && (pa + at) % page === 0;
  const row = sizes.findLastIndex((page) => fits(page, 0));
  const [pgsize, next] = [sizes[row]!, sizes[row + 1] ?? Number.POSITIVE_INFINITY];
  const boundary = Math.ceil(iova / next) * next - iova;
  return [pgsize, Math.floor((fits(next, boundary) ? boundary : size) / pgsize)];
}

/** Frees the page table; returns the leaves that it had, by size. */
export function leavesBySize({ pt, freed, arena }: Opened): Record<string, number> {
  freed.clear();
  freePageTable(pt);
  if (arena.live.size > 0) throw new Error(`${arena.live.size} tables leaked`);
  return Object.fromEntries(freed);
}

/** The descriptor of `iova` at `level`, found by a walk; where it is, and its words. */
export function descriptorAt(
  { arena, pt }: Opened,
  iova: number,
  level: number,
): { at: number; hi: number; lo: number } {
  const { layout } = pt;
  const { format } = layout;
  let table = pt.root;
  for (let at = layout.startLevel; ; at++) {
    const first = at === layout.startLevel ? 2 ** layout.pgdBits : 2 ** layout.bitsPerLevel;
    const index = Number((BigInt.asUintN(64, BigInt(iova)) / BigInt(layout.spans[at]!)) % BigInt(first));
    const where = table + 8 * index;
    const [hi, lo] = [arena.memory.read32(where + 4), arena.memory.read32(where)];
    if (at === level) return { at: where, hi, lo };
    table = format.addressOf(layout, hi, lo);
  }
}

/** Whether every page of the smallest size in [iova, iova + size) translates to the one at the same place from `pa`. */
export function isMapped(pt: PageTable, iova: number, pa: number, size: number): boolean {
  const step = Math.max(pt.layout.granule, size / 512);
  for (let at = 0; at < size; at += step) if (iovaToPhys(pt, iova + at + 42) !== pa + at + 42) return false;
  return iovaToPhys(pt, iova + size - 1) === pa + size - 1;
}
