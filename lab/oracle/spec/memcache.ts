/**
 * Pages that come from the memcache of a CPU and go back there (docs/abi-sources.md, section 7). What is in the cache stands
 * in memory that the host writes, so it is followed before the call as the hypervisor may follow it: a page is one only
 * while the host has it alone and nothing refers to it. Which of them the call takes, no register tells: the page records do, as
 * they are written, and only pages of the cache may be taken. What comes back must have been the hypervisor's, and be zero.
 */

import { Memcache, PoolId } from '#hypercall-abi';
import { PAGE } from '../facts.ts';
import { Owner } from '../ghost-pages.ts';
import type { Call } from './call.ts';
import type { CallRules, Row, Shortage } from './row.ts';

/** Pages of a cache that are followed. */
const FOLLOWED_MAX = 256;

/** What is known of one call: the cache of its CPU before it, pages that come or go beside the cache, and what has moved. */
const call = {
  pages: [] as number[],
  count: 0,
  roots: [] as number[],
  taken: new Set<number>(),
  takes: 0,
  returns: 0,
  wrong: '',
};

function cacheAt(c: Call): number {
  return c.reader.memcaches() + c.cpu * Memcache.size;
}

const countOf = (c: Call): number => c.facts.read64(cacheAt(c) + Memcache.pages);

/** The pages of the cache as it stands, while `isGood` holds. */
function walk(c: Call, isGood: (page: number) => boolean): number[] {
  const pages: number[] = [];
  let pa = c.facts.read64(cacheAt(c) + Memcache.head);
  for (let left = Math.min(countOf(c), FOLLOWED_MAX); left > 0; left--) {
    const page = pa % PAGE === 0 ? c.facts.pageOf(pa) : -1;
    if (page < 0 || pages.includes(page) || !isGood(page)) break;
    pages.push(page);
    pa = c.facts.read64(pa);
  }
  return pages;
}

/** Pages that a call may get or give back itself. @param cached those of the cache */
type Roots = (c: Call, cached: readonly number[]) => number[];

/** Look at the cache before the call. */
function prepareCache(c: Call, roots: Roots): void {
  call.count = countOf(c);
  call.pages = walk(c, isHosts(c));
  call.roots = roots(c, call.pages);
  call.taken.clear();
  call.takes = 0;
  call.returns = 0;
  call.wrong = '';
  c.monitor.releases.onMoved = (page, isHyps) => {
    if (isHyps) take(c, page);
    else giveBack(c, page);
  };
}

const isHosts =
  (c: Call) =>
  (page: number): boolean =>
    c.ghost.pages.isHostAlone(page) && c.ghost.pages.references(page) === 0;

/** The hypervisor has got a page. What may not be is left to the comparison with its record. */
function take(c: Call, page: number): void {
  if (!isHosts(c)(page)) return;
  if (call.roots.includes(page)) {
    c.setOwner(page, Owner.hyp);
    return;
  }
  if (!call.pages.includes(page)) return;
  c.giveToPool(page, PoolId.iommu);
  call.taken.add(page);
  call.takes++;
}

/** It has given one up. */
function giveBack(c: Call, page: number): void {
  if (c.ghost.pages.owner(page) !== Owner.hyp) return;
  const isRoot = call.roots.includes(page);
  if (!c.isZero(page, isRoot ? 0 : 8)) {
    call.wrong = `gave 0x${c.facts.paOf(page).toString(16)} back with something left in it`;
  }
  if (!isRoot) call.returns++;
  c.setOwner(page, Owner.host);
}

/** What is wrong with what has moved; null when it is as it may be. */
function judgeMoved(c: Call): string | null {
  if (call.wrong !== '') return call.wrong;
  const expected = call.count - call.takes + call.returns;
  return expected < 2 ** 53 && countOf(c) !== expected
    ? `left ${countOf(c)} pages in the cache; it must be ${expected}`
    : null;
}

/**
 * Whether the cache, as the call left it, has no page that could be taken.
 * @param isBusy whether the call itself referred to a page, so that it could not be donated meanwhile
 */
export function isExhausted(c: Call, isBusy: (page: number) => boolean = () => false): boolean {
  if (countOf(c) === 0 || c.poolLacks(PoolId.heap, 0)) return true;
  return walk(c, (page) => isHosts(c)(page) && !isBusy(page)).length === 0;
}

/** Whether the call has taken that page from the cache. */
export function wasTaken(page: number): boolean {
  return call.taken.has(page);
}

/**
 * The rules of a call that has pages from the cache.
 * @param rename puts the registers as the rows expect them
 * @param roots pages that the call may get or give back itself
 */
export function withCache(rules: CallRules, rename: (c: Call) => void, roots: Roots = () => []): CallRules {
  const judged = <T extends Row | Shortage>(row: T): T => ({
    ...row,
    index: -1,
    accept: (c: Call) => judgeMoved(c) ?? row.accept(c),
  });
  // Rows share shortages, which are counted as one.
  const shortages = new Map<Shortage, Shortage>();
  const shortage = (one: Shortage): Shortage => {
    const known = shortages.get(one) ?? judged(one);
    shortages.set(one, known);
    return known;
  };
  return {
    isPiecewise: true,
    prepare: (c) => {
      rename(c);
      prepareCache(c, roots);
      rules.prepare(c);
    },
    rows: rules.rows.map((row) => judged({ ...row, shortages: row.shortages.map(shortage) })),
  };
}
