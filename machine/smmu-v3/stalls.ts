/**
 * Stalled transactions: a fault whose CD or STE asks for it holds the access until software answers with CMD_RESUME, or
 * gives up the whole stream with CMD_STALL_TERM. Each has a tag, STAG, which names it together with its StreamID and is
 * not given again before the answer. Its event is never lost: one that finds no room in the queue is written later.
 */

import type { PhysicalMemory } from '../memory/index.ts';
import { joinSigned } from '../word64.ts';
import type { EventRecord } from './types.ts';

/** STAGs of an SMMU (IDR5.STALL_MAX). */
export const STALL_MAX = 16;

/** What has become of a stalled transaction. */
export type StallState = 'waiting' | 'retry' | 'abort' | 'ignore';

const STATES: readonly (StallState | 'free')[] = ['free', 'waiting', 'retry', 'abort', 'ignore'];

/** A transaction that waits, or has been answered and not yet been collected by its device. */
export interface StalledTransaction {
  readonly stag: number;
  readonly sid: number;
  readonly iova: number;
  readonly write: boolean;
  readonly state: StallState;
  /** Its event has been written to the queue. */
  readonly recorded: boolean;
}

/** Words of a record: state, StreamID, whether the event is written, order of arrival, then the event. */
const F = { state: 0, sid: 1, recorded: 2, order: 3, event: 4 } as const;
const RECORD = 16;
const WAITING = 1;
const RETRY = 2;
const ABORT = 3;
const IGNORE = 4;
const STALL_BIT = 1 << 31;
const RNW = 1 << 3;

export class Stalls {
  private readonly memory: PhysicalMemory;
  private readonly file: number;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
    this.file = memory.allocFile(1 + STALL_MAX * RECORD);
  }

  /** Makes a fault's transaction wait. @returns its event with the STAG, or null when every STAG is taken */
  hold(event: EventRecord): EventRecord | null {
    for (let stag = 0; stag < STALL_MAX; stag++) {
      if (this.get(stag, F.state) !== 0) continue;
      const words = event.words.slice();
      words[2]! |= STALL_BIT | stag;
      const order = this.memory.words[this.file]! + 1;
      this.memory.put(this.file, order);
      this.put(stag, F.state, WAITING);
      this.put(stag, F.sid, event.sid);
      this.put(stag, F.recorded, 0);
      this.put(stag, F.order, order);
      words.forEach((word, i) => {
        this.put(stag, F.event + i, word);
      });
      return { ...event, words, recorded: true };
    }
    return null;
  }

  /** Writes the events that wait for room in the queue, oldest first, as long as `write` takes them. */
  record(write: (words: Int32Array) => boolean): void {
    for (;;) {
      let oldest = -1;
      for (let stag = 0; stag < STALL_MAX; stag++) {
        if (this.get(stag, F.state) !== WAITING || this.get(stag, F.recorded) !== 0) continue;
        if (oldest < 0 || this.get(stag, F.order) < this.get(oldest, F.order)) oldest = stag;
      }
      if (oldest < 0) return;
      const from = this.file + 1 + oldest * RECORD + F.event;
      if (!write(this.memory.words.slice(from, from + 8))) return;
      this.put(oldest, F.recorded, 1);
    }
  }

  /** CMD_RESUME. Without a match of both StreamID and STAG it does nothing. */
  resume(sid: number, stag: number, retry: boolean, abort: boolean): void {
    if (stag >= STALL_MAX || this.get(stag, F.state) !== WAITING || this.get(stag, F.sid) >>> 0 !== sid) return;
    this.put(stag, F.state, retry ? RETRY : abort ? ABORT : IGNORE);
  }

  /** Ends every transaction of a stream (CMD_STALL_TERM), or of all (SMMUEN went to 0; `sid` -1). */
  terminate(sid: number): void {
    for (let stag = 0; stag < STALL_MAX; stag++) {
      if (this.get(stag, F.state) !== WAITING || (sid >= 0 && this.get(stag, F.sid) >>> 0 !== sid)) continue;
      this.put(stag, F.state, ABORT);
    }
  }

  /** What became of a transaction. Once it has been answered, the device has its answer and the STAG is free. */
  collect(sid: number, stag: number): StallState | null {
    if (stag < 0 || stag >= STALL_MAX || this.get(stag, F.sid) >>> 0 !== sid) return null;
    const state = STATES[this.get(stag, F.state)]!;
    if (state === 'free') return null;
    if (state !== 'waiting') for (let i = 0; i < RECORD; i++) this.put(stag, i, 0);
    return state;
  }

  list(): StalledTransaction[] {
    const found: StalledTransaction[] = [];
    for (let stag = 0; stag < STALL_MAX; stag++) {
      const state = STATES[this.get(stag, F.state)]!;
      if (state === 'free') continue;
      found.push({
        stag,
        sid: this.get(stag, F.sid) >>> 0,
        iova: joinSigned(this.get(stag, F.event + 5), this.get(stag, F.event + 4)),
        write: (this.get(stag, F.event + 3) & RNW) === 0,
        state,
        recorded: this.get(stag, F.recorded) !== 0,
      });
    }
    return found;
  }

  private get(stag: number, field: number): number {
    return this.memory.words[this.file + 1 + stag * RECORD + field]!;
  }

  private put(stag: number, field: number, value: number): void {
    this.memory.put(this.file + 1 + stag * RECORD + field, value);
  }
}
