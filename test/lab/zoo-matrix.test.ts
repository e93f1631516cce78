/** The detection matrix: engines, trials and their file, statistics, reports, and the command that makes it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { zooCommand } from '#lab/cli/commands/zoo';
import { runCommandLine } from '#lab/cli/run';
import { parseScenario, runScenario } from '#lab/scenario/index';
import type { Engine } from '#lab/zoo/engine';
import { engineNamed, engineNames } from '#lab/zoo/engines';
import { cardOf, cards, hypervisorByIdentity } from '#lab/zoo/index';
import { matrixOf, spreadOf } from '#lab/zoo/matrix';
import { outOfScope } from '#lab/zoo/out-of-scope';
import { type MatrixInfo, matrixHtml, matrixMarkdown } from '#lab/zoo/report';
import { parseTrials, TRIAL_HEADER, type Trial, trialLine } from '#lab/zoo/trial';
import { scenarios } from '#scenarios';

/** A clock that shows the same time for ever: hunts end by what they find. */
const still = (): number => 0;
const budget = { cpuSeconds: 1 };

function trial(changes: Partial<Trial> = {}): Trial {
  return {
    card: 'Z14',
    engine: 'random',
    seed: 1,
    budget: 60,
    censored: false,
    property: 'invalidation',
    rule: 'released-early',
    runs: 2,
    calls: 168,
    cpuSeconds: 0.25,
    steps: 5,
    ...changes,
  };
}

// ---- engines

test('the random engine finds a defect from card and seed alone, and what it reports can be replayed', () => {
  const engine = engineNamed('random', still);
  const result = engine.hunt(cardOf('Z23'), 1, budget);
  expect(engineNamed('random', still).hunt(cardOf('Z23'), 1, budget)).toEqual(result);
  expect(result.detection).toMatchObject({ property: 'refcount', rule: 'dropped-while-mapped' });
  expect(result.detection!.steps).toBeLessThan(6);
  const scenario = parseScenario(result.detection!.scenario);
  expect(scenario).toMatchObject({ hypervisor: 'postern+Z23', profile: 'android17', machine: 'tiny' });
  expect(runScenario(scenario, { hypervisors: hypervisorByIdentity }).ok).toBe(true);
});

test('an engine stops when its budget is used up', () => {
  let seconds = 0;
  const engine = engineNamed('random', () => seconds++);
  const result = engine.hunt(cardOf('Z03a'), 1, { cpuSeconds: 5 });
  expect(result).toMatchObject({ detection: null, cpuSeconds: 5, runs: 5 });
});

test('the directed engine sees each defect that has a scenario, and says why it cannot see the others', () => {
  const engine = engineNamed('directed', still);
  for (const card of cards) {
    const limit = engine.limit(card);
    expect(limit === null, `${card.id}: ${limit}`).toBe(Object.hasOwn(scenarios, card.id));
    if (limit !== null) expect(limit).toContain('two CPUs are in the middle of calls');
  }
  const { detection, calls } = engine.hunt(cardOf('Z18'), 1, budget);
  expect(detection).toMatchObject({ property: 'lock', steps: 2 });
  expect(calls).toBe(2);
});

test('an unknown engine is refused with those there are', () => {
  expect(() => engineNamed('magic', still)).toThrow(`expected one of ${engineNames.join(', ')}, got "magic"`);
});

// ---- trials and their file

test('trials survive their file', () => {
  const number = fc.nat({ max: 10 ** 9 });
  const some = fc.record({ seed: number, runs: number, calls: number, cpuSeconds: fc.float({ min: 0, noNaN: true }) });
  fc.assert(
    fc.property(fc.array(some), fc.boolean(), (changes, censored) => {
      const trials = changes.map((change) => trial({ ...change, censored }));
      const text = [TRIAL_HEADER, ...trials.map(trialLine), ''].join('\n');
      expect(parseTrials(text, 'raw.csv')).toEqual(trials);
      expect(parseTrials(text.replaceAll('\n', '\r\n'), 'raw.csv')).toEqual(trials);
    }),
    { seed: 1 },
  );
});

test('the line in which a soak was killed is left out', () => {
  const text = `${TRIAL_HEADER}\n${trialLine(trial())}\n${trialLine(trial({ seed: 2 })).slice(0, 20)}`;
  expect(parseTrials(text, 'raw.csv')).toEqual([trial()]);
});

