/** Memory that steers the SMMU and is named by its registers: the stream table, the queues, the registers themselves. */
import { bitsInPlace, type Word64 } from '../oracle/decode/fields.ts';
import { l1stdEntries, l1stdL2Ptr } from '../oracle/decode/l1std.ts';
import { STE_BYTES } from '../oracle/decode/ste.ts';
import type { WalkSource } from '../walk/source.ts';
import { streamTable } from '../walk/stream.ts';
import type { Region, Structure } from './types.ts';

const PAGE = 4096;
/** Two pages of 64 KiB. */
const REGISTER_BYTES = 0x20000;

/** The regions, and what of the stream table could not be read. `smmuBase` is the SMMU's own address where known. */
export function steeringRegions(
  source: WalkSource,
  registers: ReadonlyMap<string, Word64>,
  smmuBase: number | null,
): { readonly regions: readonly Region[]; readonly gaps: readonly string[] } {
  const regions: Region[] = [];
  const gaps: string[] = [];
  const add = (structure: Structure, name: string, start: number, bytes: number): void => {
    regions.push({ kind: 'table', structure, name, start, end: start + bytes });
  };
  const readable = (name: string, start: number, bytes: number): void => {
    for (let at = start; at < start + bytes; at = at - (at % PAGE) + PAGE) {
      if (source.memory.read64(at) !== null) continue;
      gaps.push(`the ${name} cannot be read at 0x${at.toString(16)}`);
      return;
    }
  };
  const table = streamTable(source);
  const enabled = (source.cr0 & 1) !== 0;
  if (enabled && !table.twoLevel) {
    add('stream table', 'stream table', table.base, STE_BYTES * 2 ** table.log2);
    readable('stream table', table.base, STE_BYTES * 2 ** table.log2);
  } else if (enabled) {
    const count = Math.max(1, 2 ** (table.log2 - table.split));
    add('stream table', 'level-1 stream table', table.base, 8 * count);
    readable('level-1 stream table', table.base, 8 * count);
    for (let i = 0; i < count; i++) {
      const word = source.memory.read64(table.base + 8 * i);
      if (word === null) continue;
      const entries = l1stdEntries(word.lo, table.split);
      if (entries === 0) continue;
      const first = i * 2 ** table.split;
      const name = `stream table of streams 0x${first.toString(16)}-0x${(first + entries - 1).toString(16)}`;
      add('stream table', name, l1stdL2Ptr(word.hi, word.lo), STE_BYTES * entries);
      readable(name, l1stdL2Ptr(word.hi, word.lo), STE_BYTES * entries);
    }
  }
  queue('command queue', 'CMDQ_BASE', 16, 3);
  queue('event queue', 'EVENTQ_BASE', 32, 2);
  if (smmuBase !== null) add('registers', 'SMMU registers', smmuBase, REGISTER_BYTES);
  return { regions, gaps };

  function queue(name: string, register: string, bytes: number, enableBit: number): void {
    const base = registers.get(register);
    if (base === undefined) {
      gaps.push(`where the ${name} lies is unknown: there is no register ${register}`);
      return;
    }
    if (((source.cr0 >>> enableBit) & 1) === 0) return;
    const size = bytes * 2 ** (base.lo & 31);
    const address = bitsInPlace(base.hi, base.lo, 51, 5);
    add('queue', name, address - (address % Math.max(32, size)), size);
  }
}
