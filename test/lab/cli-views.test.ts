import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { replayCommand } from '#lab/cli/commands/replay';
import { walkCommand } from '#lab/cli/commands/walk';
import { runCommandLine } from '#lab/cli/run';
import { attackScenario } from '#lab/demo/attack';
import { encodeShare, parseScenario } from '#lab/scenario/index';
import { rigPath } from './rig.ts';
import { wellFormed } from './views-rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-views-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function postern(args: readonly string[], isTty = false): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    isTty,
    columns: 100,
    onInterrupt: () => () => {},
  };
  const code = await runCommandLine({ name: 'postern', version: '0' }, [walkCommand, replayCommand], args, io);
  return { code, out, err };
}

const attack = file('attack.scenario', attackScenario);
const broken = file('z14.scenario', attackScenario.replace('hypervisor postern', 'hypervisor postern+Z14'));
const fixture = rigPath('strict-unbind.json.gz');
const access = ['--device', 'disk', '--iova', '0x10000'];

test('walk draws an access over a captured machine, and prints the same as without', async () => {
  const svg = join(folder, 'walk.svg');
  const plain = await postern(['walk', fixture, '--sid', '0x10', '--iova', '0xffffc000']);
  const drawn = await postern(['walk', fixture, '--sid', '0x10', '--iova', '0xffffc000', '--svg', svg]);
  expect(drawn).toEqual(plain);
  expect(plain.code).toBe(0);
  const text = readFileSync(svg, 'utf8');
  expect(wellFormed(text)[0]).toBe('svg');
  expect(text).toContain('Stage 1 level 3');
});

test('walk explains an access at every point of a scenario: mapped, half unmapped, unmapped', async () => {
  const at = async (point: string, scenario = attack) =>
    JSON.parse((await postern(['walk', scenario, ...access, '--at', point, '--json'])).out);
  const mapped = await at('11');
  expect(mapped).toMatchObject({ schema: 'postern/model-walk/0', device: 'disk', at: { step: 11, moment: null } });
  expect(mapped.outcomes).toMatchObject([{ place: "page secret, the host's", via: '' }]);
  expect(mapped.held).toEqual([]);
  const cleared = await at('13.1');
  expect(cleared.walk.outcome).toMatchObject({ kind: 'fault', event: 'F_TRANSLATION' });
  expect(cleared.outcomes).toMatchObject([
    { pa: null, fault: 'F_TRANSLATION', via: '' },
    { place: "page secret, the host's", via: 'leaf:0' },
  ]);
  expect(cleared.held).toMatchObject([{ kind: 'leaf', pending: false, decides: true }]);
  expect(cleared.held[0].missing).toEqual([
    expect.stringMatching(/^TLBI_NH_VA VMID \d+, ASID \d+, IOVA 0x10000$/),
    'CMD_SYNC',
  ]);
  const queued = await at('13.2');
  expect(queued.held).toMatchObject([{ pending: true, missing: ['CMD_SYNC'] }]);
  for (const point of ['13.3', '13', '17']) {
    const done = await at(point);
    expect([done.outcomes.length, done.held]).toEqual([1, []]);
  }
  const early = await at('13.2', broken);
  expect(early.outcomes[1]).toMatchObject({ place: "page secret, the host's" });
  expect((await at('0')).walk.outcome.event).toBe('C_BAD_STE');
});

test('walk over a scenario says it in words, takes a share string, and draws it', async () => {
  const svg = join(folder, 'model.svg');
  const { out, code } = await postern([
    'walk',
    attack,
    '--sid',
    '0',
    '--iova',
    '0x10000',
    '--at',
    '13.1',
    '--svg',
    svg,
  ]);
  expect(code).toBe(0);
  expect(out).toContain('in the middle of step 13, at 13.1 of "The host and its disk try');
  expect(out).toMatch(/the access may also reach 0x[0-9a-f]+, page secret, the host's, through leaf 0/);
  expect(out).toMatch(/missing: TLBI_NH_VA VMID \d+, ASID \d+, IOVA 0x10000, then CMD_SYNC/);
  const drawing = readFileSync(svg, 'utf8');
  wellFormed(drawing);
  expect(drawing).toContain('CMD_SYNC');
  const share = encodeShare(parseScenario(attackScenario, 'attack'));
  const shared = await postern(['walk', share, ...access, '--write']);
  expect(shared.out).toContain('nothing that leads this access elsewhere');
  expect(shared.out).toContain('F_TRANSLATION');
});

test('replay draws the timeline of a scenario', async () => {
  const svg = join(folder, 'timeline.svg');
  expect((await postern(['replay', broken, '--svg', svg])).code).toBe(1);
  const drawing = readFileSync(svg, 'utf8');
  wellFormed(drawing);
  expect(drawing).toContain('released too early');
});

test('there is colour on a terminal, and none elsewhere or where nobody wants it', async () => {
  const args = ['walk', fixture, '--sid', '0x10', '--iova', '0xffffc000'];
  const before = process.env.NO_COLOR;
  delete process.env.NO_COLOR;
  expect((await postern(args, true)).out).toContain('\u001b[');
  expect((await postern(args)).out).not.toContain('\u001b[');
  process.env.NO_COLOR = '1';
  expect((await postern(args, true)).out).not.toContain('\u001b[');
  if (before === undefined) delete process.env.NO_COLOR;
  else process.env.NO_COLOR = before;
});

test.each([
  ['no device', [attack, '--iova', '0'], /--device or --sid is missing/],
  ['two devices', [attack, ...access, '--sid', '0'], /one is enough/],
  ['an unknown device', [attack, '--device', 'tape', '--iova', '0'], /there is no tape on tiny; it has disk \(0x0\)/],
  ['an unknown stream', [attack, '--sid', '7', '--iova', '0'], /no stream 0x7 on tiny/],
  ['no address', [attack, '--sid', '0'], /--iova is missing/],
  ['a step beyond the end', [attack, ...access, '--at', '18'], /a step from 0 to 17/],
  ['a moment that is not there', [attack, ...access, '--at', '13.9'], /step 13 has no moment 9/],
  ['no step', [attack, ...access, '--at', 'last'], /--at: expected a step/],
  ['a point of a fixture', [fixture, '--sid', '0x10', '--iova', '0', '--at', '1'], /--at is for a scenario/],
  [
    'a folder for a drawing',
    [fixture, '--sid', '0x10', '--iova', '0', '--svg', folder],
    /expected a file that can be written/,
  ],
])('walk with %s ends with 2 and says what was expected', async (_name, args, message) => {
  const { code, out, err } = await postern(['walk', ...args]);
  expect(err).toMatch(message);
  expect([code, out]).toEqual([2, '']);
});

test('replay draws scenarios, not traces', async () => {
  const { code, err } = await postern([
    'replay',
    rigPath('strict-unbind.trace.txt.gz'),
    '--svg',
    join(folder, 'no.svg'),
  ]);
  expect([code, err]).toEqual([2, expect.stringContaining('--svg draws a scenario')]);
});
