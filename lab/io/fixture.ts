/** Loads a fixture from a file, plain or gzip, or makes one of a captured folder. */
import type { Readable } from 'node:stream';
import type { Fixture } from '../fixture/fixture.ts';
import { parseFixture } from '../fixture/parse.ts';
import { isCaptureFolder, readCapturedRun } from './captured-run.ts';
import { displayName, readText } from './read-text.ts';

/** Reads and checks a fixture; `-` is standard input. @throws InputError naming file and field */
export async function readFixture(path: string, input?: Readable): Promise<Fixture> {
  if (isCaptureFolder(path)) return (await readCapturedRun(path)).fixture;
  return parseFixture(await readText(path, input), displayName(path));
}
