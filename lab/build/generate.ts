/**
 * Writes what the other rooms import but nobody edits, below `.plain`:
 *
 * - `hyp/` and `io-pgtable/`: the plain twins of these rooms, with their pauses erased (see `lab/transform/erase.ts`);
 * - `sources.ts`: their sources as text, from which the defect zoo builds edited hypervisors at run time;
 * - `scenarios.ts`: the scenarios of the zoo as text, so that they are there where there are no files.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { erase } from '../transform/erase.ts';

/** The rooms that are written as generators. */
const rooms = ['hyp', 'io-pgtable'];
/** Where the zoo keeps a scenario for each defect, `Z14.txt`. */
const SCENARIOS = 'lab/zoo/scenarios';

/** What {@link generate} did, as counts of files. */
export interface Generated {
  written: number;
  removed: number;
  unchanged: number;
}

/** Brings `.plain` below `root` up to date. A file whose content is right already is left alone. */
export function generate(root: string): Generated {
  const plain = join(root, '.plain');
  const sources: Record<string, string> = {};
  const files = new Map<string, string>();
  for (const path of rooms.flatMap((room) => sourcesBelow(root, room))) {
    const source = readFileSync(join(root, path), 'utf8');
    sources[path] = source;
    files.set(path, plainTwin(path, source));
  }
  files.set('sources.ts', sourceTable(sources));
  if (existsSync(join(root, SCENARIOS))) files.set('scenarios.ts', scenarioTable(join(root, SCENARIOS)));

  const counts: Generated = { written: 0, removed: 0, unchanged: 0 };
  for (const path of sourcesBelow(plain, '.')) {
    if (files.has(path)) continue;
    rmSync(join(plain, path));
    counts.removed++;
  }
  for (const [path, text] of files) {
    if (writeIfChanged(join(plain, path), text)) counts.written++;
    else counts.unchanged++;
  }
  return counts;
}

function plainTwin(path: string, source: string): string {
  try {
    // The note comes last, so that a line of the twin has the number of its original.
    return `${erase(source).trimEnd()}\n// Generated from ${path}: edit that instead.\n`;
  } catch (error) {
    throw new Error(`${path}, ${error instanceof Error ? error.message : error}`);
  }
}

function sourceTable(sources: Readonly<Record<string, string>>): string {
  const table = JSON.stringify(sources, null, 2);
  return `/** The sources of hyp and io-pgtable by path. Generated. */\nexport const sources: Readonly<Record<string, string>> = ${table};\n`;
}

function scenarioTable(folder: string): string {
  const scenarios: Record<string, string> = {};
  for (const name of readdirSync(folder).toSorted()) {
    if (name.endsWith('.txt')) scenarios[name.slice(0, -'.txt'.length)] = readFileSync(join(folder, name), 'utf8');
  }
  const table = JSON.stringify(scenarios, null, 2);
  return `/** The scenarios of the zoo by defect. Generated. */\nexport const scenarios: Readonly<Record<string, string>> = ${table};\n`;
}

/** The paths, relative to `root` and with forward slashes, of the TypeScript files below one of its folders. */
function sourcesBelow(root: string, folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = folder === '.' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) return sourcesBelow(root, path);
      return entry.name.endsWith('.ts') ? [path] : [];
    });
}

function writeIfChanged(path: string, text: string): boolean {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return false;
  mkdirSync(dirname(path), { recursive: true });
  // Renamed into place, so that a build running at the same time never reads half a file.
  const partial = `${path}.${process.pid}`;
  writeFileSync(partial, text);
  renameSync(partial, path);
  return true;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const { written, removed } = generate(process.cwd());
    if (written + removed > 0) console.log(`generate: ${written} written, ${removed} removed below .plain`);
  } catch (error) {
    console.error(`generate: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
