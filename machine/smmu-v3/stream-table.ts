/**
 * The stream table: from a StreamID to the address of its STE, through a linear or a two-level table. Hardware aligns
 * each table to its size by ignoring low address bits.
 */

import type { SmmuFeatures } from '../description.ts';
import type { PhysicalMemory } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { below, join } from '../word64.ts';
import { EventType } from './events.ts';
import { STE_SIZE } from './ste.ts';

/** Geometry of a stream table: STRTAB_BASE and STRTAB_BASE_CFG as hardware reads them. */
export class StreamTable {
  base = 0;
  /** Effective LOG2SIZE: log2 of the number of streams. */
  log2Size = 0;
  twoLevel = false;
  /** Low bits of the StreamID that index the second level. */
  split = 6;
  /** What it was decoded from: STRTAB_BASE (hi, lo) and STRTAB_BASE_CFG; -1 before the first time. */
  readonly from: Int32Array = Int32Array.of(-1, -1, -1);
}

/** Where an STE is, or why it has no place. Reused. */
export class StePlace {
  /** 0, C_BAD_STREAMID or F_STE_FETCH. */
  fault = 0;
  /** Address of the STE, or of the descriptor that could not be fetched. */
  pa = 0;
  /** Address of the level-1 descriptor; -1 in a linear table. */
  l1 = -1;
}

/** Fills `table` from the registers' (hi, lo) base and configuration. */
export function decodeStreamTable(
  table: StreamTable,
  smmu: SmmuFeatures,
  hi: number,
  lo: number,
  config: number,
): void {
  const { from } = table;
  if (from[0] === hi && from[1] === lo && from[2] === config) return;
  from[0] = hi;
  from[1] = lo;
  from[2] = config;
  const split = (config >>> 6) & 0x1f;
  table.log2Size = Math.min(config & 0x3f, smmu.sidBits);
  table.twoLevel = smmu.twoLevelStreamTable && ((config >>> 16) & 3) === 1;
  table.split = split === 8 || split === 10 ? split : 6;
  const size = table.twoLevel ? Math.max(64, 8 * l1Entries(table)) : STE_SIZE * POW2[table.log2Size]!;
  const base = join(hi & 0x000fffff, lo & ~0x3f);
  table.base = base - below(base, size);
}

/** Number of level-1 descriptors of a two-level table. */
export function l1Entries(table: StreamTable): number {
  return POW2[Math.max(0, table.log2Size - table.split)]!;
}

/** Number of STEs that a level-1 descriptor spans; 0 when it is invalid. */
export function l1Span(table: StreamTable, lo: number): number {
  const span = lo & 0x1f;
  return span === 0 || span > 11 || span > table.split + 1 ? 0 : 1 << (span - 1);
}

/** Address of the level-2 table that a level-1 descriptor with this span names. */
export function l2Address(hi: number, lo: number, span: number): number {
  const address = join(hi & 0x00ffffff, lo & ~0x3f);
  return address - below(address, span * STE_SIZE);
}

/**
 * Finds the STE of `sid`.
 * @param cached a level-1 descriptor at the address `cachedAt` to use in place of memory's, if `cachedAt` is not -1
 */
export function locateSte(
  memory: PhysicalMemory,
  table: StreamTable,
  sid: number,
  cachedAt: number,
  cachedHi: number,
  cachedLo: number,
  out: StePlace,
): void {
  out.fault = 0;
  out.l1 = -1;
  if (sid < 0 || sid >= POW2[table.log2Size]!) {
    out.fault = EventType.C_BAD_STREAMID;
    return;
  }
  if (!table.twoLevel) {
    out.pa = table.base + STE_SIZE * sid;
  } else {
    const step = POW2[table.split]!;
    const at = table.base + 8 * Math.floor(sid / step);
    out.l1 = at;
    let hi = cachedHi;
    let lo = cachedLo;
    if (at !== cachedAt) {
      if (!memory.isRam(at)) {
        out.fault = EventType.F_STE_FETCH;
        out.pa = at;
        return;
      }
      const index = memory.indexOf(at);
      lo = memory.words[index]!;
      hi = memory.words[index + 1]!;
    }
    const span = l1Span(table, lo);
    const inner = below(sid, step);
    if (inner >= span) {
      out.fault = EventType.C_BAD_STREAMID;
      return;
    }
    out.pa = l2Address(hi, lo, span) + STE_SIZE * inner;
  }
  if (!memory.isRam(out.pa)) out.fault = EventType.F_STE_FETCH;
}
