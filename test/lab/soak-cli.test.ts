/** `postern soak` from its command line: what it counts, how it goes on from a file, and what it says of a bad one. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { profiles } from '#hypercall-abi';
import type { CliIo } from '#lab/cli/command';
import { commands } from '#lab/cli/commands/index';
import { runCommandLine } from '#lab/cli/run';

const folder = mkdtempSync(join(tmpdir(), 'postern-soak-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => {
  vi.restoreAllMocks();
});
const at = (name: string): string => join(folder, name);

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** @param whenRunning is handed the way to stop, as Ctrl-C would */
async function soak(args: readonly string[], whenRunning: (stop: () => void) => void = () => {}): Promise<Outcome> {
  let out = '';
  let err = '';
  const io: CliIo = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    isTty: false,
    columns: 100,
    onInterrupt: (stop) => {
      whenRunning(stop);
      return () => {};
    },
  };
  const code = await runCommandLine({ name: 'postern', version: '0' }, commands, ['soak', ...args], io);
  return { code, out, err };
}

/** What was done, without the time that it took. */
function counts(text: string): Record<string, unknown> {
  const { milliseconds, ...rest } = JSON.parse(text);
  expect(milliseconds).toBeGreaterThanOrEqual(0);
  return rest;
}

test.each(profiles.map(({ name }) => name))('%s: so many calls, and nothing found', async (profile) => {
  const { code, out, err } = await soak(['--profile', profile, '--calls', '400', '--json']);
  const record = counts(out);
  expect(record).toMatchObject({ schema: 'postern/soak/0', profile, machine: 'tiny', seed: 1, found: null });
  expect(record.calls).toBeGreaterThanOrEqual(400);
  expect(record.runs).toBeGreaterThan(0);
  expect(record.runsAccounted).toBe(record.runs);
  expect([code, err]).toEqual([0, '']);
});

test('what it did is told in words', async () => {
  const { code, out } = await soak(['--calls', '300', '--seed', '7', '--machine', 'two-smmus']);
  expect(out).toMatch(/^android17 on two-smmus, seed 7\n {2}hypercalls +[\d,]+ of 300\n/);
  expect(out).toMatch(/violations +none\n/);
  expect(out).toMatch(/balanced and accounted for after (\d+) of \1 runs/);
  expect(code).toBe(0);
});

test('in two parts it does what it does in one', async () => {
  const whole = await soak(['--calls', '900', '--json', '--state', at('whole.json')]);
  const parts = ['--json', '--state', at('parts.json')];
  expect((await soak([...parts, '--calls', '300'])).code).toBe(0);
  const first = counts(readFileSync(at('parts.json'), 'utf8'));
  expect(first.calls).toBeLessThan(900);
  const second = await soak([...parts, '--calls', '900']);
  expect(counts(second.out)).toEqual(counts(whole.out));
  expect(counts(readFileSync(at('parts.json'), 'utf8'))).toEqual(counts(whole.out));
  // All is done: it is told again, and nothing more is made.
  expect(counts((await soak([...parts, '--calls', '900'])).out)).toEqual(counts(whole.out));
});

test('interrupted, it keeps what was done, and goes on from there', async () => {
  const args = ['--json', '--state', at('stopped.json')];
  const stopped = await soak([...args, '--calls', '10000000'], (stop) => setTimeout(stop, 50));
  const record = counts(stopped.out);
  expect(record.found).toBe(null);
  expect(record.runs).toBeGreaterThan(0);
  expect(counts(readFileSync(at('stopped.json'), 'utf8'))).toEqual(record);
  const calls = String(Number(record.calls) + 200);
  const more = await soak([...args, '--calls', calls]);
  expect(counts(more.out)).toEqual(counts((await soak(['--json', '--calls', calls])).out));
});

test('it saves on the way, each time a whole file', async () => {
  // Every look at the clock is eleven seconds after the last.
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => {
    now += 11_000;
    return now;
  });
  const state = at('way.json');
  const seen: number[] = [];
  await soak(['--calls', '10000000', '--state', state], (stop) => {
    const timer = setInterval(() => {
      if (!existsSync(state)) return;
      const { runs } = JSON.parse(readFileSync(state, 'utf8'));
      if (runs !== seen.at(-1)) seen.push(runs);
      if (seen.length < 3) return;
      clearInterval(timer);
      stop();
    });
  });
  expect(seen.length).toBeGreaterThanOrEqual(3);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expect(JSON.parse(readFileSync(state, 'utf8')).runs).toBeGreaterThanOrEqual(seen.at(-1)!);
  expect(readdirSync(folder).filter((name) => name.startsWith('way'))).toEqual(['way.json']);
});

