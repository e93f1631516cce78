/**
 * The writer of live entries: from what is there to what is wanted with as few interruptions as 64-bit stores allow.
 * Where at most one word has to change in bits that hardware uses, the stream goes on without a break; otherwise the
 * entry is invalid for a while. After each group of stores the configuration caches must forget the entry.
 */

import { ENTRY_INTS, type Entry } from './entry.ts';
import { safeForCd, safeForSte, usedOfCd, usedOfSte } from './used-bits.ts';

/** What the writer has to know of a kind of entry. */
export interface EntryKind {
  readonly name: string;
  readonly used: (entry: Entry, used: Entry) => void;
  readonly safe: (from: Entry, to: Entry, safe: Entry) => void;
}

export const STE_KIND: EntryKind = { name: 'STE', used: usedOfSte, safe: safeForSte };
export const CD_KIND: EntryKind = { name: 'CD', used: usedOfCd, safe: safeForCd };

/** Writes of the live entry, and what must follow. */
export interface EntryOps {
  /** One 64-bit store to word `word` of the live entry. */
  readonly store?: (word: number, hi: number, lo: number) => void;
  /** Invalidate the cached entry and wait: CFGI for every stream, then SYNC. */
  readonly sync: (live: Entry) => void;
}

const current = new Int32Array(ENTRY_INTS);
const wanted = new Int32Array(ENTRY_INTS);
const safe = new Int32Array(ENTRY_INTS);
const step = new Int32Array(ENTRY_INTS);

/**
 * The words that have to change while hardware uses them, as a set of bits. Leaves in `step` the entry with every bit
 * of `to` that `live` does not use, or that is safe.
 */
function criticalWords(kind: EntryKind, live: Entry, to: Entry): number {
  kind.used(live, current);
  kind.used(to, wanted);
  kind.safe(live, to, safe);
  let words = 0;
  for (let i = 0; i < ENTRY_INTS; i++) {
    if ((to[i]! & ~wanted[i]!) !== 0) throw new Error(`${kind.name} has bits that nothing uses`);
    const keep = current[i]! & ~(safe[i]! & current[i]! & wanted[i]!);
    step[i] = (live[i]! & keep) | (to[i]! & ~keep);
    if ((step[i]! & wanted[i]!) !== to[i]!) words |= 1 << (i >>> 1);
  }
  return words;
}

/** Stores words `first` up to `end` of `from` where they differ. @returns whether any did */
function pass(live: Entry, from: Entry, first: number, end: number, ops: EntryOps): boolean {
  let changed = false;
  for (let word = first; word < end; word++) {
    const lo = from[2 * word]!;
    const hi = from[2 * word + 1]!;
    if (live[2 * word] === lo && live[2 * word + 1] === hi) continue;
    live[2 * word] = lo;
    live[2 * word + 1] = hi;
    ops.store?.(word, hi, lo);
    changed = true;
  }
  if (changed) ops.sync(live);
  return changed;
}

/**
 * Changes a live entry into another, in place.
 * @param to must have no bit that hardware does not use
 * @returns the number of syncs
 */
export function writeEntry(kind: EntryKind, live: Entry, to: Entry, ops: EntryOps): number {
  const critical = criticalWords(kind, live, to);
  let syncs = 0;
  if (critical === 0) return Number(pass(live, to, 0, 8, ops));
  if ((critical & (critical - 1)) === 0) {
    const word = 31 - Math.clz32(critical);
    step[2 * word] = live[2 * word]!;
    step[2 * word + 1] = live[2 * word + 1]!;
    syncs += Number(pass(live, step, 0, 8, ops));
    syncs += Number(pass(live, to, word, word + 1, ops));
    return syncs + Number(pass(live, to, 0, 8, ops));
  }
  step.fill(0);
  syncs += Number(pass(live, step, 0, 1, ops));
  syncs += Number(pass(live, to, 1, 8, ops));
  return syncs + Number(pass(live, to, 0, 1, ops));
}
