/** What hunts for defects: an engine gets a hypervisor with one defect and makes up what to do with it. */

import type { DefectCard } from './card.ts';

/** How long an engine may look. */
export interface HuntBudget {
  /** CPU time of the thread that hunts. */
  readonly cpuSeconds: number;
}

/** What an engine has seen of a defect. */
export interface Detection {
  /** Property of the first violation, and its rule. */
  readonly property: string;
  readonly rule: string;
  readonly text: string;
  /** The shrunk scenario, as text. */
  readonly scenario: string;
  /** Steps that it takes, without what it expects. */
  readonly steps: number;
}

export interface HuntResult {
  /** Null when the budget was used up, or nothing more was left to try. */
  readonly detection: Detection | null;
  /** Runs from boot, the one that found it included. */
  readonly runs: number;
  /** Hypercalls in all of them. */
  readonly calls: number;
  /** CPU time until the detection, without what shrinking took. */
  readonly cpuSeconds: number;
}

/** CPU time that this thread has taken so far, in seconds. Whoever can tell it makes the engines. */
export type CpuClock = () => number;

export interface Engine {
  readonly name: string;
  /** One sentence: what it knows of the defect, and how it looks. */
  readonly describe: string;
  /** Why it cannot find the defect, known before it looks; null when it might. */
  limit(card: DefectCard): string | null;
  /**
   * Look for the defect, up to the first violation, whatever it is of. Apart from times the result follows from card,
   * seed and, where it ends the hunt, budget.
   */
  hunt(card: DefectCard, seed: number, budget: HuntBudget): HuntResult;
}
