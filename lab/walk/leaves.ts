/** Everything one stream can reach: the leaves of its tables, found by reading all of them. */
import {
  DescriptorKind,
  descriptorKind,
  leafSize,
  levelShift,
  nextTableAddress,
  outputAddress,
} from '../oracle/decode/descriptor.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { SteConfig, steConfig, steS1ContextPtr } from '../oracle/decode/ste.ts';
import { fetchWords, WalkEnd } from './fetch.ts';
import type { MemorySource, WalkSource } from './source.ts';
import { fetchSte } from './stream.ts';
import { type StageTables, stage1Tables, stage2Tables } from './tables.ts';

/** A page or block of a stream's tables. Addresses and size in bytes. */
export interface LeafMapping {
  readonly iova: number;
  readonly pa: number;
  readonly size: number;
  readonly level: number;
  readonly descriptor: Word64;
}

/** The tables a stream's accesses go through: its first stage, or null when it has none or two. */
export function streamTables(source: WalkSource, sid: number): StageTables | null {
  let ste: Int32Array;
  try {
    ste = fetchSte(source, sid, []).ste;
  } catch (end) {
    if (end instanceof WalkEnd) return null;
    throw end;
  }
  const config = (ste[0]! & 1) === 0 ? 0 : steConfig(ste[0]!);
  if (config === SteConfig.stage2) return stage2Tables(ste, source.capabilities);
  if (config !== SteConfig.stage1) return null;
  const cd = fetchWords(source.memory, steS1ContextPtr(ste[1]!, ste[0]!), 8);
  return cd === null ? null : stage1Tables(cd, source.capabilities);
}

/** Every leaf of a stream with one stage of translation, in ascending order of IOVA. Nested streams have none here. */
export function leavesOf(source: WalkSource, sid: number): LeafMapping[] {
  const tables = streamTables(source, sid);
  const leaves: LeafMapping[] = [];
  if (tables !== null) visit(source.memory, tables, tables.startLevel, tables.base, 0, leaves);
  return leaves;
}

function visit(
  memory: MemorySource,
  tables: StageTables,
  level: number,
  table: number,
  from: number,
  leaves: LeafMapping[],
): void {
  const { granuleBits } = tables;
  const shift = levelShift(level, granuleBits);
  const entries = level === tables.startLevel ? 2 ** (tables.inputBits - shift) : 2 ** (granuleBits - 3);
  for (let i = 0; i < entries; i++) {
    const descriptor = memory.read64(table + 8 * i);
    if (descriptor === null) return;
    const { hi, lo } = descriptor;
    const kind = descriptorKind(level, hi, lo, granuleBits, tables.wide);
    if (kind === DescriptorKind.invalid) continue;
    const iova = from + i * 2 ** shift;
    if (kind === DescriptorKind.table) {
      visit(memory, tables, level + 1, nextTableAddress(hi, lo, granuleBits), iova, leaves);
    } else {
      const pa = outputAddress(level, hi, lo, granuleBits);
      leaves.push({ iova, pa, size: leafSize(level, granuleBits), level, descriptor });
    }
  }
}
