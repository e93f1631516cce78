/**
 * `postern zoo`: the defects of the published drivers, and how soon the engines of the lab find them. `zoo list` and
 * `zoo show ID` are for reading; without them every engine hunts every defect, and the detection matrix comes of it.
 */
import { existsSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import project from '../../../package.json' with { type: 'json' };
import { InputError } from '../../input-error.ts';
import { progressBar } from '../../io/progress.ts';
import { readText } from '../../io/read-text.ts';
import { writeText } from '../../io/write-text.ts';
import { type Hunter, startHunters } from '../../io/zoo-hunters.ts';
import type { HuntOrder } from '../../io/zoo-messages.ts';
import type { DefectCard } from '../../zoo/card.ts';
import type { Detection, Engine } from '../../zoo/engine.ts';
import { engineNamed, engineNames } from '../../zoo/engines.ts';
import { cardOf, cards } from '../../zoo/index.ts';
import { type MatrixRow, matrixOf } from '../../zoo/matrix.ts';
import { outOfScope } from '../../zoo/out-of-scope.ts';
import { type MatrixInfo, matrixHtml, matrixMarkdown } from '../../zoo/report.ts';
import { parseTrials, TRIAL_HEADER, type Trial, trialLine } from '../../zoo/trial.ts';
import { type CliIo, type Command, type CommandArgs, flagArg, numberArg, textArg, UsageError } from '../command.ts';
import { listText, showText } from './zoo-text.ts';

const SCHEMA = 'postern/zoo/0';
const DEFAULT_SECONDS = 60;

export const zooCommand: Command = {
  name: 'zoo [action] [card]',
  describe: 'Real defects: list them, show one, or measure which engine finds which, and how soon',
  options: [
    { flags: '--cards <ids>', describe: 'Defects to hunt, separated by commas (default: all)' },
    { flags: '--engine <names>', describe: `Engines, separated by commas (default: ${engineNames.join(',')})` },
    { flags: '--seed <n>', describe: 'First seed', default: 1 },
    { flags: '--seeds <n>', describe: 'How many seeds each engine hunts each defect with', default: 1 },
    { flags: '--seconds <n>', describe: 'CPU time of one hunt at most', default: DEFAULT_SECONDS },
    { flags: '-j, --jobs <n>', describe: 'Hunts at a time (default: one for each CPU)' },
    { flags: '--csv <file>', describe: 'Where each hunt is kept, one line each; an existing file is gone on with' },
    { flags: '--md <file>', describe: 'Write the matrix as Markdown' },
    { flags: '--html <file>', describe: 'Write the matrix as a page of HTML' },
    { flags: '--scenario', describe: 'show: print the scenario alone, to be replayed' },
    { flags: '--diff', describe: 'show: print the change of the source alone, for patch or git apply' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern zoo list',
    'postern zoo show Z14',
    'postern zoo --cards Z14,Z23 --html matrix.html',
    'postern zoo --seeds 20 --csv raw.csv',
  ],
  async run(args, io) {
    const action = textArg(args, 'action');
    const id = textArg(args, 'card');
    if (action === 'show') return show(args, io, id);
    if (id !== undefined) throw new UsageError(`zoo ${action} takes no defect; zoo show ${id} does`);
    if (action === 'list') return list(args, io);
    if (action !== undefined)
      throw new UsageError(`zoo: expected list, show or nothing, got ${JSON.stringify(action)}`);
    return hunt(args, io);
  },
};

function list(args: CommandArgs, io: CliIo): number {
  const told = cards.map(({ edits: _, ...card }) => card);
  io.out(flagArg(args, 'json') ? json({ schema: SCHEMA, cards: told, outOfScope }) : listText(cards, outOfScope));
  return 0;
}

function show(args: CommandArgs, io: CliIo, id: string | undefined): number {
  if (id === undefined) throw new UsageError('zoo show needs the id of a defect, such as Z14; see postern zoo list');
  const text = showText(cardOf(id));
  if (flagArg(args, 'scenario')) io.out(text.scenario);
  else if (flagArg(args, 'diff')) io.out(text.diff);
  else if (flagArg(args, 'json')) {
    io.out(json({ schema: SCHEMA, card: cardOf(id), diff: text.diff, scenario: text.scenario }));
  } else io.out(text.whole);
  return 0;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

// ---- the matrix

/** What was asked for. */
interface Plan {
  readonly cards: readonly DefectCard[];
  readonly engines: readonly Engine[];
  readonly firstSeed: number;
  readonly seeds: number;
  readonly budget: number;
}

async function hunt(args: CommandArgs, io: CliIo): Promise<number> {
  const plan = planOf(args);
  const csv = textArg(args, 'csv');
  const orders = ordersOf(plan);
  const known = await openCsv(csv, plan);
  const trials = known.filter((trial) => orders.some((order) => isOf(trial, order)));
  const left = orders.filter((order) => !trials.some((trial) => isOf(trial, order)));
  const detections = new Map<string, Detection>();
  const progress = progressBar(io, 'zoo', !flagArg(args, 'json'));
  const hunters = startHunters(Math.min(numberArg(args, 'jobs') ?? availableParallelism(), Math.max(1, left.length)));
  let stop = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const release = io.onInterrupt(stop);
  const all = Promise.all(
    hunters.map((hunter) =>
      work(hunter, left, async (trial, detection) => {
        trials.push(trial);
        if (detection !== null && !detections.has(trial.card + trial.engine)) {
          detections.set(trial.card + trial.engine, detection);
        }
        if (csv !== undefined) await appendFile(csv, `${trialLine(trial)}\n`);
        progress.update(trials.length, orders.length);
      }),
    ),
  );
  try {
    await Promise.race([all, stopped]);
  } finally {
    release();
    progress.end();
    await Promise.all(hunters.map((hunter) => hunter.close()));
  }
  const rows = matrixOf(plan.cards, plan.engines, trials);
  await tell(args, io, rows, infoOf(plan, trials.length, orders.length), trials, detections);
  return trials.length === orders.length && trials.every(({ censored }) => !censored) ? 0 : 3;
}

function planOf(args: CommandArgs): Plan {
  const ids = textArg(args, 'cards')?.split(',');
  const names = textArg(args, 'engine')?.split(',') ?? engineNames;
  const seeds = numberArg(args, 'seeds')!;
  if (seeds === 0) throw new UsageError('--seeds: expected at least 1, got 0');
  if (numberArg(args, 'jobs') === 0) throw new UsageError('--jobs: expected at least 1, got 0');
  return {
    cards: ids === undefined ? cards : ids.map(cardOf),
    // These engines hunt nothing: they tell what they are.
    engines: names.map((name) => engineNamed(name, () => 0)),
    firstSeed: numberArg(args, 'seed')!,
    seeds,
    budget: numberArg(args, 'seconds')!,
  };
}

/** Every hunt that makes sense, seeds last: what is cheap and what is not is spread over the threads. */
function ordersOf({ cards: wanted, engines, firstSeed, seeds, budget }: Plan): HuntOrder[] {
  const order = (card: DefectCard, engine: Engine, seed: number): HuntOrder => ({
    card: card.id,
    engine: engine.name,
    seed,
    budget: { cpuSeconds: budget },
  });
  return Array.from({ length: seeds }, (_, i) => firstSeed + i).flatMap((seed) =>
    engines.flatMap((engine) =>
      wanted.flatMap((card) => (engine.limit(card) === null ? [order(card, engine, seed)] : [])),
    ),
  );
}

function isOf(trial: Trial, order: HuntOrder): boolean {
  return trial.card === order.card && trial.engine === order.engine && trial.seed === order.seed;
}

/** The hunts in the file, which is begun where there is none. @throws InputError when they had another budget */
async function openCsv(csv: string | undefined, { budget }: Plan): Promise<Trial[]> {
  if (csv === undefined) return [];
  if (!existsSync(csv)) {
    await writeText(csv, `${TRIAL_HEADER}\n`);
    return [];
  }
  const trials = parseTrials(await readText(csv), csv);
  const other = trials.findIndex((trial) => trial.budget !== budget);
  if (other >= 0) {
    const got = `${trials[other]!.budget}`;
    throw new InputError({
      file: csv,
      line: other + 2,
      field: 'budget',
      expected: `${budget}, as asked for (or another file)`,
      got,
    });
  }
  // A line that was cut off is written anew.
  await writeText(csv, [TRIAL_HEADER, ...trials.map(trialLine), ''].join('\n'));
  return trials;
}

/** One hunter takes orders from the list until there are none. */
async function work(
  hunter: Hunter,
  orders: HuntOrder[],
  done: (trial: Trial, detection: Detection | null) => Promise<void>,
): Promise<void> {
  for (let order = orders.shift(); order !== undefined; order = orders.shift()) {
    const { detection, runs, calls, cpuSeconds } = await hunter.hunt(order);
    const { card, engine, seed, budget } = order;
    const trial: Trial = {
      card,
      engine,
      seed,
      budget: budget.cpuSeconds,
      censored: detection === null,
      property: detection?.property ?? '',
      rule: detection?.rule ?? '',
      runs,
      calls,
      cpuSeconds: Math.round(1000 * cpuSeconds) / 1000,
      steps: detection?.steps ?? 0,
    };
    await done(trial, detection);
  }
}

function infoOf({ engines, firstSeed, seeds, budget }: Plan, done: number, total: number): MatrixInfo {
  const date = new Date().toISOString().slice(0, 10);
  return { date, version: project.version, engines, firstSeed, seeds, budget, done, total };
}

async function tell(
  args: CommandArgs,
  io: CliIo,
  rows: readonly MatrixRow[],
  info: MatrixInfo,
  trials: readonly Trial[],
  detections: ReadonlyMap<string, Detection>,
): Promise<void> {
  const markdown = matrixMarkdown(rows, info);
  const [md, html] = [textArg(args, 'md'), textArg(args, 'html')];
  if (md !== undefined) await writeText(md, markdown);
  if (html !== undefined) await writeText(html, matrixHtml(rows, info));
  if (!flagArg(args, 'json')) {
    io.out(markdown);
    return;
  }
  const { engines, ...rest } = info;
  io.out(
    json({
      schema: SCHEMA,
      ...rest,
      engines: engines.map(({ name, describe }) => ({ name, describe })),
      rows: rows.map(({ card, cells }) => ({
        card: card.id,
        title: card.title,
        cells: cells.map((cell) => ({ ...cell, scenario: detections.get(card.id + cell.engine)?.scenario ?? null })),
      })),
      trials,
    }),
  );
}
