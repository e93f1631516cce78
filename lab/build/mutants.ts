/**
 * Makes mutants of `hyp` with Stryker's instrumenter, and hunts a sample of them. For developers alone: the instrumenter is
 * no dependency of the project.
 *
 *   npm install --prefix DIR @stryker-mutator/instrumenter@9
 *   npm run mutants -- --stryker DIR --sample 200 --seconds 10 -o mutants.jsonl
 *
 * First the correct hypervisor is fuzzed for `--warm-up` runs on each ground: what reached something new there is what every
 * mutant is given first. The file has one line for each mutant; one that is there is not hunted again, unless it survived and `--again` asks for
 * that: then the last line counts.
 */
import { once } from 'node:events';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import ts from 'typescript';
import { sources } from '#sources';
import { threadCpuSeconds, threadName } from '../io/thread-cpu.ts';
import { Prng } from '../random/prng.ts';
import { grounds } from '../zoo/grounds.ts';
import {
  type Fate,
  huntMutant,
  isCandidate,
  type Mutant,
  type MutantResult,
  mutantReport,
  mutated,
} from '../zoo/mutants.ts';
import { seedInputs } from '../zoo/seeds.ts';

interface Order {
  readonly mutant: Mutant;
  readonly seed: number;
  readonly seconds: number;
}

/** What a thread is started with. */
interface Orders {
  readonly inputs: readonly (readonly Uint8Array[])[];
}

/** What of Stryker's instrumenter is used. */
interface Instrumenter {
  instrument(
    files: readonly { readonly name: string; readonly content: string; readonly mutate: boolean }[],
    options: object,
  ): Promise<{
    readonly mutants: readonly {
      readonly id: string;
      readonly fileName: string;
      readonly mutatorName: string;
      readonly replacement: string;
      readonly location: { readonly start: Mutant['start']; readonly end: Mutant['end'] };
    }[];
  }>;
}

/** Texts are messages and pauses; only their types could tell them. */
const EXCLUDED = ['StringLiteral'];
/** A thread that takes so much more CPU time than its hunt has is in a call that never returns. */
const HANG_SECONDS = 30;
const LOOK_EVERY = 1000;

if (isMainThread) await main();
else {
  parentPort!.postMessage(threadName());
  parentPort!.on('message', ({ mutant, seed, seconds }: Order) => {
    const { inputs } = workerData as Orders;
    parentPort!.postMessage(huntMutant(mutant, { seed, cpuSeconds: seconds, inputs }, threadCpuSeconds));
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      stryker: { type: 'string' },
      sample: { type: 'string', default: '200' },
      seconds: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
      'warm-up': { type: 'string', default: '3000' },
      jobs: { type: 'string', short: 'j', default: '2' },
      again: { type: 'boolean', default: false },
      output: { type: 'string', short: 'o', default: 'mutants.jsonl' },
    },
  });
  if (values.stryker === undefined) throw new Error('--stryker: where the instrumenter was installed');
  const [sample, seconds, seed, jobs] = [values.sample, values.seconds, values.seed, values.jobs].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const known = existsSync(values.output) ? readFileSync(values.output, 'utf8').trim().split('\n') : [];
  const results = new Map<string, MutantResult>();
  for (const line of known.filter((text) => text !== '')) {
    const result = JSON.parse(line) as MutantResult;
    results.set(result.mutant.id, result);
  }
  const all = (await mutantsOf(values.stryker)).filter(isCandidate);
  const chosen = shuffled(all, seed).slice(0, sample);
  const isDone = (fate: Fate | undefined): boolean => fate !== undefined && !(values.again && fate === 'survived');
  const orders = chosen.filter(({ id }) => !isDone(results.get(id)?.fate));
  let hunted = chosen.length - orders.length;
  const save = (result: MutantResult): void => {
    results.set(result.mutant.id, result);
    appendFileSync(values.output, `${JSON.stringify(result)}\n`);
    process.stderr.write(`\r${++hunted} of ${chosen.length} `);
  };
  const errors = typeErrors(orders);
  for (const mutant of orders) {
    const by = errors.get(mutant.id);
    if (by !== undefined) save({ mutant, fate: 'invalid', by, on: '', cpuSeconds: 0 });
  }
  const inputs =
    orders.length > errors.size ? grounds.map((ground) => seedInputs(ground, 1, Number(values['warm-up']))) : [];
  process.stderr.write(`inputs to begin with: ${inputs.map(({ length }) => length).join(', ')}\n`);
  const left = orders.filter(({ id }) => !errors.has(id)).map((mutant) => ({ mutant, seed, seconds }));
  await Promise.all(Array.from({ length: jobs }, () => work(left, { inputs }, save)));
  process.stdout.write(
    `\n${all.length} mutants, of which ${chosen.length} were chosen\n${mutantReport([...results.values()])}`,
  );
}

