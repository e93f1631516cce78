/**
 * What an SMMU says it can do: the fields of IDR0, IDR1, IDR3 and IDR5 that decide whether a stream table entry or a
 * context descriptor is legal and how far addresses reach. Written from the register descriptions of the architecture.
 */
import { bits, SIZE_BITS } from './fields.ts';

/** Implemented features. Sizes are bits of address or identifier. */
export interface SmmuCapabilities {
  readonly stage1: boolean;
  readonly stage2: boolean;
  /** AArch64 table format; AArch32 LPAE is the other one. */
  readonly aarch64: boolean;
  readonly aarch32: boolean;
  /** 0 none, 1 access flag, 2 access flag and dirty state, 3 also access flag of tables. */
  readonly httu: number;
  readonly ats: boolean;
  /** There are EL2 worlds besides EL1: without them STRW does not exist. */
  readonly el2Worlds: boolean;
  /** Split-stage ATS is absent. */
  readonly noSplitStageAts: boolean;
  readonly asid16: boolean;
  readonly vmid16: boolean;
  readonly twoLevelCdTables: boolean;
  readonly twoLevelStreamTable: boolean;
  /** 0 stall and terminate, 1 terminate only, 2 stall forced. */
  readonly stallModel: number;
  readonly abortOnly: boolean;
  /** 0 mixed, 2 little endian, 3 big endian. */
  readonly tableEndianness: number;
  readonly sidBits: number;
  readonly ssidBits: number;
  readonly smallTables: boolean;
  readonly executeNeverAtBothLevels: boolean;
  readonly oasBits: number;
  /** Size of an intermediate physical address. */
  readonly iasBits: number;
  readonly granule4k: boolean;
  readonly granule16k: boolean;
  readonly granule64k: boolean;
  /** 52-bit virtual addresses. */
  readonly largeVa: boolean;
}

/** Decodes the identification registers (int32 or uint32 values). IDR3 may be absent on a minimal machine: pass 0. */
export function decodeCapabilities(idr0: number, idr1: number, idr3: number, idr5: number): SmmuCapabilities {
  const bit = (register: number, at: number): boolean => ((register >>> at) & 1) === 1;
  const oasBits = SIZE_BITS[bits(0, idr5, 2, 0)]!;
  const aarch32 = bit(idr0, 2);
  const aarch64 = bit(idr0, 3);
  return {
    stage1: bit(idr0, 1),
    stage2: bit(idr0, 0),
    aarch64,
    aarch32,
    httu: bits(0, idr0, 7, 6),
    ats: bit(idr0, 10),
    el2Worlds: bit(idr0, 9),
    noSplitStageAts: bit(idr0, 11),
    asid16: bit(idr0, 12),
    vmid16: bit(idr0, 18),
    twoLevelCdTables: bit(idr0, 19),
    twoLevelStreamTable: bits(0, idr0, 28, 27) === 1,
    stallModel: bits(0, idr0, 25, 24),
    abortOnly: bit(idr0, 26),
    tableEndianness: bits(0, idr0, 22, 21),
    sidBits: bits(0, idr1, 5, 0),
    ssidBits: bits(0, idr1, 10, 6),
    smallTables: bit(idr3, 9),
    executeNeverAtBothLevels: bit(idr3, 4),
    oasBits,
    iasBits: Math.max(aarch32 ? 40 : 0, aarch64 ? oasBits : 0),
    granule4k: bit(idr5, 4),
    granule16k: bit(idr5, 5),
    granule64k: bit(idr5, 6),
    largeVa: bits(0, idr5, 11, 10) >= 1,
  };
}

/** Does the SMMU implement the granule of 2^`granuleBits` bytes? */
export function hasGranule(smmu: SmmuCapabilities, granuleBits: number): boolean {
  if (granuleBits === 12) return smmu.granule4k;
  if (granuleBits === 14) return smmu.granule16k;
  return granuleBits === 16 && smmu.granule64k;
}
