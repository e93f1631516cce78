import { expect, test } from 'vitest';
import type { SmmuDescription } from '#machine';
import { cdWord, mapPage, S1_RW, type Setup, stage2Word } from './bench-setup.ts';
import { IOVA, SID, smmuWith } from './nested-setup.ts';

const SID_WORD = BigInt(SID) << 32n;
const A = 0x4010_0000;
const withSsid = (ssid: number): bigint => SID_WORD | (1n << 11n) | (BigInt(ssid) << 12n);
const ASID = 20;

interface Case {
  s: Setup;
  /** The CD table, or its level 1. */
  table: number;
  /** Where the CD of a substream is. */
  cdAt: (ssid: number) => number;
  leaves: Map<number, number>;
}

/** Stream 3 with 2^log2 CDs; each listed substream maps {@link IOVA} to its own page, in an ASID of its own. */
function substreams(
  format: 0 | 1 | 2 | 3,
  log2: number,
  ssids: number[],
  dss = 0,
  change: Partial<SmmuDescription> = {},
): Case {
  const s = smmuWith({ ssidBits: 12, twoLevelCdTable: true, ...change });
  s.enable();
  const table = 0x4018_0000;
  const span = format === 1 ? 64 : format === 2 ? 1024 : 0;
  const leafOf = (ssid: number): number => 0x401c_0000 + Math.floor(ssid / span) * 0x10000;
  const cdAt = (ssid: number): number => (span === 0 ? table + 64 * ssid : leafOf(ssid) + 64 * (ssid % span));
  const leaves = new Map<number, number>();
  for (const ssid of ssids) {
    const top = s.page();
    leaves.set(ssid, mapPage(s, top, IOVA, BigInt(pageOf(ssid)) | BigInt(S1_RW) | 3n).at);
    s.cd(cdAt(ssid), ASID + ssid, top);
    if (span !== 0) s.put(table + 8 * Math.floor(ssid / span), BigInt(leafOf(ssid)) | 1n);
  }
  s.ste(SID, BigInt(table) | 0xbn | (BigInt(format) << 4n) | (BigInt(log2) << 59n), 0xd4n | BigInt(dss), 0n, 0n);
  s.cfgiAll();
  s.command(0x30n);
  s.sync();
  return { s, table, cdAt, leaves };
}

const pageOf = (ssid: number): number => A + 4096 * (ssid % 64);

function access(s: Setup, ssid?: number): number | bigint[] {
  const result = s.machine.device(SID).read(IOVA, 1, ssid === undefined ? {} : { ssid });
  return result.ok ? result.pa : s.lastEvent();
}

const reaches = (s: Setup, ssid: number): (number | string)[] =>
  s.smmu.possible(SID, IOVA, false, ssid).map(({ ok, pa, event }) => (ok ? pa : (event?.name ?? 'abort')));

test.each([
  ['0: linear', 0, 8, [0, 1, 63, 64, 255]],
  ['1: leaves of 64 CDs', 1, 8, [0, 1, 63, 64, 255]],
  ['2: leaves of 1024 CDs', 2, 12, [0, 1, 1023, 1024, 2500]],
  ['3: as 0', 3, 6, [0, 1, 63]],
] as const)('S1Fmt %s', (_, format, log2, ssids) => {
  const { s } = substreams(format, log2, [...ssids]);
  for (const ssid of ssids) expect(access(s, ssid)).toBe(pageOf(ssid));
  expect(access(s, 2)).toEqual([withSsid(2) | 0xan, 0n, 0n, 0n]);
  expect(access(s, 2 ** log2)).toEqual([withSsid(2 ** log2) | 8n, 0n, 0n, 0n]);
  expect(s.smmu.stale()).toEqual([]);
});

test('a two-level table that fits one leaf, and one that is smaller', () => {
  const { s } = substreams(1, 4, [0, 15]);
  expect([access(s, 15), access(s, 16)]).toEqual([pageOf(15), [withSsid(16) | 8n, 0n, 0n, 0n]]);
});

test('C_BAD_SUBSTREAMID: a SubstreamID where there is no CD for it', () => {
  const { s, table } = substreams(1, 8, [0]);
  expect(access(s, 64)).toEqual([withSsid(64) | 8n, 0n, 0n, 0n]);
  // L1CD.V set, but its pointer is beyond the output size.
  s.put(table + 8, (1n << 40n) | 1n);
  expect(access(s, 64)).toEqual([withSsid(64) | 8n, 0n, 0n, 0n]);
  for (const word0 of [0x9n, 0xdn, BigInt(table) | 0xbn]) {
    s.ste(SID, word0, 0n, stage2Word(5), 0n);
    expect(access(s, 1)).toEqual([withSsid(1) | 8n, 0n, 0n, 0n]);
  }
  s.ste(SID, 1n, 0n);
  expect(s.machine.device(SID).read(IOVA, 1, { ssid: 1 })).toMatchObject({ ok: false, event: null });
});

