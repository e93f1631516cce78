/**
 * Page ownership: who has what of a page of RAM, and the transitions between host and hypervisor (pKVM's
 * mem_protect.c; transitions with guests are in guest-memory.ts). Two things keep a host page where it is: a state
 * other than OWNED, and a DMA refcount that is not zero.
 *
 * Order of checks: range, RAM, then for each page its state (-EPERM) and its refcount (-EINVAL). A whole range is
 * checked before anything changes.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import { StateClass } from '#machine/memory';
import type { Hyp } from './context.ts';
import { hostStage2Owner, mapHostOnDemand, setHostStage2Owner, taintMmio } from './host-stage2.ts';
import { addToIdentity, removeFromIdentity } from './identity.ts';
import { HypPage, OwnerId, PageState } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { IPA_END, PAGE_SIZE, SMMU_MMIO_SIZE } from './stage2.ts';
import {
  getHypPage,
  getHypPages,
  hostStateOf,
  hypPage,
  hypStateOf,
  isHostOwned,
  putHypPage,
  putHypPages,
  REFCOUNT_MAX,
  readHypPage,
  readHypPages,
  refcountOf,
  withHostState,
  withHypState,
  writeHypPage,
} from './vmemmap.ts';

/** Take the host lock and the hyp lock, in the one order there is. */
function* lockHostAndHyp(h: Hyp): Steps<void> {
  yield* lock(h, h.layout.hostLock);
  yield* lock(h, h.layout.hypLock);
}

function* unlockHostAndHyp(h: Hyp): Steps<void> {
  yield* unlock(h, h.layout.hypLock);
  yield* unlock(h, h.layout.hostLock);
}

/** Whether [pa, pa + pages) is RAM and inside one region. */
export function isRamRange(h: Hyp, pa: number, pages: number): boolean {
  return pages > 0 && h.memory.isRamRange(pa, pages * PAGE_SIZE);
}

/** Check that every page is in `state` for the host; with `unreferenced`, also that no device may reach it. */
export function* checkHost(h: Hyp, pa: number, pages: number, state: PageState, unreferenced: boolean): Steps<number> {
  if (!isRamRange(h, pa, pages)) return err('EINVAL');
  for (let i = 0; i < pages; i++) {
    const record = yield* readHypPage(h, hypPage(h, pa + i * PAGE_SIZE));
    if (hostStateOf(record) !== state) return err('EPERM');
    if (unreferenced && refcountOf(record) !== 0) return err('EINVAL');
  }
  return 0;
}

function* checkHyp(h: Hyp, pa: number, pages: number, state: PageState): Steps<number> {
  for (let i = 0; i < pages; i++) {
    if (hypStateOf(yield* readHypPage(h, hypPage(h, pa + i * PAGE_SIZE))) !== state) return err('EPERM');
  }
  return 0;
}

/** Set what the host has of each page. */
export function* setHost(h: Hyp, pa: number, pages: number, state: PageState): Steps<void> {
  const { noPage } = h.profile.pageStates;
  for (let i = 0; i < pages; i++) {
    const at = hypPage(h, pa + i * PAGE_SIZE);
    yield* writeHypPage(h, at, withHostState(yield* readHypPage(h, at), state, noPage));
  }
}

function* setHyp(h: Hyp, pa: number, pages: number, state: PageState): Steps<void> {
  const { noPage } = h.profile.pageStates;
  for (let i = 0; i < pages; i++) {
    const at = hypPage(h, pa + i * PAGE_SIZE);
    yield* writeHypPage(h, at, withHypState(yield* readHypPage(h, at), state, noPage));
  }
}

/**
 * Give a run of pages another owner, in the host's stage 2 and in the identity domain that mirrors it. When this has
 * returned 0, no device with identity reaches a page that the host has lost; on failure nothing has changed.
 * @returns 0; -ENOMEM; -ETIMEDOUT an SMMU does not answer the invalidation
 */
export function* setOwner(h: Hyp, pa: number, pages: number, owner: number, before: number): Steps<number> {
  let result = 0;
  let done = 0;
  for (; done < pages && result === 0; done++) result = yield* setHostStage2Owner(h, pa + done * PAGE_SIZE, owner);
  if (result < 0) done--;
  else if (owner === OwnerId.host) yield* addToIdentity(h, pa, pages);
  else result = yield* removeFromIdentity(h, pa, pages);
  if (result < 0) for (let k = 0; k < done; k++) yield* setHostStage2Owner(h, pa + k * PAGE_SIZE, before);
  return result;
}

