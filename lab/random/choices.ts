/** Where the decisions of made-up steps come from: a stream of random numbers, or the bytes of a fuzzer's input. */

export interface Choices {
  /** 32 bits, unsigned. */
  next(): number;
  /** A whole number from 0 to n - 1; n is at most 2^32. */
  below(n: number): number;
  /** A whole number from low to high, both included. */
  between(low: number, high: number): number;
  /** True in so many of a hundred cases. */
  chance(percent: number): boolean;
  /** One of the items, of which there must be one. */
  pick<T>(items: readonly T[]): T;
}
