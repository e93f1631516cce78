import { expect, test } from 'vitest';
import { tiny } from '#machine';
import { cdWord, mapPage, S1_RW, S2_RW, Setup, STRTAB, stage2Word } from './bench-setup.ts';

const A = 0x40100000;
const B = 0x40200000;
const IOVA = 0x12345000;

/** Stream 1 in VMID 5, one page mapped at {@link IOVA}. */
function withStage2(): { s: Setup; top: number; l2: number; l3: number; at: number } {
  const s = new Setup();
  const top = s.pair();
  s.enable();
  s.stage2(1, 5, top);
  s.cfgiSte(1);
  s.sync();
  return { s, top, ...mapPage(s, top, IOVA, BigInt(A) | BigInt(S2_RW) | 3n) };
}

test('a first mapping leaves nothing stale and is the only outcome', () => {
  const { s } = withStage2();
  expect(s.smmu.stale()).toEqual([]);
  expect(s.reaches(1, IOVA + 8)).toEqual([A + 8]);
});

test('an unmapped page stays reachable until a covering invalidation and its SYNC', () => {
  const { s, at } = withStage2();
  s.put(at, 0n);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION', A]);
  s.tlbiIpa(5, IOVA, true);
  expect(s.smmu.stale().map((e) => e.pending)).toEqual([true]);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION', A]);
  s.sync();
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION']);
  expect(s.smmu.stale()).toEqual([]);
});

test('an invalidation before the unmap does not count for it', () => {
  const { s, at } = withStage2();
  s.tlbiIpa(5, IOVA, true);
  s.put(at, 0n);
  s.sync();
  expect(s.reaches(1, IOVA)).toContain(A);
});

test('a SYNC before the invalidation does not complete it', () => {
  const { s, at } = withStage2();
  s.put(at, 0n);
  s.sync();
  s.tlbiIpa(5, IOVA, true);
  expect(s.reaches(1, IOVA)).toContain(A);
});

test.each([
  ['another VMID', (s: Setup) => s.tlbiIpa(6, IOVA, true)],
  ['the next page', (s: Setup) => s.tlbiIpa(5, IOVA + 4096, true)],
  ['a range that ends before it', (s: Setup) => s.tlbiIpa(5, IOVA - 8 * 4096, true, 7, 0, 3)],
  ['a level it is not at', (s: Setup) => s.tlbiIpa(5, IOVA, true, 0, 0, 2)],
  ['stage 1 by VMID', (s: Setup) => s.command(0x10n | (5n << 32n))],
  ['the configuration', (s: Setup) => s.cfgiAll()],
])('an invalidation of %s does not cover the page', (_, invalidate) => {
  const { s, at } = withStage2();
  s.put(at, 0n);
  invalidate(s);
  s.sync();
  expect(s.reaches(1, IOVA)).toContain(A);
});

test.each([
  ['its range', (s: Setup) => s.tlbiIpa(5, IOVA - 7 * 4096, true, 7, 0, 3)],
  ['its VMID', (s: Setup) => s.tlbiVmall(5)],
  ['everything', (s: Setup) => s.command(0x30n)],
])('an invalidation of %s covers the page', (_, invalidate) => {
  const { s, at } = withStage2();
  s.put(at, 0n);
  invalidate(s);
  s.sync();
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION']);
});

test('a run of pages is one entry, and a range invalidation splits it', () => {
  const { s, l3 } = withStage2();
  s.machine.memory.writeRun(l3, 512, 0, A | S2_RW | 3, 4096);
  s.tlbiVmall(5);
  s.sync();
  s.machine.memory.writeRun(l3, 512, 0, 0, 0);
  const base = IOVA - (IOVA % 2 ** 21);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', iova: base, size: 2 ** 21 }]);
  s.tlbiIpa(5, base + 0x8000, true, 3, 0, 3);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([
    { iova: base, size: 0x8000, oldLo: A | S2_RW | 3 },
    { iova: base + 0xc000, size: 2 ** 21 - 0xc000, oldLo: (A + 0xc000) | S2_RW | 3 },
  ]);
  expect(s.reaches(1, base + 0x9000)).toEqual(['F_TRANSLATION']);
  expect(s.reaches(1, base + 0xd000)).toEqual(['F_TRANSLATION', A + 0xd000]);
});

