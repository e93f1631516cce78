/** The two loops over many words that memory spends its time in: storing a run of descriptors, hashing a page. */

const TWO32 = 2 ** 32;
/** From this many words on, the typed array's own ways beat a loop. */
export const LONG_RUN = 64;

/**
 * Stores 64-bit words from index `start` to `end`: word k is (hi, lo) + k * step.
 *
 * @param step a byte count below 2^32
 */
export function storeRun(words: Int32Array, start: number, end: number, hi: number, lo: number, step: number): void {
  if (hi === 0 && lo === 0 && step === 0) {
    if (end - start < LONG_RUN) for (let i = start; i < end; i++) words[i] = 0;
    else words.fill(0, start, end);
    return;
  }
  let low = lo | 0;
  if ((lo >>> 0) + step * ((end - start) / 2 - 1) < TWO32) {
    // The high words are all alike. Two 64-bit words a turn.
    const add = step | 0;
    const paired = end - ((end - start) & 2);
    for (let i = start; i < paired; i += 4) {
      words[i] = low;
      words[i + 1] = hi;
      low = (low + add) | 0;
      words[i + 2] = low;
      words[i + 3] = hi;
      low = (low + add) | 0;
    }
    if (paired < end) {
      words[paired] = low;
      words[paired + 1] = hi;
    }
    return;
  }
  let high = hi;
  for (let i = start; i < end; i += 2) {
    words[i] = low;
    words[i + 1] = high;
    const sum = (low >>> 0) + step;
    if (sum >= TWO32) high = (high + 1) | 0;
    low = sum | 0;
  }
}

/** Words of a piece: 32 of them are a page, a bit for each an int32. */
export const PIECE_WORDS = 32;

/**
 * Hashes the page at index `start` of `words` into two lanes, `out[at]` and `out[at + 1]`. All zeroes hash to (0, 0).
 *
 * @param pieces a bit for each 32 words of the page: those whose bit is clear are all zero
 */
export function hashPage(words: Int32Array, start: number, pieces: number, out: Int32Array, at: number): void {
  let a = 0;
  let b = 0;
  for (let rest = pieces; rest !== 0; rest &= rest - 1) {
    const first = (31 - Math.clz32(rest & -rest)) * PIECE_WORDS;
    for (let i = first; i < first + PIECE_WORDS; i++) {
      const word = words[start + i]!;
      if (word === 0) continue;
      // Position and value are mixed together and summed, so that zero words cost and contribute nothing.
      const h = Math.imul(word ^ Math.imul(i + 1, 0x9e3779b1), 0x85ebca6b);
      const m = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
      a = (a + (m ^ (m >>> 13))) | 0;
      b = (b ^ Math.imul(m ^ (m >>> 16), 0x27d4eb2f)) + Math.imul(i + 1, word | 1);
      b |= 0;
    }
  }
  out[at] = a;
  out[at + 1] = b;
}

/** `into`, which is larger, filled with what `from` holds. */
export function grown<T extends Int32Array | Float64Array | Uint16Array | Uint8Array>(from: T, into: T): T {
  into.set(from);
  return into;
}
