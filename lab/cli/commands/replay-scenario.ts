/** The part of `postern replay` that runs scenarios: each step with what came of it, and whether that was expected. */
import { EMIT_KINDS, type EmitKind, emit, isEmitKind } from '../../emit/index.ts';
import { InputError } from '../../input-error.ts';
import { writeText } from '../../io/write-text.ts';
import { renderStory } from '../../narrator/render.ts';
import { tell } from '../../narrator/tell.ts';
import { encodeShare, type Placement, type Scenario } from '../../scenario/index.ts';
import { runScenario, type ScenarioReport } from '../../scenario/run.ts';
import { renderSvg, timelineOf, timelineView } from '../../views/index.ts';
import { hypervisorByIdentity } from '../../zoo/index.ts';
import { type CliIo, type CommandArgs, flagArg, textArg, UsageError } from '../command.ts';
import { propertiesArg } from '../property-args.ts';
import { readScenario, type ScenarioInput } from '../scenario-input.ts';
import { coloursOf, storyStyle } from '../style.ts';

/** @returns 0 when every step came to what it expects, else 1 */
export async function replayScenario(input: ScenarioInput, args: CommandArgs, io: CliIo): Promise<number> {
  const { scenario, placement } = readScenario(input);
  const kind = emitKind(args);
  const properties = propertiesArg(args);
  const judged = properties === undefined ? {} : { properties };
  const report = runScenario(scenario, { ...placement, ...judged, hypervisors: hypervisorByIdentity, full: 'every' });
  const svg = textArg(args, 'svg');
  if (svg !== undefined) {
    const timeline = timelineOf(scenario, hypervisorByIdentity(scenario.hypervisor));
    await writeText(svg, renderSvg(timelineView(timeline)));
  }
  if (kind !== null) {
    await give(emitted(kind, scenario, placement), args, io);
    return report.ok ? 0 : 1;
  }
  const share = encodeShare(scenario);
  if (flagArg(args, 'json')) {
    io.out(`${JSON.stringify({ schema: 'postern/scenario-run/0', scenario, report, share }, null, 2)}\n`);
  } else {
    if (flagArg(args, 'story')) {
      io.out(
        renderStory(
          tell(scenario, hypervisorByIdentity(scenario.hypervisor)),
          Math.min(io.columns, 110),
          storyStyle(io),
        ),
      );
    } else {
      io.out(renderRun(report, io));
    }
    io.out(`\n${summary(scenario, report)}\nshare: ${share}\n`);
  }
  return report.ok ? 0 : 1;
}

/** @throws UsageError for an unknown kind, or options that would do nothing */
function emitKind(args: CommandArgs): EmitKind | null {
  const kind = textArg(args, 'emit');
  if (kind === undefined) {
    if (textArg(args, 'output') !== undefined)
      throw new UsageError('--output names the file of --emit, which is missing');
    return null;
  }
  const other = ['json', 'story'].find((name) => flagArg(args, name));
  if (other !== undefined) throw new UsageError(`--${other} does not apply beside --emit`);
  if (!isEmitKind(kind)) {
    throw new UsageError(`--emit: expected one of ${Object.keys(EMIT_KINDS).join(', ')}, got ${JSON.stringify(kind)}`);
  }
  return kind;
}

function emitted(kind: EmitKind, scenario: Scenario, { file = 'scenario' }: Placement): string {
  try {
    return emit(kind, scenario, hypervisorByIdentity(scenario.hypervisor));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InputError({ file, expected: `a scenario that --emit ${kind} can say`, got: error.message });
  }
}

async function give(text: string, args: CommandArgs, io: CliIo): Promise<void> {
  const output = textArg(args, 'output');
  if (output === undefined) io.out(text);
  else await writeText(output, text);
}

function renderRun({ steps }: ScenarioReport, io: CliIo): string {
  const colours = coloursOf(io);
  let text = '';
  for (const { text: step, result, asExpected, violations } of steps) {
    const mark = asExpected ? colours.green('ok ') : colours.red('NOT');
    text += `${mark} ${step}${asExpected ? '' : colours.red(`   (came to: ${result})`)}\n`;
    for (const { property, text: why } of violations)
      text += colours.yellow(`      violation of ${property}: ${why}\n`);
  }
  return text;
}

function summary(
  { hypervisor, machine, steps }: Scenario,
  { steps: results, violations, ok, firstDifference, lostTrack }: ScenarioReport,
): string {
  const count = steps.filter(({ kind }) => kind !== 'expect').length;
  const silent =
    lostTrack === null
      ? ''
      : `; no order of calls explains what came of line ${results[lostTrack]!.line}: behind it only locks and panics were looked at`;
  const what = `${count} steps on ${machine}, hypervisor ${hypervisor}: ${violations.length} violations${silent}`;
  if (ok) return `${what}; all as expected`;
  const { line, text, expected, result, violations: found } = results[firstDifference!]!;
  const [unexpected] = found;
  const wanted = expected === null || expected === result ? 'no violation' : expected;
  const came = unexpected === undefined ? result : `${result}, and a violation of ${unexpected.property}`;
  return `${what}; the first step that is not as expected stands on line ${line}: ${text}\n  expected ${wanted}, came to ${came}`;
}
