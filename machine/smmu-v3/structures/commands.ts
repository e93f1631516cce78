/**
 * The commands (16 bytes): one table of fields for each opcode, and what makes the command ILLEGAL on a non-secure
 * queue. Left out: opcodes 0x80 to 0x8f, which are implementation defined, and the size of DPTI_PA.
 */

import { type Field, row, type Structure, structure } from './field.ts';

const address = { kind: 'address' } as const;

const opcode = row('Opcode', 0, '7:0', 'which command');
const ssec = row('SSec', 0, '10', 'a secure stream', { illegal: '1 on a non-secure queue' });
const ssv = row('SSV', 0, '11', 'SSID counts');
const ssid = row('SSID', 0, '31:12', 'substream');
const sid = row('SID', 0, '63:32', 'stream');
const vmid = row('VMID', 0, '47:32', 'virtual machine');
const asid = row('ASID', 0, '63:48', 'address space');
const leaf = row('Leaf', 1, '0', 'only the last level');
const num = row('NUM', 0, '16:12', 'with TG: (NUM + 1) * 2^SCALE granules');
const scale = row('SCALE', 0, '24:20', 'with TG: (NUM + 1) * 2^SCALE granules');
const ttl128 = row('TTL128', 1, '7', 'TTL is of 128-bit descriptors');
const ttl = row('TTL', 1, '9:8', 'level of the leaf entries', { values: { 0: 'not known' } });
const tg = row('TG', 1, '11:10', 'granule of the range', {
  values: { 0: 'no range', 1: '4K', 2: '16K', 3: '64K' },
  illegal: 'not 0 with NUM, SCALE and TTL all 0',
});
const va = row('Address', 1, '63:12', 'virtual address', address);
const ipa = row('Address', 1, '55:12', 'intermediate physical address', address);
const range = [num, scale, leaf, ttl128, ttl, tg] as const;

/** A command: a structure with an opcode. */
export interface CommandStructure<Name extends string = string> extends Structure<Name> {
  readonly opcode: number;
  /** When the whole command is ILLEGAL on a non-secure queue; empty when it never is. */
  readonly illegal: string;
}

function command<Name extends string>(
  name: string,
  code: number,
  title: string,
  illegal: string,
  rows: readonly Field<Name>[],
): CommandStructure<Name | 'Opcode' | 'SSec'> {
  const fields: readonly Field<Name | 'Opcode' | 'SSec'>[] = [opcode, ssec, ...rows];
  return { ...structure(name, title, 2, fields), opcode: code, illegal };
}

const noStage1 = 'no stage 1';
const noStage2 = 'no stage 2';
const noEl2 = 'no EL2 world';
const secure = 'always: for a secure queue';
const noStalls = 'STALL_MODEL is 1';
const noDpt = 'no DPT';

