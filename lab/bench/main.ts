/**
 * `npm run bench`: what the core costs, each figure beside a floor measured in the same run. Nothing here is a test: the
 * numbers are for people, and only the ratios carry over to another machine. `npm run bench -- mix fuzz` measures these
 * parts alone.
 */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { gunzipSync } from 'node:zlib';
import { qemuVirt } from '#machine';
import { endWhenOutputCloses } from '../io/closed-output.ts';
import { tuneEngine } from '../io/engine.ts';
import { type ReplayReport, replay } from '../replay/replay.ts';
import { operationsOf } from '../trace/operations.ts';
import { parseTrace } from '../trace/parse.ts';
import { fastCheckRate, fuzzRates, workersRate } from './fuzz.ts';
import { crossingRate, hypercallRate, type Rate } from './hypercalls.ts';
import { ioPgtable } from './io-pgtable.ts';
import { DMA_CALLS, mixRate, type RandomMix, recordMix, recordSinglePages } from './random-mix.ts';
import { smmu } from './smmu.ts';
import type { Row } from './timing.ts';

const LARGE_TRACE = 'test/fixtures/rig/lazy-large-smp2.trace.txt.gz';
const ROUNDS = 400;
const CHECKED_ROUNDS = 60;
/** Calls that get a wrong argument, in percent: with so many about four in ten calls do anything. */
const WRONG_DMA = 40;
const WRONG_ALL = 60;
const MIX_ROUNDS = 200;
const CHECKED_MIX_ROUNDS = 120;

function line(label: string, value: string): void {
  process.stdout.write(`  ${label.padEnd(44)}${value}\n`);
}

function rateLine({ name, best, median }: Rate): void {
  const text = (rate: number): string =>
    rate < 1e5 ? `${(rate / 1e3).toFixed(1)} k/s` : `${(rate / 1e6).toFixed(2)} M/s`;
  line(name, `${text(best).padStart(11)} best, ${text(median)} median`);
}

async function replayLine(unchecked: boolean): Promise<ReplayReport> {
  const log = operationsOf(parseTrace(gunzipSync(readFileSync(LARGE_TRACE)).toString(), LARGE_TRACE).events);
  const { report } = await replay(log, {
    machine: qemuVirt,
    stage: 1,
    now: () => performance.now(),
    ...(unchecked ? { unchecked: true } : {}),
  });
  const label = `replay ${report.operations.toLocaleString('en-US')} operations, ${unchecked ? 'no' : 'all'} oracles`;
  line(label, `${(report.milliseconds / 1000).toFixed(2).padStart(9)} s, ${report.hypercalls} hypercalls`);
  return report;
}

/** One line for each row: nanoseconds, millions a second, and how that compares. */
function table(title: string, rows: readonly Row[]): void {
  const line = (...cells: string[]): void => {
    const [name, ...rest] = cells;
    const padded = rest.map((cell, i) => (i === 2 ? `  ${cell.padEnd(18)}` : cell.padStart(10)));
    process.stdout.write(`  ${name!.padEnd(42)}${padded.join('')}\n`);
  };
  process.stdout.write('\n');
  line(title, 'best', 'median', 'median rate', 'target', 'x target', 'x floor', 'x bigint');
  for (const { timing, per = 1, unit = 'M/s', target, floor, reference } of rows) {
    const { name, best, median } = timing;
    const rate = (1000 * per) / median;
    const to = (of: number | undefined, digits: number): string => (of === undefined ? '' : of.toFixed(digits));
    line(
      name,
      `${best.toFixed(1)} ns`,
      `${median.toFixed(1)} ns`,
      `${rate.toFixed(rate < 100 ? 1 : 0)} ${unit}`,
      to(target, 0),
      to(target && rate / target, 2),
      to(floor && median / floor.median, 1),
      to(reference && reference.median / median, 1),
    );
  }
}

function pageTables(): void {
  table('Page tables (undo on)', ioPgtable());
}

function smmus(): void {
  table('SMMU (undo on, 4K granule)', smmu());
}

function hypercalls(): void {
  process.stdout.write('\nHypercalls (single-page map and unmap through the boundary)\n');
  const crossing = crossingRate(ROUNDS);
  const bare = hypercallRate('without oracles', true, ROUNDS);
  const checked = hypercallRate('with all oracles and life cycles', false, CHECKED_ROUNDS);
  for (const rate of [crossing, bare, checked]) rateLine(rate);
  line('a hypercall, times the floor', `${(crossing.median / bare.median).toFixed(1).padStart(9)}x`);
  line('cost of checking', `${(bare.median / checked.median).toFixed(1).padStart(9)}x`);
}

