/**
 * Intel VT-d second-stage tables, of three or four levels: IOVA or guest-physical address to PA. A descriptor has no
 * valid bit: it is there if it may be read or written, so a mapping of neither kind is the caller's mistake as elsewhere.
 * Tables allow both, and leaves decide.
 *
 * Left out: five levels (57-bit input addresses), the execute bit and memory types (the hardware that this describes
 * reserves them), snoop control.
 */
import { Errno } from '../errno.ts';
import { EntryKind, type Format, type PageTableConfig, type PageTableLayout, Prot, Quirk } from '../types.ts';
import { DESCRIPTOR_SHIFT, hasBit, LEVELS, radixLayout, tablePage } from './radix.ts';

const TWO32 = 2 ** 32;
const GRANULE = 2 ** 12;
const GRANULE_SHIFT = 12;
const BITS_PER_LEVEL = GRANULE_SHIFT - DESCRIPTOR_SHIFT;
const MAX_OAS = 52;
/** Input sizes by the number of levels, from three on; the address-width field counts from 1. */
const INPUT_SIZES = [39, 48];

const READ = 1 << 0;
const WRITE = 1 << 1;
/** Page size: a leaf above the last level. */
const LEAF = 1 << 7;
const ACCESSED = 1 << 8;
const DIRTY = 1 << 9;
/** Software's own bit 52, in the high word: this table descriptor has been written back for a walker that does not snoop. */
const PUBLISHED_HI = 1 << 20;

/** @returns the layout, whose `ias` is that of three or four levels; `EINVAL` for more, and for any quirk but NO_WARN */
function configure(config: PageTableConfig): PageTableLayout | number {
  const row = INPUT_SIZES.findIndex((size) => config.ias <= size);
  if (row < 0 || config.ias <= GRANULE_SHIFT || config.oas < GRANULE_SHIFT || config.oas > MAX_OAS) return Errno.EINVAL;
  if ((config.quirks & ~Quirk.NO_WARN) !== 0 || !hasBit(config.pgsizeBitmap, GRANULE)) return Errno.EINVAL;
  return radixLayout(config, vtdSecondStage, {
    profile: config.profile ?? 'linux-7.2',
    granule: GRANULE,
    ias: INPUT_SIZES[row],
    oas: config.oas,
    startLevel: 1 - row,
    pgdBits: BITS_PER_LEVEL,
    hasLeaves: (level) => level >= 1,
    isUpper: false,
    attributesLo,
    attributesHi: () => 0,
    publishedHi: PUBLISHED_HI,
    registers: { stage: 'second', aw: row + 1 },
  });
}

function attributesLo(prot: number): number {
  return ((prot & Prot.READ) !== 0 ? READ : 0) | ((prot & Prot.WRITE) !== 0 ? WRITE : 0);
}

function addressHi(pa: number): number {
  return pa < TWO32 ? 0 : (pa / TWO32) & 0xfffff;
}

/** The format. Hardware sets accessed and dirty bits; mappings start with neither. */
export const vtdSecondStage: Format = {
  name: 'VTD_SECOND_STAGE',
  presentMask: READ | WRITE,
  tableMask: READ | WRITE | LEAF,
  tableBits: READ | WRITE,
  typeMask: READ | WRITE | LEAF,
  attributeMaskHi: 0,
  attributeMaskLo: READ | WRITE | ACCESSED | DIRTY,
  configure,
  kindOf: (hi, lo, level) => {
    if ((lo & (READ | WRITE)) === 0) return (hi | lo) === 0 ? EntryKind.EMPTY : EntryKind.INVALID;
    if (level === LEVELS - 1 || (lo & LEAF) !== 0) return EntryKind.LEAF;
    return (lo & (READ | WRITE)) === (READ | WRITE) ? EntryKind.TABLE : EntryKind.INVALID;
  },
  addressOf: (_layout, hi, lo) => (hi & 0xfffff) * TWO32 + ((lo & 0xfffff000) >>> 0),
  tablePage: (_layout, hi, lo) => tablePage(hi, lo),
  leafHi: (pa, attributes) => addressHi(pa) | attributes,
  leafLo: (pa, attributes, level) => (pa & ~0xfff) | attributes | (level === LEVELS - 1 ? 0 : LEAF),
  tableHi: (_layout, pa) => addressHi(pa),
  tableLo: (_layout, pa) => (pa & ~0xfff) | READ | WRITE,
  dirty: {
    isDirty: (_hi, lo) => (lo & DIRTY) !== 0,
    cleanLo: (lo) => lo & ~DIRTY,
  },
};
