/**
 * The memory request: how a hypercall that ran out of pages asks the host for more. In android17 it travels in x2 beside
 * the call's own result: bits 7:0 the type, bits 39:8 a number of pages. The host refills the pool that the type names
 * and repeats the call (docs/abi-sources.md, sections 3 and 6).
 */

import { setNumber } from './registers.ts';

/** Request types that this model uses, with their upstream numbers. */
export const RequestType = { none: 0, heap: 4, iommu: 5 } as const;

/** Allocator ids of the refill and reclaim calls. */
export const PoolId = { heap: 0, iommu: 1 } as const;
export type PoolId = (typeof PoolId)[keyof typeof PoolId];

/** Pages are missing in a pool: for the IOMMU pool one chunk of that many pages, for the heap that many single pages. */
export interface MemoryRequest {
  readonly pool: PoolId;
  readonly pages: number;
}

/** Put a request into x2 (0 for none). Bits above the payload are cleared. */
export function encodeRequest(x: Int32Array, type: number, pages: number): void {
  setNumber(x, 2, type === RequestType.none ? 0 : type + pages * 256);
}

/** The request in x2, or null. Types that are not requests for a pool read as none. */
export function decodeRequest(x: Int32Array): MemoryRequest | null {
  const type = x[4]! & 0xff;
  if (type !== RequestType.heap && type !== RequestType.iommu) return null;
  const pages = ((x[4]! >>> 8) | ((x[5]! & 0xff) << 24)) >>> 0;
  return { pool: type === RequestType.heap ? PoolId.heap : PoolId.iommu, pages };
}

/** A chunk of 2^order pages as a refill list names it: address with the order in its low 12 bits. */
export function listHead(pa: number, order: number): number {
  return pa + order;
}
