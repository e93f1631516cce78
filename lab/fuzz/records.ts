/**
 * The bytes of a fuzzer's input. An input is a list of records of 16 bytes, each one step: the first byte chooses a
 * recipe (how steps are made up), the others decide what the recipe leaves open, one small decision a byte. What a step
 * comes to also depends on what happened before, as a host's next step does: "unmap what was mapped last". So every
 * input means something, a change of one byte changes one decision, and a record that goes leaves the others sensible.
 */

import type { Choices } from '../random/choices.ts';

export const RECORD_BYTES = 16;

const TWO32 = 2 ** 32;

/** Decisions by the bytes of one record; when they are used up, by a mix of them all. */
export class RecordChoices implements Choices {
  private bytes: Uint8Array = new Uint8Array(RECORD_BYTES);
  private at = 0;
  private end = 0;
  private mix = 0;

  /** Decide by the record at `offset` from now on. @returns its first byte */
  open(bytes: Uint8Array, offset: number): number {
    this.bytes = bytes;
    this.at = offset + 1;
    this.end = offset + RECORD_BYTES;
    this.mix = 0;
    return bytes[offset]!;
  }

  next(): number {
    return ((this.byte() << 24) | (this.byte() << 16) | (this.byte() << 8) | this.byte()) >>> 0;
  }

  below(n: number): number {
    if (n <= 1) return 0;
    if (n <= 256) return (this.byte() * n) >>> 8;
    if (n <= 65536) return Math.floor((((this.byte() << 8) | this.byte()) * n) / 65536);
    return Math.floor((this.next() / TWO32) * n);
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  private byte(): number {
    if (this.at < this.end) return this.bytes[this.at++]!;
    if (this.mix === 0) {
      // FNV-1a over the record.
      let hash = 0x811c9dc5;
      for (let i = this.end - RECORD_BYTES; i < this.end; i++) hash = Math.imul(hash ^ this.bytes[i]!, 0x01000193);
      this.mix = hash | 1;
    }
    let mix = this.mix;
    mix ^= mix << 13;
    mix ^= mix >>> 17;
    mix ^= mix << 5;
    this.mix = mix;
    return mix >>> 24;
  }
}

/** How many whole records there are; the last one may lack bytes, which count as 0 (see {@link padded}). */
export function recordCount(bytes: Uint8Array): number {
  return Math.ceil(bytes.length / RECORD_BYTES);
}

/** The bytes with zeros behind them up to a whole record. */
export function padded(bytes: Uint8Array): Uint8Array {
  const length = recordCount(bytes) * RECORD_BYTES;
  if (length === bytes.length) return bytes;
  const whole = new Uint8Array(length);
  whole.set(bytes);
  return whole;
}
