import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BusError, PAGE_SIZE, PhysicalMemory, StateClass, type WordChange } from '#machine/memory';

const LOW = 0x40000000;
const HIGH = 2 ** 51;
/** Two regions, far apart: addresses alternate between them. */
const REGIONS = [
  { base: LOW, size: 2 * PAGE_SIZE },
  { base: HIGH, size: 2 * PAGE_SIZE },
];
const PAGES = [LOW, LOW + PAGE_SIZE, HIGH, HIGH + PAGE_SIZE];

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const page = fc.constantFrom(...PAGES);

type Write =
  | { readonly kind: 'word'; readonly pa: number; readonly value: number }
  | { readonly kind: 'double'; readonly pa: number; readonly hi: number; readonly lo: number }
  | {
      readonly kind: 'run';
      readonly pa: number;
      readonly count: number;
      readonly hi: number;
      readonly lo: number;
      readonly step: number;
    }
  | { readonly kind: 'zero'; readonly pa: number }
  | { readonly kind: 'bytes'; readonly pa: number; readonly bytes: Uint8Array };

const write: fc.Arbitrary<Write> = fc.oneof(
  fc
    .record({ kind: fc.constant('word' as const), page, at: fc.nat(1023), value: int32 })
    .map(({ page, at, ...rest }) => ({ ...rest, pa: page + 4 * at })),
  fc
    .record({ kind: fc.constant('double' as const), page, at: fc.nat(511), hi: int32, lo: int32 })
    .map(({ page, at, ...rest }) => ({ ...rest, pa: page + 8 * at })),
  fc
    .record({
      kind: fc.constant('run' as const),
      page,
      at: fc.nat(511),
      count: fc.oneof(fc.nat(4), fc.nat(512)),
      hi: fc.oneof(fc.constant(0), int32),
      lo: fc.oneof(fc.constant(0), int32),
      step: fc.constantFrom(0, 1, 4096, 2 ** 21, 2 ** 30, 2 ** 31, 2 ** 32 - 1),
    })
    .map(({ page, at, count, ...rest }) => ({ ...rest, pa: page + 8 * at, count: Math.min(count, 512 - at) })),
  fc.record({ kind: fc.constant('zero' as const), pa: page }),
  fc
    .record({ kind: fc.constant('bytes' as const), page, at: fc.nat(1000), bytes: fc.uint8Array({ maxLength: 90 }) })
    .map(({ page, at, ...rest }) => ({ ...rest, pa: page + 4 * at })),
);
const writes = fc.array(write, { maxLength: 30 });

function apply(memory: PhysicalMemory, op: Write): void {
  if (op.kind === 'word') memory.write32(op.pa, op.value);
  else if (op.kind === 'double') memory.write64(op.pa, op.hi, op.lo);
  else if (op.kind === 'run') memory.writeRun(op.pa, op.count, op.hi, op.lo, op.step);
  else if (op.kind === 'zero') memory.zeroPage(op.pa);
  else memory.writeBytes(op.pa, op.bytes);
}

/** The same on plain bytes, the slow and obvious way. */
function applyToBytes(pages: Map<number, DataView>, op: Write): void {
  const base = op.pa - (op.pa % PAGE_SIZE);
  const view = pages.get(base)!;
  const at = op.pa - base;
  if (op.kind === 'word') view.setInt32(at, op.value, true);
  else if (op.kind === 'double') view.setBigInt64(at, (BigInt(op.hi) << 32n) | BigInt(op.lo >>> 0), true);
  else if (op.kind === 'zero') for (let i = 0; i < PAGE_SIZE; i++) view.setUint8(i, 0);
  else if (op.kind === 'bytes') for (const [i, byte] of op.bytes.entries()) view.setUint8(at + i, byte);
  else {
    const first = (BigInt(op.hi) << 32n) | BigInt(op.lo >>> 0);
    for (let k = 0; k < op.count; k++) {
      view.setBigUint64(at + 8 * k, BigInt.asUintN(64, first + BigInt(k) * BigInt(op.step)), true);
    }
  }
}

function zeroes(): Map<number, DataView> {
  return new Map(PAGES.map((pa) => [pa, new DataView(new ArrayBuffer(PAGE_SIZE))]));
}

function bytesOf(memory: PhysicalMemory): string[] {
  return PAGES.map((pa) => Buffer.from(memory.readBytes(pa, PAGE_SIZE)).toString('hex'));
}

function wordsOf(memory: PhysicalMemory): Map<number, number> {
  return new Map(
    PAGES.flatMap((pa) => Array.from({ length: 1024 }, (_, i) => [pa + 4 * i, memory.read32(pa + 4 * i)] as const)),
  );
}

test('memory holds the bytes that were written, whichever primitive wrote them', () => {
  fc.assert(
    fc.property(writes, fc.boolean(), (ops, logged) => {
      const memory = new PhysicalMemory(REGIONS);
      const expected = zeroes();
      if (logged) memory.mark();
      for (const op of ops) {
        apply(memory, op);
        applyToBytes(expected, op);
      }
      expect(bytesOf(memory)).toEqual([...expected.values()].map((view) => Buffer.from(view.buffer).toString('hex')));
    }),
    { numRuns: 60 },
  );
});

