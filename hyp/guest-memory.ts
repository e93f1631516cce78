/**
 * Transitions between the host and a guest: donation to a protected VM, sharing with another, and the way back. What
 * the guest has of a page stands in the software bits 56:55 of its stage-2 leaf.
 *
 * Deviation, stated in docs/profiles.md: a page that is mapped for DMA is refused for sharing too, as pKVM's own comment
 * demands. Left out: block-sized donations, and guests that share their pages back.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import { StateClass } from '#machine/memory';
import type { Hyp } from './context.ts';
import { setHostStage2Owner } from './host-stage2.ts';
import { addToIdentity } from './identity.ts';
import { OwnerId, PageState } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { checkHost, isRamRange, setHost, setOwner } from './ownership.ts';
import {
  addressIn,
  entryHi,
  entryLo,
  findEntry,
  IPA_END,
  levelOf,
  needEntry,
  PAGE_SIZE,
  pageStateIn,
  placeOf,
  STATE_SHIFT_HI,
  writeEntry,
} from './stage2.ts';
import { findVm, GUEST_PAGES, isProtected, loadedVm, VM_LOCK, VmState, vmRoot } from './vm.ts';
import { hostStateOf, hypPage, readHypPage, refcountOf } from './vmemmap.ts';

/** Access flag, inner shareable, normal write-back memory; S2AP is added. */
const LEAF = (1 << 10) | (3 << 8) | (0xf << 2) | 3;
const S2AP_READ = 1 << 6;
const S2AP_WRITE = 1 << 7;
/** Execute, write, read of map_guest's prot argument (KVM_PGTABLE_PROT). */
const PROT_WRITE = 2;
const PROT_READ = 4;
const PROT_MASK = 7;
const SHARE_COUNT = 4;
const TWO32 = 4294967296;
/** One page, or one 2 MiB block given page by page. */
const BLOCK_PAGES = 512;
const BLOCK_ORDER = 9;

function sizeIsAllowed(pages: number, ...numbers: readonly number[]): boolean {
  return pages === 1 || (pages === BLOCK_PAGES && numbers.every((n) => n % BLOCK_PAGES === 0));
}

function addGuestPages(h: Hyp, vm: number, pages: number): void {
  h.memory.write32(vm + GUEST_PAGES, h.memory.read32(vm + GUEST_PAGES) + pages);
}

/** Whether no page of the range is in the guest's stage 2. */
function* guestHasNone(h: Hyp, vm: number, ipa: number, pages: number): Steps<boolean> {
  for (let i = 0; i < pages; i++) {
    if ((entryLo(h, placeOf(yield* findEntry(h, vmRoot(h, vm), ipa + i * PAGE_SIZE))) & 1) !== 0) return false;
  }
  return true;
}

/** Make the guest's tables for the range, so that mapping it cannot fail later. @returns 0 or -ENOMEM */
function* needGuestTables(h: Hyp, vm: number, ipa: number, pages: number): Steps<number> {
  for (let i = 0; i < pages; i++) {
    const at = yield* needEntry(h, vmRoot(h, vm), ipa + i * PAGE_SIZE, 3);
    if (at < 0) return at;
  }
  return 0;
}

function* mapGuestPages(
  h: Hyp,
  vm: number,
  pa: number,
  ipa: number,
  pages: number,
  state: PageState,
  access: number,
): Steps<void> {
  for (let i = 0; i < pages; i++) {
    const at = placeOf(yield* findEntry(h, vmRoot(h, vm), ipa + i * PAGE_SIZE));
    const page = pa + i * PAGE_SIZE;
    yield* writeEntry(h, at, Math.floor(page / TWO32) | (state << STATE_SHIFT_HI), page | LEAF | access);
  }
  addGuestPages(h, vm, pages);
}

/**
 * map_guest: the pages go to the guest whose vCPU is loaded on this CPU.
 * @param pfn, gfn host and guest page numbers; @param pages 1 or 512; @param prot execute 1, write 2, read 4
 * @returns 0, -EINVAL, -EPERM, -EBUSY, -ENOMEM with a heap request, -ETIMEDOUT
 */
export function* mapGuest(h: Hyp, pfn: number, gfn: number, pages: number, prot: number): Steps<number> {
  return yield* giveToGuest(h, pfn, gfn, pages, prot, true, true);
}

/** donate_guest: as {@link mapGuest} for a protected VM; any other is -EINVAL. */
export function* donateGuest(h: Hyp, pfn: number, gfn: number, pages: number): Steps<number> {
  return yield* giveToGuest(h, pfn, gfn, pages, 0, true, false);
}

/** share_guest: as {@link mapGuest} for a VM that is not protected; any other is -EINVAL. */
export function* shareGuest(h: Hyp, pfn: number, gfn: number, pages: number, prot: number): Steps<number> {
  return yield* giveToGuest(h, pfn, gfn, pages, prot, false, true);
}

