/**
 * The entry of RFC v1, an adapter in front of the core: a domain is one of the IOMMU that the call names; its first table
 * comes from the host with the call, all other pages from the cache of this CPU, and what is not used goes back there; x1
 * has the result, an error or bytes, and no register asks for memory. What the core says more exactly than this
 * generation did becomes -EINVAL.
 *
 * Each call of the IOMMU runs under one lock (upstream: one per IOMMU): between calls the pool has no free page.
 */

import {
  additionWraps,
  err,
  FUNCTION_ID_BASE,
  PROT_MASK,
  product,
  rfcV1,
  SmcccStatus,
  setNumber,
} from '#hypercall-abi';
import type { Steps } from '#machine';
import { attachDev, detachDev } from '../attach.ts';
import type { Hyp } from '../context.ts';
import { allocRootedDomain, freeDomain } from '../domain.ts';
import { domainRecord, getDomain, HOST_OWNER, putDomain } from '../domain-record.ts';
import { lock, unlock } from '../lock.ts';
import { mapInDomain, translateInDomain, unmapInDomain } from '../map.ts';
import { returnPages, servePages } from '../memcache.ts';
import { shareHyp, unshareHyp } from '../ownership.ts';
import { dropRequest } from '../request.ts';
import { isAligned, u32, u64 } from './arguments.ts';

const PAGE_SIZE = 4096;
/** Registers of map_pages; those of the others begin with the same. */
const IOVA = 3;
const PADDR = 4;
const PGSIZE = 5;
const PGCOUNT = 6;
/** Register of alloc_domain with the address of the first table. */
const ROOT = 3;

/** Position of a call in the function-id space. */
const at = (name: string): number => rfcV1.call(name).position;

const HOST_SHARE_HYP = at('host_share_hyp');
const HOST_UNSHARE_HYP = at('host_unshare_hyp');
const ALLOC_DOMAIN = at('alloc_domain');
const FREE_DOMAIN = at('free_domain');
const ATTACH_DEV = at('attach_dev');
const DETACH_DEV = at('detach_dev');
const MAP_PAGES = at('map_pages');
const UNMAP_PAGES = at('unmap_pages');
const IOVA_TO_PHYS = at('iova_to_phys');

/** Serve the hypercall in h.x. */
export function* enterRfcV1(h: Hyp): Steps<void> {
  const { x } = h;
  let status: number = SmcccStatus.success;
  switch (x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1) {
    case MAP_PAGES:
      setNumber(x, 1, yield* withIommu(h, map));
      break;
    case UNMAP_PAGES:
      setNumber(x, 1, yield* withIommu(h, unmap));
      break;
    case IOVA_TO_PHYS:
      setNumber(x, 1, yield* withIommu(h, translate));
      break;
    case ALLOC_DOMAIN:
      setNumber(x, 1, yield* withIommu(h, allocDomain));
      break;
    case FREE_DOMAIN:
      setNumber(x, 1, yield* withIommu(h, free));
      break;
    case ATTACH_DEV:
      setNumber(x, 1, yield* withIommu(h, attach));
      break;
    case DETACH_DEV:
      setNumber(x, 1, yield* withIommu(h, detach));
      break;
    case HOST_SHARE_HYP:
      setNumber(x, 1, yield* shareHyp(h, u64(h, 1) * PAGE_SIZE));
      break;
    case HOST_UNSHARE_HYP:
      setNumber(x, 1, yield* unshareHyp(h, u64(h, 1) * PAGE_SIZE));
      break;
    default:
      status = SmcccStatus.notSupported;
  }
  setNumber(x, 0, status);
}

/** Do the work of a call with the domains of the IOMMU in x1, and give the cache what is left of its pages. */
function* withIommu(h: Hyp, work: (h: Hyp) => Steps<number>): Steps<number> {
  yield* lock(h, h.layout.callLock);
  h.domainBase = u32(h, 1) < h.smmus.length ? u32(h, 1) * rfcV1.domains.perIommu! : -1;
  const result = yield* work(h);
  // There is no register for a request: what the heap lacks, the host does not learn.
  yield* dropRequest(h);
  yield* returnPages(h);
  yield* unlock(h, h.layout.callLock);
  return result;
}

/** Number of the domain in x2; -1 where x1 is no IOMMU, or it has no such domain. */
function domainId(h: Hyp): number {
  if (h.domainBase < 0) return -1;
  const { vmid16 } = h.smmus[u32(h, 1)]!;
  const id = u32(h, 2);
  return id < Math.min(rfcV1.domains.perIommu!, vmid16 ? 0x10000 : 0x100) ? id : -1;
}

