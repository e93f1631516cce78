import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { CliIo } from '#lab/cli/command';
import { commands } from '#lab/cli/commands/index';
import { runCommandLine } from '#lab/cli/run';
import { FuzzTarget, FuzzViolation, fuzzOne } from '../../lab/fuzz/target.ts';
import { parseScenario } from '../../lab/scenario/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => join(folder, ...names);

async function postern(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
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
    onInterrupt: () => () => {},
  };
  const code = await runCommandLine({ name: 'postern', version: '0' }, commands, argv, io);
  return { code, out, err };
}

test('the canary is found: its files tell, replay and shrink it', async () => {
  const { code, out } = await postern('fuzz', '--hypervisor', 'postern+Z14', '--runs', '200', '-o', at('canary'));
  expect(code).toBe(1);
  expect(out).toContain('violation of invalidation (released-early) at unmap_pages');
  const names = readdirSync(at('canary', 'findings')).toSorted();
  const base = 'invalidation.released-early.unmap_pages';
  expect(names).toEqual([`${base}.input`, `${base}.json`, `${base}.md`, `${base}.scenario`]);
  const scenario = at('canary', 'findings', `${base}.scenario`);
  expect((await postern('replay', scenario)).code).toBe(0);
  const shrunk = await postern('shrink', scenario, '--json');
  expect(shrunk.code).toBe(0);
  const { stepsAfter } = JSON.parse(shrunk.out);
  expect(stepsAfter).toBe(parseScenario(readFileSync(scenario, 'utf8'), base).steps.length - 1);
  const stats = JSON.parse(readFileSync(at('canary', 'stats.json'), 'utf8'));
  expect(stats).toMatchObject({ schema: 'postern/fuzz-stats/0', hypervisor: 'postern+Z14', seed: 1 });
});

test('the correct hypervisor gives no alarm, and the same options the same run', async () => {
  const run = async (...more: string[]): Promise<unknown> => {
    const { code, out } = await postern('fuzz', '--runs', '300', '--seed', '5', '--json', ...more);
    expect(code).toBe(0);
    const { seconds: _, callsPerSecond: __, ...rest } = JSON.parse(out);
    return rest;
  };
  const whole = (await run('-o', at('whole'))) as { runs: number; findings: unknown[]; neverHit: string[] };
  expect(whole).toMatchObject({ runs: 300, findings: [], ended: 'over' });
  expect(whole.neverHit).toContain('boot/refused');
  expect(await run()).toEqual(whole);
});

test('a run in two parts is the run in one', async () => {
  const state = (name: string): unknown => {
    const { seconds: _, ...rest } = JSON.parse(readFileSync(at(name, 'state.json'), 'utf8'));
    return rest;
  };
  expect((await postern('fuzz', '--runs', '256', '--seed', '5', '-o', at('parts'))).code).toBe(0);
  expect((await postern('fuzz', '--resume', '-o', at('parts'), '--runs', '300')).code).toBe(0);
  expect(state('parts')).toEqual(state('whole'));
  expect(readdirSync(at('parts', 'queue'))).toEqual(readdirSync(at('whole', 'queue')));
  expect(readFileSync(at('parts', 'plot.csv'), 'utf8').trim().split('\n')).toHaveLength(3);
});

test('a corpus is minimized without losing what it shows, and is a beginning for another run', async () => {
  const { code, out } = await postern('corpus', 'minimize', at('whole'), '-o', at('small'), '--json');
  expect(code).toBe(0);
  const small = JSON.parse(out);
  expect(small.inputs).toBeLessThanOrEqual(small.inputsBefore);
  const again = JSON.parse((await postern('corpus', 'merge', at('whole'), at('small'), '-o', at('all'), '--json')).out);
  expect([again.edges, again.states, again.rows]).toEqual([small.edges, small.states, small.rows]);
  expect(again.inputsBefore).toBe(small.inputsBefore + small.inputs);
  expect(again.inputs).toBe(small.inputs);
  const begun = await postern('fuzz', '--runs', '1', '--corpus', at('small'), '-o', at('begun'), '--json');
  expect(JSON.parse(begun.out).corpus).toBeGreaterThanOrEqual(small.inputs);
  const resumed = await postern('fuzz', '--resume', '-o', at('begun'), '--runs', '2', '--json');
  expect([resumed.err, JSON.parse(resumed.out)]).toMatchObject(['', { runs: 2 }]);
});

