/** What the main thread and the threads that hunt in the zoo say to each other. */
import type { HuntBudget, HuntResult } from '../zoo/engine.ts';

/** One hunt. */
export interface HuntOrder {
  readonly card: string;
  readonly engine: string;
  readonly seed: number;
  readonly budget: HuntBudget;
}

/** What came of it, or the error that ended it. */
export type HuntAnswer = { readonly result: HuntResult } | { readonly error: string };
