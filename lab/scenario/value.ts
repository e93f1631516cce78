/**
 * Argument values as text: numbers, words, `page:a+2.0x10`, names. Reading returns null for text that is none, and the
 * caller, who knows the place, complains.
 */

import type { ArgumentUnit, CallName, Profile } from '#hypercall-abi';
import type { BigNumber, NameRef, PageRef, Value } from './types.ts';
import { numberOfWords, wordsFor, wordsOfNumber } from './words.ts';

const PAGE_SIZE = 4096;
const NUMBER = /^(?:0x[0-9a-f]+|\d+)$/i;
const NEGATIVE = /^-\d{1,10}$/;
const PAGE =
  /^page:([a-z][a-z0-9_]*)(?:\[(\d{1,6})\])?(?:\+(0x[0-9a-f]{1,8}|\d{1,8}))?(?:\.(0x[0-9a-f]{1,4}|\d{1,4}))?$/i;
const NAME = /^[a-z][a-z0-9_-]*$/i;
const LARGEST_RUN = 2 ** 18;

/** Units whose numbers are addresses or masks: hexadecimal reads better. */
const HEX_UNITS: ReadonlySet<ArgumentUnit> = new Set<ArgumentUnit>([
  'pa',
  'iova',
  'ipa',
  'bytes',
  'list',
  'pfn',
  'gfn',
  'attachFlags',
  'flags',
  'handle',
]);
const NAMED_UNITS: ReadonlySet<ArgumentUnit> = new Set<ArgumentUnit>(['domain', 'handle', 'stream']);

export function isPage(value: Value): value is PageRef {
  return typeof value === 'object' && 'page' in value;
}

export function isName(value: Value): value is NameRef {
  return typeof value === 'object' && 'name' in value;
}

export function isBig(value: Value): value is BigNumber {
  return typeof value === 'object' && 'big' in value;
}

/** Whether `text` can be the name of a domain, VM, page or device. */
export function isNameText(text: string): boolean {
  return NAME.test(text);
}

/** A number from a bigint below 2^64: itself where it is exact. */
export function numberValue(value: bigint): number | BigNumber {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : { big: `0x${value.toString(16)}` };
}

/** An unsigned number up to 64 bits, decimal or hexadecimal, or null. */
export function parseNumber(text: string): number | BigNumber | null {
  if (!NUMBER.test(text)) return null;
  const value = BigInt(text);
  return value >= 1n << 64n ? null : numberValue(value);
}

/** `page:name`, with `[run]`, `+pages` and `.bytes`, or null. */
export function parsePage(text: string): PageRef | null {
  const match = PAGE.exec(text);
  if (match === null) return null;
  const [, page, run, offset, byte] = match;
  const pages = Number(run ?? 1);
  if (pages < 1 || pages > LARGEST_RUN || !Number.isInteger(Math.log2(pages))) return null;
  if (Number(byte ?? 0) >= PAGE_SIZE) return null;
  return pageRef(page!, pages, Number(offset ?? 0), Number(byte ?? 0));
}

/** A page reference in its one form: what is nothing is left out. */
export function pageRef(page: string, run: number, offset: number, byte: number): PageRef {
  return { page, ...(run > 1 && { run }), ...(offset > 0 && { offset }), ...(byte > 0 && { byte }) };
}

/** A value for an argument of that unit, or null. `call` decides between words of the same unit. */
export function parseValue(
  text: string,
  unit: ArgumentUnit,
  call: CallName | null,
  isSigned: boolean,
  profile?: Profile,
): Value | null {
  const words = wordsFor(unit, call, profile);
  const word = words === null ? null : numberOfWords(words, text);
  if (word !== null) return word;
  const number = parseNumber(text);
  if (number !== null) return number;
  if (isSigned && NEGATIVE.test(text)) return Number(text) >= -(2 ** 31) ? Number(text) || 0 : null;
  const page = parsePage(text);
  if (page !== null) return page;
  return NAMED_UNITS.has(unit) && NAME.test(text) ? { name: text } : null;
}

/** What {@link parseValue} takes for that unit, for a message. */
export function valueKinds(unit: ArgumentUnit, call: CallName | null, profile?: Profile): string {
  const words = wordsFor(unit, call, profile);
  const kinds = words === null ? [] : [Object.keys(words.words).join(words.isBits ? '|' : ' or ')];
  if (unit === 'domain') kinds.push('a domain name such as d1');
  if (unit === 'handle') kinds.push('a VM name such as vm1');
  if (unit === 'stream') kinds.push('a device name');
  kinds.push('page:name', 'a number below 2^64');
  return kinds.join(', ');
}

/** A number, in hexadecimal from ten on where the unit asks for it. */
export function printNumber(value: number | BigNumber, isHex: boolean): string {
  if (typeof value !== 'number') return value.big;
  return isHex && value >= 10 ? `0x${value.toString(16)}` : String(value);
}

export function printPage({ page, run, offset, byte }: PageRef): string {
  const pages = run === undefined ? '' : `[${run}]`;
  const plus = offset === undefined ? '' : `+${offset}`;
  return `page:${page}${pages}${plus}${byte === undefined ? '' : `.0x${byte.toString(16)}`}`;
}

/** A value as {@link parseValue} reads it. */
export function printValue(value: Value, unit: ArgumentUnit, call: CallName | null, profile?: Profile): string {
  if (typeof value === 'number') {
    const words = wordsFor(unit, call, profile);
    return (words === null ? null : wordsOfNumber(words, value)) ?? printNumber(value, HEX_UNITS.has(unit));
  }
  if (isPage(value)) return printPage(value);
  return isName(value) ? value.name : value.big;
}
