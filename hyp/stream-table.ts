/**
 * The stream table: for each StreamID a 64-byte entry (STE) that says how the stream's accesses are treated. Linear, or
 * two levels with 2^SPLIT entries per level-2 table, made from the IOMMU pool when a stream is first attached.
 *
 * An entry is never made valid in the same epoch as its other words are written: hardware may read words in any order,
 * so body, CFGI_STE + SYNC, first word, CFGI_STE + SYNC; removal is the mirror image (SMMUv3 3.21.3.1).
 * Callers hold the SMMU's lock.
 */

import type { PageTableLayout } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { allocPages, readPointer } from './pool.ts';
import { requestIommu } from './request.ts';
import { GEOMETRY, STRTAB, syncSte } from './smmu.ts';

const STE_SIZE = 64;
const WORDS = 8;
const TWO32 = 4294967296;
const V = 1;
const CONFIG_S1 = 5 << 1;
const CONFIG_S2 = 6 << 1;
/** S1DSS = SSID 0, S1CIR and S1COR write-back read-allocate, S1CSH inner shareable. */
const S1_ATTRIBUTES = 0xd6;
/** SHCFG = use incoming. */
const SHCFG_INCOMING_HI = 1 << 12;
const S2AA64_HI = 1 << 19;
const S2R_HI = 1 << 26;
const S2S_HI = 1 << 25;
/** In the upper half of the first word. */
const S1CDMAX_SHIFT = 27;

/** Config field of an STE's first word, 0 when it is not valid. */
export function steConfig(lo: number): number {
  return (lo & V) === 0 ? 0 : (lo >>> 1) & 7;
}

export const STE_CONFIG_S1 = 5;
export const STE_CONFIG_S2 = 6;

/**
 * Address of the STE of `sid`. With `make`, a missing level-2 table is allocated.
 * @returns 0 when the StreamID is out of range or there is no level-2 table (with `make`: no memory for it, and a
 *   request is left)
 */
export function* findSte(h: Hyp, smmu: number, sid: number, make: boolean): Steps<number> {
  const geometry = h.memory.read32(smmu + GEOMETRY);
  const log2 = geometry & 0xff;
  const split = (geometry >>> 8) & 0xff;
  if (sid >= 2 ** log2) return 0;
  const table = readPointer(h, smmu + STRTAB);
  if (split === 0) return table + sid * STE_SIZE;
  const l1std = table + Math.floor(sid / 2 ** split) * 8;
  yield { kind: 'readDescriptor', at: l1std };
  let l2 = readPointer(h, l1std);
  if (l2 === 0) {
    if (!make) return 0;
    l2 = yield* makeLevel2(h, smmu, l1std, sid, split);
    if (l2 === 0) return 0;
  }
  return l2 - (l2 % STE_SIZE) + (sid % 2 ** split) * STE_SIZE;
}

/** Allocate and publish a level-2 table of 2^split zeroed (aborting) entries. */
function* makeLevel2(h: Hyp, smmu: number, l1std: number, sid: number, split: number): Steps<number> {
  const order = Math.max(0, split + 6 - 12);
  const l2 = yield* allocPages(h, h.layout.iommuPool, order);
  if (l2 === 0) {
    yield* requestIommu(h, 1 << order);
    return 0;
  }
  yield { kind: 'writeDescriptor', at: l1std };
  h.memory.write64(l1std, Math.floor(l2 / TWO32), l2 | (split + 1));
  // Hardware may hold the invalid descriptor: only the non-leaf form drops it.
  yield* syncSte(h, smmu, sid, false);
  return l2;
}

/** Word n of the entry, lower half. */
export function steLo(h: Hyp, ste: number, n: number): number {
  return h.memory.read32(ste + 8 * n);
}

function steHi(h: Hyp, ste: number, n: number): number {
  return h.memory.read32(ste + 8 * n + 4);
}

function* writeSteWord(h: Hyp, ste: number, n: number, hi: number, lo: number): Steps<void> {
  yield { kind: 'writeDescriptor', at: ste + 8 * n };
  h.memory.write64(ste + 8 * n, hi, lo);
}

/** Zero the words of an entry from word `first` on. */
function* clearSteWords(h: Hyp, ste: number, first: number): Steps<void> {
  for (let n = first; n < WORDS; n++) {
    if (steLo(h, ste, n) !== 0 || steHi(h, ste, n) !== 0) yield* writeSteWord(h, ste, n, 0, 0);
  }
}

