/** `postern demo`: the tour. A real kernel's DMA crosses the hypercalls, an attack is refused, two defects are found. */
import { fileURLToPath } from 'node:url';
import type { Profile } from '#hypercall-abi';
import { qemuVirt } from '#machine';
import { attackOf } from '../../demo/attack.ts';
import { type FoundDefect, findDefect } from '../../demo/defects.ts';
import { readFixture } from '../../io/fixture.ts';
import { progressBar } from '../../io/progress.ts';
import { readTrace } from '../../io/trace.ts';
import { renderStory, wrap } from '../../narrator/render.ts';
import { tell } from '../../narrator/tell.ts';
import { stageOf, streamsOfRoots } from '../../replay/bind.ts';
import { compareLive } from '../../replay/live.ts';
import { renderReplay } from '../../replay/render.ts';
import { replay } from '../../replay/replay.ts';
import { parseScenario } from '../../scenario/index.ts';
import { operationsOf } from '../../trace/operations.ts';
import { cardOf, hypervisorByIdentity } from '../../zoo/index.ts';
import { type CliIo, type Command, flagArg, numberArg } from '../command.ts';
import { profileArg, profileOption } from '../profile-arg.ts';
import { storyStyle } from '../style.ts';
import { breathe } from './breathe.ts';

const TRACE = '../test/fixtures/rig/strict-all.trace.txt.gz';
const FIXTURE = '../test/fixtures/rig/strict-all.json.gz';
const DEFECTS = ['Z14', 'Z23'];
const CALLS_MAX = 2_000_000;
const WIDTH_MAX = 110;

export const demoCommand: Command = {
  name: 'demo',
  describe: "The tour: replay a real kernel's DMA, refuse an attack, find two real defects",
  options: [
    { flags: '--seed <n>', describe: 'Seed of the random calls', default: 1 },
    profileOption,
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  async run(args, io) {
    const seed = numberArg(args, 'seed') ?? 1;
    const profile = profileArg(args);
    const json = flagArg(args, 'json');
    const say = (text: string): void => {
      if (!json) io.out(text);
    };
    let stopped = false;
    const release = io.onInterrupt(() => {
      stopped = true;
    });
    const traffic = await realTraffic(io, json, profile, say, () => stopped);
    const attack = refusedAttack(io, profile, say);
    const defects: FoundDefect[] = [];
    const wanted = DEFECTS.filter((id) => cardOf(id).profile === profile.name);
    if (wanted.length === 0) say(`\nThe defects of the tour belong to another generation than ${profile.name}.\n`);
    for (const id of wanted) {
      if (stopped) break;
      say(heading(`A real upstream defect: ${id}`));
      const found = await search(id, seed, () => stopped);
      if (found !== null) defects.push(found);
      say(found === null ? `${id} was not found.\n` : defectText(found, io));
    }
    release();
    const ok = traffic.ok && attack.violations.length === 0 && defects.length === wanted.length;
    if (json) {
      const document = {
        schema: 'postern/demo/0',
        seed,
        ok,
        replay: traffic.report,
        live: traffic.live,
        attack,
        defects,
      };
      io.out(`${JSON.stringify(document, null, 2)}\n`);
    } else {
      say(
        `\n${ok ? 'All as it should be.' : 'Something is not as it should be.'} Next: npx postern replay --help, npx postern walk --help\n`,
      );
    }
    return ok ? 0 : 1;
  },
};

/** Runs the search, with a turn for signals after each of its runs. */
async function search(id: string, seed: number, stop: () => boolean): Promise<FoundDefect | null> {
  const running = findDefect(id, seed, CALLS_MAX);
  for (;;) {
    const { done, value } = running.next();
    if (done) return value;
    await breathe();
    if (stop()) return null;
  }
}

function heading(text: string): string {
  return `\n== ${text} ${'='.repeat(Math.max(3, 76 - text.length))}\n\n`;
}

async function realTraffic(
  io: CliIo,
  json: boolean,
  profile: Profile,
  say: (text: string) => void,
  stop: () => boolean,
) {
  say(heading("A real kernel's DMA, through the hypercalls"));
  say(
    'The IOMMU trace of a Linux 6.1 kernel with seven devices, recorded with the frozen memory of the same run. Every\n',
  );
  say('map and unmap crosses the hypercalls. After each call the oracles compare what it touched: descriptors,\n');
  say('invalidations, owners and counts of pages; now and then, and at the end, they decode everything anew.\n\n');
  const trace = await readTrace(fileURLToPath(new URL(TRACE, import.meta.url)));
  const fixture = await readFixture(fileURLToPath(new URL(FIXTURE, import.meta.url)));
  const log = operationsOf(trace.events);
  const bar = progressBar(io, 'replaying', !json);
  const { report, session } = await replay(log, {
    machine: qemuVirt,
    profile,
    stage: stageOf(fixture),
    streams: streamsOfRoots(log, fixture),
    now: () => performance.now(),
    onProgress: (done, total) => bar.update(done, total),
    pause: breathe,
    stop,
  });
  bar.end();
  const live = compareLive(session.machine, report.roots, fixture, log.statistics.probed);
  const name = TRACE.slice(TRACE.lastIndexOf('/') + 1);
  say(renderReplay({ trace: { ...trace, file: name }, log, report, live }));
  const ok = report.violations.length === 0 && report.mismatchCount === 0 && live.equal === live.expected;
  return { report, live, ok };
}

function refusedAttack(io: CliIo, profile: Profile, say: (text: string) => void) {
  say(heading('An attack, refused'));
  const scenario = parseScenario(attackOf(profile), 'the attack');
  const story = tell(scenario, hypervisorByIdentity(scenario.hypervisor));
  say(`${story.title}.\n\n`);
  say(renderStory(story, width(io), storyStyle(io)));
  return story;
}

function width(io: CliIo): number {
  return Math.min(io.columns, WIDTH_MAX);
}

/** The story of a found defect, with what it was upstream. */
function defectText(
  { card, signature, calls, stepsBefore, scenario, oneMinimal, share, story, diff }: FoundDefect,
  io: CliIo,
): string {
  const columns = width(io);
  const fixes =
    card.upstream.commits.length === 0 ? 'no published fix' : `fixed by ${card.upstream.commits.join(', ')}`;
  const steps = scenario.steps.filter(({ kind }) => kind !== 'expect').length;
  let text = wrap(`${card.title} (${card.kind}, ${fixes}). ${card.upstream.reference}`, columns, '');
  text += `\nFound by ${calls.toLocaleString('en-US')} random calls in ${stepsBefore} steps; shrunk to ${steps}`;
  text += oneMinimal ? ', none of which can be left out:\n\n' : ':\n\n';
  text += renderStory(story, columns, storyStyle(io));
  text += `\n${wrap(`The rule: ${card.breaks}`, columns, '')}`;
  text += wrap(`What an attacker gains: ${card.attack}`, columns, '');
  text += `Reported as ${signature.property} (${signature.rule}).\n\nThe defect as an edit of the correct hypervisor:\n\n`;
  text += diff
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}\n`)
    .join('');
  return `${text}\nRun it again: npx postern replay '${share}'\n`;
}
