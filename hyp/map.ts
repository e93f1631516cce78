/**
 * map_pages, unmap_pages and iova_to_phys. Mapping counts a DMA reference on every page before it becomes reachable;
 * unmapping drops it after the page has ceased to be reachable, invalidation included. A map that cannot finish tells
 * how far it came, and the references of the rest are taken back.
 */

import { additionWraps, Errno, err, getNumber, PROT_MASK, product, setNumber } from '#hypercall-abi';
import { iovaToPhys, mapPages, unmapPages } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { DOMAIN_LOCK, domainPageTable, domainRecord, getDomain, HOST_OWNER, putDomain } from './domain-record.ts';
import { lock, unlock } from './lock.ts';
import { unuseDma, useDma } from './ownership.ts';
import { completeUnmap, makeRoom } from './page-table-ops.ts';

const GRANULE = 4096;

/** Whether x[n] is a multiple of x[m], where x[m] is meant to be a power of two (upstream's IS_ALIGNED on 64 bits). */
function isAligned(x: Int32Array, n: number, m: number): boolean {
  const lo = x[2 * m]!;
  const maskLo = (lo - 1) | 0;
  const maskHi = lo === 0 ? (x[2 * m + 1]! - 1) | 0 : x[2 * m + 1]!;
  return (x[2 * n]! & maskLo) === 0 && (x[2 * n + 1]! & maskHi) === 0;
}

/**
 * map_pages: x1 domain, x2 iova, x3 paddr, x4 pgsize, x5 pgcount, x6 prot. Leaves the bytes mapped in x1.
 * @returns for x0, in the order of the checks: -EOPNOTSUPP prot; -E2BIG size overflows or an address wraps; -EINVAL
 *   iova or paddr not a multiple of pgsize; -ENOENT no such domain; -EINVAL not a multiple of the granule; what use_dma
 *   says; then the page table's -EINVAL, -ERANGE, -EEXIST. Missing memory is 0 with a short count and a request.
 */
export function* mapHypercall(h: Hyp): Steps<number> {
  const { x } = h;
  const id = x[2]! >>> 0;
  const prot = x[12]! >>> 0;
  const size = product(x, 4, 5);
  let result = 0;
  if ((prot & ~PROT_MASK) !== 0) result = err('EOPNOTSUPP');
  else if (size < 0 || additionWraps(x, 2, 4, 5, size) || additionWraps(x, 3, 4, 5, size)) result = err('E2BIG');
  else if (!isAligned(x, 2, 4) || !isAligned(x, 3, 4)) result = err('EINVAL');
  let mapped = 0;
  if (result === 0) {
    const domain = domainRecord(h, id);
    if (yield* getDomain(h, domain, HOST_OWNER)) {
      yield* lock(h, domain + DOMAIN_LOCK);
      mapped = yield* mapLocked(h, domain, id, size, prot);
      result = h.mapResult;
      yield* unlock(h, domain + DOMAIN_LOCK);
      yield* putDomain(h, domain);
    } else {
      result = err('ENOENT');
    }
  }
  setNumber(x, 1, mapped);
  return result;
}

/** Count the references, map, take back the references of what was not mapped. @returns bytes mapped; see mapResult */
function* mapLocked(h: Hyp, domain: number, id: number, size: number, prot: number): Steps<number> {
  const { x } = h;
  const iova = getNumber(x, 2);
  const paddr = getNumber(x, 3);
  const pgsize = getNumber(x, 4);
  h.mapResult = err('EINVAL');
  if (((x[4]! | x[6]! | x[8]!) & (GRANULE - 1)) !== 0) return 0;
  h.mapResult = 0;
  if (size === 0) return 0;
  const used = yield* useDma(h, paddr, size);
  if (used !== 0) {
    h.mapResult = used;
    return 0;
  }
  const table = domainPageTable(h, domain, id);
  let mapped = 0;
  while (mapped < size) {
    const step = yield* mapPages(table, iova + mapped, paddr + mapped, pgsize, (size - mapped) / pgsize, prot);
    if (step <= 0) {
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

/** unmap_pages: x1 domain, x2 iova, x3 pgsize, x4 pgcount. Leaves the bytes unmapped in x1: 0 for anything wrong. */
export function* unmapHypercall(h: Hyp): Steps<void> {
  const { x } = h;
  const id = x[2]! >>> 0;
  const size = product(x, 3, 4);
  let unmapped = 0;
  if (size > 0 && !additionWraps(x, 2, 3, 4, size) && isAligned(x, 2, 3)) {
    const domain = domainRecord(h, id);
    if (yield* getDomain(h, domain, HOST_OWNER)) {
      yield* lock(h, domain + DOMAIN_LOCK);
      unmapped = yield* unmapLocked(h, domain, id, size);
      yield* unlock(h, domain + DOMAIN_LOCK);
      yield* putDomain(h, domain);
    }
  }
  setNumber(x, 1, unmapped);
}

function* unmapLocked(h: Hyp, domain: number, id: number, size: number): Steps<number> {
  const { x } = h;
  if (((x[4]! | x[6]!) & (GRANULE - 1)) !== 0) return 0;
  const iova = getNumber(x, 2);
  const pgsize = getNumber(x, 3);
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

/** iova_to_phys: x1 domain, x2 iova. Leaves the physical address in x1, or 0. */
export function* iovaToPhysHypercall(h: Hyp): Steps<void> {
  const { x } = h;
  const id = x[2]! >>> 0;
  const domain = domainRecord(h, id);
  let pa = 0;
  if (x[5]! >>> 20 === 0 && (yield* getDomain(h, domain, HOST_OWNER))) {
    pa = yield* iovaToPhys(domainPageTable(h, domain, id), getNumber(x, 2));
    yield* putDomain(h, domain);
  }
  setNumber(x, 1, pa);
}