test('unmapping downwards makes one entry too, and unmapping the same again adds none', () => {
  const { s, l3 } = withStage2();
  for (let i = 0; i < 4; i++) s.put(l3 + 8 * i, BigInt(A + 4096 * i) | BigInt(S2_RW) | 3n);
  for (let round = 0; round < 2; round++) {
    for (let i = 3; i >= 0; i--) s.put(l3 + 8 * i, 0n);
    for (let i = 0; i < 4; i++) s.put(l3 + 8 * i, BigInt(A + 4096 * i) | BigInt(S2_RW) | 3n);
  }
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', size: 0x4000 }]);
});

test('a removed table leads through its present content until it is invalidated', () => {
  const { s, l2, l3 } = withStage2();
  s.put(l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512), 0n);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'table', level: 2, size: 2 ** 21 }]);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION', A]);
  // The page is used for something else: whoever writes it decides where the device goes.
  s.put(l3 + 8 * (Math.floor(IOVA / 4096) % 512), BigInt(B) | BigInt(S2_RW) | 3n);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION', B, A]);
  s.tlbiIpa(5, IOVA - (IOVA % 2 ** 21), false, 31, 4, 0);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION']);
  // No longer reachable: writing there has no meaning for the SMMU.
  s.put(l3, BigInt(A) | 3n);
  s.put(l3, 0n);
  expect(s.smmu.stale()).toEqual([]);
});

test('a leaf-only invalidation leaves a removed table cached', () => {
  const { s, l2 } = withStage2();
  s.put(l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512), 0n);
  s.tlbiIpa(5, IOVA - (IOVA % 2 ** 21), true, 31, 4, 0);
  s.sync();
  expect(s.reaches(1, IOVA)).toContain(A);
});

test('invalidating one address of a removed table drops the table, and its other leaves stay cached', () => {
  const { s, l2, l3 } = withStage2();
  s.put(l3, BigInt(B) | BigInt(S2_RW) | 3n);
  const base = IOVA - (IOVA % 2 ** 21);
  s.put(l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512), 0n);
  s.tlbiIpa(5, IOVA, false);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', iova: base, size: 4096 }]);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION']);
  expect(s.reaches(1, base)).toEqual(['F_TRANSLATION', B]);
  s.tlbiIpa(5, base, true);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('page by page, non-leaf invalidations cover a removed table in the end', () => {
  const { s, l2, l3 } = withStage2();
  s.put(l3, BigInt(B) | BigInt(S2_RW) | 3n);
  s.put(l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512), 0n);
  const base = IOVA - (IOVA % 2 ** 21);
  for (let i = 0; i < 512; i++) s.tlbiIpa(5, base + 4096 * i, false);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('any address in a removed block invalidates it', () => {
  const { s, l2 } = withStage2();
  s.put(l2, BigInt(B) | BigInt(S2_RW) | 1n);
  s.put(l2, 0n);
  const base = IOVA - (IOVA % 2 ** 30);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', level: 2, size: 2 ** 21 }]);
  expect(s.reaches(1, base + 0x1234)).toEqual(['F_TRANSLATION', B + 0x1234]);
  s.tlbiIpa(5, base + 0x100000, true, 0, 0, 2);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('a stream that is detached keeps its STE until CFGI and SYNC, then its tag until a TLBI of the VMID and SYNC', () => {
  const { s, top, at } = withStage2();
  s.put(s.steAt(1), 1n);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'ste', sid: 1 }]);
  expect(s.reaches(1, IOVA)).toEqual(['abort', A]);
  s.cfgiSte(2);
  s.sync();
  expect(s.reaches(1, IOVA)).toEqual(['abort', A]);
  s.cfgiSte(1);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'tag', vmid: 5, stage: 2 }]);
  expect(s.reaches(1, IOVA)).toEqual(['abort']);
  // The VMID is given to another stream with an empty table: the old translations are there for it.
  s.stage2(2, 5, s.pair());
  s.cfgiSte(2);
  s.sync();
  expect(s.reaches(2, IOVA)).toEqual(['F_TRANSLATION', A]);
  expect(s.smmu.possible(2, IOVA, false)[1]!.via).toBe('tag:0');
  // Removing the leaf now does not help: it may be cached.
  s.put(at, 0n);
  expect(s.reaches(2, IOVA)).toEqual(['F_TRANSLATION', A]);
  s.tlbiVmall(5);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
  expect(s.reaches(2, IOVA)).toEqual(['F_TRANSLATION']);
  // The old tables are out of reach for good.
  s.put(top, 0n);
  expect(s.smmu.stale()).toEqual([]);
});

