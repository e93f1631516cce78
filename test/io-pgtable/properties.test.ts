import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as stepped from '#io-pgtable';
import * as plain from '#io-pgtable/plain';
import { run, type Touch } from '#machine';
import type { PhysicalMemory } from '#machine/memory';
import { type Operation, operations, STAGE_1 } from './operations.ts';
import { KIB4, Reference, type ReferenceLeaf } from './reference.ts';
import { Arena } from './vector-runner.ts';

const BASE = 0x80000000;

function allocate(arena: Arena): plain.PageTable {
  const pt = plain.allocPageTable(arena.ops, STAGE_1);
  if (typeof pt === 'number') throw new Error(`refused with ${pt}`);
  return pt;
}

function perform(pt: plain.PageTable, call: Operation): number {
  if (call.o === 'map') return plain.mapPages(pt, call.iova, call.pa, call.size, call.count, call.prot);
  if (call.o === 'unmap') return plain.unmapPages(pt, call.iova, call.size, call.count);
  return plain.iovaToPhys(pt, call.iova);
}

test('map, unmap and translate do what a naive reference does', () => {
  fc.assert(
    fc.property(operations, (calls) => {
      const arena = new Arena(BASE);
      const pt = allocate(arena);
      const reference = new Reference();
      for (const call of calls) {
        let expected: number;
        if (call.o === 'map') expected = reference.map(call.iova, call.pa, call.size, call.count, call.prot);
        else if (call.o === 'unmap') expected = reference.unmap(call.iova, call.size, call.count);
        else expected = reference.translate(call.iova);
        expect([call, perform(pt, call)]).toEqual([call, expected]);
        expect(arena.live.size).toBe(1 + reference.tables.size);
      }
      for (const [iova, leaf] of reference.leaves) {
        expect(plain.iovaToPhys(pt, iova + leaf.size - 1)).toBe(leaf.pa + leaf.size - 1);
        const next = (iova + leaf.size) % pt.layout.inputEnd;
        expect(plain.iovaToPhys(pt, next)).toBe(reference.translate(next));
      }
      plain.freePageTable(pt);
      expect(arena.live.size).toBe(0);
    }),
    { numRuns: 300 },
  );
});

test('undo brings back every byte of the tables, and the page table goes on from there', () => {
  fc.assert(
    fc.property(operations, operations, (before, after) => {
      const arena = new Arena(BASE);
      const pt = allocate(arena);
      for (const call of before) perform(pt, call);
      const mark = arena.memory.mark();
      const tables = [...arena.live];
      const bytes = (): string[] =>
        tables.map((pa) => Buffer.from(arena.memory.readBytes(pa, KIB4)).toString('base64'));
      const lookups = before.map((call) => plain.iovaToPhys(pt, call.iova));
      const then = [arena.memory.stateHash(), bytes()];
      for (const call of after) perform(pt, call);
      arena.memory.undo(mark);
      expect([arena.memory.stateHash(), bytes()]).toEqual(then);
      expect(before.map((call) => plain.iovaToPhys(pt, call.iova))).toEqual(lookups);
    }),
    { numRuns: 100 },
  );
});

test('an owner that asks is told of every leaf that goes, once, and of no other', () => {
  fc.assert(
    fc.property(operations, (calls) => {
      const arena = new Arena(BASE);
      let told: string[] = [];
      const tell = (pa: number, size: number, count: number): void => {
        for (let i = 0; i < count; i++) told.push(`${pa + i * size}:${size}`);
      };
      const opened = allocate(arena);
      const pt = plain.openPageTable({ ...arena.ops, leafRemoved: tell, leafFreed: tell }, STAGE_1, opened.root);
      const reference = new Reference();
      const check = (before: Iterable<ReferenceLeaf>): void => {
        const left = new Set(reference.leaves.values());
        const gone = [...before].filter((leaf) => !left.has(leaf)).map(({ pa, size }) => `${pa}:${size}`);
        expect(told.toSorted()).toEqual(gone.toSorted());
        told = [];
      };
      for (const call of calls) {
        const before = [...reference.leaves.values()];
        if (call.o === 'map') reference.map(call.iova, call.pa, call.size, call.count, call.prot);
        else if (call.o === 'unmap') reference.unmap(call.iova, call.size, call.count);
        perform(pt, call);
        check(before);
      }
      plain.freePageTable(pt);
      const last = [...reference.leaves.values()];
      reference.leaves.clear();
      check(last);
    }),
    { numRuns: 100 },
  );
});

// ---- the generator build

/** An arena whose operations are generators. */
function steppedOps(arena: Arena): stepped.PageTableOps {
  const { ops } = arena;
  return {
    memory: ops.memory,
    allocTable: function* (size) {
      return ops.allocTable(size);
    },
    freeTable: function* (pa, size) {
      ops.freeTable(pa, size);
    },
    flushAll: function* () {
      ops.flushAll();
    },
    flushWalk: function* (iova, size, granule) {
      ops.flushWalk(iova, size, granule);
    },
    addPages: function* (iova, granule, count) {
      ops.addPages(iova, granule, count);
    },
    warn: ops.warn,
  };
}

