/**
 * Mixes of old and new words. Hardware reads the eight 64-bit words of an STE or CD in any order and at its own pace, so
 * until an invalidation has completed, an entry may be seen with some words as they are and some as they were.
 */

import type { PhysicalMemory } from '../memory/index.ts';
import { Field, type StaleSet } from './stale-set.ts';

/** Words of an entry that are interpreted: q0 to q3. */
const WORDS = 4;
/** Mixes tried for one entry; there are more only after many changes without an invalidation. */
export const MOST_MIXES = 256;

/** For each word: stale entries that hold a different older value, after -1 for the present one (if it counts). */
export function mixOptions(
  stale: StaleSet,
  kind: number,
  sid: number,
  at: number,
  presentCounts: boolean,
  ssid = 0,
): number[][] {
  const options: number[][] = [[], [], [], []];
  if (presentCounts) for (const word of options) word.push(-1);
  for (let i = 0; i < stale.size; i++) {
    if (stale.kind(i) !== kind || stale.get(i, Field.addressLo) >>> 0 !== sid) continue;
    if (stale.get(i, Field.addressHi) !== ssid) continue;
    const word = options[(stale.at(i) - at) / 8];
    if (word !== undefined && !word.some((other) => other >= 0 && sameValue(stale, i, other))) word.push(i);
  }
  for (const word of options) if (word.length === 0) word.push(-1);
  return options;
}

function sameValue(stale: StaleSet, a: number, b: number): boolean {
  return (
    stale.get(a, Field.oldLo) === stale.get(b, Field.oldLo) && stale.get(a, Field.oldHi) === stale.get(b, Field.oldHi)
  );
}

/** All ways to pick one option per word, at most {@link MOST_MIXES}. The first takes the first option of each. */
export function mixes(options: readonly (readonly number[])[]): number[][] {
  let all: number[][] = [[]];
  for (const word of options) {
    all = all.flatMap((prefix) => word.map((option) => [...prefix, option]));
    if (all.length > MOST_MIXES) all.length = MOST_MIXES;
  }
  return all;
}

/** Reads the entry at `at` as a mix: its present words, with those of the stale entries that are picked. */
export function readMix(
  memory: PhysicalMemory,
  stale: StaleSet,
  at: number,
  mix: readonly number[],
  words: Int32Array,
): void {
  const from = memory.indexOf(at);
  for (let i = 0; i < 16; i++) words[i] = memory.words[from + i]!;
  for (let word = 0; word < WORDS; word++) {
    const entry = mix[word]!;
    if (entry < 0) continue;
    words[2 * word] = stale.get(entry, Field.oldLo);
    words[2 * word + 1] = stale.get(entry, Field.oldHi);
  }
}