/** log2 of the descriptors in the table of a stage-1 entry (S1CDMax). */
export function steCdBits(h: Hyp, ste: number): number {
  return steHi(h, ste, 0) >>> S1CDMAX_SHIFT;
}

/** Address of the table of context descriptors of a stage-1 entry (S1ContextPtr). */
export function steCdTable(h: Hyp, ste: number): number {
  const pointer = readPointer(h, ste) % 2 ** 52;
  return pointer - (pointer % 64);
}

/**
 * Let a stream translate at stage 1 through the linear table of 2^bits context descriptors at `table`. The entry's
 * first word is zero before.
 */
export function* writeS1Ste(
  h: Hyp,
  smmu: number,
  sid: number,
  ste: number,
  table: number,
  bits: number,
): Steps<number> {
  yield* writeSteWord(h, ste, 1, 0, S1_ATTRIBUTES);
  // What an attach left that the hardware never answered must not become part of this entry: VMID 0 tags stage 1.
  yield* clearSteWords(h, ste, 2);
  const synced = yield* syncSte(h, smmu, sid, true);
  if (synced !== 0) return synced;
  yield* writeSteWord(h, ste, 0, Math.floor(table / TWO32) | (bits << S1CDMAX_SHIFT), table | CONFIG_S1 | V);
  return yield* syncSte(h, smmu, sid, true);
}

/** Let a stream translate at stage 2 through the table at `root`, tagged with `vmid`. `stalls`: its faults stall. */
export function* writeS2Ste(
  h: Hyp,
  smmu: number,
  sid: number,
  ste: number,
  layout: PageTableLayout,
  root: number,
  vmid: number,
  stalls: boolean,
): Steps<number> {
  yield* writeSteWord(h, ste, 1, SHCFG_INCOMING_HI, 0);
  yield* writeSteWord(h, ste, 2, vtcrField(layout) | S2AA64_HI | S2R_HI | (stalls ? S2S_HI : 0), vmid);
  yield* writeSteWord(h, ste, 3, Math.floor(root / TWO32), root);
  yield* clearSteWords(h, ste, 4);
  const synced = yield* syncSte(h, smmu, sid, true);
  if (synced !== 0) return synced;
  yield* writeSteWord(h, ste, 0, 0, CONFIG_S2 | V);
  return yield* syncSte(h, smmu, sid, true);
}

/** STE word 2 bits 50:32 (VTCR) in the upper half: T0SZ 5:0, SL0 7:6, IR0 9:8, OR0 11:10, SH0 13:12, TG 15:14, PS 18:16. */
function vtcrField(layout: PageTableLayout): number {
  const r = layout.registers;
  if (r.stage !== 2) throw new Error(`stage-2 STE for a ${layout.fmt} table`);
  return r.tsz | (r.sl << 6) | (r.irgn << 8) | (r.orgn << 10) | (r.sh << 12) | (r.tg << 14) | (r.ps << 16);
}

/** Whether an entry's first word is exactly that of a stage-2 stream. */
export function isStage2Entry(h: Hyp, ste: number): boolean {
  return steLo(h, ste, 0) === (CONFIG_S2 | V) && steHi(h, ste, 0) === 0;
}

/** S2VMID of an entry. */
export function steVmid(h: Hyp, ste: number): number {
  return steLo(h, ste, 2) & 0xffff;
}

/** Whether faults of an entry or descriptor are made to stall: as asked where the hardware leaves the choice. */
export function faultsStall(h: Hyp, iommu: number, asked: boolean): boolean {
  const { stallModel } = h.smmus[iommu]!;
  return stallModel === 'stall' || (stallModel === 'both' && asked);
}

/**
 * Make a stream abort again: first word, SYNC, the rest, SYNC. Without an answer to the first SYNC the entry is as before:
 * another one must not be written over what hardware may still hold of this one. @returns 0 or -ETIMEDOUT
 */
export function* clearSte(h: Hyp, smmu: number, sid: number, ste: number): Steps<number> {
  const hi = steHi(h, ste, 0);
  const lo = steLo(h, ste, 0);
  yield* writeSteWord(h, ste, 0, 0, 0);
  const synced = yield* syncSte(h, smmu, sid, true);
  if (synced !== 0) {
    yield* writeSteWord(h, ste, 0, hi, lo);
    return synced;
  }
  yield* clearSteWords(h, ste, 1);
  return yield* syncSte(h, smmu, sid, true);
}
