/** What the SMMU model tells the outside: outcomes of transactions, stale cache entries, events for tools. */

/** A 32-byte event record: four 64-bit words, each as (lo, hi) int32. */
export interface EventRecord {
  /** Event number, for example 0x10 for F_TRANSLATION. */
  readonly type: number;
  /** Its name in the architecture, for example `F_TRANSLATION`. */
  readonly name: string;
  readonly sid: number;
  /** Words 0 to 3 as [lo0, hi0, lo1, hi1, ...]. */
  readonly words: Int32Array;
  /** Whether hardware records it (some faults are silent by configuration). */
  readonly recorded: boolean;
}

/** One thing that may happen to a transaction. */
export interface Outcome {
  /** Whether the access goes through, to {@link pa}. */
  readonly ok: boolean;
  /** Physical address it reaches; -1 when it does not. */
  readonly pa: number;
  /** The fault, if there is one. A transaction may also end silently: not ok, and no event. */
  readonly event: EventRecord | null;
  /**
   * Empty for what the tables say now. Otherwise the cached things that lead here, one term each, joined by a space:
   * `leaf:3`, `table:3`, `ste:7`, `cd:1`, `l1std:2`, `strtab:4`, `tag:5` (number: {@link StaleEntry.id}), or `root:0x…`
   * when another table that is live under the same VMID and ASID supplies the translation.
   */
  readonly via: string;
  /**
   * The device is not told of the fault (CD.A is 0): its read gives zeros, its write is dropped. Absent when it sees an
   * abort, and when the transaction waits.
   */
  readonly ignored?: true;
  /** The transaction waits under this STAG for CMD_RESUME; absent when it has ended. */
  readonly stag?: number;
  /** In a list of possible outcomes: the transaction would wait for software. Absent when it would not. */
  readonly stalls?: true;
}

/** Result of {@link Smmu.translate}. The object is reused: read it before the next call. */
export interface Translation {
  ok: boolean;
  pa: number;
  /** Event number of the fault; 0 when the transaction succeeds or is aborted silently. */
  fault: number;
}

/** Kinds of things a cache may hold after memory has changed. */
export type StaleKind = 'leaf' | 'table' | 'cd' | 'ste' | 'l1std' | 'strtab' | 'tag' | 'l1cd';

/** Something that was reachable, was changed or removed, and whose covering invalidation and SYNC did not complete. */
export interface StaleEntry {
  /** Number of the entry, good until the next command or write. */
  readonly id: number;
  readonly kind: StaleKind;
  /** Invalidated by a command, waiting for its SYNC. */
  readonly pending: boolean;
  /** StreamID (`ste`, `cd`), first StreamID (`l1std`), StreamID of an `l1cd`; else -1. */
  readonly sid: number;
  /** SubstreamID (`cd`), first SubstreamID (`l1cd`), else -1. */
  readonly ssid: number;
  /** A stage-2 leaf that is left only inside stage-1 entries of its VMID: an invalidation by IPA does not find it. */
  readonly combined: boolean;
  /** Stage of the table (`leaf`, `table`, `tag`), else 0. */
  readonly stage: 0 | 1 | 2;
  /** Tag of a TLB entry; -1 where there is none (ASID of a global or stage-2 entry). */
  readonly vmid: number;
  readonly asid: number;
  /** First input address it covers and how many bytes (`leaf`, `table`), else 0. */
  readonly iova: number;
  readonly size: number;
  readonly level: number;
  /** Physical address of the word that was overwritten, and what it held: (hi, lo). */
  readonly at: number;
  readonly oldHi: number;
  readonly oldLo: number;
}

/** What an interrupt is about. */
export type InterruptName = 'gerror' | 'eventq' | 'priq' | 'sync';

/** Callbacks for tools. Each is optional; none may change the machine. */
export interface SmmuObserver {
  /** A register was written. Offset from the SMMU's base; `width` 4 or 8 bytes. */
  registerWrite?(offset: number, hi: number, lo: number, width: number): void;
  /** A command was consumed at this index of the queue. `error` is CERROR_* (0 none). */
  command?(index: number, hi0: number, lo0: number, hi1: number, lo1: number, error: number): void;
  /** A transaction faulted; `written` tells whether the record reached the queue. */
  event?(record: EventRecord, written: boolean): void;
  /** An interrupt was signalled: to a wire, or by a write of `data` to `address` (MSI; -1 for a wire). */
  interrupt?(which: InterruptName, address: number, data: number): void;
}

/** Answer to an ATS translation request. */
export type AtsAnswer =
  | {
      readonly status: 'success';
      /** What is granted; neither means that there is no translation. */
      readonly read: boolean;
      readonly write: boolean;
      /** Where the page goes: physical, or an IPA under split-stage ATS; -1 without a translation. */
      readonly pa: number;
      /** Bytes of the aligned range for which the answer holds. */
      readonly size: number;
      readonly recorded: boolean;
    }
  | {
      /** Unsupported request (ATS is off for the stream), or completer abort (a configuration error). */
      readonly status: 'unsupported' | 'aborted';
      /** The fault is one that is recorded. */
      readonly recorded: boolean;
    };

/** A translation that a device keeps. */
export interface AtcEntry {
  readonly sid: number;
  /** SubstreamID; -1 for none. */
  readonly ssid: number;
  readonly iova: number;
  readonly size: number;
  readonly pa: number;
  readonly read: boolean;
  readonly write: boolean;
  /** Covered by a CMD_ATC_INV, waiting for its SYNC. */
  readonly pending: boolean;
}

/** A page that a device asks for. `last` ends the group of requests that {@link PageRequest.group} numbers. */
export interface PageRequest {
  readonly iova: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute?: boolean;
  readonly privileged?: boolean;
  readonly last: boolean;
  /** PRGIndex: 0 to 511. */
  readonly group: number;
  /** SubstreamID; none when left out. With `last` and neither `read` nor `write` the message is a Stop Marker. */
  readonly ssid?: number;
}

/** What a device is told about a group of its page requests. */
export type PageResponseCode = 'success' | 'invalid' | 'failure';

/** A group of page requests that its device still has to do with. */
export interface PageGroup {
  readonly sid: number;
  readonly group: number;
  /** `waiting` for a response, or the response, which the device has not collected. */
  readonly state: 'waiting' | PageResponseCode;
  /** SubstreamID on the response; -1 for none, and while it waits. */
  readonly ssid: number;
}