test('a TLBI in the same batch as the CFGI does not clean what the STE still led to', () => {
  const { s } = withStage2();
  s.put(s.steAt(1), 1n);
  s.cfgiSte(1);
  s.tlbiVmall(5);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'tag', vmid: 5 }]);
});

test('a tag that two streams share is only dirty when both are gone', () => {
  const { s, top } = withStage2();
  s.stage2(2, 5, top);
  s.cfgiSte(2);
  s.sync();
  s.put(s.steAt(1), 1n);
  s.cfgiSte(1);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
  s.put(s.steAt(2), 1n);
  s.cfgiSte(2);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'tag' }]);
});

test('two live tables under one VMID mix', () => {
  const { s } = withStage2();
  const top = s.pair();
  mapPage(s, top, IOVA, BigInt(B) | BigInt(S2_RW) | 3n);
  s.stage2(2, 5, top);
  s.cfgiSte(2);
  s.sync();
  expect(s.reaches(1, IOVA)).toEqual([A, B]);
  expect(s.smmu.possible(1, IOVA, false)[1]!.via).toMatch(/^root:0x/);
});

test('a live table also serves a stream of its VMID whose own table is outside memory', () => {
  const { s } = withStage2();
  s.stage2(2, 5, 0);
  s.cfgiSte(2);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
  expect(s.reaches(2, IOVA)).toEqual(['F_WALK_EABT', A]);
});

test('an STE that is changed word by word while it is live may be read as any mix, and leaves a tag behind', () => {
  const { s, top: old } = withStage2();
  const top = s.pair();
  mapPage(s, top, IOVA, BigInt(B) | BigInt(S2_RW) | 3n);
  s.put(s.steAt(1) + 16, stage2Word(7));
  s.put(s.steAt(1) + 24, BigInt(top));
  expect(s.reaches(1, IOVA)).toEqual([B, A]);
  s.cfgiSte(1);
  s.sync();
  // For a moment the STE gave the old table under the new VMID, and a mix gave the new table under the old VMID.
  expect(s.smmu.possible(1, IOVA, false)).toMatchObject([{ pa: B }, { pa: A, via: expect.stringMatching(/^tag:/) }]);
  expect(new Set(s.smmu.stale().map((e) => `${e.kind} ${e.vmid} 0x${e.at.toString(16)}`))).toEqual(
    new Set([`tag 5 0x${old.toString(16)}`, `tag 7 0x${old.toString(16)}`, `tag 5 0x${top.toString(16)}`]),
  );
  s.tlbiVmall(7);
  s.sync();
  expect(s.reaches(1, IOVA)).toEqual([B]);
});

/** Stream 3 in ASID 9, VMID 0. */
function withStage1(): { s: Setup; cd: number; top: number; l2: number; l3: number; at: number } {
  const s = new Setup();
  const top = s.page();
  s.enable();
  const cd = s.stage1(3, 9, top);
  s.cfgiSte(3);
  s.sync();
  return { s, cd, top, ...mapPage(s, top, IOVA, BigInt(A) | BigInt(S1_RW) | 3n) };
}

const nhVa = (s: Setup, asid: number, leaf: boolean): void =>
  s.command(0x12n | (BigInt(asid) << 48n), BigInt(IOVA) | (leaf ? 1n : 0n));

