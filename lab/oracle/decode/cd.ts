/**
 * The context descriptor (64 bytes): every field, read literally from the architecture's layout.
 *
 * Functions whose parameters end in a word number take that 64-bit word of the descriptor: `hi0, lo0` is word 0.
 */
import { bits, bitsInPlace, type Field, fieldTable } from './fields.ts';

/** Bytes of one descriptor, and its int32 words. */
export const CD_BYTES = 64;
export const CD_WORDS = 16;

const onOff = { 0: 'off', 1: 'on' };
const cacheability = { 0: 'non-cacheable', 1: 'WB RA WA', 2: 'WT', 3: 'WB RA' };
const shareability = { 0: 'none', 1: 'reserved', 2: 'outer', 3: 'inner' };
const sizes = { 0: '32 bits', 1: '36 bits', 2: '40 bits', 3: '42 bits', 4: '44 bits', 5: '48 bits', 6: '52 bits' };

export const CD_FIELDS: readonly Field[] = fieldTable([
  ['T0SZ', 0, 5, 0, 'TTB0 translates 64 - T0SZ bits'],
  ['TG0', 0, 7, 6, 'granule of TTB0', { 0: '4K', 1: '64K', 2: '16K', 3: 'reserved' }],
  ['IR0', 0, 9, 8, 'inner cacheability of TTB0 walks', cacheability],
  ['OR0', 0, 11, 10, 'outer cacheability of TTB0 walks', cacheability],
  ['SH0', 0, 13, 12, 'shareability of TTB0 walks', shareability],
  ['EPD0', 0, 14, 14, 'TTB0 walks are disabled', onOff],
  ['ENDI', 0, 15, 15, 'endianness of the tables', { 0: 'little', 1: 'big' }],
  ['T1SZ', 0, 21, 16, 'TTB1 translates 64 - T1SZ bits'],
  ['TG1', 0, 23, 22, 'granule of TTB1', { 0: 'reserved', 1: '16K', 2: '4K', 3: '64K' }],
  ['IR1', 0, 25, 24, 'inner cacheability of TTB1 walks', cacheability],
  ['OR1', 0, 27, 26, 'outer cacheability of TTB1 walks', cacheability],
  ['SH1', 0, 29, 28, 'shareability of TTB1 walks', shareability],
  ['EPD1', 0, 30, 30, 'TTB1 walks are disabled', onOff],
  ['V', 0, 31, 31, 'valid', { 0: 'invalid', 1: 'valid' }],
  ['IPS', 0, 34, 32, 'size of the addresses that stage 1 makes', sizes],
  ['AFFD', 0, 35, 35, 'no access flag faults', onOff],
  ['WXN', 0, 36, 36, 'what is writable is not executable', onOff],
  ['UWXN', 0, 37, 37, 'what is writable unprivileged is not executable privileged', onOff],
  ['TBI0', 0, 38, 38, 'the top byte is ignored in the TTB0 half', onOff],
  ['TBI1', 0, 39, 39, 'the top byte is ignored in the TTB1 half', onOff],
  ['PAN', 0, 40, 40, 'privileged access never to what is unprivileged', onOff],
  ['AA64', 0, 41, 41, 'format of the tables', { 0: 'AArch32', 1: 'AArch64' }],
  ['HD', 0, 42, 42, 'hardware updates the dirty state', onOff],
  ['HA', 0, 43, 43, 'hardware updates the access flag', onOff],
  ['S', 0, 44, 44, 'faults stall', onOff],
  ['R', 0, 45, 45, 'faults are recorded', onOff],
  ['A', 0, 46, 46, 'a terminated access aborts', onOff],
  ['ASET', 0, 47, 47, 'the ASID is private', { 0: 'shared with CPUs', 1: 'private' }],
  ['ASID', 0, 63, 48, 'address space identifier'],
  ['NSCFG0', 1, 0, 0, 'security of TTB0 walks'],
  ['HAD0', 1, 1, 1, 'hierarchical permissions are ignored in the TTB0 half', onOff],
  ['E0PD0', 1, 2, 2, 'unprivileged access never in the TTB0 half', onOff],
  ['HAFT', 1, 3, 3, 'access flag of tables', onOff],
  ['TTB0', 1, 55, 4, 'address of the TTB0 table', 'address'],
  ['PnCH', 1, 58, 58, 'protected attribute', onOff],
  ['EPAN', 1, 59, 59, 'enhanced PAN', onOff],
  ['HWU0', 1, 63, 60, 'hardware use of descriptor bits 62:59'],
  ['NSCFG1', 2, 0, 0, 'security of TTB1 walks'],
  ['HAD1', 2, 1, 1, 'hierarchical permissions are ignored in the TTB1 half', onOff],
  ['E0PD1', 2, 2, 2, 'unprivileged access never in the TTB1 half', onOff],
  ['AIE', 2, 3, 3, 'memory attribute indirection', onOff],
  ['TTB1', 2, 55, 4, 'address of the TTB1 table', 'address'],
  ['DS', 2, 58, 58, '52-bit addresses with 4K and 16K', onOff],
  ['PIE', 2, 59, 59, 'permission indirection', onOff],
  ['HWU1', 2, 63, 60, 'hardware use of descriptor bits 62:59'],
  ['MAIR0', 3, 31, 0, 'memory attributes 0 to 3'],
  ['MAIR1', 3, 63, 32, 'memory attributes 4 to 7'],
  ['AMAIR0', 4, 31, 0, 'auxiliary memory attributes'],
  ['AMAIR1', 4, 63, 32, 'auxiliary memory attributes'],
  ['PARTID', 5, 47, 32, 'partition number'],
  ['PMG', 5, 55, 48, 'performance monitoring group'],
]);

/** V: may the descriptor be used at all? */
export function cdValid(lo0: number): boolean {
  return lo0 < 0 || lo0 >= 0x80000000;
}

/** T0SZ: TTB0 translates 64 - T0SZ bits. */
export function cdT0sz(lo0: number): number {
  return lo0 & 63;
}

/** log2 of the granule of TTB0 in bytes; 0 when the encoding is reserved. */
export function cdGranuleBits0(lo0: number): number {
  return [12, 16, 14, 0][(lo0 >>> 6) & 3]!;
}

/** log2 of the granule of TTB1 in bytes; 0 when the encoding is reserved. */
export function cdGranuleBits1(lo0: number): number {
  return [0, 14, 12, 16][(lo0 >>> 22) & 3]!;
}

/** IPS, encoded as in SIZE_BITS. */
export function cdIps(hi0: number): number {
  return hi0 & 7;
}

/** ASID. */
export function cdAsid(hi0: number): number {
  return hi0 >>> 16;
}

/** Address of the table of TTB0 (words of 1) or TTB1 (words of 2), with bits the hardware goes on to ignore. */
export function cdTtb(hi: number, lo: number): number {
  return bitsInPlace(hi, lo, 51, 4);
}

/** One flag of word 0 by bit number 0 to 63 (14 EPD0, 35 AFFD, 42 HD, 43 HA, 44 S, 45 R, 46 A …). */
export function cdFlag(hi0: number, lo0: number, bit: number): boolean {
  return bits(hi0, lo0, bit, bit) === 1;
}

/** Byte `index` (0 to 7) of MAIR: the memory type of a descriptor with that AttrIndx. `hi3, lo3` is word 3. */
export function cdMemoryAttribute(hi3: number, lo3: number, index: number): number {
  return ((index < 4 ? lo3 : hi3) >>> (8 * (index & 3))) & 0xff;
}
