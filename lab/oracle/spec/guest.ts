/**
 * Pages for guests: map_guest, unshare_guest, reclaim_dying_guest_page (docs/abi-sources.md, section 2). Pages are judged
 * in their order: the first that is not fit decides the errno. Deviation: a page that is mapped for DMA is refused for
 * sharing too.
 */

import { type CallName, Errno } from '#hypercall-abi';
import { IPA_END, PAGE } from '../facts.ts';
import { Owner } from '../ghost-pages.ts';
import { VmLife } from '../ghost-vms.ts';
import type { Call } from './call.ts';
import { accept, type CallRules, lack, type Row, refuse } from './row.ts';

const BLOCK = 512;
const SHARES_MAX = 0xffffffff;
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
  for (let i = 0; i < pages; i++) if (c.ghost.vms.page(c.slot, gfn + i) >= 0) return false;
  return true;
}

/** Errno of the first page that cannot be donated: it is not the host's alone, or it is mapped for DMA. */
function donationVerdict(c: Call, page: number, pages: number): number {
  for (let i = 0; i < pages; i++) {
    if (!c.ghost.pages.isHostAlone(page + i)) return -Errno.EPERM;
    if (c.ghost.pages.references(page + i) !== 0) return -Errno.EINVAL;
  }
  return 0;
}

/** Errno of the first page that cannot be shared with a guest. */
function sharingVerdict(c: Call, page: number, pages: number): number {
  for (let i = 0; i < pages; i++) {
    const p = page + i;
    const sharedWithGuests = c.ghost.pages.owner(p) === Owner.host && c.ghost.pages.shareCount(p) !== 0;
    if (!sharedWithGuests && !c.ghost.pages.isHostAlone(p)) return -Errno.EPERM;
    if (c.ghost.pages.shareCount(p) === SHARES_MAX) return -Errno.EBUSY;
    if (!sharedWithGuests && c.ghost.pages.references(p) !== 0) return -Errno.EINVAL;
  }
  return 0;
}

/** How one generation's call to give pages to a guest looks. */
interface Giving {
  readonly name: CallName;
  /** Register with the number of pages, and the one with the access bits. */
  readonly pages: number;
  readonly prot: number;
  /** Whether a protected VM, or another one, may be given pages by it. */
  readonly donates: boolean;
  readonly shares: boolean;
}

const isProtected = (c: Call): boolean => c.ghost.vms.isProtected(c.slot);

function giveRules({ name, pages, prot, donates, shares }: Giving): CallRules {
  const shortages = [lack(name, 'heap')];
  const count = (c: Call): number => c.u32(pages);
  const isForIt = (c: Call): boolean => (isProtected(c) ? donates : shares);
  const donate = (c: Call): void => {
    donateAll(c, count(c));
  };
  const share = (c: Call): void => {
    shareAll(c, count(c), c.u32(prot));
  };
  const waits = { ...refuse(name, 'ETIMEDOUT', (c) => isProtected(c) && c.identityIsUnanswered()), shortages };
  const donated = accept(name, 'donated', { ...(shares && { when: isProtected }), apply: donate, shortages });
  const shared = accept(name, 'shared', {
    apply: (c) => {
      if (c.slot < 0) return;
      if (isProtected(c)) donate(c);
      else share(c);
    },
    shortages,
  });
  // Only with set_identity can a page be where an SMMU must answer before it goes.
  const identity = shares && donates ? [waits] : [];
  const rows: Row[] = [
    refuse(name, 'EINVAL', (c) => c.slot < 0 || c.ghost.vms.life(c.slot) !== VmLife.live || !isForIt(c), 'no-vcpu'),
    refuse(name, 'EINVAL', (c) => !isProtected(c) && (c.u32(prot) & ~PROT_ALL) !== 0, 'prot'),
    refuse(name, 'EINVAL', (c) => !sizeFits(c, pages, 1, 2), 'size'),
    refuse(name, 'EINVAL', (c) => !gfnFits(c, 2, pages) || c.page < 0, 'range'),
    refuse(name, 'EPERM', (c) => isProtected(c) && c.verdict === -Errno.EPERM, 'donate'),
    refuse(name, 'EINVAL', (c) => isProtected(c) && c.verdict === -Errno.EINVAL, 'donate-mapped'),
    refuse(name, 'EPERM', (c) => !guestHasNone(c, c.number(2), count(c)), 'guest-has'),
    refuse(name, 'EPERM', (c) => c.verdict === -Errno.EPERM, 'share'),
    refuse(name, 'EBUSY', (c) => c.verdict === -Errno.EBUSY),
    refuse(name, 'EINVAL', (c) => c.verdict === -Errno.EINVAL, 'share-mapped'),
    ...identity,
    donated,
    shared,
  ];
  const ofShare = new Set(['prot', 'share', 'share-mapped', 'shared', 'EBUSY']);
  const ofDonation = new Set(['donate', 'donate-mapped', 'donated']);
  return {
    prepare: (c) => {
      c.slot = c.ghost.vms.loadedOn(c.cpu);
      c.page = c.hi(pages) === 0 ? c.facts.ramRange(c.number(1) * PAGE, count(c)) : -1;
      c.verdict = 0;
      if (c.slot < 0 || c.page < 0 || count(c) > BLOCK) return;
      c.verdict = isProtected(c) ? donationVerdict(c, c.page, count(c)) : sharingVerdict(c, c.page, count(c));
    },
    rows: rows.filter(({ id }) => {
      const why = id.replace(/^[^/]*\/(?:E[A-Z0-9]+-)?/, '');
      return (shares || !ofShare.has(why)) && (donates || !ofDonation.has(why));
    }),
  };
}

