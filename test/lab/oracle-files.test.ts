/** The oracle's journaled containers against plain JavaScript ones, with undo anywhere. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { JournaledTable } from '#lab/oracle/journaled-table';
import { LEAF_BYTES, Maplets } from '#lab/oracle/maplets';
import { RecordFile } from '#lab/oracle/record-file';
import { PhysicalMemory } from '#machine/memory';

const memory = (): PhysicalMemory => new PhysicalMemory([{ base: 0, size: 0x10000 }]);

/** Few keys, so that they meet; many, so that tables grow. */
const key = fc.integer({ min: 0, max: 60 });
const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), key, value: fc.integer() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('remove' as const), key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('mark' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('undo' as const) }) },
);

test('a journaled table is a map, and undo takes it back', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 400 }), (operations) => {
      const mem = memory();
      const table = new JournaledTable(mem, 2);
      let model = new Map<number, number>();
      const marks: { mark: number; model: Map<number, number> }[] = [];
      for (const op of operations) {
        if (op.kind === 'put') {
          // Two keys for each number: the second key word must count too.
          const at = table.insert(op.key >> 1, op.key & 1);
          mem.put(at, op.value);
          mem.put(at + 1, ~op.value);
          model.set(op.key, op.value);
        } else if (op.kind === 'remove') {
          expect(table.remove(op.key >> 1, op.key & 1)).toBe(model.delete(op.key));
        } else if (op.kind === 'mark') {
          marks.push({ mark: mem.mark(), model: new Map(model) });
        } else {
          const last = marks.pop();
          if (last === undefined) continue;
          mem.undo(last.mark);
          model = last.model;
        }
        expect(table.size).toBe(model.size);
      }
      const seen = new Map<number, number>();
      table.forEach((key0, key1, at) => {
        expect(mem.words[at + 1]).toBe(~mem.words[at]!);
        seen.set(2 * key0 + key1, mem.words[at]!);
      });
      expect(seen).toEqual(model);
      for (let k = 0; k <= 60; k++) {
        const at = table.find(k >> 1, k & 1);
        expect(at < 0 ? undefined : mem.words[at]).toBe(model.get(k));
      }
    }),
    { numRuns: 60 },
  );
});

test('a new entry of a table is zero, also where another stood before', () => {
  const mem = memory();
  const table = new JournaledTable(mem, 2);
  mem.put(table.insert(7, 0) + 1, 99);
  table.remove(7, 0);
  expect(mem.words[table.insert(7, 0) + 1]).toBe(0);
});

test('records are handed out zeroed, each to one holder, also across undo', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 200 }), (choices) => {
      const mem = memory();
      const file = new RecordFile(mem, 3, 2);
      let held: number[] = [];
      const marks: { mark: number; held: number[] }[] = [];
      for (const choice of choices) {
        if (choice < 5) {
          const id = file.alloc();
          expect(held).not.toContain(id);
          for (let i = 0; i < 3; i++) {
            expect(mem.words[file.at(id) + i]).toBe(0);
            mem.put(file.at(id) + i, id + i);
          }
          held.push(id);
        } else if (choice < 8) {
          const id = held.shift();
          if (id !== undefined) file.free(id);
        } else if (choice === 8) {
          marks.push({ mark: mem.mark(), held: [...held] });
        } else {
          const last = marks.pop();
          if (last === undefined) continue;
          mem.undo(last.mark);
          held = last.held;
        }
        for (const id of held) expect(mem.words[file.at(id) + 2]).toBe(id + 2);
      }
    }),
    { numRuns: 100 },
  );
});

test('a set of maplets is a map from address to leaf, in order, without leaves over leaves', () => {
  // Places around the borders of tables of every level.
  const place = fc.record({
    level: fc.constantFrom(3, 3, 3, 2, 1),
    slot: fc.constantFrom(0, 1, 511, 512, 513, 262143, 262144, 2 ** 27 - 1, 2 ** 27, 2 ** 36 - 1),
  });
  const change = fc.record({ place, put: fc.boolean(), target: fc.integer({ min: 0, max: 2 ** 36 - 1 }) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 120 }), (changes) => {
      const mem = memory();
      const maplets = new Maplets(mem);
      const root = maplets.make();
      const model = new Map<number, { level: number; target: number }>();
      for (const { place: at, put, target } of changes) {
        const span = LEAF_BYTES[at.level]!;
        const iova = Math.floor((at.slot * 4096) / span) * span;
        const inWay = [...model].some(([other, leaf]) => other < iova + span && iova < other + LEAF_BYTES[leaf.level]!);
        if (put && !inWay) {
          maplets.insert(root, iova, at.level, target, at.level * 5);
          model.set(iova, { level: at.level, target });
        } else if (!put && model.get(iova)?.level === at.level) {
          maplets.remove(root, iova, at.level);
          model.delete(iova);
        }
        const entry = maplets.find(root, iova, at.level);
        expect(maplets.isLeaf(entry) && maplets.level === at.level).toBe(model.get(iova)?.level === at.level);
      }
      const found: [number, { level: number; target: number }][] = [];
      maplets.forEach(root, (iova, level, at) => {
        expect(maplets.meaning(at)).toBe(level * 5);
        found.push([iova, { level, target: maplets.targetPage(at) }]);
      });
      expect(found).toEqual([...model].sort(([a], [b]) => a - b));
    }),
    { numRuns: 40 },
  );
});
