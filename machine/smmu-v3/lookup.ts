/** Look-ups of one translation: in memory, or in what an adversary that owns the caches puts in its place. */

import type { PhysicalMemory } from '../memory/index.ts';
import {
  descriptorAddress,
  judgeLeaf,
  type Regime,
  tableLimits,
  type Underneath,
  WalkFault,
  type WalkResult,
  walk,
  walkFrom,
} from '../table-walk.ts';
import { type EventClass, EventType } from './events.ts';
import type { StreamTable } from './stream-table.ts';

/** What of the TLB a stage uses in place of a walk from the root. */
export const TlbUse = { none: 0, leaf: 1, table: 2, root: 3 } as const;
export type TlbUse = (typeof TlbUse)[keyof typeof TlbUse];

/** One TLB entry in the place of a walk, or of its first levels. */
export class TlbChoice {
  tlb: TlbUse = TlbUse.none;
  /** Regime to read the TLB entry with, or to walk from (`root`). */
  tlbRegime: Regime | null = null;
  /** The address that is looked up, as an offset from the start of the range of a `root`. */
  tlbInput = 0;
  /** Level of a leaf, or of the table that a table descriptor names; the descriptor, and what the tables above it allow. */
  tlbLevel = 0;
  tlbHi = 0;
  tlbLo = 0;
  tlbLimits = 0;
  /** The entry is a stage-1-only one: its output is physical, and no stage 2 is asked. */
  tlbFinal = false;
}

/** Cached things that hardware uses in place of what memory holds now. */
export class CachedChoice extends TlbChoice {
  streamTable: StreamTable | null = null;
  /** A level-1 descriptor and its address; -1 for none. */
  l1At = -1;
  l1Hi = 0;
  l1Lo = 0;
  /** Address of an STE that is used without a look-up; -1 for none. */
  steAt = -1;
  /** 64-bit words of the STE (bit n: word n) that are taken from {@link steWords}. */
  steMask = 0;
  readonly steWords: Int32Array = new Int32Array(16);
  /** Decides the rest on the way. */
  adversary: Adversary | null = null;
}

/** Decides at each point of a translation whether something cached takes the place of what memory holds. */
export interface Adversary {
  /** A cached level-1 CD descriptor to be used without a fetch, put into `words` (lo, hi); false to fetch it. */
  contextTable(words: Int32Array): boolean;
  /** Address that a cached CD was once fetched from, to be used without a fetch; -1 to fetch it. */
  contextPlace(): number;
  /** The words of the CD from `at`: may replace them. */
  context(at: number, fetched: boolean, words: Int32Array): void;
  /** TLB entry for a stage-1 look-up of `va` under the unit's STE and CD. */
  stage1(va: number, regime: Regime, choice: TlbChoice): void;
  /** TLB entry for a stage-2 look-up. */
  stage2(ipa: number, eventClass: EventClass, choice: TlbChoice): void;
  /** The entry that was chosen last turns out to be one that no walk could have cached. */
  refute(): void;
}

/** 32-bit words of an STE and of a CD. */
const ENTRY_WORDS = 16;

/** Event number by {@link WalkFault}. */
export const FAULT_EVENTS: readonly number[] = [
  0,
  EventType.F_TRANSLATION,
  EventType.F_ADDR_SIZE,
  EventType.F_ACCESS,
  EventType.F_PERMISSION,
  EventType.F_WALK_EABT,
];

/**
 * Walks `regime`, or takes the TLB entry of `choice`, which has the regime that it was walked with.
 * @param input the address as an offset from the start of the regime's range
 */
export function walkWith(
  memory: PhysicalMemory,
  regime: Regime,
  input: number,
  write: boolean,
  choice: TlbChoice | null,
  out: WalkResult,
  under: Underneath | null,
): void {
  if (choice === null || choice.tlb === TlbUse.none || choice.tlbRegime === null) {
    walk(memory, regime, input, write, out, under);
  } else if (choice.tlb === TlbUse.root) {
    walk(memory, choice.tlbRegime, choice.tlbInput, write, out, under);
  } else if (choice.tlb === TlbUse.table) {
    const { tlbRegime, tlbLevel, tlbHi, tlbLo } = choice;
    const table = descriptorAddress(tlbHi, tlbLo, tlbRegime.granule, tlbRegime.wide);
    const limits = choice.tlbLimits | tableLimits(tlbRegime, tlbHi);
    walkFrom(memory, tlbRegime, tlbLevel, table, limits, input, write, out, under);
  } else {
    judgeLeaf(choice.tlbRegime, choice.tlbLevel, choice.tlbHi, choice.tlbLo, choice.tlbLimits, input, write, out);
  }
}

/**
 * Whether the result of a walk shows that its TLB entry cannot exist: what faults otherwise than by permission is not
 * cached, and a walk from another root that ends at the first table used nothing of that root but its address.
 */
export function isUnfounded({ tlb, tlbRegime }: TlbChoice, { fault, fetches, level }: WalkResult): boolean {
  if (tlb === TlbUse.none || tlbRegime === null) return false;
  if (fault === WalkFault.none || fault === WalkFault.permission) return false;
  if (tlb === TlbUse.leaf) return true;
  if (tlb === TlbUse.table) return fault === WalkFault.addressSize && fetches === 0;
  return level === tlbRegime.startLevel || fetches === 0;
}

/**
 * Reads a 64-byte entry; 64-bit words in `mask` come from `cached`.
 * @returns whether it differs from what `words` held: what did not change needs no second decoding
 */
export function readEntry(
  memory: PhysicalMemory,
  pa: number,
  words: Int32Array,
  mask: number,
  cached: Int32Array | undefined,
): boolean {
  const from = memory.indexOf(pa);
  const source = memory.words;
  if (mask === 0 || cached === undefined) {
    // Almost always nothing has changed: the differences are gathered without a branch for each.
    let different = 0;
    for (let i = 0; i < ENTRY_WORDS; i++) different |= words[i]! ^ source[from + i]!;
    if (different !== 0) for (let i = 0; i < ENTRY_WORDS; i++) words[i] = source[from + i]!;
    return different !== 0;
  }
  let changed = false;
  for (let i = 0; i < ENTRY_WORDS; i++) {
    const word = (mask & (1 << (i >> 1))) !== 0 ? cached[i]! : source[from + i]!;
    if (words[i] !== word) {
      words[i] = word;
      changed = true;
    }
  }
  return changed;
}

/** Whether a walk ended for a reason that is already in the unit's fault. */
export function endedBelow(walked: WalkResult): boolean {
  return walked.fault === WalkFault.stage2;
}
