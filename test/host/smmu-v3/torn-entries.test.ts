/**
 * What hardware may see between two syncs. While the writer stores the words of one pass, a fetch may find any of them
 * old or new: this plays every pair of the makers' entries, and every such mix of every pass. Upstream's own tests look
 * at the entry only where a sync is. A valid mix must also be legal wherever both ends are: another decoder, the
 * oracle's, is asked.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { smmuV3 } from '#host';
import type { SmmuCapabilities } from '#lab/oracle/decode/idr';
import { cdIllegal, steIllegal } from '#lab/oracle/decode/legal';
import { structures } from '#machine/host-view';
import { int32s, vectors } from './rig.ts';

const INTS = smmuV3.ENTRY_INTS;

/** The entries of a file, each once, and the one that is all zero: what a table holds before its first write. */
function entriesOf(list: readonly { name: string; words: string[] }[]): { name: string; words: Int32Array }[] {
  const byWords = new Map(list.map(({ name, words }) => [words.join(), { name, words: int32s(words) }]));
  return [{ name: 'zero', words: new Int32Array(INTS) }, ...byWords.values()];
}

const files = vectors('entries');
const { cases }: { cases: { kind: string; name: string; from_words: string[]; to_words: string[] }[] } =
  vectors('kunit');
const stes = entriesOf([
  ...files.ste,
  ...cases
    .filter(({ kind }) => kind === 'ste')
    .flatMap(({ name, from_words, to_words }) => [
      { name: `${name}-from`, words: from_words },
      { name: `${name}-to`, words: to_words },
    ]),
]);
const cds = entriesOf(files.cd);

/** Changes a live entry into another. */
type Writer = (live: Int32Array, to: Int32Array, ops: smmuV3.EntryOps) => void;

