/** Folders of inputs: the queue of a fuzzing run, or a folder of input files that somebody else has made. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FuzzJob } from '../fuzz/job.ts';
import { padded } from '../fuzz/records.ts';
import { InputError } from '../input-error.ts';
import type { FuzzSetup } from './fuzz-folder.ts';

const RECIPES = 'recipes.json';

/** Inputs, and what is known of where they come from. */
export interface CorpusFolder {
  readonly inputs: readonly Uint8Array[];
  /** The job of the run, where the folder is that of one. */
  readonly job: FuzzJob | null;
  /** @throws InputError when the inputs were made for other recipes: they would mean something else */
  check(recipes: readonly string[]): void;
}

/** The inputs in a folder, or in its `queue`, in the order of their names. @throws InputError */
export async function readCorpus(path: string): Promise<CorpusFolder> {
  const queue = existsSync(join(path, 'queue')) ? join(path, 'queue') : path;
  let names: string[];
  try {
    names = (await readdir(queue)).filter((name) => !name.endsWith('.json')).toSorted();
  } catch (error) {
    throw new InputError({ file: path, expected: 'a folder of inputs', got: (error as NodeJS.ErrnoException).code });
  }
  const inputs = await Promise.all(names.map(async (name) => padded(await readFile(join(queue, name)))));
  if (inputs.length === 0)
    throw new InputError({ file: queue, expected: 'at least one input', got: 'an empty folder' });
  const setup = (await readJson<{ setup: FuzzSetup }>(join(path, 'state.json')))?.setup ?? null;
  const known = setup?.recipes ?? (await readJson<readonly string[]>(join(path, RECIPES)));
  return {
    inputs,
    job: setup?.job ?? null,
    check(recipes) {
      if (known === null || known.join() === recipes.join()) return;
      throw new InputError({
        file: path,
        expected: 'inputs of this version',
        got: 'those of another, which mean something else',
      });
    },
  };
}

/** Writes inputs, and what their first bytes choose. @throws InputError when the folder is not empty */
export async function writeCorpus(
  path: string,
  inputs: readonly Uint8Array[],
  recipes: readonly string[],
): Promise<void> {
  if (existsSync(path) && (await readdir(path)).length > 0) {
    throw new InputError({ file: path, expected: 'a folder that is empty, or none', got: 'one that is not' });
  }
  await mkdir(join(path, 'queue'), { recursive: true });
  await writeFile(join(path, RECIPES), `${JSON.stringify(recipes)}\n`);
  await Promise.all(
    inputs.map((input, n) => writeFile(join(path, 'queue', `${String(n).padStart(6, '0')}.input`), input)),
  );
}

async function readJson<T>(path: string): Promise<T | null> {
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (error) {
    throw new InputError({ file: path, expected: 'JSON', got: (error as Error).message });
  }
}
