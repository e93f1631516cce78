/**
 * Simpler forms of a list of steps, each smaller than the list by a measure that cannot fall for ever: fewer distinct
 * names, CPU 0, smaller numbers, fewer protection bits, no offsets, shorter runs of pages.
 */

import { callNamed } from '#hypercall-abi';
import type { Step, Value } from './types.ts';
import { isBig, isName, isPage, pageRef } from './value.ts';
import { wordsFor } from './words.ts';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';

/** Candidates, the boldest first. */
export function* simplerSteps(steps: readonly Step[]): Generator<readonly Step[]> {
  yield* fewerNames(steps);
  if (steps.some((step) => 'cpu' in step && step.cpu > 0)) {
    yield steps.map((step) => ('cpu' in step ? { ...step, cpu: 0 } : step));
  }
  for (let i = 0; i < steps.length; i++) {
    for (const simpler of simplerStep(steps[i]!)) yield [...steps.slice(0, i), simpler, ...steps.slice(i + 1)];
  }
}

/** What a name stands for, as far as its place tells: names of different kinds are never merged. */
function nameKind(step: Step, field: string): string {
  if (step.kind !== 'call') return 'vm';
  const unit = callNamed(step.call).args.find(({ name }) => name === field)?.unit;
  return unit === 'domain' ? 'domain' : unit === 'stream' ? 'device' : 'vm';
}