/** Calls `look` with every mix of old and new words of every pass between two entries. The mix is reused. */
function tornViews(
  write: Writer,
  from: Int32Array,
  to: Int32Array,
  look: (view: Int32Array, pass: number) => void,
): void {
  live.set(from);
  before.set(from);
  let pass = 0;
  write(live, to, {
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

function same(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < INTS; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether hardware cannot tell the view from this entry, but for bits that may change at any time. */
function sameToHardware(seen: Int32Array, entry: Int32Array, usedOfEntry: Int32Array): boolean {
  for (let i = 0; i < INTS; i++) {
    if (usedOfView[i] !== usedOfEntry[i]) return false;
    if (((seen[i]! ^ entry[i]!) & usedOfEntry[i]! & ~safe[i]!) !== 0) return false;
  }
  return true;
}

/** Everything that the architecture has, so that as many entries as possible are legal. */
const everything: SmmuCapabilities = {
  stage1: true,
  stage2: true,
  aarch64: true,
  aarch32: false,
  httu: 3,
  ats: true,
  el2Worlds: true,
  noSplitStageAts: false,
  asid16: true,
  vmid16: true,
  twoLevelCdTables: true,
  twoLevelStreamTable: true,
  stallModel: 0,
  abortOnly: false,
  tableEndianness: 0,
  sidBits: 32,
  ssidBits: 20,
  smallTables: false,
  executeNeverAtBothLevels: false,
  oasBits: 52,
  iasBits: 52,
  granule4k: true,
  granule16k: true,
  granule64k: true,
  largeVa: true,
};

const legalSte = (words: Int32Array) => steIllegal(words, 0, everything) === null;
/** A CD is reached through an STE: one of stage 1 that allows stalls. */
const throughSte = int32s(['b', '0', '0', '0', '0', '0', '0', '0']);
const legalCd = (words: Int32Array) => cdIllegal(words, 0, throughSte, 0, everything) === null;

interface Named {
  readonly name: string;
  readonly words: Int32Array;
}

/** What a look at all pairs found: `other` and `illegal` list the pairs of which some view was that. */
interface Found {
  pairs: number;
  /** Pairs of legal entries. */
  legalPairs: number;
  views: number;
  /** Pairs between which the entry is invalid for a while. */
  breaking: number;
  /** Neither old nor new nor invalid. */
  readonly other: Set<string>;
  /** Valid and ILLEGAL, although old and new are legal. */
  readonly illegal: Set<string>;
}

/** Plays every pair that `pairs` gives. */
function play(
  kind: smmuV3.EntryKind,
  validBit: number,
  legal: (words: Int32Array) => boolean,
  pairs: Iterable<readonly [Named, Named]>,
  write: Writer = (entry, to, ops) => smmuV3.writeEntry(kind, entry, to, ops),
): Found {
  const found: Found = { pairs: 0, legalPairs: 0, views: 0, breaking: 0, other: new Set(), illegal: new Set() };
  const usedOfFrom = new Int32Array(INTS);
  const usedOfTo = new Int32Array(INTS);
  const isValid = (words: Int32Array) => (words[0]! & validBit) !== 0;
  const legality = new Map<Named, boolean>();
  const isLegal = (entry: Named) => {
    let answer = legality.get(entry);
    if (answer === undefined) {
      answer = !isValid(entry.words) || legal(entry.words);
      legality.set(entry, answer);
    }
    return answer;
  };
  for (const [from, to] of pairs) {
    kind.safe(from.words, to.words, safe);
    kind.used(from.words, usedOfFrom);
    kind.used(to.words, usedOfTo);
    const bothLegal = isLegal(from) && isLegal(to);
    let breaks = false;
    tornViews(write, from.words, to.words, (seen, pass) => {
      found.views++;
      const judged = bothLegal && isValid(seen) && !same(seen, from.words) && !same(seen, to.words);
      if (judged && !legal(seen)) found.illegal.add(`${from.name} to ${to.name}, pass ${pass}`);
      kind.used(seen, usedOfView);
      if (sameToHardware(seen, from.words, usedOfFrom) || sameToHardware(seen, to.words, usedOfTo)) return;
      if (isValid(seen)) found.other.add(`${from.name} to ${to.name}, pass ${pass}`);
      else breaks = true;
    });
    found.pairs++;
    found.legalPairs += Number(bothLegal);
    found.breaking += Number(breaks);
  }
  return found;
}

function* allPairs(entries: readonly Named[]): Iterable<readonly [Named, Named]> {
  for (const from of entries) for (const to of entries) yield [from, to];
}

const playStes = (pairs: Iterable<readonly [Named, Named]>, write?: Writer) =>
  play(smmuV3.STE_KIND, 1, legalSte, pairs, write);
const playCds = (pairs: Iterable<readonly [Named, Named]>, write?: Writer) =>
  play(smmuV3.CD_KIND, 1 << 31, legalCd, pairs, write);

/** Pairs, passes and reasons that are known and accepted: none is needed. */
const accepted = { other: new Set<string>(), illegal: new Set<string>() };

test('every torn view of an STE is the old entry, the new one, or invalid; and never ILLEGAL', () => {
  const found = playStes(allPairs(stes));
  expect(found).toMatchObject({ pairs: 526 ** 2, legalPairs: 483 ** 2, breaking: 222038, ...accepted });
  expect(found.views).toBeGreaterThan(2_000_000);
});

test('every torn view of a CD is the old descriptor, the new one, or invalid; and never ILLEGAL', () => {
  const found = playCds(allPairs(cds));
  expect(found).toMatchObject({ pairs: 202 ** 2, legalPairs: 184 ** 2, breaking: 13422, ...accepted });
  expect(found.views).toBeGreaterThan(150_000);
});

const { setField, STE, CD } = structures;

/** Entries as random as can be, with no bit that hardware does not use. */
function randomEntry(kind: smmuV3.EntryKind, tune: (words: Int32Array, pick: number) => void): fc.Arbitrary<Named> {
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const sparse = fc.oneof(int32, fc.constant(0), fc.constant(0x55555555));
  return fc.tuple(fc.array(sparse, { minLength: INTS, maxLength: INTS }), fc.nat()).map(([ints, pick]) => {
    const words = Int32Array.from(ints);
    tune(words, pick);
    const used = new Int32Array(INTS);
    kind.used(words, used);
    return { name: String(words), words: words.map((word, i) => word & used[i]!) };
  });
}

/** A pair: two entries, or one and the same with some words of the other. */
function randomPair(entry: fc.Arbitrary<Named>, kind: smmuV3.EntryKind): fc.Arbitrary<readonly [Named, Named]> {
  return fc.tuple(entry, entry, fc.nat(0xff)).map(([from, other, from8]) => {
    const words = from.words.map((word, i) => (((from8 >> (i >> 1)) & 1) === 1 ? other.words[i]! : word));
    const used = new Int32Array(INTS);
    kind.used(words, used);
    return [from, { name: String(words), words: words.map((word, i) => word & used[i]!) }];
  });
}

test('so it is for entries that no maker makes', () => {
  const ste = randomEntry(smmuV3.STE_KIND, (words, pick) => {
    setField(words, STE.field.V, pick % 8 === 0 ? 0 : 1);
    setField(words, STE.field.Config, [0, 4, 5, 6, 7][(pick >> 3) % 5]!);
  });
  const cd = randomEntry(smmuV3.CD_KIND, (words, pick) => {
    setField(words, CD.field.V, pick % 8 === 0 ? 0 : 1);
    setField(words, CD.field.EPD0, (pick >> 3) & 1);
  });
  const steRun = playStes(fc.sample(randomPair(ste, smmuV3.STE_KIND), { seed: 11, numRuns: 4000 }));
  const cdRun = playCds(fc.sample(randomPair(cd, smmuV3.CD_KIND), { seed: 12, numRuns: 2000 }));
  for (const found of [steRun, cdRun]) {
    expect(found).toMatchObject(accepted);
    // Both paths were taken, and legality was judged.
    expect(found.breaking).toBeGreaterThan(500);
    expect(found.pairs - found.breaking).toBeGreaterThan(500);
    expect(found.legalPairs).toBeGreaterThan(100);
  }
});

test('the check finds a writer that stores everything at once', () => {
  const atOnce: Writer = (entry, to, { sync }) => {
    entry.set(to);
    sync(entry);
  };
  const named = (kind: string) => cases.filter((vector) => vector.kind === kind);
  const pairsOf = (kind: string): [Named, Named][] =>
    named(kind).map(({ name, from_words, to_words }) => [
      { name: 'old', words: int32s(from_words) },
      { name: `new of ${name}`, words: int32s(to_words) },
    ]);
  expect([...playStes(pairsOf('ste'), atOnce).other]).toContain('old to new of s1_to_s2, pass 0');
  expect([...playCds(pairsOf('cd'), atOnce).other]).toContain('old to new of cd_s1_clear_a, pass 0');
});

test('the check finds why EATS is not safe beside stalls of stage 2', () => {
  const always: smmuV3.EntryKind = {
    ...smmuV3.STE_KIND,
    safe: (_from, _to, bits) => bits.set(structures.maskOf(STE, 'EATS', 'MEV')),
  };
  const stage2 = (ats: boolean, stall: boolean): Named => {
    const words = new Int32Array(INTS);
    const vtcr = { ps: 5, tg: 0, sh: 3, orgn: 1, irgn: 1, sl: 1, tsz: 25 };
    smmuV3.makeStage2Ste(words, {}, { vmid: 7, vttbrHi: 0, vttbrLo: 0x4000, vtcr, fwb: false }, { ats, stall });
    return { name: ats ? 'ATS' : 'stalls', words };
  };
  const pair: [Named, Named][] = [[stage2(false, true), stage2(true, false)]];
  const relaxed = playStes(pair, (entry, to, ops) => smmuV3.writeEntry(always, entry, to, ops));
  expect(relaxed).toMatchObject({ breaking: 0, illegal: new Set(['stalls to ATS, pass 0', 'stalls to ATS, pass 1']) });
  expect(playStes(pair)).toMatchObject({ breaking: 1, ...accepted });
});
