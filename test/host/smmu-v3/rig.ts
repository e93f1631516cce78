/** The SMMUv3 vectors, and the lab's reading of their words and names. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

export { featuresOf } from '#lab/conform/vectors/smmu-names';
export { address as num, hexWords, hi, int32s, lo } from '#lab/conform/vectors/words';

const folder = join(import.meta.dirname, '..', '..', 'fixtures', 'vectors');

/** One file of vectors. */
// biome-ignore lint/suspicious/noExplicitAny: the format differs by file, and FORMAT of each is checked by its test.
export function vectors(name: string): any {
  return JSON.parse(gunzipSync(readFileSync(join(folder, `smmuv3-${name}.json.gz`))).toString());
}
