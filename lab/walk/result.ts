/** What one walk found: every word that was fetched, in order, and how it ended. */
import type { EventName } from '../oracle/decode/event.ts';
import type { DecodedField, Word64 } from '../oracle/decode/fields.ts';

/** A translation by stage 2 on behalf of stage 1. */
export interface Beneath {
  /** What lies at the IPA: `L1CD`, `CD`, `stage 1 level 2`, or `access` for the address that stage 1 gave. */
  readonly of: string;
  readonly ipa: number;
}

/** One structure that was fetched. */
export interface WalkStep {
  readonly kind: 'l1std' | 'ste' | 'l1cd' | 'cd' | 'descriptor';
  /** `STE`, `stage 1 level 3`, … */
  readonly title: string;
  /** Stage and level of a table descriptor; null otherwise. */
  readonly stage: 1 | 2 | null;
  readonly level: number | null;
  /** Where it was asked for: an IPA for what a nested stage 1 reads, else a physical address. */
  readonly address: number;
  /** Where stage 2 has put that IPA in memory; null for what lies at a physical address. */
  readonly pa: number | null;
  /** Of a stage-2 descriptor under a nested stream: what it helps to translate. Null otherwise. */
  readonly beneath: Beneath | null;
  /** Its 64-bit words; empty when the fetch aborted. */
  readonly words: readonly Word64[];
  readonly fields: readonly DecodedField[];
  /** What it means for this walk. */
  readonly note: string;
}

/** What a translation permits to a device's data access, and to instruction fetches. */
export interface Permissions {
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

/** The access goes through. */
export interface Translated {
  readonly kind: 'translated';
  readonly pa: number;
  /** Bytes of the mapping that holds the address; of the smaller one when two stages translate. */
  readonly size: number;
  readonly permissions: Permissions;
  readonly memoryType: string;
  /** The leaf descriptor: of stage 1 where it translates, else of stage 2. */
  readonly leaf: { readonly address: number; readonly value: Word64 };
}

/** The access goes through untranslated. */
export interface Bypassed {
  readonly kind: 'bypassed';
  readonly pa: number;
  readonly reason: string;
}

/** The access is aborted, and no event says so. */
export interface Aborted {
  readonly kind: 'aborted';
  readonly reason: string;
}

/** The access is terminated with an event. */
export interface Faulted {
  readonly kind: 'fault';
  readonly event: EventName;
  readonly code: number;
  /** Of a translation fault. */
  readonly stage: 1 | 2 | null;
  readonly class: 'CD' | 'TTD' | 'IN' | null;
  readonly level: number | null;
  /** The check that decided. */
  readonly check: string;
  /** Intermediate physical address of a stage-2 fault. */
  readonly ipa: number | null;
  /** Is an event recorded? Some are only on request (C_BAD_STREAMID, and faults with R = 0). */
  readonly recorded: boolean;
}

export type Outcome = Translated | Bypassed | Aborted | Faulted;

/** Where the walk starts: what the SMMU's registers say of it. */
export interface WalkRegisters {
  readonly enabled: boolean;
  /** First byte of the stream table, log2 of its entries; StreamID bits below `split` index level 2. */
  readonly table: number;
  readonly log2: number;
  readonly twoLevel: boolean;
  readonly split: number;
}

export interface Walk {
  readonly registers: WalkRegisters;
  readonly sid: number;
  readonly iova: number;
  readonly write: boolean;
  readonly steps: readonly WalkStep[];
  readonly outcome: Outcome;
}
