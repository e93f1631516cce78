/** The journaled primitives beside plain writes: an edit of a file's words, and compare-and-exchange. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PhysicalMemory } from '#machine/memory';

const BASE = 0x40000000;

function memory(): PhysicalMemory {
  return new PhysicalMemory([{ base: BASE, size: 0x10000 }]);
}

test('undo takes back what an edit wrote, and the hash follows', () => {
  const m = memory();
  const file = m.allocFile(16);
  m.put(file + 3, 7);
  const before = m.stateHash();
  const mark = m.mark();
  const words = m.edit(file, 16);
  words[file] = 1;
  words[file + 3] = 2;
  words[file + 15] = 3;
  expect(m.stateHash()).not.toBe(before);
  expect(m.changesSince(mark).map(({ index, old, now }) => [index - file, old, now])).toEqual([
    [0, 0, 1],
    [3, 7, 2],
    [15, 0, 3],
  ]);
  m.undo(mark);
  expect([...m.words.subarray(file, file + 16)]).toEqual([0, 0, 0, 7, ...new Array(12).fill(0)]);
  expect(m.stateHash()).toBe(before);
});

test('compare-and-exchange writes only over the value expected, is seen by observers and undone', () => {
  const m = memory();
  const seen: number[][] = [];
  const bit = m.observe({ wrote: (pa, _slot, oldHi, oldLo, hi, lo) => seen.push([pa, oldHi, oldLo, hi, lo]) });
  m.watch(BASE, bit);
  const hash = m.stateHash();
  const mark = m.mark();
  expect(m.compareExchange32(BASE + 12, 5, 9)).toBe(0);
  expect(m.read32(BASE + 12)).toBe(0);
  expect(seen).toEqual([]);
  expect(m.compareExchange32(BASE + 12, 0, 9)).toBe(0);
  expect(m.read32(BASE + 12)).toBe(9);
  expect(seen).toEqual([[BASE + 8, 0, 0, 9, 0]]);
  expect(m.compareExchange32(BASE + 0x2000, 0, -1)).toBe(0);
  expect(m.stateHash()).not.toBe(hash);
  m.undo(mark);
  expect(m.read32(BASE + 12)).toBe(0);
  expect(m.read32(BASE + 0x2000)).toBe(0);
  expect(m.stateHash()).toBe(hash);
});

const PAGE = 4096;
const WORDS = PAGE / 4;

/** What may be done to one page, and undone again. */
const act = fc.oneof(
  fc.record({ kind: fc.constant('word' as const), at: fc.nat(WORDS - 1), value: fc.integer({ min: -2, max: 2 }) }),
  fc.record({ kind: fc.constant('exchange' as const), at: fc.nat(WORDS - 1), value: fc.integer({ min: 0, max: 2 }) }),
  fc.record({
    kind: fc.constant('words' as const),
    at: fc.nat(WORDS / 2 - 1),
    value: fc.integer({ min: 0, max: 200 }),
  }),
  fc.record({ kind: fc.constant('run' as const), at: fc.nat(WORDS / 2 - 1), value: fc.integer({ min: 0, max: 200 }) }),
  fc.record({
    kind: fc.constant('clear' as const),
    at: fc.nat(WORDS / 2 - 1),
    value: fc.integer({ min: 0, max: 200 }),
  }),
  fc.record({ kind: fc.constant('zero' as const), at: fc.constant(0), value: fc.constant(0) }),
  fc.record({ kind: fc.constant('hash' as const), at: fc.constant(0), value: fc.constant(0) }),
  fc.record({ kind: fc.constant('watch' as const), at: fc.constant(0), value: fc.nat(1) }),
  fc.record({ kind: fc.constant('mark' as const), at: fc.constant(0), value: fc.constant(0) }),
  fc.record({ kind: fc.constant('undo' as const), at: fc.constant(0), value: fc.nat(3) }),
);
type Act = typeof act extends fc.Arbitrary<infer T> ? T : never;

/** Performs an act on the page at BASE. A run or a run of words has up to `value` 64-bit words. */
function perform(m: PhysicalMemory, { kind, at, value }: Act, bit: number, marks: number[]): void {
  const count = Math.min(Math.max(1, value), WORDS / 2 - at);
  if (kind === 'word') m.write32(BASE + 4 * at, value);
  else if (kind === 'exchange') m.compareExchange32(BASE + 4 * at, 0, value);
  else if (kind === 'words')
    m.writeWords(
      BASE + 8 * at,
      Int32Array.from({ length: WORDS }, (_, i) => i % 3),
      2 * count,
    );
  else if (kind === 'run') m.writeRun(BASE + 8 * at, count, 0, 0, 4096);
  else if (kind === 'clear') m.writeRun(BASE + 8 * at, count, 0, 0, 0);
  else if (kind === 'zero') m.zeroPage(BASE);
  else if (kind === 'hash') m.stateHash();
  else if (kind === 'watch') m.setWatched(m.slotForWrite(BASE), bit, value === 1);
  else if (kind === 'mark') marks.push(m.mark());
  else if (marks.length > value) {
    marks.length = value + 1;
    m.undo(marks[value]!);
  }
}

