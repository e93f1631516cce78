/**
 * What the 64-bit Arm LPAE formats (VMSAv8-64) share: granules, level geometry, descriptor types and addresses.
 * Architecture: Arm ARM D8.3; the choices that the architecture leaves open are those of Linux 7.2.
 *
 * Left out: LPA2 (52-bit addresses with 4K and 16K granules), the contiguous bit, walkers that do not see the caches.
 */
import { Errno } from '../errno.ts';
import { EntryKind, type Format, type PageTableConfig, type PageTableLayout, Quirk } from '../types.ts';

/** Levels are numbered 0 to 3. */
const LEVELS = 4;
const DESCRIPTOR_SHIFT = 3;
const TWO32 = 2 ** 32;
/** Output address bits 51:48 go to descriptor bits 15:12; only the 64K granule has both. */
const TWO48 = 2 ** 48;

export const SIZE_4K = 2 ** 12;
export const SIZE_16K = 2 ** 14;
const SIZE_64K = 2 ** 16;

/** Output sizes in bits by their encoding in the registers (IPS, PS). */
const OUTPUT_SIZES = [32, 36, 40, 42, 44, 48, 52];
/** At most 16 tables are concatenated. */
const MAX_CONCATENATED_BITS = 4;

/** Attributes of leaves that both stages have. */
export const Leaf = {
  SH_INNER: 3 << 8,
  SH_OUTER: 2 << 8,
  AF: 1 << 10,
  /** Bits 54:53, in the high word. */
  XN_HI: 3 << 21,
} as const;

/** Values of the shareability and cacheability fields of TCR and VTCR for a coherent walker. */
export const Walk = { SH_INNER: 3, RGN_WBWA: 1 } as const;

const VALID = 1;
/** Set in a table and, at the last level, in a page; clear in a block. */
const TABLE_OR_PAGE = 2;

/**
 * The granule of a page size bitmap: the CPU's page size if offered, else the largest offered below it, else the
 * smallest above. 0 when that is no granule.
 */
function granuleOf(pgsizeBitmap: number): number {
  if (hasBit(pgsizeBitmap, SIZE_4K)) return SIZE_4K;
  if (pgsizeBitmap % SIZE_4K !== 0) return 0;
  const low = pgsizeBitmap | 0;
  const smallest = low & -low;
  return smallest === SIZE_16K || smallest === SIZE_64K ? smallest : 0;
}

function hasBit(bitmap: number, bit: number): boolean {
  return Math.floor(bitmap / bit) % 2 === 1;
}

/** What the two stages decide differently when a table is laid out. */
export interface StageRules {
  /** Whether the first level must be dropped and its tables concatenated. */
  readonly concatenates: (granule: number, startLevel: number, ias: number, oas: number) => boolean;
  /** What the hardware must be told; `size` is the encoding of the output size. */
  readonly registers: (granule: number, startLevel: number, ias: number, size: number) => PageTableLayout['registers'];
}

