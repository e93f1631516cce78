/**
 * What a TLB entry keeps of its walk: the fields of the CD or STE that it was walked with, and the permissions of the
 * tables above it, as they were. Changing them without a TLB invalidation leaves the old result possible.
 */

import { describe, expect, test } from 'vitest';
import { cdWord, mapPage, S1_RW, S2_RW, Setup, stage2Word } from './bench-setup.ts';
import { CD, DATA, IOVA, L1, L3, NestedSetup, OFFSET, SID } from './nested-setup.ts';

const STREAM = 3;
const PAGE_A = 0x40100000;
const AF = 0x400n;
const AFFD = 1n << 35n;
const IPS = 7n << 32n;
const EPD0 = 1n << 14n;
const TBI0 = 1n << 38n;
const HAD0 = 2n;
const READ_ONLY_TABLE = 2n << 61n;
const TOP_BYTE = 5 * 2 ** 56;
const BEYOND_32_BITS = 0x1_0010_0000n;

/** Stream 3 with one CD of ASID 7, and one page mapped by `leaf`; all caches clean. */
function stage1(leaf: bigint, ...fields: bigint[]) {
  const s = new Setup().enable();
  const top = s.page();
  const map = mapPage(s, top, IOVA, leaf | 3n);
  const cd = s.stage1(STREAM, 7, top);
  s.put(
    cd,
    fields.reduce((word, field) => word ^ field, cdWord(7)),
  );
  clean(s);
  return { s, top, cd, ...map };
}

function clean(s: Setup): void {
  s.cfgiAll();
  s.sync();
  s.command(0x30n);
  s.sync();
  expect(s.smmu.stale()).toEqual([]);
}

/** Changes a CD, and invalidates it but not the TLB. */
function changeCd(s: Setup, at: number, value: bigint): void {
  s.put(at, value);
  s.cfgiSte(STREAM);
  s.sync();
}

const RW = BigInt(PAGE_A) | BigInt(S1_RW);

describe('a CD that changes without TLBI', () => {
  test('AFFD set to 0: a leaf with a clear access flag may still be cached', () => {
    const { s, cd } = stage1(RW & ~AF, AFFD);
    expect(s.reaches(STREAM, IOVA)).toEqual([PAGE_A]);
    changeCd(s, cd, cdWord(7));
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_ACCESS', PAGE_A]);
    s.tlbiAsid(0, 7);
    s.sync();
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_ACCESS']);
  });

  test('AFFD set to 0: also when the leaf has gone by then', () => {
    const { s, cd, at } = stage1(RW & ~AF, AFFD);
    s.put(at, 0n);
    changeCd(s, cd, cdWord(7));
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
  });

  test('IPS made narrower: an output that was in range may still be cached', () => {
    const { s, cd } = stage1(BEYOND_32_BITS | BigInt(S1_RW));
    changeCd(s, cd, cdWord(7) & ~IPS);
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_ADDR_SIZE', Number(BEYOND_32_BITS)]);
  });

  test('IPS made wider: an output that was out of range is not cached', () => {
    const { s, cd, at } = stage1(BEYOND_32_BITS | BigInt(S1_RW), 2n << 32n);
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_ADDR_SIZE']);
    s.put(at, 0n);
    changeCd(s, cd, cdWord(7));
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_TRANSLATION']);
  });

  test('HAD set to 0: a write that its tables forbid now may still be cached as allowed', () => {
    const { s, cd, top } = stage1(RW);
    const at = top + 8 * Math.floor(IOVA / 2 ** 30);
    s.put(cd + 8, BigInt(top) | HAD0);
    s.put(at, s.get(at) | READ_ONLY_TABLE);
    clean(s);
    expect(s.reaches(STREAM, IOVA, true)).toEqual([PAGE_A]);
    changeCd(s, cd + 8, BigInt(top));
    expect(s.reaches(STREAM, IOVA, true)).toEqual(['F_PERMISSION', PAGE_A]);
  });

  test('EPD set to 1: walks end, what is cached still translates', () => {
    const { s, cd } = stage1(RW);
    changeCd(s, cd, cdWord(7) | EPD0);
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
    s.tlbiAsid(0, 7);
    s.sync();
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_TRANSLATION']);
  });

  test('EPD is 1: what another stream of the ASID walks for translates here too', () => {
    const { s, top } = stage1(RW);
    const other = s.stage1(4, 7, top);
    s.put(other, cdWord(7) | EPD0);
    clean(s);
    expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
  });

  test('T0SZ made larger: addresses above the new range may still be cached', () => {
    const { s, cd } = stage1(RW);
    changeCd(s, cd, cdWord(7, 39));
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
  });

  test('TBI set to 0: an entry that was made with the top byte ignored may still match', () => {
    const { s, cd } = stage1(RW, TBI0);
    expect(s.reaches(STREAM, IOVA + TOP_BYTE)).toEqual([PAGE_A]);
    changeCd(s, cd, cdWord(7));
    expect(s.reaches(STREAM, IOVA + TOP_BYTE)).toEqual(['F_TRANSLATION', PAGE_A]);
  });
});

