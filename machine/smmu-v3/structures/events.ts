/**
 * The event records (32 bytes): one table of fields for each event number, and when the event is raised. Left out: 0xe0
 * to 0xef, which are implementation defined, and what F_BAD_ATS_TREQ and E_PAGE_REQUEST say of the request.
 */

import { type Field, row, type Structure, structure } from './field.ts';

const address = { kind: 'address' } as const;

const type = row('Event', 0, '7:0', 'which event');
const ssv = row('SSV', 0, '11', 'SSID counts');
const ssid = row('SSID', 0, '31:12', 'substream');
const sid = row('SID', 0, '63:32', 'stream');
/** The address of the transaction, whole bytes: two halves, because all 64 bits count. */
const input = [
  row('InputAddrLo', 2, '31:0', 'input address, lower half'),
  row('InputAddrHi', 2, '63:32', 'input address, upper half'),
] as const;
const access = [
  row('PnU', 1, '33', 'privilege', { values: { 0: 'unprivileged', 1: 'privileged' } }),
  row('InD', 1, '34', 'kind of access', { values: { 0: 'data', 1: 'instruction' } }),
  row('RnW', 1, '35', 'direction', { values: { 0: 'write', 1: 'read' } }),
] as const;
const attributes = [
  ...access,
  row('NSIPA', 1, '36', 'the IPA is non-secure'),
  row('S2', 1, '39', 'whose fault it is', { values: { 0: 'stage 1', 1: 'stage 2' } }),
  row('CLASS', 1, '41:40', 'what faulted', {
    values: { 0: 'the fetch of a CD', 1: 'a table walk', 2: 'the transaction itself' },
  }),
] as const;
const stall = [
  row('STAG', 1, '15:0', 'tag of the stall'),
  row('Stall', 1, '31', 'the transaction waits'),
  row('TTRnW', 1, '44', 'direction of the table access; only for a permission fault of a walk'),
] as const;
const ipa = row('IPA', 3, '55:12', 'intermediate physical address of a stage-2 fault', address);
const fetchAddress = row('FetchAddr', 3, '55:3', 'address that could not be read', address);
const reason = row('Reason', 1, '15:0', 'why, implementation defined');
const gpcf = row('GPCF', 1, '16', 'a granule protection check failed');

/** An event: a structure with a number. */
export interface EventStructure<Name extends string = string> extends Structure<Name> {
  readonly number: number;
}

type Common = 'Event' | 'SSV' | 'SSID' | 'SID';

function event<Name extends string = never>(
  name: string,
  number: number,
  title: string,
  rows: readonly Field<Name>[] = [],
): EventStructure<Name | Common> {
  const fields: readonly Field<Name | Common>[] = [type, ssv, ssid, sid, ...rows];
  return { ...structure(name, title, 4, fields), number };
}

const translation = [...stall, ...attributes, ...input, ipa] as const;
const fetch = [reason, gpcf, fetchAddress] as const;

/** Every event by name. */
export const EVENT_STRUCTURES = {
  F_UUT: event('F_UUT', 0x01, 'a transaction that is not supported', [reason, ...access, ...input]),
  C_BAD_STREAMID: event('C_BAD_STREAMID', 0x02, 'a StreamID outside the stream table'),
  F_STE_FETCH: event('F_STE_FETCH', 0x03, 'an STE or L1STD could not be read', fetch),
  C_BAD_STE: event('C_BAD_STE', 0x04, 'an STE is ILLEGAL'),
  F_BAD_ATS_TREQ: event('F_BAD_ATS_TREQ', 0x05, 'a translation request while ATS is off', input),
  F_STREAM_DISABLED: event('F_STREAM_DISABLED', 0x06, 'S1DSS does not allow this SubstreamID, or its absence'),
  F_TRANSL_FORBIDDEN: event('F_TRANSL_FORBIDDEN', 0x07, 'translated traffic while ATS is off', [
    row('RnW', 1, '35', 'direction', { values: { 0: 'write', 1: 'read' } }),
    ...input,
  ]),
  C_BAD_SUBSTREAMID: event('C_BAD_SUBSTREAMID', 0x08, 'a SubstreamID that has no CD'),
  F_CD_FETCH: event('F_CD_FETCH', 0x09, 'a CD or L1CD could not be read', fetch),
  C_BAD_CD: event('C_BAD_CD', 0x0a, 'a CD is ILLEGAL'),
  F_WALK_EABT: event('F_WALK_EABT', 0x0b, 'a descriptor could not be read or updated', [
    reason,
    gpcf,
    ...attributes,
    ...input,
    fetchAddress,
  ]),
  F_TRANSLATION: event('F_TRANSLATION', 0x10, 'nothing is mapped there', translation),
  F_ADDR_SIZE: event('F_ADDR_SIZE', 0x11, 'an address is too large', translation),
  F_ACCESS: event('F_ACCESS', 0x12, 'the access flag is 0', translation),
  F_PERMISSION: event('F_PERMISSION', 0x13, 'the access is not allowed', translation),
  F_TLB_CONFLICT: event('F_TLB_CONFLICT', 0x20, 'the TLB holds two answers', [reason, ...attributes, ...input]),
  F_CFG_CONFLICT: event('F_CFG_CONFLICT', 0x21, 'two configurations contradict each other', [reason]),
  E_PAGE_REQUEST: event('E_PAGE_REQUEST', 0x24, 'a hint that a page will be needed', input),
  F_VMS_FETCH: event('F_VMS_FETCH', 0x25, 'a VMS could not be read', fetch),
} as const;

export type EventName = keyof typeof EVENT_STRUCTURES;

const byNumber: ReadonlyMap<number, EventStructure> = new Map(
  Object.values(EVENT_STRUCTURES).map((of) => [of.number, of as EventStructure]),
);

/** The event of a number, given the lower half of word 0; undefined for a number that is none. */
export function eventOf(lo0: number): EventStructure | undefined {
  return byNumber.get(lo0 & 0xff);
}