test('undo restores RAM and files byte for byte, mark by mark', () => {
  fc.assert(
    fc.property(
      fc.array(writes, { minLength: 1, maxLength: 4 }),
      fc.array(fc.tuple(fc.nat(99), int32)),
      (rounds, puts) => {
        const memory = new PhysicalMemory(REGIONS);
        const file = memory.allocFile(100);
        const fileWords = (): number[] => Array.from({ length: 100 }, (_, i) => memory.words[file + i]!);
        const stops: { mark: number; bytes: string[]; words: number[]; hash: string }[] = [];
        for (const ops of rounds) {
          stops.push({ mark: memory.mark(), bytes: bytesOf(memory), words: fileWords(), hash: memory.stateHash() });
          for (const op of ops) apply(memory, op);
          for (const [at, value] of puts) memory.put(file + at, value + stops.length);
        }
        for (const { mark, bytes, words, hash } of stops.reverse()) {
          memory.undo(mark);
          expect(bytesOf(memory)).toEqual(bytes);
          expect(fileWords()).toEqual(words);
          expect(memory.stateHash()).toBe(hash);
          expect(memory.changesSince(mark)).toEqual([]);
        }
      },
    ),
    { numRuns: 40 },
  );
});

test('changesSince lists exactly the words that differ from the mark', () => {
  fc.assert(
    fc.property(writes, writes, (before, after) => {
      const memory = new PhysicalMemory(REGIONS);
      for (const op of before) apply(memory, op);
      const mark = memory.mark();
      const then = wordsOf(memory);
      for (const op of after) apply(memory, op);
      const now = wordsOf(memory);
      const expected = [...then].filter(([pa, old]) => now.get(pa) !== old).map(([pa, old]) => [pa, old, now.get(pa)]);
      const changes = memory.changesSince(mark).map(({ pa, old, now }) => [pa, old, now]);
      const byAddress = (list: unknown[][]): unknown[][] => list.toSorted((a, b) => Number(a[0]) - Number(b[0]));
      expect(byAddress(changes)).toEqual(byAddress(expected));
    }),
    { numRuns: 40 },
  );
});

test('changesSince is in the order of the first write, and says -1 for the address of a file', () => {
  const memory = new PhysicalMemory(REGIONS);
  const file = memory.allocFile(4);
  const mark = memory.mark();
  memory.write32(HIGH, 1);
  memory.put(file + 2, 2);
  memory.writeRun(LOW, 2, 0, 3, 0);
  memory.write32(HIGH, 4);
  memory.write32(LOW + PAGE_SIZE, 5);
  memory.write32(LOW + PAGE_SIZE, 0);
  const summary = ({ pa, old, now }: WordChange): number[] => [pa, old, now];
  expect(memory.changesSince(mark).map(summary)).toEqual([
    [HIGH, 0, 4],
    [-1, 0, 2],
    [LOW, 0, 3],
    [LOW + 8, 0, 3],
  ]);
});

test('a watched page reports every 64-bit word that changes, with old and new, and no other page does', () => {
  fc.assert(
    fc.property(writes, (ops) => {
      const memory = new PhysicalMemory(REGIONS);
      const mirror = zeroes();
      const bit = memory.observe({
        wrote(pa, slot, oldHi, oldLo, newHi, newLo) {
          const base = pa - (pa % PAGE_SIZE);
          const view = mirror.get(base)!;
          expect(base).not.toBe(HIGH);
          expect(memory.paOfSlot(slot)).toBe(base);
          expect([view.getInt32(pa - base + 4, true), view.getInt32(pa - base, true)]).toEqual([oldHi, oldLo]);
          expect([newHi, newLo]).not.toEqual([oldHi, oldLo]);
          view.setInt32(pa - base + 4, newHi, true);
          view.setInt32(pa - base, newLo, true);
        },
      });
      const watched = PAGES.filter((pa) => pa !== HIGH);
      for (const pa of watched) memory.watch(pa, bit);
      for (const op of ops) apply(memory, op);
      for (const pa of watched) {
        expect(Buffer.from(memory.readBytes(pa, PAGE_SIZE)).equals(Buffer.from(mirror.get(pa)!.buffer))).toBe(true);
      }
    }),
    { numRuns: 60 },
  );
});

