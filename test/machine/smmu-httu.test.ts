import { expect, test } from 'vitest';
import type { SmmuDescription } from '#machine';
import { cdWord, mapPage, S1_RW, S2_RW, type Setup, stage2Word } from './bench-setup.ts';
import { DATA, IOVA, L3, NestedSetup, OFFSET, SID, smmuWith, VMID } from './nested-setup.ts';

const A = 0x4010_0000;
const AF = 0x400n;
const RO = 0x80n;
const DBM = 1n << 51n;
const HA = 1n << 43n;
const HD = 1n << 42n;
const S2HA = 1n << 56n;
const S2HD = 1n << 55n;
const DIRTY: Partial<SmmuDescription> = { hardwareUpdate: 'dirty' };

function stage1(
  flags: bigint,
  leaf: bigint,
  change = DIRTY,
): { s: Setup; at: number; access: (write: boolean) => number } {
  const s = smmuWith(change).enable();
  const top = s.page();
  const cd = s.stage1(SID, 9, top);
  s.put(cd, cdWord(9) | flags);
  s.cfgiAll();
  s.sync();
  s.command(0x30n);
  s.sync();
  const { at } = mapPage(s, top, IOVA, BigInt(A) | leaf);
  const access = (write: boolean): number => {
    const device = s.machine.device(SID);
    const result = write ? device.write(IOVA, [1]) : device.read(IOVA, 1);
    return result.ok ? 0 : (result.event?.type ?? -1);
  };
  return { s, at, access };
}

const RW = BigInt(S1_RW) | 3n;

test('HA: the access flag is set by the access, and there is no F_ACCESS', () => {
  const { s, at, access } = stage1(HA, RW & ~AF);
  // Looking does not change anything.
  expect(s.smmu.translate(SID, IOVA, false).ok).toBe(true);
  expect(s.get(at) & AF).toBe(0n);
  expect(access(false)).toBe(0);
  expect(s.get(at)).toBe(BigInt(A) | RW);
  expect(s.smmu.stale()).toEqual([]);
});

test('without HA the flag stays clear: F_ACCESS', () => {
  const { s, at, access } = stage1(0n, RW & ~AF);
  expect(access(false)).toBe(0x12);
  expect(s.get(at) & AF).toBe(0n);
});

test.each([
  ['a write to a writable-clean leaf makes it dirty', HA | HD, RW | RO | DBM, true, 0, RW | DBM],
  ['a read of it does not', HA | HD, RW | RO | DBM, false, 0, RW | RO | DBM],
  ['without DBM it is F_PERMISSION', HA | HD, RW | RO, true, 0x13, RW | RO],
  ['without HD it is F_PERMISSION', HA, RW | RO | DBM, true, 0x13, RW | RO | DBM],
  ['both flags at once', HA | HD, (RW | RO | DBM) & ~AF, true, 0, RW | DBM],
  ['HD without HA behaves as neither', HD, RW | RO | DBM, true, 0x13, RW | RO | DBM],
  ['a privileged page is not made dirty', HA | HD, (RW | RO | DBM) & ~0x40n, true, 0x13, (RW | RO | DBM) & ~0x40n],
] as const)('HD: %s', (_, flags, leaf, write, fault, after) => {
  const { s, at, access } = stage1(flags, leaf);
  expect(access(write)).toBe(fault);
  expect(s.get(at)).toBe(BigInt(A) | after);
});

test('the caches follow the update of hardware itself; a clean by software is a change like any other', () => {
  const { s, at, access } = stage1(HA | HD, RW | RO | DBM);
  access(true);
  expect(s.smmu.stale()).toEqual([]);
  s.put(at, BigInt(A) | RW | RO | DBM);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', iova: IOVA }]);
});

test('HTTU in the ID register decides what CDs and STEs may ask for', () => {
  for (const [hardwareUpdate, flags, legal] of [
    ['none', HA, false],
    ['none', HD, false],
    ['access', HA, true],
    ['access', HA | HD, false],
    ['dirty', HA | HD, true],
  ] as const) {
    const { s, access } = stage1(flags, RW, { hardwareUpdate });
    expect(access(false)).toBe(legal ? 0 : 10);
    expect((s.smmu.read32(0) >>> 6) & 3).toBe(['none', 'access', 'dirty'].indexOf(hardwareUpdate));
    const vtcr = (flags & HA ? S2HA : 0n) | (flags & HD ? S2HD : 0n);
    s.ste(SID, 0xdn, 0n, stage2Word(5) | vtcr, BigInt(s.pair()));
    expect(s.smmu.translate(SID, IOVA, false).fault).toBe(legal ? 0x10 : 4);
  }
});

test('stage 2: S2HA sets AF, S2HD sets S2AP[1]', () => {
  const s = smmuWith(DIRTY).enable();
  const top = s.pair();
  s.ste(SID, 0xdn, 0n, stage2Word(5) | S2HA | S2HD, BigInt(top));
  const leaf = BigInt(A) | BigInt(S2_RW) | 3n;
  const { at } = mapPage(s, top, IOVA, (leaf & ~(AF | 0x80n)) | DBM);
  const device = s.machine.device(SID);
  expect(device.read(IOVA, 1).ok).toBe(true);
  expect(s.get(at)).toBe((leaf & ~0x80n) | DBM);
  expect(device.write(IOVA, [1]).ok).toBe(true);
  expect(s.get(at)).toBe(leaf | DBM);
});

test('nested: the update of a stage-1 descriptor is a write through stage 2 (CLASS = TTD, TTRnW = 0)', () => {
  const n = new NestedSetup(DIRTY);
  n.guest(0x1000_0000, 0, cdWord(9) | HA | HD);
  const before = n.s.get(n.leafAt);
  n.s.put(n.leafAt, before & ~AF);
  n.s.put(n.stage2Of(L3), n.s.get(n.stage2Of(L3)) & ~0x80n);
  const S2TTD = (1n << 39n) | (1n << 40n);
  expect(n.access(IOVA)).toEqual([(BigInt(SID) << 32n) | 0x13n, (1n << 35n) | S2TTD, BigInt(IOVA), BigInt(L3)]);
  expect(n.s.get(n.leafAt)).toBe(before & ~AF);
  // A descriptor that needs no update only has to be readable.
  n.s.put(n.leafAt, before);
  expect(n.access(IOVA)).toBe(DATA + OFFSET);
  // With S2HD the page of the table becomes dirty by the update, and only by it.
  n.attach(undefined, undefined, stage2Word(VMID) | S2HA | S2HD);
  const clean = (n.s.get(n.stage2Of(L3)) & ~0x80n) | DBM;
  n.s.put(n.stage2Of(L3), clean);
  expect(n.access(IOVA)).toBe(DATA + OFFSET);
  expect(n.s.get(n.stage2Of(L3))).toBe(clean);
  n.s.put(n.leafAt, before & ~AF);
  expect(n.access(IOVA)).toBe(DATA + OFFSET);
  expect(n.s.get(n.stage2Of(L3))).toBe(clean | 0x80n);
  expect(n.s.get(n.leafAt)).toBe(before);
});

test('updates are undone with the journal', () => {
  const { s, at, access } = stage1(HA | HD, (RW | RO | DBM) & ~AF);
  const mark = s.machine.memory.mark();
  access(true);
  s.machine.memory.undo(mark);
  expect(s.get(at)).toBe(BigInt(A) | ((RW | RO | DBM) & ~AF));
});
