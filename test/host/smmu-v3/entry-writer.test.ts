import { describe, expect, test } from 'vitest';
import { smmuV3 } from '#host';
import { hexWords, int32s, vectors } from './rig.ts';

interface Transition {
  readonly name: string;
  readonly kind: 'ste' | 'cd';
  readonly from: string;
  readonly to: string;
  readonly from_words: string[];
  readonly to_words: string[];
  readonly steps: string[][];
  readonly syncs: number;
  readonly hitless: boolean;
  readonly final_ok: boolean;
  readonly expected_syncs: number;
  readonly expected_hitless: boolean;
}

const kinds = { ste: smmuV3.STE_KIND, cd: smmuV3.CD_KIND };

/** Writes one entry over another: the entry at each sync, and what was stored. */
function write({ kind, from_words, to_words }: Transition) {
  const live = int32s(from_words);
  const steps: string[][] = [];
  const stored: string[] = [];
  const syncs = smmuV3.writeEntry(kinds[kind], live, int32s(to_words), {
    store: (word) => stored.push(`${steps.length}.${word}`),
    sync: (entry) => steps.push(hexWords(entry)),
  });
  const hitless = steps.every(([word0]) => word0 !== '0');
  return { syncs, steps, stored, hitless, final: hexWords(live) };
}

test('each of 1357 transitions passes through the same entries, with the same number of syncs', () => {
  const transitions: Transition[] = vectors('transitions').transitions;
  expect(transitions).toHaveLength(1357);
  for (const vector of transitions) {
    const { syncs, steps, stored, hitless, final } = write(vector);
    const where = `${vector.from} to ${vector.to}`;
    expect([syncs, steps.map(String), hitless], where).toEqual([
      vector.syncs,
      vector.steps.map(String),
      vector.hitless,
    ]);
    expect(final.join() === vector.to_words.join(), where).toBe(vector.final_ok);
    expect(new Set(stored).size, where).toBe(stored.length);
  }
});

describe('KUnit arm-smmu-v3', () => {
  const cases: Transition[] = vectors('kunit').cases;

  test('29 transitions in 24 cases', () => {
    expect(cases).toHaveLength(29);
    expect(new Set(cases.map(({ name }) => name.replace(/_[ab]$/, ''))).size).toBe(24);
  });

  test.each(cases.map((vector) => [vector.name, vector] as const))('%s', (_, vector) => {
    const { syncs, steps, hitless, final } = write(vector);
    expect(syncs).toBe(vector.expected_syncs);
    expect(hitless).toBe(vector.expected_hitless);
    expect(steps).toEqual(vector.steps);
    expect(final).toEqual(vector.to_words);
  });
});

test('an entry with bits that nothing uses is refused, and nothing is stored', () => {
  const live = int32s(['1', '0', '0', '0', '0', '0', '0', '0']);
  const before = hexWords(live);
  const to = int32s(['1', '1', '0', '0', '0', '0', '0', '0']);
  const none = () => expect.unreachable('no store, no sync');
  expect(() => smmuV3.writeEntry(smmuV3.STE_KIND, live, to, { store: none, sync: none })).toThrow(
    'STE has bits that nothing uses',
  );
  expect(hexWords(live)).toEqual(before);
});
