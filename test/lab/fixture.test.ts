import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { decodeBase64, wordsOf } from '#lab/fixture/base64';
import { duplicateName } from '#lab/fixture/duplicate-names';
import { fixtureRead64 } from '#lab/fixture/fixture';
import { parseFixture } from '#lab/fixture/parse';
import { InputError } from '#lab/input-error';
import { readFixture } from '#lab/io/fixture';
import { forEachLine, readText } from '#lab/io/read-text';
import { readTrace } from '#lab/io/trace';
import { fixtureText, rigPath, runs, traceText } from './rig.ts';

const folder = mkdtempSync(join(tmpdir(), 'postern-'));
afterAll(() => rmSync(folder, { recursive: true }));

function written(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

test.each(runs)('%s loads, from gzip and from plain JSON alike', async (run) => {
  const packed = await readFixture(rigPath(`${run}.json.gz`));
  const plain = await readFixture(written(`${run}.json`, fixtureText(run)));
  expect(packed.run).toBe(run);
  expect({ ...plain, file: packed.file }).toEqual(packed);
  expect(packed.registers.get('STRTAB_BASE')!.hi >>> 0).toBe(0x40000000);
});

test('memory reads as captured: absent pages of RAM as zero, nothing outside RAM', () => {
  const fixture = parseFixture(fixtureText('strict-all'), 'x');
  expect(fixtureRead64(fixture, 0x482e1000)).toEqual({ hi: 0, lo: 0x6b260009 });
  expect(fixtureRead64(fixture, 0x40000000)).toEqual({ hi: 0, lo: 0 });
  expect(fixtureRead64(fixture, 0x3ffffff8)).toBeNull();
  expect(fixtureRead64(fixture, 0x70000000)).toBeNull();
});

// biome-ignore lint/suspicious/noExplicitAny: the tests below break the document in every way
type Document = any;

const zeroPage = Buffer.alloc(4096).toString('base64');

function document(): Document {
  return {
    format: 'smmuv3-rig/1',
    run: 'small',
    ramBase: '0x40000000',
    ramSize: 0x100000,
    regs: { IDR0: '0x2', IDR1: '0x10', IDR5: '0x14', CR0: '0x1', STRTAB_BASE: '0x40001000', STRTAB_BASE_CFG: '0x4' },
    pages: { '0x40001000': { kind: 'strtab', b64: zeroPage } },
    expected: [{ sid: 1, iova: '0x1000', pa: '0x40002000', size: 4096, prot: 3, pte: null }],
  };
}

test('a small document is a fixture; what is optional may be missing', () => {
  const fixture = parseFixture(JSON.stringify(document()), 'small.json');
  expect(fixture.pages.size).toBe(1);
  expect([fixture.cmdline, fixture.streams, fixture.events]).toEqual([null, [], []]);
});

test.each<[string, (broken: Document) => void, string]>([
  ['another format', (d) => (d.format = 'dump/2'), 'format: expected "smmuv3-rig/1", got "dump/2"'],
  ['no RAM', (d) => delete d.ramBase, 'ramBase: expected a string, got no such field'],
  ['a RAM base that is no address', (d) => (d.ramBase = '40000000'), 'ramBase: expected a hexadecimal address'],
  ['a RAM base inside a page', (d) => (d.ramBase = '0x40000800'), 'ramBase: expected a multiple of 4096'],
  ['a size that is no number', (d) => (d.ramSize = '1M'), 'ramSize: expected a whole number, got the string "1M"'],
  ['a size inside a page', (d) => (d.ramSize = 4097), 'ramSize: expected a multiple of 4096, got 4097'],
  ['no registers', (d) => delete d.regs, 'regs: expected an object, got no such field'],
  ['a missing register', (d) => delete d.regs.IDR5, 'regs.IDR5: expected a register value'],
  [
    'a bad register',
    (d) => (d.regs.CR0 = 'on'),
    'regs.CR0: expected a hexadecimal number such as "0x0d40101a", got "on"',
  ],
  [
    'a register of 65 bits',
    (d) => (d.regs.CR0 = '0x1ffffffffffffffff'),
    'regs.CR0: expected a hexadecimal number of at most 64 bits',
  ],
  ['a register as a number', (d) => (d.regs.CR0 = 1), 'regs.CR0: expected a string, got the number 1'],
  [
    'more stream bits than there are',
    (d) => (d.regs.IDR1 = '0x3f'),
    'regs.IDR1: expected SIDSIZE, bits 5:0, of at most 32, got 63',
  ],
  [
    'a page address that is none',
    (d) => (d.pages.there = d.pages['0x40001000']),
    'pages.there: expected a page address',
  ],
  [
    'a misaligned page',
    (d) => (d.pages['0x40002800'] = d.pages['0x40001000']),
    'pages.0x40002800: expected a multiple of 0x1000',
  ],
  [
    'a page twice',
    (d) => (d.pages['0x040001000'] = d.pages['0x40001000']),
    'pages.0x040001000: expected each page once',
  ],
  [
    'a page outside RAM',
    (d) => (d.pages['0x40100000'] = d.pages['0x40001000']),
    'pages.0x40100000: expected an address inside RAM (0x40000000 to 0x40100000)',
  ],
  [
    'a page without content',
    (d) => delete d.pages['0x40001000'].b64,
    'pages.0x40001000.b64: expected a string, got no such field',
  ],
  [
    'a short page',
    (d) => (d.pages['0x40001000'].b64 = Buffer.alloc(4095).toString('base64')),
    'pages.0x40001000.b64: expected 4096 bytes, got 4095',
  ],
  [
    'a page that is not base64',
    (d) => (d.pages['0x40001000'].b64 = `${zeroPage.slice(0, -4)}A*A=`),
    'pages.0x40001000.b64: expected base64, got the character "*"',
  ],
  ['expectations that are no list', (d) => (d.expected = {}), 'expected: expected an array, got an object'],
  [
    'an expectation without IOVA',
    (d) => delete d.expected[0].iova,
    'expected[0].iova: expected a string, got no such field',
  ],
  [
    'an address of 64 bits',
    (d) => (d.expected[0].pa = '0xffff000000000000'),
    'expected[0].pa: expected an address below 2^52',
  ],
  ['a mapping of nothing', (d) => (d.expected[0].size = 0), 'expected[0].size: expected a number from 1'],
  ['an event of three words', (d) => (d.evtq = [['0x1', '0x2', '0x3']]), 'evtq[0]: expected 4 words of 64 bits, got 3'],
])('%s is an error that names file and field', (_, breakIt, message) => {
  const broken = document();
  breakIt(broken);
  const parse = (): unknown => parseFixture(JSON.stringify(broken), 'small.json');
  expect(parse).toThrow(InputError);
  expect(parse).toThrow(`small.json: ${message}`);
});

test('a document that is not JSON names the line', () => {
  expect(() => parseFixture('{\n  "format": \n}', 'small.json')).toThrow(/^small\.json(:3)?: expected a JSON document/);
  expect(() => parseFixture('[]', 'small.json')).toThrow('small.json: expected an object, got an array');
});

test('base64 decodes to the bytes that were encoded', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      expect(decodeBase64(Buffer.from(bytes).toString('base64'))).toEqual(Uint8Array.from(bytes));
    }),
  );
  expect(decodeBase64('abc')).toMatch(/length of 3/);
  expect(decodeBase64('=abc')).toMatch(/character "="/);
  expect(wordsOf(Uint8Array.of(1, 0, 0, 0x80))).toEqual(Int32Array.of(0x80000001 | 0));
});

