/** Scenarios in the forms of other tools: each is read by what it is for, as far as that is here. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { transform } from 'sucrase';
import { afterAll, expect, test } from 'vitest';
import * as lab from '#lab';
import { replayCommand } from '#lab/cli/commands/replay';
import { runCommandLine } from '#lab/cli/run';
import { attackScenario } from '#lab/demo/attack';
import { parseScenario, type Scenario } from '#lab/scenario/index';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { chromeTrace, EMIT_KINDS, emit, filmOf } from '../../lab/emit/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-emit-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const attack = parseScenario(attackScenario, 'attack');
const broken: Scenario = { ...attack, hypervisor: 'postern+Z14' };
const scheduled = parseScenario(`postern scenario v1
profile android17
machine tiny
hypervisor postern
title Two calls at once
@cpu0 topup iommu 8 -> 0
@cpu0:4 alloc_domain domain=d1 type=s1 -> 0
@cpu1 host_share_hyp pfn=page:a -> 0
@cpu0:end
disk read 0x1000 -> fault C_BAD_STE
`);
const made = (kind: keyof typeof EMIT_KINDS, scenario: Scenario = attack): string =>
  emit(kind, scenario, hypervisorByIdentity(scenario.hypervisor));

async function postern(args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    isTty: false,
    columns: 100,
    onInterrupt: () => () => {},
  };
  const code = await runCommandLine({ name: 'postern', version: '0' }, [replayCommand], args, io);
  return { code, out, err };
}

test('a film has a frame for boot and one for each step, and tells what each left behind', () => {
  const film = filmOf(attack, hypervisorByIdentity('postern'));
  expect(film.frames.map(({ number }) => number)).toEqual(Array.from({ length: 18 }, (_, i) => i));
  const unmap = film.frames[13]!;
  expect(unmap.commands.map(({ text }) => text.split(' ')[0])).toEqual(['TLBI_NH_VA', 'SYNC']);
  expect(unmap.passed[0]).toMatch(/^old leaf of IOVA 0x10000, .*leads to page secret/);
  expect(unmap.held).toEqual([]);
  const owner = (frame: number): string | undefined =>
    film.frames[frame]!.pages.find(({ name }) => name === 'secret')?.owner;
  expect([owner(13), owner(14)]).toEqual(['host', 'guest']);
  const pages = film.frames.map(({ memory }) => memory.reduce((sum, run) => sum + run.pages, 0));
  expect(new Set(pages)).toEqual(new Set([1024]));
});

test('the trace of Chrome is ordered, balanced, and has calls, commands, accesses and what was held', () => {
  for (const scenario of [attack, scheduled]) {
    const { traceEvents } = chromeTrace(scenario, hypervisorByIdentity('postern'));
    const named = new Set(traceEvents.filter(({ ph }) => ph === 'M').map(({ pid, tid }) => `${pid}.${tid}`));
    for (const { ph, pid, tid, ts, dur } of traceEvents) {
      expect(named.has(`${pid}.${tid}`)).toBe(true);
      if (ph === 'M') continue;
      expect(Number.isInteger(ts)).toBe(true);
      if (ph === 'X') expect(dur).toBeGreaterThan(0);
    }
    const count = (ph: string): number => traceEvents.filter((event) => event.ph === ph).length;
    expect([count('B'), count('b')]).toEqual([count('E'), count('e')]);
  }
  const events = chromeTrace(attack, hypervisorByIdentity('postern')).traceEvents;
  const map = events.find(({ name }) => name === 'map_pages')!;
  expect(map).toMatchObject({ ph: 'X', pid: 1, tid: 0, args: { step: 10, result: '0, 0x1000 bytes' } });
  expect(events.filter(({ name }) => name === 'CMD_SYNC').length).toBeGreaterThan(2);
  const held = events.find(({ ph, name }) => ph === 'b' && name.startsWith('old leaf'))!;
  const gone = events.find(({ ph, id }) => ph === 'e' && id === held.id)!;
  expect(gone.ts! - held.ts!).toBeGreaterThan(0);
  const halves = chromeTrace(scheduled, hypervisorByIdentity('postern')).traceEvents.filter(({ ph }) =>
    /[BE]/.test(ph),
  );
  expect(halves.map(({ ph, name }) => `${ph} ${name}`)).toEqual([
    'B alloc_domain',
    'B host_share_hyp',
    'E host_share_hyp',
    'E alloc_domain',
  ]);
});

test('the log for casemate is one s-expression a line, and break-before-make can be read from it', () => {
  for (const scenario of [attack, scheduled]) {
    const lines = made('casemate', scenario).trimEnd().split('\n');
    lines.forEach((line, id) => {
      expect(line).toMatch(
        new RegExp(
          `^\\((?:mem-init|mem-write|barrier|tlbi|sysreg-write|hint|lock|unlock) \\(id ${id}\\) \\(tid \\d+\\) .* \\(src ".*"\\)\\)$`,
        ),
      );
      expect(line.replace(/"(?:[^"\\]|\\.)*"/g, '').match(/\(/g)!.length).toBe(
        line.replace(/"(?:[^"\\]|\\.)*"/g, '').match(/\)/g)!.length,
      );
    });
  }
  const lines = made('casemate').split('\n');
  const unmap = lines.filter((line) => line.includes('(src "step 13:')).map((line) => line.replace(/\(id \d+\) /, ''));
  const names = unmap.map((line) => /^\(([a-z-]+)/.exec(line)![1]);
  const at = (name: string, from = 0): number => names.indexOf(name, from);
  const write = at('mem-write');
  const tlbi = at('tlbi', write);
  expect(unmap[write]).toContain('(value 0x0)');
  expect(unmap[tlbi]).toContain('(tlbi (tid 0) vae1is (addr 0x10000)');
  expect(write).toBeGreaterThan(at('lock'));
  expect(at('barrier', tlbi)).toBeGreaterThan(tlbi);
  // Locks are balanced, and every page is told of before it is written.
  expect(lines.filter((line) => line.startsWith('(lock')).length).toBe(
    lines.filter((line) => line.startsWith('(unlock')).length,
  );
  const initialised = new Set<string>();
  for (const line of lines) {
    const address = /\(address (0x[0-9a-f]+)\)/.exec(line)?.[1];
    if (line.startsWith('(mem-init')) initialised.add(address!);
    if (line.startsWith('(mem-write')) {
      const page = `0x${(Math.floor(Number(address) / 4096) * 4096).toString(16)}`;
      expect(initialised.has(page), line).toBe(true);
    }
  }
  expect(lines.some((line) => line.includes('set_owner_root'))).toBe(true);
});

test('the C array compiles, and holds the frames with what came of them', () => {
  const text = made('c');
  const frame = text.slice(text.indexOf('"@cpu0 map_pages') - 500, text.indexOf('"@cpu0 map_pages'));
  expect(frame).toMatch(/POSTERN_HVC, 0, \{ 0x[0-9a-f]+ULL, /);
  expect(text).toContain('POSTERN_WRITE32');
  expect(text).toContain('POSTERN_NOTE');
  expect(() => made('c', scheduled)).toThrow(/cannot say schedule points/);
  const compiler = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0);
  if (compiler === undefined) return;
  const path = join(folder, 'frames.c');
  writeFileSync(
    path,
    `${text}\nint main(void)\n{\n\treturn (int)(postern_frames[0].cpu + (unsigned int)POSTERN_FRAME_COUNT);\n}\n`,
  );
  execFileSync(compiler, ['-std=c99', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', path]);
});

test('the test for vitest passes, and fails on another hypervisor', () => {
  const run = (scenario: Scenario): void => {
    const { code } = transform(made('ts', scenario), { transforms: ['typescript', 'imports'] });
    const tests: (() => void)[] = [];
    const modules: Readonly<Record<string, unknown>> = {
      vitest: { expect, test: (_name: string, body: () => void) => tests.push(body) },
      'postern/lab': lab,
    };
    new Function('require', 'exports', code)((name: string) => modules[name], {});
    expect(tests).toHaveLength(1);
    tests[0]!();
  };
  run({ ...attack, title: 'with `ticks` and ${braces}' });
  expect(() => run({ ...broken, hypervisor: 'postern+Z23' })).not.toThrow();
  expect(() => run(broken)).toThrow(/expected \[/);
});

test('the story in Markdown has every step, what is found, and the scenario itself', () => {
  const text = made('md', broken);
  expect(text.match(/^\d+\. /gm)).toHaveLength(17);
  expect(text).toContain('**Violation of invalidation:**');
  const [, inside] = /```scenario\n([\s\S]*?)```/.exec(text)!;
  expect(parseScenario(inside!)).toEqual(broken);
});

test('what the page about forms shows is what they really give', () => {
  const page = readFileSync(new URL('../../docs/emit.md', import.meta.url), 'utf8');
  const blocks = [...page.matchAll(/^```emit (\w+)\n([\s\S]*?)^```/gm)];
  expect(blocks.map(([, kind]) => kind)).toEqual(Object.keys(EMIT_KINDS).filter((kind) => kind !== 'html'));
  for (const [, kind, body] of blocks) {
    const given = made(kind as keyof typeof EMIT_KINDS).split('\n');
    for (const line of body!.trimEnd().split('\n')) expect(given, kind).toContain(line);
  }
  for (const kind of Object.keys(EMIT_KINDS)) expect(page).toContain(`## ${kind}\n`);
});

test('the command gives each form, to the output or a file, and says what it does not know', async () => {
  const path = join(folder, 'attack.scenario');
  writeFileSync(path, attackScenario);
  const json = await postern(['replay', path, '--emit', 'json']);
  expect(json.code).toBe(0);
  expect(JSON.parse(json.out)).toMatchObject({ schema: 'postern/scenario-film/1', machine: 'tiny' });
  const out = join(folder, 'story.md');
  expect(await postern(['replay', path, '--emit', 'md', '-o', out])).toMatchObject({ code: 0, out: '' });
  expect(readFileSync(out, 'utf8')).toMatch(/^# The host and its disk/);
  expect(await postern(['replay', path, '--emit', 'pdf'])).toMatchObject({ code: 2 });
  expect(await postern(['replay', path, '-o', out])).toMatchObject({ code: 2 });
  expect(await postern(['replay', path, '--emit', 'md', '--json'])).toMatchObject({ code: 2 });
  writeFileSync(path, attackScenario.replace('hypervisor postern', 'hypervisor postern+Z14'));
  expect((await postern(['replay', path, '--emit', 'md', '-o', out])).code).toBe(1);
});

test.skipIf(!existsSync('/usr/bin/chromium'))(
  'the page steps through the scenario by keys, buttons and the list, without the network',
  async () => {
    const path = join(folder, 'film.html');
    writeFileSync(path, made('html', broken));
    const browser = await chromium.launch({
      executablePath: '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu'],
    });
    try {
      const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
      const problems: string[] = [];
      page.on('pageerror', (error) => problems.push(String(error)));
      page.on('console', (message) => problems.push(message.text()));
      page.on('request', (request) => {
        if (!/^(file|data):/.test(request.url())) problems.push(request.url());
      });
      await page.goto(`file://${path}`);
      const count = (): Promise<string | null> => page.textContent('#count');
      expect(await count()).toBe('step 0 of 17');
      for (let i = 0; i < 13; i++) await page.keyboard.press('ArrowRight');
      expect(await count()).toBe('step 13 of 17');
      expect(await page.textContent('#sentence')).toContain('unmaps one page');
      expect(await page.textContent('#violations')).toContain('Violation of invalidation');
      expect(await page.locator('#queue .new').allTextContents()).toHaveLength(2);
      expect(await page.textContent('[aria-current="step"]')).toContain('unmap_pages');
      await page.keyboard.press('End');
      expect(await count()).toBe('step 17 of 17');
      expect(await page.isDisabled('#forward')).toBe(true);
      await page.keyboard.press('Home');
      await page.click('#forward');
      await page.click('#log li:nth-child(15) button');
      expect(await count()).toBe('step 14 of 17');
      await page.keyboard.press('ArrowLeft');
      expect(await count()).toBe('step 13 of 17');
      expect(await page.locator('#memory rect').count()).toBeGreaterThanOrEqual(1024);
      expect(await page.locator('#memory .changed').count()).toBeGreaterThan(0);
      expect(await page.locator('#walk svg').count()).toBe(1);
      for (const width of [1200, 700, 380]) {
        await page.setViewportSize({ width, height: 800 });
        expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0);
      }
      expect(problems).toEqual([]);
    } finally {
      await browser.close();
    }
  },
  60_000,
);
