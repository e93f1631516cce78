/** `postern fuzz`: hypercalls, host accesses, DMA and guests' calls made up and judged, until something is found. */
import { Coordinator, type FuzzProgress } from '../../fuzz/coordinator.ts';
import { readCorpus } from '../../io/corpus-folder.ts';
import { FuzzFolder, type FuzzSetup, type Stored } from '../../io/fuzz-folder.ts';
import { type FuzzThread, startWorkers } from '../../io/fuzz-workers.ts';
import { statusLine } from '../../io/progress.ts';
import { type CliIo, type Command, type CommandArgs, flagArg, numberArg, textArg, UsageError } from '../command.ts';
import { checkNames, DEFAULTS, fuzzSetup } from '../fuzz-args.ts';
import { findingStory, findingText, fuzzStatistics, statusText, summaryText } from '../fuzz-report.ts';
import { profileOption } from '../profile-arg.ts';
import { propertyOptions } from '../property-args.ts';

const DEFAULT_SECONDS = 60;
const STATUS_EVERY = 250;
/** Options that a resumed run takes from the run that it goes on with. */
const FIXED = {
  hypervisor: '--hypervisor',
  machine: '--machine',
  profile: '--profile',
  properties: '--properties',
  without: '--without',
  seed: '--seed',
  maxSteps: '--max-steps',
  calls: '--calls',
  weights: '--weights',
  feedback: '--feedback',
  interleave: '--interleave',
  twin: '--twin',
  from: '--from',
  corpus: '--corpus',
  shard: '--shard',
  require: '--require',
  keepGoing: '--keep-going',
  jobs: '--jobs',
};

