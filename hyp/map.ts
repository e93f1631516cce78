/**
 * Mapping, unmapping and translating in a domain: what map_pages, unmap_pages and iova_to_phys do once their arguments
 * are checked (entry/). Mapping counts a DMA reference on every page before it becomes reachable;
 * unmapping drops it after the page has ceased to be reachable, invalidation included. A map that cannot finish tells
 * how far it came, and the references of the rest are taken back.
 */

import { Errno, err, getNumber } from '#hypercall-abi';
import { iovaToPhys, mapPages, unmapPages } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { DOMAIN_LOCK, domainPageTable, domainStage } from './domain-record.ts';
import { lock, unlock } from './lock.ts';
import { servePages } from './memcache.ts';
import { unuseDma, useDma } from './ownership.ts';
import { completeUnmap, makeRoom } from './page-table-ops.ts';

const GRANULE = 4096;

/**
 * Map x[at] iova, x[at + 1] paddr, x[at + 2] pgsize in a domain on which the caller holds a reference.
 * @param size of the whole range; the caller has made sure that neither address wraps with it
 * @returns the bytes mapped, and in h.mapResult, in the order of the checks: -EINVAL not a multiple of the granule; what
 *   use_dma says; then the page table's -EINVAL, -ERANGE, -EEXIST. Missing memory is 0 with a short count and a request
 */
export function* mapInDomain(
  h: Hyp,
  domain: number,
  id: number,
  at: number,
  size: number,
  prot: number,
): Steps<number> {
  yield* lock(h, domain + DOMAIN_LOCK);
  const mapped = yield* mapLocked(h, domain, id, at, size, prot);
  yield* unlock(h, domain + DOMAIN_LOCK);
  return mapped;
}

/**
 * The same where the references of all pages are counted before the domain's table is looked at: what use_dma says comes
 * before the -EINVAL of a domain without a table, or of what is not a multiple of the granule.
 */
export function* useAndMapInDomain(
  h: Hyp,
  domain: number,
  id: number,
  at: number,
  size: number,
  prot: number,
): Steps<number> {
  const paddr = getNumber(h.x, at + 1);
  h.mapResult = size === 0 ? 0 : yield* useDma(h, paddr, size);
  if (h.mapResult !== 0) return 0;
  yield* lock(h, domain + DOMAIN_LOCK);
  let mapped = 0;
  if (domainStage(h, domain) === 0 || !isGranular(h.x, at)) {
    h.mapResult = err('EINVAL');
    if (size !== 0) yield* unuseDma(h, paddr, size);
  } else if (size !== 0) {
    mapped = yield* mapUsed(h, domain, id, at, size, prot);
  }
  yield* unlock(h, domain + DOMAIN_LOCK);
  return mapped;
}

/** Whether x[at], x[at + 1] and x[at + 2] are multiples of the granule. */
function isGranular(x: Int32Array, at: number): boolean {
  return ((x[2 * at]! | x[2 * at + 2]! | x[2 * at + 4]!) & (GRANULE - 1)) === 0;
}

/** Count the references, then map. @returns bytes mapped; see mapResult */
function* mapLocked(h: Hyp, domain: number, id: number, at: number, size: number, prot: number): Steps<number> {
  h.mapResult = err('EINVAL');
  if (!isGranular(h.x, at)) return 0;
  h.mapResult = 0;
  if (size === 0) return 0;
  h.mapResult = yield* useDma(h, getNumber(h.x, at + 1), size);
  return h.mapResult === 0 ? yield* mapUsed(h, domain, id, at, size, prot) : 0;
}

/** Map pages whose references are counted, and take back those of what was not mapped. @returns bytes mapped */
function* mapUsed(h: Hyp, domain: number, id: number, at: number, size: number, prot: number): Steps<number> {
  const { x } = h;
  const iova = getNumber(x, at);
  const paddr = getNumber(x, at + 1);
  const pgsize = getNumber(x, at + 2);
  const table = domainPageTable(h, domain, id);
  let mapped = 0;
  while (mapped < size) {
    const step = yield* mapPages(table, iova + mapped, paddr + mapped, pgsize, (size - mapped) / pgsize, prot);
    if (step <= 0) {
      if (step === -Errno.ENOMEM && h.profile.request === 'needs-page' && (yield* servePages(h))) continue;
      // The memory request says what is missing; the host tops up and goes on from here.
      h.mapResult = step === -Errno.ENOMEM ? 0 : step;
      break;
    }
    mapped += step;
  }
  if (mapped < size) yield* unuseDma(h, paddr + mapped, size - mapped);
  // A block that replaced a table has taken the table's pages out of reach.
  yield* completeUnmap(h);
  return mapped;
}

/**
 * Unmap x[at] iova, x[at + 1] pgsize in a domain on which the caller holds a reference.
 * @param size of the whole range, not 0
 * @returns the bytes unmapped, up to the first hole
 */
export function* unmapInDomain(h: Hyp, domain: number, id: number, at: number, size: number): Steps<number> {
  yield* lock(h, domain + DOMAIN_LOCK);
  const unmapped = yield* unmapLocked(h, domain, id, at, size);
  yield* unlock(h, domain + DOMAIN_LOCK);
  return unmapped;
}

function* unmapLocked(h: Hyp, domain: number, id: number, at: number, size: number): Steps<number> {
  const { x } = h;
  if (domainStage(h, domain) === 0 || ((x[2 * at]! | x[2 * at + 2]!) & (GRANULE - 1)) !== 0) return 0;
  return yield* unmapRange(h, domain, id, getNumber(x, at), getNumber(x, at + 1), size);
}

/**
 * Unmap [iova, iova + size) in pages of `pgsize`, up to the first hole, and finish it. Callers hold the domain's lock and
 * a reference; the granule divides all three. @returns the bytes unmapped
 */
export function* unmapRange(
  h: Hyp,
  domain: number,
  id: number,
  iova: number,
  pgsize: number,
  size: number,
): Steps<number> {
  const table = domainPageTable(h, domain, id);
  let unmapped = 0;
  while (unmapped < size) {
    yield* makeRoom(h);
    const step = yield* unmapPages(table, iova + unmapped, pgsize, (size - unmapped) / pgsize);
    if (step <= 0) break;
    unmapped += step;
  }
  yield* completeUnmap(h);
  return unmapped;
}

/** Where IOVA x[at] leads in a domain on which the caller holds a reference, or 0. */
export function* translateInDomain(h: Hyp, domain: number, id: number, at: number): Steps<number> {
  if (domainStage(h, domain) === 0 || h.x[2 * at + 1]! >>> 20 !== 0) return 0;
  return yield* iovaToPhys(domainPageTable(h, domain, id), getNumber(h.x, at));
}
