import { expect, test } from 'vitest';
import { conformDump } from '#lab/conform/dump/conform';
import type { HistoryNumbers } from '#lab/conform/dump/history';
import type { ConformReport } from '#lab/conform/report';
import { parseFixture } from '#lab/fixture/parse';
import { parseTrace } from '#lab/trace/parse';
import { commandQueue, fixtureText, runs, traceText } from './rig.ts';

interface Spoilt {
  readonly fixture?: string;
  readonly commands?: Int32Array | null;
  readonly log?: string | null;
}

/** Compares a run, with some of its files replaced. */
function compare(run: string, { fixture, commands, log }: Spoilt = {}): Promise<ConformReport> {
  const words = commands === undefined ? commandQueue(run) : commands;
  const text = log === undefined ? traceText(run) : log;
  return conformDump(
    parseFixture(fixture ?? fixtureText(run), `${run}.json.gz`),
    { commands: words && { file: 'cmdq', words }, log: text === null ? null : parseTrace(text, 'log') },
    5,
  );
}

function failing(report: ConformReport): Record<string, number> {
  return Object.fromEntries(report.groups.filter((g) => g.agree < g.checks).map((g) => [g.group, g.checks - g.agree]));
}

const history = (report: ConformReport): HistoryNumbers => report.numbers.history as HistoryNumbers;
const noteOf = (report: ConformReport, name: string): string => report.notes.find((n) => n.name === name)?.text ?? '';
const checksOf = (report: ConformReport, group: string): number =>
  report.groups.find((count) => count.group === group)?.checks ?? 0;

/** Mappings, events, commands, removed mappings that were judged, leaves of the tables built anew. */
const RUNS: Readonly<Record<(typeof runs)[number], readonly number[]>> = {
  'strict-vblk': [3, 0, 9573, 4780, 3],
  'strict-all': [856, 12, 4170, 2049, 597],
  'lazy-all': [856, 12, 202, 0, 597],
  'passthrough-all': [0, 0, 22, 0, 0],
  'strict-qtrace': [856, 12, 1998, 963, 597],
  'strict-unbind': [6, 0, 2309, 1132, 5],
  'lazy-large-smp2': [568, 0, 1249, 0, 0],
  's2-strict': [857, 12, 5182, 2560, 598],
  'k612-nested-strict': [857, 16, 5020, 2469, 598],
  'k72-s2-strict': [437, 24, 4910, 2433, 437],
};

test.each(runs)('%s: mappings, events and the whole command history agree', async (run) => {
  const report = await compare(run);
  expect(report.disagreements).toEqual([]);
  expect(report.agree).toBe(report.checks);
  expect([
    checksOf(report, 'mappings by the SMMU model'),
    checksOf(report, 'events by the SMMU model'),
    checksOf(report, 'commands the SMMU model accepts'),
    checksOf(report, 'removed mappings gone from the caches'),
    checksOf(report, 'mappings rebuilt from the log'),
  ]).toEqual(RUNS[run]);
  expect(checksOf(report, 'mappings by the oracle’s walker')).toBe(RUNS[run][0]);
  expect(checksOf(report, 'events by the oracle’s walker')).toBe(RUNS[run][1]);
  // How long a removed mapping may still be cached: not at all in a strict run.
  if (run.includes('strict')) expect(history(report).window).toMatchObject({ left: 0, operations: { max: 0 } });
  if (run === 'lazy-all') {
    const { removed, mostMappings, operations, left } = history(report).window;
    expect([removed, mostMappings, operations, left]).toEqual([2035, 152, { median: 74, max: 299 }, 0]);
    expect(noteOf(report, 'window')).toContain('at most 152 removed mappings (512 pages at most) may still be cached');
    expect(noteOf(report, 'deviation')).toBe('CLASS left 0 in 12 events (QEMU 7.2)');
  }
  if (run === 'lazy-large-smp2') expect(noteOf(report, 'history')).toContain('without cmdlist lines');
});

const RUN = 'strict-unbind';

/** Changes one page of a fixture. */
function spoilPage(run: string, kind: string, change: (words: Int32Array) => boolean): string {
  const document = JSON.parse(fixtureText(run));
  for (const page of Object.values<{ kind: string; b64: string }>(document.pages)) {
    if (page.kind !== kind) continue;
    const bytes = Buffer.from(page.b64, 'base64');
    const words = new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    if (!change(words)) continue;
    page.b64 = Buffer.from(words.buffer).toString('base64');
    return JSON.stringify(document);
  }
  throw new Error(`no ${kind} to spoil`);
}

test('one bit of a leaf descriptor: both walkers disagree with the log, and so do the tables built anew', async () => {
  const fixture = spoilPage(RUN, 'pt-l3', (words) => {
    const i = words.findIndex((word) => (word & 0xfff) === 0xf47);
    if (i >= 0) words[i]! ^= 0x1000;
    return i >= 0;
  });
  const report = await compare(RUN, { fixture });
  expect(failing(report)).toMatchObject({
    'mappings by the oracle’s walker': 1,
    'mappings by the SMMU model': 1,
    'mappings rebuilt from the log': 1,
  });
  expect(report.disagreements[0]).toMatchObject({ what: 'physical address' });
});

