/**
 * Event records (32 bytes): the event number in bits 7:0 of word 0, the stream beside it, and what the translation
 * events add. Written from the architecture's event formats; events of MPAM and implementation events have no fields.
 */
import { type DecodedField, decodeFields, type Field, fieldTable } from './fields.ts';

/** Bytes of one record, and its int32 words. */
export const EVENT_BYTES = 32;
export const EVENT_WORDS = 8;

/** Event numbers by name. */
export const EventCode = {
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
  F_TLB_CONFLICT: 0x20,
  F_CFG_CONFLICT: 0x21,
  E_PAGE_REQUEST: 0x24,
  F_VMS_FETCH: 0x25,
} as const;
export type EventName = keyof typeof EventCode;

const common: Parameters<typeof fieldTable>[0] = [
  ['SSV', 0, 11, 11, 'the SSID counts'],
  ['SSID', 0, 31, 12, 'substream'],
  ['SID', 0, 63, 32, 'stream'],
];
const fetchAddress: Parameters<typeof fieldTable>[0] = [
  ['FetchAddr', 3, 55, 3, 'address of the failed fetch', 'address'],
];
const access: Parameters<typeof fieldTable>[0] = [
  ['STAG', 1, 15, 0, 'stall tag'],
  ['Stall', 1, 31, 31, 'the transaction waits'],
  ['PnU', 1, 33, 33, 'privilege', { 0: 'unprivileged', 1: 'privileged' }],
  ['InD', 1, 34, 34, 'kind', { 0: 'data', 1: 'instruction' }],
  ['RnW', 1, 35, 35, 'direction', { 0: 'write', 1: 'read' }],
  ['NSIPA', 1, 36, 36, 'non-secure IPA'],
  ['S2', 1, 39, 39, 'stage of the fault', { 0: 'stage 1', 1: 'stage 2' }],
  ['CLASS', 1, 41, 40, 'what was being done', { 0: 'CD fetch', 1: 'table walk', 2: 'the access itself' }],
  ['TTRnW', 1, 44, 44, 'direction of the table access'],
  ['InputAddrHigh', 2, 63, 32, 'upper half of the input address'],
  ['InputAddrLow', 2, 31, 0, 'lower half of the input address'],
];

const shapes: Readonly<Record<string, Parameters<typeof fieldTable>[0]>> = {
  F_UUT: [...common, ...access],
  F_STE_FETCH: [...common, ...fetchAddress],
  F_CD_FETCH: [...common, ...fetchAddress],
  F_VMS_FETCH: [...common, ...fetchAddress],
  F_WALK_EABT: [...common, ...access, ...fetchAddress],
  F_TRANSLATION: [...common, ...access, ['IPA', 3, 55, 12, 'intermediate physical address', 'address']],
  F_ADDR_SIZE: [...common, ...access, ['IPA', 3, 55, 12, 'intermediate physical address', 'address']],
  F_ACCESS: [...common, ...access, ['IPA', 3, 55, 12, 'intermediate physical address', 'address']],
  F_PERMISSION: [...common, ...access, ['IPA', 3, 55, 12, 'intermediate physical address', 'address']],
};

const layouts: ReadonlyMap<number, { name: string; fields: readonly Field[] }> = new Map(
  Object.entries(EventCode).map(([name, code]) => [code, { name, fields: fieldTable(shapes[name] ?? common) }]),
);

/** A record as found. `inputAddress` is null for events without one; it is exact below 2^53. */
export interface DecodedEvent {
  readonly code: number;
  readonly name: string;
  readonly known: boolean;
  readonly sid: number;
  readonly inputAddress: number | null;
  readonly fields: readonly DecodedField[];
}

/** Decodes the event record in the eight int32s from `words[at]`. */
export function decodeEvent(words: ArrayLike<number>, at = 0): DecodedEvent {
  const code = words[at]! & 0xff;
  const layout = layouts.get(code);
  const sid = words[at + 1]! >>> 0;
  if (layout === undefined) {
    return {
      code,
      name: `event 0x${code.toString(16).padStart(2, '0')}`,
      known: false,
      sid,
      inputAddress: null,
      fields: [],
    };
  }
  const hasInput = layout.fields.some((field) => field.name === 'InputAddrLow');
  const inputAddress = hasInput ? (words[at + 5]! >>> 0) * 2 ** 32 + (words[at + 4]! >>> 0) : null;
  return { code, name: layout.name, known: true, sid, inputAddress, fields: decodeFields(layout.fields, words, at) };
}
