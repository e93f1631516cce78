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
  private readonly inChunk: number;
  private readonly chunks: (number | undefined)[] = [];

  /** @param expected records to make room for at once: what is made later costs a little more */
  constructor(memory: PhysicalMemory, width: number, stateClass: StateClass, expected: number) {
    this.memory = memory;
    this.width = width;
    this.stateClass = stateClass;
    this.perChunkLog2 = Math.log2(WORDS_PER_PAGE / width);
    this.inChunk = WORDS_PER_PAGE / width - 1;
    const chunks = Math.max(1, Math.ceil((expected * width) / WORDS_PER_PAGE));
    for (let i = 0; i < chunks; i++) this.chunks.push(memory.allocFile(WORDS_PER_PAGE, stateClass));
  }

  /** Index in {@link PhysicalMemory.words} of the first word of a record that was written before. */
  at(n: number): number {
    return this.chunks[n >>> this.perChunkLog2]! + (n & this.inChunk) * this.width;
  }

  /** Word `field` of record `n`. */
  get(n: number, field: number): number {
    const chunk = this.chunks[n >>> this.perChunkLog2];
    if (chunk === undefined) return 0;
    return this.memory.words[chunk + (n & this.inChunk) * this.width + field]!;
  }

  /** Writes word `field` of record `n`; a word that does not change costs nothing. */
  put(n: number, field: number, value: number): void {
    let chunk = this.chunks[n >>> this.perChunkLog2];
    if (chunk === undefined) {
      if (value === 0) return;
      chunk = this.memory.allocFile(WORDS_PER_PAGE, this.stateClass);
      this.chunks[n >>> this.perChunkLog2] = chunk;
    }
    const index = chunk + (n & this.inChunk) * this.width + field;
    if (this.memory.words[index] !== value) this.memory.put(index, value);
  }

  /** Index of the first word of record `n`, to be written with {@link PhysicalMemory.edit}. */
  atForWrite(n: number): number {
    const number = n >>> this.perChunkLog2;
    let chunk = this.chunks[number];
    if (chunk === undefined) {
      chunk = this.memory.allocFile(WORDS_PER_PAGE, this.stateClass);
      this.chunks[number] = chunk;
    }
    return chunk + (n & this.inChunk) * this.width;
  }

  /** Zeroes record `n`. */
  clear(n: number): void {
    if (this.chunks[n >>> this.perChunkLog2] === undefined) return;
    const first = this.at(n);
    const end = first + this.width;
    const words = this.memory.edit(first, this.width);
    for (let i = first; i < end; i++) words[i] = 0;
  }

  /** Copies record `from`, which was written before, over record `to`. */
  copy(from: number, to: number): void {
    const target = this.atForWrite(to);
    const source = this.at(from);
    const words = this.memory.edit(target, this.width);
    for (let i = 0; i < this.width; i++) words[target + i] = words[source + i]!;
  }
}
