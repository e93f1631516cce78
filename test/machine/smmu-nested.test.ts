import { expect, test } from 'vitest';
import { S1_RW, S2_RW, stage2Word } from './bench-setup.ts';
import { ASID, BASE, CD, DATA, IOVA, L1, L2, L3, NestedSetup, OFFSET, SID, VMID } from './nested-setup.ts';

const SID_WORD = BigInt(SID) << 32n;
const READ = 1n << 35n;
const S2 = 1n << 39n;
const TTD = 1n << 40n;
const IN = 2n << 40n;
const TTRNW = 1n << 44n;
const NOWHERE = 0x2000_0000n;

/** Where an access may go, as {@link Setup.reaches} of the nested stream. */
const reaches = (n: NestedSetup, iova = IOVA, write = false): (number | string)[] => n.s.reaches(SID, iova, write);

test('stage 1 gives an IPA and stage 2 the physical address', () => {
  const n = new NestedSetup();
  expect(n.access(IOVA + 0x10)).toBe(DATA + OFFSET + 0x10);
  expect(n.access(IOVA + 0x20, true)).toBe(DATA + OFFSET + 0x20);
  expect(reaches(n)).toEqual([DATA + OFFSET]);
  expect(n.s.smmu.stale()).toEqual([]);
});

type Change = (n: NestedSetup) => void;
const unmap =
  (ipa: number): Change =>
  (n) =>
    n.s.put(n.stage2Of(ipa), 0n);
const setLeaf =
  (ipa: number, change: (word: bigint) => bigint): Change =>
  (n) =>
    n.s.put(n.stage2Of(ipa), change(n.s.get(n.stage2Of(ipa))));
const l2Index = Math.floor(IOVA / 2 ** 21) % 512;
const l3Index = Math.floor(IOVA / 4096) % 512;

const faults: [string, Change, boolean, unknown][] = [
  ['CLASS=CD: F_TRANSLATION of the CD page', unmap(CD), true, [0x10n, S2, BigInt(CD)]],
  ['CLASS=CD: F_ACCESS', setLeaf(CD, (w) => w & ~0x400n), false, [0x12n, READ | S2, BigInt(CD)]],
  ['CLASS=CD: F_PERMISSION without read', setLeaf(CD, (w) => w & ~0x40n), false, [0x13n, READ | S2, BigInt(CD)]],
  ['CLASS=CD: F_ADDR_SIZE', setLeaf(CD, (w) => w | (1n << 40n)), false, [0x11n, READ | S2, BigInt(CD)]],
  ['CLASS=TTD: level 1 table', unmap(L1), false, [0x10n, READ | S2 | TTD, BigInt(L1)]],
  ['CLASS=TTD: level 2 table', unmap(L2), true, [0x10n, S2 | TTD, BigInt(L2)]],
  ['CLASS=TTD: level 3 table', unmap(L3), false, [0x10n, READ | S2 | TTD, BigInt(L3)]],
  [
    'CLASS=TTD: F_PERMISSION of the fetch has TTRnW',
    setLeaf(L3, (w) => w & ~0x40n),
    true,
    [0x13n, S2 | TTD | TTRNW, BigInt(L3)],
  ],
  ['CLASS=IN: F_TRANSLATION', unmap(DATA), false, [0x10n, READ | S2 | IN, BigInt(DATA)]],
  ['CLASS=IN: F_PERMISSION', setLeaf(DATA, (w) => w & ~0x80n), true, [0x13n, S2 | IN, BigInt(DATA)]],
  [
    'CLASS=IN: an IPA out of the range of stage 2',
    (n) => n.guest(L3, l3Index, (0xffn << 32n) | BigInt(S1_RW) | 3n),
    false,
    [0x10n, READ | S2 | IN, 0xffn << 32n],
  ],
  ['S1 F_TRANSLATION after the fetch', (n) => n.guest(L3, l3Index, 0n), false, [0x10n, READ | IN, 0n]],
  [
    'S1 F_ADDR_SIZE of the next table before its stage-2 check',
    (n) => n.guest(L2, l2Index, (1n << 40n) | 3n),
    false,
    [0x11n, READ | IN, 0n],
  ],
  [
    'S1 F_PERMISSION before the stage-2 check of the output',
    (n) => {
      n.guest(L3, l3Index, BigInt(DATA) | BigInt(S1_RW) | 0x83n);
      unmap(DATA)(n);
    },
    true,
    [0x13n, IN, 0n],
  ],
  [
    'S1 out of range before any stage-2 check of a table',
    (n) => {
      n.guest(CD, 0, n.s.get(CD + OFFSET) | 0x4000n);
      unmap(L1)(n);
    },
    false,
    [0x10n, READ | IN, 0n],
  ],
];

