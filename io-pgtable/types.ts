/**
 * The vocabulary of the room: what a caller gives (configuration, operations), what a format is, and what a page table
 * is between two calls.
 *
 * A page table has no mutable state but its descriptors in memory: a {@link PageTable} holds only what follows from its
 * configuration, and may be made again at any time from the configuration and the address of the root.
 *
 * A format (`formats/`) knows configurations and descriptors; the algorithm (`map.ts`, `unmap.ts`, `walk.ts`) knows
 * neither: it sees radix tables of 64-bit descriptors, up to four levels deep, numbered so that level 3 is the last.
 *
 * Input addresses of an upper half (`ARM_TTBR1`) are negative numbers: the sign-extended 64-bit address.
 */
import type { Steps } from '#machine';
import type { PhysicalMemory } from '#machine/memory';

/** What a mapping allows. Bits, to be joined with `|`. */
export const Prot = { READ: 1, WRITE: 2, CACHE: 4, NOEXEC: 8, MMIO: 16, PRIV: 32 } as const;

/** How many combinations of {@link Prot} there are; other bits of a protection are ignored. */
export const PROTECTIONS = 64;

/** Deviations that a caller may ask for. Bits, to be joined with `|`. */
export const Quirk = {
  /** Mapping over a mapping, and unmapping a hole, are the caller's normal business: no warning. */
  NO_WARN: 1,
  /** Stage 1: tables and leaves carry the non-secure bits. */
  ARM_NS: 2,
  /** Stage 1: the table of the upper half of the address space, for TTBR1. */
  ARM_TTBR1: 4,
  /** Stage 1, walker not coherent: table walks are write-back in the outer cache all the same. */
  ARM_OUTER_WBWA: 8,
  /** Stage 1: hardware marks what devices write to. */
  ARM_HD: 16,
  /** Stage 2: memory attributes for forced write-back. */
  ARM_S2FWB: 32,
} as const;

/**
 * Whose semantics: `linux-6.12` splits a block when part of it is unmapped and concatenates first tables of stage 2
 * wherever that saves a level; `linux-7.2` refuses the former and does the latter only where the architecture says so.
 */
export type Profile = 'linux-7.2' | 'linux-6.12';

export type FormatName = 'ARM_64_LPAE_S1' | 'ARM_64_LPAE_S2' | 'ARM_32_LPAE_S1' | 'ARM_32_LPAE_S2' | 'VTD_SECOND_STAGE';

/** What the caller wants. */
export interface PageTableConfig {
  readonly fmt: FormatName;
  /** The page sizes wanted, as the sum of their byte counts. */
  readonly pgsizeBitmap: number;
  /** Bits of an input address (IOVA or IPA). */
  readonly ias: number;
  /** Bits of an output address (IPA or PA). */
  readonly oas: number;
  /** Whether the walker sees the CPUs' caches. */
  readonly coherentWalk: boolean;
  /** Bits of {@link Quirk}. */
  readonly quirks: number;
  /** `linux-7.2` when not given. */
  readonly profile?: Profile;
}

/** Fields of TCR for a stage-1 table; the table's root is TTBR. */
export interface Stage1Registers {
  readonly stage: 1;
  readonly ips: number;
  readonly tg: number;
  readonly sh: number;
  readonly orgn: number;
  readonly irgn: number;
  readonly tsz: number;
  readonly mairHi: number;
  readonly mairLo: number;
}

/** Fields of VTCR for a stage-2 table; the table's root is VTTBR. */
export interface Stage2Registers {
  readonly stage: 2;
  readonly ps: number;
  readonly tg: number;
  readonly sh: number;
  readonly orgn: number;
  readonly irgn: number;
  readonly sl: number;
  readonly tsz: number;
}

/** Fields of a VT-d context or scalable-mode PASID entry; the table's root is its second-stage pointer. */
export interface SecondStageRegisters {
  readonly stage: 'second';
  /** AW: 1 for three levels, 2 for four. */
  readonly aw: number;
}

/**
 * A configuration that was accepted: page sizes and address bits restricted to what the format can do, and all that
 * follows from them. Immutable, and the same for the same configuration. Arrays are indexed by level.
 */
export interface PageTableLayout extends PageTableConfig {
  readonly format: Format;
  readonly profile: Profile;
  /** log2 of the smallest page, which is also the size of every table but the first. */
  readonly granuleShift: number;
  /** Size in bytes of every table but the first. */
  readonly granule: number;
  readonly bitsPerLevel: number;
  readonly startLevel: number;
  /** log2 of the number of descriptors of the first table, concatenated tables included. */
  readonly pgdBits: number;
  /** Bytes of descriptors in the first table; what is allocated for it is at least 64. */
  readonly pgdSize: number;
  /** First address of the input range: 0, or negative for an upper half. */
  readonly inputStart: number;
  /** First address beyond the input range. */
  readonly inputEnd: number;
  /** First address beyond the output range. */
  readonly outputEnd: number;
  /** Bytes that one descriptor covers. */
  readonly spans: Float64Array;
  /** 1 / span. */
  readonly inverseSpans: Float64Array;
  /** Bytes of a page or block; 0 where the configuration allows none. */
  readonly leafSizes: Float64Array;
  /** Number of descriptors in a table, minus 1. */
  readonly indexMasks: Int32Array;
  /** The attributes of a leaf by protection: low and high word of each of the {@link PROTECTIONS}. */
  readonly attributes: Int32Array;
  /** Bits of the high word that a table descriptor has once the walker sees it; 0 when that is at once. */
  readonly publishedHi: number;
  /** What the hardware must be told beside the address of the root. */
  readonly registers: Stage1Registers | Stage2Registers | SecondStageRegisters;
}

