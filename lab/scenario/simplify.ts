/**
 * Simpler forms of a list of steps, each smaller than the list by a measure that cannot fall for ever: fewer distinct
 * names, CPU 0, smaller numbers, fewer protection bits, no offsets, shorter runs of pages.
 */

import { type ArgumentSpec, firstGuestArgument, PoolId, type Profile, unitOf } from '#hypercall-abi';
import { callOfRegisters, guestCallOfRegisters } from './print.ts';
import { mapValues, namesOf, renamed } from './rename.ts';
import type { CallStep, Step, Value } from './types.ts';
import { isBig, isPage, pageRef } from './value.ts';
import { wordsFor } from './words.ts';

const PAGE = 0x1000;
const BLOCK = 0x200000;
/** Numbers up to this, and as many pages, are counted down one by one. */
const FEW = 64;

/** Candidates, the boldest first. @param profile what registers mean; the default one when left out */
export function* simplerSteps(steps: readonly Step[], profile?: Profile): Generator<readonly Step[]> {
  yield* fewerTopups(steps);
  yield* fewerNames(steps);
  if (steps.some((step) => 'cpu' in step && step.cpu > 0)) {
    yield steps.map((step) => ('cpu' in step ? { ...step, cpu: 0 } : step));
  }
  yield* simplerTogether(steps);
  for (let i = 0; i < steps.length; i++) {
    for (const simpler of simplerStep(steps[i]!, profile)) yield [...steps.slice(0, i), simpler, ...steps.slice(i + 1)];
  }
}

/** Two top-ups of one pool become one. */
function* fewerTopups(steps: readonly Step[]): Generator<readonly Step[]> {
  for (let i = 0; i < steps.length; i++) {
    const first = steps[i]!;
    if (first.kind !== 'topup') continue;
    for (let k = i + 1; k < steps.length; k++) {
      const second = steps[k]!;
      if (second.kind !== 'topup' || second.pool !== first.pool || second.order !== first.order) continue;
      yield steps.with(i, { ...first, chunks: first.chunks + second.chunks }).toSpliced(k, 1);
    }
  }
}

/** Arguments that mean the same place or size in several steps, and so must change in all of them at once. */
const SHARED_FIELDS = ['iova', 'pgsize', 'gfn', 'ipa', 'vsid', 'pviommu'];

/** Those of them that are aligned to pages. */
const PAGE_FIELDS: ReadonlySet<string> = new Set(['iova', 'pgsize', 'gfn', 'ipa']);

function* simplerTogether(steps: readonly Step[]): Generator<readonly Step[]> {
  for (const shared of SHARED_FIELDS) {
    const places = new Map<number, number>();
    for (const step of steps) {
      mapValues(step, (value, field) => {
        if (field === shared && typeof value === 'number') places.set(value, (places.get(value) ?? 0) + 1);
        return value;
      });
    }
    for (const [value, count] of places) {
      if (count < 2) continue;
      for (const smaller of smallerNumbers(value)) {
        if (smaller % PAGE !== 0 && PAGE_FIELDS.has(shared)) continue;
        yield steps.map((step) => mapValues(step, (old, field) => (field === shared && old === value ? smaller : old)));
      }
    }
  }
}

/** One name of a kind takes the place of another. */
function* fewerNames(steps: readonly Step[]): Generator<readonly Step[]> {
  for (const [kind, names] of namesOf(steps)) {
    for (let i = names.length - 1; i > 0; i--) {
      for (let k = 0; k < i; k++) yield steps.map((step) => renamed(step, kind, names[i]!, names[k]!));
    }
  }
}

