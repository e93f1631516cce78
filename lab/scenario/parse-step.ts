/** Reads one step of a scenario. */

import {
  type CallName,
  type CallSpec,
  defaultProfile,
  type GuestCallName,
  guestCallNamed,
  guestCalls,
  isGuestCallName,
  type Profile,
} from '#hypercall-abi';
import { InputError, quoted } from '../input-error.ts';
import { parseAccessExpectation, parseDmaExpectation, parseReadExpectation } from './expectation.ts';
import { Line } from './parse-line.ts';
import { guestHvcKind, hvcKind } from './print.ts';
import type { OtherWidth, PoolName, Step, Value } from './types.ts';
import { isNameText } from './value.ts';

/** No CPU or chunk has a number of more digits than this lets through. */
const SMALL = /^\d{1,6}$/;
/** SubstreamIDs have 20 bits. */
const PASID_MAX = 2 ** 20 - 1;
const ORDER_MAX = 12;
const PROPERTY = /^[\w./:+-]+$/;

const ACCESS = 'ok, abort or bus error';

/** The step in `text`, which is one trimmed line. @throws InputError */
export function parseStep(text: string, file: string, line: number, profile: Profile = defaultProfile): Step {
  // Its text is free: arrows and number signs mean nothing there.
  if (/^expect(\s|$)/.test(text)) return parseExpect(text, file, line);
  const rest = new Line(text, file, line, profile);
  const first = rest.next('a step');
  const cpu = /^@cpu(\d{1,4})(?::(\d{1,6}|end))?$/.exec(first);
  if (cpu !== null)
    return cpu[2] === undefined ? parseHost(rest, Number(cpu[1])) : parsePart(rest, Number(cpu[1]), cpu[2]);
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

/** `@cpu0:3 CALL …` begins a call and runs three pauses of it, `@cpu0:3` and `@cpu0:end` run the one in progress. */
function parsePart(rest: Line, cpu: number, text: string): Step {
  const yields = text === 'end' ? text : Number(text);
  if (rest.words.length > 0) {
    if (yields === 'end')
      rest.fail({ expected: `@cpu${cpu}:end alone, or @cpu${cpu} and a call`, got: quoted(rest.words.join(' ')) });
    const step = parseHost(rest, cpu);
    if (step.kind !== 'call' && step.kind !== 'hvc' && step.kind !== 'guest' && step.kind !== 'guestHvc') {
      return rest.fail({ expected: `a call after @cpu${cpu}:${text}`, got: quoted(step.kind) });
    }
    return { ...step, yields };
  }
  if (rest.expected !== null) {
    rest.fail({
      field: '->',
      expected: 'nothing: what is expected of a call stands where it begins',
      got: quoted(rest.expected),
    });
  }
  return { kind: 'run', cpu, yields };
}

/** `@cpu0 drain`, `@cpu0 drain 2`. */
function parseDrain(rest: Line, cpu: number): Step {
  const text = rest.words.shift();
  if (text !== undefined && !SMALL.test(text))
    rest.fail({ field: 'store', expected: 'a number, 0 for the oldest', got: quoted(text) });
  rest.end();
  if (rest.expected !== null)
    rest.fail({ field: '->', expected: 'nothing: this step has no result', got: quoted(rest.expected) });
  return { kind: 'drain', cpu, ...(text !== undefined && Number(text) > 0 && { store: Number(text) }) };
}

function parseHost(rest: Line, cpu: number): Step {
  const word = rest.next('a step of the host');
  if (word === 'write') return parseWrite(rest, cpu);
  if (word === 'read') return parseRead(rest, cpu);
  if (word === 'topup') return parseTopup(rest, cpu);
  if (word === 'describe') return parseDescribe(rest, cpu);
  if (word === 'drain') return parseDrain(rest, cpu);
  if (word === 'hvc') return parseHvc(rest, cpu);
  if (word === 'guest_hvc') return parseGuestHvc(rest, cpu);
  if (rest.words[0] !== '=') return parseAnyCall(rest, cpu, word);
  rest.next('=');
  if (!isNameText(word)) rest.fail({ expected: 'a name such as vm1', got: quoted(word) });
  const name = rest.next('a call');
  const giving = [
    ...rest.profile.calls.filter(({ x1 }) => x1 === 'handleOrErrno').map((spec): string => spec.name),
    ...guestCalls.filter(({ x1 }) => x1 === 'domain').map((spec): string => spec.name),
  ];
  if (!giving.includes(name)) {
    rest.fail({
      field: word,
      expected: `${giving.join(' or ')}, which gives what a name can stand for`,
      got: quoted(name),
    });
  }
  return { ...parseAnyCall(rest, cpu, name), bind: word };
}

function parseAnyCall(rest: Line, cpu: number, name: string): Extract<Step, { kind: 'call' | 'guest' }> {
  return isGuestCallName(name) ? parseGuestCall(rest, cpu, name) : parseCall(rest, cpu, name);
}

/** Every argument by name: what is given, else 0. */
function parseArguments(
  rest: Line,
  spec: Pick<CallSpec, 'args'>,
  name: string,
  call: CallName | null,
): Record<string, Value> {
  const fields = rest.fields(
    spec.args.map((arg) => arg.name),
    name,
  );
  const args: Record<string, Value> = {};
  for (const { name: field, unit, type } of spec.args) {
    const text = fields.get(field);
    args[field] = text === undefined ? 0 : rest.value(text, field, unit, call, type === 'i32');
  }
  return args;
}

function parseGuestCall(rest: Line, cpu: number, call: GuestCallName): Extract<Step, { kind: 'guest' }> {
  const spec = guestCallNamed(call);
  return { kind: 'guest', cpu, call, args: parseArguments(rest, spec, call, null), ...rest.expectGuest(spec.x1) };
}

function parseCall(rest: Line, cpu: number, call: string): Extract<Step, { kind: 'call' }> {
  const { profile } = rest;
  if (!profile.has(call)) {
    const known = profile.calls.map(({ name }) => name).join(', ');
    const guests = guestCalls.map(({ name }) => name).join(', ');
    const expected = `write, read, topup, describe, hvc, a call (${known}), guest_hvc or a guest's call (${guests})`;
    return rest.fail({ expected, got: quoted(call) });
  }
  const spec = profile.call(call);
  return {
    kind: 'call',
    cpu,
    call: spec.name,
    args: parseArguments(rest, spec, call, spec.name),
    ...rest.expectCall(spec.x1),
  };
}

function parseRegisters(rest: Line, of: string): Value[] {
  const names = Array.from({ length: 8 }, (_, n) => `x${n}`);
  const fields = rest.fields(names, of);
  if (!fields.has('x0')) rest.fail({ field: 'x0', expected: 'a function id' });
  const registers = names.map((name) => rest.value(fields.get(name) ?? '0', name, 'pa'));
  while (registers.at(-1) === 0 && registers.length > 1) registers.pop();
  return registers;
}

function parseHvc(rest: Line, cpu: number): Step {
  const registers = parseRegisters(rest, 'hvc');
  return { kind: 'hvc', cpu, registers, ...rest.expectCall(hvcKind(registers, rest.profile)) };
}

function parseGuestHvc(rest: Line, cpu: number): Step {
  const registers = parseRegisters(rest, 'guest_hvc');
  return { kind: 'guestHvc', cpu, registers, ...rest.expectGuest(guestHvcKind(registers)) };
}

function parseWrite(rest: Line, cpu: number): Step {
  const at = rest.value(rest.next('an address'), 'address', 'pa');
  const value = rest.value(rest.next('a value'), 'value', 'flags');
  const width = parseWidth(rest);
  return { kind: 'write', cpu, at, value, ...width, ...rest.expect(parseAccessExpectation, ACCESS) };
}

function parseRead(rest: Line, cpu: number): Step {
  const at = rest.value(rest.next('an address'), 'address', 'pa');
  const { width } = parseWidth(rest);
  const forms = `a number of ${8 * (width ?? 4)} bits, abort or bus error`;
  const expected = rest.expect((text) => parseReadExpectation(text, width), forms);
  return { kind: 'read', cpu, at, ...(width !== undefined && { width }), ...expected };
}

/** `width=1`, 2, 4 or 8 at the end, if it is there. */
function parseWidth(rest: Line): { width?: OtherWidth } {
  const text = rest.fields(['width'], 'an access').get('width');
  if (text === undefined || text === '4') return {};
  if (text !== '1' && text !== '2' && text !== '8') {
    return rest.fail({ field: 'width', expected: '1, 2, 4 or 8', got: quoted(text) });
  }
  return { width: Number(text) as OtherWidth };
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
  if (access === 'stops' || access === 'answers') return parseSmmu(rest, device, access);
  if (!isNameText(device) || (access !== 'read' && access !== 'write')) {
    const got = quoted([device, access ?? ''].join(' ').trim());
    return rest.fail({
      expected:
        '@cpuN and a step of the host, DEVICE read, DEVICE write, SMMU stops answering, SMMU answers again, or expect',
      got,
    });
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

/** `smmu0 stops answering`, `smmu0 answers again`. */
function parseSmmu(rest: Line, smmu: string, verb: 'stops' | 'answers'): Step {
  const object = verb === 'stops' ? 'answering' : 'again';
  const word = rest.next(object);
  if (!isNameText(smmu) || word !== object)
    rest.fail({ expected: `SMMU ${verb} ${object}`, got: quoted(`${smmu} ${verb} ${word}`) });
  rest.end();
  if (rest.expected !== null)
    rest.fail({ field: '->', expected: 'nothing: this step has no result', got: quoted(rest.expected) });
  return { kind: 'smmu', smmu, answers: verb === 'answers' };
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
