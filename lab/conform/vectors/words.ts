/** Numbers as the vectors write them: hexadecimal without `0x`, 64 bits at most. */

/** The number of an address; of the upper half, a negative one. */
export function address(text: string): number {
  return text.length < 16 ? Number.parseInt(text, 16) : Number(BigInt.asIntN(64, BigInt(`0x${text}`)));
}

export function hex(value: number): string {
  return value < 0 ? BigInt.asUintN(64, BigInt(value)).toString(16) : value.toString(16);
}

/** A 64-bit word as the vectors write it. */
export function word64(hi: number, lo: number): string {
  return ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16);
}

/** 64-bit words as int32s, lower half first. */
export function int32s(words: readonly string[]): Int32Array {
  const out = new Int32Array(2 * words.length);
  words.forEach((word, i) => {
    out[2 * i] = lo(word);
    out[2 * i + 1] = hi(word);
  });
  return out;
}

/** Int32s, lower half first, as 64-bit words. */
export function hexWords(words: Int32Array): string[] {
  return Array.from({ length: words.length / 2 }, (_, i) => word64(words[2 * i + 1]!, words[2 * i]!));
}

/** Lower half of a 64-bit word. */
export function lo(word: string): number {
  return Number.parseInt(word.slice(-8), 16) | 0;
}

/** Upper half of a 64-bit word. */
export function hi(word: string): number {
  return word.length <= 8 ? 0 : Number.parseInt(word.slice(0, -8), 16) | 0;
}
