import { expect, test } from 'vitest';
import { Tally } from '#lab/conform/tally';
import { checkEntry, checkLevel1, type EntryVector, type Level1Vector } from '#lab/conform/vectors/smmu-entries';
import { vectors } from './rig.ts';

interface Entries {
  readonly ste: readonly EntryVector[];
  readonly cd: readonly EntryVector[];
  readonly l1: readonly Level1Vector[];
}

const { ste, cd, l1 }: Entries = vectors('entries');

const makersOf = (list: readonly EntryVector[]): Set<string> => new Set(list.map(({ maker }) => maker));

test('each of 540 STEs is made bit for bit, and the bits that hardware uses are known', () => {
  expect(makersOf(ste)).toEqual(new Set(['abort', 'bypass', 'cdtable', 's2_domain', 'nested_domain']));
  const tally = new Tally(5);
  for (const [i, vector] of ste.entries()) checkEntry('ste', vector, i, tally);
  expect(tally.shown).toEqual([]);
  expect(tally.groups()).toEqual([
    { group: 'STEs made', agree: 540, checks: 540 },
    { group: 'bits of STEs in use', agree: 540, checks: 540 },
  ]);
});

test('each of 207 CDs is made bit for bit, and the bits that hardware uses are known', () => {
  expect(makersOf(cd)).toEqual(new Set(['s1', 'sva']));
  const tally = new Tally(5);
  for (const [i, vector] of cd.entries()) checkEntry('cd', vector, i, tally);
  expect(tally.shown).toEqual([]);
  expect(tally.groups()).toEqual([
    { group: 'CDs made', agree: 207, checks: 207 },
    { group: 'bits of CDs in use', agree: 207, checks: 207 },
  ]);
});

test('each of 6 level-1 descriptors is made bit for bit', () => {
  const tally = new Tally(5);
  for (const [i, vector] of l1.entries()) checkLevel1(vector, i, tally);
  expect(tally.shown).toEqual([]);
  expect(tally.groups()).toEqual([{ group: 'level-1 descriptors', agree: 6, checks: 6 }]);
});
