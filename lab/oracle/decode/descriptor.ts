/**
 * VMSAv8-64 translation table descriptors of stage 1 and stage 2, for granules of 4K, 16K and 64K without the 52-bit
 * extension DS. Written from the architecture's descriptor formats, word by word, so that it can judge the code that
 * encodes them. A descriptor is two int32 halves. Levels count from 0; the granule is given as its log2, 4K by default.
 */
import { bits, bitsInPlace, type Field, fieldTable } from './fields.ts';

/** What a descriptor is at its level. Reserved encodings are invalid: the hardware faults on them alike. */
export const DescriptorKind = { invalid: 0, table: 1, block: 2, page: 3 } as const;
export type DescriptorKind = (typeof DescriptorKind)[keyof typeof DescriptorKind];

/** Access bits. A stage-2 permission sets both the unprivileged and the privileged one. */
export const Access = {
  read: 1,
  write: 2,
  privilegedRead: 4,
  privilegedWrite: 8,
  execute: 16,
  privilegedExecute: 32,
} as const;

const shareability = { 0: 'none', 1: 'reserved', 2: 'outer', 3: 'inner' };

type Rows = Parameters<typeof fieldTable>[0];

const head: Rows = [
  ['valid', 0, 0, 0, 'valid'],
  ['type', 0, 1, 1, '1: a table, or a page at level 3; 0: a block'],
];
const s1Attributes: Rows = [
  ['AttrIndx', 0, 4, 2, 'index of the memory type in MAIR'],
  ['NS', 0, 5, 5, 'non-secure output'],
  ['AP[1]', 0, 6, 6, 'unprivileged access', { 0: 'no', 1: 'yes' }],
  ['AP[2]', 0, 7, 7, 'write protection', { 0: 'writable', 1: 'read only' }],
  ['SH', 0, 9, 8, 'shareability', shareability],
  ['AF', 0, 10, 10, 'access flag'],
  ['nG', 0, 11, 11, 'belongs to one ASID'],
];
const s2Attributes: Rows = [
  ['MemAttr', 0, 5, 2, 'memory type'],
  ['S2AP', 0, 7, 6, 'access', { 0: 'none', 1: 'read only', 2: 'write only', 3: 'read and write' }],
  ['SH', 0, 9, 8, 'shareability', shareability],
  ['AF', 0, 10, 10, 'access flag'],
  ['FnXS', 0, 11, 11, 'outside XS'],
];
const executable = { 0: 'executable', 1: 'privileged never', 2: 'never', 3: 'unprivileged never' };
const s1Execute: Rows = [
  ['PXN', 0, 53, 53, 'privileged execute never'],
  ['UXN', 0, 54, 54, 'execute never'],
];
const s2Execute: Rows = [['XN', 0, 54, 53, 'execute never', executable]];
const limits: Rows = [
  ['PXNTable', 0, 59, 59, 'privileged execute never below'],
  ['UXNTable', 0, 60, 60, 'execute never below'],
  ['APTable', 0, 62, 61, 'access limit below', { 0: 'none', 1: 'privileged only', 2: 'read only', 3: 'both' }],
  ['NSTable', 0, 63, 63, 'non-secure below'],
];
const software: Rows = [['software', 0, 58, 55, 'for software']];
const high64k: Rows = [['OA[51:48]', 0, 15, 12, 'upper bits of the address']];

const made = new Map<string, readonly Field[]>();

function once(key: string, rows: () => Rows): readonly Field[] {
  const known = made.get(key);
  if (known !== undefined) return known;
  const table = fieldTable(rows());
  made.set(key, table);
  return table;
}

/** The fields of a page or block: where its address begins depends on its level. */
export function leafFields(stage: 1 | 2, level: number, granuleBits = 12): readonly Field[] {
  const shift = levelShift(level, granuleBits);
  return once(`leaf ${stage} ${level} ${granuleBits}`, () => [
    ...head,
    ...(stage === 1 ? s1Attributes : s2Attributes),
    ...(granuleBits === 16 ? high64k : []),
    ...(level < 3 ? ([['nT', 0, 16, 16, 'not to be cached while its size changes']] as Rows) : []),
    ['OA', 0, 47, shift, 'output address', 'address'],
    ['DBM', 0, 51, 51, 'hardware manages the dirty state'],
    ['Contiguous', 0, 52, 52, 'one of a run of equal descriptors'],
    ...(stage === 1 ? s1Execute : s2Execute),
    ...software,
    ['PBHA', 0, 62, 59, 'page based hardware attributes'],
  ]);
}

/** The fields of a pointer to the next level. The limits in the top bits exist at stage 1 only. */
export function tableFields(stage: 1 | 2, granuleBits = 12): readonly Field[] {
  return once(`table ${stage} ${granuleBits}`, () => [
    ...head,
    ...(granuleBits === 16 ? high64k : []),
    ['next', 0, 47, granuleBits, 'address of the next table', 'address'],
    ...software,
    ...(stage === 1 ? limits : []),
  ]);
}

/** The fields of a descriptor that is neither: the two bits that make it so. */
export const INVALID_FIELDS: readonly Field[] = fieldTable(head);

/** log2 of the bytes that one descriptor of `level` covers. */
export function levelShift(level: number, granuleBits = 12): number {
  return granuleBits + (3 - level) * (granuleBits - 3);
}

