/** The journaled primitives beside plain writes: an edit of a file's words, and compare-and-exchange. */

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
