/** The cache of whole translations, case by case; smmu-translation-cache.property.test.ts tries histories at random. */

import { expect, test } from 'vitest';
import { PhysicalMemory, registers } from '#machine';
import { TranslationCache } from '../../machine/smmu-v3/translation-cache.ts';
import { TranslationUnit } from '../../machine/smmu-v3/unit.ts';
import { cdWord, mapPage, S1_RW, Setup } from './bench-setup.ts';

const SID = 1;
const ASID = 7;
const IOVA = 0x5000;
const BEFORE = 0x40100000;
const AFTER = 0x40140000;
const TOP_BYTE_IGNORED = 1n << 38n;

/** A stage-1 stream that maps one page. */
function streamOf(cdBits = 0n): { s: Setup; leafAt: number } {
  const s = new Setup().enable();
  const top = s.page();
  const { at } = mapPage(s, top, IOVA, leaf(BEFORE));
  const cd = s.stage1(SID, ASID, top);
  s.put(cd, cdWord(ASID) | cdBits);
  s.cfgiAll();
  s.sync();
  s.command(0x30n);
  s.sync();
  return { s, leafAt: at };
}

function leaf(pa: number): bigint {
  return BigInt(pa) | BigInt(S1_RW) | 3n;
}

function invalidateVa(s: Setup, iova: number): void {
  s.command(0x12n | (BigInt(ASID) << 48n), BigInt(iova) | 1n);
  s.sync();
}

test('a held translation answers until its address is invalidated', () => {
  const { s, leafAt } = streamOf();
  expect(s.smmu.translateCached(SID, IOVA + 4, false)).toEqual({ ok: true, pa: BEFORE + 4, fault: 0 });
  s.put(leafAt, leaf(AFTER));
  expect(s.smmu.translateCached(SID, IOVA + 8, false).pa).toBe(BEFORE + 8);
  // A write was never let through: it is looked up, and from then on both are held as they are now.
  expect(s.smmu.translateCached(SID, IOVA, true).pa).toBe(AFTER);
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(AFTER);
  s.put(leafAt, leaf(BEFORE));
  invalidateVa(s, IOVA + 0x1000);
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(AFTER);
  invalidateVa(s, IOVA);
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(BEFORE);
});

test('undo takes back what was held, to before the first of it', () => {
  const { s, leafAt } = streamOf();
  const { memory } = s.machine;
  const start = memory.mark();
  const before = memory.stateHash();
  s.smmu.translateCached(SID, IOVA, false);
  expect(memory.stateHash()).toBe(before);
  const mark = memory.mark();
  invalidateVa(s, IOVA);
  s.put(leafAt, leaf(AFTER));
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(AFTER);
  memory.undo(mark);
  s.put(leafAt, leaf(AFTER));
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(BEFORE);
  memory.undo(start);
  s.put(leafAt, leaf(AFTER));
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(AFTER);
});

test('an address with an ignored top byte is not held: invalidations name it without', () => {
  const { s, leafAt } = streamOf(TOP_BYTE_IGNORED);
  const tagged = 0x12 * 2 ** 56 + IOVA;
  expect(s.smmu.translateCached(SID, tagged, false).pa).toBe(BEFORE);
  s.put(leafAt, leaf(AFTER));
  invalidateVa(s, IOVA);
  expect(s.smmu.stale()).toEqual([]);
  expect(s.smmu.translateCached(SID, tagged, false).pa).toBe(AFTER);
});

test('nothing is held of accesses while the SMMU is off, and none that fault', () => {
  const { s, leafAt } = streamOf();
  s.put(leafAt, 0n);
  invalidateVa(s, IOVA);
  expect(s.smmu.translateCached(SID, IOVA, false)).toEqual({ ok: false, pa: -1, fault: 0x10 });
  s.put(leafAt, leaf(AFTER));
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(AFTER);
  s.smmu.write32(registers.Register.CR0, 0);
  expect(s.smmu.translateCached(SID, IOVA, false).pa).toBe(IOVA);
  s.smmu.write32(registers.Register.GBPA, registers.GBPA_UPDATE | registers.GBPA_ABORT);
  expect(s.smmu.translateCached(SID, IOVA, false)).toEqual({ ok: false, pa: -1, fault: 0 });
});

test('when its generations start over, nothing of the first comes back', () => {
  const memory = new PhysicalMemory([{ base: 0x40000000, size: 0x1000 }]);
  const { smmu } = new Setup();
  const unit = new TranslationUnit(memory, { ...smmu.description } as never, smmu);
  const cache = new TranslationCache(memory);
  Object.assign(unit, { pa: AFTER, steAt: 0 });
  Object.assign(unit.fault, { sid: SID, ssid: -1, iova: IOVA, write: false });
  cache.keep(unit);
  expect(cache.find(SID, -1, IOVA, false)).toBe(AFTER);
  memory.put(cache.file, -1);
  expect(cache.find(SID, -1, IOVA, false)).toBe(-1);
  cache.clear();
  expect(memory.words[cache.file]).toBe(0);
  expect(cache.find(SID, -1, IOVA, false)).toBe(-1);
});
