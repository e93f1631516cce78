import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ADDRESS_LIMIT, AddressTree } from '../../hypercall-abi/life-cycles/address-tree.ts';

const PAGE = 4096;
const sizes = [1, 1, 1, 2, 3, 511, 512, 513, 1024];
const bases = [0, 2 ** 21, 2 ** 30 - 2 ** 21, ADDRESS_LIMIT - 2 ** 22];

const range = fc
  .tuple(fc.constantFrom(...bases), fc.nat({ max: 700 }), fc.constantFrom(...sizes))
  .map(([base, page, pages]) => ({ from: base + page * PAGE, pages }));
const target = fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 600 })).map(([mib, page]) => mib * 2 ** 21 + page * PAGE);
const operation = fc.oneof(
  fc.record({ kind: fc.constant('insert' as const), space: fc.nat({ max: 1 }), range, target }),
  fc.record({ kind: fc.constant('remove' as const), space: fc.nat({ max: 1 }), range, target }),
  fc.record({ kind: fc.constant('visit' as const), space: fc.nat({ max: 1 }), range, target }),
);

/** Pages of a run, one by one. */
function collect(into: number[]) {
  return {
    run: (pa: number, size: number) => {
      for (let at = pa; at < pa + size; at += PAGE) into.push(at);
    },
  };
}
const ascending = (a: number, b: number) => a - b;

test('a tree tells and forgets the same pages as a plain map of pages', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 24 }), (operations) => {
      const tree = new AddressTree(2);
      const model = [new Map<number, number>(), new Map<number, number>()];
      for (const { kind, space, range, target } of operations) {
        const pages = model[space]!;
        const gone: number[] = [];
        const expected: number[] = [];
        for (let i = 0; i < range.pages; i++) {
          const at = range.from + i * PAGE;
          const old = pages.get(at);
          if (old !== undefined) expected.push(old);
          if (kind === 'insert' && at < ADDRESS_LIMIT) pages.set(at, target + i * PAGE);
          else if (kind === 'remove') pages.delete(at);
        }
        const size = range.pages * PAGE;
        if (kind === 'insert') tree.insert(space, range.from, target, size, collect(gone));
        else if (kind === 'visit') tree.visit(space, range.from, size, collect(gone));
        else expect(tree.remove(space, range.from, size, collect(gone))).toBe(expected.length * PAGE);
        expect(gone.sort(ascending)).toEqual(expected.sort(ascending));
        expect(tree.lookup(space, range.from)).toBe(pages.get(range.from) ?? -1);
      }
      for (const space of [0, 1]) {
        const rest: number[] = [];
        tree.clear(space, collect(rest));
        expect(rest.sort(ascending)).toEqual([...model[space]!.values()].sort(ascending));
      }
    }),
    { numRuns: 300 },
  );
});

test('a gibibyte is one run, and stays whole but for what is taken out of it', () => {
  const tree = new AddressTree(1);
  const runs: [number, number][] = [];
  const sink = { run: (pa: number, size: number) => runs.push([pa, size]) };
  tree.insert(0, 2 ** 30, 2 ** 31, 2 ** 30, sink);
  tree.clear(0, sink);
  expect(runs).toEqual([[2 ** 31, 2 ** 30]]);
  tree.insert(0, 2 ** 30, 2 ** 31, 2 ** 30, sink);
  runs.length = 0;
  tree.insert(0, 2 ** 30 + PAGE, 0, PAGE, sink);
  expect(runs).toEqual([[2 ** 31 + PAGE, PAGE]]);
  expect(tree.lookup(0, 2 ** 30 + PAGE + 5)).toBe(5);
  expect(tree.lookup(0, 2 ** 31 - 1)).toBe(2 ** 31 + 2 ** 30 - 1);
  tree.reset();
  expect(tree.lookup(0, 2 ** 30)).toBe(-1);
});
