/**
 * Pages for guests: map_guest, unshare_guest, reclaim_dying_guest_page (docs/abi-sources.md, section 2). Pages are judged
 * in their order: the first that is not fit decides the errno. Deviation: a page that is mapped for DMA is refused for
 * sharing too.
 */

import { Errno } from '#hypercall-abi';
import { IPA_END, PAGE } from '../facts.ts';
import { Owner, VmLife } from '../ghost.ts';
import type { Call } from './call.ts';
import { accept, type CallRules, lack, refuse } from './row.ts';

const BLOCK = 512;
const PROT_WRITE = 2;
const PROT_READ = 4;
const PROT_ALL = 7;
/** Access in the guest's stage 2, as decoded: read 1, write 2. */
const READ_WRITE = 3;

/** Whether x[pages] is one page, or one block with the given registers block aligned. */
function sizeFits(c: Call, pages: number, ...numbers: readonly number[]): boolean {
  if (c.hi(pages) !== 0) return false;
  if (c.lo(pages) === 1) return true;
  return c.lo(pages) === BLOCK && numbers.every((n) => (c.lo(n) & (BLOCK - 1)) === 0);
}

/** Whether guest pages x[gfn] .. lie in the guest's address space. */
function gfnFits(c: Call, gfn: number, pages: number): boolean {
  return (c.number(gfn) + c.number(pages)) * PAGE <= IPA_END;
}

function guestHasNone(c: Call, gfn: number, pages: number): boolean {
  for (let i = 0; i < pages; i++) if (c.ghost.guestPage(c.slot, gfn + i) >= 0) return false;
  return true;
}

/** Errno of the first page that cannot be donated: it is not the host's alone, or it is mapped for DMA. */
function donationVerdict(c: Call, page: number, pages: number): number {
  for (let i = 0; i < pages; i++) {
    if (!c.ghost.isHostAlone(page + i)) return -Errno.EPERM;
    if (c.ghost.references(page + i) !== 0) return -Errno.EINVAL;
  }
  return 0;
}

/** Errno of the first page that cannot be shared with a guest. */
function sharingVerdict(c: Call, page: number, pages: number): number {
  for (let i = 0; i < pages; i++) {
    const p = page + i;
    const sharedWithGuests = c.ghost.owner(p) === Owner.host && c.ghost.shareCount(p) !== 0;
    if (!sharedWithGuests && !c.ghost.isHostAlone(p)) return -Errno.EPERM;
    if (c.ghost.shareCount(p) === -1) return -Errno.EBUSY;
    if (!sharedWithGuests && c.ghost.references(p) !== 0) return -Errno.EINVAL;
  }
  return 0;
}

const map = 'map_guest';
const shortages = [lack(map, 'heap')];
const isProtected = (c: Call): boolean => c.ghost.vmProtected(c.slot);

export const mapGuest: CallRules = {
  prepare: (c) => {
    c.slot = c.ghost.loadedVm(c.cpu);
    c.page = c.hi(3) === 0 ? c.facts.ramRange(c.number(1) * PAGE, c.u32(3)) : -1;
    c.verdict = 0;
    if (c.slot < 0 || c.page < 0 || c.u32(3) > BLOCK) return;
    c.verdict = isProtected(c) ? donationVerdict(c, c.page, c.u32(3)) : sharingVerdict(c, c.page, c.u32(3));
  },
  rows: [
    refuse(map, 'EINVAL', (c) => c.slot < 0 || c.ghost.vmLife(c.slot) !== VmLife.live, 'no-vcpu'),
    refuse(map, 'EINVAL', (c) => !isProtected(c) && (c.u32(4) & ~PROT_ALL) !== 0, 'prot'),
    refuse(map, 'EINVAL', (c) => !sizeFits(c, 3, 1, 2), 'size'),
    refuse(map, 'EINVAL', (c) => !gfnFits(c, 2, 3) || c.page < 0, 'range'),
    refuse(map, 'EPERM', (c) => isProtected(c) && c.verdict === -Errno.EPERM, 'donate'),
    refuse(map, 'EINVAL', (c) => isProtected(c) && c.verdict === -Errno.EINVAL, 'donate-mapped'),
    refuse(map, 'EPERM', (c) => !guestHasNone(c, c.number(2), c.u32(3)), 'guest-has'),
    refuse(map, 'EPERM', (c) => c.verdict === -Errno.EPERM, 'share'),
    refuse(map, 'EBUSY', (c) => c.verdict === -Errno.EBUSY),
    refuse(map, 'EINVAL', (c) => c.verdict === -Errno.EINVAL, 'share-mapped'),
    { ...refuse(map, 'ETIMEDOUT', (c) => isProtected(c) && c.identityIsUnanswered()), shortages },
    accept(map, 'donated', { when: isProtected, apply: donate, shortages }),
    accept(map, 'shared', {
      apply: (c) => {
        if (c.slot < 0) return;
        if (isProtected(c)) donate(c);
        else shareAll(c);
      },
      shortages,
    }),
  ],
};