test.each(faults)('%s', (_name, change, write, expected) => {
  const n = new NestedSetup();
  change(n);
  const [type, flags, ipa] = expected as [bigint, bigint, bigint];
  expect(n.access(IOVA + 4, write)).toEqual([SID_WORD | type, flags, BigInt(IOVA + 4), ipa]);
});

test('a fault of stage 2 is recorded by S2R, one of stage 1 by CD.R', () => {
  const n = new NestedSetup();
  n.attach(undefined, undefined, stage2Word(VMID) & ~(1n << 58n));
  n.s.put(n.stage2Of(L2), 0n);
  expect(n.access(IOVA)).toBe('silent');
  n.s.put(n.stage2Of(L2), BigInt(L2 + OFFSET) | BigInt(S2_RW) | 3n);
  n.guest(L3, l3Index, 0n);
  expect(n.access(IOVA)).toHaveLength(4);
  n.guest(CD, 0, n.s.get(CD + OFFSET) & ~(1n << 45n));
  expect(n.access(IOVA)).toBe('silent');
});

test('F_CD_FETCH and F_WALK_EABT give the physical address that could not be read', () => {
  const n = new NestedSetup();
  const target = NOWHERE | BigInt(S2_RW) | 3n;
  n.s.put(n.stage2Of(CD), target);
  expect(n.access(IOVA)).toEqual([SID_WORD | 9n, 0n, 0n, NOWHERE]);
  n.s.put(n.stage2Of(CD), BigInt(CD + OFFSET) | BigInt(S2_RW) | 3n);
  n.s.put(n.stage2Of(L2), target);
  expect(n.access(IOVA)).toEqual([SID_WORD | 0xbn, READ | TTD, BigInt(IOVA), NOWHERE + 8n * BigInt(l2Index)]);
});

test.each([
  ['the CD', CD, 0n],
  ['a stage-1 table', L2, TTD | TTRNW],
])('S2PTW: Device memory under %s is F_PERMISSION of stage 2, and only with S2PTW', (_, ipa, flags) => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(ipa), n.s.get(n.stage2Of(ipa)) & ~0x3cn);
  expect(n.access(IOVA)).toBe(DATA + OFFSET);
  n.attach(undefined, undefined, stage2Word(VMID) | (1n << 54n));
  expect(n.access(IOVA)).toEqual([SID_WORD | 0x13n, READ | S2 | flags, BigInt(IOVA), BigInt(ipa)]);
  // Data may lie in Device memory.
  n.s.put(n.stage2Of(ipa), BigInt(ipa + OFFSET) | BigInt(S2_RW) | 3n);
  n.s.put(n.stage2Of(DATA), n.s.get(n.stage2Of(DATA)) & ~0x3cn);
  expect(n.access(IOVA)).toBe(DATA + OFFSET);
});

test('STRW is ignored under nesting, and each stage is needed', () => {
  const n = new NestedSetup();
  n.attach(undefined, 0xd4n | (1n << 30n));
  expect(n.access(IOVA)).toBe(DATA + OFFSET);
  for (const change of [{ stage1: false }, { stage2: false }]) {
    expect(new NestedSetup(change).access(IOVA)).toEqual([SID_WORD | 4n, 0n, 0n, 0n]);
  }
});

