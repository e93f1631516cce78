/** `postern replay`: run a real kernel's trace, or a scenario, through the hypervisor, with every oracle watching. */
import { EMIT_KINDS } from '../../emit/index.ts';
import type { Fixture } from '../../fixture/fixture.ts';
import { InputError } from '../../input-error.ts';
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
import { profileArg, profileOption } from '../profile-arg.ts';
import { propertiesArg, propertyOptions } from '../property-args.ts';
import { replayRaw } from '../replay-raw.ts';
import { breathe } from './breathe.ts';
import { replayScenario } from './replay-scenario.ts';

const DEFAULT_MACHINE = 'qemu-virt';

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
      describe: `Machine to replay a trace on: a preset, or a JSON file (default: ${DEFAULT_MACHINE})`,
    },
    { flags: '--stage <n>', describe: 'Translation stage of the domains, 1 or 2 (default: as in the fixture, else 1)' },
    profileOption,
    { flags: '--emit <kind>', describe: `Give a scenario in another form: ${Object.keys(EMIT_KINDS).join(', ')}` },
    { flags: '-o, --output <file>', describe: 'Write that form to a file instead of printing it' },
    { flags: '--story', describe: 'Tell a scenario step by step, in plain sentences' },
    { flags: '--svg <file>', describe: 'Write a drawing of a scenario: its steps, and when old entries may be used' },
    { flags: '--raw', describe: 'The file holds bytes: an input of the fuzzer, or any others' },
    { flags: '--hypervisor <name>', describe: 'Whom bytes are run against (default: postern)' },
    { flags: '--abort', describe: 'With --raw: die of SIGABRT at a violation, as fuzzers expect it' },
    { flags: '--unchecked', describe: 'Without oracles: for measuring' },
    ...propertyOptions,
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern replay test/fixtures/rig/strict-all.trace.txt.gz --fixture test/fixtures/rig/strict-all.json.gz',
    'postern replay finding.scenario --svg finding.svg',
    'postern replay finding.scenario --emit html -o finding.html',
  ],
  async run(args, io) {
    const path = requiredText(args, 'trace');
    if (flagArg(args, 'raw')) {
      refuseOptions(args, ['fixture', 'stage', 'unchecked', 'story', 'svg', 'emit', 'output'], 'bytes');
      return replayRaw(path, args, io);
    }
    refuseOptions(args, ['abort', 'hypervisor'], 'what is not --raw');
    const isShare = path.startsWith(SHARE_PREFIX);
    if (isShare) refuseOptions(args, TRACE_OPTIONS, 'a scenario');
    if (isShare) return replayScenario({ share: path }, args, io);
    const input = await readInput(path);
    refuseOptions(args, input.kind === 'scenario' ? TRACE_OPTIONS : ['story', 'emit', 'output'], `a ${input.kind}`);
    if (input.kind === 'scenario') return replayScenario({ text: input.text, file: displayName(path) }, args, io);
    if (textArg(args, 'svg') !== undefined)
      throw new UsageError(`--svg draws a scenario: ${displayName(path)} is none`);
    return replayTrace(input.events, input.trace, args, io);
  },
};

const TRACE_OPTIONS = ['fixture', 'machine', 'stage', 'profile', 'unchecked'];

/** @throws UsageError when one of these options is given: it would do nothing */
function refuseOptions(args: CommandArgs, names: readonly string[], subject: string): void {
  const given = names.find((name) => args[name] !== undefined && args[name] !== false);
  if (given !== undefined) throw new UsageError(`--${given} does not apply to ${subject}`);
}

type Input =
  | { readonly kind: 'scenario'; readonly text: string }
  | { readonly kind: 'trace'; readonly events: readonly TraceEvent[]; readonly trace: TraceSummary };

/**
 * Reads the file once; its first line tells what it is.
 * @throws InputError at the first malformed line, or when it is a trace without events
 */
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
  const trace = parser.summary();
  if (events.length === 0) throw noEvents(trace);
  return { kind: 'trace', events, trace };
}

function noEvents({ file, lines, unknown }: TraceSummary): InputError {
  const others = [...unknown.keys()].join(', ');
  const got = lines === 0 ? 'an empty file' : `${lines} lines without one${others === '' ? '' : ` (but ${others})`}`;
  return new InputError({ file, expected: 'at least one event', got });
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
  const machine = await readMachine(textArg(args, 'machine') ?? DEFAULT_MACHINE);
  const log = operationsOf(events);
  checkAddresses(log, machine, trace.file);
  const properties = propertiesArg(args);
  if (flagArg(args, 'unchecked') && properties !== undefined) {
    throw new UsageError('--unchecked reports nothing: --properties and --without do not go with it');
  }
  const json = flagArg(args, 'json');
  const bar = progressBar(io, 'replaying', !json);
  let stopped = false;
  const release = io.onInterrupt(() => {
    stopped = true;
  });
  const { report, session } = await replay(log, {
    machine,
    profile: profileArg(args),
    stage: stageOption(args, fixture),
    ...(fixture === null ? {} : { streams: streamsOfRoots(log, fixture) }),
    ...(flagArg(args, 'unchecked') ? { unchecked: true } : {}),
    ...(properties === undefined ? {} : { properties }),
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
