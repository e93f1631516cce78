/** The per-CPU memory request slot: left by code that ran out of pages, moved to x2 when the call returns. */

import { encodeRequest, type MemoryRequest, PoolId, RequestType } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { CpuRecord } from './layout.ts';

const TYPE = 0;
const PAGES = 4;

/** Address of this CPU's record. */
export function cpuRecord(h: Hyp): number {
  return h.layout.cpuRecords + h.cpu * CpuRecord.size;
}

/** Leave a request for `pages` pages of the hypervisor heap. */
export function* requestHeap(h: Hyp, pages: number): Steps<void> {
  yield* leave(h, RequestType.heap, pages);
}

/** Leave a request for one chunk of `pages` pages in the IOMMU pool. */
export function* requestIommu(h: Hyp, pages: number): Steps<void> {
  yield* leave(h, RequestType.iommu, pages);
}

function* leave(h: Hyp, type: number, pages: number): Steps<void> {
  const at = cpuRecord(h);
  yield { kind: 'write', at };
  h.memory.write32(at + TYPE, type);
  h.memory.write32(at + PAGES, pages);
}

/** Forget a request that nobody can be told of: the work that left it was not the host's call. */
export function* dropRequest(h: Hyp): Steps<void> {
  const at = cpuRecord(h);
  if (h.memory.read32(at + TYPE) === RequestType.none) return;
  yield* empty(h, at);
}

/** Empty the slot into x2, or x2 and x3. */
export function* returnRequest(h: Hyp): Steps<void> {
  const at = cpuRecord(h);
  yield { kind: 'read', at };
  const type = h.memory.read32(at + TYPE);
  if (type === RequestType.none) encodeRequest(h.x, type, 0);
  else yield* moveRequest(h, at, type);
}

function* moveRequest(h: Hyp, at: number, type: number): Steps<void> {
  encodeRequest(h.x, type, h.memory.read32(at + PAGES), h.profile.request);
  yield* empty(h, at);
}

/** Empty the slot for a guest's call, which has no register for it. @returns what stood there, or null */
export function* takeRequest(h: Hyp): Steps<MemoryRequest | null> {
  const at = cpuRecord(h);
  yield { kind: 'read', at };
  const type = h.memory.read32(at + TYPE);
  if (type === RequestType.none) return null;
  const pages = h.memory.read32(at + PAGES);
  yield* empty(h, at);
  return { pool: type === RequestType.heap ? PoolId.heap : PoolId.iommu, pages };
}

function* empty(h: Hyp, at: number): Steps<void> {
  yield { kind: 'write', at };
  h.memory.write32(at + TYPE, RequestType.none);
  h.memory.write32(at + PAGES, 0);
}