test.each([
  ['another header', 'card,seed\n', /raw\.csv:1: expected card,engine/],
  ['a line that is too short', `${TRIAL_HEADER}\nZ14,random\n`, /raw\.csv:2: expected 11 fields, got 2/],
  [
    'a word for a number',
    `${TRIAL_HEADER}\n${trialLine(trial()).replace(',168,', ',many,')}\n`,
    /raw\.csv:2: calls: expected a number from 0, got "many"/,
  ],
])('a file with %s is refused', (_, text, message) => {
  expect(() => parseTrials(text, 'raw.csv')).toThrow(message);
});

// ---- statistics

test('a median stands between order statistics that enclose it with 95 percent confidence', () => {
  const twenty = Array.from({ length: 20 }, (_, i) => 20 - i);
  // Of 20 values the 6th and the 15th do: 5 or fewer lie below the median with a probability of 2 percent.
  expect(spreadOf(twenty)).toEqual({ median: 10.5, low: 6, high: 15 });
  expect(spreadOf([3])).toEqual({ median: 3, low: 3, high: 3 });
  expect(spreadOf([4, 2])).toEqual({ median: 3, low: 2, high: 4 });
  expect(spreadOf([])).toBeNull();
});

test('hunts that found nothing count as longer than any that did', () => {
  const beyond = Number.POSITIVE_INFINITY;
  expect(spreadOf([1, 2, 3, beyond])).toEqual({ median: 2.5, low: 1, high: null });
  expect(spreadOf([1, beyond, beyond])).toBeNull();
});

// ---- the matrix and its reports

const engine = (name: string, limit: string | null = null): Engine => ({
  name,
  describe: `the engine ${name}`,
  limit: () => limit,
  hunt: () => ({ detection: null, runs: 0, calls: 0, cpuSeconds: 0 }),
});

const info: MatrixInfo = {
  date: '2026-11-20',
  version: '1.2.3',
  firstSeed: 1,
  seeds: 3,
  budget: 60,
  engines: [engine('random'), engine('slow', 'it is asleep')],
  done: 3,
  total: 3,
};

const none = { censored: true, property: '', rule: '', steps: 0, cpuSeconds: 60 };

test('a row counts the hunts of its card, and tells properties by how often they came first', () => {
  const trials = [
    trial(),
    trial({ seed: 2, property: 'refcount', steps: 4, cpuSeconds: 0.75 }),
    trial({ seed: 3, ...none }),
    trial({ card: 'Z23', seed: 3 }),
  ];
  const [row] = matrixOf([cardOf('Z14')], info.engines, trials);
  expect(row!.cells[0]).toMatchObject({ hunts: 3, found: 2, properties: ['invalidation', 'refcount'], steps: 4 });
  expect(row!.cells[0]!.seconds).toEqual({ median: 0.75, low: 0.25, high: null });
  expect(row!.cells[1]).toMatchObject({ hunts: 0, found: 0, limit: 'it is asleep', seconds: null, steps: null });
});

test('reports name what was found, what was not and why, and what is not in the zoo', () => {
  const trials = [trial(), trial({ seed: 2 }), trial({ seed: 3, ...none })];
  const rows = matrixOf([cardOf('Z14')], info.engines, trials);
  const markdown = matrixMarkdown(rows, info);
  expect(markdown).toContain('Postern 1.2.3, 2026-11-20; seeds 1 to 3; at most 60 s of CPU time');
  expect(markdown).toContain(
    '| 2/3, invalidation, 168 calls, 0.25 s (0.25 to beyond), 5 steps | not found: cannot be |',
  );
  expect(markdown).toContain('| Z14 | random | the budget ended 1 of 3 hunts |');
  expect(markdown).toContain('| Z14 | slow | it is asleep |');
  expect(markdown).toContain('| invalidation | Z14 |  |');
  for (const { id, title, cves, reason } of outOfScope) {
    expect(markdown).toContain(`| ${id} | ${[title, ...cves].join(', ')} | ${reason} |`);
  }
  const html = matrixHtml(rows, { ...info, version: '<1>', done: 2 });
  expect(html).toContain('Postern &lt;1&gt;');
  expect(html).toContain('Interrupted: 2 of 3 hunts are done.');
  expect(html).toContain('<td class="missed">not found: cannot be</td>');
  expect(html).toContain('<td class="found">2/3, invalidation');
});

test('what is out of scope has no card', () => {
  const ids = new Set(cards.map(({ id }) => id));
  for (const { id } of outOfScope) expect(ids.has(id)).toBe(false);
});

// ---- the command

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const io = {
    out: (text: string) => {
      said.out += text;
    },
    err: (text: string) => {
      said.err += text;
    },
    isTty: false,
    columns: 80,
    onInterrupt: () => () => {},
  };
  const code = await runCommandLine({ name: 'postern', version: '0' }, [zooCommand], ['zoo', ...argv], io);
  return { code, ...said };
}

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'postern-zoo-'));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