/**
 * alloc_domain: x1 iommu, x2 domain, x3 address of the pages for the first table.
 * @returns, in the order of the checks: -EINVAL no such IOMMU or domain; -EPERM domain 0, whose tag is the identity
 *   domain's; then what {@link allocRootedDomain} says
 */
function* allocDomain(h: Hyp): Steps<number> {
  const id = domainId(h);
  if (id < 0) return err('EINVAL');
  if (id === 0) return err('EPERM');
  return yield* untilServed(h, () => allocRootedDomain(h, u32(h, 1), id, ROOT));
}

/** free_domain: x1 iommu, x2 domain. @returns 0; -EINVAL no such domain, or not idle; -ETIMEDOUT: it is still there */
function* free(h: Hyp): Steps<number> {
  const id = domainId(h);
  return id < 0 ? err('EINVAL') : invalid(yield* freeDomain(h, id));
}

/** attach_dev: x1 iommu, x2 domain, x3 endpoint. @returns 0; -EINVAL; -ETIMEDOUT */
function* attach(h: Hyp): Steps<number> {
  const id = domainId(h);
  if (id < 0) return err('EINVAL');
  const attachment = { iommu: u32(h, 1), id, sid: u32(h, 3), pasid: 0 };
  const options = { pasidBits: 0, stall: false };
  return invalid(yield* untilServed(h, () => attachDev(h, HOST_OWNER, attachment, options)));
}

/** detach_dev: x1 iommu, x2 domain, x3 endpoint. @returns 0; -EINVAL; -ENODEV no entry; -EACCES another domain's; -ETIMEDOUT */
function* detach(h: Hyp): Steps<number> {
  const id = domainId(h);
  if (id < 0) return err('EINVAL');
  return yield* detachDev(h, HOST_OWNER, { iommu: u32(h, 1), id, sid: u32(h, 3), pasid: 0 });
}

/** What this generation has one error for: everything but an SMMU that does not answer. */
function invalid(result: number): number {
  return result === 0 || result === err('ETIMEDOUT') ? result : err('EINVAL');
}

/** Repeat work that fails while it asks for pages, and the cache has them. */
function* untilServed(h: Hyp, work: () => Steps<number>): Steps<number> {
  for (;;) {
    const result = yield* work();
    if (result === 0 || !(yield* servePages(h))) return result;
  }
}

/**
 * map_pages: x1 iommu, x2 domain, x3 iova, x4 paddr, x5 pgsize, x6 pgcount, x7 prot.
 * @returns the bytes mapped: 0 for a wrong prot, a size that overflows, an address that wraps or is no multiple of pgsize,
 *   no such IOMMU or domain; then what {@link mapInDomain} maps
 */
function* map(h: Hyp): Steps<number> {
  const { x } = h;
  const size = product(x, PGSIZE, PGCOUNT);
  if ((u32(h, 7) & ~PROT_MASK) !== 0 || size < 0) return 0;
  if (additionWraps(x, IOVA, PGSIZE, PGCOUNT, size) || additionWraps(x, PADDR, PGSIZE, PGCOUNT, size)) return 0;
  if (!isAligned(x, IOVA, PGSIZE) || !isAligned(x, PADDR, PGSIZE)) return 0;
  const id = domainId(h);
  const domain = id < 0 ? -1 : domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const mapped = yield* mapInDomain(h, domain, id, IOVA, size, u32(h, 7));
  yield* putDomain(h, domain);
  return mapped;
}

/** unmap_pages: x1 iommu, x2 domain, x3 iova, x4 pgsize, x5 pgcount. @returns the bytes unmapped: 0 for anything wrong */
function* unmap(h: Hyp): Steps<number> {
  const { x } = h;
  const size = product(x, PADDR, PGSIZE);
  if (size <= 0 || additionWraps(x, IOVA, PADDR, PGSIZE, size) || !isAligned(x, IOVA, PADDR)) return 0;
  const id = domainId(h);
  const domain = id < 0 ? -1 : domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const unmapped = yield* unmapInDomain(h, domain, id, IOVA, size);
  yield* putDomain(h, domain);
  return unmapped;
}

/** iova_to_phys: x1 iommu, x2 domain, x3 iova. @returns the physical address, or 0 */
function* translate(h: Hyp): Steps<number> {
  const id = domainId(h);
  const domain = id < 0 ? -1 : domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const pa = yield* translateInDomain(h, domain, id, IOVA);
  yield* putDomain(h, domain);
  return pa;
}
