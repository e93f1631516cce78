/**
 * What hardware may see between two syncs. While the writer stores the words of one pass, a fetch may find any of them
 * old or new: this plays every pair of the makers' entries, and every such mix of every pass. Upstream's own tests look
 * at the entry only where a sync is.
 */
import { expect, test } from 'vitest';
import { smmuV3 } from '#host';
import { int32s, vectors } from './rig.ts';

const INTS = smmuV3.ENTRY_INTS;

/** The entries of a file, each once, and the one that is all zero: what a table holds before its first write. */
function entriesOf(list: readonly { name: string; words: string[] }[]): { name: string; words: Int32Array }[] {
  const byWords = new Map(list.map(({ name, words }) => [words.join(), { name, words: int32s(words) }]));
  return [{ name: 'zero', words: new Int32Array(INTS) }, ...byWords.values()];
}

const files = vectors('entries');
const stes = entriesOf(files.ste);
const cds = entriesOf(files.cd);

/** Calls `look` with every mix of old and new words of every pass between two entries. The mix is reused. */
function tornViews(
  kind: smmuV3.EntryKind,
  from: Int32Array,
  to: Int32Array,
  look: (view: Int32Array, pass: number) => void,
): void {
  live.set(from);
  before.set(from);
  let pass = 0;
  smmuV3.writeEntry(kind, live, to, {
    sync: (now) => {
      let differing = 0;
      for (let word = 0; word < 8; word++)
        if (now[2 * word] !== before[2 * word] || now[2 * word + 1] !== before[2 * word + 1]) differing |= 1 << word;
      view.set(before);
      // All subsets of the stores that were made, the empty one first.
      for (let subset = 0; ; subset = (subset - differing) & differing) {
        for (let word = 0; word < 8; word++) {
          const source = ((subset >> word) & 1) === 1 ? now : before;
          view[2 * word] = source[2 * word]!;
          view[2 * word + 1] = source[2 * word + 1]!;
        }
        look(view, pass);
        if (subset === differing) break;
      }
      before.set(now);
      pass++;
    },
  });
}

const live = new Int32Array(INTS);
const before = new Int32Array(INTS);
const view = new Int32Array(INTS);
const usedOfView = new Int32Array(INTS);
const safe = new Int32Array(INTS);

/** Whether hardware cannot tell the view from this entry, but for bits that may change at any time. */
function sameToHardware(seen: Int32Array, entry: Int32Array, usedOfEntry: Int32Array): boolean {
  for (let i = 0; i < INTS; i++) {
    if (usedOfView[i] !== usedOfEntry[i]) return false;
    if (((seen[i]! ^ entry[i]!) & usedOfEntry[i]! & ~safe[i]!) !== 0) return false;
  }
  return true;
}

/** Plays all pairs. @returns how many pairs, views and breaks there were, and what was found */
function play(kind: smmuV3.EntryKind, entries: readonly { name: string; words: Int32Array }[], validBit: number) {
  const used = entries.map(({ words }) => {
    const bits = new Int32Array(INTS);
    kind.used(words, bits);
    return bits;
  });
  const found: string[] = [];
  let views = 0;
  let breaking = 0;
  entries.forEach((from, i) => {
    entries.forEach((to, j) => {
      kind.safe(from.words, to.words, safe);
      let breaks = false;
      tornViews(kind, from.words, to.words, (seen, pass) => {
        views++;
        kind.used(seen, usedOfView);
        if (sameToHardware(seen, from.words, used[i]!) || sameToHardware(seen, to.words, used[j]!)) return;
        if ((seen[0]! & validBit) === 0) breaks = true;
        else found.push(`${from.name} to ${to.name}, pass ${pass}`);
      });
      if (breaks) breaking++;
    });
  });
  return { pairs: entries.length ** 2, views, breaking, found };
}

test('every torn view of an STE is the old entry, the new one, or invalid', () => {
  const t = performance.now();
  const r = play(smmuV3.STE_KIND, stes, 1);
  console.log(performance.now() - t, r.pairs, r.views, r.breaking, r.found.length, r.found.slice(0, 20));
});
test('every torn view of a CD is the old descriptor, the new one, or invalid', () => {
  const t = performance.now();
  const r = play(smmuV3.CD_KIND, cds, 1 << 31);
  console.log(performance.now() - t, r.pairs, r.views, r.breaking, r.found.length, r.found.slice(0, 20));
});
