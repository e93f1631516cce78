/**
 * Refill and reclaim (docs/abi-sources.md, section 4). The list that the host hands over is walked before the call, as
 * the call will walk it: a link is read from its chunk when that chunk has been taken. Chunks taken before a failure
 * stay taken. Shape of ours: the order and alignment of a chunk are judged before it is donated, and a count beyond
 * 4095 is -EINVAL with nothing taken and nothing left over.
 */

import { PageState, POOL_ORDER_MAX } from '#hyp/layout';
import { Errno, PoolId } from '#hypercall-abi';
import { PAGE, TWO32 } from '../facts.ts';
import { Owner } from '../ghost-pages.ts';
import { PageWord } from '../layout-reader.ts';
import { NumberList } from '../touched.ts';
import type { Call } from './call.ts';
import { accept, type CallRules, lack, refuse, type Shortage } from './row.ts';

const COUNT_MAX = 4095;

/** The chunks that a refill may take, in order, with the list's head before each and behind the last. */
const list = {
  pages: [] as number[],
  orders: [] as number[],
  headsHi: [] as number[],
  headsLo: [] as number[],
  /** Errno at which the walk ends: 0 when the whole list can be taken. */
  errno: 0,
};

function overlaps(page: number, pages: number): boolean {
  return list.pages.some((other, i) => page < other + 2 ** list.orders[i]! && other < page + pages);
}

/** Errno of donating `pages` pages from `pa` on top of the chunks taken already. */
function donationErrno(c: Call, pa: number, pages: number): number {
  const page = c.facts.ramRange(pa, pages);
  if (page < 0) return -Errno.EINVAL;
  for (let i = 0; i < pages; i++) {
    if (!c.ghost.pages.isHostAlone(page + i) || overlaps(page + i, 1)) return -Errno.EPERM;
    if (c.ghost.pages.references(page + i) !== 0) return -Errno.EINVAL;
  }
  return c.identityIsUnanswered() ? -Errno.ETIMEDOUT : 0;
}

const isHeap = (c: Call): boolean => c.u32(1) === PoolId.heap;
const countFits = (c: Call): boolean => c.hi(3) === 0 && c.u32(3) <= COUNT_MAX;

function forgetList(): void {
  list.errno = 0;
  // Setting a length takes long even where it changes nothing.
  if (list.headsHi.length !== 0) {
    list.headsHi.length = 0;
    list.headsLo.length = 0;
  }
  if (list.pages.length !== 0) {
    list.pages.length = 0;
    list.orders.length = 0;
  }
}

function walkList(c: Call): void {
  forgetList();
  if (c.u32(1) > PoolId.iommu || !countFits(c)) return;
  let hi = c.hi(2);
  let lo = c.lo(2);
  for (let left = c.u32(3); ; left--) {
    list.headsHi.push(hi);
    list.headsLo.push(lo & ~(PAGE - 1));
    if (left === 0) return;
    const order = lo & (PAGE - 1);
    const pa = (hi >>> 0) * TWO32 + ((lo & ~(PAGE - 1)) >>> 0);
    const misfit = order > (isHeap(c) ? 0 : POOL_ORDER_MAX) || pa % (PAGE * 2 ** order) !== 0;
    list.errno = misfit ? -Errno.EINVAL : donationErrno(c, pa, 2 ** order);
    if (list.errno !== 0) return;
    list.pages.push(c.facts.pageOf(pa));
    list.orders.push(order);
    lo = c.hostWord(pa) | 0;
    hi = c.hostWord(pa + 4) | 0;
  }
}

/** Whether x3 says that `taken` chunks were taken and the rest is left. */
function leftOver(c: Call, taken: number): boolean {
  const left = c.u32(3) - taken;
  const lo = left === 0 ? 0 : list.headsLo[taken]! | left;
  const hi = left === 0 ? 0 : list.headsHi[taken]!;
  return c.after[6] === lo && c.after[7] === hi;
}

