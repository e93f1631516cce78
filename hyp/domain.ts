/**
 * alloc_domain and free_domain. A domain is a record and a page table; its id is also the tag of its translations, so a
 * full invalidation stands between the end of one domain and the next use of its id.
 */

import { err, getNumber } from '#hypercall-abi';
import { freePageTable, pgdBytes } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import {
  clearDomain,
  domainOwner,
  domainPageTable,
  domainRecord,
  domainRefs,
  domainStage,
  exchangeDomainRefs,
  HOST_OWNER,
  initDomain,
  initUnboundDomain,
  isTag,
  needDomainRecord,
} from './domain-record.ts';
import { lock, unlock } from './lock.ts';
import { donateToHyp } from './ownership.ts';
import { completeUnmap } from './page-table-ops.ts';
import { dropRequest } from './request.ts';
import { PAGE_SIZE } from './stage2.ts';
import { getHypPage, hypPage } from './vmemmap.ts';

/** The one IOMMU driver there is. */
export const DRIVER_ID = 0;

/**
 * alloc_domain. @returns 0; -ENODEV unknown driver or IOMMU; -EINVAL id not the host's, in use, or type; -EPERM the
 * identity domain; -ERANGE an id wider than the IOMMU's tags; -ENOMEM with an IOMMU request when the top-level table cannot be made
 */
export function* allocDomain(h: Hyp, driver: number, iommu: number, id: number, type: number): Steps<number> {
  if (driver !== DRIVER_ID) return err('ENODEV');
  if (id >= h.profile.domains.hostCount) return err('EINVAL');
  yield* lock(h, h.layout.domainLock);
  const domain = domainRecord(h, id);
  const result =
    (yield* domainRefs(h, domain)) !== 0 ? err('EINVAL') : yield* makeDomain(h, domain, HOST_OWNER, iommu, id, type);
  yield* unlock(h, h.layout.domainLock);
  return result;
}

/**
 * Give a free record a page table for that IOMMU. Callers hold the domain table lock. @param owner handle of a VM, or the host
 * @returns what {@link allocDomain} says from the identity domain on
 */
export function* makeDomain(
  h: Hyp,
  domain: number,
  owner: number,
  iommu: number,
  id: number,
  type: number,
): Steps<number> {
  if (id === h.profile.domains.identity) return err('EPERM');
  if (iommu >= h.smmus.length) return err('ENODEV');
  if (type < 0 || type >= h.profile.domainTypeLimit) return err('EINVAL');
  const stage = type === h.profile.domainTypes.s1 ? 1 : 2;
  const layout = h.tableLayouts[2 * iommu + stage - 1];
  // Upstream finds out while it makes the table; the hardware's stages are known before.
  if (layout === null || layout === undefined) return err('EINVAL');
  // Upstream tags with what the hardware leaves of the number.
  if (!isTag(h.smmus[iommu]!, stage, id)) return err('ERANGE');
  const root = yield* h.pageTableOps.allocTable(pgdBytes(layout));
  if (root === 0) return err('ENOMEM');
  yield* initDomain(h, domain, owner, iommu, stage, root);
  return 0;
}

/**
 * alloc_domain where the first attach builds the table. The caller has checked that there can be that id.
 * @returns 0; -ENOMEM with an IOMMU request when the leaf page of the record cannot be made; -EINVAL in use, or type
 */
export function* allocUnboundDomain(h: Hyp, id: number, type: number): Steps<number> {
  yield* lock(h, h.layout.domainLock);
  const domain = yield* needDomainRecord(h, id);
  let result = 0;
  if (domain < 0) result = err('ENOMEM');
  else if ((yield* domainRefs(h, domain)) !== 0) result = err('EINVAL');
  else if (type < 0 || type >= h.profile.domainTypeLimit) result = err('EINVAL');
  else yield* initUnboundDomain(h, domain, type);
  yield* unlock(h, h.layout.domainLock);
  return result;
}

/**
 * alloc_domain where the host gives the pages for the top-level table, which translates at stage 2.
 * @param at register with the address of the pages
 * @returns 0; -EINVAL the leaf page of the record cannot be made (with an IOMMU request), in use, no stage 2, or a root that
 *   is not aligned to its size; -ENOMEM the root cannot be donated
 */
export function* allocRootedDomain(h: Hyp, iommu: number, id: number, at: number): Steps<number> {
  yield* lock(h, h.layout.domainLock);
  const domain = yield* needDomainRecord(h, id);
  let result = err('EINVAL');
  if (domain >= 0 && (yield* domainRefs(h, domain)) === 0) result = yield* takeRoot(h, iommu, at);
  if (result === 0) yield* initDomain(h, domain, HOST_OWNER, iommu, 2, getNumber(h.x, at));
  yield* unlock(h, h.layout.domainLock);
  return result;
}

function* takeRoot(h: Hyp, iommu: number, at: number): Steps<number> {
  const root = getNumber(h.x, at);
  const layout = h.tableLayouts[2 * iommu + 1];
  if (layout === null || layout === undefined) return err('EINVAL');
  const size = Math.ceil(pgdBytes(layout) / PAGE_SIZE) * PAGE_SIZE;
  // The low word tells exactly, whatever else the register holds.
  if ((h.x[2 * at]! & (size - 1)) !== 0) return err('EINVAL');
  if ((yield* donateToHyp(h, root, size / PAGE_SIZE)) !== 0) {
    yield* dropRequest(h);
    return err('ENOMEM');
  }
  yield* lock(h, h.layout.hostLock);
  for (let pa = root; pa < root + size; pa += PAGE_SIZE) {
    h.memory.zeroPage(pa);
    // As for a page of a pool: 1 while it is in use.
    yield* getHypPage(h, hypPage(h, pa));
  }
  yield* unlock(h, h.layout.hostLock);
  return 0;
}

/**
 * free_domain: an idle domain goes, with its tables and the DMA references of what is still mapped in it.
 * @returns 0; -EINVAL no such id, not the host's, or not idle (a stream is attached); -ENODEV never allocated;
 *   -ETIMEDOUT the SMMU does not answer: the domain is still there
 */
export function* freeDomain(h: Hyp, id: number): Steps<number> {
  const domain = domainRecord(h, id);
  if (domain < 0) return err('EINVAL');
  yield* lock(h, h.layout.domainLock);
  let result = 0;
  const refs = yield* domainRefs(h, domain);
  if (refs === 0) result = err('ENODEV');
  // Whose it is comes before the count moves: a foreign caller's failed free must change nothing.
  else if (domainOwner(h, domain) !== HOST_OWNER) result = err('EINVAL');
  // Only an idle domain goes, and from the same moment on no call in flight can take a reference.
  else if ((yield* exchangeDomainRefs(h, domain, 1, 0)) !== 1) result = err('EINVAL');
  if (result === 0) result = yield* endDomain(h, domain, id);
  yield* unlock(h, h.layout.domainLock);
  return result;
}

/**
 * Free the table of a domain whose reference count is 0 already, with the DMA references of what is mapped in it, after
 * all of its tag has been invalidated. Callers hold the domain table lock.
 * @returns 0, or -ETIMEDOUT: the domain is still there, idle
 */
export function* endDomain(h: Hyp, domain: number, id: number): Steps<number> {
  if (domainStage(h, domain) !== 0) {
    yield* freePageTable(domainPageTable(h, domain, id));
    yield* completeUnmap(h);
  }
  if (h.invalidated) {
    yield* clearDomain(h, domain);
    return 0;
  }
  // Nothing was freed, and the tag must not be used again.
  yield* exchangeDomainRefs(h, domain, 0, 1);
  return err('ETIMEDOUT');
}
