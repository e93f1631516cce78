import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { ConformReport } from '#lab/conform/report';
import { conformVectors, VECTOR_FORMATS } from '#lab/conform/vectors/conform';
import { InputError } from '#lab/input-error';
import { vectors } from './rig.ts';

// biome-ignore lint/suspicious/noExplicitAny: the documents have many shapes
type Document = any;

const file = (name: string): string => `${name}.json.gz`;

function compare(document: Document, name = 'a.json', most = 5): Promise<ConformReport> {
  return conformVectors(JSON.stringify(document), name, most);
}

/** How many checks each file makes. The page-table files are all run by the tests of `io-pgtable`; here is one of each. */
const CHECKS = {
  'linux-7.2-configs': 5256,
  'linux-6.12-kunit-matrix': 3570,
  'iommu-pgsize': 540,
  'smmuv3-commands': 319,
  'smmuv3-entries': 1500,
  'smmuv3-transitions': 1357,
  'smmuv3-kunit': 41,
  'smmuv3-invalidation': 513,
  'smmuv3-nesting': 268,
};

test.each(Object.entries(CHECKS))('all of %s agrees', async (name, checks) => {
  const path = new URL(`../fixtures/vectors/${file(name)}`, import.meta.url);
  const report = await conformVectors(gunzipSync(readFileSync(path)).toString(), file(name), 5);
  expect(report.disagreements).toEqual([]);
  expect(report).toMatchObject({ kind: 'vectors', agree: checks, checks, differences: 0, interrupted: false });
});

/** One value of each format spoilt, and where the difference must show. */
const SPOILT: readonly [name: string, path: string, value: unknown, group: string, where: RegExp][] = [
  ['linux-7.2-configs', 'cases.3.out.tcr.tsz', 17, 'configurations accepted', /^cases\[3\]$/],
  ['linux-7.2-directed', 'sequences.2.ops.0.ev', ['F'], 'map', /, ops\[0\]$/],
  ['linux-7.2-directed', 'sequences.2.ops.0.w', 1, 'map', /, ops\[0\]$/],
  ['linux-7.2-directed', 'sequences.0.final.leaves.0.4', '743', 'final leaves', /^prots-s1/],
  ['linux-7.2-directed', 'sequences.0.cfg_out.mair', '0', 'tables allocated', /^prots-s1/],
  ['linux-7.2-directed', 'sequences.0.free_ev', [], 'tables freed', /^prots-s1/],
  ['linux-6.12-directed', 'sequences.0.final.tables.1.e.0.1', '1', 'final tables', /^prots-s1/],
  ['iommu-pgsize', 'cases.7.count', 99, 'page sizes', /^cases\[7\]/],
  ['smmuv3-commands', 'commands.9.words.1', 'f1', 'commands of linux-7.2', /^commands\[9\]/],
  ['smmuv3-commands', 'commands.318.ret', -5, 'commands of linux-6.12', /^commands\[318\]/],
  ['smmuv3-entries', 'ste.4.words.2', 'f1', 'STEs made', /^ste\[4\]/],
  ['smmuv3-entries', 'cd.4.used.1', 'f1', 'bits of CDs in use', /^cd\[4\]/],
  ['smmuv3-entries', 'l1.1.words.0', 'f1', 'level-1 descriptors', /^l1\[1\]/],
  ['smmuv3-transitions', 'transitions.5.steps', [], 'live updates', /^transitions\[5\]/],
  ['smmuv3-kunit', 'cases.2.expected_syncs', 9, 'live updates', /^cases\[2\]/],
  ['smmuv3-kunit', 'invs.3.num_trashes', 9, 'steps over invalidation arrays', /^invs\[3\], unref$/],
  ['smmuv3-invalidation', 'domain_inv.8.cmds', [], 'invalidations of a domain', /^domain_inv\[8\]/],
  ['smmuv3-nesting', 'vste.6.ret', -22, 'entries of guests', /^vste\[6\]/],
  ['smmuv3-nesting', 'user_cmd.6.ret', -22, 'commands of guests', /^user_cmd\[6\]/],
];

test.each(SPOILT)('%s: one spoilt value, %s, is one disagreement', async (name, path, value, group, where) => {
  const document = vectors(name);
  if (document.sequences !== undefined) document.sequences.length = 4;
  const steps = path.split('.');
  const last = steps.pop()!;
  const holder = steps.reduce((at, step) => at[step], document);
  expect(holder[last]).not.toEqual(value);
  holder[last] = value;
  const report = await compare(document);
  expect(report.checks - report.agree).toBe(1);
  expect(report.disagreements[0]).toMatchObject({ group, where: expect.stringMatching(where) });
});

test('as many disagreements are kept as were asked for, and all are counted', async () => {
  const document = vectors('iommu-pgsize');
  for (const vector of document.cases.slice(0, 9)) vector.count++;
  const report = await compare(document, 'sizes.json', 2);
  expect(report.disagreements).toHaveLength(2);
  expect(report.differences).toBe(9);
  expect(report.disagreements[0]).toEqual({
    group: 'page sizes',
    where: 'cases[0], bitmap 40201000 iova 22824a892000 pa c861cd77000 size 200000',
    what: 'page size and count',
    expected: '["1000",513]',
    got: '["1000",512]',
  });
});

test('an address beyond the machine is a disagreement, not a crash', async () => {
  const document = vectors('linux-7.2-directed');
  document.sequences.length = 1;
  document.sequences[0].cfg.arena = 'fffffffff001';
  expect((await compare(document)).agree).toBeLessThan((await compare(document)).checks);
});

test.each([
  ['no JSON', '{', /^x\.json: expected a JSON document/],
  ['no document', '[]', /^x\.json: expected an object, got "\[\]"/],
  ['no format', '{}', /^x\.json: format: expected a supported format .*, got no such text$/],
  ['an unknown format', '{"format":"vtd-tables"}', /^x\.json: format: .*, got "vtd-tables": not supported$/],
  ['another version', '{"format":"iommu-pgsize","version":2}', /^x\.json: version: expected 1, got 2$/],
  [
    'a missing field',
    '{"format":"iommu-pgsize","version":1,"cases":[{}]}',
    /^x\.json: cases\[0\]\.pgsize_bitmap: expected a hexadecimal number .*, got no such field$/,
  ],
  [
    'a wrong field',
    '{"format":"smmuv3-nesting","version":1,"vste":[{"in":["0","0x1"]}]}',
    /^x\.json: vste\[0\]\.in\[1\]: expected a hexadecimal number of at most 64 bits, without 0x, got .*0x1/,
  ],
  [
    'a profile of another kernel',
    '{"format":"arm-lpae-vectors","version":1,"profile":"linux-5.0"}',
    /^x\.json: profile: expected one of linux-7\.2, linux-6\.12, got/,
  ],
])('bad input is named: %s', async (_, text, message) => {
  const failure = conformVectors(text, 'x.json', 5);
  await expect(failure).rejects.toThrow(InputError);
  await expect(failure).rejects.toThrow(message);
});

test('every documented format is supported', () => {
  expect(VECTOR_FORMATS).toEqual([
    'arm-lpae-vectors',
    'arm-lpae-configs',
    'iommu-pgsize',
    'smmuv3-commands',
    'smmuv3-entries',
    'smmuv3-transitions',
    'smmuv3-kunit',
    'smmuv3-invalidation',
    'smmuv3-nesting',
  ]);
});
