/** How a translation came about: every structure that hardware read on the way, for people and tools. */

import { classify, Descriptor, isDevice, type Regime, WalkResult, walk } from '../table-walk.ts';
import { EVENT_NAMES, EventClass } from './events.ts';
import { type Adversary, CachedChoice } from './lookup.ts';
import { SteKind } from './ste.ts';
import { translate } from './translate.ts';
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

/** A translation by stage 2 of what a nested stage 1 reads, or of the address that it gave. */
export interface ExplainedBeneath {
  /** What lies at the IPA: the CD or its level-1 descriptor, a stage-1 descriptor, or the access itself. */
  readonly of: 'cd' | 'descriptor' | 'access';
  readonly ipa: number;
  readonly descriptors: readonly ExplainedDescriptor[];
  /** -1 when stage 2 does not let it through. */
  readonly pa: number;
}

/** The way of one transaction. What was not reached is null. */
export interface Explanation {
  readonly ste: ExplainedEntry | null;
  readonly cd: ExplainedEntry | null;
  /** Stage that walked; 0 when none did. */
  readonly stage: 0 | 1 | 2;
  readonly descriptors: readonly ExplainedDescriptor[];
  /** Of a nested stream: each translation by stage 2, in the order in which they are made. */
  readonly beneath: readonly ExplainedBeneath[];
  readonly ok: boolean;
  readonly pa: number;
  /** Bytes that the leaf maps; 0 without one. */
  readonly leafSize: number;
  /** Name of the fault; empty on success and for a silent abort. */
  readonly fault: string;
}

const KINDS = { [Descriptor.invalid]: 'invalid', [Descriptor.leaf]: 'leaf', [Descriptor.table]: 'table' } as const;

const OF = { [EventClass.CD]: 'cd', [EventClass.TTD]: 'descriptor', [EventClass.IN]: 'access' } as const;

/** Takes nothing from caches, and sees which IPAs stage 2 is asked for under a nested stage 1. */
class Witness implements Adversary {
  readonly asked: { readonly ipa: number; readonly of: EventClass }[] = [];

  contextTable(): boolean {
    return false;
  }

  contextPlace(): number {
    return -1;
  }

  context(): void {}

  stage1(): void {}

  stage2(ipa: number, of: EventClass): void {
    // The update of a descriptor asks for it a second time.
    if (this.asked.at(-1)?.ipa !== ipa) this.asked.push({ ipa, of });
  }

  refute(): void {}
}

/** Translates an access from memory as it is now, and tells how that came about. */
export function explain(u: TranslationUnit, sid: number, iova: number, write: boolean, ssid: number): Explanation {
  const witness = new Witness();
  const choice = new CachedChoice();
  choice.adversary = witness;
  translate(u, sid, iova, write, choice, ssid);
  const { walk: walked, regime, ste } = u;
  const nested = u.steAt >= 0 && ste.kind === SteKind.nested;
  const ok = u.pa >= 0;
  return {
    ste: u.steAt < 0 ? null : { pa: u.steAt, words: u.ste.words.slice(), illegal: u.ste.illegal },
    cd: u.cdAt < 0 ? null : { pa: u.cdAt, words: u.cd.words.slice(), illegal: u.cd.illegal },
    stage: u.stage,
    descriptors: regime === null ? [] : descriptorsOf(walked, regime),
    beneath: nested ? witness.asked.map(({ ipa, of }) => explainBeneath(u, ipa, of, write)) : [],
    ok,
    pa: u.pa,
    leafSize: regime !== null && walked.leafLog2 !== 0 ? 2 ** walked.leafLog2 : 0,
    fault: ok ? '' : (EVENT_NAMES.get(u.fault.type) ?? ''),
  };
}

function explainBeneath(u: TranslationUnit, ipa: number, of: EventClass, write: boolean): ExplainedBeneath {
  const { stage2 } = u.ste;
  const result = new WalkResult();
  walk(u.memory, stage2, ipa, write && of === EventClass.IN, result);
  const refused = of !== EventClass.IN && stage2.protectsWalks && isDevice(result.lo);
  return { of: OF[of], ipa, descriptors: descriptorsOf(result, stage2), pa: refused ? -1 : result.pa };
}

function descriptorsOf(walked: WalkResult, { startLevel, granule, wide }: Regime): ExplainedDescriptor[] {
  return Array.from({ length: walked.fetches }, (_, i) => {
    const level = startLevel + i;
    const lo = walked.fetchLo[i]!;
    const kind = KINDS[classify(granule, level, lo, wide)];
    return { level, pa: walked.fetchPa[i]!, hi: walked.fetchHi[i]!, lo, kind };
  });
}
