import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fixtureText, rigPath, traceText } from './rig.ts';

const root = join(import.meta.dirname, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'postern-cli-'));

beforeAll(() => {
  execFileSync(process.execPath, ['node_modules/tsup/dist/cli-default.js', '--silent'], { cwd: root });
}, 60_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function postern(args: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/cli.js', ...args], {
    cwd: root,
    input,
    encoding: 'utf8',
  });
  return { code: status, out: stdout, err: stderr };
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const RUN = 'strict-unbind';

test('replay of a gzipped trace with its fixture agrees with the kernel', () => {
  const { code, out } = postern(['replay', rigPath(`${RUN}.trace.txt.gz`), '--fixture', rigPath(`${RUN}.json.gz`)]);
  expect(out).toContain('6 of 6 mappings, bit for bit, as in the fixture');
  expect(out).toMatch(/violations +0\n/);
  expect(out).toContain('tracing_mark_write 8');
  expect(code).toBe(0);
});

test('replay reads standard input and prints one JSON document', () => {
  const { code, out, err } = postern(['replay', '-', '--json'], traceText(RUN));
  const document = JSON.parse(out);
  expect(document).toMatchObject({ schema: 'postern/replay/1', live: null });
  expect(document.replay).toMatchObject({ maps: 1141, unmaps: 1132, mismatchCount: 0, violations: [] });
  expect([code, err]).toEqual([0, '']);
});

test('a scenario runs from a file, from standard input and as a string; one that differs ends with 1', () => {
  const text = [
    'postern scenario v1',
    'profile android17',
    'machine tiny',
    'hypervisor postern',
    '',
    '@cpu0 alloc_domain domain=d1 type=s1 -> -ENOMEM request iommu 1',
    '@cpu0 topup iommu 1 -> 0',
    '@cpu0 alloc_domain domain=d1 type=s1 -> 0',
  ].join('\n');
  const first = postern(['replay', file('a.scenario', text)]);
  expect(first.out).toContain('3 steps on tiny');
  expect(first.code).toBe(0);
  expect(postern(['replay', '-'], text).out).toBe(first.out);
  const share = /share: (\S+)/.exec(first.out)![1]!;
  expect(postern(['replay', share]).out).toBe(first.out);
  expect(postern(['replay', share, '--story']).out).toContain('The host makes domain 1');
  const expecting = text.replace(/\n$/, '').replace(/$/, '\nexpect violation isolation');
  expect(postern(['replay', '-'], expecting).out).toContain('3 steps on tiny');
  const wrong = postern(['replay', '-'], text.replace(/0$/, '-EINVAL'));
  expect(wrong.code).toBe(1);
  expect(wrong.out).toContain('stands on line 8');
  expect(postern(['replay', `${share.slice(0, -3)}AAA`]).code).toBe(2);
}, 30_000);

test('the tour ends well, and its document holds all of it', () => {
  const { code, out } = postern(['demo', '--json']);
  const document = JSON.parse(out);
  expect(document).toMatchObject({ schema: 'postern/demo/0', ok: true, live: { expected: 856, equal: 856 } });
  expect(document.defects.map(({ card }: { card: { id: string } }) => card.id)).toEqual(['Z14', 'Z23']);
  expect(code).toBe(0);
}, 60_000);

const scenario = (line: string): string =>
  `postern scenario v1\nprofile android17\nmachine tiny\nhypervisor postern\n\n${line}\n`;

function spoiled(change: (document: { pages: Record<string, { b64: string }> }) => void): string {
  const document = JSON.parse(fixtureText(RUN));
  change(document);
  return JSON.stringify(document);
}

/** The fixture with its first page there twice. */
function twice(b64: string): string {
  const [first] = Object.keys(JSON.parse(fixtureText(RUN)).pages);
  const text = JSON.stringify(JSON.parse(fixtureText(RUN)));
  return text.replace('"pages":{', `"pages":{"${first}":{"b64":"${b64}"},`);
}

const trace = rigPath(`${RUN}.trace.txt.gz`);
const fixture = rigPath(`${RUN}.json.gz`);