test('the list has every card, and what is left out', async () => {
  const { code, out } = await run('list');
  expect(code).toBe(0);
  for (const { id, title } of cards) expect(out).toMatch(new RegExp(`^${id} .*${title.replace(/[()]/g, '.')}$`, 'm'));
  for (const { id, title, reason } of outOfScope) expect(out).toContain(`${id}  ${title}. ${reason}`);
  const { cards: told } = JSON.parse((await run('list', '--json')).out);
  expect(told.map(({ id }: { id: string }) => id)).toEqual(cards.map(({ id }) => id));
});

test('a card is shown with its story, the change of the source and the scenario', async () => {
  const { code, out } = await run('show', 'Z25');
  expect(code).toBe(0);
  expect(out).toContain('Z25: Old translations survive a power cycle');
  expect(out).toContain('repaired by a published commit, 831624e6e530');
  expect(out).toContain('-  if (result === 0) result = yield* issueCommand(h, smmu, 0, CMD_TLBI_NSNH_ALL, 0, 0);');
  expect(out).toContain(scenarios.Z25!.trimEnd());
  expect((await run('show', 'Z25', '--scenario')).out).toBe(scenarios.Z25);
  expect((await run('show', 'Z25', '--diff')).out).toMatch(/^--- a\/hyp\/smmu\.ts\n/);
  expect(JSON.parse((await run('show', 'Z25', '--json')).out)).toMatchObject({ card: { id: 'Z25' } });
  expect((await run('show', 'Z65')).out).toContain('@cpu1:2 map_pages domain=256');
});

test.each([
  [['show'], 'zoo show needs the id of a defect'],
  [['show', 'Z99'], 'expected a defect, one of Z01a'],
  [['list', 'Z14'], 'zoo list takes no defect'],
  [['feed'], 'expected list, show or nothing, got "feed"'],
  [['--cards', 'Z14,Z98'], 'expected a defect, one of Z01a'],
  [['--engine', 'magic'], 'expected one of directed, random, fuzz'],
  [['--seeds', '0'], '--seeds: expected at least 1'],
  [['--jobs', '0'], '--jobs: expected at least 1'],
])('%j is refused', async (argv, message) => {
  const { code, err } = await run(...argv);
  expect(code).toBe(2);
  expect(err).toContain(message);
});

test('a matrix is made once: what is in the file is not hunted again', async () => {
  const csv = join(folder(), 'raw.csv');
  const html = join(folder(), 'matrix.html');
  const hunts = ['--cards', 'Z04,Z18', '--engine', 'directed,random', '--csv', csv];
  const options = [...hunts, '--json'];
  const first = await run(...options, '--seeds', '2');
  expect(first.code).toBe(0);
  const told = JSON.parse(first.out);
  expect(told).toMatchObject({ seeds: 2, done: 8, total: 8 });
  expect(told.rows.map(({ card }: { card: string }) => card)).toEqual(['Z04', 'Z18']);
  expect(told.rows[1].cells[0]).toMatchObject({ engine: 'directed', hunts: 2, found: 2, properties: ['lock'] });
  expect(told.rows[1].cells[0].scenario).toBe(scenarios.Z18);
  const lines = readFileSync(csv, 'utf8');
  expect(lines.split('\n').length).toBe(10);
  // What a kill leaves behind, and one seed more.
  writeFileSync(csv, lines.slice(0, -9));
  const again = await run(...hunts, '--seeds', '3', '--html', html);
  expect(again.code).toBe(0);
  expect(again.out).toContain('| Z18 | An error path keeps a lock | android17, tiny | 3/3, lock,');
  expect(readFileSync(html, 'utf8')).toContain('An error path keeps a lock');
  const after = readFileSync(csv, 'utf8').split('\n');
  expect(after.slice(0, 8)).toEqual(lines.split('\n').slice(0, 8));
  expect(after.length).toBe(14);
});

test('a defect that is not found makes the answer inconclusive', async () => {
  const { code, out } = await run('--cards', 'Z03a', '--engine', 'random', '--seconds', '0');
  expect(code).toBe(3);
  expect(out).toContain('| Z03a | random | the budget ended 1 of 1 hunts |');
});

test('a file with hunts of another budget is refused', async () => {
  const csv = join(folder(), 'raw.csv');
  writeFileSync(csv, `${TRIAL_HEADER}\n${trialLine(trial({ budget: 5 }))}\n`);
  const { code, err } = await run('--cards', 'Z14', '--csv', csv);
  expect(code).toBe(2);
  expect(err).toContain('raw.csv:2: budget: expected 60, as asked for (or another file), got 5');
});
