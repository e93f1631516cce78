/**
 * The stream table entry (64 bytes): every field, read literally from the architecture's layout. Bits of secure
 * streams and of MPAM beyond the partition numbers are left out.
 *
 * Functions whose parameters end in a word number take that 64-bit word of the entry: `hi0, lo0` is word 0.
 */
import { bits, bitsInPlace, type Field, fieldTable } from './fields.ts';

/** Bytes of one entry, and its int32 words. */
export const STE_BYTES = 64;
export const STE_WORDS = 16;

/** STE.Config. Values 0 to 3 all abort without an event. */
export const SteConfig = { abort: 0, bypass: 4, stage1: 5, stage2: 6, nested: 7 } as const;

const onOff = { 0: 'off', 1: 'on' };
const cacheability = { 0: 'non-cacheable', 1: 'WB RA WA', 2: 'WT', 3: 'WB RA' };
const shareability = { 0: 'none', 1: 'reserved', 2: 'outer', 3: 'inner' };
const sizes = { 0: '32 bits', 1: '36 bits', 2: '40 bits', 3: '42 bits', 4: '44 bits', 5: '48 bits', 6: '52 bits' };
const override = { 0: 'incoming', 1: 'incoming' };

export const STE_FIELDS: readonly Field[] = fieldTable([
  ['V', 0, 0, 0, 'valid', { 0: 'invalid', 1: 'valid' }],
  [
    'Config',
    0,
    3,
    1,
    'what the stream does',
    {
      0: 'abort',
      1: 'abort',
      2: 'abort',
      3: 'abort',
      4: 'bypass',
      5: 'stage 1',
      6: 'stage 2',
      7: 'stage 1 and stage 2',
    },
  ],
  ['S1Fmt', 0, 5, 4, 'shape of the CD table', { 0: 'linear', 1: 'two levels, 4K leaves', 2: 'two levels, 64K leaves' }],
  ['S1ContextPtr', 0, 55, 6, 'address of the CD or CD table (an IPA when nested)', 'address'],
  ['S1CDMax', 0, 63, 59, 'log2 of the number of CDs'],
  ['S1DSS', 1, 1, 0, 'a transaction without SSID', { 0: 'terminate', 1: 'bypass stage 1', 2: 'use CD 0' }],
  ['S1CIR', 1, 3, 2, 'inner cacheability of CD fetches', cacheability],
  ['S1COR', 1, 5, 4, 'outer cacheability of CD fetches', cacheability],
  ['S1CSH', 1, 7, 6, 'shareability of CD fetches', shareability],
  ['S2HWU', 1, 11, 8, 'hardware use of stage-2 descriptor bits 62:59'],
  ['DRE', 1, 12, 12, 'destructive reads allowed', onOff],
  ['CONT', 1, 16, 13, 'log2 of the run of identical STEs'],
  ['DCP', 1, 17, 17, 'directed cache prefetch allowed', onOff],
  ['PPAR', 1, 18, 18, 'PASID in page responses', onOff],
  ['MEV', 1, 19, 19, 'similar events may be merged', onOff],
  ['SW', 1, 23, 20, 'for software'],
  ['S1PIE', 1, 24, 24, 'stage-1 permission indirection', onOff],
  ['S2FWB', 1, 25, 25, 'stage 2 forces write-back', onOff],
  ['S1MPAM', 1, 26, 26, 'partition numbers come from the CD', onOff],
  ['S1STALLD', 1, 27, 27, 'stage 1 must not stall', onOff],
  ['EATS', 1, 29, 28, 'ATS', { 0: 'off', 1: 'full', 2: 'split stage', 3: 'DPT check' }],
  ['STRW', 1, 31, 30, 'world of the stream', { 0: 'EL1', 1: 'reserved', 2: 'EL2', 3: 'reserved' }],
  ['MemAttr', 1, 35, 32, 'memory type override'],
  ['MTCFG', 1, 36, 36, 'use MemAttr', onOff],
  ['ALLOCCFG', 1, 40, 37, 'allocation hint override'],
  ['SHCFG', 1, 45, 44, 'shareability override', { 0: 'none', 1: 'incoming', 2: 'outer', 3: 'inner' }],
  ['NSCFG', 1, 47, 46, 'security override'],
  ['PRIVCFG', 1, 49, 48, 'privilege override', { ...override, 2: 'unprivileged', 3: 'privileged' }],
  ['INSTCFG', 1, 51, 50, 'instruction or data override', { ...override, 2: 'data', 3: 'instruction' }],
  ['S2VMID', 2, 15, 0, 'virtual machine identifier'],
  ['S2T0SZ', 2, 37, 32, 'stage 2 translates 64 - S2T0SZ bits'],
  ['S2SL0', 2, 39, 38, 'start level, encoded by granule'],
  ['S2IR0', 2, 41, 40, 'inner cacheability of stage-2 walks', cacheability],
  ['S2OR0', 2, 43, 42, 'outer cacheability of stage-2 walks', cacheability],
  ['S2SH0', 2, 45, 44, 'shareability of stage-2 walks', shareability],
  ['S2TG', 2, 47, 46, 'stage-2 granule', { 0: '4K', 1: '64K', 2: '16K', 3: 'reserved' }],
  ['S2PS', 2, 50, 48, 'size of the physical addresses that stage 2 makes', sizes],
  ['S2AA64', 2, 51, 51, 'stage-2 format', { 0: 'AArch32', 1: 'AArch64' }],
  ['S2ENDI', 2, 52, 52, 'endianness of stage-2 tables', { 0: 'little', 1: 'big' }],
  ['S2AFFD', 2, 53, 53, 'no stage-2 access flag faults', onOff],
  ['S2PTW', 2, 54, 54, 'a stage-1 walk must not land on Device memory', onOff],
  ['S2HD', 2, 55, 55, 'hardware updates the stage-2 dirty state', onOff],
  ['S2HA', 2, 56, 56, 'hardware updates the stage-2 access flag', onOff],
  ['S2S', 2, 57, 57, 'stage-2 faults stall', onOff],
  ['S2R', 2, 58, 58, 'stage-2 faults are recorded', onOff],
  ['S2HAFT', 2, 59, 59, 'access flag of stage-2 tables', onOff],
  ['S2PIE', 2, 60, 60, 'stage-2 permission indirection', onOff],
  ['S2POE', 2, 61, 61, 'stage-2 permission overlays', onOff],
  ['DPT_VMATCH', 2, 63, 62, 'VMID check of the device permission table'],
  ['S2NSW0', 3, 0, 0, 'security of the stage-2 walk'],
  ['S2NSA1', 3, 1, 1, 'security of the stage-2 output'],
  ['S2SL0_2', 3, 2, 2, 'third bit of the start level'],
  ['S2DS', 3, 3, 3, '52-bit addresses with 4K and 16K', onOff],
  ['S2TTB', 3, 55, 4, 'address of the stage-2 table', 'address'],
  ['S2SKL', 3, 62, 61, 'levels to skip'],
  ['PARTID', 4, 31, 16, 'partition number'],
  ['PMG', 5, 7, 0, 'performance monitoring group'],
  ['VMSPtr', 5, 55, 12, 'address of the virtual machine structure', 'address'],
]);

