/** Fetching structures during a walk, and keeping account of it. */
import { EventCode, type EventName } from '../oracle/decode/event.ts';
import { decodeFields, type Field, type Word64 } from '../oracle/decode/fields.ts';
import type { Beneath, Faulted, WalkStep } from './result.ts';
import type { MemorySource } from './source.ts';

/** A walk ends early by throwing its outcome; nothing outside `lab/walk` sees one. */
export class WalkEnd extends Error {
  readonly fault: Omit<Faulted, 'recorded'>;

  constructor(fault: Omit<Faulted, 'recorded'>) {
    super(fault.check);
    this.fault = fault;
  }
}

/** Ends the walk with a fault. */
export function fault(
  event: EventName,
  check: string,
  where: Partial<Pick<Faulted, 'stage' | 'class' | 'level' | 'ipa'>> = {},
): never {
  throw new WalkEnd({
    kind: 'fault',
    event,
    code: EventCode[event],
    stage: null,
    class: null,
    level: null,
    ipa: null,
    ...where,
    check,
  });
}

/** The words of a structure as int32s, low half first, or null when the fetch aborts. */
export function fetchWords(memory: MemorySource, address: number, count: number): Int32Array | null {
  const words = new Int32Array(2 * count);
  for (let i = 0; i < count; i++) {
    const word = memory.read64(address + 8 * i);
    if (word === null) return null;
    words[2 * i] = word.lo;
    words[2 * i + 1] = word.hi;
  }
  return words;
}

/** Words that were read, and where from. */
export interface Fetched {
  /** Low half first; null when the fetch aborts. */
  readonly words: Int32Array | null;
  /** The physical address, when it was asked for at an IPA. */
  readonly pa: number | null;
}

/** Where a step stands: stage and level of a descriptor, and what stage 2 has to do with it. */
export interface Place {
  readonly stage?: 1 | 2;
  readonly level?: number;
  readonly pa?: number | null;
  readonly beneath?: Beneath | null;
}

/** One step of the account. */
export function step(
  kind: WalkStep['kind'],
  title: string,
  address: number,
  words: Int32Array | null,
  table: readonly Field[],
  note: string,
  { stage, level, pa, beneath }: Place = {},
): WalkStep {
  return {
    kind,
    title,
    stage: stage ?? null,
    level: level ?? null,
    address,
    pa: pa ?? null,
    beneath: beneath ?? null,
    words: words === null ? [] : pairs(words),
    fields: words === null ? [] : decodeFields(table, words),
    note,
  };
}

function pairs(words: Int32Array): Word64[] {
  return Array.from({ length: words.length / 2 }, (_, i) => ({ hi: words[2 * i + 1]!, lo: words[2 * i]! }));
}
