/** What memory is measured in, and what goes in and out of it beside bytes. */

export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;
export const WORDS_PER_PAGE = 1024;

/** What the content of a page means for comparison: state counts, dead and derived content does not. */
export const StateClass = { state: 0, dead: 1, derived: 2 } as const;
export type StateClass = (typeof StateClass)[keyof typeof StateClass];

/** A run of RAM: base and size in bytes, both page aligned. */
export interface RamRange {
  readonly base: number;
  readonly size: number;
}

/** Sees every 64-bit write to the pages it watches, after the write. It may write files, never RAM. */
export interface WriteObserver {
  /** @param pa physical address of the 64-bit word */
  wrote(pa: number, slot: number, oldHi: number, oldLo: number, newHi: number, newLo: number): void;
  /**
   * `count` words from `pa` on, within one page, were written at once; they were the first of `old`. What they are now is
   * in memory.
   * @returns whether that is all to be said of them: if not, {@link wrote} is told of each that has changed
   */
  wroteRun?(pa: number, slot: number, old: Int32Array, count: number): boolean;
}

/** One word that differs from what it was at a mark. `pa` is -1 for a word of a file. */
export interface WordChange {
  readonly pa: number;
  readonly index: number;
  readonly old: number;
  readonly now: number;
}

/** An access to an address where the machine has no RAM. */
export class BusError extends Error {
  readonly pa: number;
  constructor(pa: number) {
    super(`no RAM at physical address 0x${pa.toString(16)}`);
    this.name = 'BusError';
    this.pa = pa;
  }
}