test('a stage-1 leaf goes with its own ASID, not with another, unless it is global', () => {
  const { s, at } = withStage1();
  s.put(at, 0n);
  nhVa(s, 8, true);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', stage: 1, asid: 9, vmid: 0 }]);
  nhVa(s, 9, true);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
  s.put(at, (BigInt(A) | BigInt(S1_RW) | 3n) & ~0x800n);
  s.put(at, 0n);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', asid: -1 }]);
  s.tlbiAsid(0, 9);
  s.sync();
  expect(s.smmu.stale()).toHaveLength(1);
  nhVa(s, 8, true);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('a global leaf serves every stream of its VMID', () => {
  const { s, at } = withStage1();
  const cd = s.stage1(4, 10, s.page());
  expect(cd).toBeGreaterThan(0);
  s.cfgiAll();
  s.sync();
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION']);
  s.put(at, (BigInt(A) | BigInt(S1_RW) | 3n) & ~0x800n);
  s.command(0x30n);
  s.sync();
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION', A]);
});

test('a CD must be invalidated for every stream that reaches it, then its ASID', () => {
  const { s, cd } = withStage1();
  s.ste(2, BigInt(cd) | 0xbn, 0xd6n, 0n, 0n);
  s.cfgiAll();
  s.sync();
  s.put(cd, 0n);
  expect(s.smmu.stale().map((e) => [e.kind, e.sid])).toEqual([
    ['cd', 2],
    ['cd', 3],
  ]);
  expect(s.reaches(2, IOVA)).toEqual(['C_BAD_CD', A]);
  s.command(0x05n | (2n << 32n), 1n);
  s.sync();
  expect(s.reaches(2, IOVA)).toEqual(['C_BAD_CD']);
  expect(s.reaches(3, IOVA)).toEqual(['C_BAD_CD', A]);
  s.cfgiSte(3);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'tag', stage: 1, asid: 9 }]);
  s.tlbiAsid(0, 9);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('cleaning a dead ASID leaves the global leaves it had', () => {
  const { s, cd, at } = withStage1();
  s.put(at, (BigInt(A) | BigInt(S1_RW) | 3n) & ~0x800n);
  s.command(0x30n);
  s.sync();
  s.put(cd, 0n);
  s.cfgiSte(3);
  s.sync();
  s.tlbiAsid(0, 9);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', asid: -1, size: 4096 }]);
});

test('another ASID in a live CD makes the old tag dirty, after its CFGI', () => {
  const { s, cd } = withStage1();
  s.put(cd, cdWord(11));
  s.command(0x05n | (3n << 32n), 1n);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'tag', asid: 9 }]);
});

test('a new STE without CFGI may still be seen as it was', () => {
  const { s, top } = withStage2();
  s.stage2(2, 6, top);
  expect(s.reaches(2, IOVA)[0]).toBe(A);
  expect(s.reaches(2, IOVA)).toContain('C_BAD_STE');
  s.cfgiSte(2);
  s.sync();
  expect(s.reaches(2, IOVA)).toEqual([A]);
});

test('turning the SMMU off and on with another stream table keeps the old one in the cache until CFGI_ALL', () => {
  const { s } = withStage2();
  s.smmu.write32(0x20, 0xc);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'strtab' }]);
  s.smmu.write64(0x80, 0, 0x40014000);
  s.smmu.write32(0x20, 0xd);
  expect(s.reaches(1, IOVA)).toEqual(['C_BAD_STE', A]);
  s.cfgiAll();
  s.sync();
  expect(s.reaches(1, IOVA)).toEqual(['C_BAD_STE']);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'tag', vmid: 5 }]);
});

test('undo takes caches and registers back', () => {
  const { s, at, l2 } = withStage2();
  const { memory } = s.machine;
  const before = [memory.stateHash(true), s.smmu.stale(), s.reaches(1, IOVA)];
  const mark = memory.mark();
  s.put(at, 0n);
  s.put(l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512), 0n);
  s.tlbiIpa(5, IOVA, false);
  s.sync();
  s.put(s.steAt(1), 1n);
  s.cfgiSte(1);
  s.sync();
  s.stage1(3, 9, s.page());
  s.machine.device('disk').read(IOVA, 1);
  s.tlbiVmall(5);
  s.command(0xffn);
  s.smmu.write32(0x20, 0);
  memory.undo(mark);
  expect([memory.stateHash(true), s.smmu.stale(), s.reaches(1, IOVA)]).toEqual(before);
  // And it works on as before.
  s.put(at, 0n);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION', A]);
});

test('a table that points at itself is followed to the last level and no further', () => {
  const { s, top } = withStage2();
  for (let i = 0; i < 512; i++) s.put(top + 8 * i, BigInt(top) | 0x7ffn);
  expect(s.smmu.untracked).toBeGreaterThan(0);
  expect(s.reaches(1, 0)).toContain(top);
});

const L2_INDEX = Math.floor(IOVA / 2 ** 21) % 512;
const L3_INDEX = Math.floor(IOVA / 4096) % 512;
const REGION = IOVA - (IOVA % 2 ** 21);