test('TBI: an old leaf is found for an address with a top byte', () => {
  const { s, at } = stage1(RW, TBI0);
  s.put(at, 0n);
  expect(s.reaches(STREAM, IOVA + TOP_BYTE)).toEqual(['F_TRANSLATION', PAGE_A]);
});

describe('permissions of tables', () => {
  const elsewhere = IOVA ^ 0x4000;

  test.each([
    ['level 1', 0],
    ['level 2', 1],
  ])('a %s descriptor that becomes read-only, with a TLBI elsewhere under it', (_, level) => {
    const { s, top, l2 } = stage1(RW);
    const at = level === 0 ? top + 8 * Math.floor(IOVA / 2 ** 30) : l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512);
    s.put(at, s.get(at) | READ_ONLY_TABLE);
    expect(s.reaches(STREAM, IOVA, true)).toEqual(['F_PERMISSION', PAGE_A]);
    s.command(0x12n | (7n << 48n), BigInt(elsewhere));
    s.sync();
    expect(s.reaches(STREAM, IOVA, true)).toEqual(['F_PERMISSION', PAGE_A]);
    expect(s.reaches(STREAM, elsewhere, true)).toEqual(['F_TRANSLATION']);
    s.command(0x12n | (7n << 48n), BigInt(IOVA));
    s.sync();
    expect(s.reaches(STREAM, IOVA, true)).toEqual(['F_PERMISSION']);
    expect(s.smmu.stale().filter(({ kind }) => kind === 'leaf')).toEqual([]);
  });

  test('a leaf that goes while its table is read-only is not writable from the cache', () => {
    const { s, top, at } = stage1(RW);
    const l1At = top + 8 * Math.floor(IOVA / 2 ** 30);
    s.put(l1At, s.get(l1At) | READ_ONLY_TABLE);
    clean(s);
    s.put(at, 0n);
    expect(s.reaches(STREAM, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
    expect(s.reaches(STREAM, IOVA, true)).toEqual(['F_TRANSLATION', 'F_PERMISSION']);
  });

  test('a cached table pointer keeps the limits of the tables above it', () => {
    const { s, top, l2 } = stage1(RW);
    const l1At = top + 8 * Math.floor(IOVA / 2 ** 30);
    const l2At = l2 + 8 * (Math.floor(IOVA / 2 ** 21) % 512);
    s.put(l1At, s.get(l1At) | READ_ONLY_TABLE);
    clean(s);
    s.put(l2At, 0n);
    expect(s.reaches(STREAM, IOVA, true)).toEqual(['F_TRANSLATION', 'F_PERMISSION']);
  });
});

test('TLBI by VA with a TTL hint: what is below an old table pointer at other levels stays', () => {
  const s = new Setup().enable();
  const top = s.page();
  const l2 = s.page();
  const block = BigInt(PAGE_A & ~0x1fffff) | BigInt(S2_RW) | 1n;
  s.put(top, BigInt(l2) | 3n);
  s.put(l2, block);
  s.stage2(STREAM, 5, top, 25);
  clean(s);
  s.put(top, 0n);
  // The whole GiB, but only leaves of level 3 and the tables above them.
  s.tlbiIpa(5, 0, false, 0, 18, 3);
  s.sync();
  expect(s.reaches(STREAM, 0)).toEqual(['F_TRANSLATION', PAGE_A & ~0x1fffff]);
  s.tlbiIpa(5, 0, false, 0, 18, 2);
  s.sync();
  expect(s.reaches(STREAM, 0)).toEqual(['F_TRANSLATION']);
});

test('TLBI by VA with TTL 2: a pointer to a level 3 table stays', () => {
  const s = new Setup().enable();
  const top = s.page();
  const { l2 } = mapPage(s, top, 0, BigInt(PAGE_A) | BigInt(S2_RW) | 3n);
  s.stage2(STREAM, 5, top, 25);
  clean(s);
  s.put(top, 0n);
  s.tlbiIpa(5, 0, false, 0, 18, 2);
  s.sync();
  expect(s.reaches(STREAM, 0)).toEqual(['F_TRANSLATION', PAGE_A]);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'table', at: l2 }]);
});