test('F_STREAM_DISABLED: S1DSS decides what an access without a SubstreamID is, and whether 0 is one', () => {
  const terminate = substreams(0, 4, [0, 1], 0);
  expect(access(terminate.s)).toEqual([SID_WORD | 6n, 0n, 0n, 0n]);
  expect(access(terminate.s, 0)).toBe(pageOf(0));
  const reserved = substreams(0, 4, [0], 3);
  expect(access(reserved.s)).toEqual([SID_WORD | 6n, 0n, 0n, 0n]);
  const bypass = substreams(0, 4, [0, 1], 1);
  expect(bypass.s.smmu.translate(SID, IOVA, false)).toMatchObject({ ok: true, pa: IOVA });
  expect(access(bypass.s, 0)).toBe(pageOf(0));
  const zero = substreams(0, 4, [0, 1], 2);
  expect(access(zero.s)).toBe(pageOf(0));
  expect(access(zero.s, 0)).toEqual([withSsid(0) | 6n, 0n, 0n, 0n]);
  expect(access(zero.s, 1)).toBe(pageOf(1));
});

test('C_BAD_STE: two-level tables without CD2L, S1CDMax above SSIDSIZE; ignored without substreams', () => {
  expect(access(substreams(1, 8, [0], 2, { twoLevelCdTable: false }).s)).toEqual([SID_WORD | 4n, 0n, 0n, 0n]);
  expect(access(substreams(0, 13, [0], 2).s)).toEqual([SID_WORD | 4n, 0n, 0n, 0n]);
  expect(access(substreams(1, 8, [], 2, { ssidBits: 0 }).s)).toEqual([SID_WORD | 10n, 0n, 0n, 0n]);
});

test('the event of a fault carries the SubstreamID', () => {
  const { s, leaves } = substreams(0, 4, [3]);
  s.put(leaves.get(3)!, 0n);
  expect(access(s, 3)).toEqual([withSsid(3) | 0x10n, 0x0000_0208_0000_0000n, BigInt(IOVA), 0n]);
});

// ---- caches

const cfgiCd = (s: Setup, ssid: number, leaf = true): void =>
  s.command(0x05n | SID_WORD | (BigInt(ssid) << 12n), leaf ? 1n : 0n);

test('CFGI_CD is for one SubstreamID, CFGI_CD_ALL and CFGI_STE for all of the stream', () => {
  for (const all of [0x06n, 0x03n]) {
    const { s, cdAt } = substreams(0, 6, [1, 2, 3]);
    for (const ssid of [1, 2, 3]) s.put(cdAt(ssid), 0n);
    expect(s.smmu.stale().map((e) => [e.kind, e.sid, e.ssid])).toEqual([1, 2, 3].map((ssid) => ['cd', SID, ssid]));
    cfgiCd(s, 2);
    s.sync();
    expect(reaches(s, 1)).toEqual(['C_BAD_CD', pageOf(1)]);
    expect(reaches(s, 2)).toEqual(['C_BAD_CD']);
    s.command(all | SID_WORD, 1n);
    s.sync();
    expect(reaches(s, 1)).toEqual(['C_BAD_CD']);
    expect(s.smmu.stale().map((e) => [e.kind, e.asid])).toEqual([
      ['tag', ASID + 2],
      ['tag', ASID + 1],
      ['tag', ASID + 3],
    ]);
  }
});

test('a level-1 CD descriptor needs a CFGI_CD that is not leaf-only; the other CDs below it stay cached', () => {
  const { s, table } = substreams(1, 8, [64, 65]);
  s.put(table + 8, 0n);
  expect(s.smmu.stale()).toMatchObject([{ kind: 'l1cd', sid: SID, ssid: 64 }]);
  expect(reaches(s, 64)).toEqual(['C_BAD_SUBSTREAMID', pageOf(64)]);
  cfgiCd(s, 64, true);
  s.sync();
  expect(reaches(s, 64)).toEqual(['C_BAD_SUBSTREAMID', pageOf(64)]);
  cfgiCd(s, 64, false);
  s.sync();
  expect(reaches(s, 64)).toEqual(['C_BAD_SUBSTREAMID']);
  expect(reaches(s, 65)).toEqual(['C_BAD_SUBSTREAMID', pageOf(65)]);
  cfgiCd(s, 65);
  s.sync();
  expect(reaches(s, 65)).toEqual(['C_BAD_SUBSTREAMID']);
});

test('a CD behind a level-1 descriptor that is still cached is seen as it is now', () => {
  const { s, table, cdAt } = substreams(1, 8, [64]);
  s.put(table + 8, 0n);
  const top = s.page();
  mapPage(s, top, IOVA, BigInt(A + 0x7000) | BigInt(S1_RW) | 3n);
  s.cd(cdAt(65), 50, top);
  expect(reaches(s, 65)).toContain(A + 0x7000);
});

test('substreams with one ASID share their entries, with different ones they do not', () => {
  const { s, leaves, cdAt } = substreams(0, 4, [1, 2]);
  s.put(leaves.get(1)!, 0n);
  expect(reaches(s, 1)).toEqual(['F_TRANSLATION', pageOf(1)]);
  expect(reaches(s, 2)).toEqual([pageOf(2)]);
  s.put(cdAt(2), cdWord(ASID + 1));
  cfgiCd(s, 2);
  s.sync();
  expect(reaches(s, 2)).toEqual([pageOf(2), pageOf(1), 'F_TRANSLATION']);
});

test('undo takes the reach of substreams back', () => {
  const { s, table } = substreams(1, 8, [64, 65]);
  const { memory } = s.machine;
  const before = [memory.stateHash(true), s.smmu.stale(), reaches(s, 64)];
  const mark = memory.mark();
  s.put(table + 8, 0n);
  s.command(0x06n | SID_WORD);
  s.sync();
  s.command(0x30n);
  s.sync();
  memory.undo(mark);
  expect([memory.stateHash(true), s.smmu.stale(), reaches(s, 64)]).toEqual(before);
});