test('of two separate parts of a removed table that were invalidated, the larger counts', () => {
  const { s, l2, l3 } = withStage2();
  for (let i = 0; i < 8; i++) s.put(l3 + 8 * i, BigInt(B + 4096 * i) | BigInt(S2_RW) | 3n);
  s.put(l3 + 8 * L3_INDEX, 0n);
  s.tlbiIpa(5, IOVA, true);
  s.sync();
  s.put(l2 + 8 * L2_INDEX, 0n);
  s.tlbiIpa(5, REGION, false);
  s.tlbiIpa(5, REGION + 4 * 4096, false, 1, 0);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([
    { kind: 'leaf', iova: REGION, size: 4 * 4096 },
    { kind: 'leaf', iova: REGION + 6 * 4096, size: 2 * 4096 },
  ]);
});

test('a part of a run that is invalidated twice is gone once', () => {
  const { s, l3 } = withStage2();
  s.machine.memory.writeRun(l3, 8, 0, B | S2_RW | 3, 4096);
  s.machine.memory.writeRun(l3, 8, 0, 0, 0);
  s.tlbiIpa(5, REGION, true, 3, 0, 3);
  s.tlbiIpa(5, REGION + 4096, true);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ iova: REGION + 4 * 4096, size: 4 * 4096 }]);
});

test('two runs that are unmapped in turns are two entries', () => {
  const { s, l3 } = withStage2();
  s.machine.memory.writeRun(l3, 4, 0, B | S2_RW | 3, 4096);
  s.machine.memory.writeRun(l3 + 800, 4, 0, (B + 0x10000) | S2_RW | 3, 4096);
  for (let i = 0; i < 4; i++) {
    s.put(l3 + 8 * i, 0n);
    s.put(l3 + 800 + 8 * i, 0n);
  }
  expect(s.smmu.stale()).toMatchObject([
    { iova: REGION, size: 4 * 4096 },
    { iova: REGION + 100 * 4096, size: 4 * 4096 },
  ]);
});

test('what is removed from a dead tag between its invalidation and the SYNC is gone with it', () => {
  const { s, l2, at } = withStage2();
  s.put(s.steAt(1), 1n);
  s.cfgiSte(1);
  s.sync();
  s.tlbiVmall(5);
  s.put(at, 0n);
  s.put(l2 + 8 * L2_INDEX, 0n);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('a table that was removed and put back stays in reach when its old pointer is invalidated', () => {
  const { s, l2, l3, at } = withStage2();
  s.put(l2 + 8 * L2_INDEX, 0n);
  s.put(l2 + 8 * L2_INDEX, BigInt(l3) | 3n);
  s.tlbiIpa(5, REGION, false, 31, 4, 0);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
  s.put(at, 0n);
  expect(s.reaches(1, IOVA)).toEqual(['F_TRANSLATION', A]);
});

test('a table below a removed one stays cached where the invalidation did not reach', () => {
  const { s, top, l2 } = withStage2();
  const other = mapPage(s, top, REGION - 2 ** 21, BigInt(B) | BigInt(S2_RW) | 3n);
  expect(other.l2).toBe(l2);
  s.put(top, 0n);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'table', level: 1, size: 2 ** 30 }]);
  s.tlbiIpa(5, IOVA, false);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'table', level: 2, iova: REGION - 2 ** 21, size: 2 ** 21 }]);
  // Its table is still followed as it is now.
  s.put(other.l3 + 8, BigInt(A) | BigInt(S2_RW) | 3n);
  expect(s.reaches(1, REGION - 2 ** 21 + 4096)).toEqual(['F_TRANSLATION', A]);
});

test('an invalidation by ASID leaves the global leaves below a removed table', () => {
  const { s, l2, at } = withStage1();
  s.put(at, (BigInt(A) | BigInt(S1_RW) | 3n) & ~0x800n);
  s.command(0x30n);
  s.sync();
  s.put(l2 + 8 * L2_INDEX, 0n);
  // Below another ASID's table, only global leaves count.
  s.stage1(4, 10, s.page());
  s.cfgiAll();
  s.sync();
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION', A]);
  s.tlbiAsid(0, 9);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'leaf', asid: -1, iova: IOVA, size: 4096 }]);
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION', A]);
  s.command(0x10n);
  s.sync();
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION']);
});