async function mutantsOf(folder: string): Promise<Mutant[]> {
  const module = join(folder, 'node_modules/@stryker-mutator/instrumenter/dist/src/index.js');
  const { Instrumenter } = (await import(pathToFileURL(module).href)) as {
    readonly Instrumenter: new (logger: object) => Instrumenter;
  };
  const nothing = (): void => {};
  const logger = { debug: nothing, info: nothing, warn: nothing, isDebugEnabled: () => false };
  const files = Object.entries(sources)
    .filter(([name]) => name.startsWith('hyp/'))
    .map(([name, content]) => ({ name, content, mutate: true }));
  const options = { plugins: null, excludedMutations: EXCLUDED, ignorers: [], noHeader: true };
  const { mutants } = await new Instrumenter(logger).instrument(files, options);
  // What is excluded is listed all the same, as ignored.
  const wanted = mutants.filter(({ mutatorName }) => !EXCLUDED.includes(mutatorName));
  return wanted.map(({ id, fileName, mutatorName, replacement, location }) => ({
    id,
    file: fileName,
    mutator: mutatorName,
    start: location.start,
    end: location.end,
    replacement,
  }));
}

function shuffled(mutants: readonly Mutant[], seed: number): Mutant[] {
  const prng = new Prng(seed);
  const list = [...mutants];
  for (let i = list.length - 1; i > 0; i--) {
    const k = prng.below(i + 1);
    [list[i], list[k]] = [list[k]!, list[i]!];
  }
  return list;
}

/** The first type error of each mutant that has one, by id: all of them in one program, beside what they stand for. */
function typeErrors(mutants: readonly Mutant[]): Map<string, string> {
  const root = process.cwd();
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [], include: [] }, ts.sys, root);
  const texts = new Map(
    mutants.map((mutant) => {
      const path = join(root, mutant.file.replace(/\.ts$/, `.${mutant.id}.ts`));
      return [path, { mutant, text: mutated(sources[mutant.file]!, mutant) }] as const;
    }),
  );
  const host = ts.createCompilerHost({ ...options, types: [] });
  const { getSourceFile, fileExists } = host;
  host.fileExists = (path) => texts.has(path) || fileExists.call(host, path);
  host.getSourceFile = (path, language, ...rest) => {
    const known = texts.get(path);
    return known === undefined
      ? getSourceFile.call(host, path, language, ...rest)
      : ts.createSourceFile(path, known.text, language, true);
  };
  const program = ts.createProgram({ rootNames: [...texts.keys()], options: { ...options, types: [] }, host });
  const errors = new Map<string, string>();
  for (const [path, { mutant }] of texts) {
    const file = program.getSourceFile(path)!;
    const [first] = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    if (first !== undefined) errors.set(mutant.id, ts.flattenDiagnosticMessageText(first.messageText, ' '));
  }
  return errors;
}

/** A thread that hunts, and its name. */
interface Hunter {
  readonly worker: Worker;
  readonly name: string | undefined;
}

async function startHunter(workerData: Orders): Promise<Hunter> {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData });
  const [name] = (await once(worker, 'message')) as [string | undefined];
  return { worker, name };
}

/** One thread takes orders from the list; one that hangs is ended, and another takes its place. */
async function work(orders: Order[], start: Orders, save: (result: MutantResult) => void): Promise<void> {
  let hunter = await startHunter(start);
  for (let order = orders.shift(); order !== undefined; order = orders.shift()) {
    const result = await hunt(hunter, order);
    if (result.fate === 'hang') {
      await hunter.worker.terminate();
      hunter = await startHunter(start);
    }
    save(result);
  }
  await hunter.worker.terminate();
}

function hunt({ worker, name }: Hunter, order: Order): Promise<MutantResult> {
  const { mutant, seconds } = order;
  return new Promise((resolve) => {
    const settle = (answer: MutantResult): void => {
      clearInterval(timer);
      worker.off('message', settle).off('error', onError);
      resolve(answer);
    };
    const hang = (by: string): void => settle({ mutant, fate: 'hang', by, on: '', cpuSeconds: seconds });
    const onError = (error: unknown): void => hang(error instanceof Error ? error.message : String(error));
    const began = threadCpuSeconds(name);
    const timer = setInterval(() => {
      if (threadCpuSeconds(name) - began > seconds + HANG_SECONDS) hang('no answer');
    }, LOOK_EVERY);
    worker.on('message', settle).on('error', onError);
    worker.postMessage(order);
  });
}