test('what is said to be blank is zero, whatever was written, zeroed and undone', () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 40 }), (acts) => {
      const m = memory();
      const bit = m.observe({ wrote: () => {} });
      const marks = [m.mark()];
      for (const one of acts) {
        perform(m, one, bit, marks);
        const first = m.indexOf(BASE);
        const page = m.words.subarray(first, first + WORDS);
        for (let at = 0; at < WORDS; at += 7) {
          const blanks = m.blanksFrom(first + at);
          expect(at + blanks).toBeLessThanOrEqual(WORDS);
          expect(page.subarray(at, at + blanks).every((word) => word === 0)).toBe(true);
          const isZero = page.subarray(at).every((word) => word === 0);
          expect(m.isZeroFrom(BASE + 4 * at)).toBe(isZero);
        }
      }
      m.undo(marks[0]!);
      expect(m.blanksFrom(m.indexOf(BASE))).toBe(WORDS);
    }),
    { numRuns: 30 },
  );
});

test('zeroing costs the journal what was written, not the page', () => {
  const m = memory();
  m.mark();
  m.write64(BASE + 8, 1, 2);
  const before = m.logged;
  m.zeroPage(BASE);
  expect(m.read32(BASE + 8)).toBe(0);
  expect(m.logged - before).toBeLessThan(50);
  const empty = m.logged;
  m.zeroPage(BASE);
  expect(m.logged).toBe(empty);
});

test('words are read and written as runs within their page', () => {
  const m = memory();
  const into = new Int32Array(4);
  m.writeWords(BASE + 16, Int32Array.of(1, 2, 3, 4, 5), 4);
  m.readWords(BASE + 16, into, 4);
  expect([...into]).toEqual([1, 2, 3, 4]);
  expect(m.read32(BASE + 32)).toBe(0);
  m.readWords(BASE + 8 * PAGE, into, 4);
  expect([...into]).toEqual([0, 0, 0, 0]);
  expect(() => m.writeWords(BASE + PAGE - 8, into, 4)).toThrow(RangeError);
});

test('a watch that is journaled begins and ends with what is undone', () => {
  const m = memory();
  const seen: number[] = [];
  const bit = m.observe({ wrote: (pa) => seen.push(pa) });
  const slot = m.slotForWrite(BASE);
  const write = (value: number): boolean => {
    seen.length = 0;
    m.write32(BASE + 4, value);
    return seen.length === 1;
  };
  const unwatched = m.mark();
  expect(write(1)).toBe(false);
  m.setWatched(slot, bit, true);
  expect(write(2)).toBe(true);
  const watched = m.mark();
  m.setWatched(slot, bit, false);
  expect(write(3)).toBe(false);
  m.undo(watched);
  expect(write(4)).toBe(true);
  m.undo(unwatched);
  expect(write(5)).toBe(false);
});

test('runs of the journal say what words held before', () => {
  const m = memory();
  m.write32(BASE, 7);
  const mark = m.mark();
  m.write32(BASE, 8);
  m.writeRun(BASE + 16, 2, 0, 1, 1);
  const runs: number[][] = [];
  m.eachLoggedRun(mark, (start, count, log, at) => {
    runs.push([start - m.indexOf(BASE), ...log.subarray(at, at + count)]);
  });
  expect(runs).toEqual([
    [4, 0, 0, 0, 0],
    [0, 7],
  ]);
});

test('an observer may take a run at once, or have it word by word', () => {
  const m = memory();
  const runs: number[][] = [];
  const single: number[] = [];
  const taking = m.observe({
    wrote: (pa) => single.push(pa),
    wroteRun: (pa, _slot, old, count) => runs.push([pa, ...old.subarray(0, count)]) > 0,
  });
  const refusing = m.observe({ wrote: (pa) => single.push(-pa), wroteRun: () => false });
  m.watch(BASE, taking);
  m.watch(BASE, refusing);
  m.write64(BASE + 8, 0, 1);
  expect(single.splice(0)).toEqual([BASE + 8, -(BASE + 8)]);
  m.writeRun(BASE, 3, 0, 1, 0);
  expect(runs).toEqual([[BASE, 0, 0, 1, 0, 0, 0]]);
  // The second word was 1 before.
  expect(single).toEqual([-BASE, -(BASE + 16)]);
});

test('an addition to words of a file goes over the borders of its pages, and is undone', () => {
  const m = memory();
  const file = m.allocFile(3 * WORDS);
  m.put(file + WORDS, 5);
  const mark = m.mark();
  m.addRun(file + WORDS - 2, WORDS + 4, 3);
  const at = (i: number): number => m.words[file + i]!;
  expect([WORDS - 3, WORDS - 2, WORDS, 2 * WORDS + 1, 2 * WORDS + 2].map(at)).toEqual([0, 3, 8, 3, 0]);
  m.undo(mark);
  expect([WORDS - 2, WORDS, 2 * WORDS + 1].map(at)).toEqual([0, 5, 0]);
});
