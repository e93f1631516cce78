/** The shape of a JSON document, checked before use: an error names the file and the path of the field. */
import { InputError, quoted } from '../../input-error.ts';

/** Checks a value found at a path, or throws. */
export type Shape = (value: unknown, at: Place) => void;

/** Where a value stands. Paths are only written out for an error. */
export interface Place {
  readonly file: string;
  readonly parent: Place | null;
  readonly step: string | number;
}

function pathOf(place: Place): string {
  const { parent, step } = place;
  if (parent === null) return '';
  const before = pathOf(parent);
  if (typeof step === 'number') return `${before}[${step}]`;
  return before === '' ? step : `${before}.${step}`;
}

/** The error for a value of the wrong kind. */
export function wrong(at: Place, expected: string, value: unknown): InputError {
  const field = pathOf(at);
  const got = value === undefined ? 'no such field' : quoted(JSON.stringify(value));
  return new InputError({ file: at.file, field: field === '' ? undefined : field, expected, got });
}

/** A hexadecimal number of at most 64 bits, without `0x`. */
export const hex: Shape = (value, at) => {
  if (typeof value !== 'string' || !/^[0-9a-f]{1,16}$/.test(value)) {
    throw wrong(at, 'a hexadecimal number of at most 64 bits, without 0x', value);
  }
};

/** A whole JSON number. */
export const whole: Shape = (value, at) => {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw wrong(at, 'a whole number', value);
};

/** How many pages or bits: a whole number from 0 to 2^20. */
export const count: Shape = (value, at) => {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 2 ** 20) {
    throw wrong(at, 'a whole number from 0 to 1048576', value);
  }
};

export const text: Shape = (value, at) => {
  if (typeof value !== 'string') throw wrong(at, 'a text', value);
};

export const flag: Shape = (value, at) => {
  if (typeof value !== 'boolean') throw wrong(at, 'true or false', value);
};

/** A member of a fixed set. */
export function oneOf(...values: readonly (string | number)[]): Shape {
  return (value, at) => {
    if (!values.includes(value as string)) throw wrong(at, `one of ${values.join(', ')}`, value);
  };
}

export function list(of: Shape, length?: number): Shape {
  return (value, at) => {
    if (!Array.isArray(value)) throw wrong(at, 'a list', value);
    if (length !== undefined && value.length !== length) throw wrong(at, `a list of ${length}`, value);
    for (let i = 0; i < value.length; i++) of(value[i], { file: at.file, parent: at, step: i });
  };
}

/** A list with a shape for each place; places from `least` on may be missing. */
export function tuple(shapes: readonly Shape[], least = shapes.length): Shape {
  return (value, at) => {
    if (!Array.isArray(value) || value.length < least || value.length > shapes.length) {
      throw wrong(at, `a list of ${least === shapes.length ? least : `${least} to ${shapes.length}`}`, value);
    }
    for (let i = 0; i < value.length; i++) shapes[i]!(value[i], { file: at.file, parent: at, step: i });
  };
}

/** An object with these fields; others are let be. */
export function record(fields: Readonly<Record<string, Shape>>, optional: Readonly<Record<string, Shape>> = {}): Shape {
  const must = Object.entries(fields);
  const may = Object.entries(optional);
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(at, 'an object', value);
    const object = value as Record<string, unknown>;
    for (const [name, shape] of must) shape(object[name], { file: at.file, parent: at, step: name });
    for (const [name, shape] of may) {
      if (object[name] !== undefined) shape(object[name], { file: at.file, parent: at, step: name });
    }
  };
}

/** An object whose every field has one shape. */
export function dictionary(of: Shape): Shape {
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(at, 'an object', value);
    for (const [name, field] of Object.entries(value)) of(field, { file: at.file, parent: at, step: name });
  };
}

/** An object whose shape a field of it tells. */
export function tagged(tag: string, shapes: Readonly<Record<string, Shape>>): Shape {
  return (value, at) => {
    record({ [tag]: oneOf(...Object.keys(shapes)) })(value, at);
    shapes[(value as Record<string, string>)[tag]!]!(value, at);
  };
}

export function nullable(of: Shape): Shape {
  return (value, at) => {
    if (value !== null) of(value, at);
  };
}

/** Checks a whole document. @throws InputError */
export function checkShape(shape: Shape, value: unknown, file: string): void {
  shape(value, { file, parent: null, step: '' });
}