// ---- reading files

const text = traceText('passthrough-all');

test.each([
  ['a file', () => [written('plain.txt', text), undefined] as const],
  ['a gzip file, whatever its name', () => [written('packed.txt', gzipSync(text)), undefined] as const],
  ['standard input', () => ['-', Readable.from([Buffer.from(text)])] as const],
  [
    'gzip on standard input, in small chunks',
    () => {
      const packed = gzipSync(text);
      return ['-', Readable.from(Array.from(packed, (byte) => Buffer.of(byte)))] as const;
    },
  ],
])('text is read from %s', async (_, make) => {
  const [path, input] = make();
  expect(await readText(path, input)).toBe(text);
});

test('lines arrive one by one, numbered, without their breaks, wherever chunks are cut', async () => {
  const source = 'one\r\ntwo\n\nvier — 4\nfünf';
  const bytes = Buffer.from(source);
  for (const size of [1, 2, 3, 1000]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    const lines: [number, string][] = [];
    const count = await forEachLine('-', (line, number) => void lines.push([number, line]), Readable.from(chunks));
    expect(count).toBe(5);
    expect(lines).toEqual([
      [1, 'one'],
      [2, 'two'],
      [3, ''],
      [4, 'vier — 4'],
      [5, 'fünf'],
    ]);
  }
});

test('an empty file has no lines and no text', async () => {
  const path = written('empty', '');
  expect(await forEachLine(path, () => expect.unreachable())).toBe(0);
  expect(await readText(path)).toBe('');
});

test.each([
  ['a file that is not there', () => join(folder, 'absent'), 'expected a file, got nothing of that name'],
  ['a folder', () => folder, 'expected a file, got a directory'],
  [
    'a gzip file that is cut off',
    () => written('cut.gz', gzipSync(text).subarray(0, 400)),
    'expected a complete gzip file, got one that is cut off',
  ],
  [
    'a gzip file with a wrong byte',
    () => {
      const packed = gzipSync(text);
      packed[packed.length - 6]! ^= 1;
      return written('wrong.gz', packed);
    },
    'expected a sound gzip file, got incorrect data check',
  ],
])('%s is an error that names it', async (_, make, message) => {
  const path = make();
  await expect(readText(path)).rejects.toThrow(`${path}: ${message}`);
  await expect(readText(path)).rejects.toThrow(InputError);
});

test('a trace is read as a whole, and its first malformed line is an error', async () => {
  const trace = await readTrace(rigPath('strict-all.trace.txt.gz'));
  expect(trace.events.length).toBe(11352);
  await expect(readTrace('-', Readable.from(['# a comment\n', 'no event\n']))).rejects.toThrow(
    'standard input:2: expected an event',
  );
});

test.each([
  ['{"a": 1, "a": 2}', 'a'],
  ['{"a": {"b": 1}, "c": {"b": 1, "d": [], "b": {}}}', 'c.b'],
  ['[{"x": "}"}, {"x": "\\\\", "y": "\\",{", "x": 0}]', '[1].x'],
  ['{"list": [[1, 2], [{"p": 1, "\\u0070": 2}]]}', 'list[1][0].p'],
  ['{"a": "a", "b": "a", "c": ["a", "a"], "d": {"a": {"a": 1}}}', null],
  ['{"": 1, " ": 2}', null],
])('a name that is twice in an object is found: %s', (text, path) => {
  expect(() => JSON.parse(text)).not.toThrow();
  expect(duplicateName(text)?.path ?? null).toBe(path);
});

test('no document that was written from a value has a name twice', () => {
  fc.assert(fc.property(fc.json(), (text) => duplicateName(text) === null));
});

test('the line of the second one is told', () => {
  expect(duplicateName('{\n "a": 1,\n "b": "\\n",\n "a": 2}')).toEqual({ path: 'a', name: 'a', line: 4 });
});