test('a hash depends on content alone: not on history, and one bit changes it', () => {
  fc.assert(
    fc.property(writes, page, fc.nat(1023), fc.nat(31), (ops, pa, at, bit) => {
      const first = new PhysicalMemory(REGIONS);
      for (const op of ops) apply(first, op);
      const second = new PhysicalMemory(REGIONS);
      for (const other of PAGES.toReversed()) {
        second.writeRun(other, 512, -1, 7, 1);
        second.pageHash(second.slotOf(other));
        second.writeBytes(other, first.readBytes(other, PAGE_SIZE));
        expect(second.pageHash(second.slotOf(other))).toEqual(first.pageHash(first.slotOf(other)));
      }
      expect(second.stateHash()).toBe(first.stateHash());
      second.write32(pa + 4 * at, second.read32(pa + 4 * at) ^ (1 << bit));
      expect(second.pageHash(second.slotOf(pa))).not.toEqual(first.pageHash(first.slotOf(pa)));
      expect(second.stateHash()).not.toBe(first.stateHash());
    }),
    { numRuns: 40 },
  );
});

test('a page never written reads as zeroes, takes no store, and equals one that was zeroed again', () => {
  const memory = new PhysicalMemory(REGIONS);
  const empty = memory.bytesInUse();
  const hash = memory.stateHash();
  expect(memory.readBytes(HIGH, PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
  memory.zeroPage(HIGH);
  expect(memory.slotOf(HIGH)).toBe(0);
  expect(memory.bytesInUse()).toBe(empty);
  memory.write32(HIGH, 1);
  expect(memory.bytesInUse()).toBe(empty + PAGE_SIZE);
  expect(memory.stateHash()).not.toBe(hash);
  memory.zeroPage(HIGH);
  expect(memory.pageHash(memory.slotOf(HIGH))).toEqual([0, 0]);
  expect(memory.stateHash()).toBe(hash);
});

test('what is dead does not count as state, until undo makes it state again', () => {
  const memory = new PhysicalMemory(REGIONS);
  const empty = memory.stateHash();
  memory.write32(LOW, 1);
  const full = memory.stateHash();
  const mark = memory.mark();
  memory.setClass(LOW, StateClass.dead);
  expect(memory.classOf(memory.indexOf(LOW))).toBe(StateClass.dead);
  expect(memory.stateHash(true)).not.toBe(empty);
  memory.undo(mark);
  expect(memory.classOf(memory.indexOf(LOW))).toBe(StateClass.state);
  expect(memory.stateHash()).toBe(full);
});

test('only RAM answers: also right behind a region, between regions and beside a written page', () => {
  const memory = new PhysicalMemory(REGIONS);
  for (const pa of [LOW, HIGH]) memory.write32(pa + PAGE_SIZE, 1);
  for (const pa of [0, LOW - 4, LOW + 2 * PAGE_SIZE, HIGH - 4, HIGH + 2 * PAGE_SIZE, 2 ** 52]) {
    for (const near of [LOW, HIGH]) {
      memory.read32(near);
      expect(memory.isRam(pa)).toBe(false);
      expect(() => memory.read32(pa)).toThrow(BusError);
      expect(() => memory.write64(pa, 0, 1)).toThrow(BusError);
      expect(() => memory.writeRun(pa, 1, 0, 1, 0)).toThrow(BusError);
    }
  }
  expect(memory.isRamRange(LOW, 2 * PAGE_SIZE)).toBe(true);
  expect(memory.isRamRange(LOW, 2 * PAGE_SIZE + 1)).toBe(false);
});

test('a large memory keeps its pages apart, however many there are', () => {
  const size = 2 ** 40;
  const memory = new PhysicalMemory([{ base: 2 ** 50, size }]);
  const addresses = Array.from({ length: 300 }, (_, i) => 2 ** 50 + ((i * 7919 * 2 ** 22) % size));
  addresses.forEach((pa, i) => {
    memory.write32(pa, i + 1);
  });
  expect(addresses.map((pa) => memory.read32(pa))).toEqual(addresses.map((_, i) => i + 1));
  expect(addresses.map((pa) => memory.paOfSlot(memory.slotOf(pa)))).toEqual(addresses);
});

test('a run that leaves its page, and RAM that cannot be, are refused', () => {
  const memory = new PhysicalMemory(REGIONS);
  expect(() => memory.writeRun(LOW + 8, 512, 0, 1, 0)).toThrow(RangeError);
  expect(memory.read32(LOW + 8)).toBe(0);
  const bad = [
    [{ base: 1, size: PAGE_SIZE }],
    [{ base: 0, size: 0 }],
    [{ base: 0, size: 100 }],
    [{ base: 2 ** 52 - PAGE_SIZE, size: 2 * PAGE_SIZE }],
    [
      { base: 0, size: 2 * PAGE_SIZE },
      { base: PAGE_SIZE, size: PAGE_SIZE },
    ],
  ];
  for (const ram of bad) expect(() => new PhysicalMemory(ram)).toThrow(RangeError);
});

test('a derived file made after a mark stays derived when that mark is undone', () => {
  const memory = new PhysicalMemory([{ base: 0, size: 0x10000 }]);
  const mark = memory.mark();
  const file = memory.allocFile(4, StateClass.derived);
  memory.undo(mark);
  const before = memory.stateHash();
  memory.put(file, 1);
  expect(memory.classOf(file)).toBe(StateClass.derived);
  expect(memory.stateHash()).toBe(before);
});
