/** Named fields in the text of an event: ` iova=0x… - 0x…`, ` size=4096`, ` device=…`. */

/** Thrown inside the parser and turned into an InputError where file and line are known. */
export class FieldProblem extends Error {
  readonly field: string;
  readonly expected: string;
  readonly got: string;

  constructor(field: string, expected: string, got: string) {
    super(`${field}: expected ${expected}, got ${got}`);
    this.field = field;
    this.expected = expected;
    this.got = got;
  }
}

const MAX_ADDRESS = 2 ** 52;

/** Reads fields of one line at a time. Reused for every line: nothing is allocated but what an event keeps. */
export class EventText {
  private line = '';
  private start = 0;

  /** From here on fields are those of `line` behind index `start`. */
  set(line: string, start: number): void {
    this.line = line;
    this.start = start;
  }

  /** Does the line have a field of this name? `key` includes the blank before and the equals sign behind. */
  has(key: string): boolean {
    return this.line.indexOf(key, this.start) >= 0;
  }

  /** The text of a field up to the next blank. */
  word(key: string, expected: string): string {
    const at = this.find(key, expected);
    const end = this.line.indexOf(' ', at);
    const text = this.line.slice(at, end < 0 ? this.line.length : end);
    if (text === '') throw new FieldProblem(nameOf(key), expected, 'nothing');
    return text;
  }

  /** A hexadecimal address below 2^52. */
  address(key: string): number {
    return this.hex(this.find(key, 'an address such as 0xfffff000'), nameOf(key));
  }

  /** The exclusive end behind ` - ` of a range; `otherwise` where the kernel prints no end. */
  rangeEnd(key: string, otherwise: number): number {
    let at = this.find(key, 'an address');
    while (at < this.line.length && this.line.charCodeAt(at) !== 32) at++;
    if (!this.line.startsWith(' - ', at)) return otherwise;
    return this.hex(at + 3, 'end');
  }

  /** A decimal or hexadecimal count from `least` to 2^52. */
  count(key: string, least: number): number {
    const expected = `a number from ${least}`;
    const at = this.find(key, expected);
    const value = this.line.startsWith('0x', at) ? this.hex(at, nameOf(key)) : this.decimal(at, nameOf(key), expected);
    if (value < least || value > MAX_ADDRESS) throw new FieldProblem(nameOf(key), expected, this.token(at));
    return value;
  }

  /** A 64-bit value in hexadecimal, as (low, high) int32 halves. */
  word64(key: string): readonly [number, number] {
    const text = this.word(key, 'a 64-bit value such as 0x2000000000012');
    if (!/^0x[0-9a-f]{1,16}$/.test(text)) {
      throw new FieldProblem(nameOf(key), 'a 64-bit value such as 0x2000000000012', text);
    }
    const split = Math.max(2, text.length - 8);
    const high = split === 2 ? 0 : Number.parseInt(text.slice(2, split), 16);
    return [Number.parseInt(text.slice(split), 16) | 0, high | 0];
  }

  /** A kernel pointer: kept as text. */
  pointer(key: string): string {
    const text = this.word(key, 'a pointer such as 0xffff13f6c4922eb8');
    if (!/^0x[0-9a-f]{1,16}$/.test(text)) {
      throw new FieldProblem(nameOf(key), 'a pointer such as 0xffff13f6c4922eb8', text);
    }
    return text;
  }

  private find(key: string, expected: string): number {
    const at = this.line.indexOf(key, this.start);
    if (at < 0) throw new FieldProblem(nameOf(key), expected, 'no such field');
    return at + key.length;
  }

  private hex(at: number, field: string): number {
    const line = this.line;
    let value = 0;
    let i = at + 2;
    if (line.charCodeAt(at) === 48 && (line.charCodeAt(at + 1) | 32) === 120) {
      for (; i < line.length; i++) {
        const code = line.charCodeAt(i);
        if (code === 32) break;
        const digit =
          code >= 48 && code <= 57 ? code - 48 : (code | 32) >= 97 && (code | 32) <= 102 ? (code | 32) - 87 : -1;
        if (digit < 0) throw new FieldProblem(field, 'an address such as 0xfffff000', this.token(at));
        value = value * 16 + digit;
      }
    }
    if (i === at + 2) throw new FieldProblem(field, 'an address such as 0xfffff000', this.token(at));
    if (value > MAX_ADDRESS) throw new FieldProblem(field, 'an address of at most 52 bits', this.token(at));
    return value;
  }

  private decimal(at: number, field: string, expected: string): number {
    const line = this.line;
    let value = 0;
    let i = at;
    for (; i < line.length; i++) {
      const code = line.charCodeAt(i);
      if (code === 32) break;
      if (code < 48 || code > 57) throw new FieldProblem(field, expected, this.token(at));
      value = value * 10 + code - 48;
    }
    if (i === at) throw new FieldProblem(field, expected, 'nothing');
    return value;
  }

  private token(at: number): string {
    const end = this.line.indexOf(' ', at);
    return this.line.slice(at, end < 0 ? this.line.length : end) || 'nothing';
  }
}

function nameOf(key: string): string {
  return key.slice(1, -1);
}
