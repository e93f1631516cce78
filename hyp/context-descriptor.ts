/**
 * Context descriptors: the 64-byte entry (CD) that gives one PASID of a stage-1 stream its page table, translation
 * control and ASID. The descriptors of a stream are a linear table from the IOMMU pool, as large as the first attach
 * asked for: 64 bytes for each of 2^bits PASIDs, rounded up to pages, 64 KiB at most.
 *
 * A descriptor of a stream that hardware may be translating is never made valid in the epoch in which its other words are
 * written: body, CFGI_CD + SYNC, first word, CFGI_CD + SYNC; removal is the mirror image. The descriptor of PASID 0 is
 * written before any STE points to the table, and needs none of that.
 */

import type { PageTableLayout } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { allocPages, freePages } from './pool.ts';
import { requestIommu } from './request.ts';
import { syncCd } from './smmu.ts';

const TWO32 = 4294967296;
const CD_SIZE = 64;
/** log2 of the descriptors in a page. */
const PER_PAGE_LOG2 = 6;
/** Largest table: 2^4 pages, with 1024 descriptors. */
const TABLE_ORDER_MAX = 4;
const EPD1 = 1 << 30;
const V = 1 << 31;
/** In the upper half of word 0: AA64 (bit 41), R (45), A (46), ASET (47), and S (44). */
const AA64_R_A_ASET = (1 << 9) | (1 << 13) | (1 << 14) | (1 << 15);
const S = 1 << 12;

/** log2 of the pages of a table for 2^bits PASIDs. */
function tableOrder(bits: number): number {
  return Math.max(0, bits - PER_PAGE_LOG2);
}

/** Whether a linear table for 2^bits PASIDs is one that the hypervisor makes. */
export function isCdTableSize(bits: number): boolean {
  return tableOrder(bits) <= TABLE_ORDER_MAX;
}

/** Allocate a zeroed table for 2^bits PASIDs. @returns its address, or 0 with a request left behind */
export function* allocCdTable(h: Hyp, bits: number): Steps<number> {
  const order = tableOrder(bits);
  const table = yield* allocPages(h, h.layout.iommuPool, order);
  if (table === 0) yield* requestIommu(h, 1 << order);
  return table;
}

/** Give a table back. No STE leads to it any more, and no cache. */
export function* freeCdTable(h: Hyp, table: number, bits: number): Steps<void> {
  yield* freePages(h, h.layout.iommuPool, table, tableOrder(bits));
}

/** Address of the descriptor of a PASID. */
export function cdAt(table: number, pasid: number): number {
  return table + pasid * CD_SIZE;
}

/** First word of a descriptor, lower half. It is zero while the descriptor is free. */
export function* readCd(h: Hyp, cd: number): Steps<number> {
  yield { kind: 'readDescriptor', at: cd };
  return h.memory.read32(cd);
}

/** Whether a first word is that of a valid descriptor. */
export function isCdValid(lo: number): boolean {
  return (lo & V) !== 0;
}

/** ASID of a descriptor. */
export function cdAsid(h: Hyp, cd: number): number {
  return h.memory.read32(cd + 4) >>> 16;
}

/** The page table of a descriptor. What makes it valid is {@link enableCd}. */
export function* writeCdBody(h: Hyp, cd: number, layout: PageTableLayout, root: number): Steps<void> {
  const r = layout.registers;
  if (r.stage !== 1) throw new Error(`context descriptor for a ${layout.fmt} table`);
  yield { kind: 'writeDescriptor', at: cd + 8 };
  h.memory.write64(cd + 8, Math.floor(root / TWO32), root);
  yield { kind: 'writeDescriptor', at: cd + 24 };
  h.memory.write64(cd + 24, r.mairHi, r.mairLo);
}

/** The first word, which holds V, comes last. @param stalls whether faults are to stall */
export function* enableCd(h: Hyp, cd: number, layout: PageTableLayout, asid: number, stalls: boolean): Steps<void> {
  const r = layout.registers;
  if (r.stage !== 1) throw new Error(`context descriptor for a ${layout.fmt} table`);
  yield { kind: 'barrier', at: cd };
  const lo = r.tsz | (r.tg << 6) | (r.irgn << 8) | (r.orgn << 10) | (r.sh << 12) | EPD1 | V;
  yield { kind: 'writeDescriptor', at: cd };
  h.memory.write64(cd, r.ips | AA64_R_A_ASET | (stalls ? S : 0) | (asid << 16), lo);
}

/**
 * Take the descriptor of a PASID out of use while the stream goes on: first word, SYNC, the rest, SYNC. Without an answer
 * to the first SYNC it is as before. @returns 0 or -ETIMEDOUT
 */
export function* clearCd(h: Hyp, smmu: number, sid: number, pasid: number, cd: number): Steps<number> {
  const hi = h.memory.read32(cd + 4);
  const lo = h.memory.read32(cd);
  yield { kind: 'writeDescriptor', at: cd };
  h.memory.write64(cd, 0, 0);
  const synced = yield* syncCd(h, smmu, sid, pasid);
  if (synced !== 0) {
    yield { kind: 'writeDescriptor', at: cd };
    h.memory.write64(cd, hi, lo);
    return synced;
  }
  for (const at of [cd + 8, cd + 24]) {
    yield { kind: 'writeDescriptor', at };
    h.memory.write64(at, 0, 0);
  }
  return yield* syncCd(h, smmu, sid, pasid);
}
