/**
 * A hash table in journaled words: keys of two int32 words, values of a fixed number of words. Linear probing; removal
 * shifts entries back, so there are no tombstones. It grows by copying itself into a larger file. Undoing the memory
 * undoes the table, growth included: which file is current is itself a journaled word.
 */

import { type PhysicalMemory, StateClass } from '#machine/memory';

const FILE = 0;
const LOG2 = 1;
const COUNT = 2;
/** Words of an entry before its value: in use, key. */
const HEAD = 3;
const SMALLEST_LOG2 = 4;

export class JournaledTable {
  private readonly memory: PhysicalMemory;
  private readonly stride: number;
  private readonly header: number;
  /** File of each capacity by log2. A file that undo left behind is used again. */
  private readonly files: number[] = [];

  /** @param valueWords words of a value, at least 1 */
  constructor(memory: PhysicalMemory, valueWords: number) {
    this.memory = memory;
    this.stride = HEAD + valueWords;
    this.header = memory.allocFile(3, StateClass.derived);
    this.files[SMALLEST_LOG2] = memory.allocFile(this.stride << SMALLEST_LOG2, StateClass.derived);
    // A table begins to exist when it is made, whatever is undone later: its first file is set without a journal entry.
    memory.words[this.header + FILE] = this.files[SMALLEST_LOG2]!;
    memory.words[this.header + LOG2] = SMALLEST_LOG2;
  }

  /** Number of entries. */
  get size(): number {
    return this.memory.words[this.header + COUNT]!;
  }

  /** Index of the first word of the value under that key, or -1. Good until the next {@link insert} or {@link remove}. */
  find(key0: number, key1: number): number {
    const { words } = this.memory;
    const { stride } = this;
    const file = words[this.header + FILE]!;
    const mask = (1 << words[this.header + LOG2]!) - 1;
    for (let slot = hash(key0, key1) & mask; ; slot = (slot + 1) & mask) {
      const at = file + slot * stride;
      if (words[at] === 0) return -1;
      if (words[at + 1] === key0 && words[at + 2] === key1) return at + HEAD;
    }
  }

  /** Like {@link find}, with a zeroed value made where there is none. */
  insert(key0: number, key1: number): number {
    const found = this.find(key0, key1);
    if (found >= 0) return found;
    const { memory, header } = this;
    const count = memory.words[header + COUNT]! + 1;
    if (4 * count > 3 * (1 << memory.words[header + LOG2]!)) this.grow();
    memory.put(header + COUNT, count);
    const at = this.emptySlot(key0, key1);
    memory.put(at, 1);
    memory.put(at + 1, key0);
    memory.put(at + 2, key1);
    return at + HEAD;
  }

  /** Remove a key. @returns whether it was there */
  remove(key0: number, key1: number): boolean {
    const found = this.find(key0, key1);
    if (found < 0) return false;
    const { memory, stride, header } = this;
    const file = memory.words[header + FILE]!;
    const mask = (1 << memory.words[header + LOG2]!) - 1;
    let hole = (found - HEAD - file) / stride;
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const at = file + slot * stride;
      if (memory.words[at] === 0) break;
      const home = hash(memory.words[at + 1]!, memory.words[at + 2]!) & mask;
      // An entry may move back to the hole unless its home lies between the hole and itself.
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
      this.move(at, file + hole * stride);
      hole = slot;
    }
    const at = file + hole * stride;
    for (let i = 0; i < stride; i++) if (memory.words[at + i] !== 0) memory.put(at + i, 0);
    memory.put(header + COUNT, memory.words[header + COUNT]! - 1);
    return true;
  }

  /** Calls `visit` with each key and the index of its value, in no particular order. */
  forEach(visit: (key0: number, key1: number, value: number) => void): void {
    const { memory, stride, header } = this;
    const file = memory.words[header + FILE]!;
    const end = file + (stride << memory.words[header + LOG2]!);
    for (let at = file; at < end; at += stride) {
      if (memory.words[at] !== 0) visit(memory.words[at + 1]!, memory.words[at + 2]!, at + HEAD);
    }
  }

  private emptySlot(key0: number, key1: number): number {
    const { memory, stride, header } = this;
    const file = memory.words[header + FILE]!;
    const mask = (1 << memory.words[header + LOG2]!) - 1;
    let slot = hash(key0, key1) & mask;
    while (memory.words[file + slot * stride] !== 0) slot = (slot + 1) & mask;
    return file + slot * stride;
  }

  private move(from: number, to: number): void {
    const { memory, stride } = this;
    for (let i = 0; i < stride; i++) {
      const word = memory.words[from + i]!;
      if (memory.words[to + i] !== word) memory.put(to + i, word);
    }
  }

  private grow(): void {
    const { memory, stride, header } = this;
    const from = memory.words[header + FILE]!;
    const oldLog2 = memory.words[header + LOG2]!;
    const log2 = oldLog2 + 1;
    const existing = this.files[log2];
    const file = existing ?? memory.allocFile(stride << log2, StateClass.derived);
    this.files[log2] = file;
    if (existing !== undefined) {
      for (let i = 0; i < stride << log2; i++) if (memory.words[file + i] !== 0) memory.put(file + i, 0);
    }
    memory.put(header + FILE, file);
    memory.put(header + LOG2, log2);
    for (let i = 0; i < 1 << oldLog2; i++) {
      const at = from + i * stride;
      if (memory.words[at] === 0) continue;
      this.move(at, this.emptySlot(memory.words[at + 1]!, memory.words[at + 2]!));
    }
  }
}

function hash(key0: number, key1: number): number {
  const h = Math.imul(key0 ^ Math.imul(key1, 0x9e3779b1), 0x85ebca6b);
  return (h ^ (h >>> 15)) >>> 0;
}
