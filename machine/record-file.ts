/**
 * Numbered records of a fixed number of words in journaled memory: undo restores them and hashes see them. Their chunks
 * are made on demand and never move, so undo may cross their creation.
 */

import { type PhysicalMemory, type StateClass, WORDS_PER_PAGE } from './memory/index.ts';

/** Records 0, 1, 2, ... all zero until written. */
export class RecordFile {
  /** Words of one record: a power of two. */
  readonly width: number;
  private readonly memory: PhysicalMemory;
  private readonly stateClass: StateClass;
  private readonly perChunkLog2: number;
  private readonly chunks: (number | undefined)[] = [];

  /** @param expected records to make room for at once: what is made later costs a little more */
  constructor(memory: PhysicalMemory, width: number, stateClass: StateClass, expected: number) {
    this.memory = memory;
    this.width = width;
    this.stateClass = stateClass;
    this.perChunkLog2 = Math.log2(WORDS_PER_PAGE / width);
    const chunks = Math.max(1, Math.ceil((expected * width) / WORDS_PER_PAGE));
    for (let i = 0; i < chunks; i++) this.chunks.push(memory.allocFile(WORDS_PER_PAGE, stateClass));
  }

  /** Word `field` of record `n`. */
  get(n: number, field: number): number {
    const chunk = this.chunks[n >>> this.perChunkLog2];
    if (chunk === undefined) return 0;
    return this.memory.words[chunk + (n & ((1 << this.perChunkLog2) - 1)) * this.width + field]!;
  }

  /** Writes word `field` of record `n`; a word that does not change costs nothing. */
  put(n: number, field: number, value: number): void {
    let chunk = this.chunks[n >>> this.perChunkLog2];
    if (chunk === undefined) {
      if (value === 0) return;
      chunk = this.memory.allocFile(WORDS_PER_PAGE, this.stateClass);
      this.chunks[n >>> this.perChunkLog2] = chunk;
    }
    const index = chunk + (n & ((1 << this.perChunkLog2) - 1)) * this.width + field;
    if (this.memory.words[index] !== value) this.memory.put(index, value);
  }

  /** Zeroes record `n`. */
  clear(n: number): void {
    for (let field = 0; field < this.width; field++) this.put(n, field, 0);
  }

  /** Copies record `from` over record `to`. */
  copy(from: number, to: number): void {
    for (let field = 0; field < this.width; field++) this.put(to, field, this.get(from, field));
  }
}