test('a CD that is changed word by word while it is live may be read as any mix', () => {
  const { s, cd } = withStage1();
  const top = s.page();
  const next = mapPage(s, top, IOVA, BigInt(B) | BigInt(S1_RW) | 3n);
  s.put(cd, 0n);
  s.put(cd + 8, BigInt(top));
  expect(s.reaches(3, IOVA)).toEqual(['C_BAD_CD', B, A]);
  // The mix put the new table under the old ASID: what goes from there may stay in the TLB.
  s.put(next.at, 0n);
  expect(s.reaches(3, IOVA)).toContain(B);
  s.command(0x06n | (3n << 32n));
  s.sync();
  expect(s.reaches(3, IOVA)).toEqual(['C_BAD_CD']);
  expect(new Set(s.smmu.stale().map((e) => e.kind))).toEqual(new Set(['tag', 'leaf']));
});

test('CFGI_STE_RANGE covers the streams of its aligned range and no others', () => {
  const { s, top } = withStage2();
  s.stage2(4, 5, top);
  s.cfgiAll();
  s.sync();
  s.put(s.steAt(1), 1n);
  s.put(s.steAt(4), 1n);
  s.command(0x04n | (3n << 32n), 1n);
  s.sync();
  expect(s.smmu.stale()).toMatchObject([{ kind: 'ste', sid: 4 }]);
});

/** Two-level stream table: 16-bit StreamIDs, split 8, one span of 256 at 0x100 with stream 0x105 in VMID 5. */
function withTwoLevels(): { s: Setup; l2: number; sid: number } {
  const s = new Setup({
    ...tiny,
    smmus: [{ ...tiny.smmus[0]!, sidBits: 16, twoLevelStreamTable: true }],
    devices: [{ name: 'nic', smmu: 'smmu0', sid: 0x105 }],
  });
  const table = 0x40200000;
  const top = s.pair();
  mapPage(s, top, IOVA, BigInt(A) | BigInt(S2_RW) | 3n);
  s.enable(0x10000 | (8 << 6) | 16);
  for (const sid of [5, 7]) {
    s.put(table + 64 * sid + 24, BigInt(top));
    s.put(table + 64 * sid + 16, stage2Word(sid));
    s.put(table + 64 * sid, 0xdn);
  }
  s.put(STRTAB + 8, BigInt(table) | 9n);
  s.cfgiSte(0x105, false);
  s.cfgiSte(0x107, false);
  s.sync();
  return { s, l2: table, sid: 0x105 };
}

test('a level-1 descriptor needs a CFGI that is not leaf-only, and its STEs each need theirs', () => {
  const { s, sid } = withTwoLevels();
  expect(s.reaches(sid, IOVA)).toEqual([A]);
  s.put(STRTAB + 8, 0n);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'l1std', sid: 0x100 }]);
  expect(s.reaches(sid, IOVA)).toEqual(['C_BAD_STREAMID', A]);
  s.cfgiSte(sid, true);
  s.sync();
  expect(s.reaches(sid, IOVA)).toEqual(['C_BAD_STREAMID', A]);
  s.cfgiSte(sid, false);
  s.sync();
  expect(s.reaches(sid, IOVA)).toEqual(['C_BAD_STREAMID']);
  // The other stream of the span was not invalidated: its STE may be cached, word by word.
  expect(s.reaches(0x107, IOVA)).toEqual(['C_BAD_STREAMID', A]);
  s.cfgiSte(0x107);
  s.sync();
  expect(s.reaches(0x107, IOVA)).toEqual(['C_BAD_STREAMID']);
  expect(s.smmu.stale().map((e) => [e.kind, e.vmid])).toEqual([
    ['tag', 5],
    ['tag', 7],
  ]);
});

test('CFGI_ALL covers a level-1 descriptor with all its STEs', () => {
  const { s } = withTwoLevels();
  s.put(STRTAB + 8, 0n);
  s.cfgiAll();
  s.sync();
  s.command(0x30n);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
});

test('STEs behind a level-1 descriptor that is still cached are seen as they are now', () => {
  const { s, l2, sid } = withTwoLevels();
  s.put(STRTAB + 8, 0n);
  s.put(l2 + 64 * 5, 1n);
  expect(s.reaches(sid, IOVA)).toEqual(['C_BAD_STREAMID', 'abort', A]);
});
