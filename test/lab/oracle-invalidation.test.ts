/** The invalidation automaton alone: which commands cover what was removed, and that only a SYNC behind them ends it. */

import { expect, test } from 'vitest';
import { Facts } from '#lab/oracle/facts';
import { NodeStore, T } from '#lab/oracle/node-store';
import { S, StaleKind, StaleSet } from '#lab/oracle/stale-set';
import { createMachine, tiny } from '#machine';

const NH_ALL = 0x10;
const NH_ASID = 0x11;
const NH_VA = 0x12;
const S12_VMALL = 0x28;
const S2_IPA = 0x2a;
const NSNH_ALL = 0x30;
const CFGI_STE = 0x03;
const CFGI_ALL = 0x04;
const CFGI_CD = 0x05;
const LEAF = 1;

interface Bench {
  readonly store: NodeStore;
  readonly stale: StaleSet;
  readonly s1: number;
  readonly s2: number;
  /** Entries that are left after a SYNC. */
  left(): number;
  /** Leaves that are left after a SYNC, as [first page, count], in order. */
  leaves(): [number, number][];
}

function bench(ranged = true): Bench {
  const machine = createMachine(tiny);
  const store = new NodeStore(new Facts(machine));
  const stale = new StaleSet(store, [ranged]);
  const left = (): number => {
    stale.sync(0, () => {});
    return stale.size;
  };
  const leaves = (): [number, number][] => {
    left();
    const found: [number, number][] = [];
    for (let i = 0; i < stale.size; i++) {
      const at = stale.at(i);
      found.push([stale.iovaPage(at), stale.word(at, S.count)]);
    }
    return found.sort(([a], [b]) => a - b);
  };
  return { store, stale, s1: store.tagFor(0, 1, 0, 5), s2: store.tagFor(0, 2, 6, -1), left, leaves };
}

/** A TLBI by address: page number, pages (0: no range), TTL. */
function byAddress(
  { stale }: Bench,
  opcode: number,
  tag: number,
  page: number,
  pages: number,
  ttl: number,
  leaf: number,
): void {
  const scale = pages === 0 ? 0 : Math.max(0, 31 - Math.clz32(pages & -pages));
  const num = pages === 0 ? 0 : (pages >>> scale) - 1;
  const lo0 = opcode | (num << 12) | (scale << 20);
  const address = page * 4096;
  const tg = pages === 0 ? 0 : 1 << 10;
  stale.command(0, tag, lo0, Math.floor(address / 2 ** 32), address | tg | (ttl << 8) | leaf | 0);
}

const ASID5 = 5 << 16;

test('a command alone ends nothing, a SYNC alone neither', () => {
  const b = bench();
  b.stale.addLeaf(b.s1, 3, 0x10, 0x40100, 0, false);
  expect(b.left()).toBe(1);
  byAddress(b, NH_VA, ASID5, 0x10, 1, 3, LEAF);
  expect(b.stale.size).toBe(1);
  expect(b.left()).toBe(0);
});

test('what is removed between the command and its SYNC is not covered', () => {
  const b = bench();
  b.stale.addLeaf(b.s1, 3, 0x10, 0x40100, 0, false);
  b.stale.command(0, ASID5, NH_ASID, 0, 0);
  b.stale.addLeaf(b.s1, 3, 0x11, 0x40101, 0, false);
  expect(b.leaves()).toEqual([[0x11, 1]]);
});

test('leaves that follow on each other share an entry, which a range takes apart', () => {
  const b = bench();
  for (let i = 0; i < 8; i++) b.stale.addLeaf(b.s1, 3, 0x10 + i, 0x40100 + i, 0, false);
  expect(b.stale.size).toBe(1);
  byAddress(b, NH_VA, ASID5, 0x12, 4, 3, LEAF);
  expect(b.leaves()).toEqual([
    [0x10, 2],
    [0x16, 2],
  ]);
  b.stale.addLeaf(b.s1, 3, 0x18, 0x50000, 0, false);
  expect(b.stale.size).toBe(3);
});

test.each([
  ['NH_VA of its ASID', NH_VA, ASID5, true],
  ['NH_VA of another ASID', NH_VA, 6 << 16, false],
  ['NH_VA of another VMID', NH_VA, ASID5 | 1, false],
  ['S2_IPA', S2_IPA, 0, false],
])('a stage-1 leaf and %s', (_, opcode, tag, covered) => {
  const b = bench();
  b.stale.addLeaf(b.s1, 3, 0x10, 0x40100, 0, false);
  byAddress(b, opcode, tag, 0x10, 1, 3, LEAF);
  expect(b.left()).toBe(covered ? 0 : 1);
});

test.each([
  ['S2_IPA of its VMID', S2_IPA, 6, true],
  ['S2_IPA of another VMID', S2_IPA, 5, false],
  ['NH_VA', NH_VA, 6, false],
])('a stage-2 leaf and %s', (_, opcode, tag, covered) => {
  const b = bench();
  b.stale.addLeaf(b.s2, 3, 0x10, 0x40100, 0, false);
  byAddress(b, opcode, tag, 0x10, 1, 3, LEAF);
  expect(b.left()).toBe(covered ? 0 : 1);
});