/** Every command by name. */
export const COMMAND_STRUCTURES = {
  PREFETCH_CONFIG: command('PREFETCH_CONFIG', 0x01, 'fetch a configuration early', '', [ssv, ssid, sid]),
  PREFETCH_ADDR: command('PREFETCH_ADDR', 0x02, 'fetch translations early', '', [
    ssv,
    ssid,
    sid,
    row('Size', 1, '4:0', 'log2 of the number of addresses'),
    row('Stride', 1, '9:5', 'log2 of the step, less 12'),
    va,
  ]),
  CFGI_STE: command('CFGI_STE', 0x03, 'forget an STE, its L1STD unless Leaf, and the CDs found through it', '', [
    sid,
    leaf,
  ]),
  CFGI_STE_RANGE: command('CFGI_STE_RANGE', 0x04, 'forget the STEs of aligned streams; CFGI_ALL with Range 31', '', [
    sid,
    row('Range', 1, '4:0', '2^(Range + 1) streams', { values: { 31: 'all streams' } }),
  ]),
  CFGI_CD: command('CFGI_CD', 0x05, 'forget a CD, and its L1CD unless Leaf', noStage1, [ssid, sid, leaf]),
  CFGI_CD_ALL: command('CFGI_CD_ALL', 0x06, 'forget all CDs of a stream', noStage1, [sid]),
  CFGI_VMS_PIDM: command('CFGI_VMS_PIDM', 0x07, 'forget the partition numbers of a VM', 'no MPAM or no VMS', [vmid]),
  TLBI_NH_ALL: command('TLBI_NH_ALL', 0x10, 'stage 1 of a VM, combined entries too', noStage1, [vmid]),
  TLBI_NH_ASID: command('TLBI_NH_ASID', 0x11, 'an address space, but for global entries', noStage1, [vmid, asid]),
  TLBI_NH_VA: command('TLBI_NH_VA', 0x12, 'addresses of an address space', noStage1, [...range, vmid, asid, va]),
  TLBI_NH_VAA: command('TLBI_NH_VAA', 0x13, 'addresses of every address space', noStage1, [...range, vmid, va]),
  TLBI_EL3_ALL: command('TLBI_EL3_ALL', 0x18, 'the EL3 world', secure, []),
  TLBI_EL3_VA: command('TLBI_EL3_VA', 0x1a, 'addresses of the EL3 world', secure, [...range, va]),
  TLBI_EL2_ALL: command('TLBI_EL2_ALL', 0x20, 'the EL2 world', noEl2, []),
  TLBI_EL2_ASID: command('TLBI_EL2_ASID', 0x21, 'an address space of the EL2 world', noEl2, [asid]),
  TLBI_EL2_VA: command('TLBI_EL2_VA', 0x22, 'addresses of one of its address spaces', noEl2, [...range, asid, va]),
  TLBI_EL2_VAA: command('TLBI_EL2_VAA', 0x23, 'addresses of all its address spaces', noEl2, [...range, va]),
  TLBI_S12_VMALL: command('TLBI_S12_VMALL', 0x28, 'both stages of a VM', noStage2, [vmid]),
  TLBI_S2_IPA: command('TLBI_S2_IPA', 0x2a, 'stage 2 of a VM by IPA, combined entries not', noStage2, [
    ...range,
    vmid,
    ipa,
  ]),
  TLBI_NSNH_ALL: command('TLBI_NSNH_ALL', 0x30, 'everything non-secure that is not EL2’s', '', []),
  ATC_INV: command('ATC_INV', 0x40, 'translations that a device caches', 'no ATS', [
    row('Global', 0, '9', 'every substream'),
    ssv,
    ssid,
    sid,
    row('Size', 1, '5:0', 'log2 of the number of 4K pages', {
      values: { 52: 'everything' },
      illegal: 'above 52, if the SMMU likes; the model then does nothing',
    }),
    va,
  ]),
  PRI_RESP: command('PRI_RESP', 0x41, 'answer a page request', 'no PRI', [
    ssv,
    ssid,
    sid,
    row('PRGIndex', 1, '8:0', 'page request group'),
    row('Resp', 1, '13:12', 'answer', {
      values: { 0: 'failure', 1: 'invalid request', 2: 'success' },
      illegal: '3',
    }),
  ]),
  RESUME: command('RESUME', 0x44, 'let a stalled transaction go on', noStalls, [
    row('Ac', 0, '12', 'try again', { values: { 0: 'terminate', 1: 'try again' } }),
    row('Ab', 0, '13', 'how to terminate', { values: { 0: 'reads 0, ignores writes', 1: 'aborts' } }),
    sid,
    row('STAG', 1, '15:0', 'which one'),
  ]),
  STALL_TERM: command('STALL_TERM', 0x45, 'terminate what a stream has stalled', noStalls, [sid]),
  SYNC: command('SYNC', 0x46, 'complete all commands before it', '', [
    row('CS', 0, '13:12', 'signal of completion', {
      values: { 0: 'none', 1: 'interrupt', 2: 'event' },
      illegal: '3',
    }),
    row('MSH', 0, '23:22', 'shareability of the message'),
    row('MSIAttr', 0, '27:24', 'memory type of the message'),
    row('MSIData', 0, '63:32', 'the message'),
    row('MSIAddress', 1, '55:2', 'where it is written; 0: nowhere', address),
  ]),
  TLBI_S_EL2_ALL: command('TLBI_S_EL2_ALL', 0x50, 'the secure EL2 world', secure, []),
  TLBI_S_EL2_ASID: command('TLBI_S_EL2_ASID', 0x51, 'an address space of the secure EL2 world', secure, [asid]),
  TLBI_S_EL2_VA: command('TLBI_S_EL2_VA', 0x52, 'addresses of one of its address spaces', secure, [...range, asid, va]),
  TLBI_S_EL2_VAA: command('TLBI_S_EL2_VAA', 0x53, 'addresses of all its address spaces', secure, [...range, va]),
  TLBI_S_S12_VMALL: command('TLBI_S_S12_VMALL', 0x58, 'both stages of a secure VM', secure, [vmid]),
  TLBI_S_S2_IPA: command('TLBI_S_S2_IPA', 0x5a, 'stage 2 of a secure VM by IPA', secure, [...range, vmid, ipa]),
  TLBI_SNH_ALL: command('TLBI_SNH_ALL', 0x60, 'everything secure that is not EL2’s', secure, []),
  DPTI_ALL: command('DPTI_ALL', 0x70, 'the device permission table', noDpt, []),
  DPTI_PA: command('DPTI_PA', 0x73, 'addresses in the device permission table', noDpt, [
    leaf,
    row('Address', 1, '55:12', 'physical address', address),
  ]),
} as const;

export type CommandName = keyof typeof COMMAND_STRUCTURES;
/** Names of the fields of a command. */
export type CommandField<Name extends CommandName> = keyof (typeof COMMAND_STRUCTURES)[Name]['field'] & string;

const byOpcode: ReadonlyMap<number, CommandStructure> = new Map(
  Object.values(COMMAND_STRUCTURES).map((of) => [of.opcode, of as CommandStructure]),
);

/** The command of an opcode, given the lower half of word 0; undefined for a reserved opcode. */
export function commandOf(lo0: number): CommandStructure | undefined {
  return byOpcode.get(lo0 & 0xff);
}
