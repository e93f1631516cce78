/** A journaled word beside every page slot, for what is known about pages without being in them. */
import { WORDS_PER_PAGE } from './types.ts';

const CHUNK_SHIFT = 10;

/** The part of memory that keeps files. */
interface FileStore {
  readonly words: Int32Array;
  allocFile(wordCount: number): number;
  put(index: number, value: number): void;
}

/**
 * One journaled word for every slot, zero until written. It stands on chunks that are made on demand and never moved,
 * so undo may cross their creation.
 */
export class SlotFile {
  private readonly memory: FileStore;
  private readonly chunks: number[] = [];

  constructor(memory: FileStore) {
    this.memory = memory;
  }

  get(slot: number): number {
    const base = this.chunks[slot >>> CHUNK_SHIFT];
    return base === undefined ? 0 : this.memory.words[base + (slot & (WORDS_PER_PAGE - 1))]!;
  }

  put(slot: number, value: number): void {
    let base = this.chunks[slot >>> CHUNK_SHIFT];
    if (base === undefined) {
      if (value === 0) return;
      base = this.memory.allocFile(WORDS_PER_PAGE);
      this.chunks[slot >>> CHUNK_SHIFT] = base;
    }
    this.memory.put(base + (slot & (WORDS_PER_PAGE - 1)), value);
  }
}