function singlePages(): void {
  mixOf('of the six calls on single pages', recordSinglePages());
}

function mixes(): void {
  mixOf('of DMA calls', recordMix(WRONG_DMA, DMA_CALLS));
  mixOf('of all calls', recordMix(WRONG_ALL));
}

function mixOf(what: string, mix: RandomMix): void {
  const share = `${Math.round(100 * mix.success)} % of which do anything`;
  const runs = mix.runs.length === 1 ? 'one run' : `${mix.runs.length} runs`;
  process.stdout.write(`\nA random mix ${what} (${mix.calls} calls, ${share}, in ${runs} from boot; one CPU)\n`);
  const mixed = mixRate('without oracles', mix, 'plain', MIX_ROUNDS);
  const undone = mixRate('each made, undone and made again', mix, 'undone', MIX_ROUNDS);
  const stepped = mixRate('in the build that pauses', mix, 'stepped', MIX_ROUNDS);
  const mixedChecked = mixRate('with all oracles', mix, 'checked', CHECKED_MIX_ROUNDS);
  const tracked = mixRate('with all oracles and life cycles, by boundary', mix, 'tracked', CHECKED_MIX_ROUNDS);
  for (const rate of [mixed, undone, stepped, mixedChecked, tracked]) rateLine(rate);
  const undo = (mixed.undoOfRun * mix.runs.length) / mix.calls;
  line('undo, for each call of a run', `${undo.toFixed(0).padStart(9)} ns`);
  line('undo of a run of such calls', `${(mixed.undoOfRun / 1000).toFixed(1).padStart(9)} µs`);
  line('the same with all oracles and life cycles', `${(tracked.undoOfRun / 1000).toFixed(1).padStart(9)} µs`);
  line('cost of pausing', `${(mixed.median / stepped.median).toFixed(1).padStart(9)}x`);
  line('cost of checking', `${(mixed.median / mixedChecked.median).toFixed(1).padStart(9)}x`);
}

async function fuzzing(): Promise<void> {
  process.stdout.write('\nFuzzing (preset tiny, one worker; hypercalls)\n');
  const [blind, guided] = fuzzRates();
  const commands = fastCheckRate('the same properties as commands of fast-check', 'boot');
  const undone = fastCheckRate('the same, with the journal lent to it', 'undo');
  const one = await workersRate('postern fuzz, one worker', 1);
  const two = await workersRate('postern fuzz, two workers', 2);
  for (const rate of [blind!, guided!, commands, undone, one, two]) rateLine(rate);
  line('blind, times fast-check', `${(blind!.median / commands.median).toFixed(1).padStart(9)}x`);
  line('blind, times fast-check with the journal', `${(blind!.median / undone.median).toFixed(1).padStart(9)}x`);
  line('cost of feedback', `${(blind!.median / guided!.median).toFixed(1).padStart(9)}x`);
  line('two workers, times one', `${(two.median / one.median).toFixed(2).padStart(10)}x`);
}

async function replays(): Promise<void> {
  process.stdout.write('\nReplay of a real kernel (stage 1, qemu-virt)\n');
  const bareReplay = await replayLine(true);
  const checkedReplay = await replayLine(false);
  const crossings = (checkedReplay.hypercalls / crossingRate(ROUNDS).median) * 1000;
  line(
    'all oracles, times that many bare crossings',
    `${(checkedReplay.milliseconds / crossings).toFixed(0).padStart(9)}x`,
  );
  line('cost of checking', `${(checkedReplay.milliseconds / bareReplay.milliseconds).toFixed(1).padStart(9)}x`);
}

const PARTS: Readonly<Record<string, () => void | Promise<void>>> = {
  tables: pageTables,
  smmu: smmus,
  hypercalls,
  single: singlePages,
  mix: mixes,
  fuzz: fuzzing,
  replay: replays,
};

const asked = process.argv.slice(2);
const unknown = asked.find((name) => !Object.hasOwn(PARTS, name));
if (unknown !== undefined) {
  process.stderr.write(`bench: there is no part '${unknown}'; there are ${Object.keys(PARTS).join(', ')}\n`);
  process.exit(2);
}
endWhenOutputCloses();
tuneEngine();
// On a busy machine a compiler in the background may come too late for what is measured.
setFlagsFromString('--no-concurrent-recompilation');
process.stdout.write(`Node ${process.version}, ${cpus()[0]?.model ?? 'unknown processor'}\n`);
for (const [name, measure] of Object.entries(PARTS)) if (asked.length === 0 || asked.includes(name)) await measure();