test('a run begins where a scenario ends', async () => {
  const path = at('start.scenario');
  const head = 'postern scenario v1\nprofile android17\nmachine tiny\nhypervisor postern\n\n';
  writeFileSync(path, `${head}@cpu0 topup iommu 5\n@cpu0 alloc_domain domain=d1 type=s1 -> 0\n`);
  const { code, out } = await postern('fuzz', '--from', path, '--hypervisor', 'postern+Z23', '--runs', '400', '--json');
  expect(code).toBe(1);
  const [finding] = JSON.parse(out).findings;
  expect(finding.property).toBe('refcount');
  expect(finding.scenario).toContain('topup iommu');
});

test.each([
  [['--weights', 'mop=3'], "--weights: there is no step 'mop'; there are alloc-domain"],
  [['--weights', 'map'], "--weights: expected NAME=WEIGHT such as map=40, got 'map'"],
  [['--calls', 'map_page'], "--calls: android17 has no call 'map_page'; there are "],
  [['--feedback', 'luck'], "--feedback: expected edges, states, rows (a,b), or none, got 'luck'"],
  [['--require', 'luck'], "--require: nothing is called 'luck'; there are rows"],
  [['--twin', '--interleave'], '--twin and --interleave: two machines in lock step'],
  [['--interleave', '--profile', 'rfc-v1'], '--interleave: not under rfc-v1: '],
  [['--shard', '3/2'], "--shard: expected i/n with i from 1 to n, and n at most 1024, got '3/2'"],
  [['--max-steps', '0'], '--max-steps: expected a number from 1 to 100000, got 0'],
  [['--resume'], '--resume needs -o: the folder of the run to go on with'],
  [['--hypervisor', 'postern+Z0'], 'hypervisor: expected a defect, one of Z01a'],
])('%j is refused', async (args, message) => {
  const { code, err } = await postern('fuzz', '--runs', '1', ...args);
  expect(err).toContain(message);
  expect(code).toBe(2);
});

test('a run that never reached what it had to reach is inconclusive', async () => {
  const { code, out } = await postern('fuzz', '--runs', '2', '--calls', 'alloc_domain', '--require', 'unmap_pages/ok');
  expect(out).toContain('missing     unmap_pages/ok: required, and never reached');
  expect(code).toBe(3);
});

test('a folder with a run in it is not overwritten, and one without is not resumed', async () => {
  const taken = await postern('fuzz', '--runs', '1', '-o', at('whole'));
  expect([taken.code, taken.err]).toEqual([2, expect.stringContaining('expected a folder without a run')]);
  const none = await postern('fuzz', '--resume', '-o', at('nowhere'));
  expect([none.code, none.err]).toEqual([2, expect.stringContaining('no state.json')]);
  for (const other of [
    ['--calls', 'map_pages'],
    ['--seed', '1'],
    ['--max-steps', '9'],
    ['-j', '2'],
    ['--keep-going'],
  ]) {
    const { code, err } = await postern('fuzz', '--resume', '-o', at('whole'), ...other);
    expect([code, err]).toEqual([2, expect.stringContaining('a resumed run has the options')]);
  }
});

test('two machines that differ in a secret look the same to the host', async () => {
  const { code, out } = await postern('fuzz', '--twin', '--runs', '60', '--json');
  expect([code, JSON.parse(out).findings]).toEqual([0, []]);
});

test('bytes in a file are run', async () => {
  const input = at('canary', 'findings', 'invalidation.released-early.unmap_pages.input');
  const found = await postern('replay', '--raw', input, '--hypervisor', 'postern+Z14');
  expect([found.code, found.out]).toEqual([1, expect.stringContaining('# violation of invalidation (released-early)')]);
  const silent = await postern('replay', '--raw', input, '--json');
  expect(silent.code).toBe(0);
  expect(JSON.parse(silent.out)).toMatchObject({ schema: 'postern/raw-run/0', violation: null });
  const wrong = await postern('replay', '--raw', input, '--story');
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining('--story does not apply to bytes')]);
});

test('any bytes are an input; a violation is an error that carries its scenario', () => {
  fuzzOne(new Uint8Array(0));
  fuzzOne(new Uint8Array(100).fill(0xff));
  fuzzOne(Uint8Array.from({ length: 999 }, (_, i) => (i * 73) % 251));
  const target = new FuzzTarget({ hypervisor: 'postern+Z14' });
  const input = readFileSync(at('canary', 'findings', 'invalidation.released-early.unmap_pages.input'));
  try {
    target.run(input);
    expect.unreachable('the canary was not found');
  } catch (error) {
    if (!(error instanceof FuzzViolation)) throw error;
    expect(error.violation.property).toBe('invalidation');
    expect(parseScenario(error.text, 'raw').steps.at(-1)).toMatchObject({ kind: 'expect', property: 'invalidation' });
  }
});