test('S1DSS bypass under nesting: the address is an IPA, checked against IAS, then by stage 2', () => {
  const n = new NestedSetup({ ssidBits: 2 });
  n.attach(BigInt(CD) | 0xfn | (2n << 59n), 1n);
  expect(n.access(DATA)).toBe(DATA + OFFSET);
  expect(n.access(2 ** 40)).toEqual([SID_WORD | 0x11n, READ | IN, 1n << 40n, 0n]);
  expect(n.access(0)).toEqual([SID_WORD | 0x10n, READ | S2 | IN, 0n, 0n]);
});

test('a 16K guest over 4K, and 4K over 64K', () => {
  const n = new NestedSetup({ granules: [12, 14, 16] });
  // 16K granule, T0SZ 39: 25 bits from level 3 of 2^11 entries.
  n.guest(L1 + 0x3000, 3, BigInt(BASE + 0x8000) | BigInt(S1_RW) | 3n);
  n.guest(CD, 1, BigInt(BASE + 0x4000));
  n.guest(CD, 0, (n.s.get(CD + OFFSET) & ~0xffn) | 39n | (2n << 6n));
  expect(n.access(3 * 2 ** 14 + 0x1234)).toBe(BASE + 0x8000 + OFFSET + 0x1234);
  const m = new NestedSetup({ granules: [12, 16] });
  // Stage 2 with 64K and 32 bits of input, from level 2.
  const table = 0x4020_0000;
  m.s.put(table, BigInt(table + 0x10000) | 3n);
  m.s.put(table + 0x10000 + 8 * (BASE / 0x10000), BigInt(BASE + OFFSET) | BigInt(S2_RW) | 3n);
  const word = (stage2Word(VMID) & ~(0xffn << 32n) & ~(3n << 46n)) | (32n << 32n) | (1n << 38n) | (1n << 46n);
  m.s.ste(SID, BigInt(CD) | 0xfn, 0xd4n, word, BigInt(table));
  expect(m.access(IOVA + 0x10)).toBe(DATA + OFFSET + 0x10);
});

// ---- caches

test('TLBI_S2_IPA leaves what stage-1 entries combine; NH_ALL after it takes that too', () => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(DATA), 0n);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
  n.s.tlbiIpa(VMID, DATA, true);
  n.s.sync();
  expect(n.s.smmu.stale()).toMatchObject([{ kind: 'leaf', stage: 2, combined: true, iova: DATA }]);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
  // Again by IPA, and by an address of stage 1, do not help.
  n.s.tlbiIpa(VMID, DATA, true);
  n.s.tlbiAsid(VMID, ASID);
  n.s.sync();
  expect(reaches(n)).toContain(DATA + OFFSET);
  n.nhAll();
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
  expect(n.s.smmu.stale()).toEqual([]);
});

test.each<[string, (n: NestedSetup) => void, boolean]>([
  [
    'S2_IPA then NH_ALL, one SYNC',
    (n) => {
      n.s.tlbiIpa(VMID, DATA, true);
      n.nhAll();
    },
    true,
  ],
  [
    'NH_ALL then S2_IPA: it can be combined anew in between',
    (n) => {
      n.nhAll();
      n.s.tlbiIpa(VMID, DATA, true);
    },
    false,
  ],
  ['NH_ALL alone', (n) => n.nhAll(), false],
  ['S12_VMALL', (n) => n.s.tlbiVmall(VMID), true],
  ['NSNH_ALL', (n) => n.s.command(0x30n), true],
  [
    'S2_IPA, then NH_ALL of another VMID',
    (n) => {
      n.s.tlbiIpa(VMID, DATA, true);
      n.s.command(0x10n | (6n << 32n));
    },
    false,
  ],
])('an unmapped IPA: %s', (_, invalidate, clean) => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(DATA), 0n);
  invalidate(n);
  n.s.sync();
  expect(reaches(n).includes(DATA + OFFSET)).toBe(!clean);
  expect(n.s.smmu.stale()).toHaveLength(clean ? 0 : 1);
});

