import { expect, test } from 'vitest';
import type { CliIo } from '#lab/cli/command';
import { replayCommand } from '#lab/cli/commands/replay';
import { soakCommand } from '#lab/cli/commands/soak';
import { propertiesArg } from '#lab/cli/property-args';
import { runCommandLine } from '#lab/cli/run';
import { chooseProperties, PROPERTIES, PROPERTY_NAMES } from '#lab/oracle/index';

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
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
  const code = await runCommandLine({ name: 'postern', version: '0' }, [replayCommand, soakCommand], argv, io);
  return { code, out, err };
}

test('every property says in whole sentences what it is', () => {
  for (const [name, { statement, title, source, needs, broken }] of Object.entries(PROPERTIES)) {
    expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
    expect(statement).toMatch(/^[A-Z].*\.$/s);
    for (const text of [title, source, needs, broken]) expect(text).not.toBe('');
  }
  expect(PROPERTY_NAMES).toEqual([...PROPERTY_NAMES].sort());
});

test('a choice of properties', () => {
  expect(chooseProperties({})).toEqual(PROPERTY_NAMES);
  expect(chooseProperties({ only: ['lock', 'isolation'] })).toEqual(['isolation', 'lock']);
  expect(chooseProperties({ without: ['lock'] })).toHaveLength(PROPERTY_NAMES.length - 1);
  expect(chooseProperties({ only: ['lock', 'panic'], without: ['lock'] })).toEqual(['panic']);
  expect(() => chooseProperties({ only: ['locks'] })).toThrow(/expected one of accounting, .*, got "locks"/);
  expect(() => chooseProperties({ only: ['lock'], without: ['lock'] })).toThrow('at least one');
});

test('on the command line', async () => {
  expect(propertiesArg({})).toBeUndefined();
  expect(propertiesArg({ properties: 'lock, panic' })).toEqual(['lock', 'panic']);
  expect(propertiesArg({ without: 'lock' })).not.toContain('lock');
  const wrong = await run('soak', '--calls', '1', '--without', 'nothing');
  expect([wrong.code, wrong.err]).toEqual([
    2,
    expect.stringMatching(/^postern: --without: expected one of accounting/),
  ]);
  const right = await run('soak', '--calls', '10', '--without', 'lock,panic', '--json');
  expect([right.code, JSON.parse(right.out)]).toMatchObject([0, { properties: expect.stringContaining('accounting') }]);
});
