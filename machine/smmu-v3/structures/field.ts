/**
 * Structures as tables of fields: what a field is, and how its value is read from and written to the int32 words of a
 * structure. A 64-bit word is two int32s, lower half first, as it lies in memory: word `w` of a structure that starts at
 * `at` is `words[at + 2w]` and `words[at + 2w + 1]`.
 *
 * A number is kept shifted down. An address is kept in place: its value is the address itself, which is exact because
 * its low bits are 0 (the one field of more than 53 bits, SYNC.MSIAddress, is exact below 2^55). A field that reaches bit 63 holds an address of the whole 64-bit space, which is sign-extended: the upper half
 * of a device's address space has negative numbers.
 */

import { POW2 } from '../../pow2.ts';
import { hiOf, join, joinSigned, loOf } from '../../word64.ts';

/** How the value of a field is to be taken: a number shifted down, or an address in place. */
export type FieldKind = 'number' | 'address';

/** One field: bits `high` to `low` of 64-bit word `word`. */
export interface Field<Name extends string = string> {
  readonly name: Name;
  readonly word: number;
  readonly high: number;
  readonly low: number;
  readonly kind: FieldKind;
  readonly meaning: string;
  /** What particular values stand for. */
  readonly values: Readonly<Record<number, string>>;
  /** When the field makes the structure ILLEGAL; empty where no value does. */
  readonly illegal: string;
  /** The bits of the field in the lower and in the upper half of its word. */
  readonly maskLo: number;
  readonly maskHi: number;
}

/** Values of particular fields, by name. */
export type Values<Name extends string> = Readonly<Record<Name, number>>;

/** A structure: its fields, in order of their place. */
export interface Structure<Name extends string = string> {
  readonly name: string;
  readonly title: string;
  /** Number of 64-bit words. */
  readonly size: number;
  readonly fields: readonly Field<Name>[];
  /** The same fields by name. */
  readonly field: { readonly [N in Name]: Field<N> };
}

/** What else a row of a table may say. */
export interface FieldNotes {
  readonly kind?: FieldKind;
  readonly values?: Readonly<Record<number, string>>;
  readonly illegal?: string;
}

/** A row of a table. @param place bits as the architecture writes them: `55:6`, or one bit `0` */
export function row<const Name extends string>(
  name: Name,
  word: number,
  place: string,
  meaning: string,
  notes: FieldNotes = {},
): Field<Name> {
  const [high, low = high] = place.split(':').map(Number) as [number, number?];
  const { kind = 'number', values = {}, illegal = '' } = notes;
  const maskLo = low > 31 ? 0 : bitsFrom(low, Math.min(high, 31));
  const maskHi = high < 32 ? 0 : bitsFrom(Math.max(low, 32) - 32, high - 32);
  return { name, word, high, low, kind, meaning, values, illegal, maskLo, maskHi };
}

function bitsFrom(low: number, high: number): number {
  return (-1 << low) & (-1 >>> (31 - high));
}

/** Makes a structure from its rows, in any order. Throws when two fields overlap or one does not fit. */
export function structure<Name extends string>(
  name: string,
  title: string,
  size: number,
  rows: readonly Field<Name>[],
): Structure<Name> {
  const fields = rows.toSorted((a, b) => a.word - b.word || a.low - b.low);
  fields.forEach((field, i) => {
    const before = fields[i - 1];
    const width = field.high - field.low + 1;
    if (field.word >= size || width < 1 || field.high > 63) throw new Error(`${name}.${field.name} is out of place`);
    if (field.kind === 'number' && width > 53) throw new Error(`${name}.${field.name} is too wide for a number`);
    if (before?.word === field.word && before.high >= field.low)
      throw new Error(`${name}: ${before.name} overlaps ${field.name}`);
  });
  const byName = Object.fromEntries(fields.map((field) => [field.name, field]));
  return { name, title, size, fields, field: byName as Structure<Name>['field'] };
}

/** Bits `name...` of a structure, as the words of an entry in which only these are set. */
export function maskOf<Name extends string>(of: Structure<Name>, ...names: readonly Name[]): Int32Array {
  const words = new Int32Array(2 * of.size);
  for (const name of names) {
    const field: Field = of.field[name];
    words[2 * field.word]! |= field.maskLo;
    words[2 * field.word + 1]! |= field.maskHi;
  }
  return words;
}

/** The value of a field in the structure that starts at `words[at]`. */
export function getField(words: ArrayLike<number>, field: Field, at = 0): number {
  const { low, maskLo, maskHi } = field;
  const lo = words[at + 2 * field.word]! & maskLo;
  const hi = words[at + 2 * field.word + 1]! & maskHi;
  if (field.kind === 'address') return field.high === 63 ? joinSigned(hi, lo) : join(hi, lo);
  if (maskHi === 0) return lo >>> low;
  return low < 32 ? Math.floor(join(hi, lo) / POW2[low]!) : hi >>> (low - 32);
}

/** Sets a field of the structure that starts at `words[at]`. Bits of `value` that do not fit are dropped. */
export function setField(words: Int32Array, field: Field, value: number, at = 0): void {
  const { low } = field;
  if (field.kind === 'address') setWord(words, field, hiOf(value), loOf(value), at);
  else if (field.maskHi === 0) setWord(words, field, 0, value << low, at);
  else if (low >= 32) setWord(words, field, value << (low - 32), 0, at);
  else setWord(words, field, hiOf(value * POW2[low]!), value << low, at);
}

/** Sets the bits of a field from a 64-bit word that has them in place. The rest of that word is dropped. */
export function setWord(words: Int32Array, field: Field, hi: number, lo: number, at = 0): void {
  const i = at + 2 * field.word;
  const { maskLo, maskHi } = field;
  words[i] = (words[i]! & ~maskLo) | (lo & maskLo);
  words[i + 1] = (words[i + 1]! & ~maskHi) | (hi & maskHi);
}

/** Whether a field can hold exactly this value. */
export function fits(field: Field, value: number): boolean {
  if (!Number.isInteger(value)) return false;
  const { high, low, kind } = field;
  if (kind === 'number') return value >= 0 && value < 2 ** (high - low + 1);
  const first = high === 63 ? -(2 ** 63) : 0;
  return value % 2 ** low === 0 && value >= first && value < 2 ** Math.min(high + 1, 63);
}

/**
 * The words of a structure with these fields set and every other bit 0.
 * @throws RangeError when a value does not fit its field
 */
export function encode<Name extends string>(
  of: Structure<Name>,
  values: Partial<Values<Name>>,
  into: Int32Array = new Int32Array(2 * of.size),
  at = 0,
): Int32Array {
  into.fill(0, at, at + 2 * of.size);
  for (const field of of.fields) {
    const value = values[field.name];
    if (value === undefined) continue;
    if (!fits(field, value)) throw new RangeError(`${of.name}.${field.name} cannot be ${value}`);
    setField(into, field, value, at);
  }
  return into;
}

/** The value of every field of the structure that starts at `words[at]`. */
export function decode<Name extends string>(of: Structure<Name>, words: ArrayLike<number>, at = 0): Values<Name> {
  const values = of.fields.map((field) => [field.name, getField(words, field, at)]);
  return Object.fromEntries(values) as Values<Name>;
}