/** What a descriptor is. `INVALID` is neither zero nor a leaf nor a table: hardware faults there, as it does on `EMPTY`. */
export const EntryKind = { EMPTY: 0, LEAF: 1, TABLE: 2, INVALID: 3 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** One page-table format. Descriptors are 64-bit words as two int32 halves. */
export interface Format {
  readonly name: FormatName;
  /** A low word with none of these bits is neither a leaf nor a table. */
  readonly presentMask: number;
  /** Above the last level, a low word is a table's if these of its bits are `tableBits`: a quick way to go down. */
  readonly tableMask: number;
  readonly tableBits: number;
  /** Two low words of one level that agree in these bits, one of them a leaf's, are both leaves. */
  readonly typeMask: number;
  /** The attributes of a leaf: what it keeps when it is written again for another address or at another level. */
  readonly attributeMaskHi: number;
  readonly attributeMaskLo: number;
  /** Works out the layout of a configuration; a negative errno when it is refused. */
  readonly configure: (config: PageTableConfig) => PageTableLayout | number;
  readonly kindOf: (hi: number, lo: number, level: number) => EntryKind;
  /** The output address of a leaf, or the address of the next table. */
  readonly addressOf: (layout: PageTableLayout, hi: number, lo: number) => number;
  /**
   * Number of the page that the next table is, where tables are pages of 4 KiB and the number fits 31 bits; else -1.
   * What a walk goes by, because integers are faster than addresses.
   */
  readonly tablePage: (layout: PageTableLayout, hi: number, lo: number) => number;
  /** A leaf, from the words of its attributes. */
  readonly leafHi: (pa: number, attributesHi: number) => number;
  readonly leafLo: (pa: number, attributesLo: number, level: number) => number;
  readonly tableHi: (layout: PageTableLayout, pa: number) => number;
  readonly tableLo: (layout: PageTableLayout, pa: number) => number;
  /** How hardware notes in a leaf that a device wrote there, if it does. */
  readonly dirty?: DirtyState;
}

/** The dirty state of leaves. */
export interface DirtyState {
  readonly isDirty: (hi: number, lo: number) => boolean;
  /** The low word of a dirty leaf made clean; the high word stays. */
  readonly cleanLo: (lo: number) => number;
}

/** What a page table needs from its owner. */
export interface PageTableOps {
  readonly memory: PhysicalMemory;
  /** Physical address of `sizeBytes` of zeroes, aligned to that size rounded up to a power of two; 0 when there is no memory. */
  readonly allocTable: (sizeBytes: number) => Steps<number>;
  /** Takes back what `allocTable` gave. */
  readonly freeTable: (pa: number, sizeBytes: number) => Steps<void>;
  /** Invalidate everything cached from this table, before all of it is freed. */
  readonly flushAll: () => Steps<void>;
  /** A table is gone: invalidate what walks may hold of it, leaves below it included. Addresses and sizes in bytes. */
  readonly flushWalk: (iova: number, size: number, granule: number) => Steps<void>;
  /** `count` leaves of `granule` bytes from `iova` are gone: invalidate them now, or gather and do it later. */
  readonly addPages: (iova: number, granule: number, count: number) => Steps<void>;
  /**
   * For owners that count what maps a page: the leaves about to be cleared pointed to `count` pages of `size` bytes from
   * `pa`. They are cleared, and given to `addPages`, before the call that removes them returns.
   */
  readonly leafRemoved?: (pa: number, size: number, count: number) => Steps<void>;
  /** For the same owners: these leaves stood in a table that was unlinked and invalidated, and is now freed. */
  readonly leafFreed?: (pa: number, size: number, count: number) => Steps<void>;
  /** Walker not coherent: write `bytes` of descriptors at `pa` back to where the walker sees them. */
  readonly syncMemory?: (pa: number, bytes: number) => Steps<void>;
  /** The caller of this room broke its contract (a kernel would print a stack trace). */
  readonly warn: () => void;
}

/** A page table: where its root is, what shape it has, and who serves it. */
export interface PageTable {
  readonly ops: PageTableOps;
  /** Physical address of the first table. */
  readonly root: number;
  /** The same as {@link Format.tablePage}: the number of its page when it is one page, else -1. */
  readonly rootPage: number;
  readonly layout: PageTableLayout;
}
