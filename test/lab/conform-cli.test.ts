import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import type { CliIo } from '#lab/cli/command';
import { conformCommand } from '#lab/cli/commands/conform';
import { runCommandLine } from '#lab/cli/run';
import { rigPath, vectors } from './rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-conform-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function conform(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const io: CliIo = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    isTty: false,
    columns: 100,
    onInterrupt: () => () => {},
  };
  const program = { name: 'postern', version: '1.2.3' };
  const code = await runCommandLine(program, [conformCommand], ['conform', ...argv], io);
  return { code, out: out.join(''), err: err.join('') };
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const vectorPath = (name: string): string => join(import.meta.dirname, '..', 'fixtures', 'vectors', `${name}.json.gz`);

test('vectors: several files, each with its count, and the sum', async () => {
  const { code, out, err } = await conform('vectors', vectorPath('iommu-pgsize'), vectorPath('smmuv3-kunit'));
  expect([code, err]).toEqual([0, '']);
  expect(out).toMatch(/^\S+iommu-pgsize\.json\.gz: 540 of 540 agree\n/);
  expect(out).toMatch(/\n2 files: 581 of 581 agree\n$/);
});

test('disagreements are shown in full, as many as asked for, and end with 1', async () => {
  const document = vectors('iommu-pgsize');
  for (const vector of document.cases.slice(0, 4)) vector.count++;
  const path = file('spoilt.json', JSON.stringify(document));
  const text = await conform('vectors', path, '--max', '1');
  expect(text.code).toBe(1);
  expect(text.out).toContain('spoilt.json: 536 of 540 agree');
  expect(text.out).toContain(
    '  1. page sizes: cases[0], bitmap 40201000 iova 22824a892000 pa c861cd77000 size 200000\n',
  );
  expect(text.out).toContain('       expected ["1000",513]\n       got      ["1000",512]\n');
  expect(text.out).toMatch(/\n {2}and 3 more \(--max shows more of them\)\n$/);
  const json = await conform('vectors', path, '--max', '0x2', '--json');
  expect(json.code).toBe(1);
  const printed = JSON.parse(json.out);
  expect(printed).toMatchObject({ schema: 'postern/conform/1', agree: 536, checks: 540 });
  expect(printed.reports[0]).toMatchObject({ kind: 'vectors', differences: 4, files: [path] });
  expect(printed.reports[0].disagreements).toHaveLength(2);
});

test('a file that holds nothing to compare is inconclusive', async () => {
  const path = file('empty.json', JSON.stringify({ format: 'iommu-pgsize', version: 1, cases: [] }));
  expect((await conform('vectors', path)).code).toBe(3);
});

test('dump: takes the log and the commands that lie beside the fixture, or those it is given', async () => {
  const run = rigPath('passthrough-all');
  const beside = await conform('dump', `${run}.json.gz`);
  expect(beside.code).toBe(0);
  expect(beside.out).toContain('commands the SMMU model accepts');
  expect(beside.out).toContain('aligned with the log by its cmdlist lines');
  const alone = join(folder, 'alone.json.gz');
  copyFileSync(`${run}.json.gz`, alone);
  expect((await conform('dump', alone)).out).toContain('no command history');
  const given = await conform('dump', alone, '--cmdq', `${run}.cmdq.bin.gz`, '--log', `${run}.trace.txt.gz`);
  expect(given.out.replaceAll(alone, `${run}.json.gz`)).toBe(beside.out);
});

test('qtrace: a trace cut short is no longer that of the dump', async () => {
  const trace = file('short.txt', 'smmuv3_read_mmio addr: 0x0 val:0xd40101a size: 0x4(0)\nsmmu_unheard_of 1\n');
  const { code, out } = await conform('qtrace', trace, rigPath('strict-qtrace.json.gz'));
  expect(code).toBe(1);
  expect(out).toContain('unknown lines');
  expect(out).toContain('smmu_unheard_of 1');
});

test.each([
  ['what is no form', ['frobs', 'a'], /conform frobs: expected one of vectors, dump, qtrace/],
  ['no file', ['vectors'], /conform vectors: which file\?/],
  ['a file that is not there', ['vectors', 'none.json'], /none\.json: expected a file, got nothing of that name/],
  ['one file for qtrace', ['qtrace', 'a'], /conform qtrace: expected TRACE FIXTURE/],
  ['one log for two fixtures', ['dump', 'a', 'b', '--log', 'c'], /--log and --cmdq belong to one fixture/],
  [
    'a fixture that is none',
    ['dump', vectorPath('iommu-pgsize')],
    /format: expected "smmuv3-rig\/1", got "iommu-pgsize"/,
  ],
  [
    'a stage-2 trace',
    ['qtrace', rigPath('strict-qtrace.qemu-trace.txt.gz'), rigPath('s2-strict.json.gz')],
    /s2-strict\.json\.gz: streams\[0\]\.config: expected 5: traces of stage-1 streams .*, got 6/,
  ],
  [
    'half a command',
    ['dump', rigPath('passthrough-all.json.gz'), '--cmdq', file('half', gzipSync('1234'))],
    /half: expected whole commands of 16 bytes, got 4 bytes/,
  ],
])('bad use and bad input end with 2: %s', async (_, argv, message) => {
  const { code, err } = await conform(...argv);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});