function judgeLeftOver(c: Call): string | null {
  return leftOver(c, list.pages.length) ? null : `does not say in x3 that ${list.pages.length} chunks were taken`;
}

function takeChunks(c: Call, count: number): void {
  for (let i = 0; i < count && i < list.pages.length; i++) {
    for (let k = 0; k < 2 ** list.orders[i]!; k++) c.giveToPool(list.pages[i]! + k, c.u32(1));
  }
}

/** How many chunks were taken before memory ran out, by x3; -1 when x3 says no such number. */
function takenBeforeShortage(c: Call): number {
  // A chunk that hardware would not have answered for may need a table before it is asked.
  const tried = list.pages.length + (list.errno === -Errno.ETIMEDOUT ? 1 : 0);
  for (let taken = 0; taken < tried; taken++) if (leftOver(c, taken)) return taken;
  return -1;
}

const call = 'alloc_mgt_refill';
const nothingLeft = (c: Call): string | null =>
  c.after[6] === 0 && c.after[7] === 0 ? null : 'leaves something in x3';
const takeAll = (c: Call): void => {
  takeChunks(c, list.pages.length);
};
const shortages = [
  lack(call, 'heap', {
    accept: (c) => (takenBeforeShortage(c) < 0 ? 'does not say in x3 how many chunks were taken' : null),
    apply: (c) => {
      takeChunks(c, takenBeforeShortage(c));
    },
  }),
];

export const refill: CallRules = {
  prepare: walkList,
  rows: [
    { ...refuse(call, 'EINVAL', (c) => c.u32(1) > PoolId.iommu, 'pool'), accept: nothingLeft },
    { ...refuse(call, 'EINVAL', (c) => !countFits(c), 'count'), accept: nothingLeft },
    {
      ...refuse(call, 'EINVAL', () => list.errno === -Errno.EINVAL, 'chunk'),
      accept: judgeLeftOver,
      apply: takeAll,
      shortages,
    },
    { ...refuse(call, 'EPERM', () => list.errno === -Errno.EPERM), accept: judgeLeftOver, apply: takeAll, shortages },
    {
      ...refuse(call, 'ETIMEDOUT', () => list.errno === -Errno.ETIMEDOUT),
      accept: judgeLeftOver,
      apply: takeAll,
      shortages,
    },
    accept(call, 'ok', { accept: judgeLeftOver, apply: takeAll, shortages }),
  ],
};

const isPool = (c: Call): boolean => c.u32(1) <= PoolId.iommu;

function judgeCount(c: Call): string | null {
  const isRight = c.isAfterwards ? c.value <= c.planned : c.value === c.planned;
  return isRight ? null : `gave ${c.value}; ${c.planned} pages are free`;
}

export const reclaimable: CallRules = {
  prepare: (c) => {
    c.planned = isPool(c) ? c.freePages(c.u32(1)) : 0;
  },
  rows: [
    accept('alloc_mgt_reclaimable', 'no-pool', {
      when: (c) => !isPool(c),
      accept: (c) => (c.value === 0 ? null : 'counts pages of a pool that does not exist'),
    }),
    accept('alloc_mgt_reclaimable', 'ok', {
      accept: judgeCount,
    }),
  ],
};

/** Pages of the list that a reclaim gave, in order; empty when it is no proper list. */
const given: number[] = [];
const seen = new NumberList(1024);

/** Follow the list in x1, x2. @returns what is wrong with it, or null */
function walkGiven(c: Call): string | null {
  given.length = 0;
  seen.clear();
  const count = c.after[4]! >>> 0;
  let pa = c.value;
  for (let i = 0; i < count; i++) {
    const page = pa % PAGE === 0 ? c.facts.pageOf(pa) : -1;
    if (page < 0 || c.ghost.pages.owner(page) !== Owner.hyp)
      return `gave 0x${pa.toString(16)}, which is no page of a pool`;
    if (seen.has(page)) return 'gave the same page twice';
    // The host has it since then, and may have given it away again.
    if (!c.isAfterwards && c.monitor.store.firstIn(page) !== 0)
      return `gave 0x${pa.toString(16)}, which hardware still uses`;
    if (!c.isAfterwards && !c.isZero(page, 8)) return `gave 0x${pa.toString(16)} with something left in it`;
    given.push(page);
    seen.add(page);
    pa = c.facts.read64(pa);
  }
  return pa === 0 ? null : 'gave a list that is longer than its count';
}

