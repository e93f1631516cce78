/** The SMMUv3 vectors, and their hexadecimal words as the driver's int32s and back. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { smmuV3 } from '#host';

type SmmuFeatures = smmuV3.SmmuFeatures;

const folder = join(import.meta.dirname, '..', '..', 'fixtures', 'vectors');

/** One file of vectors. */
// biome-ignore lint/suspicious/noExplicitAny: the format differs by file, and FORMAT of each is checked by its test.
export function vectors(name: string): any {
  return JSON.parse(gunzipSync(readFileSync(join(folder, `smmuv3-${name}.json.gz`))).toString());
}

/** 64-bit words in hex as int32s, lower half first. */
export function int32s(words: readonly string[]): Int32Array {
  return Int32Array.from(words.flatMap((word) => [lo(word), hi(word)]));
}

/** Int32s, lower half first, as 64-bit words in hex. */
export function hexWords(words: Int32Array): string[] {
  return Array.from({ length: words.length / 2 }, (_, i) => {
    const value = (BigInt(words[2 * i + 1]! >>> 0) << 32n) | BigInt(words[2 * i]! >>> 0);
    return value.toString(16);
  });
}

/** Lower half of a 64-bit word in hex. */
export const lo = (word: string) => Number(BigInt.asIntN(32, BigInt(`0x${word}`)));
/** Upper half of a 64-bit word in hex. */
export const hi = (word: string) => Number(BigInt.asIntN(32, BigInt(`0x${word}`) >> 32n));
/** A number in hex that is exact as one; an address of the upper half of the 64-bit space becomes negative. */
export const num = (word: string) => Number(BigInt.asIntN(64, BigInt(`0x${word}`)));

const names: Readonly<Record<string, keyof SmmuFeatures>> = {
  STALLS: 'stalls',
  STALL_FORCE: 'stallForce',
  ATTR_TYPES_OVR: 'attributeTypesOverride',
  E2H: 'e2h',
  RANGE_INV: 'rangeInvalidation',
  HA: 'accessFlag',
  HD: 'dirtyState',
  HAFT: 'tableAccessFlag',
};

export function featuresOf(list: readonly string[]): SmmuFeatures {
  return Object.fromEntries(
    list.map((name) => {
      const feature = names[name];
      if (feature === undefined) throw new Error(`no feature ${name}`);
      return [feature, true];
    }),
  );
}
