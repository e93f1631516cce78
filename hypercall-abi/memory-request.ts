/**
 * The memory request: how a hypercall that ran out of pages asks the host for more, beside its own result: in x2, or in
 * x2 and x3 (see {@link RequestStyle}). The host refills the pool that the request names and repeats the call
 * (docs/abi-sources.md, sections 3 and 6).
 */

import type { RequestStyle } from './profiles/profile.ts';
import { getU32, setNumber } from './registers.ts';

/** Request types that this model uses, with the numbers of android17. */
export const RequestType = { none: 0, heap: 4, iommu: 5 } as const;

/** Allocator ids of the refill and reclaim calls. */
export const PoolId = { heap: 0, iommu: 1 } as const;
export type PoolId = (typeof PoolId)[keyof typeof PoolId];

/** Pages are missing in a pool: for the IOMMU pool one chunk of that many pages, for the heap that many single pages. */
export interface MemoryRequest {
  readonly pool: PoolId;
  readonly pages: number;
}

const TYPE_MEMORY = 1;
const DEST_HEAP = 1;
const DEST_IOMMU = 3;
const PAGE = 4096;

/** Put a request into x2, or x2 and x3 (0 for none). Bits above the payload are cleared. */
export function encodeRequest(x: Int32Array, type: number, pages: number, style: RequestStyle = 'x2'): void {
  if (style === 'needs-page') return;
  if (type === RequestType.none) setNumber(x, 2, 0);
  else if (style === 'x2') setNumber(x, 2, type + pages * 256);
  else encodeInTwo(x, type, pages);
}

function encodeInTwo(x: Int32Array, type: number, pages: number): void {
  const isIommu = type === RequestType.iommu;
  setNumber(x, 2, TYPE_MEMORY | ((isIommu ? DEST_IOMMU : DEST_HEAP) << 8));
  // For the IOMMU one chunk of that size, for the heap that many pages.
  x[6] = isIommu ? 1 : pages;
  x[7] = isIommu ? pages * PAGE : PAGE;
}

function decodeFromTwo(x: Int32Array): MemoryRequest | null {
  const destination = (x[4]! >>> 8) & 0xff;
  if ((x[4]! & 0xff) !== TYPE_MEMORY || (destination !== DEST_HEAP && destination !== DEST_IOMMU)) return null;
  const pages = (getU32(x, 3) * (x[7]! >>> 0)) / PAGE;
  return { pool: destination === DEST_HEAP ? PoolId.heap : PoolId.iommu, pages };
}

/** The request in x2, or x2 and x3, or null. Types that are not requests for a pool read as none. */
export function decodeRequest(x: Int32Array, style: RequestStyle = 'x2'): MemoryRequest | null {
  if (style === 'needs-page') return null;
  if (style === 'x2-x3') return decodeFromTwo(x);
  const type = x[4]! & 0xff;
  if (type !== RequestType.heap && type !== RequestType.iommu) return null;
  const pages = ((x[4]! >>> 8) | ((x[5]! & 0xff) << 24)) >>> 0;
  return { pool: type === RequestType.heap ? PoolId.heap : PoolId.iommu, pages };
}

/** A chunk of 2^order pages as a refill list names it: address with the order in its low 12 bits. */
export function listHead(pa: number, order: number): number {
  return pa + order;
}

/**
 * The cache of pages that a CPU of the host shares with the hypervisor where requests have the style `needs-page`: byte offsets of
 * the address of the first page (64 bits; 0 for none), the number of pages (64 bits), and a word that the hypervisor sets when it
 * needed a page and had none. The first 8 bytes of a page hold the address of the next. Caches of CPUs lie `size` bytes apart.
 */
export const Memcache = { head: 0, pages: 8, needsPage: 16, size: 64 } as const;