function donate(c: Call): void {
  for (let i = 0; c.page >= 0 && i < c.u32(3); i++) {
    c.setOwner(c.page + i, Owner.guest, c.slot);
    give(c, c.page + i, c.number(2) + i, READ_WRITE);
  }
}

function shareAll(c: Call): void {
  const prot = c.u32(4);
  const access = ((prot & PROT_READ) !== 0 ? 1 : 0) | ((prot & PROT_WRITE) !== 0 ? 2 : 0);
  for (let i = 0; c.page >= 0 && i < c.u32(3); i++) {
    c.ghost.addShare(c.page + i, 1);
    c.touch(c.page + i);
    give(c, c.page + i, c.number(2) + i, access);
  }
}

function give(c: Call, page: number, gfn: number, access: number): void {
  c.ghost.mapGuest(c.slot, gfn, page, access);
  c.monitor.touched.guestPages.push(c.slot, gfn);
  c.monitor.touched.vms.add(c.slot);
}

function take(c: Call, gfn: number): number {
  const page = c.ghost.guestPage(c.slot, gfn);
  c.ghost.unmapGuest(c.slot, gfn);
  c.monitor.touched.guestPages.push(c.slot, gfn);
  c.monitor.touched.vms.add(c.slot);
  return page;
}

/** Slot of the handle in x1, -1 when it can be none. */
function prepareVm(c: Call): void {
  c.slot = c.ghost.vmSlot(c.u32(1));
}

function hasAll(c: Call): boolean {
  for (let i = 0; i < c.u32(3); i++) if (c.ghost.guestPage(c.slot, c.number(2) + i) < 0) return false;
  return true;
}

const unshare = 'unshare_guest';

export const unshareGuest: CallRules = {
  prepare: prepareVm,
  rows: [
    refuse(unshare, 'EINVAL', (c) => c.slot < 0 || c.ghost.vmLife(c.slot) < VmLife.live || isProtected(c), 'vm'),
    refuse(unshare, 'EINVAL', (c) => !sizeFits(c, 3, 2) || !gfnFits(c, 2, 3), 'size'),
    refuse(unshare, 'ENOENT', (c) => !hasAll(c)),
    accept(unshare, 'ok', {
      apply: (c) => {
        if (c.slot < 0) return;
        for (let i = 0; i < Math.min(c.u32(3), BLOCK); i++) {
          const page = take(c, c.number(2) + i);
          if (page < 0) continue;
          c.ghost.addShare(page, -1);
          c.touch(page);
        }
      },
    }),
  ],
};

const reclaim = 'reclaim_dying_guest_page';

export const reclaimDyingGuestPage: CallRules = {
  prepare: prepareVm,
  rows: [
    refuse(reclaim, 'EINVAL', (c) => c.slot < 0 || c.ghost.vmLife(c.slot) !== VmLife.dying, 'vm'),
    refuse(reclaim, 'EINVAL', (c) => !sizeFits(c, 3, 2) || !gfnFits(c, 2, 3), 'size'),
    refuse(reclaim, 'EPERM', (c) => !isProtected(c)),
    refuse(reclaim, 'ENOENT', (c) => !hasAll(c)),
    accept(reclaim, 'ok', {
      accept: (c) => {
        for (let i = 0; i < c.u32(3); i++) {
          const page = c.ghost.guestPage(c.slot, c.number(2) + i);
          if (!c.isZero(page)) return 'gave a page back with what the guest had written in it';
        }
        return null;
      },
      apply: (c) => {
        if (c.slot < 0) return;
        for (let i = 0; i < Math.min(c.u32(3), BLOCK); i++) {
          const page = take(c, c.number(2) + i);
          if (page >= 0) c.setOwner(page, Owner.host);
        }
      },
    }),
  ],
};
