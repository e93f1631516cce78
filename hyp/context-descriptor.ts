/**
 * Context descriptors: the 64-byte entry (CD) that gives a stage-1 stream its page table, translation control and ASID.
 * One CD per stream, alone in a page of the IOMMU pool. It is written before any STE points to it.
 */

import type { PageTableLayout } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { allocPages, freePages, readPointer } from './pool.ts';
import { requestIommu } from './request.ts';

const TWO32 = 4294967296;
const EPD1 = 1 << 30;
const V = 1 << 31;
/** In the upper half of word 0: AA64 (bit 41), R (45), A (46), ASET (47). */
const AA64_R_A_ASET = (1 << 9) | (1 << 13) | (1 << 14) | (1 << 15);

/** Allocate a zeroed CD. @returns its address, or 0 with a request left behind */
export function* allocCd(h: Hyp): Steps<number> {
  const cd = yield* allocPages(h, h.layout.iommuPool, 0);
  if (cd === 0) yield* requestIommu(h, 1);
  return cd;
}

export function* freeCd(h: Hyp, cd: number): Steps<void> {
  yield* freePages(h, h.layout.iommuPool, cd, 0);
}

/** Describe the stage-1 table at `root` with that ASID. The first word, which holds V, comes last. */
export function* writeCd(h: Hyp, cd: number, layout: PageTableLayout, root: number, asid: number): Steps<void> {
  const r = layout.registers;
  if (r.stage !== 1) throw new Error(`context descriptor for a ${layout.fmt} table`);
  yield { kind: 'writeDescriptor', at: cd + 8 };
  h.memory.write64(cd + 8, Math.floor(root / TWO32), root);
  yield { kind: 'writeDescriptor', at: cd + 24 };
  h.memory.write64(cd + 24, r.mairHi, r.mairLo);
  yield { kind: 'barrier', at: cd };
  const lo = r.tsz | (r.tg << 6) | (r.irgn << 8) | (r.orgn << 10) | (r.sh << 12) | EPD1 | V;
  yield { kind: 'writeDescriptor', at: cd };
  h.memory.write64(cd, r.ips | AA64_R_A_ASET | (asid << 16), lo);
}

/** ASID of a CD. */
export function cdAsid(h: Hyp, cd: number): number {
  return h.memory.read32(cd + 4) >>> 16;
}

/** Address of the CD that an STE's first word points to. */
export function cdOfSte(h: Hyp, ste: number): number {
  const pointer = readPointer(h, ste) % 2 ** 52;
  return pointer - (pointer % 64);
}
