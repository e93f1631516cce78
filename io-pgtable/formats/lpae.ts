/**
 * What the 64-bit Arm LPAE formats (VMSAv8-64) share: granules, level geometry, descriptor types and addresses.
 * Architecture: Arm ARM D8.3; the choices that the architecture leaves open are those of Linux 7.2.
 *
 * Left out: LPA2 (52-bit addresses with 4K and 16K granules), the contiguous bit.
 */
import { Errno } from '../errno.ts';
import { EntryKind, type Format, type PageTableConfig, type PageTableLayout, type Profile, Quirk } from '../types.ts';
import { DESCRIPTOR_SHIFT, hasBit, LEVELS, radixLayout, tablePage } from './radix.ts';

const TWO32 = 2 ** 32;
/** Output address bits 51:48 go to descriptor bits 15:12; only the 64K granule has both. */
const TWO48 = 2 ** 48;

export const SIZE_4K = 2 ** 12;
export const SIZE_16K = 2 ** 14;
const SIZE_64K = 2 ** 16;

/** Output sizes in bits by their encoding in the registers (IPS, PS). */
const OUTPUT_SIZES = [32, 36, 40, 42, 44, 48, 52];
/** At most 16 tables are concatenated. */
export const MAX_CONCATENATED_BITS = 4;

/** Attributes of leaves that both stages have. */
export const Leaf = {
  SH_INNER: 3 << 8,
  SH_OUTER: 2 << 8,
  AF: 1 << 10,
  /** Bits 54:53, in the high word. */
  XN_HI: 3 << 21,
  /** Bit 51, in the high word: hardware may make a read-only leaf writable. */
  DBM_HI: 1 << 19,
} as const;

const WALK_SH_OUTER = 2;
const WALK_SH_INNER = 3;
const WALK_NON_CACHEABLE = 0;
const WALK_WRITE_BACK = 1;

/** Software's own bit 55, in the high word: this table descriptor has been written back for a walker that is not coherent. */
const PUBLISHED_HI = 1 << 23;

/** Bit 63, in the high word of a table descriptor: what lies below is non-secure. */
const NS_TABLE_HI = 1 << 31;
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

/** What is known of a table when its stage has a say. */
export interface Shape {
  readonly profile: Profile;
  readonly granule: number;
  readonly ias: number;
  readonly oas: number;
  readonly startLevel: number;
  /** log2 of the descriptors of the first table. */
  readonly pgdBits: number;
}

/** What the two stages decide differently when a table is laid out. */
export interface StageRules {
  /** The quirks that it has. */
  readonly quirks: (config: PageTableConfig, profile: Profile) => number;
  /** Whether the first level is dropped and its tables concatenated, or must be. */
  readonly concatenates: (shape: Shape) => boolean;
  /** What the hardware must be told; `size` is the encoding of the output size. */
  readonly registers: (config: PageTableConfig, shape: Shape, size: number) => PageTableLayout['registers'];
  /** Attributes of a leaf: the low word, and the high one. */
  readonly attributesLo: (prot: number, quirks: number) => number;
  readonly attributesHi: (prot: number, quirks: number) => number;
}

/** Restricts a configuration to one granule and works out the levels; a negative errno when there is no such table. */
export function layoutOf(config: PageTableConfig, format: Format, rules: StageRules): PageTableLayout | number {
  const profile = config.profile ?? 'linux-7.2';
  if ((config.quirks & ~rules.quirks(config, profile)) !== 0) return Errno.EINVAL;
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
  if (rules.concatenates({ profile, granule, ias, oas, startLevel, pgdBits })) {
    if (pgdBits > MAX_CONCATENATED_BITS) return Errno.EINVAL;
    pgdBits += bitsPerLevel;
    startLevel++;
  }

  const shape = { profile, granule, ias, oas, startLevel, pgdBits };
  return radixLayout(config, format, {
    ...shape,
    hasLeaves: (level) => hasLeaves(granule, level, oas),
    isUpper: (config.quirks & Quirk.ARM_TTBR1) !== 0,
    attributesLo: rules.attributesLo,
    attributesHi: rules.attributesHi,
    publishedHi: PUBLISHED_HI,
    registers: rules.registers(config, shape, outputSize),
  });
}

/** 4K has blocks of 1G and 2M, 16K of 32M, 64K of 512M and, with more than 48 bits of output, 4T. */
function hasLeaves(granule: number, level: number, oas: number): boolean {
  return level >= 2 || (level === 1 && (granule === SIZE_4K || (granule === SIZE_64K && oas > 48)));
}

/** The granule field of TTBR0's half of TCR, and of VTCR. */
export function granuleField(granule: number): number {
  return granule === SIZE_4K ? 0 : granule === SIZE_64K ? 1 : 2;
}

/** How a walker fetches tables: shareability, outer and inner cacheability. */
export function walkAttributes(config: PageTableConfig): { sh: number; orgn: number; irgn: number } {
  if (config.coherentWalk) return { sh: WALK_SH_INNER, orgn: WALK_WRITE_BACK, irgn: WALK_WRITE_BACK };
  const outer = (config.quirks & Quirk.ARM_OUTER_WBWA) !== 0 ? WALK_WRITE_BACK : WALK_NON_CACHEABLE;
  return { sh: WALK_SH_OUTER, orgn: outer, irgn: WALK_NON_CACHEABLE };
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
function addressHi(pa: number): number {
  return pa < TWO32 ? 0 : (pa / TWO32) & 0xffff;
}

/** Bits 31:12 of an address, and 51:48 at bit 12, in the low word of a descriptor. */
function addressLo(pa: number): number {
  // `&` takes the low 32 bits of the integer part, whatever its size.
  const low = pa & ~0xfff;
  return pa < TWO48 ? low : low | ((pa / TWO48) << 12);
}

/** What both stages' formats have in common as {@link Format}s. */
export const lpae: Omit<Format, 'name' | 'configure' | 'dirty'> = {
  presentMask: VALID,
  tableMask: VALID | TABLE_OR_PAGE,
  tableBits: VALID | TABLE_OR_PAGE,
  typeMask: VALID | TABLE_OR_PAGE,
  attributeMaskHi: Leaf.XN_HI | Leaf.DBM_HI,
  attributeMaskLo: 0x3ff << 2,
  kindOf,
  addressOf,
  tablePage: (layout, hi, lo) => (layout.granule === SIZE_4K ? tablePage(hi, lo) : -1),
  leafHi: (pa, attributes) => addressHi(pa) | attributes,
  leafLo: (pa, attributes, level) =>
    addressLo(pa) | attributes | (level === LEVELS - 1 ? VALID | TABLE_OR_PAGE : VALID),
  tableHi: (layout, pa) => addressHi(pa) | ((layout.quirks & Quirk.ARM_NS) !== 0 ? NS_TABLE_HI : 0),
  tableLo: (_layout, pa) => addressLo(pa) | VALID | TABLE_OR_PAGE,
};