describe('stage 2', () => {
  test.each([
    ['S2AFFD', BigInt(S2_RW) & ~AF, PAGE_A, 1n << 53n, 'F_ACCESS'],
    ['S2PS', BigInt(S2_RW), Number(BEYOND_32_BITS), 0n, 'F_ADDR_SIZE'],
  ])('%s changes without TLBI', (field, attributes, target, before, fault) => {
    const s = new Setup().enable();
    const top = s.page();
    mapPage(s, top, IOVA, BigInt(target) | attributes | 3n);
    s.stage2(STREAM, 5, top, 25);
    s.put(s.steAt(STREAM) + 16, stage2Word(5, 25) | before);
    clean(s);
    s.put(s.steAt(STREAM) + 16, field === 'S2PS' ? stage2Word(5, 25) & ~(7n << 48n) : stage2Word(5, 25));
    s.cfgiSte(STREAM);
    s.sync();
    expect(s.reaches(STREAM, IOVA)).toEqual([fault, target]);
    s.tlbiVmall(5);
    s.sync();
    expect(s.reaches(STREAM, IOVA)).toEqual([fault]);
  });

  test('S2PTW set to 1: a walk that went through Device memory may still be cached', () => {
    const n = new NestedSetup();
    const { s } = n;
    const device = BigInt(L3 + OFFSET) | (BigInt(S2_RW) & ~0x3cn) | 3n;
    s.put(n.stage2Of(L3), device);
    clean(s);
    const data = s.reaches(SID, IOVA);
    expect(data).toHaveLength(1);
    s.put(s.steAt(SID) + 16, stage2Word(5) | (1n << 54n));
    s.cfgiSte(SID);
    s.sync();
    expect(s.reaches(SID, IOVA)).toEqual(['F_PERMISSION', ...data]);
    s.tlbiVmall(5);
    s.sync();
    expect(s.reaches(SID, IOVA)).toEqual(['F_PERMISSION']);
  });
});

test('nested: a stage-1 table that becomes read-only, with a TLBI elsewhere under it', () => {
  const n = new NestedSetup();
  const { s } = n;
  const before = s.reaches(SID, IOVA, true);
  n.guest(L1, 0, s.get(L1 + OFFSET) | READ_ONLY_TABLE);
  n.nhVa(IOVA ^ 0x4000, false);
  s.sync();
  expect(s.reaches(SID, IOVA, true)).toEqual(['F_PERMISSION', ...before]);
  n.nhVa(IOVA, false);
  s.sync();
  expect(s.reaches(SID, IOVA, true)).toEqual(['F_PERMISSION']);
});

test('a CD that the STE led to before may be cached for the stream while that STE may be', () => {
  const n = new NestedSetup();
  const { s } = n;
  // Stage 1 alone, from a CD that lies where no guest sees it; then nested, with a guest CD that is not valid.
  const cd = s.page();
  s.put(cd + 8, BigInt(L1));
  s.put(cd, cdWord(9));
  n.attach(BigInt(cd) | 0xbn);
  n.guest(CD, 0, 0n);
  clean(s);
  s.put(s.steAt(SID), BigInt(CD) | 0xfn);
  // The new STE, with the old CD.
  expect(s.reaches(SID, IOVA)).toContain(DATA + OFFSET);
});

test('the table of another root makes no fault of its own: what faults at its first table is not cached', () => {
  const { s } = stage1(RW);
  const empty = s.page();
  s.stage1(4, 7, empty);
  clean(s);
  expect(s.reaches(STREAM, IOVA)).toEqual([PAGE_A]);
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
});

test('of the tables of another ASID only global leaves are hit: what faults there is not cached', () => {
  const { s, at } = stage1(RW);
  s.stage1(4, 8, s.page());
  const global = RW & ~0x800n;
  s.put(at, (global & ~AF) | 3n);
  clean(s);
  expect(s.reaches(STREAM, IOVA)).toEqual(['F_ACCESS']);
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION']);
  s.put(at, global | 3n);
  expect(s.reaches(4, IOVA)).toEqual(['F_TRANSLATION', PAGE_A]);
  s.put(at, global | 3n | 0x80n);
  clean(s);
  expect(s.reaches(4, IOVA, true)).toEqual(['F_TRANSLATION', 'F_PERMISSION']);
});
