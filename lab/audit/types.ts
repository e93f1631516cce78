/** What an audit works with and what it reports. Addresses and sizes are bytes; ends are exclusive. */
import type { Word64 } from '../oracle/decode/fields.ts';

/** What a device may do with a range. */
export interface Rights {
  readonly read: boolean;
  readonly write: boolean;
  /** Instruction fetches, for devices that make them. */
  readonly execute: boolean;
  /** Only accesses that arrive as privileged have these rights. */
  readonly privileged: boolean;
}

/** A descriptor, STE or register that lets an access through: where it lies and what it holds. */
export interface Entry {
  readonly address: number;
  readonly value: Word64;
}

/** Leaves side by side: contiguous as IOVA and as PA, with equal rights. */
export interface ReachRange {
  readonly iova: number;
  readonly pa: number;
  readonly size: number;
  readonly rights: Rights;
  /** How many leaves, and the descriptors of the first and the last one. */
  readonly leaves: number;
  readonly entry: Entry;
  readonly last: Entry;
  /** The stage-2 descriptor beneath the first, where two stages translate. */
  readonly beneath: Entry | null;
}

/** What memory that steers the SMMU holds. */
export type Structure = 'stream table' | 'context descriptors' | 'translation table' | 'queue' | 'registers';

/** Memory that devices must not touch (`protected`) or must not write (`table`). */
export interface Region {
  readonly kind: 'protected' | 'table';
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** Of a `table`. */
  readonly structure?: Structure;
  /** Of a translation table. */
  readonly level?: number;
}

/** A stream, with where its configuration lies. */
export interface AuditedStream {
  readonly sid: number;
  readonly ste: Entry;
  /** Address of the context descriptor; null without stage 1. */
  readonly cd: number | null;
}

/** Streams that go through the same tables, and what they reach. No stream at all: every one, with the SMMU off. */
export interface AuditedContext {
  readonly streams: readonly AuditedStream[];
  /** Substream; null for transactions without one. */
  readonly ssid: number | null;
  readonly translation: 'none' | 'stage 1' | 'stage 2' | 'nested';
  /** Address of the first table; null without translation. */
  readonly table: number | null;
  readonly ranges: readonly ReachRange[];
  readonly leaves: number;
  /** Bytes of memory mapped, counted once per mapping. */
  readonly bytes: number;
}

/** A device can do what it must not. */
export interface AuditViolation {
  readonly kind: 'protected memory is reachable' | 'table memory is writable';
  readonly streams: readonly number[];
  readonly ssid: number | null;
  readonly region: Region;
  /** The part of the region that is reached, and at which IOVA. */
  readonly iova: number;
  readonly pa: number;
  readonly size: number;
  readonly rights: Rights;
  /** The descriptor that lets the first byte through; how many do for all of it. */
  readonly entry: Entry;
  readonly beneath: Entry | null;
  readonly leaves: number;
}

/** A stream that gets nowhere, and why. */
export interface DeniedStream {
  readonly sid: number;
  readonly ssid: number | null;
  readonly reason: string;
}

export interface AuditReport {
  /** The file or the machine that was looked at. */
  readonly subject: string;
  readonly enabled: boolean;
  readonly contexts: readonly AuditedContext[];
  readonly denied: readonly DeniedStream[];
  readonly regions: readonly Region[];
  readonly violations: readonly AuditViolation[];
  /** How many violations of regions that are listed already often enough were left out of the list. */
  readonly omitted: number;
  /** What could not be looked at. Unless it is empty, the absence of violations proves nothing. */
  readonly gaps: readonly string[];
  /** What a stream is called, by StreamID. */
  readonly names: ReadonlyMap<number, string>;
}
