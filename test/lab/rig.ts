/** The captures of `test/fixtures/rig`, and the vectors, for tests. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Fixture } from '#lab/fixture/fixture';
import { parseFixture } from '#lab/fixture/parse';
import { parseTrace, type Trace } from '#lab/trace/parse';

const fixtures = join(import.meta.dirname, '..', 'fixtures');

/** Every capture; all have a trace, a fixture and an image of the command queue. */
export const runs = [
  'strict-vblk',
  'strict-all',
  'lazy-all',
  'passthrough-all',
  'strict-qtrace',
  'strict-unbind',
  'lazy-large-smp2',
  's2-strict',
  'k612-nested-strict',
  'k72-s2-strict',
] as const;

export function rigPath(name: string): string {
  return join(fixtures, 'rig', name);
}

export function traceText(run: string): string {
  return gunzipSync(readFileSync(rigPath(`${run}.trace.txt.gz`))).toString();
}

export function rigTrace(run: string): Trace {
  return parseTrace(traceText(run), `${run}.trace.txt.gz`);
}

export function fixtureText(run: string): string {
  return gunzipSync(readFileSync(rigPath(`${run}.json.gz`))).toString();
}

export function rigFixture(run: string): Fixture {
  return parseFixture(fixtureText(run), `${run}.json.gz`);
}

/** The command queue up to PROD, as int32 words. */
export function commandQueue(run: string): Int32Array {
  const bytes = gunzipSync(readFileSync(rigPath(`${run}.cmdq.bin.gz`)));
  return Int32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readInt32LE(4 * i));
}

// biome-ignore lint/suspicious/noExplicitAny: the documents have many shapes, and each test knows its own
export function vectors(name: string): any {
  return JSON.parse(gunzipSync(readFileSync(join(fixtures, 'vectors', `${name}.json.gz`))).toString());
}

/** 64-bit words, written in hexadecimal without `0x`, as int32 halves, low half first. */
export function int32s(words: readonly string[]): Int32Array {
  return Int32Array.from(
    words.flatMap((word) => {
      const value = BigInt(`0x${word}`);
      return [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))];
    }),
  );
}
