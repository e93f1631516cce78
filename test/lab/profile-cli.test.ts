/** Scenarios, replay and tour under each profile. */

import { expect, test } from 'vitest';
import { profiles } from '#hypercall-abi';
import { parseScenario, printScenario, runScenario } from '#lab/scenario/index';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { demoCommand } from '../../lab/cli/commands/demo.ts';
import { replayCommand } from '../../lab/cli/commands/replay.ts';
import { runCommandLine } from '../../lab/cli/run.ts';
import { attackOf } from '../../lab/demo/attack.ts';

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
  const code = await runCommandLine({ name: 'postern', version: '0' }, [demoCommand, replayCommand], argv, io);
  return { code, ...said };
}

const TRACE = 'test/fixtures/rig/strict-all.trace.txt.gz';
const FIXTURE = 'test/fixtures/rig/strict-all.json.gz';

test.each(profiles)('$name: the attack of the tour comes to what it says, and is printed as it is read', (profile) => {
  const scenario = parseScenario(attackOf(profile), 'attack');
  expect(scenario.profile).toBe(profile.name);
  const report = runScenario(scenario, { hypervisors: hypervisorByIdentity });
  expect(report.steps.filter(({ asExpected }) => !asExpected).map(({ text, result }) => [text, result])).toEqual([]);
  expect(report.violations).toEqual([]);
  expect(parseScenario(printScenario(scenario), 'again')).toEqual(scenario);
});

test.each(profiles)('$name: a kernel’s trace ends as the kernel did', async ({ name }) => {
  const { code, out, err } = await run('replay', TRACE, '--fixture', FIXTURE, '--profile', name, '--json');
  const { replay, live } = JSON.parse(out);
  expect(err).toBe('');
  expect(replay.violations).toEqual([]);
  // The kernel mapped at stage 1, whose descriptors are others: the first series has stage 2 alone.
  const isSameStage = name !== 'rfc-v1';
  expect(code).toBe(isSameStage ? 0 : 1);
  if (isSameStage) expect(live.equal).toBe(live.expected);
  expect(replay.calls.map_pages).toBeGreaterThan(1000);
});

test('an unknown profile is refused with those there are', async () => {
  for (const command of [['demo'], ['replay', TRACE]]) {
    const { code, err } = await run(...command, '--profile', 'android15');
    expect(code).toBe(2);
    expect(err).toContain('--profile: expected one of android17, android16, rfc-v2, rfc-v1, got "android15"');
  }
});
