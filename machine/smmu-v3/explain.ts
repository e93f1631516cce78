/** How a translation came about: every structure that hardware read on the way, for people and tools. */

import { classify, Descriptor } from '../table-walk.ts';
import { EVENT_NAMES } from './events.ts';
import type { TranslationUnit } from './unit.ts';

/** A 64-byte structure as it was read. */
export interface ExplainedEntry {
  readonly pa: number;
  /** q0 to q7 as [lo0, hi0, lo1, hi1, ...]. */
  readonly words: Int32Array;
  /** Why it is ILLEGAL; empty when it is legal. */
  readonly illegal: string;
}

/** A translation-table descriptor as it was fetched. */
export interface ExplainedDescriptor {
  readonly level: number;
  readonly pa: number;
  readonly hi: number;
  readonly lo: number;
  readonly kind: 'invalid' | 'leaf' | 'table';
}

/** The way of one transaction. What was not reached is null. */
export interface Explanation {
  readonly ste: ExplainedEntry | null;
  readonly cd: ExplainedEntry | null;
  /** Stage that walked; 0 when none did. */
  readonly stage: 0 | 1 | 2;
  readonly descriptors: readonly ExplainedDescriptor[];
  readonly ok: boolean;
  readonly pa: number;
  /** Bytes that the leaf maps; 0 without one. */
  readonly leafSize: number;
  /** Name of the fault; empty on success and for a silent abort. */
  readonly fault: string;
}

const KINDS = { [Descriptor.invalid]: 'invalid', [Descriptor.leaf]: 'leaf', [Descriptor.table]: 'table' } as const;

/** Reads the explanation of the translation that `u` did last. */
export function explain(u: TranslationUnit): Explanation {
  const { walk, regime } = u;
  const descriptors: ExplainedDescriptor[] = [];
  if (regime !== null) {
    for (let i = 0; i < walk.fetches; i++) {
      const level = regime.startLevel + i;
      const lo = walk.fetchLo[i]!;
      const kind = KINDS[classify(regime.granule, level, lo, regime.wide)];
      descriptors.push({ level, pa: walk.fetchPa[i]!, hi: walk.fetchHi[i]!, lo, kind });
    }
  }
  const ok = u.pa >= 0;
  return {
    ste: u.steAt < 0 ? null : { pa: u.steAt, words: u.ste.words.slice(), illegal: u.ste.illegal },
    cd: u.cdAt < 0 ? null : { pa: u.cdAt, words: u.cd.words.slice(), illegal: u.cd.illegal },
    stage: u.stage,
    descriptors,
    ok,
    pa: u.pa,
    leafSize: regime !== null && walk.leafLog2 !== 0 ? 2 ** walk.leafLog2 : 0,
    fault: ok ? '' : (EVENT_NAMES.get(u.fault.type) ?? ''),
  };
}
