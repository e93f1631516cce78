/**
 * A guest maps its own pages for its devices, and unmaps them. The guest names pages by its own addresses: each is looked
 * up in its stage 2 and pinned in one step, so that the page cannot leave the guest before the mapping's own reference
 * keeps it there; then the pin is dropped.
 *
 * Models map and unmap of pKVM's pviommu.c. Guests have pages only, so an extent is a page.
 */

import { err } from '#hypercall-abi';
import { mapPages } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { DOMAIN_LOCK, domainPageTable, domainRecord, getDomain, putDomain } from './domain-record.ts';
import { PageState } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { unmapRange } from './map.ts';
import { completeUnmap } from './page-table-ops.ts';
import { addressIn, entryHi, entryLo, findEntry, IPA_END, levelOf, PAGE_SIZE, pageStateIn, placeOf } from './stage2.ts';
import { VM_LOCK, vmHandle, vmRoot } from './vm.ts';
import { getHypPage, hypPage, putHypPage, REFCOUNT_MAX, readHypPage, refcountOf } from './vmemmap.ts';

const TWO64 = 2 ** 64;

/**
 * Map the guest's page at `ipa` for DMA at `iova`.
 * @param vm record of the VM
 * @returns 0; -ENOENT the guest has no page there; -ENOMEM with a request; anything else is the guest's mistake
 */
export function* mapGuestPage(h: Hyp, vm: number, id: number, iova: number, ipa: number, prot: number): Steps<number> {
  if (ipa >= IPA_END) return err('EINVAL');
  const page = yield* pinGuestPage(h, vm, ipa);
  if (page < 0) return page;
  const result = yield* mapPinned(h, vm, id, iova, page, prot);
  yield* unpin(h, page);
  return result;
}

/** Look `ipa` up and pin what is there. @returns its physical address, -ENOENT, -EPERM not the guest's own, -EINVAL no RAM, -EBUSY */
function* pinGuestPage(h: Hyp, vm: number, ipa: number): Steps<number> {
  yield* lock(h, h.layout.hostLock);
  yield* lock(h, vm + VM_LOCK);
  const found = yield* findEntry(h, vmRoot(h, vm), ipa);
  const at = placeOf(found);
  let result = err('ENOENT');
  if (levelOf(found) === 3 && (entryLo(h, at) & 1) !== 0) {
    result = pageStateIn(entryHi(h, at)) === PageState.owned ? addressIn(entryHi(h, at), entryLo(h, at)) : err('EPERM');
  }
  yield* unlock(h, vm + VM_LOCK);
  if (result >= 0) {
    const counted = yield* countReference(h, result);
    if (counted !== 0) result = counted;
  }
  yield* unlock(h, h.layout.hostLock);
  return result;
}

/** Callers hold the host lock. @returns 0, -EINVAL for what is no RAM, -EBUSY at the maximum */
function* countReference(h: Hyp, pa: number): Steps<number> {
  const at = hypPage(h, pa);
  if (at < 0) return err('EINVAL');
  if (refcountOf(yield* readHypPage(h, at)) === REFCOUNT_MAX) return err('EBUSY');
  yield* getHypPage(h, at);
  return 0;
}

function* unpin(h: Hyp, pa: number): Steps<void> {
  yield* lock(h, h.layout.hostLock);
  yield* putHypPage(h, hypPage(h, pa));
  yield* unlock(h, h.layout.hostLock);
}

/** The page at `pa` is pinned, so whose it is need not be asked again. */
function* mapPinned(h: Hyp, vm: number, id: number, iova: number, pa: number, prot: number): Steps<number> {
  if (iova + PAGE_SIZE >= TWO64) return err('E2BIG');
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, vmHandle(h, vm)))) return err('EINVAL');
  yield* lock(h, domain + DOMAIN_LOCK);
  yield* lock(h, h.layout.hostLock);
  let result = yield* countReference(h, pa);
  yield* unlock(h, h.layout.hostLock);
  if (result === 0) {
    const mapped = yield* mapPages(domainPageTable(h, domain, id), iova, pa, PAGE_SIZE, 1, prot);
    if (mapped <= 0) {
      result = mapped === 0 ? err('EINVAL') : mapped;
      yield* unpin(h, pa);
    }
    yield* completeUnmap(h);
  }
  yield* unlock(h, domain + DOMAIN_LOCK);
  yield* putDomain(h, domain);
  return result;
}

/**
 * Unmap [iova, iova + size), both multiples of a page, up to the first hole.
 * @param vm record of the VM
 * @returns the bytes unmapped: 0 also for a domain that is not the guest's
 */
export function* unmapGuestRange(h: Hyp, vm: number, id: number, iova: number, size: number): Steps<number> {
  if (size === 0 || iova + size >= TWO64) return 0;
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, vmHandle(h, vm)))) return 0;
  yield* lock(h, domain + DOMAIN_LOCK);
  const unmapped = yield* unmapRange(h, domain, id, iova, PAGE_SIZE, size);
  yield* unlock(h, domain + DOMAIN_LOCK);
  yield* putDomain(h, domain);
  return unmapped;
}
