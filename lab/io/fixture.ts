/** Loads a fixture from a file, plain or gzip. */
import type { Readable } from 'node:stream';
import type { Fixture } from '../fixture/fixture.ts';
import { parseFixture } from '../fixture/parse.ts';
import { displayName, readText } from './read-text.ts';

/** Reads and checks a fixture; `-` is standard input. @throws InputError naming file and field */
export async function readFixture(path: string, input?: Readable): Promise<Fixture> {
  return parseFixture(await readText(path, input), displayName(path));
}
