/** The detection matrix: which engine finds which defect, by which property, and how soon. */

import type { DefectCard } from './card.ts';
import type { Engine } from './engine.ts';
import type { Trial } from './trial.ts';

/** All hunts of one engine for one defect. */
export interface Cell {
  readonly engine: string;
  /** Why the engine cannot find it, if that is known; then there are no hunts. */
  readonly limit: string | null;
  readonly hunts: number;
  readonly found: number;
  /** Properties of the first violations, most frequent first. */
  readonly properties: readonly string[];
  /** CPU seconds to detection; null where fewer than half of the hunts, or none, found it. */
  readonly seconds: Spread | null;
  /** Hypercalls to detection, likewise. */
  readonly calls: Spread | null;
  /** Steps of the shortest shrunk scenario; null when nothing was found. */
  readonly steps: number | null;
}

/** A median, and an interval that covers it with 95 % confidence, from order statistics; null: beyond the budget. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number | null;
}

export interface MatrixRow {
  readonly card: DefectCard;
  readonly cells: readonly Cell[];
}

/** One row per card, one cell per engine, of the trials that belong there. */
export function matrixOf(
  cards: readonly DefectCard[],
  engines: readonly Engine[],
  trials: readonly Trial[],
): MatrixRow[] {
  return cards.map((card) => ({
    card,
    cells: engines.map((engine) => {
      const own = trials.filter((trial) => trial.card === card.id && trial.engine === engine.name);
      return cellOf(engine.name, engine.limit(card), own);
    }),
  }));
}

function cellOf(engine: string, limit: string | null, trials: readonly Trial[]): Cell {
  const found = trials.filter(({ censored }) => !censored);
  return {
    engine,
    limit,
    hunts: trials.length,
    found: found.length,
    properties: byFrequency(found.map(({ property }) => property)),
    seconds: spreadOf(trials.map(({ censored, cpuSeconds }) => (censored ? Number.POSITIVE_INFINITY : cpuSeconds))),
    calls: spreadOf(trials.map(({ censored, calls }) => (censored ? Number.POSITIVE_INFINITY : calls))),
    steps: found.length === 0 ? null : Math.min(...found.map(({ steps }) => steps)),
  };
}

function byFrequency(names: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([name]) => name);
}

/**
 * Median of times of which some are only known to lie beyond the budget (infinite), and the interval between the order
 * statistics that enclose it with 95 % confidence (binomial, p = 1/2). Null when the median itself lies beyond.
 */
export function spreadOf(values: readonly number[]): Spread | null {
  const n = values.length;
  if (n === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const median = (sorted[Math.floor((n - 1) / 2)]! + sorted[Math.floor(n / 2)]!) / 2;
  if (!Number.isFinite(median)) return null;
  const outside = lowerTail(n, 0.025);
  const high = sorted[n - 1 - outside]!;
  return { median, low: sorted[outside]!, high: Number.isFinite(high) ? high : null };
}

/** The largest k for which at most k heads in n throws have a probability of at most `share`; at least 0. */
function lowerTail(n: number, share: number): number {
  let probability = 2 ** -n;
  let sum = probability;
  let k = 0;
  while (sum <= share) {
    k++;
    probability *= (n - k + 1) / k;
    sum += probability;
  }
  return Math.max(0, k - 1);
}
