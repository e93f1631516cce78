/** `smmuv3-transitions` and the cases of `smmuv3-kunit`: live updates of entries, step by step. */
import { smmuV3 } from '#host';
import type { Tally } from '../tally.ts';
import { count, flag, hex, list, oneOf, record, type Shape, text } from './shape.ts';
import { hexWords, int32s } from './words.ts';

export interface Transition {
  readonly kind: 'ste' | 'cd';
  /** Names: of both entries in `transitions`, of the case in `kunit`. */
  readonly from?: string;
  readonly to?: string;
  readonly name?: string;
  readonly from_words: readonly string[];
  readonly to_words: readonly string[];
  readonly steps: readonly (readonly string[])[];
  readonly syncs?: number;
  readonly hitless?: boolean;
  readonly final_ok?: boolean;
  /** What the upstream suite asserts. */
  readonly expected_syncs?: number;
  readonly expected_hitless?: boolean;
}

const entry = list(hex, 8);
const common = { kind: oneOf('ste', 'cd'), from_words: entry, to_words: entry, steps: list(entry) };

export const TRANSITION: Shape = record({
  ...common,
  from: text,
  to: text,
  syncs: count,
  hitless: flag,
  final_ok: flag,
});
export const KUNIT_CASE: Shape = record({ ...common, name: text, expected_syncs: count, expected_hitless: flag });

const kinds = { ste: smmuV3.STE_KIND, cd: smmuV3.CD_KIND };

/** Compares one update. */
export function checkTransition(vector: Transition, where: string, group: string, tally: Tally): void {
  const { kind, from, to, name, from_words, to_words, steps: expected } = vector;
  tally.begin(group, () => `${where}, ${name ?? `${from} to ${to}`}`);
  const live = int32s(from_words);
  const steps: string[][] = [];
  try {
    const syncs = smmuV3.writeEntry(kinds[kind], live, int32s(to_words), {
      sync: (words) => void steps.push(hexWords(words)),
    });
    tally.same('syncs', vector.syncs ?? vector.expected_syncs, syncs);
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes('bits that nothing uses')) throw error;
    tally.differs('the new entry', 'one whose bits are all in use', error.message);
  }
  tally.same('entry at each sync', expected, steps);
  tally.same(
    'never invalid',
    vector.hitless ?? vector.expected_hitless,
    steps.every(([word0]) => word0 !== '0'),
  );
  tally.same('final entry is the new one', vector.final_ok ?? true, hexWords(live).join() === to_words.join());
  tally.end();
}
