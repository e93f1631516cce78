import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { conformCommand } from '#lab/cli/commands/conform';
import { replayCommand } from '#lab/cli/commands/replay';
import { walkCommand } from '#lab/cli/commands/walk';
import { runCommandLine } from '#lab/cli/run';
import type { ExpectedMapping, Fixture } from '#lab/fixture/fixture';
import { readCapturedRun } from '#lab/io/captured-run';
import type { Word64 } from '#lab/oracle/decode/fields';
import { commandQueue, rigFixture, rigPath } from './rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-captured-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hex = ({ hi, lo }: Word64) => `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`;
const base = ({ registers }: Fixture, name: string): number =>
  Number(BigInt(hex(registers.get(name)!)) & 0xfffffffffffe0n);
const bytes = ({ buffer, byteOffset, byteLength }: Int32Array) => new Uint8Array(buffer, byteOffset, byteLength);

/** The folder that a capture of the fixture's machine would have written: whole RAM, with its queues. */
function captureOf(run: string): { path: string; fixture: Fixture } {
  const fixture = rigFixture(run);
  const path = join(folder, run);
  mkdirSync(path);
  const image = openSync(join(path, 'ram.bin'), 'w');
  ftruncateSync(image, fixture.ramSize);
  const put = (pa: number, words: Int32Array) =>
    writeSync(image, bytes(words), 0, words.byteLength, pa - fixture.ramBase);
  for (const [pa, { words }] of fixture.pages) put(pa, words);
  put(base(fixture, 'CMDQ_BASE'), commandQueue(run));
  for (const [i, record] of fixture.events.entries()) put(base(fixture, 'EVENTQ_BASE') + 32 * i, record);
  closeSync(image);
  const registers = Object.fromEntries([...fixture.registers].map(([name, value]) => [name, hex(value)]));
  writeFileSync(join(path, 'registers.json'), JSON.stringify(registers));
  const ram = [{ base: `0x${fixture.ramBase.toString(16)}`, size: fixture.ramSize, file: 'ram.bin' }];
  const manifest = { format: 'postern-capture/1', qemu: '7.2', smmu: '0x9050000', registers: 'registers.json', ram };
  writeFileSync(join(path, 'capture.json'), JSON.stringify(manifest));
  return { path, fixture };
}

async function command(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const io = {
    out: (text: string) => {
      said.out += text;
    },
    err: (text: string) => {
      said.err += text;
    },
    isTty: false,
    columns: 100,
    onInterrupt: () => () => {},
  };
  const commands = [walkCommand, conformCommand, replayCommand];
  const code = await runCommandLine({ name: 'postern', version: '0' }, commands, argv, io);
  return { code, ...said };
}

const inOrder = (list: readonly ExpectedMapping[]) =>
  list
    .map(({ sid, iova, pa, size, pte }) => [sid, iova, pa, size, pte && hex(pte)])
    .sort((a, b) => (`${a}` < `${b}` ? -1 : 1));

describe.each(['strict-unbind', 'k72-s2-strict', 'passthrough-all'])('a captured folder of %s', (run) => {
  const { path, fixture } = captureOf(run);

  test('holds the pages, streams, mappings, events and commands that the fixture has', async () => {
    const { fixture: made, commands } = await readCapturedRun(path);
    for (const [pa, { kind, words }] of fixture.pages) {
      const page = made.pages.get(pa);
      expect(page?.words, `${kind} 0x${pa.toString(16)}`).toEqual(words);
      expect(page!.kind.slice(0, 5)).toBe(kind.slice(0, 5));
    }
    expect(made.streams).toEqual(expect.arrayContaining([...fixture.streams]));
    expect(inOrder(made.expected)).toEqual(inOrder(fixture.expected));
    expect(commands!.words).toEqual(commandQueue(run));
    const prod = fixture.registers.get('EVENTQ_PROD')!.lo;
    expect(made.events).toEqual(fixture.events.slice(0, prod));
  });

  test('is taken by conform dump, replay and walk like the fixture', async () => {
    const log = rigPath(`${run}.trace.txt.gz`);
    const dump = await command('conform', 'dump', path, '--log', log, '--json');
    const [{ agree, checks, numbers }] = JSON.parse(dump.out).reports;
    const [known] = JSON.parse((await command('conform', 'dump', rigPath(`${run}.json.gz`), '--json')).out).reports;
    expect([dump.code, agree]).toEqual([0, checks]);
    expect([checks > 0, numbers]).toEqual([true, known.numbers]);
    if (fixture.expected.length === 0) return;
    const { sid, iova } = fixture.expected[0]!;
    const access = ['--sid', `${sid}`, '--iova', `${iova}`, '--write'];
    const walk = await command('walk', path, ...access);
    expect(walk).toEqual(await command('walk', rigPath(`${run}.json.gz`), ...access));
    expect(walk.out).toContain('=> PA 0x');
    const image = `${join(path, 'ram.bin')}@0x40000000`;
    const registers = join(path, 'registers.json');
    expect(await command('walk', image, '--regs', registers, ...access)).toEqual(walk);
    const replay = JSON.parse((await command('replay', log, '--fixture', path, '--json')).out);
    expect(replay.live).toMatchObject({ compared: 'descriptors', expected: fixture.expected.length, differences: [] });
  }, 30_000);
});

test('a queue that went round has no history, and what is no capture is told', async () => {
  const { path, fixture } = captureOf('strict-vblk');
  const file = join(path, 'registers.json');
  const registers = Object.fromEntries([...fixture.registers].map(([name, value]) => [name, hex(value)]));
  const prod = Number(registers.CMDQ_PROD);
  const historyWith = async (value: number) => {
    writeFileSync(file, JSON.stringify({ ...registers, CMDQ_PROD: `0x${value.toString(16)}` }));
    return (await readCapturedRun(path)).commands;
  };
  expect(await historyWith(prod)).not.toBeNull();
  expect(await historyWith(prod | 0x10000), 'its wrap bit').toBeNull();
  expect(await historyWith(prod - 1), 'a command where the next one goes').toBeNull();
  const dump = await command('conform', 'dump', path);
  expect([dump.code, dump.out]).toEqual([0, expect.stringContaining('no command history')]);
  for (const argv of [
    ['walk', folder, '--sid', '0', '--iova', '0'],
    ['conform', 'dump', folder],
  ]) {
    expect(await command(...argv)).toMatchObject({ code: 2, err: expect.stringContaining('no capture.json in it') });
  }
  const known = ['walk', rigPath('strict-vblk.json.gz'), '--sid', '0x10', '--iova', '0'];
  expect(await command(...known, '--regs', file)).toMatchObject({ code: 2, err: expect.stringContaining('--regs') });
  expect(await command('walk', path, '--at', '3', '--sid', '0x10', '--iova', '0')).toMatchObject({ code: 2 });
});
