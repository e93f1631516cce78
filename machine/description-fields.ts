/** Takes the fields of a machine description of unknown origin apart; what is wrong is an error that names the field. */

import type { RamRange } from './memory/index.ts';

/** A machine description that cannot be used: the field, and what was expected there. */
export class DescriptionError extends Error {
  readonly field: string;
  constructor(field: string, expected: string) {
    super(`machine description: ${field}: expected ${expected}`);
    this.name = 'DescriptionError';
    this.field = field;
  }
}

type Fields = Record<string, unknown>;

const PAGE = 4096;
const SPACE = 2 ** 52;

export function object(value: unknown, at: string, known: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new DescriptionError(at, 'an object');
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw new DescriptionError(`${at}.${key}`, `only the fields ${known.join(', ')}`);
  }
  return value as Fields;
}

export function list(value: unknown, at: string, least: number): unknown[] {
  if (!Array.isArray(value) || value.length < least) {
    throw new DescriptionError(at, least === 0 ? 'a list' : `a list of at least ${least}`);
  }
  return value;
}

export function text(value: unknown, at: string): string {
  if (typeof value !== 'string' || value === '') throw new DescriptionError(at, 'a name');
  return value;
}

export function integer(value: unknown, at: string, min: number, max: number): number {
  const given = typeof value === 'string' && /^(0x[0-9a-f]+|[0-9]+)$/i.test(value) ? Number(value) : value;
  if (typeof given !== 'number' || !Number.isInteger(given) || given < min || given > max) {
    throw new DescriptionError(at, `a whole number from ${min} to ${max}`);
  }
  return given;
}

export function address(value: unknown, at: string): number {
  const given = typeof value === 'string' && /^(0x[0-9a-f]+|[0-9]+)$/i.test(value) ? Number(value) : value;
  if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given >= SPACE) {
    throw new DescriptionError(at, 'an address below 2^52');
  }
  if (given % PAGE !== 0) throw new DescriptionError(at, 'a multiple of 4096');
  return given;
}

export function range(value: unknown, at: string): RamRange {
  const fields = object(value, at, ['base', 'size']);
  const base = address(fields.base, `${at}.base`);
  const size = address(fields.size, `${at}.size`);
  if (size === 0) throw new DescriptionError(`${at}.size`, 'a positive multiple of 4096');
  if (base + size > SPACE) throw new DescriptionError(`${at}.size`, 'a range that ends below 2^52');
  return { base, size };
}

export function unique(items: readonly { readonly name: string }[], at: string): void {
  items.forEach(({ name }, i) => {
    if (items.findIndex((other) => other.name === name) !== i) {
      throw new DescriptionError(`${at}[${i}].name`, `a name of its own (there are two called ${name})`);
    }
  });
}

export function names(items: readonly { readonly name: string }[]): string {
  return items.map(({ name }) => name).join(', ') || 'the SMMUs (there are none)';
}
