/**
 * Reads all tables of one stage and reports their leaves with the rights that remain of them. What the walker of one
 * access decides (`lab/walk/tables.ts`) is decided here for every address at once: invalid and reserved descriptors,
 * outputs beyond the output size and leaves without access flag let nothing through.
 */
import {
  Access,
  accessFlag,
  DescriptorKind,
  descriptorKind,
  dirtyModifier,
  leafSize,
  levelShift,
  nextTableAddress,
  outputAddress,
  s1Permissions,
  s1TableLimits,
  s2Permissions,
} from '../oracle/decode/descriptor.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import type { StageTables } from '../walk/tables.ts';

/** Tables that one root may have: 512 GiB of 4 KiB pages. A root with more (tables that refer to themselves) is cut. */
export const TABLE_LIMIT = 2 ** 18;
/** Runs of leaves that one root may have: 4 GiB of 4 KiB pages of which no two are side by side. */
export const RUN_LIMIT = 2 ** 20;

/** What a visit reports. */
export interface Visitor {
  /** A table, at an address that this stage's descriptors hold. */
  table(address: number, bytes: number, level: number): void;
  /**
   * `input` is an offset from the start of the input range; `access` holds bits of {@link Access}; `address` is the
   * descriptor's. Returns false when there is no room for more.
   */
  leaf(input: number, output: number, size: number, access: number, address: number): boolean;
  gap(text: string): void;
}

/** Visits every table from the root. `read` gives the word at an address that this stage's descriptors hold. */
export function visitTables(tables: StageTables, read: (address: number) => Word64 | null, visitor: Visitor): void {
  const { stage, granuleBits, outputBits } = tables;
  let tableCount = 0;
  let room = true;
  let cut = false;
  /** Tables, by level, with no leaf below: what refers to itself without end is not gone through again and again. */
  const barren = new Set<number>();

  /** Returns whether there was a leaf. */
  function visit(level: number, table: number, from: number, limits: number): boolean {
    let fruitful = false;
    const shift = levelShift(level, granuleBits);
    const entries = level === tables.startLevel ? 2 ** (tables.inputBits - shift) : 2 ** (granuleBits - 3);
    visitor.table(table, 8 * entries, level);
    for (let i = 0; i < entries; i++) {
      const address = table + 8 * i;
      const value = read(address);
      if (value === null) {
        visitor.gap(`the stage ${stage} level ${level} table at 0x${table.toString(16)} cannot be read`);
        return true;
      }
      const { hi, lo } = value;
      if ((lo & 1) === 0) continue;
      const kind = descriptorKind(level, hi, lo, granuleBits, tables.wide);
      if (kind === DescriptorKind.invalid) continue;
      const input = from + i * 2 ** shift;
      if (tableCount >= TABLE_LIMIT || !room) {
        if (!cut) visitor.gap(`the stage ${stage} tables at 0x${tables.base.toString(16)} were not read to the end`);
        cut = true;
        return true;
      }
      if (kind === DescriptorKind.table) {
        const next = nextTableAddress(hi, lo, granuleBits);
        if (next >= 2 ** outputBits || barren.has(placeOf(level + 1, next))) continue;
        tableCount++;
        if (visit(level + 1, next, input, tables.hierarchical ? s1TableLimits(limits, hi) : limits)) fruitful = true;
        continue;
      }
      const output = outputAddress(level, hi, lo, granuleBits);
      if (output >= 2 ** outputBits || (tables.accessFlagFaults && !accessFlag(lo))) continue;
      fruitful = true;
      room = visitor.leaf(input, output, leafSize(level, granuleBits), accessOf(tables, hi, lo, limits), address);
    }
    if (!fruitful) barren.add(placeOf(level, table));
    return fruitful;
  }
  visit(tables.startLevel, tables.base, 0, -1);
}

/** A number for a table and its level. */
function placeOf(level: number, table: number): number {
  return table + level;
}

function accessOf(tables: StageTables, hi: number, lo: number, limits: number): number {
  let access = tables.stage === 1 ? s1Permissions(hi, lo) : s2Permissions(hi, lo, tables.xnx);
  // Hardware that manages the dirty state lifts the write protection of such a leaf.
  if (tables.hardwareDirty && dirtyModifier(hi)) {
    if ((access & Access.read) !== 0) access |= Access.write;
    if ((access & Access.privilegedRead) !== 0) access |= Access.privilegedWrite;
  }
  return access & limits;
}