test.each([
  ['NH_ASID', NH_ASID, ASID5, [true, false]],
  ['NH_ASID of another', NH_ASID, 6 << 16, [false, false]],
  ['NH_ALL', NH_ALL, 0, [true, false]],
  ['S12_VMALL of VMID 0', S12_VMALL, 0, [true, false]],
  ['S12_VMALL of VMID 6', S12_VMALL, 6, [false, true]],
  ['NSNH_ALL', NSNH_ALL, 0, [true, true]],
])('a whole tag and %s', (_, opcode, tag, [first, second]) => {
  const b = bench();
  b.stale.addLeaf(b.s1, 3, 0x10, 0x40100, 0, false);
  b.stale.addTable(b.s2, 2, 0x200, 1);
  b.stale.command(0, tag, opcode, 0, 0);
  expect(b.left()).toBe((first ? 0 : 1) + (second ? 0 : 1));
});

test('a global leaf outlives NH_ASID, not NH_VA', () => {
  const b = bench();
  b.stale.addLeaf(b.s1, 3, 0x10, 0x40100, 0, true);
  b.stale.command(0, ASID5, NH_ASID, 0, 0);
  expect(b.left()).toBe(1);
  byAddress(b, NH_VA, 9 << 16, 0x10, 1, 3, LEAF);
  expect(b.left()).toBe(0);
});

test('a level hint that is wrong covers nothing', () => {
  const b = bench();
  b.stale.addLeaf(b.s1, 2, 0x200, 0x40200, 0, false);
  byAddress(b, NH_VA, ASID5, 0x200, 512, 3, LEAF);
  expect(b.left()).toBe(1);
  byAddress(b, NH_VA, ASID5, 0x200, 1, 2, LEAF);
  expect(b.left()).toBe(0);
});

test('a walk entry needs a command that is not for leaves only', () => {
  const b = bench();
  b.stale.addTable(b.s1, 2, 0x200, 1);
  byAddress(b, NH_VA, ASID5, 0x200, 512, 0, LEAF);
  expect(b.left()).toBe(1);
  byAddress(b, NH_VA, ASID5, 0x3ff, 2, 0, 0);
  expect(b.left()).toBe(0);
});

test('hardware without ranges takes every command for one page', () => {
  const b = bench(false);
  for (let i = 0; i < 4; i++) b.stale.addLeaf(b.s1, 3, 0x10 + i, 0x40100 + i, 0, false);
  byAddress(b, NH_VA, ASID5, 0x10, 4, 3, LEAF);
  expect(b.leaves()).toEqual([[0x11, 3]]);
});

test('addresses above 4 GiB and large ranges are exact', () => {
  const b = bench();
  b.stale.addLeaf(b.s1, 3, 2 ** 35 + 7, 0x40100, 0, false);
  byAddress(b, NH_VA, ASID5, 2 ** 35, 4, 3, LEAF);
  expect(b.left()).toBe(1);
  byAddress(b, NH_VA, ASID5, 2 ** 35, 8, 3, LEAF);
  expect(b.left()).toBe(0);
});

test('configuration: which commands drop an STE, a CD, a level-1 descriptor', () => {
  const kinds = [StaleKind.ste, StaleKind.cd, StaleKind.steBody] as const;
  const cases: [number, number, number, boolean[]][] = [
    [CFGI_STE, 4, LEAF, [true, true, true, false]],
    [CFGI_STE, 4, 0, [true, true, true, true]],
    [CFGI_STE, 5, 0, [false, false, false, true]],
    [CFGI_CD, 4, LEAF, [false, true, false, false]],
    [CFGI_ALL, 0, 31, [true, true, true, true]],
    [CFGI_ALL, 6, 1, [true, true, true, true]],
    [CFGI_ALL, 8, 1, [false, false, false, false]],
  ];
  for (const [opcode, sid, lo1, covered] of cases) {
    kinds.forEach((kind, i) => {
      const b = bench();
      b.stale.addRoute(kind, 0, 4, 0, 0);
      b.stale.command(0, sid, opcode, 0, lo1);
      expect(b.left()).toBe(covered[i] ? 0 : 1);
    });
    const b = bench();
    b.stale.addLevel1(0, 0, 8, 0);
    b.stale.command(0, sid, opcode, 0, lo1);
    expect(b.left()).toBe(covered[3] ? 0 : 1);
  }
});

test('a tag cools only by an invalidation of all of it, while no stream leads to it, and a SYNC', () => {
  const b = bench();
  b.store.setTag(b.s1, T.heat, 1);
  b.store.setTag(b.s1, T.attached, 1);
  b.stale.command(0, ASID5, NH_ASID, 0, 0);
  b.left();
  expect(b.store.tag(b.s1, T.heat)).toBe(1);
  b.store.setTag(b.s1, T.attached, 0);
  b.stale.command(0, ASID5, NH_ASID, 0, 0);
  expect(b.store.tag(b.s1, T.heat)).toBe(2);
  b.left();
  expect(b.store.tag(b.s1, T.heat)).toBe(0);
});

test('SYNC of one SMMU says nothing of another', () => {
  const machine = createMachine({
    ...tiny,
    smmus: [tiny.smmus[0]!, { ...tiny.smmus[0]!, name: 'b', base: 0x09080000 }],
  });
  const store = new NodeStore(new Facts(machine));
  const stale = new StaleSet(store, [true, true]);
  stale.addLeaf(store.tagFor(1, 1, 0, 5), 3, 0x10, 0x40100, 0, false);
  stale.command(0, ASID5, NH_ASID, 0, 0);
  stale.command(1, ASID5, NH_ASID, 0, 0);
  stale.sync(0, () => {});
  expect(stale.size).toBe(1);
  stale.sync(1, () => {});
  expect(stale.size).toBe(0);
});
