/** What a differential run against QEMU consists of: programs of steps, done on both sides, and what an access gave. */
import type { Word64 } from '../oracle/decode/fields.ts';

/** How the SMMU is set up before the first step. */
export interface Setup {
  readonly strtabBase: number;
  readonly strtabBaseCfg: number;
  readonly cr2: number;
}

/** One thing that both machines do. */
export type Step =
  /** A 64-bit word of memory. */
  | { readonly kind: 'write'; readonly at: number; readonly value: Word64; readonly what: string }
  /** Commands put into the queue with one update of PROD; four int32s each. */
  | { readonly kind: 'commands'; readonly commands: readonly (readonly number[])[] }
  /** Four bytes read or written by a device. */
  | { readonly kind: 'dma'; readonly sid: number; readonly iova: number; readonly write: boolean };

export interface Program {
  readonly seed: number;
  readonly setup: Setup;
  readonly steps: readonly Step[];
}

/**
 * What became of an access: where it went, or the number and the eight int32s of the event that was recorded for it
 * (0 and none when there was none).
 */
export type AccessOutcome =
  | { readonly ok: true; readonly pa: number }
  | { readonly ok: false; readonly event: number; readonly record: readonly number[] };

/** What programs translate with. */
export type StageName = 1 | 2 | 'nested';

/** The other side: a machine of QEMU's that runs programs step by step. */
export interface Subject {
  readonly version: string;
  /** Puts an empty SMMU with this setup in place. */
  reset(setup: Setup): Promise<void>;
  write(at: number, value: Word64): Promise<void>;
  commands(commands: readonly (readonly number[])[]): Promise<void>;
  dma(sid: number, iova: number, write: boolean): Promise<AccessOutcome>;
}

/** A word by which outcomes are compared. */
export function outcomeKey(outcome: AccessOutcome): string {
  return outcome.ok ? `pa ${outcome.pa}` : `event ${outcome.event} ${outcome.record.join(' ')}`;
}

/** An access that ended without an event. */
export const NO_EVENT: AccessOutcome = { ok: false, event: 0, record: [] };

/** An access for which this event was recorded. */
export function recorded(record: ArrayLike<number>): AccessOutcome {
  return { ok: false, event: record[0]! & 0xff, record: Array.from(record) };
}
