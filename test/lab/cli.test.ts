import { afterEach, expect, test, vi } from 'vitest';
import { type CliIo, type Command, type CommandArgs, flagArg, numberArg, textArg, UsageError } from '#lab/cli/command';
import { walkCommand } from '#lab/cli/commands/walk';
import { runCommandLine } from '#lab/cli/run';
import { InputError } from '#lab/input-error';
import { rigPath } from './rig.ts';

const program = { name: 'postern', version: '1.2.3' };

afterEach(() => vi.restoreAllMocks());

async function run(
  commands: readonly Command[],
  ...argv: string[]
): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const io: CliIo = {
    out: (text) => void out.push(text),
    err: (text) => void err.push(text),
    isTty: false,
    columns: 100,
    onInterrupt: () => () => {},
  };
  // The parser prints help and version itself.
  vi.spyOn(console, 'info').mockImplementation((text) => void out.push(`${text}\n`));
  const code = await runCommandLine(program, commands, argv, io);
  return { code, out: out.join(''), err: err.join('') };
}

/** A command that answers with what it was given. */
function echo(answer: (args: CommandArgs) => unknown): Command {
  return {
    name: 'echo <first> [...rest]',
    describe: 'Say it again',
    options: [
      { flags: '--size <bytes>', describe: 'A number' },
      { flags: '-n, --name <name>', describe: 'A text', default: 'nobody' },
      { flags: '--loud', describe: 'A flag' },
    ],
    run: async (args, io) => {
      io.out(JSON.stringify(answer(args)));
      return 0;
    },
  };
}

const everything = echo((args) => [args.first, args.rest, args.size, args.name, args.loud]);

test('arguments and options arrive as they were typed', async () => {
  const { code, out } = await run([everything], 'echo', '0x10', '007', '-', '--size', '0x1000', '-n', '1e3', '--loud');
  expect([code, JSON.parse(out)]).toEqual([0, ['0x10', ['007', '-'], '0x1000', '1e3', true]]);
  const other = await run([everything], 'echo', '-', '--size=0x10', '--name=-');
  expect(JSON.parse(other.out)).toEqual(['-', [], '0x10', '-', null]);
  expect(JSON.parse((await run([everything], 'echo', 'a')).out)).toEqual(['a', [], null, 'nobody', null]);
});

test('options are read as texts, numbers and flags', async () => {
  const typed = echo((args) => [textArg(args, 'name'), numberArg(args, 'size'), flagArg(args, 'loud')]);
  expect(JSON.parse((await run([typed], 'echo', 'a', '--size', '0xfffff000', '--loud')).out)).toEqual([
    'nobody',
    0xfffff000,
    true,
  ]);
});

test.each([
  ['no command', [], /^$/],
  ['an unknown command', ['frob'], /^postern: there is no command named frob; see postern --help\n$/],
  ['an unknown command, even with --help', ['frob', '--help'], /no command named frob/],
  ['an unknown option of the program', ['--frob'], /^postern: Unknown option `--frob`\n$/],
  ['an unknown option of a command', ['echo', 'a', '--frob'], /^postern: Unknown option `--frob`\n$/],
  ['a missing argument', ['echo'], /^postern: missing required args for command `echo <first> \[...rest\]`\n$/],
  ['an option without its value', ['echo', 'a', '--size'], /^postern: option `--size <bytes>` value is missing\n$/],
  [
    'a number that is none',
    ['echo', 'a', '--size', 'big'],
    /^postern: --size: expected a number such as 16 or 0x10, got "big"\n$/,
  ],
  ['a number of 64 bits', ['echo', 'a', '--size', '0xffffffffffffffff'], /below 2\^52, got 0xffffffffffffffff/],
  ['an option twice', ['echo', 'a', '--size', '1', '--size', '2'], /^postern: --size is given more than once\n$/],
])('%s is bad usage: a message and exit code 2', async (_, argv, message) => {
  const typed = echo((args) => numberArg(args, 'size'));
  const { code, err } = await run([typed], ...argv);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});

test('help lists the commands, and the options of one', async () => {
  const all = await run([everything, walkCommand], '--help');
  expect([all.code, all.err]).toEqual([0, '']);
  expect(all.out).toContain('echo <first> [...rest]  Say it again');
  expect(all.out).toContain('walk <input>');
  const one = await run([everything, walkCommand], 'walk', '--help');
  expect(one.code).toBe(0);
  expect(one.out).toContain('--sid <stream>');
  expect(one.out).toContain('postern walk test/fixtures');
});

test('--version tells it', async () => {
  expect(await run([], '--version')).toMatchObject({ code: 0, out: expect.stringContaining('postern/1.2.3'), err: '' });
});

const failing = (error: unknown): Command => ({
  name: 'fail',
  describe: 'Fail',
  options: [],
  run: async () => {
    throw error;
  },
});

test('bad input is a located message and exit code 2; a bug is a bug', async () => {
  const input = new InputError({ file: 'a.txt', line: 7, field: 'iova', expected: 'an address', got: '"x"' });
  expect(await run([failing(input)], 'fail')).toMatchObject({
    code: 2,
    err: 'postern: a.txt:7: iova: expected an address, got "x"\n',
  });
  expect(input.where).toBe('7: iova');
  expect(await run([failing(new UsageError('no'))], 'fail')).toMatchObject({ code: 2, err: 'postern: no\n' });
  await expect(run([failing(new TypeError('oops'))], 'fail')).rejects.toThrow('oops');
});

const strictAll = rigPath('strict-all.json.gz');

test('walk explains an access', async () => {
  const { code, out, err } = await run([walkCommand], 'walk', strictAll, '--sid', '16', '--iova', '0xffffc123');
  expect([code, err]).toEqual([0, '']);
  expect(out).toContain('=> PA 0x4c19f123  rwx  Normal write-back');
});

test('walk: a fault is an outcome like another', async () => {
  const { code, out } = await run([walkCommand], 'walk', strictAll, '--sid=0x10', '--iova=0x1000', '--write');
  expect(code).toBe(0);
  expect(out).toContain('stream 0x10, write at IOVA 0x1000');
  expect(out).toContain('=> F_TRANSLATION (0x10) stage 1 level 1, class IN');
});

test('walk --json prints one document and nothing else', async () => {
  const { out } = await run([walkCommand], 'walk', strictAll, '--sid', '0x10', '--iova', '0xffffc000', '--json');
  expect(JSON.parse(out)).toMatchObject({
    sid: 16,
    iova: '0xffffc000',
    outcome: { kind: 'translated', pa: '0x4c19f000' },
  });
});

test.each([
  [
    'a stream that is not there',
    [strictAll, '--sid', '0x99', '--iova', '0'],
    /no stream 0x99 in .*; it has 0x10, 0x18, 0x20, 0x28, 0x30, 0x40, 0x100\n$/,
  ],
  ['a stream beyond the table', [strictAll, '--sid', '0x12345678', '--iova', '0'], /no stream 0x12345678/],
  ['no stream', [strictAll, '--iova', '0'], /^postern: --sid is missing\n$/],
  [
    'no file',
    ['absent.json', '--sid', '1', '--iova', '0'],
    /^postern: absent\.json: expected a file, got nothing of that name\n$/,
  ],
  [
    'a file of another kind',
    [rigPath('strict-all.trace.txt.gz'), '--sid', '1', '--iova', '0'],
    /expected a JSON document/,
  ],
])('walk: %s is exit code 2', async (_, argv, message) => {
  const { code, out, err } = await run([walkCommand], 'walk', ...argv);
  expect([code, out]).toEqual([2, '']);
  expect(err).toMatch(message);
});
