/**
 * What the literal decoders share: a table of named bit fields over 64-bit little-endian words, and the arithmetic to
 * read one. A 64-bit word is two int32s, low word first in memory order, as they lie in simulated RAM: word `w` of a
 * structure that starts at index `at` has its low half at `at + 2w` and its high half at `at + 2w + 1`.
 *
 * Values are JS numbers. A field of at most 53 bits is exact; an address field is exact at any width, since its value
 * is a multiple of its alignment.
 */

/** One field: bits `hi` to `lo` of 64-bit word `word`. An address field carries its value in place, not shifted down. */
export interface Field {
  readonly name: string;
  readonly word: number;
  readonly hi: number;
  readonly lo: number;
  readonly meaning: string;
  /** What particular values stand for. */
  readonly values?: Readonly<Record<number, string>>;
  readonly address?: true;
}

const TWO32 = 4294967296;

/** A field as found: `text` is the value for people (an address in hexadecimal, a known value with its name). */
export interface DecodedField {
  readonly name: string;
  readonly value: number;
  readonly text: string;
  readonly meaning: string;
}

/** A 64-bit word as two int32 halves. */
export interface Word64 {
  readonly hi: number;
  readonly lo: number;
}

/** Bits `top` to `bottom` of the 64-bit word (hi, lo), shifted down; exact up to 53 bits. */
export function bits(hi: number, lo: number, top: number, bottom: number): number {
  if (top < 32) return ((lo >>> bottom) & widthMask(top - bottom + 1)) >>> 0;
  if (bottom >= 32) return ((hi >>> (bottom - 32)) & widthMask(top - bottom + 1)) >>> 0;
  const low = lo >>> bottom;
  const high = (hi & widthMask(top - 31)) >>> 0;
  return high * 2 ** (32 - bottom) + low;
}

/** Bits `top` to `bottom` in place: the value with everything outside the range cleared. For addresses. */
export function bitsInPlace(hi: number, lo: number, top: number, bottom: number): number {
  // Most addresses have bits in both halves.
  if (top >= 32 && bottom < 32) return ((hi & widthMask(top - 31)) >>> 0) * TWO32 + ((lo & (-1 << bottom)) >>> 0);
  return bits(hi, lo, top, bottom) * 2 ** bottom;
}

/** Keeps the low `width` bits (at most 32) of an int32; the caller makes the result unsigned. */
function widthMask(width: number): number {
  return width >= 32 ? -1 : (1 << width) - 1;
}

/** The value of one field of the structure that starts at `words[at]`. */
export function fieldValue(words: ArrayLike<number>, at: number, field: Field): number {
  const lo = words[at + 2 * field.word]!;
  const hi = words[at + 2 * field.word + 1]!;
  return field.address === true ? bitsInPlace(hi, lo, field.hi, field.lo) : bits(hi, lo, field.hi, field.lo);
}

/** Every field of a structure, in table order. */
export function decodeFields(table: readonly Field[], words: ArrayLike<number>, at = 0): DecodedField[] {
  return table.map((field) => {
    const value = fieldValue(words, at, field);
    return { name: field.name, value, text: valueText(field, value), meaning: field.meaning };
  });
}

function valueText(field: Field, value: number): string {
  if (field.address === true) return `0x${value.toString(16)}`;
  const known = field.values?.[value];
  const plain = field.hi - field.lo >= 8 ? `0x${value.toString(16)}` : String(value);
  return known === undefined ? plain : `${plain} (${known})`;
}

/** Builds a field table from rows `[name, word, hi, lo, meaning, values or 'address']`. */
export function fieldTable(
  rows: readonly (readonly [string, number, number, number, string, (Readonly<Record<number, string>> | 'address')?])[],
): readonly Field[] {
  return rows.map(([name, word, hi, lo, meaning, extra]) => {
    const field = { name, word, hi, lo, meaning };
    if (extra === undefined) return field;
    return extra === 'address' ? { ...field, address: true as const } : { ...field, values: extra };
  });
}

/** The 64-bit word as 16 hexadecimal digits behind `0x`. */
export function hex64(hi: number, lo: number): string {
  return `0x${(hi >>> 0).toString(16).padStart(8, '0')}${(lo >>> 0).toString(16).padStart(8, '0')}`;
}

/** Output-size encodings of IPS, S2PS and OAS: bits of address. */
export const SIZE_BITS: readonly number[] = [32, 36, 40, 42, 44, 48, 52, 56];