/** host_share_hyp: OWNED and unreferenced becomes SHARED_OWNED, and SHARED_BORROWED for the hypervisor. */
export function* shareHyp(h: Hyp, pa: number): Steps<number> {
  yield* lockHostAndHyp(h);
  let result = yield* checkHost(h, pa, 1, PageState.owned, true);
  if (result === 0) result = yield* checkHyp(h, pa, 1, PageState.noPage);
  if (result === 0) {
    yield* setHost(h, pa, 1, PageState.sharedOwned);
    yield* setHyp(h, pa, 1, PageState.sharedBorrowed);
  }
  yield* unlockHostAndHyp(h);
  return result;
}

/** host_unshare_hyp: the reverse; -EBUSY while the hypervisor has the page pinned. */
export function* unshareHyp(h: Hyp, pa: number): Steps<number> {
  yield* lockHostAndHyp(h);
  let result = yield* checkHost(h, pa, 1, PageState.sharedOwned, false);
  if (result === 0) result = yield* checkHyp(h, pa, 1, PageState.sharedBorrowed);
  if (result === 0 && refcountOf(yield* readHypPage(h, hypPage(h, pa))) !== 0) result = err('EBUSY');
  if (result === 0) {
    yield* setHyp(h, pa, 1, PageState.noPage);
    yield* setHost(h, pa, 1, PageState.owned);
  }
  yield* unlockHostAndHyp(h);
  return result;
}

/** Pin the page at `pa`, which the host must have shared with the hypervisor. @returns 0 or -EPERM */
export function* pinSharedPage(h: Hyp, pa: number): Steps<number> {
  yield* lockHostAndHyp(h);
  const at = hypPage(h, pa);
  let result = err('EPERM');
  if (at >= 0) {
    const record = yield* readHypPage(h, at);
    if (hostStateOf(record) === PageState.sharedOwned && hypStateOf(record) === PageState.sharedBorrowed) {
      yield* getHypPage(h, at);
      result = 0;
    }
  }
  yield* unlockHostAndHyp(h);
  return result;
}

export function* unpinSharedPage(h: Hyp, pa: number): Steps<void> {
  yield* lockHostAndHyp(h);
  yield* putHypPage(h, hypPage(h, pa));
  yield* unlockHostAndHyp(h);
}

/**
 * Pin every page of [pa, pa + size), which may begin and end inside a page: the host must have shared them all with the
 * hypervisor. An empty range in RAM has at most the page in the middle of which it lies.
 * @returns 0; -EINVAL not RAM, or not in one range of it; -EPERM a page is not shared
 */
export function* pinSharedRange(h: Hyp, pa: number, size: number): Steps<number> {
  const first = pa - (pa % PAGE_SIZE);
  const pages = Math.ceil(((pa % PAGE_SIZE) + size) / PAGE_SIZE);
  if (!isRamRange(h, first, Math.max(pages, 1))) return err('EINVAL');
  yield* lockHostAndHyp(h);
  const result = yield* checkShared(h, first, pages);
  if (result === 0) for (let i = 0; i < pages; i++) yield* getHypPage(h, hypPage(h, first + i * PAGE_SIZE));
  yield* unlockHostAndHyp(h);
  return result;
}

function* checkShared(h: Hyp, pa: number, pages: number): Steps<number> {
  for (let i = 0; i < pages; i++) {
    const record = yield* readHypPage(h, hypPage(h, pa + i * PAGE_SIZE));
    if (hostStateOf(record) !== PageState.sharedOwned) return err('EPERM');
    if (hypStateOf(record) !== PageState.sharedBorrowed) return err('EPERM');
  }
  return 0;
}

/** Undo {@link pinSharedRange}. */
export function* unpinSharedRange(h: Hyp, pa: number, size: number): Steps<void> {
  const first = pa - (pa % PAGE_SIZE);
  const pages = Math.ceil(((pa % PAGE_SIZE) + size) / PAGE_SIZE);
  yield* lockHostAndHyp(h);
  for (let i = 0; i < pages; i++) yield* putHypPage(h, hypPage(h, first + i * PAGE_SIZE));
  yield* unlockHostAndHyp(h);
}

/**
 * Donate pages from the host to the hypervisor: OWNED and unreferenced becomes NOPAGE, OWNED for the hypervisor.
 * @returns 0, -EINVAL (range, refcount), -EPERM (state), -ENOMEM (host stage-2 table), -ETIMEDOUT
 */