function* giveToGuest(
  h: Hyp,
  pfn: number,
  gfn: number,
  pages: number,
  prot: number,
  mayDonate: boolean,
  mayShare: boolean,
): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const vm = yield* loadedVm(h);
  let result = err('EINVAL');
  if (vm >= 0 && (isProtected(h, vm) ? mayDonate : mayShare)) {
    yield* lock(h, h.layout.hostLock);
    yield* lock(h, vm + VM_LOCK);
    result = isProtected(h, vm)
      ? yield* donateToGuest(h, vm, pfn * PAGE_SIZE, gfn * PAGE_SIZE, pages)
      : yield* shareWithGuest(h, vm, pfn * PAGE_SIZE, gfn * PAGE_SIZE, pages, prot);
    yield* unlock(h, vm + VM_LOCK);
    yield* unlock(h, h.layout.hostLock);
  }
  yield* unlock(h, h.layout.vmLock);
  return result;
}

function* donateToGuest(h: Hyp, vm: number, pa: number, ipa: number, pages: number): Steps<number> {
  if (!sizeIsAllowed(pages, pa / PAGE_SIZE, ipa / PAGE_SIZE)) return err('EINVAL');
  if (ipa + pages * PAGE_SIZE > IPA_END) return err('EINVAL');
  let result = yield* checkHost(h, pa, pages, PageState.owned, true);
  if (result === 0 && !(yield* guestHasNone(h, vm, ipa, pages))) result = err('EPERM');
  if (result === 0) result = yield* needGuestTables(h, vm, ipa, pages);
  if (result === 0) result = yield* setOwner(h, pa, pages, OwnerId.guest, OwnerId.host);
  if (result !== 0) return result;
  yield* setHost(h, pa, pages, PageState.noPage);
  yield* mapGuestPages(h, vm, pa, ipa, pages, PageState.owned, S2AP_READ | S2AP_WRITE);
  return 0;
}

function* shareWithGuest(h: Hyp, vm: number, pa: number, ipa: number, pages: number, prot: number): Steps<number> {
  if ((prot & ~PROT_MASK) !== 0) return err('EINVAL');
  if (!sizeIsAllowed(pages, pa / PAGE_SIZE, ipa / PAGE_SIZE)) return err('EINVAL');
  if (ipa + pages * PAGE_SIZE > IPA_END || !isRamRange(h, pa, pages)) return err('EINVAL');
  if (!(yield* guestHasNone(h, vm, ipa, pages))) return err('EPERM');
  for (let i = 0; i < pages; i++) {
    const at = hypPage(h, pa + i * PAGE_SIZE);
    const record = yield* readHypPage(h, at);
    const state = hostStateOf(record);
    const shares = h.memory.read32(at + SHARE_COUNT);
    if (state !== PageState.owned && !(state === PageState.sharedOwned && shares !== 0)) return err('EPERM');
    if (shares === -1) return err('EBUSY');
    if (state === PageState.owned && refcountOf(record) !== 0) return err('EINVAL');
  }
  const tables = yield* needGuestTables(h, vm, ipa, pages);
  if (tables !== 0) return tables;
  for (let i = 0; i < pages; i++) yield* addShare(h, pa + i * PAGE_SIZE, 1);
  yield* setHost(h, pa, pages, PageState.sharedOwned);
  const access = ((prot & PROT_READ) !== 0 ? S2AP_READ : 0) | ((prot & PROT_WRITE) !== 0 ? S2AP_WRITE : 0);
  yield* mapGuestPages(h, vm, pa, ipa, pages, PageState.sharedBorrowed, access);
  return 0;
}

function* addShare(h: Hyp, pa: number, delta: number): Steps<number> {
  const at = hypPage(h, pa) + SHARE_COUNT;
  yield { kind: 'write', at };
  const count = h.memory.read32(at) + delta;
  h.memory.write32(at, count);
  return count;
}

/** unshare_guest. @returns 0, -EINVAL (VM, size), -ENOENT (not mapped), -EPERM (state) */
export function* unshareGuest(h: Hyp, handle: number, gfn: number, pages: number): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const live = yield* findVm(h, handle, VmState.live);
  const vm = live >= 0 ? live : yield* findVm(h, handle, VmState.dying);
  const ipa = gfn * PAGE_SIZE;
  let result = err('EINVAL');
  if (vm >= 0 && !isProtected(h, vm) && sizeIsAllowed(pages, gfn) && ipa + pages * PAGE_SIZE <= IPA_END) {
    yield* lock(h, h.layout.hostLock);
    yield* lock(h, vm + VM_LOCK);
    result = yield* checkGuest(h, vm, ipa, pages, PageState.sharedBorrowed);
    for (let i = 0; i < pages && result === 0; i++) {
      const pa = yield* unmapGuestPage(h, vm, ipa + i * PAGE_SIZE);
      if ((yield* addShare(h, pa, -1)) === 0) yield* setHost(h, pa, 1, PageState.owned);
    }
    yield* unlock(h, vm + VM_LOCK);
    yield* unlock(h, h.layout.hostLock);
  }
  yield* unlock(h, h.layout.vmLock);
  return result;
}

