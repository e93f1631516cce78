/**
 * From an STE and a SubstreamID to a decoded CD: a linear table, or one of two levels with 4 KiB or 64 KiB leaves. Under
 * nesting the tables are in the IPA space, and stage 2 checks every fetch (CLASS = CD) before it is made.
 */

import { POW2 } from '../pow2.ts';
import { join } from '../word64.ts';
import { CD_SIZE, decodeCd } from './cd.ts';
import { EventClass, EventType } from './events.ts';
import { readEntry } from './lookup.ts';
import { type Ste, SteKind } from './ste.ts';
import type { TranslationUnit } from './unit.ts';

/** Address of the leaf of CDs that a level-1 descriptor names; -1 when it is invalid. */
export function contextLeaf(hi: number, lo: number, outputBits: number): number {
  if ((lo & 1) === 0) return -1;
  const leaf = join(hi & 0x00ffffff, lo & ~0xfff);
  return leaf >= POW2[outputBits]! ? -1 : leaf;
}

/** Whether the CDs of an STE are reached in more ways than by a pointer to the only one. */
export function hasContextTable(ste: Ste): boolean {
  return ste.kind === SteKind.nested || (ste.kind === SteKind.stage1 && ste.contextLog2 !== 0);
}

const descriptor = new Int32Array(2);

/** Fetches the CD of `index` into the unit. @returns false after a fault */
export function fetchContext(u: TranslationUnit, index: number): boolean {
  const { memory, smmu, ste, cd, fault, adversary } = u;
  const place = adversary === null ? -1 : adversary.contextPlace();
  const at = place >= 0 ? place : locate(u, index);
  if (at < 0) return false;
  u.cdAt = at;
  let changed = readEntry(memory, at, cd.words, 0, undefined);
  if (adversary !== null) {
    adversary.context(at, place < 0, cd.words);
    changed = true;
  }
  const nested = ste.kind === SteKind.nested;
  const decodedAs = (nested ? 1 : 0) | (ste.stallDisabled ? 2 : 0);
  if (changed || cd.decodedAs !== decodedAs) decodeCd(cd, smmu, nested, ste.stallDisabled);
  if (cd.illegal === '') return true;
  fault.type = EventType.C_BAD_CD;
  fault.reason = cd.illegal;
  return false;
}

/** Physical address of the CD of `index`; -1 after a fault. */
function locate(u: TranslationUnit, index: number): number {
  const { ste, fault } = u;
  let table = ste.contextPointer;
  let inTable = index;
  if (ste.contextSplit !== 0) {
    const first = Math.floor(index / POW2[ste.contextSplit]!);
    if (u.adversary === null || !u.adversary.contextTable(descriptor)) {
      const at = fetchable(u, table + 8 * first, 8);
      if (at < 0) return -1;
      const from = u.memory.indexOf(at);
      descriptor[0] = u.memory.words[from]!;
      descriptor[1] = u.memory.words[from + 1]!;
    }
    table = contextLeaf(descriptor[1]!, descriptor[0]!, u.smmu.oas);
    if (table < 0) {
      fault.type = EventType.C_BAD_SUBSTREAMID;
      return -1;
    }
    inTable = index - first * POW2[ste.contextSplit]!;
  }
  return fetchable(u, table + CD_SIZE * inTable, CD_SIZE);
}

/** Where `size` bytes of a CD table are in physical memory; -1 after a fault. */
function fetchable(u: TranslationUnit, address: number, size: number): number {
  const { fault } = u;
  const pa = u.ste.kind === SteKind.nested ? u.second.through(address, false, EventClass.CD) : address;
  if (pa < 0) return -1;
  if (u.memory.isRamRange(pa, size)) return pa;
  fault.type = EventType.F_CD_FETCH;
  fault.fetchAddress = pa;
  return -1;
}