test.each([
  [
    'a malformed trace line',
    () => ['replay', file('t1', `${traceText(RUN)}\nnot a line of a trace\n`)],
    /t1:5732: .*expected/,
  ],
  [
    'a field that is no number',
    () => ['replay', file('t2', traceText(RUN).replace(/size=4096\n/, 'size=four\n'))],
    /t2:\d+: map\.size: expected .*got "four"/,
  ],
  [
    'a gzip file cut off',
    () => ['replay', file('t3.gz', gzipSync(traceText(RUN)).subarray(0, 5000))],
    /t3\.gz: expected a complete gzip file/,
  ],
  ['a file that is not there', () => ['replay', 'nowhere.txt'], /nowhere\.txt: expected a file/],
  [
    'an address outside RAM',
    () => ['replay', trace, '--machine', 'tiny'],
    /strict-unbind\.trace\.txt\.gz:\d+: paddr: expected addresses in the RAM of tiny/,
  ],
  [
    'an unknown machine',
    () => ['replay', trace, '--machine', 'huge'],
    /huge: expected a preset \(tiny, .*qemu-virt, .*\) or a file/,
  ],
  [
    'a machine description with a wrong field',
    () => ['replay', trace, '--machine', file('m.json', '{"name":"m","ram":[{"base":1,"size":4096}]}')],
    /m\.json: ram\[0\]\.base: expected a multiple of 4096/,
  ],
  ['a stage that does not exist', () => ['replay', trace, '--stage', '3'], /--stage: expected 1 or 2, got 3/],
  [
    'a fixture page of the wrong size',
    () => [
      'walk',
      file(
        'f1',
        spoiled((d) => {
          Object.values(d.pages)[0]!.b64 = 'AAAA';
        }),
      ),
      '--sid',
      '0x10',
      '--iova',
      '0',
    ],
    /f1: pages\.0x[0-9a-f]+\.b64: expected 4096 bytes, got 3/,
  ],
  [
    'a misaligned fixture page',
    () => [
      'walk',
      file(
        'f2',
        spoiled((d) => {
          d.pages['0x40000008'] = Object.values(d.pages)[0]!;
        }),
      ),
      '--sid',
      '0x10',
      '--iova',
      '0',
    ],
    /f2: pages\.0x40000008: expected/,
  ],
  ['an unknown stream', () => ['walk', fixture, '--sid', '0x99', '--iova', '0'], /no stream 0x99 .*it has 0x10/],
  ['a missing option', () => ['walk', fixture, '--sid', '1'], /--iova is missing/],
  ['an unknown option', () => ['replay', trace, '--loud'], /[Uu]nknown option/],
  [
    'an unknown call in a scenario',
    () => ['replay', file('s1', scenario('@cpu0 make_tea'))],
    /s1:6: expected .*make_tea/,
  ],
  [
    'an unknown argument in a scenario',
    () => ['replay', file('s2', scenario('@cpu0 free_domain domian=d1'))],
    /s2:6: .*domain/,
  ],
  ['a CPU that the machine has not', () => ['replay', file('s3', scenario('@cpu7 reserve_vm'))], /s3:6: .*CPU/],
  [
    'an unknown hypervisor',
    () => ['replay', file('s4', scenario('@cpu0 reserve_vm').replace('hypervisor postern', 'hypervisor postern+Z99'))],
    /s4: hypervisor: expected a defect, one of Z.*, got "Z99"/,
  ],
  ['an empty trace', () => ['replay', file('t4', '')], /t4: expected at least one event, got an empty file/],
  [
    'a trace of other events only',
    () => ['replay', file('t5', '# tracer: nop\n  sh-1 [000] ..... 1.0: tracing_mark_write: hello\n')],
    /t5: expected at least one event, got 2 lines without one \(but tracing_mark_write\)/,
  ],
  [
    'a fixture with one page twice',
    () => ['walk', file('f3', twice('AAAA')), '--sid', '0x10', '--iova', '0'],
    /f3:1: pages\.(0x[0-9a-f]+): expected each page once, got "\1" for the second time/,
  ],
  [
    'a fixture with one field twice',
    () => ['walk', file('f4', fixtureText(RUN).replace('{', '{"run": "x", ')), '--sid', '0x10', '--iova', '0'],
    /f4:\d+: run: expected each name once in an object, got "run" for the second time/,
  ],
  ...['--fixture', '--machine', '--stage', '--unchecked'].map((option): [string, () => string[], RegExp] => [
    `${option} with a scenario`,
    () => {
      const value = { '--fixture': [fixture], '--machine': ['tiny'], '--stage': ['1'] }[option] ?? [];
      return ['replay', file('s5', scenario('@cpu0 reserve_vm')), option, ...value];
    },
    new RegExp(`${option} does not apply to a scenario`),
  ]),
  ['--story with a trace', () => ['replay', trace, '--story'], /--story does not apply to a trace/],
])('%s ends with 2 and says where and what was expected', (_name, args, message) => {
  const { code, out, err } = postern(args());
  expect(err).toMatch(message);
  expect([code, out]).toEqual([2, '']);
});

test('Ctrl-C ends a replay with 130, after it has said how far it came', async () => {
  const child = spawn(process.execPath, ['dist/cli.js', 'replay', '-'], { cwd: root });
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const ended = new Promise<number>((resolve) =>
    // Before the replay begins nothing listens, and the signal itself is the end: a shell says 130 to that as well.
    child.on('close', (status, signal) => resolve(signal === 'SIGINT' ? 130 : (status ?? -1))),
  );
  // A long enough trace: the large log, several times the time that the signal needs to arrive.
  child.stdin.on('error', () => {});
  child.stdin.end(gunzipSync(readFileSync(rigPath('lazy-large-smp2.trace.txt.gz'))));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  child.kill('SIGINT');
  const code = await ended;
  // A fast machine may be done before: then there is nothing to interrupt.
  if (code !== 0) {
    expect(code).toBe(130);
    if (out !== '') expect(out).toContain('interrupted');
  }
}, 30_000);

test('a violation in bytes ends the process as fuzzers expect it, where that is asked for', () => {
  const fuzzed = postern(['fuzz', '--hypervisor', 'postern+Z33', '--runs', '50', '-o', join(folder, 'abort')]);
  expect(fuzzed.code).toBe(1);
  const findings = join(folder, 'abort', 'findings');
  const input = join(findings, readdirSync(findings).find((name) => name.endsWith('.input'))!);
  const args = ['dist/cli.js', 'replay', '--raw', input, '--hypervisor', 'postern+Z33', '--abort'];
  expect(spawnSync(process.execPath, args, { cwd: root }).signal).toBe('SIGABRT');
});

test('two workers find what two workers find', () => {
  const run = (): unknown => {
    const { code, out } = postern(['fuzz', '--runs', '600', '--max-steps', '20', '-j', '2', '--seed', '9', '--json']);
    expect(code).toBe(0);
    const { seconds: _, callsPerSecond: __, ...rest } = JSON.parse(out);
    return rest;
  };
  const first = run();
  expect(first).toMatchObject({ runs: 600, workers: 2, findings: [] });
  expect(run()).toEqual(first);
});
