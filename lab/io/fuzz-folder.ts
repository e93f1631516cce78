/**
 * The folder of a fuzzing run, in the habits of the field: `queue/` holds the inputs worth keeping, `findings/` what was
 * found, `stats.json` the numbers, `plot.csv` one line of them per epoch, `state.json` what a resumed run goes on from.
 * Files are written whole or not at all, and the state last: whenever it is interrupted, what is there fits together.
 */
import { existsSync } from 'node:fs';
import { appendFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FuzzProgress, Resumed, WorkerProgress } from '../fuzz/coordinator.ts';
import type { FuzzFinding } from '../fuzz/finding.ts';
import type { FuzzJob } from '../fuzz/job.ts';
import { RECORD_BYTES } from '../fuzz/records.ts';
import { InputError } from '../input-error.ts';

const SCHEMA = 'postern/fuzz/2';
const PLOT_HEAD = 'seconds,runs,steps,calls,corpus,edges,states,rows,findings\n';

/** What a run was asked to do: kept beside its outcome, so that it can be resumed. */
export interface FuzzSetup {
  readonly job: FuzzJob;
  readonly workers: number;
  /** Number of the first worker among those of all machines. */
  readonly firstWorker: number;
  readonly keepGoing: boolean;
  /** Rows and states that must be reached, or a run without findings says nothing. */
  readonly required: readonly string[];
  /** Names of the recipes that the first bytes of records choose. */
  readonly recipes: readonly string[];
}

/** A worker's state with its bytes as text. */
interface StoredWorker extends Omit<WorkerProgress, 'seen'> {
  readonly seen: {
    readonly edges: string;
    readonly states: string;
    readonly rows: string;
    readonly hits: readonly number[];
    readonly sometimes: readonly number[];
  };
}

interface StoredState {
  readonly schema: string;
  readonly setup: FuzzSetup;
  readonly seconds: number;
  readonly epoch: number;
  readonly inputs: number;
  readonly workers: readonly StoredWorker[];
}

/** What an earlier run left behind, and how long it took. */
export interface Stored extends Resumed {
  readonly setup: FuzzSetup;
  readonly seconds: number;
}

export class FuzzFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** A folder for a new run. @throws InputError when there is a run in it already, or it cannot be made */
  static async create(path: string): Promise<FuzzFolder> {
    const folder = new FuzzFolder(path);
    if (existsSync(folder.file('state.json'))) {
      throw new InputError({
        file: path,
        expected: 'a folder without a run (or --resume to go on with it)',
        got: 'one',
      });
    }
    try {
      await mkdir(folder.file('queue'), { recursive: true });
      await mkdir(folder.file('findings'), { recursive: true });
      await writeFile(folder.file('plot.csv'), PLOT_HEAD);
    } catch (error) {
      throw new InputError({ file: path, expected: 'a folder that can be written', got: (error as Error).message });
    }
    return folder;
  }

  /** The folder of an earlier run. @throws InputError when it is none, or what it holds does not fit together */
  static async open(path: string): Promise<{ readonly folder: FuzzFolder; readonly stored: Stored }> {
    const folder = new FuzzFolder(path);
    const file = folder.file('state.json');
    if (!existsSync(file))
      throw new InputError({ file: path, expected: 'the folder of a fuzzing run', got: 'no state.json' });
    const state = await readJson<StoredState>(file);
    if (state.schema !== SCHEMA) {
      throw new InputError({ file, field: 'schema', expected: SCHEMA, got: String(state.schema) });
    }
    const inputs = await Promise.all(
      Array.from({ length: state.inputs }, (_, n) => readInput(folder.file('queue', inputName(n)))),
    );
    const names = (await readdir(folder.file('findings'))).filter((name) => name.endsWith('.json')).toSorted();
    const findings = await Promise.all(names.map((name) => readFinding(folder.file('findings', name))));
    const workers = state.workers.map((worker) => unpacked(worker, file));
    const { setup, seconds, epoch } = state;
    return { folder, stored: { setup, seconds, epoch, inputs, findings, workers } };
  }

  /** Keep what an epoch has brought. @param statistics what stands in stats.json */
  async save(setup: FuzzSetup, seconds: number, progress: FuzzProgress, statistics: unknown): Promise<void> {
    const { newInputs, newFindings, corpus, epoch, workers } = progress;
    const first = corpus - newInputs.length;
    await Promise.all(newInputs.map((input, i) => writeWhole(this.file('queue', inputName(first + i)), input)));
    for (const finding of newFindings) await this.saveFinding(finding);
    await writeWhole(this.file('stats.json'), `${JSON.stringify(statistics, null, 2)}\n`);
    const { runs, steps, calls, edges, states, rows, findings } = progress;
    const line = [seconds.toFixed(1), runs, steps, calls, corpus, edges, states, rows, findings.length];
    await appendFile(this.file('plot.csv'), `${line.join(',')}\n`);
    const state: StoredState = { schema: SCHEMA, setup, seconds, epoch, inputs: corpus, workers: workers.map(packed) };
    await writeWhole(this.file('state.json'), JSON.stringify(state));
  }

  private async saveFinding({ input, ...finding }: FuzzFinding): Promise<void> {
    const base = this.file('findings', finding.key);
    await writeWhole(`${base}.scenario`, finding.scenario);
    await writeWhole(`${base}.input`, input);
    await writeWhole(`${base}.json`, `${JSON.stringify(finding, null, 2)}\n`);
  }

  /** Keep the story of a finding beside it. */
  async saveStory(key: string, story: string): Promise<void> {
    await writeWhole(this.file('findings', `${key}.md`), story);
  }

  file(...names: string[]): string {
    return join(this.path, ...names);
  }
}

function inputName(n: number): string {
  return `${String(n).padStart(6, '0')}.input`;
}

/** An input file: whole records. @throws InputError */
async function readInput(path: string): Promise<Uint8Array> {
  const bytes = await readBytes(path);
  if (bytes.length % RECORD_BYTES === 0) return bytes;
  throw new InputError({ file: path, expected: `records of ${RECORD_BYTES} bytes`, got: `${bytes.length} bytes` });
}

async function readFinding(path: string): Promise<FuzzFinding> {
  const finding = await readJson<Omit<FuzzFinding, 'input'>>(path);
  return { ...finding, input: await readInput(path.replace(/\.json$/, '.input')) };
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new InputError({
      file: path,
      expected: 'a file that can be read',
      got: (error as NodeJS.ErrnoException).code,
    });
  }
}

async function readJson<T>(path: string): Promise<T> {
  const bytes = await readBytes(path);
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as T;
  } catch (error) {
    throw new InputError({ file: path, expected: 'JSON', got: (error as Error).message });
  }
}

async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}

function packed({ seen, ...rest }: WorkerProgress): StoredWorker {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const { edges, states, rows, hits, sometimes } = seen;
  return {
    ...rest,
    seen: { edges: text(edges), states: text(states), rows: text(rows), hits: [...hits], sometimes: [...sometimes] },
  };
}

function unpacked({ seen, ...rest }: StoredWorker, file: string): WorkerProgress {
  const bytes = (text: unknown): Uint8Array => {
    if (typeof text !== 'string') throw new InputError({ file, field: 'workers', expected: 'what a worker has seen' });
    return new Uint8Array(Buffer.from(text, 'base64'));
  };
  const { edges, states, rows, hits, sometimes } = seen;
  return {
    ...rest,
    seen: {
      edges: bytes(edges),
      states: bytes(states),
      rows: bytes(rows),
      hits: Float64Array.from(hits),
      sometimes: Float64Array.from(sometimes),
    },
  };
}
