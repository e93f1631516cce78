/**
 * The geometry that all formats share: radix tables of 64-bit descriptors, one granule, levels that divide the input
 * address from the top. From it and what a format decides comes the layout.
 */
import { type Format, type PageTableConfig, type PageTableLayout, PROTECTIONS, type Profile } from '../types.ts';

/** Levels are numbered 0 to 3. */
export const LEVELS = 4;
export const DESCRIPTOR_SHIFT = 3;

/** What a format decides of a layout. */
export interface Radix {
  readonly profile: Profile;
  readonly granule: number;
  readonly ias: number;
  readonly oas: number;
  readonly startLevel: number;
  /** log2 of the number of descriptors of the first table, concatenated tables included. */
  readonly pgdBits: number;
  /** Whether descriptors of a level may be leaves. */
  readonly hasLeaves: (level: number) => boolean;
  /** Whether input addresses are those of the upper half. */
  readonly isUpper: boolean;
  /** The attributes of a leaf: the low word, and the high one. */
  readonly attributesLo: (prot: number, quirks: number) => number;
  readonly attributesHi: (prot: number, quirks: number) => number;
  /** Software's mark, in the high word, of a table descriptor that a walker which is not coherent has been shown. */
  readonly publishedHi: number;
  readonly registers: PageTableLayout['registers'];
}

/** The layout of a configuration that a format accepts. */
export function radixLayout(config: PageTableConfig, format: Format, radix: Radix): PageTableLayout {
  const { granule, ias, oas, startLevel, pgdBits } = radix;
  const granuleShift = Math.log2(granule);
  const bitsPerLevel = granuleShift - DESCRIPTOR_SHIFT;
  const spans = new Float64Array(LEVELS);
  const inverseSpans = new Float64Array(LEVELS);
  const leafSizes = new Float64Array(LEVELS);
  const indexMasks = new Int32Array(LEVELS);
  let pgsizeBitmap = 0;
  for (let level = 0; level < LEVELS; level++) {
    const span = 2 ** (granuleShift + bitsPerLevel * (LEVELS - 1 - level));
    spans[level] = span;
    inverseSpans[level] = 1 / span;
    indexMasks[level] = 2 ** (level === startLevel ? pgdBits : bitsPerLevel) - 1;
    if (!radix.hasLeaves(level) || !hasBit(config.pgsizeBitmap, span)) continue;
    pgsizeBitmap += span;
    if (level >= startLevel) leafSizes[level] = span;
  }
  const attributes = new Int32Array(2 * PROTECTIONS);
  for (let prot = 0; prot < PROTECTIONS; prot++) {
    attributes[2 * prot] = radix.attributesLo(prot, config.quirks);
    attributes[2 * prot + 1] = radix.attributesHi(prot, config.quirks);
  }
  // One literal makes all layouts, so that they have one shape to the compiler of the host.
  return {
    fmt: config.fmt,
    pgsizeBitmap,
    ias,
    oas,
    coherentWalk: config.coherentWalk,
    quirks: config.quirks,
    profile: radix.profile,
    granuleShift,
    granule,
    bitsPerLevel,
    startLevel,
    pgdBits,
    pgdSize: 2 ** (pgdBits + DESCRIPTOR_SHIFT),
    inputStart: radix.isUpper ? -(2 ** ias) : 0,
    inputEnd: radix.isUpper ? 0 : 2 ** ias,
    outputEnd: 2 ** oas,
    spans,
    inverseSpans,
    leafSizes,
    indexMasks,
    attributes,
    publishedHi: config.coherentWalk ? 0 : radix.publishedHi,
    format,
    registers: radix.registers,
  };
}

/** {@link Format.tablePage} of a descriptor with the address in bits 51:12. */
export function tablePage(hi: number, lo: number): number {
  return (hi & 0xff800) === 0 ? ((hi & 0x7ff) << 20) | (lo >>> 12) : -1;
}

/** Whether a bitmap that may have more than 32 bits has this one. */
export function hasBit(bitmap: number, bit: number): boolean {
  return Math.floor(bitmap / bit) % 2 === 1;
}
