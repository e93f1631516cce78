import { expect, test } from 'vitest';
import { Interleaving, PhysicalMemory, type Steps, StoreBuffers, type WriteObserver } from '#machine';

const BASE = 0x40000000;
const PAGE = 4096;

function memoryWithLog(): { memory: PhysicalMemory; seen: string[] } {
  const memory = new PhysicalMemory([{ base: BASE, size: 16 * PAGE }]);
  const seen: string[] = [];
  const observer: WriteObserver = {
    wrote: (pa, _slot, _oldHi, oldLo, _hi, lo) => seen.push(`${(pa - BASE).toString(16)}: ${oldLo} -> ${lo}`),
  };
  const bit = memory.observe(observer);
  for (let page = 0; page < 16; page++) memory.watch(BASE + page * PAGE, bit);
  return { memory, seen };
}

test('a waiting store is seen by its CPU alone, and by observers only once it drains', () => {
  const { memory, seen } = memoryWithLog();
  memory.write64(BASE, 0, 1);
  const stores = new StoreBuffers(memory, 2);
  seen.length = 0;
  stores.step(0, BASE, () => memory.write64(BASE, 0, 2));
  expect([memory.read32(BASE), stores.waiting(0), seen]).toEqual([1, 1, []]);
  expect(stores.step(0, -1, () => memory.read32(BASE))).toBe(2);
  expect(stores.step(1, -1, () => memory.read32(BASE))).toBe(1);
  expect(stores.addressOf(0, 0)).toBe(BASE);
  stores.drain(0);
  expect([memory.read32(BASE), stores.waiting(0), seen]).toEqual([2, 0, ['0: 1 -> 2']]);
});

test('stores to one word stay in the order of the program; others drain in any order', () => {
  const { memory } = memoryWithLog();
  const stores = new StoreBuffers(memory, 1);
  stores.step(0, BASE, () => memory.write64(BASE, 0, 1));
  stores.step(0, BASE, () => memory.write64(BASE + 8, 0, 2));
  stores.step(0, BASE, () => memory.write64(BASE, 0, 3));
  expect(stores.waiting(0)).toBe(2);
  stores.drain(0, 1);
  expect([memory.read32(BASE), memory.read32(BASE + 8)]).toEqual([0, 2]);
  stores.drainAll(0);
  expect([memory.read32(BASE), stores.waiting(0)]).toEqual([3, 0]);
  expect(() => stores.drain(0)).toThrow('CPU 0 has no waiting store 0');
});

test('what a step writes elsewhere is visible at once, also to observers, and over a waiting store', () => {
  const { memory, seen } = memoryWithLog();
  const stores = new StoreBuffers(memory, 2);
  stores.step(0, BASE, () => {
    memory.write64(BASE, 0, 1);
    memory.write32(BASE + PAGE, 7);
  });
  expect([memory.read32(BASE), memory.read32(BASE + PAGE), seen]).toEqual([0, 7, ['1000: 0 -> 7']]);
  // An atomic on the word itself reads the own store, and takes it along.
  expect(stores.step(0, -1, () => memory.compareExchange32(BASE, 1, 5))).toBe(1);
  expect([memory.read32(BASE), stores.waiting(0)]).toEqual([5, 0]);
});

test('a run of descriptors waits word by word', () => {
  const { memory } = memoryWithLog();
  const stores = new StoreBuffers(memory, 1);
  stores.step(0, BASE, () => memory.writeRun(BASE + 16, 4, 0, 3, PAGE));
  expect(stores.waiting(0)).toBe(4);
  stores.drain(0, 2);
  expect([2, 3, 4, 5].map((n) => memory.read32(BASE + 8 * n))).toEqual([0, 0, 3 + 2 * PAGE, 0]);
});

test('undo after everything has drained takes memory back', () => {
  const { memory } = memoryWithLog();
  const mark = memory.mark();
  const before = memory.stateHash();
  const stores = new StoreBuffers(memory, 1);
  stores.step(0, BASE, () => memory.writeRun(BASE, 8, 0, 3, PAGE));
  stores.drainAll(0);
  expect(memory.stateHash()).not.toBe(before);
  memory.undo(mark);
  expect(memory.stateHash()).toBe(before);
});

function* locked(memory: PhysicalMemory, cpu: number, lock: number, at: number): Steps<void> {
  yield { kind: 'lock', at: lock };
  memory.write32(lock, cpu + 1);
  yield { kind: 'writeDescriptor', at };
  memory.write64(at, 0, cpu + 1);
  yield { kind: 'unlock', at: lock };
  memory.write32(lock, 0);
}

test('an interleaving holds a waiter back, and a released lock publishes what was stored', () => {
  const { memory } = memoryWithLog();
  const lock = BASE + PAGE;
  const cpus = new Interleaving(memory, 2);
  const touched: string[] = [];
  cpus.onTouch = (cpu, { kind }) => touched.push(`${cpu} ${kind}`);
  cpus.start(0, locked(memory, 0, lock, BASE));
  cpus.start(1, locked(memory, 1, lock, BASE));
  expect(() => cpus.start(1, locked(memory, 1, lock, BASE))).toThrow('CPU 1 is busy');
  cpus.step(0);
  expect([cpus.ready(), cpus.next(1)]).toEqual([[0], { kind: 'lock', at: lock }]);
  cpus.step(0);
  expect(memory.read32(BASE)).toBe(0);
  expect(cpus.step(0)).toBe(true);
  expect([memory.read32(BASE), cpus.isBusy(0), cpus.ready()]).toEqual([1, false, [1]]);
  while (cpus.isBusy(1)) cpus.step(1);
  expect(memory.read32(BASE)).toBe(2);
  expect(touched.slice(0, 4)).toEqual(['0 lock', '0 writeDescriptor', '0 unlock', '1 lock']);
  expect(() => cpus.step(1)).toThrow('CPU 1 is idle');
});

test('a device that a register write sets going does not see what still waits', () => {
  const { memory } = memoryWithLog();
  const seen: number[] = [];
  function* ring(publish: boolean): Steps<void> {
    yield { kind: 'queue', at: BASE };
    memory.write64(BASE, 0, 9);
    if (publish) yield { kind: 'barrier', at: BASE };
    yield { kind: 'register', at: 0 };
    seen.push(memory.read32(BASE));
  }
  for (const publish of [false, true]) {
    const cpus = new Interleaving(memory, 1);
    memory.write64(BASE, 0, 0);
    cpus.start(0, ring(publish));
    while (cpus.isBusy(0)) cpus.step(0);
    expect(cpus.stores.waiting(0)).toBe(publish ? 0 : 1);
  }
  expect(seen).toEqual([0, 9]);
});
