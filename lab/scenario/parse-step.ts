/** Reads one step of a scenario. */

import { type ArgumentUnit, type CallName, defaultProfile, type Profile } from '#hypercall-abi';
import { InputError, quoted } from '../input-error.ts';
import {
  callExpectationForms,
  type Kind,
  parseAccessExpectation,
  parseCallExpectation,
  parseDmaExpectation,
  parseReadExpectation,
} from './expectation.ts';
import { hvcKind } from './print.ts';
import type { CallExpectation, PoolName, Step, Value } from './types.ts';
import { isNameText, parseValue, valueKinds } from './value.ts';

/** No CPU or chunk has a number of more digits than this lets through. */
const SMALL = /^\d{1,6}$/;
/** SubstreamIDs have 20 bits. */
const PASID_MAX = 2 ** 20 - 1;
const ORDER_MAX = 12;
const PROPERTY = /^[\w./:+-]+$/;

/** The line while it is taken apart: what is left of it, and where complaints point to. */
class Line {
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

const ACCESS = 'ok, abort or bus error';

/** The step in `text`, which is one trimmed line. @throws InputError */
export function parseStep(text: string, file: string, line: number, profile: Profile = defaultProfile): Step {
  // Its text is free: arrows and number signs mean nothing there.
  if (/^expect(\s|$)/.test(text)) return parseExpect(text, file, line);
  const rest = new Line(text, file, line, profile);
  const first = rest.next('a step');
  const cpu = /^@cpu(\d{1,4})$/.exec(first);
  if (cpu !== null) return parseHost(rest, Number(cpu[1]));
  if (rest.words[0] === '=') {
    // `vm1 = @cpu0 reserve_vm` says the same as `@cpu0 vm1 = reserve_vm`.
    const [, where = ''] = rest.words.splice(0, 2);
    const on = /^@cpu(\d{1,4})$/.exec(where) ?? rest.fail({ expected: 'a CPU such as @cpu0', got: quoted(where) });
    rest.words.unshift(first, '=');
    return parseHost(rest, Number(on[1]));
  }
  if (first.startsWith('@')) rest.fail({ expected: 'a CPU such as @cpu0', got: quoted(first) });
  return parseDma(rest, first);
}

function parseExpect(text: string, file: string, line: number): Step {
  const match = /^expect\s+violation\s+(\S+)(?:\s+(.*))?$/.exec(text);
  const property = match?.[1];
  if (property === undefined || !PROPERTY.test(property)) {
    throw new InputError({ file, line, expected: 'expect violation PROPERTY [text]', got: quoted(text) });
  }
  return { kind: 'expect', property, ...(match?.[2] && { text: match[2] }) };
}

function parseHost(rest: Line, cpu: number): Step {
  const word = rest.next('a step of the host');
  if (word === 'write') return parseWrite(rest, cpu);
  if (word === 'read') {
    const at = rest.value(rest.next('an address'), 'address', 'pa');
    rest.end();
    return { kind: 'read', cpu, at, ...rest.expect(parseReadExpectation, 'a 32-bit number, abort or bus error') };
  }
  if (word === 'topup') return parseTopup(rest, cpu);
  if (word === 'describe') return parseDescribe(rest, cpu);
  if (word === 'hvc') return parseHvc(rest, cpu);
  if (rest.words[0] !== '=') return parseCall(rest, cpu, word);
  rest.next('=');
  if (!isNameText(word)) rest.fail({ expected: 'a VM name such as vm1', got: quoted(word) });
  const name = rest.next('a call');
  const giving = rest.profile.calls.filter(({ x1 }) => x1 === 'handleOrErrno').map((spec) => spec.name as string);
  if (!giving.includes(name)) {
    const expected =
      giving.length === 0 ? 'no name: no call gives a handle' : `${giving.join(' or ')}, which gives a handle`;
    rest.fail({ field: word, expected, got: quoted(name) });
  }
  return { ...parseCall(rest, cpu, name), bind: word };
}

function parseCall(rest: Line, cpu: number, call: string): Extract<Step, { kind: 'call' }> {
  const { profile } = rest;
  if (!profile.has(call)) {
    const known = profile.calls.map(({ name }) => name).join(', ');
    return rest.fail({ expected: `write, read, topup, describe, hvc or a call (${known})`, got: quoted(call) });
  }
  const spec = profile.call(call);
  const fields = rest.fields(
    spec.args.map(({ name }) => name),
    call,
  );
  const args: Record<string, Value> = {};
  for (const { name, unit, type } of spec.args) {
    const text = fields.get(name);
    args[name] = text === undefined ? 0 : rest.value(text, name, unit, call, type === 'i32');
  }
  return { kind: 'call', cpu, call, args, ...rest.expectCall(spec.x1) };
}

function parseHvc(rest: Line, cpu: number): Step {
  const names = Array.from({ length: 8 }, (_, n) => `x${n}`);
  const fields = rest.fields(names, 'hvc');
  if (!fields.has('x0')) rest.fail({ field: 'x0', expected: 'a function id' });
  const registers = names.map((name) => rest.value(fields.get(name) ?? '0', name, 'pa'));
  while (registers.at(-1) === 0 && registers.length > 1) registers.pop();
  return { kind: 'hvc', cpu, registers, ...rest.expectCall(hvcKind(registers, rest.profile)) };
}

function parseWrite(rest: Line, cpu: number): Step {
  const at = rest.value(rest.next('an address'), 'address', 'pa');
  const value = rest.value(rest.next('a value'), 'value', 'flags');
  rest.end();
  return { kind: 'write', cpu, at, value, ...rest.expect(parseAccessExpectation, ACCESS) };
}

function parseTopup(rest: Line, cpu: number): Step {
  const pool = rest.next('heap or iommu');
  if (pool !== 'heap' && pool !== 'iommu') rest.fail({ field: 'pool', expected: 'heap or iommu', got: quoted(pool) });
  const counted = rest.words[0] !== undefined && !rest.words[0].includes('=') ? rest.next('a number') : null;
  if (counted !== null && (!SMALL.test(counted) || Number(counted) === 0)) {
    rest.fail({ field: 'chunks', expected: 'a number from 1', got: quoted(counted) });
  }
  const order = rest.fields(['order'], 'topup').get('order');
  if (order !== undefined && (!SMALL.test(order) || Number(order) > ORDER_MAX)) {
    rest.fail({ field: 'order', expected: `a number from 0 to ${ORDER_MAX}`, got: quoted(order) });
  }
  if (counted === null && order === undefined) {
    rest.fail({ expected: 'a number of pages or order=N', got: 'the end of the step' });
  }
  const chunks = counted === null ? 1 : Number(counted);
  return { kind: 'topup', cpu, pool: pool as PoolName, chunks, order: Number(order ?? 0), ...rest.expectCall('errno') };
}

function parseDescribe(rest: Line, cpu: number): Step {
  const at = rest.value(rest.next('an address'), 'address', 'pa');
  const fields = rest.fields(['vm', 'protected', 'vcpus'], 'describe');
  return {
    kind: 'describe',
    cpu,
    at,
    vm: rest.value(fields.get('vm') ?? '0', 'vm', 'handle'),
    isProtected: rest.value(fields.get('protected') ?? '0', 'protected', 'flags'),
    vcpus: rest.value(fields.get('vcpus') ?? '0', 'vcpus', 'flags'),
    ...rest.expect(parseAccessExpectation, ACCESS),
  };
}

function parseDma(rest: Line, device: string): Step {
  const access = rest.words.shift();
  if (!isNameText(device) || (access !== 'read' && access !== 'write')) {
    const got = quoted([device, access ?? ''].join(' ').trim());
    return rest.fail({ expected: '@cpuN and a step of the host, DEVICE read, DEVICE write, or expect', got });
  }
  const iova = rest.value(rest.next('an IOVA'), 'iova', 'iova');
  const value = access === 'write' ? { value: rest.value(rest.next('a value'), 'value', 'flags') } : {};
  const pasid = parsePasid(rest);
  const cached = rest.words[0] === 'cached' ? { cached: true as const } : {};
  if (rest.words[0] === 'cached') rest.words.shift();
  rest.end();
  const forms = 'page:name, an address, fault NAME or abort';
  return {
    kind: 'dma',
    device,
    access,
    iova,
    ...value,
    ...pasid,
    ...cached,
    ...rest.expect(parseDmaExpectation, forms),
  };
}

/** `pasid=3` in front, if it is there. */
function parsePasid(rest: Line): { pasid?: number } {
  const [word] = rest.words;
  if (word === undefined || !word.startsWith('pasid=')) return {};
  rest.words.shift();
  const text = word.slice('pasid='.length);
  const pasid = /^\d{1,7}$/.test(text) ? Number(text) : PASID_MAX + 1;
  if (pasid > PASID_MAX) rest.fail({ field: 'pasid', expected: `a number from 0 to ${PASID_MAX}`, got: quoted(text) });
  return { pasid };
}

/** `text` without its comment, which begins with a `#` at the start of the line or after space. */
export function withoutComment(text: string): string {
  return text.replace(/(^|\s)#.*$/, '').trim();
}