/** Every name of the steps, by kind, in the order of first appearance. */
function namesOf(steps: readonly Step[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  const add = (kind: string, name: string): void => {
    const known = names.get(kind) ?? [];
    if (!known.includes(name)) names.set(kind, [...known, name]);
  };
  for (const step of steps) {
    if (step.kind === 'dma') add('device', step.device);
    if (step.kind === 'call' && step.bind !== undefined) add('vm', step.bind);
    mapValues(step, (value, field) => {
      if (isPage(value)) add('page', value.page);
      if (isName(value)) add(nameKind(step, field), value.name);
      return value;
    });
  }
  return names;
}

/** One name of a kind takes the place of another. */
function* fewerNames(steps: readonly Step[]): Generator<readonly Step[]> {
  for (const [kind, names] of namesOf(steps)) {
    for (let i = names.length - 1; i > 0; i--) {
      for (let k = 0; k < i; k++) yield steps.map((step) => renamed(step, kind, names[i]!, names[k]!));
    }
  }
}

function renamed(step: Step, kind: string, from: string, to: string): Step {
  let changed = mapValues(step, (value, field) => {
    if (kind === 'page' && isPage(value) && value.page === from) return { ...value, page: to };
    if (isName(value) && value.name === from && nameKind(step, field) === kind) return { name: to };
    return value;
  });
  if (kind === 'device' && changed.kind === 'dma' && changed.device === from) changed = { ...changed, device: to };
  if (kind === 'vm' && changed.kind === 'call' && changed.bind === from) changed = { ...changed, bind: to };
  return changed;
}

/** The same steps with names in order: pages a, b, c, domains d1, d2, VMs vm1, vm2. What they stand for stays the same. */
export function orderlyNames(steps: readonly Step[]): readonly Step[] {
  const names = namesOf(steps);
  const pages = new Map((names.get('page') ?? []).map((name, i) => [name, i < 26 ? LETTERS[i]! : `p${i}`]));
  const domains = new Map((names.get('domain') ?? []).map((name, i) => [name, `d${i + 1}`]));
  const vms = new Map((names.get('vm') ?? []).map((name, i) => [name, `vm${i + 1}`]));
  return steps.map((step) => {
    const changed = mapValues(step, (value, field) => {
      if (isPage(value)) return { ...value, page: pages.get(value.page)! };
      if (!isName(value)) return value;
      const kind = nameKind(step, field);
      const known = kind === 'domain' ? domains : kind === 'vm' ? vms : null;
      return known === null ? value : { name: known.get(value.name)! };
    });
    if (changed.kind !== 'call' || changed.bind === undefined) return changed;
    return { ...changed, bind: vms.get(changed.bind)! };
  });
}

/** The step with every value mapped; the field is the argument's or the property's name. */
function mapValues(step: Step, map: (value: Value, field: string) => Value): Step {
  switch (step.kind) {
    case 'call': {
      const args: Record<string, Value> = {};
      for (const [name, value] of Object.entries(step.args)) args[name] = map(value, name);
      return { ...step, args };
    }
    case 'hvc':
      return { ...step, registers: step.registers.map((value, n) => map(value, `x${n}`)) };
    case 'write':
      return { ...step, at: map(step.at, 'at'), value: map(step.value, 'value') };
    case 'read':
      return { ...step, at: map(step.at, 'at') };
    case 'describe': {
      const { at, vm, isProtected, vcpus } = step;
      return {
        ...step,
        at: map(at, 'at'),
        vm: map(vm, 'vm'),
        isProtected: map(isProtected, 'isProtected'),
        vcpus: map(vcpus, 'vcpus'),
      };
    }
    case 'dma': {
      const iova = map(step.iova, 'iova');
      return step.value === undefined ? { ...step, iova } : { ...step, iova, value: map(step.value, 'value') };
    }
    default:
      return step;
  }
}

function* simplerStep(step: Step): Generator<Step> {
  if ('cpu' in step && step.cpu > 0) yield { ...step, cpu: 0 };
  if (step.kind === 'topup') {
    for (const chunks of smallerNumbers(step.chunks)) if (chunks > 0) yield { ...step, chunks };
    for (const order of smallerNumbers(step.order)) yield { ...step, order };
  }
  if (step.kind === 'dma' && step.cached) {
    const { cached: _, ...rest } = step;
    yield rest;
  }
  // Collected first: a candidate replaces one value and leaves the others.
  const fields: [string, Value][] = [];
  mapValues(step, (value, field) => {
    fields.push([field, value]);
    return value;
  });
  for (const [field, value] of fields) {
    for (const simpler of simplerValues(step, field, value)) {
      yield mapValues(step, (old, name) => (name === field ? simpler : old));
    }
  }
}

function* simplerValues(step: Step, field: string, value: Value): Generator<Value> {
  if (isPage(value)) {
    yield* simplerPages(value);
  } else if (isBig(value)) {
    yield 0;
    yield Number(BigInt(value.big) & 0xfffff000n);
  } else if (typeof value === 'number') {
    // A device's and a CPU's access stays aligned.
    const unaligned = field !== 'at' && !(step.kind === 'dma' && field === 'iova');
    for (const simpler of isBits(step, field) ? fewerBits(value) : smallerNumbers(value)) {
      if (unaligned || simpler % 4 === 0) yield simpler;
    }
  }
}

function isBits(step: Step, field: string): boolean {
  if (step.kind !== 'call') return false;
  const unit = callNamed(step.call).args.find(({ name }) => name === field)?.unit;
  return unit !== undefined && (wordsFor(unit, step.call)?.isBits ?? false);
}

function* simplerPages({ page, run = 1, offset = 0, byte = 0 }: Extract<Value, { page: string }>): Generator<Value> {
  if (byte > 0) yield pageRef(page, run, offset, 0);
  for (const smaller of smallerNumbers(offset)) yield pageRef(page, run, smaller, byte);
  if (run > 1) {
    yield pageRef(page, 1, offset, byte);
    yield pageRef(page, run / 2, offset, byte);
  }
}

/** Zero, one, halves, a page down, one less: all smaller, and none negative. A negative number becomes 0. */
function* smallerNumbers(value: number): Generator<number> {
  if (value < 0) yield 0;
  if (value <= 0) return;
  const seen = new Set([value]);
  const tries = [0, 1, value % 0x200000, value - (value % 4096), Math.floor(value / 2), value - 4096, value - 1];
  for (const smaller of tries) {
    if (smaller < 0 || smaller >= value || seen.has(smaller)) continue;
    seen.add(smaller);
    yield smaller;
  }
}

function* fewerBits(value: number): Generator<number> {
  if (value > 2 ** 31) yield 0;
  for (let bit = 1; bit <= value && bit < 2 ** 31; bit *= 2) if ((value & bit) !== 0) yield value - bit;
}
