/**
 * Records of a fixed number of words in journaled files, handed out and taken back by number. Everything that decides
 * which records are in use is journaled too, so undo takes the oracle's bookkeeping back with the machine.
 */

import { type PhysicalMemory, StateClass } from '#machine/memory';

const USED = 0;
const FREE_HEAD = 1;

export class RecordFile {
  readonly memory: PhysicalMemory;
  readonly stride: number;
  private readonly header: number;
  private readonly shift: number;
  private readonly mask: number;
  /** Files never move and are never given back: a chunk made before an undo is there after it. */
  private readonly chunks: number[] = [];

  /** @param stride words per record; @param chunkLog2 log2 of the records per file */
  constructor(memory: PhysicalMemory, stride: number, chunkLog2: number) {
    this.memory = memory;
    this.stride = stride;
    this.shift = chunkLog2;
    this.mask = (1 << chunkLog2) - 1;
    this.header = memory.allocFile(2, StateClass.derived);
  }

  /** Highest record number that was ever in use. */
  get last(): number {
    return this.memory.words[this.header + USED]!;
  }

  /** Index of the first word of record `id`. */
  at(id: number): number {
    return this.chunks[id >>> this.shift]! + (id & this.mask) * this.stride;
  }

  /** Take a record; its words are zero. Numbers start at 1. */
  alloc(): number {
    const { memory, header } = this;
    const head = memory.words[header + FREE_HEAD]!;
    if (head !== 0) {
      const at = this.at(head);
      memory.put(header + FREE_HEAD, memory.words[at]!);
      memory.put(at, 0);
      return head;
    }
    const id = memory.words[header + USED]! + 1;
    const chunk = id >>> this.shift;
    while (this.chunks.length <= chunk) {
      this.chunks.push(memory.allocFile(this.stride << this.shift, StateClass.derived));
    }
    memory.put(header + USED, id);
    return id;
  }

  /** Give a record back. */
  free(id: number): void {
    const { memory } = this;
    const at = this.at(id);
    for (let i = 1; i < this.stride; i++) if (memory.words[at + i] !== 0) memory.put(at + i, 0);
    this.freeEmpty(id);
  }

  /** {@link free} one whose words are all zero, but for the first. */
  freeEmpty(id: number): void {
    const { memory, header } = this;
    memory.put(this.at(id), memory.words[header + FREE_HEAD]!);
    memory.put(header + FREE_HEAD, id);
  }
}
