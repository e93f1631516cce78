/**
 * Events: the 32-byte records of what went wrong with a transaction, and the event queue in memory they are written to.
 * Records are never merged, whatever STE.MEV says: merging is always optional. Left out: what F_BAD_ATS_TREQ says of the
 * request beside its address.
 */

import type { PhysicalMemory } from '../memory/index.ts';
import { hiOf, join, loOf } from '../word64.ts';
import type { Interrupts } from './interrupts.ts';
import { CR0_EVENTQEN, GERROR_EVENTQ_ABT, OVERFLOW_FLAG, Register } from './registers.ts';
import type { EventRecord } from './types.ts';

/** Event numbers. */
export const EventType = {
  F_UUT: 0x01,
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_BAD_ATS_TREQ: 0x05,
  F_STREAM_DISABLED: 0x06,
  F_TRANSL_FORBIDDEN: 0x07,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
} as const;

/** Names by number. */
export const EVENT_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(EventType).map(([name, type]) => [type, name]),
);

/** CLASS: what kind of access faulted. */
export const EventClass = { CD: 0, TTD: 1, IN: 2 } as const;
export type EventClass = (typeof EventClass)[keyof typeof EventClass];

/** What is known of a fault. Reused; {@link eventRecord} makes the bytes. */
export class Fault {
  /** Event number; 0 means no fault, or a silent abort. */
  type = 0;
  sid = 0;
  /** SubstreamID; -1 for none. */
  ssid = -1;
  iova = 0;
  write = false;
  /** The fault is stage 2's. */
  stage2 = false;
  eventClass: EventClass = EventClass.IN;
  /** IPA of a stage-2 fault. */
  ipa = 0;
  /** Address that could not be fetched (F_STE_FETCH, F_CD_FETCH, F_WALK_EABT). */
  fetchAddress = 0;
  /** Configuration asks for a record. */
  recorded = false;
  /** The transaction waits for software instead of ending. */
  stalls = false;
  /** The device is not told that a translation fault ended its transaction (CD.A is 0). */
  ignored = false;
  /** TTRnW: stage 2 forbade to read a stage-1 descriptor, and not to update it. */
  tableRead = false;
  /** Why an STE or a CD is ILLEGAL, for people. */
  reason = '';
}

const RNW = 1 << 3;
const S2 = 1 << 7;
const CLASS_SHIFT = 8;
const TTRNW = 1 << 12;
const SSV = 1 << 11;

/** The 32-byte record of a fault. */
export function eventRecord(fault: Fault): EventRecord {
  const { type } = fault;
  const words = new Int32Array(8);
  words[0] = type | (fault.ssid < 0 ? 0 : SSV | (fault.ssid << 12));
  words[1] = fault.sid;
  let address = 0;
  switch (type) {
    case EventType.F_STE_FETCH:
    case EventType.F_CD_FETCH:
      address = fault.fetchAddress;
      break;
    case EventType.F_TRANSL_FORBIDDEN:
    case EventType.F_BAD_ATS_TREQ:
      if (type === EventType.F_TRANSL_FORBIDDEN && !fault.write) words[3] = RNW;
      words[4] = loOf(fault.iova);
      words[5] = hiOf(fault.iova);
      break;
    case EventType.F_WALK_EABT:
    case EventType.F_TRANSLATION:
    case EventType.F_ADDR_SIZE:
    case EventType.F_ACCESS:
    case EventType.F_PERMISSION:
      words[3] = (fault.write ? 0 : RNW) | (fault.stage2 ? S2 : 0) | (fault.eventClass << CLASS_SHIFT);
      if (fault.tableRead) words[3]! |= TTRNW;
      words[4] = loOf(fault.iova);
      words[5] = hiOf(fault.iova);
      if (type === EventType.F_WALK_EABT) address = fault.fetchAddress;
      else if (fault.stage2) address = fault.ipa - (fault.ipa % 4096);
      break;
    default:
      break;
  }
  words[6] = loOf(address) & ~7;
  words[7] = hiOf(address);
  return { type, name: EVENT_NAMES.get(type) ?? 'unknown', sid: fault.sid, words, recorded: fault.recorded };
}

/** Registers as the queues use them: by offset, journaled. */
export interface RegisterFile {
  get(offset: number): number;
  put(offset: number, value: number): void;
}

/** Largest LOG2SIZE that counts: a queue base may ask for more than the SMMU has. */
export function queueLog2(baseLo: number, most: number): number {
  return Math.min(baseLo & 0x1f, most);
}

/** Address of entry `index` of a queue of 2^log2 entries. Hardware aligns the base to the queue's size, 32 at least. */
export function queueEntry(baseHi: number, baseLo: number, log2: number, index: number, entrySize: number): number {
  // The largest queue is 16 MiB, so its alignment lies in the low word.
  const base = join(baseHi & 0x000fffff, baseLo & -Math.max(32, entrySize << log2));
  return base + entrySize * (index & ((1 << log2) - 1));
}

/**
 * Writes a record to the event queue if it is enabled and writable.
 * @param stalled it will be tried again: a full queue does not lose it, so it is no overflow
 * @returns whether it was written. A full queue sets the overflow flag; a queue outside RAM raises EVENTQ_ABT
 */
export function writeEvent(
  memory: PhysicalMemory,
  registers: RegisterFile,
  interrupts: Interrupts,
  most: number,
  record: Int32Array,
  stalled: boolean,
): boolean {
  if ((registers.get(Register.CR0) & CR0_EVENTQEN) === 0) return false;
  const gerror = registers.get(Register.GERROR);
  if (((gerror ^ registers.get(Register.GERRORN)) & GERROR_EVENTQ_ABT) !== 0) return false;
  const baseLo = registers.get(Register.EVENTQ_BASE);
  const log2 = queueLog2(baseLo, most);
  const prod = registers.get(Register.EVENTQ_PROD);
  const cons = registers.get(Register.EVENTQ_CONS);
  const wrap = 1 << log2;
  const distance = (prod ^ cons) & (2 * wrap - 1);
  if (distance === wrap) {
    // OVFLG toggles once, then waits until software has acknowledged it.
    if (!stalled && ((prod ^ cons) & OVERFLOW_FLAG) === 0) registers.put(Register.EVENTQ_PROD, prod ^ OVERFLOW_FLAG);
    return false;
  }
  const at = queueEntry(registers.get(Register.EVENTQ_BASE + 4), baseLo, log2, prod, 32);
  if (!memory.isRamRange(at, 32)) {
    interrupts.raise(GERROR_EVENTQ_ABT);
    return false;
  }
  for (let i = 0; i < 8; i += 2) memory.write64(at + 4 * i, record[i + 1]!, record[i]!);
  registers.put(Register.EVENTQ_PROD, (prod & OVERFLOW_FLAG) | ((prod + 1) & (2 * wrap - 1)));
  if (distance === 0) interrupts.events();
  return true;
}