function performStepped(pt: stepped.PageTable, call: Operation): ReturnType<typeof stepped.mapPages> {
  if (call.o === 'map') return stepped.mapPages(pt, call.iova, call.pa, call.size, call.count, call.prot);
  if (call.o === 'unmap') return stepped.unmapPages(pt, call.iova, call.size, call.count);
  return stepped.iovaToPhys(pt, call.iova);
}

/** Every change of a table page, in order. */
function record(memory: PhysicalMemory, into: number[][]): void {
  const bit = memory.observe({ wrote: (pa, _slot, ...words) => into.push([pa, ...words]) });
  for (let page = 0; page < 64; page++) memory.watch(BASE + page * KIB4, bit);
}

test('the plain build and the generator build give equal results, events and writes', () => {
  fc.assert(
    fc.property(operations, fc.nat(6), fc.nat(3), (calls, skip, failures) => {
      const arenas = [new Arena(BASE), new Arena(BASE)] as const;
      const writes: [number[][], number[][]] = [[], []];
      arenas.forEach((arena, i) => {
        record(arena.memory, writes[i]!);
        arena.memory.mark();
      });
      const pt = allocate(arenas[0]);
      const other = run(stepped.allocPageTable(steppedOps(arenas[1]), STAGE_1));
      if (typeof other === 'number') throw new Error(`refused with ${other}`);
      for (const arena of arenas) arena.armFailures(skip, failures);
      for (const call of calls) expect(run(performStepped(other, call))).toBe(perform(pt, call));
      expect(arenas[1].memory.changesSince(0)).toEqual(arenas[0].memory.changesSince(0));
      plain.freePageTable(pt);
      run(stepped.freePageTable(other));
      expect(arenas[1].events).toEqual(arenas[0].events);
      expect(arenas[1].warnings).toBe(arenas[0].warnings);
      expect(writes[1]).toEqual(writes[0]);
    }),
    { numRuns: 100 },
  );
});

test('a map pauses before each descriptor that it reads or stores, and at its barriers', () => {
  const arena = new Arena(BASE);
  const pt = stepped.openPageTable(steppedOps(arena), STAGE_1, BASE);
  arena.ops.allocTable(KIB4);
  const touches: string[] = [];
  const memory = arena.memory;
  const bit = memory.observe({ wrote: (pa) => touches.push(`stored ${pa.toString(16)}`) });
  for (let page = 0; page < 4; page++) memory.watch(BASE + page * KIB4, bit);
  const steps = stepped.mapPages(pt, 5 * KIB4, 0, KIB4, 2, plain.Prot.READ);
  for (let step = steps.next(); !step.done; step = steps.next()) {
    const { kind, at }: Touch = step.value;
    touches.push(kind === 'barrier' ? kind : `${kind} ${at.toString(16)}`);
  }
  expect(touches).toEqual([
    'readDescriptor 80000000',
    'barrier',
    'write 80000000',
    'stored 80000000',
    'readDescriptor 80001000',
    'barrier',
    'write 80001000',
    'stored 80001000',
    'readDescriptor 80002028',
    'writeDescriptor 80002028',
    'stored 80002028',
    'stored 80002030',
    'barrier',
  ]);
});

test('CPUs that map different pages at once all succeed under any schedule, and lose no table', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(2), { maxLength: 60 }), fc.constantFrom(KIB4, 2 ** 21, 2 ** 30), (schedule, apart) => {
      const arena = new Arena(BASE);
      const pt = run(stepped.allocPageTable(steppedOps(arena), STAGE_1));
      if (typeof pt === 'number') throw new Error(`refused with ${pt}`);
      const cpus = [0, 1, 2].map((cpu) =>
        stepped.mapPages(pt, cpu * apart, (cpu + 1) * KIB4, KIB4, 1, plain.Prot.READ),
      );
      for (const cpu of schedule) cpus[cpu]!.next();
      for (const cpu of cpus) run(cpu);
      for (const cpu of [0, 1, 2]) expect(run(stepped.iovaToPhys(pt, cpu * apart))).toBe((cpu + 1) * KIB4);
      run(stepped.freePageTable(pt));
      expect([...arena.live]).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test('CPUs that unmap different pages of one block split it once, whoever comes first', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(2), { maxLength: 60 }), (schedule) => {
      const arena = new Arena(BASE);
      const config = { ...STAGE_1, profile: 'linux-6.12' } as const;
      const pt = run(stepped.allocPageTable(steppedOps(arena), config));
      if (typeof pt === 'number') throw new Error(`refused with ${pt}`);
      run(stepped.mapPages(pt, 0, 2 ** 30, 2 ** 21, 1, plain.Prot.READ));
      const cpus = [0, 1, 2].map((cpu) => stepped.unmapPages(pt, cpu * KIB4, KIB4, 1));
      for (const cpu of schedule) cpus[cpu]!.next();
      for (const cpu of cpus) run(cpu);
      expect([0, 1, 2, 3].map((page) => run(stepped.iovaToPhys(pt, page * KIB4)))).toEqual([
        0,
        0,
        0,
        2 ** 30 + 3 * KIB4,
      ]);
      expect(arena.live.size).toBe(3);
      run(stepped.freePageTable(pt));
      expect([...arena.live]).toEqual([]);
    }),
    { numRuns: 100 },
  );
});