function judgeGiven(c: Call): string | null {
  const wrong = walkGiven(c);
  if (wrong !== null) return wrong;
  if (c.after[5] !== 0 || given.length > c.planned) return `gave ${given.length} pages; at most ${c.planned} could go`;
  // Giving a page of a large annotation back needs a table for the host's stage 2, which the same pool may not have.
  if (given.length < c.planned && !c.poolLacks(PoolId.heap, 0)) return `gave ${given.length} pages of ${c.planned}`;
  return null;
}

export const reclaim: CallRules = {
  prepare: (c) => {
    const free = isPool(c) ? c.freePages(c.u32(1)) : 0;
    c.planned = Math.max(0, Math.min(c.i32(2), COUNT_MAX, free));
  },
  rows: [
    accept('alloc_mgt_reclaim', 'nothing', { when: (c) => c.planned === 0, accept: judgeGiven }),
    accept('alloc_mgt_reclaim', 'ok', {
      accept: judgeGiven,
      apply: (c) => {
        for (const page of given) c.setOwner(page, Owner.host);
      },
    }),
  ],
};

// ---- generations whose refill tells nothing of the rest, and whose pools are reclaimed together

/** Chunks that the hypervisor's records say it took before memory ran out: no register tells. */
function takenByRecord(c: Call): number {
  const isTaken = (page: number): boolean => PageWord.hypState(c.reader.page(page)) === PageState.owned;
  const taken = list.pages.findIndex((page) => !isTaken(page));
  return taken < 0 ? list.pages.length : taken;
}

const silent = (): readonly Shortage[] => [
  lack(call, 'heap', {
    errno: -Errno.EINVAL,
    isSilent: true,
    apply: (c) => {
      takeChunks(c, takenByRecord(c));
    },
  }),
];

const isOtherPool = (c: Call): boolean => c.hi(1) !== 0 || c.u32(1) > PoolId.iommu;

/** x1 pool is 64 bits wide; whatever goes wrong is -EINVAL. */
export const refillSilently: CallRules = (() => {
  const shortages = silent();
  return {
    prepare: (c) => {
      walkList(c);
      if (isOtherPool(c)) list.pages.length = 0;
    },
    rows: [
      refuse(call, 'EINVAL', isOtherPool, 'pool'),
      refuse(call, 'EINVAL', (c) => !countFits(c), 'count'),
      { ...refuse(call, 'EINVAL', () => list.errno !== 0, 'chunk'), apply: takeAll, shortages },
      accept(call, 'ok', { apply: takeAll, shortages }),
    ],
  };
})();

const freePages = (c: Call): number => c.freePages(PoolId.heap) + c.freePages(PoolId.iommu);

export const reclaimableAny: CallRules = {
  prepare: (c) => {
    c.planned = freePages(c);
  },
  rows: [
    accept('alloc_mgt_reclaimable', 'ok', {
      accept: judgeCount,
    }),
  ],
};

export const reclaimAny: CallRules = {
  prepare: (c) => {
    c.planned = Math.max(0, Math.min(c.i32(1), COUNT_MAX, freePages(c)));
  },
  rows: [
    accept('alloc_mgt_reclaim', 'nothing', { when: (c) => c.planned === 0, accept: judgeGiven }),
    accept('alloc_mgt_reclaim', 'ok', {
      accept: judgeGiven,
      apply: (c) => {
        for (const page of given) c.setOwner(page, Owner.host);
      },
    }),
  ],
};