/** V: may the entry be used at all? */
export function steValid(lo0: number): boolean {
  return (lo0 & 1) === 1;
}

/** Config[2:0]; see {@link SteConfig}. */
export function steConfig(lo0: number): number {
  return (lo0 >>> 1) & 7;
}

/** S1Fmt: 0 linear, 1 two levels with 4 KiB leaves, 2 two levels with 64 KiB leaves, 3 behaves as 0. */
export function steS1Fmt(lo0: number): number {
  return (lo0 >>> 4) & 3;
}

/** Address of the CD or of the CD table. */
export function steS1ContextPtr(hi0: number, lo0: number): number {
  return bitsInPlace(hi0, lo0, 55, 6);
}

/** log2 of the number of context descriptors. */
export function steS1CdMax(hi0: number): number {
  return hi0 >>> 27;
}

/** S1DSS: 0 terminate, 1 bypass stage 1, 2 use CD 0; 3 behaves as 0. */
export function steS1Dss(lo1: number): number {
  return lo1 & 3;
}

/** EATS: 0 off, 1 full ATS, 2 split-stage ATS, 3 with a check of the device permission table. */
export function steEats(lo1: number): number {
  return (lo1 >>> 28) & 3;
}

/** PRIVCFG: 2 makes every access unprivileged, 3 privileged, others keep the incoming attribute. */
export function stePrivCfg(hi1: number): number {
  return (hi1 >>> 16) & 3;
}

/** S2VMID. */
export function steS2Vmid(lo2: number): number {
  return lo2 & 0xffff;
}

/** S2T0SZ: stage 2 translates 64 - S2T0SZ bits. */
export function steS2T0sz(hi2: number): number {
  return hi2 & 63;
}

/** S2SL0 with S2SL0_2 above it. */
export function steS2Sl0(hi2: number, lo3: number): number {
  return ((hi2 >>> 6) & 3) | (((lo3 >>> 2) & 1) << 2);
}

/** log2 of the stage-2 granule in bytes; 0 when the encoding is reserved. */
export function steS2GranuleBits(hi2: number): number {
  return [12, 16, 14, 0][(hi2 >>> 14) & 3]!;
}

/** S2PS, encoded as in SIZE_BITS. */
export function steS2Ps(hi2: number): number {
  return (hi2 >>> 16) & 7;
}

/** Address of the stage-2 table, with the alignment bits that the hardware goes on to ignore. */
export function steS2Ttb(hi3: number, lo3: number): number {
  return bitsInPlace(hi3, lo3, 51, 4);
}

/** One flag of word 2 of the entry, by bit number 32 to 63 (51 S2AA64, 53 S2AFFD, 54 S2PTW, 57 S2S, 58 S2R …). */
export function steS2Flag(hi2: number, bit: number): boolean {
  return bits(hi2, 0, bit, bit) === 1;
}
