/** `postern replay`: run a real kernel's trace, or a scenario, through the hypervisor, with every oracle watching. */
import type { Fixture } from '../../fixture/fixture.ts';
import { readFixture } from '../../io/fixture.ts';
import { readMachine } from '../../io/machine.ts';
import { progressBar } from '../../io/progress.ts';
import { displayName, forEachLine } from '../../io/read-text.ts';
import { stageOf, streamsOfRoots } from '../../replay/bind.ts';
import { checkAddresses } from '../../replay/check.ts';
import { compareLive } from '../../replay/live.ts';
import { renderReplay, replayDocument } from '../../replay/render.ts';
import { replay } from '../../replay/replay.ts';
import { SCENARIO_MAGIC, SHARE_PREFIX } from '../../scenario/format.ts';
import type { TraceEvent } from '../../trace/event.ts';
import { operationsOf } from '../../trace/operations.ts';
import { TraceParser, type TraceSummary } from '../../trace/parse.ts';
import {
  type CliIo,
  type Command,
  type CommandArgs,
  flagArg,
  numberArg,
  requiredText,
  textArg,
  UsageError,
} from '../command.ts';
import { breathe } from './breathe.ts';
import { replayScenario } from './replay-scenario.ts';

export const replayCommand: Command = {
  name: 'replay <trace>',
  describe: 'Replay a kernel trace (file, gzip, or -), a scenario file, or a share string',
  options: [
    {
      flags: '--fixture <file>',
      describe: 'Frozen memory of the same run: names the streams, checks what is mapped at the end',
    },
    {
      flags: '--machine <name>',
      describe: 'Machine to replay a trace on: a preset, or a JSON file',
      default: 'qemu-virt',
    },
    { flags: '--stage <n>', describe: 'Translation stage of the domains, 1 or 2 (default: as in the fixture, else 1)' },
    { flags: '--story', describe: 'Tell a scenario step by step, in plain sentences' },
    { flags: '--unchecked', describe: 'Without oracles: for measuring' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern replay test/fixtures/rig/strict-all.trace.txt.gz --fixture test/fixtures/rig/strict-all.json.gz',
    'postern replay finding.scenario',
  ],
  async run(args, io) {
    const path = requiredText(args, 'trace');
    if (path.startsWith(SHARE_PREFIX)) return replayScenario({ share: path }, args, io);
    const input = await readInput(path);
    if (input.kind === 'scenario') return replayScenario({ text: input.text, file: displayName(path) }, args, io);
    return replayTrace(input.events, input.trace, args, io);
  },
};

type Input =
  | { readonly kind: 'scenario'; readonly text: string }
  | { readonly kind: 'trace'; readonly events: readonly TraceEvent[]; readonly trace: TraceSummary };

/** Reads the file once; its first line tells what it is. @throws InputError at the first malformed line */
async function readInput(path: string): Promise<Input> {
  const parser = new TraceParser(displayName(path));
  const events: TraceEvent[] = [];
  let scenario: string[] | null = null;
  await forEachLine(path, (line, number) => {
    if (number === 1 && line.startsWith(SCENARIO_MAGIC)) scenario = [];
    if (scenario !== null) {
      scenario.push(line);
      return;
    }
    const event = parser.push(line);
    if (event !== null) events.push(event);
    else if (parser.firstError !== null) throw parser.firstError;
  });
  if (scenario !== null) return { kind: 'scenario', text: (scenario as string[]).join('\n') };
  return { kind: 'trace', events, trace: parser.summary() };
}

function stageOption(args: CommandArgs, fixture: Fixture | null): 1 | 2 {
  const stage = numberArg(args, 'stage') ?? (fixture === null ? 1 : stageOf(fixture));
  if (stage !== 1 && stage !== 2) throw new UsageError(`--stage: expected 1 or 2, got ${stage}`);
  return stage;
}

async function replayTrace(
  events: readonly TraceEvent[],
  trace: TraceSummary,
  args: CommandArgs,
  io: CliIo,
): Promise<number> {
  const fixturePath = textArg(args, 'fixture');
  const fixture = fixturePath === undefined ? null : await readFixture(fixturePath);
  const machine = await readMachine(requiredText(args, 'machine'));
  const log = operationsOf(events);
  checkAddresses(log, machine, trace.file);
  const json = flagArg(args, 'json');
  const bar = progressBar(io, 'replaying', !json);
  let stopped = false;
  const release = io.onInterrupt(() => {
    stopped = true;
  });
  const { report, session } = await replay(log, {
    machine,
    stage: stageOption(args, fixture),
    ...(fixture === null ? {} : { streams: streamsOfRoots(log, fixture) }),
    ...(flagArg(args, 'unchecked') ? { unchecked: true } : {}),
    now: () => performance.now(),
    onProgress: (done, total) => bar.update(done, total),
    stop: () => stopped,
    pause: breathe,
  });
  bar.end();
  release();
  const live = fixture === null ? null : compareLive(session.machine, report.roots, fixture, log.statistics.probed);
  const document = { trace, log, report, live };
  io.out(json ? `${JSON.stringify(replayDocument(document), null, 2)}\n` : renderReplay(document));
  const agrees = live === null || (live.equal === live.expected && live.differences.length === 0);
  return report.violations.length === 0 && report.mismatchCount === 0 && agrees ? 0 : 1;
}