test('a permission that the log does not have', async () => {
  const document = JSON.parse(fixtureText('s2-strict'));
  const mapping = document.expected.find(({ prot }: { prot: number | null }) => prot === 7);
  mapping.prot = 5;
  expect(failing(await compare('s2-strict', { fixture: JSON.stringify(document), commands: null }))).toEqual({
    'mappings by the oracle’s walker': 1,
    'mappings by the SMMU model': 1,
  });
});

test('a mapping that the log does not know', async () => {
  const document = JSON.parse(fixtureText(RUN));
  document.expected.pop();
  const report = await compare(RUN, { fixture: JSON.stringify(document), commands: null });
  expect(failing(report)).toEqual({ 'streams without further mappings': 1 });
  expect(noteOf(report, 'commands')).toBe('no command history: nothing to compare');
});

test('one bit of an event record', async () => {
  const document = JSON.parse(fixtureText('strict-qtrace'));
  document.evtq[3][1] = '0x0000001800000000';
  expect(failing(await compare('strict-qtrace', { fixture: JSON.stringify(document), commands: null }))).toEqual({
    'events by the SMMU model': 1,
  });
});

/** Index of the nth command with an opcode. */
function nth(commands: Int32Array, opcode: number, n: number): number {
  let seen = 0;
  for (let i = 0; i < commands.length; i += 4) if ((commands[i]! & 0xff) === opcode && seen++ === n) return i;
  throw new Error('no such command');
}

test('an invalidation of another page leaves its mapping in the caches, and is not what the log says', async () => {
  const commands = commandQueue(RUN);
  commands[nth(commands, 0x12, 500) + 2]! ^= 0x100000;
  const report = await compare(RUN, { commands });
  expect(failing(report)).toMatchObject({
    'submissions in the log': 1,
    'removed mappings gone from the caches': 1,
  });
  expect(history(report).window.operations.max).toBeGreaterThan(0);
});

test('a missing SYNC is missed', async () => {
  const commands = commandQueue(RUN);
  commands[nth(commands, 0x12, 700) + 4] = 0x01;
  expect(failing(await compare(RUN, { commands }))).toMatchObject({ 'removed mappings gone from the caches': 1 });
});

test('commands that are none, or illegal, are reported, and the rest is still consumed', async () => {
  const commands = commandQueue(RUN);
  commands[4 * 30] = 0x99;
  commands[nth(commands, 0x46, 40)]! |= 0x3000;
  const report = await compare(RUN, { commands, log: null });
  expect(failing(report)).toEqual({ 'commands decoded': 1, 'commands the SMMU model accepts': 2 });
  expect(checksOf(report, 'commands the SMMU model accepts')).toBeGreaterThanOrEqual(2309);
  expect(noteOf(report, 'history')).toBe('no log: commands decoded and consumed, not aligned');
});

const withoutLists = (text: string): string => text.replace(/^.*cmdlist:.*\n/gm, '');

test('a strict log without cmdlist lines is aligned by its unmaps, and the report says so', async () => {
  const log = withoutLists(traceText(RUN));
  const report = await compare(RUN, { log });
  expect([report.agree, report.numbers.alignedBy]).toEqual([report.checks, 'unmaps']);
  expect(checksOf(report, 'removed mappings gone from the caches')).toBe(1132);
  expect(noteOf(report, 'history')).toContain('aligned with the log by the order of its unmaps');
  const commands = commandQueue(RUN);
  commands[nth(commands, 0x12, 500) + 2]! ^= 0x100000;
  expect(failing(await compare(RUN, { log, commands }))).toMatchObject({ 'removed mappings gone from the caches': 1 });
});

test('a line of the log that is not there', async () => {
  const lines = traceText(RUN).split('\n');
  const at = lines.findIndex((line, i) => i > 3000 && line.includes('pg_unmap'));
  const unmap = /iova=(0x[0-9a-f]+)/.exec(lines[at]!)![1]!;
  const log = lines.filter((line, i) => i < at || i > at + 1 || !line.includes(unmap.slice(2))).join('\n');
  const report = await compare(RUN, { log });
  expect(report.agree).toBeLessThan(report.checks);
});

test('a flush that is left out: addresses are used again while they may still be cached', async () => {
  const commands = commandQueue('lazy-all');
  const at = nth(commands, 0x11, 12);
  commands[at] = 0x01;
  const report = await compare('lazy-all', { commands });
  expect(failing(report)).toMatchObject({ 'submissions in the log': 1, maps: expect.any(Number) });
  expect(report.disagreements.find(({ group }) => group === 'maps')?.got).toMatch(
    /^may still be cached since line \d+$/,
  );
});
