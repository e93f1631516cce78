/**
 * What android16 and RFC v2 have in common: an IOMMU is looked up before the domain, a domain is made without one, and an
 * id that nobody allocated is an error like any other. What upstream answers with a panic of EL2 (a reference count of 0)
 * is that error here.
 */

import { additionWraps, err, PROT_MASK, product } from '#hypercall-abi';
import type { Steps } from '#machine';
import { type Attachment, attachDev, detachDev } from '../attach.ts';
import type { Hyp } from '../context.ts';
import { freeDomain } from '../domain.ts';
import { domainRecord, getDomain, HOST_OWNER, putDomain } from '../domain-record.ts';
import { translateInDomain, unmapInDomain, useAndMapInDomain } from '../map.ts';
import { refill } from '../refill.ts';
import { dropRequest } from '../request.ts';
import { isAligned, u32 } from './arguments.ts';

/** free_domain: x1 domain. @returns 0; -EINVAL no such domain of the host, or not idle; -ETIMEDOUT as {@link freeDomain} */
export function* freeUnbound(h: Hyp): Steps<number> {
  const result = yield* freeDomain(h, u32(h, 1));
  return result === err('ENODEV') ? err('EINVAL') : result;
}

/** What attach_dev and detach_dev name: x1 iommu, x2 domain, x3 endpoint, x4 pasid. */
function attachment(h: Hyp): Attachment {
  return { iommu: u32(h, 1), id: u32(h, 2), sid: u32(h, 3), pasid: u32(h, 4) };
}

/** attach_dev: as {@link attachment}, x5 pasid bits. @param stall of the flags. @returns -EINVAL no such IOMMU; then as {@link attachDev} */
export function* attach(h: Hyp, stall: boolean): Steps<number> {
  return u32(h, 1) < h.smmus.length
    ? yield* attachDev(h, HOST_OWNER, attachment(h), { pasidBits: u32(h, 5), stall })
    : err('EINVAL');
}

/** detach_dev: x1 iommu, x2 domain, x3 endpoint, x4 pasid. @returns -EINVAL no such IOMMU; then as {@link detachDev} */
export function* detach(h: Hyp): Steps<number> {
  return u32(h, 1) < h.smmus.length ? yield* detachDev(h, HOST_OWNER, attachment(h)) : err('EINVAL');
}

/**
 * map_pages: x1 domain, x2 iova, x3 paddr, x4 pgsize, x5 pgcount, x6 prot.
 * @returns the bytes mapped, and in h.mapResult, in the order of the checks: -EOPNOTSUPP prot; -E2BIG size overflows or
 *   an address wraps; -EINVAL iova or paddr not a multiple of pgsize; -EINVAL the identity domain; -ENOENT no such
 *   domain; then what {@link useAndMapInDomain} says
 */
export function* map(h: Hyp): Steps<number> {
  const { x } = h;
  const id = u32(h, 1);
  const prot = u32(h, 6);
  const size = product(x, 4, 5);
  h.mapResult = 0;
  if ((prot & ~PROT_MASK) !== 0) h.mapResult = err('EOPNOTSUPP');
  else if (size < 0 || additionWraps(x, 2, 4, 5, size) || additionWraps(x, 3, 4, 5, size)) h.mapResult = err('E2BIG');
  else if (!isAligned(x, 2, 4) || !isAligned(x, 3, 4)) h.mapResult = err('EINVAL');
  else if (id === h.profile.domains.identity) h.mapResult = err('EINVAL');
  if (h.mapResult !== 0) return 0;
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) {
    h.mapResult = err('ENOENT');
    return 0;
  }
  const mapped = yield* useAndMapInDomain(h, domain, id, 2, size, prot);
  yield* putDomain(h, domain);
  return mapped;
}

/** unmap_pages: x1 domain, x2 iova, x3 pgsize, x4 pgcount. @returns the bytes unmapped: 0 for anything wrong */
export function* unmap(h: Hyp): Steps<number> {
  const { x } = h;
  const size = product(x, 3, 4);
  if (size <= 0 || additionWraps(x, 2, 3, 4, size) || !isAligned(x, 2, 3)) return 0;
  const id = u32(h, 1);
  if (id === h.profile.domains.identity) return 0;
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const unmapped = yield* unmapInDomain(h, domain, id, 2, size);
  yield* putDomain(h, domain);
  return unmapped;
}

/** iova_to_phys: x1 domain, x2 iova. Leaves the physical address in x1, or 0; the identity domain's is the IOVA itself. */
export function* translate(h: Hyp): Steps<number> {
  const id = u32(h, 1);
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const pa = yield* translateInDomain(h, domain, id, 2);
  yield* putDomain(h, domain);
  return pa;
}

/**
 * alloc_mgt_refill: x1 pool (64 bits), x2 head, x3 count. There is no register for the rest of the list, nor for a
 * request. @returns 0, or -EINVAL for whatever went wrong
 */
export function* refillSilently(h: Hyp): Steps<number> {
  const result = h.x[3] === 0 ? yield* refill(h, false) : err('EINVAL');
  yield* dropRequest(h);
  return result === 0 ? 0 : err('EINVAL');
}