test('a removed stage-2 table leaves its leaves combined', () => {
  const n = new NestedSetup();
  const l1At = n.top + 8 * Math.floor(BASE / 2 ** 30);
  const l2 = Number(n.s.get(l1At) & 0xfffffff000n);
  n.s.put(l2 + 8 * (Math.floor(BASE / 2 ** 21) % 512), 0n);
  n.s.tlbiIpa(VMID, BASE, false, 31, 4);
  n.s.sync();
  expect(new Set(n.s.smmu.stale().map((e) => `${e.kind} ${e.combined}`))).toEqual(new Set(['leaf true', 'cd false']));
  expect(reaches(n)).toContain(DATA + OFFSET);
  n.nhAll();
  n.s.cfgiSte(SID);
  n.s.sync();
  n.s.command(0x30n);
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
});

test('a stage-1 table that stage 2 takes away is still walked, as it is now, until NH_ALL', () => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(L3), 0n);
  n.s.tlbiIpa(VMID, L3, true);
  n.s.sync();
  // The page belongs to someone else now, who writes what looks like a descriptor.
  n.s.put(n.leafAt, BigInt(DATA + 0x1000) | BigInt(S1_RW) | 3n);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + 0x1000 + OFFSET, DATA + OFFSET]);
  n.nhAll();
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
  n.s.put(n.leafAt, 0n);
  expect(n.s.smmu.stale()).toEqual([]);
});

test('a stage-1 table that stage 2 moves is followed to its new place', () => {
  const n = new NestedSetup();
  const moved = BASE + 0x20000 + OFFSET;
  n.s.put(n.stage2Of(L3), BigInt(moved) | BigInt(S2_RW) | 3n);
  n.s.command(0x28n | (BigInt(VMID) << 32n));
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
  n.s.put(moved + 8 * l3Index, BigInt(DATA) | BigInt(S1_RW) | 3n);
  expect(reaches(n)).toEqual([DATA + OFFSET]);
  n.s.put(moved + 8 * l3Index, 0n);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
  // The old place has no meaning any more.
  n.s.put(n.leafAt, 0n);
  expect(n.s.smmu.stale()).toHaveLength(1);
});

test('a stage-1 table that stage 2 comes to map is in reach from then on', () => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(L3), 0n);
  n.s.tlbiVmall(VMID);
  n.s.sync();
  const place = BASE + 0x21000 + OFFSET;
  n.s.put(place + 8 * l3Index, BigInt(DATA) | BigInt(S1_RW) | 3n);
  n.s.put(n.stage2Of(L3), BigInt(place) | BigInt(S2_RW) | 3n);
  expect(reaches(n)).toEqual([DATA + OFFSET]);
  n.s.put(place + 8 * l3Index, 0n);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
});

test('a CD is not fetched through what stage-1 entries combine', () => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(CD), 0n);
  n.s.tlbiIpa(VMID, CD, true);
  n.s.sync();
  n.s.command(0x05n | SID_WORD, 1n);
  n.s.sync();
  expect(n.s.smmu.stale()).toMatchObject([{ kind: 'leaf', combined: true, iova: CD }, { kind: 'tag' }]);
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
});

test('a stage-1 leaf of a nested stream goes with NH_VA, and not with S2_IPA of what it maps to', () => {
  const n = new NestedSetup();
  n.s.put(n.leafAt, 0n);
  n.s.tlbiIpa(VMID, DATA, true);
  n.s.sync();
  expect(n.s.smmu.stale()).toMatchObject([{ kind: 'leaf', stage: 1, vmid: VMID, asid: ASID, iova: IOVA }]);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
  n.nhVa(IOVA);
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
  expect(n.s.smmu.stale()).toEqual([]);
});

test('an old stage-1 leaf and an old stage-2 leaf combine', () => {
  const n = new NestedSetup();
  n.s.put(n.leafAt, BigInt(DATA + 0x1000) | BigInt(S1_RW) | 3n);
  n.s.put(n.stage2Of(DATA), 0n);
  n.s.put(n.stage2Of(DATA + 0x1000), 0n);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + 0x1000 + OFFSET, DATA + OFFSET]);
  n.nhVa(IOVA);
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + 0x1000 + OFFSET]);
});

