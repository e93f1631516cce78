/**
 * The cache of pages of one CPU, in memory that the host shares with the hypervisor: where the first posted series has all
 * its pages from, and where it puts them again. A page is the hypervisor's only once it was donated, and only then is the
 * address of the next read from it. The host may write the cache at any time: each of its words is fetched once, and
 * whatever it says, a page that cannot be donated is no page.
 *
 * Models kvm_iommu_donate_page and kvm_iommu_reclaim_page of iommu.c. Here pages go through the IOMMU pool, which is empty
 * between calls.
 */

import { err, Memcache } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { fetchDouble } from './host-buffer.ts';
import { donateToHost, donateToHyp, pinSharedRange, shareHyp } from './ownership.ts';
import { addPages, freePageCount, readPointer, withdrawPage, writePointer } from './pool.ts';
import { dropRequest, takeRequest } from './request.ts';
import { PAGE_SIZE } from './stage2.ts';

const TWO32 = 4294967296;
/** Registers of what is fetched from the cache. */
const HEAD = 0;
const PAGES = 1;

/** Boot: the page with the caches stays shared and pinned for good. @returns 0, -EINVAL, -EPERM */
export function* takeMemcaches(h: Hyp, at: number | undefined): Steps<number> {
  const size = h.cpus.length * Memcache.size;
  if (at === undefined || at % PAGE_SIZE !== 0) return err('EINVAL');
  let result = 0;
  for (let done = 0; done < size && result === 0; done += PAGE_SIZE) result = yield* shareHyp(h, at + done);
  if (result === 0) result = yield* pinSharedRange(h, at, size);
  if (result === 0) writePointer(h, h.layout.memcaches, at);
  return result;
}

function cacheOf(h: Hyp): number {
  return readPointer(h, h.layout.memcaches) + h.cpu * Memcache.size;
}

function* writeCache(h: Hyp, offset: number, hi: number, lo: number): Steps<void> {
  const at = cacheOf(h) + offset;
  yield { kind: 'write', at };
  h.memory.write64(at, hi, lo);
}

/**
 * Get what the work done so far has asked for: the pages of its request, into the pool. An empty cache is marked.
 * @returns whether all of it came; false also where nothing was asked for that a cache can give
 */
export function* servePages(h: Hyp): Steps<boolean> {
  const request = yield* takeRequest(h);
  if (request === null || request.pool !== 1) return false;
  for (let i = 0; i < request.pages; i++) if (!(yield* takePage(h))) return false;
  return true;
}

/** Move the first page of the cache to the pool. @returns whether there was one that could be donated */
function* takePage(h: Hyp): Steps<boolean> {
  const { element: cache } = h;
  yield* fetchDouble(h, cacheOf(h) + Memcache.pages, cache, PAGES);
  if ((cache[2 * PAGES]! | cache[2 * PAGES + 1]!) === 0) {
    yield* writeCache(h, Memcache.needsPage, 0, 1);
    return false;
  }
  yield* fetchDouble(h, cacheOf(h) + Memcache.head, cache, HEAD);
  const pa = (cache[2 * HEAD + 1]! >>> 0) * TWO32 + (cache[2 * HEAD]! >>> 0);
  if (pa % PAGE_SIZE !== 0 || (yield* donateToHyp(h, pa, 1)) !== 0) {
    yield* dropRequest(h);
    return false;
  }
  const link = h.memory.indexOf(pa);
  yield* writeCache(h, Memcache.head, h.memory.words[link + 1]!, h.memory.words[link]!);
  yield* writeCount(h, -1);
  h.memory.zeroPage(pa);
  yield* addPages(h, h.layout.iommuPool, pa, 1);
  return true;
}

/** Write the number of pages that was fetched, and one more or less. */
function* writeCount(h: Hyp, delta: 1 | -1): Steps<void> {
  const lo = h.element[2 * PAGES]!;
  const hi = h.element[2 * PAGES + 1]!;
  const carry = delta < 0 ? (lo === 0 ? -1 : 0) : lo === -1 ? 1 : 0;
  yield* writeCache(h, Memcache.pages, (hi + carry) | 0, (lo + delta) | 0);
}

/** Put every page that is free in the pool in front of the cache. */
export function* returnPages(h: Hyp): Steps<void> {
  const { iommuPool } = h.layout;
  while (freePageCount(h, iommuPool) > 0) {
    const pa = yield* withdrawPage(h, iommuPool);
    const { element: cache } = h;
    yield* fetchDouble(h, cacheOf(h) + Memcache.head, cache, HEAD);
    h.memory.write64(pa, cache[2 * HEAD + 1]!, cache[2 * HEAD]!);
    if ((yield* donateToHost(h, pa, 1)) !== 0) {
      // No memory to note that it is the host's again: it stays, to be tried again after the next call.
      yield* addPages(h, iommuPool, pa, 1);
      yield* dropRequest(h);
      return;
    }
    yield* writeCache(h, Memcache.head, Math.floor(pa / TWO32), pa | 0);
    yield* fetchDouble(h, cacheOf(h) + Memcache.pages, cache, PAGES);
    yield* writeCount(h, 1);
  }
}