export function* donateToHyp(h: Hyp, pa: number, pages: number): Steps<number> {
  yield* lockHostAndHyp(h);
  let result = yield* checkHost(h, pa, pages, PageState.owned, true);
  if (result === 0) result = yield* checkHyp(h, pa, pages, PageState.noPage);
  if (result === 0) result = yield* setOwner(h, pa, pages, OwnerId.hyp, OwnerId.host);
  if (result === 0) {
    yield* setHost(h, pa, pages, PageState.noPage);
    yield* setHyp(h, pa, pages, PageState.owned);
  }
  yield* unlockHostAndHyp(h);
  return result;
}

/** Give pages of the hypervisor back to the host. The caller has cleared them. @returns 0, -EINVAL, -EPERM, -ENOMEM */
export function* donateToHost(h: Hyp, pa: number, pages: number): Steps<number> {
  yield* lockHostAndHyp(h);
  let result = yield* checkHost(h, pa, pages, PageState.noPage, false);
  if (result === 0) result = yield* checkHyp(h, pa, pages, PageState.owned);
  if (result === 0) result = yield* setOwner(h, pa, pages, OwnerId.host, OwnerId.hyp);
  if (result === 0) {
    yield* setHyp(h, pa, pages, PageState.noPage);
    yield* setHost(h, pa, pages, PageState.owned);
    for (let i = 0; i < pages; i++) h.memory.setClass(pa + i * PAGE_SIZE, StateClass.state);
  }
  yield* unlockHostAndHyp(h);
  return result;
}

/**
 * Count a DMA mapping on each page of [pa, pa + size): RAM pages must all be OWNED by the host, device pages the
 * host's and are tainted. All or nothing.
 * @returns 0, -EINVAL (alignment, range, mixture), -EPERM (not the host's alone), -EBUSY (refcount at its maximum;
 * upstream wraps), -ENOMEM
 */
export function* useDma(h: Hyp, pa: number, size: number): Steps<number> {
  if (((pa | size) & (PAGE_SIZE - 1)) !== 0 || pa + size > IPA_END) return err('EINVAL');
  const pages = size / PAGE_SIZE;
  yield* lock(h, h.layout.hostLock);
  const first = hypPage(h, pa);
  const result = first < 0 ? yield* useMmio(h, pa, pages) : yield* useRam(h, pa, first, pages);
  yield* unlock(h, h.layout.hostLock);
  return result;
}

/** @param first record of the page at `pa`, which therefore is RAM */
function* useRam(h: Hyp, pa: number, first: number, pages: number): Steps<number> {
  if (pages !== 1 && !isRamRange(h, pa, pages)) return err('EINVAL');
  for (let done = 0; done < pages; ) {
    const count = yield* readHypPages(h, first + HypPage.size * done, pages - done);
    for (let i = 0; i < count; i++) {
      const record = h.records[2 * i]!;
      if (!isHostOwned(record)) return err('EPERM');
      if (refcountOf(record) === REFCOUNT_MAX) return err('EBUSY');
    }
    done += count;
  }
  yield* getHypPages(h, first, pages);
  return 0;
}

function* useMmio(h: Hyp, pa: number, pages: number): Steps<number> {
  if (!isDeviceRange(h, pa, pages * PAGE_SIZE)) return err('EINVAL');
  for (let i = 0; i < pages; i++) {
    if ((yield* hostStage2Owner(h, pa + i * PAGE_SIZE)) !== OwnerId.host) return err('EPERM');
  }
  // Every page is mapped before the first is tainted: then nothing can fail half way.
  for (let i = 0; i < pages; i++) {
    const result = yield* mapHostOnDemand(h, pa + i * PAGE_SIZE);
    if (result < 0) return result;
  }
  for (let i = 0; i < pages; i++) yield* taintMmio(h, pa + i * PAGE_SIZE);
  return 0;
}

/** Whether the range lies in the registers of one device. Upstream takes any address that is not RAM. */
function isDeviceRange(h: Hyp, pa: number, size: number): boolean {
  for (const { base, size: length } of h.machine.mmio) if (pa >= base && pa + size <= base + length) return true;
  for (const { base } of h.smmus) if (pa >= base && pa + size <= base + SMMU_MMIO_SIZE) return true;
  return false;
}

/** Take back one DMA mapping of each RAM page. Only after the TLB invalidation that covers them has completed. */
export function* unuseDma(h: Hyp, pa: number, size: number): Steps<void> {
  const first = hypPage(h, pa);
  if (first < 0) return;
  yield* lock(h, h.layout.hostLock);
  yield* putHypPages(h, first, size / PAGE_SIZE);
  yield* unlock(h, h.layout.hostLock);
}