test('a CD stays in the configuration cache when stage 2 takes its page away, until CFGI_CD', () => {
  const n = new NestedSetup();
  n.s.put(n.stage2Of(CD), 0n);
  n.s.tlbiVmall(VMID);
  n.s.sync();
  expect(new Set(n.s.smmu.stale().map((e) => `${e.kind} ${e.sid} ${e.ssid}`))).toEqual(new Set([`cd ${SID} 0`]));
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
  n.s.command(0x05n | SID_WORD, 1n);
  n.s.sync();
  expect(reaches(n)).toEqual(['F_TRANSLATION']);
  // The stage-1 tag of the CD is left, for whoever gets VMID and ASID next.
  expect(n.s.smmu.stale()).toMatchObject([{ kind: 'tag', stage: 1, vmid: VMID, asid: ASID }]);
  n.nhAll();
  n.s.sync();
  expect(n.s.smmu.stale()).toEqual([]);
});

test('a CD stays in the configuration cache when its page becomes Device memory under S2PTW, until CFGI_CD', () => {
  const n = new NestedSetup();
  n.attach(undefined, undefined, stage2Word(VMID) | (1n << 54n));
  n.s.cfgiAll();
  n.s.sync();
  n.s.put(n.stage2Of(CD), n.s.get(n.stage2Of(CD)) & ~0x3cn);
  n.s.command(0x30n);
  n.s.sync();
  expect(reaches(n)).toEqual(['F_PERMISSION', DATA + OFFSET]);
  n.s.command(0x05n | SID_WORD, 1n);
  n.s.sync();
  expect(reaches(n)).toEqual(['F_PERMISSION']);
});

test('a nested stream that is detached leaves both tags, and S12_VMALL takes them', () => {
  const n = new NestedSetup();
  n.s.put(n.s.steAt(SID), 1n);
  expect(reaches(n)).toEqual(['abort', DATA + OFFSET]);
  n.s.cfgiSte(SID);
  n.s.sync();
  expect(reaches(n)).toEqual(['abort']);
  expect(new Set(n.s.smmu.stale().map((e) => `${e.kind} ${e.stage}`))).toEqual(new Set(['tag 1', 'tag 2']));
  n.s.tlbiVmall(VMID);
  n.s.sync();
  expect(n.s.smmu.stale()).toEqual([]);
  n.s.put(n.stage2Of(DATA), 0n);
  n.s.put(n.leafAt, 0n);
  expect(n.s.smmu.stale()).toEqual([]);
});

test('an STE that becomes valid before its S2TTB is written has its stage 2 in reach from then on', () => {
  const n = new NestedSetup();
  const at = n.s.steAt(2);
  n.s.put(at, BigInt(CD) | 0xfn);
  n.s.put(at + 16, stage2Word(VMID + 1));
  n.s.put(at + 24, BigInt(n.top));
  n.s.put(n.stage2Of(DATA), 0n);
  expect(n.s.reaches(2, IOVA)).toContain(DATA + OFFSET);
});

test('a stage-1-only stream under the same VMID and ASID hands its entries, which know no stage 2, to a nested one', () => {
  const n = new NestedSetup();
  const flat = n.s.page();
  const cd = n.s.page();
  n.s.put(cd + 8, BigInt(flat));
  n.s.put(cd, n.s.get(CD + OFFSET));
  n.s.put(flat, BigInt(S1_RW) | 1n);
  n.s.ste(2, BigInt(cd) | 0xbn, 0xd4n, BigInt(VMID), 0n);
  n.s.cfgiAll();
  n.s.sync();
  expect(reaches(n)).toContain(IOVA);
});

test('undo takes the reach of nested streams back', () => {
  const n = new NestedSetup();
  const { memory } = n.s.machine;
  const before = [memory.stateHash(true), n.s.smmu.stale(), reaches(n)];
  const mark = memory.mark();
  n.s.put(n.stage2Of(L3), 0n);
  n.s.tlbiIpa(VMID, L3, true);
  n.s.sync();
  n.s.put(n.s.steAt(SID), 1n);
  n.s.cfgiSte(SID);
  n.nhAll();
  n.s.sync();
  memory.undo(mark);
  expect([memory.stateHash(true), n.s.smmu.stale(), reaches(n)]).toEqual(before);
  n.s.put(n.leafAt, 0n);
  expect(reaches(n)).toEqual(['F_TRANSLATION', DATA + OFFSET]);
});