/** Restricts a configuration to one granule and works out the levels; a negative errno when there is no such table. */
export function layoutOf(config: PageTableConfig, format: Format, rules: StageRules): PageTableLayout | number {
  if (!config.coherentWalk || (config.quirks & ~Quirk.NO_WARN) !== 0) return Errno.EINVAL;
  const granule = granuleOf(config.pgsizeBitmap);
  if (granule === 0) return Errno.EINVAL;
  const maxBits = granule === SIZE_64K ? 52 : 48;
  const ias = Math.min(config.ias, maxBits);
  const oas = Math.min(config.oas, maxBits);
  const outputSize = OUTPUT_SIZES.indexOf(oas);
  if (outputSize < 0) return Errno.EINVAL;

  const granuleShift = Math.log2(granule);
  const bitsPerLevel = granuleShift - DESCRIPTOR_SHIFT;
  const levels = Math.ceil((ias - granuleShift) / bitsPerLevel);
  if (levels < 1) return Errno.EINVAL;
  let startLevel = LEVELS - levels;
  let pgdBits = ias - granuleShift - bitsPerLevel * (levels - 1);
  if (rules.concatenates(granule, startLevel, ias, oas)) {
    if (pgdBits > MAX_CONCATENATED_BITS) return Errno.EINVAL;
    pgdBits += bitsPerLevel;
    startLevel++;
  }

  const spans = new Float64Array(LEVELS);
  const inverseSpans = new Float64Array(LEVELS);
  const leafSizes = new Float64Array(LEVELS);
  const indexMasks = new Int32Array(LEVELS);
  let pgsizeBitmap = 0;
  for (let level = 0; level < LEVELS; level++) {
    const span = 2 ** (granuleShift + bitsPerLevel * (LEVELS - 1 - level));
    spans[level] = span;
    inverseSpans[level] = 1 / span;
    indexMasks[level] = 2 ** (level === startLevel ? pgdBits : bitsPerLevel) - 1;
    if (!hasLeaves(granule, level, oas) || !hasBit(config.pgsizeBitmap, span)) continue;
    pgsizeBitmap += span;
    if (level >= startLevel) leafSizes[level] = span;
  }
  // One literal makes all layouts, so that they have one shape to the compiler of the host.
  return {
    fmt: config.fmt,
    pgsizeBitmap,
    ias,
    oas,
    coherentWalk: true,
    quirks: config.quirks,
    granuleShift,
    granule,
    bitsPerLevel,
    startLevel,
    pgdBits,
    pgdSize: 2 ** (pgdBits + DESCRIPTOR_SHIFT),
    inputEnd: 2 ** ias,
    outputEnd: 2 ** oas,
    spans,
    inverseSpans,
    leafSizes,
    indexMasks,
    format,
    registers: rules.registers(granule, startLevel, ias, outputSize),
  };
}

/** 4K has blocks of 1G and 2M, 16K of 32M, 64K of 512M and, with more than 48 bits of output, 4T. */
function hasLeaves(granule: number, level: number, oas: number): boolean {
  return level >= 2 || (level === 1 && (granule === SIZE_4K || (granule === SIZE_64K && oas > 48)));
}

/** The granule field of TTBR0's half of TCR, and of VTCR. */
export function granuleField(granule: number): number {
  return granule === SIZE_4K ? 0 : granule === SIZE_64K ? 1 : 2;
}

function kindOf(hi: number, lo: number, level: number): EntryKind {
  if ((lo & VALID) === 0) return (hi | lo) === 0 ? EntryKind.EMPTY : EntryKind.INVALID;
  if (level === LEVELS - 1) return (lo & TABLE_OR_PAGE) !== 0 ? EntryKind.LEAF : EntryKind.INVALID;
  return (lo & TABLE_OR_PAGE) !== 0 ? EntryKind.TABLE : EntryKind.LEAF;
}

function addressOf(layout: PageTableLayout, hi: number, lo: number): number {
  const middle = hi & 0xffff;
  if (layout.granule !== SIZE_64K) {
    const low = (lo & 0xfffff000) >>> 0;
    return middle === 0 ? low : middle * TWO32 + low;
  }
  return ((lo >>> 12) & 0xf) * TWO48 + middle * TWO32 + ((lo & 0xffff0000) >>> 0);
}

/** Bits 47:32 of an address, in the high word of a descriptor. */
export function addressHi(pa: number): number {
  return pa < TWO32 ? 0 : (pa / TWO32) & 0xffff;
}

/** Bits 31:12 of an address, and 51:48 at bit 12, in the low word of a descriptor. */
export function addressLo(pa: number): number {
  // `&` takes the low 32 bits of the integer part, whatever its size.
  const low = pa & ~0xfff;
  return pa < TWO48 ? low : low | ((pa / TWO48) << 12);
}

/** The type bits of a leaf. */
export function leafType(level: number): number {
  return level === LEVELS - 1 ? VALID | TABLE_OR_PAGE : VALID;
}

/** What both stages' formats have in common as {@link Format}s. */
export const lpae: Pick<Format, 'presentMask' | 'typeMask' | 'kindOf' | 'addressOf' | 'tableHi' | 'tableLo'> = {
  presentMask: VALID,
  typeMask: VALID | TABLE_OR_PAGE,
  kindOf,
  addressOf,
  tableHi: (_layout, pa) => addressHi(pa),
  tableLo: (_layout, pa) => addressLo(pa) | VALID | TABLE_OR_PAGE,
};
