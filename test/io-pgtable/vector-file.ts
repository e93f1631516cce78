/** Reads the vector files of test/fixtures/vectors; the runner is `vector-runner.ts`. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Profile } from '#io-pgtable/plain';
import type { ConfigCase, Sequence } from '#lab/conform/vectors/lpae-types';

interface VectorFile<T> {
  readonly profile: Profile;
  readonly sequences: readonly T[];
  readonly cases: readonly T[];
}

function read<T>(name: string): VectorFile<T> {
  const file = new URL(`../fixtures/vectors/${name}.json.gz`, import.meta.url);
  return JSON.parse(gunzipSync(readFileSync(file)).toString('utf8'));
}

export function readSequences(name: string): { readonly profile: Profile; readonly sequences: readonly Sequence[] } {
  return read<Sequence>(name);
}

export function readConfigCases(name: string): { readonly profile: Profile; readonly cases: readonly ConfigCase[] } {
  return read<ConfigCase>(name);
}
