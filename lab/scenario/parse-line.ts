/** One line of a scenario while it is taken apart, and the complaints about it. */

import type { ArgumentUnit, CallName, Profile } from '#hypercall-abi';
import { InputError, quoted } from '../input-error.ts';
import { callExpectationForms, type Kind, parseCallExpectation } from './expectation.ts';
import { type GuestKind, guestExpectationForms, parseGuestExpectation } from './guest-expectation.ts';
import type { CallExpectation, GuestExpectation, Value } from './types.ts';
import { parseValue, valueKinds } from './value.ts';

/** The line while it is taken apart: what is left of it, and where complaints point to. */
export class Line {
  readonly file: string;
  readonly line: number;
  readonly profile: Profile;
  readonly words: string[];
  /** What follows the arrow; null when there is none. */
  readonly expected: string | null;

  constructor(text: string, file: string, line: number, profile: Profile) {
    this.file = file;
    this.line = line;
    this.profile = profile;
    const plain = withoutComment(text);
    const arrow = / -> ?/.exec(`${plain} `);
    this.words = (arrow === null ? plain : plain.slice(0, arrow.index)).split(/\s+/);
    this.expected =
      arrow === null
        ? null
        : plain
            .slice(arrow.index + 3)
            .trim()
            .replace(/\s+/g, ' ');
    if (this.expected === '') this.fail({ field: '->', expected: 'a result after ->' });
  }

  fail(problem: { field?: string; expected: string; got?: string | undefined }): never {
    throw new InputError({ file: this.file, line: this.line, ...problem });
  }

  /** The next word. */
  next(expected: string): string {
    return this.words.shift() ?? this.fail({ expected, got: 'the end of the line' });
  }

  end(): void {
    if (this.words.length > 0) this.fail({ expected: 'the end of the step', got: quoted(this.words.join(' ')) });
  }

  value(text: string, field: string, unit: ArgumentUnit, call: CallName | null = null, isSigned = false): Value {
    const value = parseValue(text, unit, call, isSigned, this.profile);
    return value ?? this.fail({ field, expected: valueKinds(unit, call, this.profile), got: quoted(text) });
  }

  /** What follows the arrow, read by `parse`; as a field to spread into a step. */
  expect<T>(parse: (text: string) => T | null, forms: string): { expect?: T } {
    if (this.expected === null) return {};
    const expect = parse(this.expected);
    return expect === null ? this.fail({ field: '->', expected: forms, got: quoted(this.expected) }) : { expect };
  }

  expectCall(kind: Kind): { expect?: CallExpectation } {
    return this.expect((text) => parseCallExpectation(text, kind), callExpectationForms(kind));
  }

  expectGuest(kind: GuestKind): { expect?: GuestExpectation } {
    return this.expect((text) => parseGuestExpectation(text, kind), guestExpectationForms(kind));
  }

  /** Words `name=value`, each name at most once and one of `known`. */
  fields(known: readonly string[], of: string): Map<string, string> {
    const fields = new Map<string, string>();
    for (const word of this.words.splice(0)) {
      const at = word.indexOf('=');
      const name = at < 0 ? word : word.slice(0, at);
      if (at < 0 || !known.includes(name)) {
        const args = known.length === 0 ? 'no arguments' : `arguments ${known.join('=, ')}=`;
        this.fail({ expected: `${of} with ${args}`, got: quoted(word) });
      }
      if (fields.has(name)) this.fail({ field: name, expected: 'one value', got: 'another' });
      fields.set(name, word.slice(at + 1));
    }
    return fields;
  }
}

/** `text` without its comment, which begins with a `#` at the start of the line or after space. */
export function withoutComment(text: string): string {
  return text.replace(/(^|\s)#.*$/, '').trim();
}
