/**
 * What the page-table code gets from the hypervisor: tables from the IOMMU pool, invalidation by the domain's tag, and
 * the list of pages whose DMA reference is to be dropped once their invalidation has completed.
 *
 * The list lives in memory, per CPU. One step of an unmap adds at most as many runs of pages as a table has entries:
 * {@link makeRoom} invalidates early when that many may not fit.
 */

import { err } from '#hypercall-abi';
import type { PageTableOps } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Gather, Hyp } from './context.ts';
import { domainRoot } from './domain-record.ts';
import { UNMAP_CACHE_ENTRIES } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { donateToHost, unuseDma } from './ownership.ts';
import { allocPages, freePages, readPointer, writePointer } from './pool.ts';
import { requestIommu } from './request.ts';
import { invalidateDomain, invalidateRange } from './tlb.ts';
import { hypPage, putHypPage } from './vmemmap.ts';

const PAGE_SIZE = 4096;
const ENTRY_SIZE = 16;
const TABLE_ENTRIES = 512;

function orderOf(sizeBytes: number): number {
  return Math.max(0, Math.ceil(Math.log2(sizeBytes / PAGE_SIZE)));
}

/** The operations for page tables that are worked on through `h`. */
export function pageTableOps(h: Hyp): PageTableOps {
  return {
    memory: h.memory,
    allocTable: function* (sizeBytes: number): Steps<number> {
      const order = orderOf(sizeBytes);
      const pa = yield* allocPages(h, h.layout.iommuPool, order);
      if (pa === 0) yield* requestIommu(h, 1 << order);
      return pa;
    },
    freeTable: function* (pa: number, sizeBytes: number): Steps<void> {
      if (!h.invalidated) return;
      if (h.profile.request === 'needs-page' && pa === domainRoot(h, h.domain)) yield* returnRoot(h, pa, sizeBytes);
      else yield* freePages(h, h.layout.iommuPool, pa, orderOf(sizeBytes));
    },
    flushAll: function* (): Steps<void> {
      if ((yield* invalidateDomain(h)) !== 0) h.invalidated = false;
    },
    flushWalk: function* (iova: number, size: number, granule: number): Steps<void> {
      if ((yield* invalidateRange(h, iova, size, granule, false)) !== 0) h.invalidated = false;
    },
    addPages: function* (iova: number, granule: number, count: number): Steps<void> {
      const { gather } = h;
      const end = iova + granule * count;
      if (gather.granule !== 0) {
        if (joinGather(gather, iova, end, granule)) return;
        yield* flushGather(h);
      }
      gather.start = iova;
      gather.end = end;
      gather.granule = granule;
    },
    leafRemoved: function* (pa: number, size: number, count: number): Steps<void> {
      const entry = unmapCache(h) + h.unmapCacheCount * ENTRY_SIZE;
      if (h.unmapCacheCount > 0 && extendRun(h, entry - ENTRY_SIZE, pa, size * count)) return;
      writePointer(h, entry, pa);
      writePointer(h, entry + 8, size * count);
      h.unmapCacheCount++;
    },
    leafFreed: function* (pa: number, size: number, count: number): Steps<void> {
      if (h.invalidated) yield* unuseDma(h, pa, size * count);
    },
    warn: () => {},
  };
}

/** A top-level table that the host gave goes back to it, zeroed. */
function* returnRoot(h: Hyp, pa: number, sizeBytes: number): Steps<void> {
  const pages = Math.ceil(sizeBytes / PAGE_SIZE);
  yield* lock(h, h.layout.hostLock);
  for (let i = 0; i < pages; i++) {
    h.memory.zeroPage(pa + i * PAGE_SIZE);
    yield* putHypPage(h, hypPage(h, pa + i * PAGE_SIZE));
  }
  yield* unlock(h, h.layout.hostLock);
  // The host's table entry exists since the donation annotated it, so this cannot run out of memory.
  yield* donateToHost(h, pa, pages);
}

/** Widen what was gathered by [iova, end) if that touches it and has leaves of the same size. */
function joinGather(gather: Gather, iova: number, end: number, granule: number): boolean {
  if (gather.granule !== granule || iova > gather.end || end < gather.start) return false;
  gather.start = Math.min(gather.start, iova);
  gather.end = Math.max(gather.end, end);
  return true;
}

/** The first entry of this CPU's list: each is the address of a run of pages and its size in bytes. */
function unmapCache(h: Hyp): number {
  return h.layout.unmapCaches + h.cpu * UNMAP_CACHE_ENTRIES * ENTRY_SIZE;
}

/** Make the run in `entry` longer if `pa` follows it. */
function extendRun(h: Hyp, entry: number, pa: number, bytes: number): boolean {
  const before = readPointer(h, entry + 8);
  if (readPointer(h, entry) + before !== pa) return false;
  writePointer(h, entry + 8, before + bytes);
  return true;
}

/** Invalidate what was gathered, and wait. @returns 0, or -ETIMEDOUT when this or an earlier one of the call failed */
function* flushGather(h: Hyp): Steps<number> {
  const { gather } = h;
  if (gather.granule !== 0) {
    const result = yield* invalidateRange(h, gather.start, gather.end - gather.start, gather.granule, true);
    gather.granule = 0;
    if (result !== 0) h.invalidated = false;
  }
  return h.invalidated ? 0 : err('ETIMEDOUT');
}

/**
 * Finish an unmap: invalidate what was gathered, wait for it, and only then drop the references of the pages. When the
 * hardware does not answer, the references stay: a page that may still be reached must not change hands.
 */
export function* completeUnmap(h: Hyp): Steps<void> {
  const result = yield* flushGather(h);
  if (result === 0) yield* releasePages(h);
  h.unmapCacheCount = 0;
}

/** Finish what was unmapped so far when the next step's pages might not fit the list. */
export function* makeRoom(h: Hyp): Steps<void> {
  if (h.unmapCacheCount + TABLE_ENTRIES > UNMAP_CACHE_ENTRIES) yield* completeUnmap(h);
}

/** Drop the DMA reference of every page on this CPU's list. */
function* releasePages(h: Hyp): Steps<void> {
  const base = unmapCache(h);
  for (let i = 0; i < h.unmapCacheCount; i++) {
    yield* unuseDma(h, readPointer(h, base + i * ENTRY_SIZE), readPointer(h, base + i * ENTRY_SIZE + 8));
  }
}
