/**
 * Domains of guests. A guest does not choose an id: it gets one of the upper half, which is its own until it gives it back
 * or goes; the page table comes with the first attach, because only then the IOMMU is known (android17). Whose an id is
 * stands in the domain's record from the moment it is given out.
 *
 * Models pKVM's pviommu.c. Stricter in one thing: an id that the guest was not given is refused. Upstream takes any.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import { type Attachment, attachDev } from './attach.ts';
import type { Hyp } from './context.ts';
import { endDomain, makeDomain } from './domain.ts';
import {
  clearDomain,
  domainOwner,
  domainRecord,
  domainRefs,
  exchangeDomainRefs,
  setDomainOwner,
} from './domain-record.ts';
import { lock, unlock } from './lock.ts';

/** Address of the word of the bitmap that has the bit of a guests' id, counted from their first. */
function bitmapWord(h: Hyp, index: number): number {
  return h.layout.guestDomains + 4 * Math.floor(index / 32);
}

function* setTaken(h: Hyp, index: number, taken: boolean): Steps<void> {
  const at = bitmapWord(h, index);
  const bit = 1 << (index % 32);
  const word = h.memory.read32(at);
  yield { kind: 'write', at };
  h.memory.write32(at, taken ? word | bit : word & ~bit);
}

function isTaken(h: Hyp, index: number): boolean {
  return (h.memory.read32(bitmapWord(h, index)) & (1 << (index % 32))) !== 0;
}

/** Record of a domain that the VM was given; -1 for any other id. Callers hold the domain table lock. */
function guestDomain(h: Hyp, vm: number, id: number): number {
  const { hostCount, count } = h.profile.domains;
  if (id < hostCount || id >= count || !isTaken(h, id - hostCount)) return -1;
  const domain = domainRecord(h, id);
  return domainOwner(h, domain) === vm ? domain : -1;
}

/** Give the VM the first id that is free. @returns it, or -EBUSY */
export function* allocGuestDomain(h: Hyp, vm: number): Steps<number> {
  const { hostCount, count } = h.profile.domains;
  yield* lock(h, h.layout.domainLock);
  let id = err('EBUSY');
  for (let index = 0; index < count - hostCount && id < 0; index++) {
    if (isTaken(h, index)) continue;
    id = hostCount + index;
    yield* setTaken(h, index, true);
    setDomainOwner(h, domainRecord(h, id), vm);
  }
  yield* unlock(h, h.layout.domainLock);
  return id;
}

/** Take an idle domain of the VM back. @returns 0; -EINVAL not its own, or a stream is attached; -ETIMEDOUT */
export function* freeGuestDomain(h: Hyp, vm: number, id: number): Steps<number> {
  yield* lock(h, h.layout.domainLock);
  const domain = guestDomain(h, vm, id);
  let result = domain < 0 ? err('EINVAL') : 0;
  if (result === 0) {
    // Without a table the count is 0: nobody can hold a reference.
    const refs = yield* exchangeDomainRefs(h, domain, 1, 0);
    result = refs > 1 ? err('EINVAL') : yield* release(h, domain, id, refs === 1);
  }
  yield* unlock(h, h.layout.domainLock);
  return result;
}

/** @param hasTable whether the domain, whose count is 0 by now, has a page table. @returns 0, or -ETIMEDOUT: it stays */
function* release(h: Hyp, domain: number, id: number, hasTable: boolean): Steps<number> {
  if (hasTable) {
    const ended = yield* endDomain(h, domain, id);
    if (ended !== 0) return ended;
  } else {
    yield* clearDomain(h, domain);
  }
  yield* setTaken(h, id - h.profile.domains.hostCount, false);
  return 0;
}

/**
 * The VM goes, no stream leads to its domains any more: all of them are freed.
 * @returns 0, or -ETIMEDOUT when an SMMU does not answer: that domain and those after it stay the VM's
 */
export function* freeGuestDomains(h: Hyp, vm: number): Steps<number> {
  const { hostCount, count } = h.profile.domains;
  let result = 0;
  if (!h.profile.has('pviommu_attach')) return result;
  yield* lock(h, h.layout.domainLock);
  for (let id = hostCount; id < count && result === 0; id++) {
    const domain = guestDomain(h, vm, id);
    if (domain < 0) continue;
    const refs = yield* domainRefs(h, domain);
    yield* exchangeDomainRefs(h, domain, refs, 0);
    result = yield* release(h, domain, id, refs !== 0);
  }
  yield* unlock(h, h.layout.domainLock);
  return result;
}

/** A guest's stream has room for PASID 0 alone, and its faults do not stall. */
const NO_PASIDS = { pasidBits: 0, stall: false };

/**
 * Attach a stream to a domain of the VM, whose page table is made if it has none.
 * @returns 0; -EINVAL not its domain, or no table for that IOMMU; -ENOMEM; else what {@link attachDev} says. A table that
 * was made for an attach that failed is gone again
 */
export function* attachGuestStream(h: Hyp, vm: number, attachment: Attachment): Steps<number> {
  const { iommu, id } = attachment;
  yield* lock(h, h.layout.domainLock);
  const domain = guestDomain(h, vm, id);
  let result = domain < 0 ? err('EINVAL') : 0;
  const isNew = result === 0 && (yield* domainRefs(h, domain)) === 0;
  if (isNew) result = yield* makeDomain(h, domain, vm, iommu, id, h.profile.domainTypes.s1);
  yield* unlock(h, h.layout.domainLock);
  if (result !== 0) return result;
  result = yield* attachDev(h, vm, attachment, NO_PASIDS);
  if (result !== 0 && isNew) yield* undoMake(h, vm, domain, id);
  return result;
}

/** Take the page table away again. Whoever holds a reference meanwhile, on another CPU, keeps it. */
function* undoMake(h: Hyp, vm: number, domain: number, id: number): Steps<void> {
  yield* lock(h, h.layout.domainLock);
  const isIdle = (yield* exchangeDomainRefs(h, domain, 1, 0)) === 1;
  if (isIdle && (yield* endDomain(h, domain, id)) === 0) setDomainOwner(h, domain, vm);
  yield* unlock(h, h.layout.domainLock);
}