/** Check that the guest has every page in that state. @returns 0, -ENOENT, -EPERM */
function* checkGuest(h: Hyp, vm: number, ipa: number, pages: number, state: PageState): Steps<number> {
  for (let i = 0; i < pages; i++) {
    const found = yield* findEntry(h, vmRoot(h, vm), ipa + i * PAGE_SIZE);
    if (levelOf(found) !== 3 || (entryLo(h, placeOf(found)) & 1) === 0) return err('ENOENT');
    if (pageStateIn(entryHi(h, placeOf(found))) !== state) return err('EPERM');
  }
  return 0;
}

/** Whether what the guest has there are the pages from `pfn` on. */
function* guestHas(h: Hyp, vm: number, ipa: number, pages: number, pfn: number): Steps<boolean> {
  for (let i = 0; i < pages; i++) {
    const at = placeOf(yield* findEntry(h, vmRoot(h, vm), ipa + i * PAGE_SIZE));
    if (addressIn(entryHi(h, at), entryLo(h, at)) !== (pfn + i) * PAGE_SIZE) return false;
  }
  return true;
}

/** Remove one page from the guest's stage 2; returns its physical address. */
function* unmapGuestPage(h: Hyp, vm: number, ipa: number): Steps<number> {
  const at = placeOf(yield* findEntry(h, vmRoot(h, vm), ipa));
  const pa = addressIn(entryHi(h, at), entryLo(h, at));
  yield* writeEntry(h, at, 0, 0);
  addGuestPages(h, vm, -1);
  return pa;
}

/**
 * reclaim_dying_guest_page: the hypervisor zeroes the page before the host has it again.
 * @returns 0, -EINVAL (VM unknown or not dying, size), -EPERM (not protected, state), -ENOENT (not mapped), -EBUSY (a
 * device may still reach it: an SMMU did not answer when the VM's domains were freed), -ENOMEM
 */
export function* reclaimDyingGuestPage(h: Hyp, handle: number, gfn: number, pages: number): Steps<number> {
  return yield* reclaimGuestPages(h, handle, -1, gfn, pages);
}

/**
 * The same where the host says which page it expects there.
 * @returns also -EINVAL when it is another page; the size is 2^order pages
 */
export function* reclaimNamedGuestPage(h: Hyp, handle: number, pfn: number, gfn: number, order: number): Steps<number> {
  return yield* reclaimGuestPages(h, handle, pfn, gfn, order > BLOCK_ORDER ? 0 : 1 << order);
}

/** @param pfn number of the first page, -1 for any */
function* reclaimGuestPages(h: Hyp, handle: number, pfn: number, gfn: number, pages: number): Steps<number> {
  yield* lock(h, h.layout.vmLock);
  const vm = yield* findVm(h, handle, VmState.dying);
  const ipa = gfn * PAGE_SIZE;
  let result = err('EINVAL');
  if (vm >= 0 && sizeIsAllowed(pages, gfn) && ipa + pages * PAGE_SIZE <= IPA_END) {
    yield* lock(h, h.layout.hostLock);
    yield* lock(h, vm + VM_LOCK);
    result = isProtected(h, vm) ? yield* checkGuest(h, vm, ipa, pages, PageState.owned) : err('EPERM');
    if (result === 0 && pfn >= 0 && !(yield* guestHas(h, vm, ipa, pages, pfn))) result = err('EINVAL');
    if (result === 0) result = yield* checkUnreached(h, vm, ipa, pages);
    for (let i = 0; i < pages && result === 0; i++) result = yield* reclaimPage(h, vm, ipa + i * PAGE_SIZE);
    yield* unlock(h, vm + VM_LOCK);
    yield* unlock(h, h.layout.hostLock);
  }
  yield* unlock(h, h.layout.vmLock);
  return result;
}

/** Check that no page of the guest's is mapped for DMA. @returns 0 or -EBUSY */
function* checkUnreached(h: Hyp, vm: number, ipa: number, pages: number): Steps<number> {
  for (let i = 0; i < pages; i++) {
    const at = placeOf(yield* findEntry(h, vmRoot(h, vm), ipa + i * PAGE_SIZE));
    const record = yield* readHypPage(h, hypPage(h, addressIn(entryHi(h, at), entryLo(h, at))));
    if (refcountOf(record) !== 0) return err('EBUSY');
  }
  return 0;
}

function* reclaimPage(h: Hyp, vm: number, ipa: number): Steps<number> {
  const at = placeOf(yield* findEntry(h, vmRoot(h, vm), ipa));
  const pa = addressIn(entryHi(h, at), entryLo(h, at));
  // The host's table entry exists since the donation annotated it, so this cannot run out of memory half way.
  const result = yield* setHostStage2Owner(h, pa, OwnerId.host);
  if (result < 0) return result;
  yield* unmapGuestPage(h, vm, ipa);
  h.memory.zeroPage(pa);
  h.memory.setClass(pa, StateClass.state);
  // Only now: a device with identity must not see what the guest had there.
  yield* addToIdentity(h, pa, 1);
  yield* setHost(h, pa, 1, PageState.owned);
  return 0;
}