export const fuzzCommand: Command = {
  name: 'fuzz',
  describe: 'Make up hypercalls, host accesses, DMA and guests until a property is violated',
  options: [
    {
      flags: '--hypervisor <name>',
      describe: `Who is fuzzed: postern, or with defects of the zoo, postern+Z14 (default: ${DEFAULTS.hypervisor})`,
    },
    { flags: '--machine <name>', describe: 'A preset, or a JSON file (default: tiny)' },
    profileOption,
    ...propertyOptions,
    { flags: '--seed <n>', describe: `Everything follows from it (default: ${DEFAULTS.seed})` },
    { flags: '--runs <n>', describe: 'End after so many inputs' },
    { flags: '--seconds <n>', describe: `End after so many seconds (default: ${DEFAULT_SECONDS}, without --runs)` },
    { flags: '--max-steps <n>', describe: `Steps of one input at most (default: ${DEFAULTS.maxSteps})` },
    { flags: '--calls <names>', describe: 'Make only these calls (a,b)' },
    { flags: '--weights <list>', describe: 'How often steps are chosen (map=40,donate=0)' },
    {
      flags: '--feedback <list>',
      describe: `What makes an input worth keeping: edges, states, rows (a,b), or none (default: ${DEFAULTS.feedback})`,
    },
    { flags: '--interleave', describe: 'Let calls of several CPUs overlap, pause by pause' },
    { flags: '--twin', describe: 'Beside it a machine with other secrets: the host must not tell them apart' },
    { flags: '--from <file>', describe: 'Begin every input where this scenario, or the trace of a kernel, ends' },
    { flags: '--corpus <folder>', describe: 'Begin with these inputs: the folder of a run, or any folder of files' },
    { flags: '--shard <i/n>', describe: 'This is machine i of n that share one seed' },
    {
      flags: '--require <names>',
      describe: 'Rows or states (a,b) without which finding nothing is inconclusive: exit code 3',
    },
    { flags: '--keep-going', describe: 'Go on after a finding; the same one is told once' },
    { flags: '-j, --jobs <n>', describe: `Workers side by side (default: ${DEFAULTS.jobs})` },
    { flags: '-o, --output <folder>', describe: 'Keep queue, findings, numbers and state there' },
    { flags: '--resume', describe: 'Go on with the run in that folder, with its options' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern fuzz --hypervisor postern+Z14',
    'postern fuzz --seconds 600 -j 2 -o run --keep-going',
    'postern fuzz --resume -o run --seconds 600',
  ],
  async run(args, io) {
    const path = textArg(args, 'output');
    const opened = flagArg(args, 'resume') ? await resume(args, path) : null;
    const asked = opened?.stored.setup ?? (await fuzzSetup(args));
    const threads = await startWorkers(asked.job, asked.workers, asked.firstWorker);
    try {
      const setup: FuzzSetup = { ...asked, recipes: threads[0]!.names.recipes };
      checkNames(setup, threads[0]!.names);
      if (opened !== null) checkRecipes(opened.stored.setup, setup, path!);
      const corpus = textArg(args, 'corpus');
      const known = corpus === undefined ? null : await readCorpus(corpus);
      known?.check(setup.recipes);
      const folder = opened?.folder ?? (path === undefined ? null : await FuzzFolder.create(path));
      return await fuzz({
        setup,
        stored: opened?.stored ?? null,
        folder,
        threads,
        known: known?.inputs ?? [],
        args,
        io,
      });
    } finally {
      await Promise.all(threads.map((thread) => thread.close()));
    }
  },
};

async function resume(args: CommandArgs, path: string | undefined): Promise<{ folder: FuzzFolder; stored: Stored }> {
  if (path === undefined) throw new UsageError('--resume needs -o: the folder of the run to go on with');
  const given = Object.entries(FIXED).find(([name]) => args[name] !== undefined);
  if (given !== undefined) throw new UsageError(`${given[1]}: a resumed run has the options that it began with`);
  return FuzzFolder.open(path);
}

/** Inputs mean what they meant only as long as their first bytes choose the same. */
function checkRecipes(before: FuzzSetup, now: FuzzSetup, path: string): void {
  if (before.recipes.join() === now.recipes.join()) return;
  throw new UsageError(`--resume: ${path} was made by another version, whose inputs mean something else`);
}

interface Run {
  readonly setup: FuzzSetup;
  readonly stored: Stored | null;
  readonly folder: FuzzFolder | null;
  readonly threads: readonly FuzzThread[];
  /** Inputs to begin with. */
  readonly known: readonly Uint8Array[];
  readonly args: CommandArgs;
  readonly io: CliIo;
}

async function fuzz({ setup, stored, folder, threads, known, args, io }: Run): Promise<number> {
  const json = flagArg(args, 'json');
  const runs = numberArg(args, 'runs');
  const limit = numberArg(args, 'seconds') ?? (runs === undefined ? DEFAULT_SECONDS : undefined);
  stored?.workers.forEach(({ inputs, ...state }, i) => {
    threads[i]!.restore({ ...state, inputs: inputs.map((number) => stored.inputs[number]!) });
  });
  const ending = new Ending(threads);
  const release = io.onInterrupt(() => ending.end(true));
  const timer = limit === undefined ? null : setTimeout(() => ending.end(false), 1000 * limit);
  const view = new View(io, threads, stored?.seconds ?? 0, !json);
  const names = threads[0]!.names;
  const coordinator = new Coordinator(
    {
      workers: threads,
      ...(runs !== undefined && { runs }),
      keepGoing: setup.keepGoing,
      known,
      isOver: () => ending.isOver,
      onEpoch: async (progress) => {
        view.last = progress;
        const { seconds } = view;
        await folder?.save(setup, seconds, progress, fuzzStatistics(setup, names, seconds, progress, 'over'));
        for (const finding of progress.newFindings) {
          const story = findingStory(finding, Math.min(io.columns, 110));
          await folder?.saveStory(finding.key, story);
          if (!json) view.say(findingText(finding, folder, story));
        }
      },
    },
    stored ?? undefined,
  );
  const progress = await coordinator.run();
  if (timer !== null) clearTimeout(timer);
  release();
  view.end();
  const ended = ending.isInterrupted ? 'interrupted' : progress.findings.length > 0 ? 'found' : 'over';
  const statistics = fuzzStatistics(setup, names, view.seconds, progress, ended);
  io.out(json ? `${JSON.stringify(statistics, null, 2)}\n` : summaryText(statistics, folder));
  if (progress.findings.length > 0) return 1;
  return statistics.missing.length > 0 ? 3 : 0;
}

/** When to stop, and why. */
class Ending {
  isOver = false;
  isInterrupted = false;
  private readonly threads: readonly FuzzThread[];

  constructor(threads: readonly FuzzThread[]) {
    this.threads = threads;
  }

  end(isInterrupted: boolean): void {
    this.isOver = true;
    this.isInterrupted ||= isInterrupted;
    for (const thread of this.threads) thread.end();
  }
}

/** What the user sees while it runs. */
class View {
  last: FuzzProgress | null = null;
  private readonly io: CliIo;
  private readonly began = performance.now();
  private readonly secondsBefore: number;
  private readonly line: ReturnType<typeof statusLine>;
  private readonly ticker: NodeJS.Timeout;
  private readonly samples: { readonly at: number; readonly calls: number }[] = [];

  constructor(io: CliIo, threads: readonly FuzzThread[], secondsBefore: number, isWanted: boolean) {
    this.io = io;
    this.secondsBefore = secondsBefore;
    this.line = statusLine(io, isWanted);
    this.ticker = setInterval(() => this.tick(threads), STATUS_EVERY);
  }

  /** Seconds of work, those before a resumed run included. */
  get seconds(): number {
    return this.secondsBefore + (performance.now() - this.began) / 1000;
  }

  say(text: string): void {
    this.line.clear();
    this.io.out(text);
  }

  end(): void {
    clearInterval(this.ticker);
    this.line.clear();
  }

  private tick(threads: readonly FuzzThread[]): void {
    let runs = 0;
    let calls = 0;
    for (const { counts } of threads) {
      runs += counts.runs;
      calls += counts.calls;
    }
    const { samples } = this;
    const at = performance.now();
    samples.push({ at, calls });
    if (samples.length > 20) samples.shift();
    const [first] = samples;
    const rate = at === first!.at ? 0 : (1000 * (calls - first!.calls)) / (at - first!.at);
    this.line.show(statusText(this.seconds, runs, rate, this.last));
  }
}