/** Bytes that a leaf of `level` maps. */
export function leafSize(level: number, granuleBits = 12): number {
  return 2 ** levelShift(level, granuleBits);
}

/**
 * What the descriptor is at `level`: a block where the granule has none, and 0b01 at level 3, are invalid. `wide` says
 * that output addresses have 52 bits, which gives the 64K granule blocks at level 1.
 */
export function descriptorKind(level: number, _hi: number, lo: number, granuleBits = 12, wide = false): DescriptorKind {
  if ((lo & 1) === 0) return DescriptorKind.invalid;
  if ((lo & 2) !== 0) return level === 3 ? DescriptorKind.page : DescriptorKind.table;
  const blocks = level === 2 || (level === 1 && (granuleBits === 12 || (granuleBits === 16 && wide)));
  return blocks ? DescriptorKind.block : DescriptorKind.invalid;
}

/** Output address of a page or block; the bits below its size are ignored. */
export function outputAddress(level: number, hi: number, lo: number, granuleBits = 12): number {
  const address = bitsInPlace(hi, lo, 47, levelShift(level, granuleBits));
  return granuleBits === 16 ? address + bits(0, lo, 15, 12) * 2 ** 48 : address;
}

/** Address of the next table. */
export function nextTableAddress(hi: number, lo: number, granuleBits = 12): number {
  const address = bitsInPlace(hi, lo, 47, granuleBits);
  return granuleBits === 16 ? address + bits(0, lo, 15, 12) * 2 ** 48 : address;
}

/** AF of a leaf. */
export function accessFlag(lo: number): boolean {
  return (lo & 0x400) !== 0;
}

/** DBM of a leaf: with hardware dirty updates, write protection is only "not yet written". */
export function dirtyModifier(hi: number): boolean {
  return (hi & 0x80000) !== 0;
}

/** AttrIndx of a stage-1 leaf. */
export function attributeIndex(lo: number): number {
  return (lo >>> 2) & 7;
}

/** MemAttr of a stage-2 leaf. */
export function memAttr(lo: number): number {
  return (lo >>> 2) & 15;
}

/** Is a stage-2 leaf Device memory? `forced` is STE.S2FWB, which gives MemAttr another meaning. */
export function s2IsDevice(lo: number, forced = false): boolean {
  return (lo & (forced ? 0x10 : 0x30)) === 0;
}

/** What a stage-1 leaf permits, as {@link Access} bits. */
export function s1Permissions(hi: number, lo: number): number {
  const writable = (lo & 0x80) === 0;
  let access: number = writable ? Access.privilegedRead | Access.privilegedWrite : Access.privilegedRead;
  if ((lo & 0x40) !== 0) access |= writable ? Access.read | Access.write : Access.read;
  if ((hi & 0x400000) === 0) access |= Access.execute;
  if ((hi & 0x200000) === 0) access |= Access.privilegedExecute;
  return access;
}

/** What is left of `access` below a stage-1 table descriptor: its APTable, UXNTable and PXNTable applied. */
export function s1TableLimits(access: number, hi: number): number {
  let left = access;
  if ((hi & 0x20000000) !== 0) left &= ~(Access.read | Access.write);
  if ((hi & 0x40000000) !== 0) left &= ~(Access.write | Access.privilegedWrite);
  if ((hi & 0x10000000) !== 0) left &= ~Access.execute;
  if ((hi & 0x08000000) !== 0) left &= ~Access.privilegedExecute;
  return left;
}

/** What a stage-2 leaf permits, as {@link Access} bits. XN[0] counts only with the XNX feature. */
export function s2Permissions(hi: number, lo: number, xnx = true): number {
  let access = 0;
  if ((lo & 0x40) !== 0) access |= Access.read | Access.privilegedRead;
  if ((lo & 0x80) !== 0) access |= Access.write | Access.privilegedWrite;
  const low = xnx && (hi & 0x200000) !== 0;
  const high = (hi & 0x400000) !== 0;
  if (low === high) access |= Access.privilegedExecute;
  if (!high) access |= Access.execute;
  return access;
}

/** A MAIR byte in words. */
export function memoryTypeName(attribute: number): string {
  const known: Readonly<Record<number, string>> = {
    0: 'Device-nGnRnE',
    4: 'Device-nGnRE',
    8: 'Device-nGRE',
    12: 'Device-GRE',
    68: 'Normal non-cacheable',
    187: 'Normal write-through',
    244: 'Normal inner non-cacheable outer write-back',
    255: 'Normal write-back',
  };
  return known[attribute] ?? `attributes 0x${attribute.toString(16).padStart(2, '0')}`;
}

/** Stage-2 MemAttr in words. `forced` is STE.S2FWB. */
export function s2MemoryTypeName(attribute: number, forced = false): string {
  if (forced) {
    if (attribute === 6) return 'Normal write-back';
    if (attribute === 7) return 'as stage 1';
    if (attribute === 5) return 'Normal non-cacheable';
    return attribute < 4 ? deviceNames[attribute]! : `MemAttr 0x${attribute.toString(16)}`;
  }
  if (attribute < 4) return deviceNames[attribute]!;
  if (attribute === 15) return 'Normal write-back';
  if (attribute === 5) return 'Normal non-cacheable';
  return `MemAttr 0x${attribute.toString(16)}`;
}

const deviceNames = ['Device-nGnRnE', 'Device-nGnRE', 'Device-nGRE', 'Device-GRE'];
