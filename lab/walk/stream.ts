/** From a stream ID to its stream table entry, and which streams a machine has. Architecture: Stream table lookup. */
import { bitsInPlace } from '../oracle/decode/fields.ts';
import { L1STD_FIELDS, l1stdEntries, l1stdL2Ptr } from '../oracle/decode/l1std.ts';
import { STE_BYTES, STE_FIELDS, steConfig, steValid } from '../oracle/decode/ste.ts';
import { fault, fetchWords, step } from './fetch.ts';
import type { WalkStep } from './result.ts';
import type { WalkSource } from './source.ts';

/** The stream table as the registers describe it. */
export interface StreamTable {
  readonly base: number;
  /** log2 of the number of streams. */
  readonly log2: number;
  readonly twoLevel: boolean;
  readonly split: number;
}

/** The STE of `sid` as 16 int32s and its address; ends the walk when there is none. */
export function fetchSte(source: WalkSource, sid: number, steps: WalkStep[]): { ste: Int32Array; address: number } {
  const table = streamTable(source);
  if (sid >= 2 ** table.log2) {
    fault('C_BAD_STREAMID', `the stream table has 2^${table.log2} entries`);
  }
  const address = table.twoLevel ? level2Address(source, table, sid, steps) : table.base + STE_BYTES * sid;
  const ste = fetchWords(source.memory, address, 8);
  if (ste === null) {
    steps.push(step('ste', 'STE', address, null, STE_FIELDS, 'the fetch aborts'));
    fault('F_STE_FETCH', 'the fetch of the STE aborts');
  }
  return { ste, address };
}

function level2Address(source: WalkSource, table: StreamTable, sid: number, steps: WalkStep[]): number {
  const span = 2 ** table.split;
  const address = table.base + 8 * Math.floor(sid / span);
  const words = fetchWords(source.memory, address, 1);
  if (words === null) {
    steps.push(step('l1std', 'L1STD', address, null, L1STD_FIELDS, 'the fetch aborts'));
    fault('F_STE_FETCH', 'the fetch of the level-1 stream table descriptor aborts');
  }
  const entries = l1stdEntries(words[0]!, table.split);
  const index = sid % span;
  const note = index < entries ? `entry ${index} of ${entries}` : `no entry ${index}: it has ${entries}`;
  steps.push(step('l1std', 'L1STD', address, words, L1STD_FIELDS, note));
  if (index >= entries)
    fault('C_BAD_STREAMID', `the level-1 descriptor reaches ${entries} streams, not index ${index}`);
  return l1stdL2Ptr(words[1]!, words[0]!) + STE_BYTES * index;
}

/** The stream table that STRTAB_BASE and STRTAB_BASE_CFG describe. */
export function streamTable({ strtabBase, strtabBaseCfg, capabilities }: WalkSource): StreamTable {
  const log2 = Math.min(strtabBaseCfg & 63, capabilities.sidBits);
  const twoLevel = ((strtabBaseCfg >>> 16) & 3) === 1 && capabilities.twoLevelStreamTable;
  const asked = (strtabBaseCfg >>> 6) & 31;
  const split = asked === 8 || asked === 10 ? asked : 6;
  const size = twoLevel ? Math.max(64, 8 * 2 ** Math.max(0, log2 - split)) : STE_BYTES * 2 ** log2;
  const address = bitsInPlace(strtabBase.hi, strtabBase.lo, 55, 6);
  return { base: address - (address % size), log2, twoLevel, split };
}

/** Address of the STE of `sid`; null when the tables lead to none. */
export function steAddress(source: WalkSource, sid: number): number | null {
  const table = streamTable(source);
  if (sid >= 2 ** table.log2) return null;
  if (!table.twoLevel) return table.base + STE_BYTES * sid;
  const span = 2 ** table.split;
  const word = source.memory.read64(table.base + 8 * Math.floor(sid / span));
  if (word === null || sid % span >= l1stdEntries(word.lo, table.split)) return null;
  return l1stdL2Ptr(word.hi, word.lo) + STE_BYTES * (sid % span);
}

/** The streams that are there: valid entries that do not merely abort. In ascending order. */
export function presentStreams(source: WalkSource): number[] {
  const table = streamTable(source);
  const present: number[] = [];
  const look = (base: number, first: number, count: number): void => {
    for (let i = 0; i < count; i++) {
      const word = source.memory.read64(base + STE_BYTES * i);
      if (word === null) return;
      if (steValid(word.lo) && steConfig(word.lo) >= 4) present.push(first + i);
    }
  };
  if (!table.twoLevel) {
    look(table.base, 0, 2 ** table.log2);
    return present;
  }
  const span = 2 ** table.split;
  for (let first = 0, address = table.base; first < 2 ** table.log2; first += span, address += 8) {
    const word = source.memory.read64(address);
    if (word === null) continue;
    // A level-2 table may be longer than the stream table as a whole.
    const entries = Math.min(l1stdEntries(word.lo, table.split), 2 ** table.log2 - first);
    look(l1stdL2Ptr(word.hi, word.lo), first, entries);
  }
  return present;
}