function* simplerStep(step: Step, profile: Profile | undefined): Generator<Step> {
  yield* simplerSchedule(step);
  if ('cpu' in step && step.cpu > 0) yield { ...step, cpu: 0 };
  if (step.kind === 'topup') {
    for (const chunks of smallerNumbers(step.chunks)) if (chunks > 0) yield { ...step, chunks };
    if (step.order > 0) yield { ...step, chunks: step.chunks * 2 ** step.order, order: 0 };
    for (const order of smallerNumbers(step.order)) yield { ...step, order };
  }
  if (step.kind === 'call' && step.call === 'alloc_mgt_refill') {
    const pool = step.args.pool === PoolId.heap ? 'heap' : 'iommu';
    yield { kind: 'topup', cpu: step.cpu, pool, chunks: 1, order: 0 };
  }
  if (step.kind === 'call') yield* laterStart(step);
  if (step.kind === 'dma' && step.cached) {
    const { cached: _, ...rest } = step;
    yield rest;
  }
  if (step.kind === 'dma' && step.pasid !== undefined) {
    const { pasid, ...rest } = step;
    yield rest;
    for (const smaller of smallerNumbers(pasid)) yield { ...step, pasid: smaller };
  }
  if ((step.kind === 'write' || step.kind === 'read') && step.width !== undefined) {
    const { width: _, ...rest } = step;
    if (isAlignedTo4(step.at)) yield rest;
  }
  if (step.kind === 'hvc') {
    const spec = callOfRegisters(step.registers, profile);
    if (spec !== undefined) {
      yield { kind: 'call', cpu: step.cpu, call: spec.name, args: argumentsIn(step.registers, spec.args, 1) };
    }
  }
  if (step.kind === 'guestHvc') {
    const spec = guestCallOfRegisters(step.registers);
    if (spec !== undefined) {
      const args = argumentsIn(step.registers, spec.args, firstGuestArgument(spec));
      yield { kind: 'guest', cpu: step.cpu, call: spec.name, args };
    }
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

/** A call that runs to its end, or that stops earlier; the oldest store. */
function* simplerSchedule(step: Step): Generator<Step> {
  if (step.kind === 'run') {
    if (step.yields !== 'end') for (const yields of smallerNumbers(step.yields)) yield { ...step, yields };
  } else if (step.kind === 'drain') {
    const { store = 0, ...rest } = step;
    if (store > 0) yield rest;
  } else if ('yields' in step && step.yields !== undefined) {
    const { yields, ...rest } = step;
    yield rest;
    for (const smaller of smallerNumbers(yields)) yield { ...step, yields: smaller };
  }
}

/** What registers from x[first] hold, by argument. */
function argumentsIn(registers: readonly Value[], args: readonly ArgumentSpec[], first: number): Record<string, Value> {
  return Object.fromEntries(args.map(({ name }, n): [string, Value] => [name, registers[n + first] ?? 0]));
}

function isAlignedTo4(at: Value): boolean {
  return isPage(at) ? (at.byte ?? 0) % 4 === 0 : typeof at === 'number' && at % 4 === 0;
}

/** The same end with a later start: what matters is often the border that a range crosses. */
function* laterStart(step: CallStep): Generator<Step> {
  const { iova, pgsize, pgcount } = step.args;
  if (typeof iova !== 'number' || typeof pgsize !== 'number' || typeof pgcount !== 'number') return;
  if (iova + pgsize * pgcount > 2 ** 52) return;
  for (const skipped of new Set([Math.floor(pgcount / 2), 1])) {
    if (skipped === 0 || skipped >= pgcount) continue;
    yield { ...step, args: { ...step.args, iova: iova + pgsize * skipped, pgcount: pgcount - skipped } };
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
    const width = ('width' in step && step.width) || 4;
    for (const simpler of isBits(step, field) ? fewerBits(value) : smallerNumbers(value)) {
      if (unaligned || simpler % width === 0) yield simpler;
    }
  }
}

function isBits(step: Step, field: string): boolean {
  if (step.kind === 'guest') return field === 'prot';
  if (step.kind !== 'call') return false;
  const unit = unitOf(step.call, field);
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

/**
 * Smaller numbers, none negative: zero and one, the highest bit alone, parts and halves, the lowest bit gone; one page
 * and one less only where that soon comes to an end.
 */
function* smallerNumbers(value: number): Generator<number> {
  if (value < 0) yield 0;
  if (value <= 0) return;
  const highest = 2 ** Math.floor(Math.log2(value));
  const tries = [
    0,
    1,
    PAGE,
    highest,
    value % BLOCK,
    value - (value % PAGE),
    Math.floor(value / 2),
    value - lowestBit(value),
  ];
  if (value <= FEW * PAGE) tries.push(value - PAGE);
  if (value <= FEW) tries.push(value - 1);
  const seen = new Set([value]);
  for (const smaller of tries) {
    if (smaller < 0 || smaller >= value || seen.has(smaller)) continue;
    seen.add(smaller);
    yield smaller;
  }
}

function lowestBit(value: number): number {
  let bit = 1;
  while (value % (2 * bit) === 0) bit *= 2;
  return bit;
}

function* fewerBits(value: number): Generator<number> {
  if (value > 2 ** 31) yield 0;
  for (let bit = 1; bit <= value && bit < 2 ** 31; bit *= 2) if ((value & bit) !== 0) yield value - bit;
}
