/**
 * Command builders of the newer driver: one for each command, into the four int32s from `into[at]`. Bits that a command
 * does not have are 0. Addresses are numbers; those of the upper half of the address space are negative.
 */

import { structures } from '#machine/host-view';
import { putAddress } from './entry.ts';

const { COMMAND_STRUCTURES, setField } = structures;

const c = COMMAND_STRUCTURES;

/** Four int32s: the two 64-bit words of a command, lower halves first. */
export type Command = Int32Array;

export const COMMAND_INTS = 4;

/** ATC_INV.Size: everything. */
export const ATC_ALL = 52;

/** SYNC.CS: how completion is signalled. */
export const SyncSignal = { none: 0, interrupt: 1, event: 2 } as const;
export type SyncSignal = (typeof SyncSignal)[keyof typeof SyncSignal];

/** What becomes of a stalled transaction. */
export const ResumeAnswer = { terminate: 0, retry: 1, abort: 2 } as const;
export type ResumeAnswer = (typeof ResumeAnswer)[keyof typeof ResumeAnswer];

/** What a page request is answered. */
export const PriAnswer = { failure: 0, invalid: 1, success: 2 } as const;
export type PriAnswer = (typeof PriAnswer)[keyof typeof PriAnswer];

const INNER_SHAREABLE = 3;
const WRITE_BACK_MEMORY = 15;
const CFGI_ALL_RANGE = 31;

/** A command that has nothing but its opcode. */
export function buildOpcode(into: Command, opcode: number, at = 0): void {
  into.fill(0, at, at + COMMAND_INTS);
  into[at] = opcode;
}

/** CFGI_STE. */
export function buildCfgiSte(into: Command, sid: number, leaf: boolean, at = 0): void {
  const { opcode, field } = c.CFGI_STE;
  buildOpcode(into, opcode, at);
  setField(into, field.SID, sid, at);
  setField(into, field.Leaf, Number(leaf), at);
}

/** CFGI_ALL. */
export function buildCfgiAll(into: Command, at = 0): void {
  const { opcode, field } = c.CFGI_STE_RANGE;
  buildOpcode(into, opcode, at);
  setField(into, field.Range, CFGI_ALL_RANGE, at);
}

/** CFGI_CD. */
export function buildCfgiCd(into: Command, sid: number, ssid: number, leaf: boolean, at = 0): void {
  const { opcode, field } = c.CFGI_CD;
  buildOpcode(into, opcode, at);
  setField(into, field.SSID, ssid, at);
  setField(into, field.SID, sid, at);
  setField(into, field.Leaf, Number(leaf), at);
}

/** CFGI_CD_ALL. */
export function buildCfgiCdAll(into: Command, sid: number, at = 0): void {
  const { opcode, field } = c.CFGI_CD_ALL;
  buildOpcode(into, opcode, at);
  setField(into, field.SID, sid, at);
}

/** PREFETCH_CONFIG. */
export function buildPrefetchConfig(into: Command, sid: number, at = 0): void {
  const { opcode, field } = c.PREFETCH_CONFIG;
  buildOpcode(into, opcode, at);
  setField(into, field.SID, sid, at);
}

/** Any TLBI that has no address yet, with both tags, whether the command looks at them or not. */
export function buildTlbi(into: Command, opcode: number, asid: number, vmid: number, at = 0): void {
  const { field } = c.TLBI_NH_VA;
  buildOpcode(into, opcode, at);
  setField(into, field.VMID, vmid, at);
  setField(into, field.ASID, asid, at);
}

/**
 * ATC_INV.
 * @param address of the first byte, a multiple of the size
 * @param size log2 of the number of 4 KiB pages; {@link ATC_ALL} for everything
 */
export function buildAtcInv(into: Command, sid: number, ssid: number, address: number, size: number, at = 0): void {
  const { opcode, field } = c.ATC_INV;
  buildOpcode(into, opcode, at);
  if (ssid !== 0) setField(into, field.SSV, 1, at);
  setField(into, field.SSID, ssid, at);
  setField(into, field.SID, sid, at);
  setField(into, field.Size, size, at);
  setField(into, field.Address, address, at);
}

/** PRI_RESP. @param ssv the request had a PASID */
export function buildPriResp(
  into: Command,
  sid: number,
  ssid: number,
  ssv: boolean,
  group: number,
  answer: PriAnswer,
  at = 0,
): void {
  const { opcode, field } = c.PRI_RESP;
  buildOpcode(into, opcode, at);
  setField(into, field.SSV, Number(ssv), at);
  setField(into, field.SSID, ssid, at);
  setField(into, field.SID, sid, at);
  setField(into, field.PRGIndex, group, at);
  setField(into, field.Resp, answer, at);
}

/** RESUME. */
export function buildResume(into: Command, sid: number, stag: number, answer: ResumeAnswer, at = 0): void {
  const { opcode, field } = c.RESUME;
  buildOpcode(into, opcode, at);
  setField(into, field.Ac, answer & 1, at);
  setField(into, field.Ab, answer >> 1, at);
  setField(into, field.SID, sid, at);
  setField(into, field.STAG, stag, at);
}

/**
 * SYNC, with the attributes of a message whether there is one or not.
 * @param msiHi @param msiLo address of the message; 0 for none
 */
export function buildSync(into: Command, signal: SyncSignal, msiHi: number, msiLo: number, at = 0): void {
  const { opcode, field } = c.SYNC;
  buildOpcode(into, opcode, at);
  setField(into, field.CS, signal, at);
  setField(into, field.MSH, INNER_SHAREABLE, at);
  setField(into, field.MSIAttr, WRITE_BACK_MEMORY, at);
  const command = at === 0 ? into : into.subarray(at, at + COMMAND_INTS);
  putAddress(command, field.MSIAddress, msiHi, msiLo);
}
