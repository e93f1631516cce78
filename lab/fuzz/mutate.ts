/** Changes inputs: records come, go, repeat, change places, or get other bytes; tails are taken from other inputs. */

import type { Prng } from '../random/prng.ts';
import { RECORD_BYTES } from './records.ts';

/** Bytes at which decisions tend to tip. */
const TIPPING = [0, 1, 127, 128, 254, 255];
/** How often a record is repeated at most. */
const REPEATS_MAX = 40;
/** Changes made to one input at most. */
const CHANGES_MAX = 6;

/** Records in a buffer: `length` bytes of it count. */
export interface Draft {
  readonly bytes: Uint8Array;
  length: number;
}

/** What new records begin with. */
export type RecipeChooser = () => number;

/**
 * Change a draft from byte `from` (the start of a record) on.
 * @param other another input, to take records from
 */
export function mutate(draft: Draft, from: number, prng: Prng, recipe: RecipeChooser, other: Uint8Array): void {
  for (let changes = prng.between(1, CHANGES_MAX); changes > 0; changes--) {
    const count = (draft.length - from) / RECORD_BYTES;
    const at = from + RECORD_BYTES * prng.below(count + 1);
    const isEnd = at === draft.length;
    const kind = prng.below(100);
    if (kind < 30 && !isEnd) changeBytes(draft, at, prng);
    else if (kind < 50) insert(draft, at, 1, () => fillRecord(draft.bytes, at, prng, recipe()));
    else if (kind < 58 && !isEnd) remove(draft, at, Math.min(draft.length - at, RECORD_BYTES * prng.between(1, 4)));
    else if (kind < 68 && !isEnd) draft.bytes[at] = recipe();
    else if (kind < 78 && !isEnd) copyWithin(draft, at, from + RECORD_BYTES * prng.below(count), prng.between(1, 4));
    else if (kind < 81 && !isEnd) repeat(draft, at, prng.between(2, REPEATS_MAX));
    else if (kind < 88 && count >= 2 && !isEnd) swap(draft, at, from + RECORD_BYTES * prng.below(count));
    else splice(draft, at, other, prng);
  }
}

/** A record of a recipe with random decisions. */
export function fillRecord(bytes: Uint8Array, at: number, prng: Prng, recipe: number): void {
  bytes[at] = recipe;
  for (let i = 1; i < RECORD_BYTES; i += 4) {
    const word = prng.next();
    for (let k = 0; k < 4 && i + k < RECORD_BYTES; k++) bytes[at + i + k] = word >>> (8 * k);
  }
}

function changeBytes({ bytes }: Draft, at: number, prng: Prng): void {
  for (let n = prng.between(1, 3); n > 0; n--) {
    const i = at + prng.between(1, RECORD_BYTES - 1);
    const kind = prng.below(4);
    if (kind === 0) bytes[i]! ^= 1 << prng.below(8);
    else if (kind === 1) bytes[i]! += prng.between(-16, 16);
    else if (kind === 2) bytes[i] = prng.pick(TIPPING);
    else bytes[i] = prng.next();
  }
}

/** Make room for `count` records; what has no more room is dropped. @param fill writes them */
function insert(draft: Draft, at: number, count: number, fill: () => void): void {
  const { bytes } = draft;
  const size = Math.min(count * RECORD_BYTES, bytes.length - at);
  if (size === 0) return;
  bytes.copyWithin(at + size, at, Math.min(draft.length, bytes.length - size));
  draft.length = Math.min(draft.length + size, bytes.length);
  fill();
}

function remove(draft: Draft, at: number, size: number): void {
  draft.bytes.copyWithin(at, at + size, draft.length);
  draft.length -= size;
}

/** Repeat up to `count` records of the draft at another place of it. */
function copyWithin(draft: Draft, at: number, source: number, count: number): void {
  const size = Math.min(count * RECORD_BYTES, draft.length - source, draft.bytes.length - at);
  const records = draft.bytes.slice(source, source + size);
  insert(draft, at, size / RECORD_BYTES, () => draft.bytes.set(records, at));
}

/** A record again and again: some limits are counted up to. */
function repeat(draft: Draft, at: number, times: number): void {
  const record = draft.bytes.slice(at, at + RECORD_BYTES);
  insert(draft, at, times, () => {
    for (let n = 0; n < times && at + (n + 1) * RECORD_BYTES <= draft.length; n++) {
      draft.bytes.set(record, at + n * RECORD_BYTES);
    }
  });
}

function swap({ bytes }: Draft, one: number, other: number): void {
  const record = bytes.slice(one, one + RECORD_BYTES);
  bytes.copyWithin(one, other, other + RECORD_BYTES);
  bytes.set(record, other);
}

/** From `at` on, some records of another input. */
function splice(draft: Draft, at: number, other: Uint8Array, prng: Prng): void {
  const count = other.length / RECORD_BYTES;
  if (count === 0) return;
  const first = prng.below(count);
  const taken = prng.between(1, count - first);
  const size = Math.min(taken * RECORD_BYTES, draft.bytes.length - at);
  draft.bytes.set(other.subarray(first * RECORD_BYTES, first * RECORD_BYTES + size), at);
  draft.length = Math.max(draft.length, at + size);
}
