/**
 * Commands (16 bytes): the opcode in bits 7:0 of word 0, and the fields that each opcode has. Written from the
 * architecture's command formats. Commands of secure queues, of MPAM and of the ECMDQ are left out.
 */
import { type DecodedField, decodeFields, type Field, fieldTable } from './fields.ts';

/** Bytes of one command, and its int32 words. */
export const COMMAND_BYTES = 16;
export const COMMAND_WORDS = 4;

/** Opcodes by name. */
export const Opcode = {
  PREFETCH_CONFIG: 0x01,
  PREFETCH_ADDR: 0x02,
  CFGI_STE: 0x03,
  CFGI_STE_RANGE: 0x04,
  CFGI_CD: 0x05,
  CFGI_CD_ALL: 0x06,
  TLBI_NH_ALL: 0x10,
  TLBI_NH_ASID: 0x11,
  TLBI_NH_VA: 0x12,
  TLBI_NH_VAA: 0x13,
  TLBI_EL2_ALL: 0x20,
  TLBI_EL2_ASID: 0x21,
  TLBI_EL2_VA: 0x22,
  TLBI_EL2_VAA: 0x23,
  TLBI_S12_VMALL: 0x28,
  TLBI_S2_IPA: 0x2a,
  TLBI_NSNH_ALL: 0x30,
  ATC_INV: 0x40,
  PRI_RESP: 0x41,
  RESUME: 0x44,
  STALL_TERM: 0x45,
  SYNC: 0x46,
} as const;

type Row = readonly [string, number, number, number, string, (Readonly<Record<number, string>> | 'address')?];

const ssv: Row = ['SSV', 0, 11, 11, 'the SSID counts'];
const ssid: Row = ['SSID', 0, 31, 12, 'substream'];
const sid: Row = ['SID', 0, 63, 32, 'stream'];
const vmid: Row = ['VMID', 0, 47, 32, 'virtual machine identifier'];
const asid: Row = ['ASID', 0, 63, 48, 'address space identifier'];
const leaf: Row = ['Leaf', 1, 0, 0, 'only the last level'];
const range: readonly Row[] = [
  ['NUM', 0, 16, 12, 'granules are (NUM + 1) << SCALE'],
  ['SCALE', 0, 24, 20, 'granules are (NUM + 1) << SCALE'],
];
const hints: readonly Row[] = [
  ['TTL128', 1, 7, 7, 'the level hint is one of 128-bit tables'],
  ['TTL', 1, 9, 8, 'level of the leaf', { 0: 'unknown' }],
  ['TG', 1, 11, 10, 'granule', { 0: 'no range', 1: '4K', 2: '16K', 3: '64K' }],
];
const va: Row = ['Address', 1, 63, 12, 'virtual address', 'address'];
const ipa: Row = ['Address', 1, 55, 12, 'intermediate physical address', 'address'];

const layouts: Readonly<Record<keyof typeof Opcode, readonly Row[]>> = {
  PREFETCH_CONFIG: [ssv, ssid, sid],
  PREFETCH_ADDR: [ssv, ssid, sid, ['Size', 1, 4, 0, 'log2 of pages'], va],
  CFGI_STE: [sid, leaf],
  CFGI_STE_RANGE: [sid, ['Range', 1, 4, 0, '2^(Range+1) streams', { 31: 'all streams' }]],
  CFGI_CD: [ssid, sid, leaf],
  CFGI_CD_ALL: [sid],
  TLBI_NH_ALL: [vmid],
  TLBI_NH_ASID: [vmid, asid],
  TLBI_NH_VA: [...range, vmid, asid, leaf, ...hints, va],
  TLBI_NH_VAA: [...range, vmid, leaf, ...hints, va],
  TLBI_EL2_ALL: [],
  TLBI_EL2_ASID: [asid],
  TLBI_EL2_VA: [...range, asid, leaf, ...hints, va],
  TLBI_EL2_VAA: [...range, leaf, ...hints, va],
  TLBI_S12_VMALL: [vmid],
  TLBI_S2_IPA: [...range, vmid, leaf, ...hints, ipa],
  TLBI_NSNH_ALL: [],
  ATC_INV: [
    ['Global', 0, 9, 9, 'every substream'],
    ssv,
    ssid,
    sid,
    ['Size', 1, 5, 0, 'log2 of pages', { 52: 'everything' }],
    va,
  ],
  PRI_RESP: [
    ssv,
    ssid,
    sid,
    ['PRGIndex', 1, 8, 0, 'page request group'],
    ['Resp', 1, 13, 12, 'answer', { 0: 'failure', 1: 'invalid request', 2: 'success' }],
  ],
  RESUME: [
    ['Ac', 0, 12, 12, 'retry'],
    ['Ab', 0, 13, 13, 'abort where not retried'],
    sid,
    ['STAG', 1, 15, 0, 'stall tag'],
  ],
  STALL_TERM: [sid],
  SYNC: [
    ['CS', 0, 13, 12, 'completion signal', { 0: 'none', 1: 'interrupt', 2: 'event', 3: 'illegal' }],
    ['MSH', 0, 23, 22, 'shareability of the MSI write'],
    ['MSIAttr', 0, 27, 24, 'memory type of the MSI write'],
    ['MSIData', 0, 63, 32, 'MSI payload'],
    ['MSIAddress', 1, 55, 2, 'MSI target', 'address'],
  ],
};

/** The name and the fields of one opcode. */
export interface CommandLayout {
  readonly opcode: number;
  readonly name: string;
  readonly fields: readonly Field[];
}

/** Every known command by opcode. */
export const COMMANDS: ReadonlyMap<number, CommandLayout> = new Map(
  Object.entries(Opcode).map(([name, opcode]) => {
    return [opcode, { opcode, name, fields: fieldTable(layouts[name as keyof typeof Opcode]) }];
  }),
);

/** A command as found. The name of an unknown opcode is its number. */
export interface DecodedCommand {
  readonly opcode: number;
  readonly name: string;
  readonly known: boolean;
  readonly fields: readonly DecodedField[];
}

/** The opcode of a command, from the low half of word 0. */
export function commandOpcode(lo0: number): number {
  return lo0 & 0xff;
}

/** The name of an opcode; `opcode 0x..` when it is none of the architecture's. */
export function commandName(opcode: number): string {
  return COMMANDS.get(opcode)?.name ?? `opcode 0x${opcode.toString(16).padStart(2, '0')}`;
}

/** Does the opcode invalidate translations (TLBI_*)? */
export function isTlbInvalidation(opcode: number): boolean {
  return opcode >= 0x10 && opcode < 0x40;
}

/** Decodes the command in the four int32s from `words[at]`. CFGI_STE_RANGE with Range 31 is CFGI_ALL. */
export function decodeCommand(words: ArrayLike<number>, at = 0): DecodedCommand {
  const opcode = commandOpcode(words[at]!);
  const layout = COMMANDS.get(opcode);
  if (layout === undefined) return { opcode, name: commandName(opcode), known: false, fields: [] };
  const all = opcode === Opcode.CFGI_STE_RANGE && (words[at + 2]! & 31) === 31;
  return { opcode, name: all ? 'CFGI_ALL' : layout.name, known: true, fields: decodeFields(layout.fields, words, at) };
}

/** Pages that a range invalidation covers: (NUM + 1) << SCALE; meaningful when TG is not 0. `lo0` is of word 0. */
export function rangePages(lo0: number): number {
  return (((lo0 >>> 12) & 31) + 1) * 2 ** ((lo0 >>> 20) & 31);
}