export const mapGuest = giveRules({ name: 'map_guest', pages: 3, prot: 4, donates: true, shares: true });
export const donateGuest = giveRules({ name: 'donate_guest', pages: 3, prot: 4, donates: true, shares: false });
export const shareGuest = giveRules({ name: 'share_guest', pages: 4, prot: 3, donates: false, shares: true });

function donateAll(c: Call, count: number): void {
  for (let i = 0; c.page >= 0 && i < count; i++) {
    c.setOwner(c.page + i, Owner.guest, c.slot);
    give(c, c.page + i, c.number(2) + i, READ_WRITE);
  }
}

function shareAll(c: Call, count: number, prot: number): void {
  const access = ((prot & PROT_READ) !== 0 ? 1 : 0) | ((prot & PROT_WRITE) !== 0 ? 2 : 0);
  for (let i = 0; c.page >= 0 && i < count; i++) {
    c.ghost.pages.addShare(c.page + i, 1);
    c.touch(c.page + i);
    give(c, c.page + i, c.number(2) + i, access);
  }
}

function give(c: Call, page: number, gfn: number, access: number): void {
  c.ghost.vms.map(c.slot, gfn, page, access);
  c.monitor.touched.guestPages.push(c.slot, gfn);
  c.monitor.touched.vms.add(c.slot);
}

function take(c: Call, gfn: number): number {
  const page = c.ghost.vms.page(c.slot, gfn);
  c.ghost.vms.unmap(c.slot, gfn);
  c.monitor.touched.guestPages.push(c.slot, gfn);
  c.monitor.touched.vms.add(c.slot);
  return page;
}

/** Slot of the handle in x1, -1 when it can be none. */
function prepareVm(c: Call): void {
  c.slot = c.ghost.vms.slot(c.u32(1));
}

function hasAll(c: Call): boolean {
  for (let i = 0; i < c.u32(3); i++) if (c.ghost.vms.page(c.slot, c.number(2) + i) < 0) return false;
  return true;
}

const unshare = 'unshare_guest';