test('a save that was cut off leaves the file before it', async () => {
  const state = at('cut.json');
  await soak(['--calls', '300', '--state', state]);
  const before = counts(readFileSync(state, 'utf8'));
  writeFileSync(`${state}.new`, '{"schema": "postern/so');
  const { code, out } = await soak(['--calls', '600', '--state', state, '--json']);
  expect(code).toBe(0);
  expect(counts(out).runs).toBeGreaterThan(before.runs as number);
  expect(existsSync(`${state}.new`)).toBe(false);
});

test('what was found before is told again, and nothing is made', async () => {
  const state = at('found.json');
  await soak(['--calls', '300', '--state', state]);
  const record = JSON.parse(readFileSync(state, 'utf8'));
  const found = { run: 3, text: 'isolation/given-away: a page', scenario: 'postern scenario v1\n' };
  writeFileSync(state, JSON.stringify({ ...record, found }));
  const { code, out } = await soak(['--calls', '5000', '--state', state]);
  expect(code).toBe(1);
  expect(out).toMatch(/violations +isolation\/given-away: a page\n/);
  expect(out).toContain('postern scenario v1');
});

/** A file that can be gone on with. */
const good = soak(['--calls', '100', '--state', at('good.json')]).then(() => readFileSync(at('good.json'), 'utf8'));

test.each<[what: string, edit: (text: string) => string, message: RegExp]>([
  ['no JSON', (text) => text.slice(0, 40), /the JSON of an earlier soak/],
  ['nothing', () => '', /the JSON of an earlier soak/],
  ['null', () => 'null', /schema.*postern\/soak\/0/],
  ['another schema', (text) => text.replace('soak/0', 'soak/9'), /schema.*postern\/soak\/0.*postern\/soak\/9/],
  ['another seed', (text) => text.replace('"seed": 1', '"seed": 2'), /seed.*1, as asked for.*2/],
  ['another profile', (text) => text.replace('"android17"', '"android16"'), /profile.*android17.*android16/],
  ['another machine', (text) => text.replace('"tiny"', '"mmu700"'), /machine.*tiny.*mmu700/],
  ['another hypervisor', (text) => text.replace(/"hypervisor": "/, '$&not-'), /hypervisor.*not-/],
  ['a count below zero', (text) => text.replace(/"runs": \d+/, '"runs": -1'), /runs.*a count.*-1/],
  ['half a run', (text) => text.replace(/"runs": \d+/, '"runs": 1.5'), /runs.*a count.*1\.5/],
  ['no count', (text) => text.replace(/"calls": \d+,/, ''), /calls.*a count.*nothing/],
  [
    'a state counted in words',
    (text) => text.replace(/("sometimes": \{\s+"[^"]+"): \d+/, '$1: "often"'),
    /sometimes\..*a count.*often/,
  ],
  ['a finding that is none', (text) => text.replace('"found": null', '"found": 5'), /found.*run, text and scenario.*5/],
])('a file with %s is bad input: it is named, with the field, and left as it is', async (what, edit, message) => {
  const state = at(`bad ${what}.json`);
  const edited = edit(await good);
  writeFileSync(state, edited);
  const { code, out, err } = await soak(['--calls', '400', '--state', state]);
  expect([code, out]).toEqual([2, '']);
  expect(err).toContain(state);
  expect(err.replaceAll('\n', ' ')).toMatch(message);
  expect(readFileSync(state, 'utf8')).toBe(edited);
});

test.each([
  ['a folder', 'folder'],
  ['a place that there is not', 'nowhere/soak.json'],
])('%s is no file to keep it in', async (_, name) => {
  mkdirSync(at('folder'), { recursive: true });
  // Before anything is done: so many calls would take hours.
  const { code, err } = await soak(['--calls', '10000000', '--state', at(name)]);
  expect(code).toBe(2);
  expect(err).toContain(at(name));
});

test.each([
  [['--calls', 'many'], /calls/],
  [['--machine', 'huge'], /huge/],
  [['--profile', 'android12'], /android12/],
  [['--seed'], /seed/],
])('%j is bad usage', async (args, message) => {
  const { code, err } = await soak(args);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});