export const unshareGuest: CallRules = {
  prepare: prepareVm,
  rows: [
    refuse(unshare, 'EINVAL', (c) => c.slot < 0 || c.ghost.vms.life(c.slot) < VmLife.live || isProtected(c), 'vm'),
    refuse(unshare, 'EINVAL', (c) => !sizeFits(c, 3, 2) || !gfnFits(c, 2, 3), 'size'),
    refuse(unshare, 'ENOENT', (c) => !hasAll(c)),
    accept(unshare, 'ok', {
      apply: (c) => {
        if (c.slot < 0) return;
        for (let i = 0; i < Math.min(c.u32(3), BLOCK); i++) {
          const page = take(c, c.number(2) + i);
          if (page < 0) continue;
          c.ghost.pages.addShare(page, -1);
          c.touch(page);
        }
      },
    }),
  ],
};

const reclaim = 'reclaim_dying_guest_page';

/** Whether hardware that did not answer may still reach one of the pages. */
function isStillReached(c: Call): boolean {
  for (let i = 0; i < c.u32(3); i++) {
    if (c.ghost.pages.references(c.ghost.vms.page(c.slot, c.number(2) + i)) !== 0) return true;
  }
  return false;
}

export const reclaimDyingGuestPage: CallRules = {
  prepare: prepareVm,
  rows: [
    refuse(reclaim, 'EINVAL', (c) => c.slot < 0 || c.ghost.vms.life(c.slot) !== VmLife.dying, 'vm'),
    refuse(reclaim, 'EINVAL', (c) => !sizeFits(c, 3, 2) || !gfnFits(c, 2, 3), 'size'),
    refuse(reclaim, 'EPERM', (c) => !isProtected(c)),
    refuse(reclaim, 'ENOENT', (c) => !hasAll(c)),
    refuse(reclaim, 'EBUSY', isStillReached),
    accept(reclaim, 'ok', {
      accept: (c) => {
        for (let i = 0; i < c.u32(3); i++) {
          const page = c.ghost.vms.page(c.slot, c.number(2) + i);
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

/** Pages of a reclaim that names 2^x4 pages, 0 for a size that there is not. */
function namedPages(c: Call): number {
  return c.hi(4) !== 0 || c.u32(4) > 9 ? 0 : 2 ** c.u32(4);
}

const named = (c: Call): boolean => namedPages(c) === 1 || (namedPages(c) === BLOCK && (c.lo(3) & (BLOCK - 1)) === 0);

/** android16: x1 handle, x2 pfn, x3 gfn, x4 order. The page must be the one that the host names. */
export const reclaimNamedGuestPage: CallRules = {
  prepare: prepareVm,
  rows: [
    refuse(reclaim, 'EINVAL', (c) => c.slot < 0 || c.ghost.vms.life(c.slot) !== VmLife.dying, 'vm'),
    refuse(reclaim, 'EINVAL', (c) => !named(c) || (c.number(3) + namedPages(c)) * PAGE > IPA_END, 'size'),
    refuse(reclaim, 'EPERM', (c) => !isProtected(c)),
    refuse(reclaim, 'ENOENT', (c) => !guestHasAll(c, c.number(3), namedPages(c))),
    refuse(reclaim, 'EINVAL', (c) => !isNamedPage(c), 'page'),
    accept(reclaim, 'ok', {
      accept: (c) => {
        for (let i = 0; i < namedPages(c); i++) {
          const page = c.ghost.vms.page(c.slot, c.number(3) + i);
          if (!c.isZero(page)) return 'gave a page back with what the guest had written in it';
        }
        return null;
      },
      apply: (c) => {
        if (c.slot < 0) return;
        for (let i = 0; i < namedPages(c); i++) {
          const page = take(c, c.number(3) + i);
          if (page >= 0) c.setOwner(page, Owner.host);
        }
      },
    }),
  ],
};

function guestHasAll(c: Call, gfn: number, pages: number): boolean {
  for (let i = 0; i < pages; i++) if (c.ghost.vms.page(c.slot, gfn + i) < 0) return false;
  return true;
}

function isNamedPage(c: Call): boolean {
  const first = c.facts.pageOf(c.number(2) * PAGE);
  for (let i = 0; i < namedPages(c); i++) {
    const page = c.ghost.vms.page(c.slot, c.number(3) + i);
    if (first < 0 || c.facts.paOf(page) !== (c.number(2) + i) * PAGE) return false;
  }
  return true;
}
