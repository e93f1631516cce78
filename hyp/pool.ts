/**
 * Buddy pools of pages that the hypervisor owns. The heap pool is the rest of the carve-out; the IOMMU pool is filled
 * by the host's donations, and page tables, context descriptors and stream tables come from it. Free blocks are linked
 * through their own first words (next, then previous); the vmemmap tells the order of a block at its first page.
 *
 * Models pKVM's hyp_pool. Left out: per-CPU caches; the pool never returns memory by itself, the host asks for it.
 */

import type { Steps } from '#machine';
import { StateClass } from '#machine/memory';
import type { Hyp } from './context.ts';
import { POOL_ORDER_MAX } from './layout.ts';
import { lock, unlock } from './lock.ts';
import { hypPage, isFreeBlock, readHypPage, withFreeBlock, withoutFreeBlock, writeHypPage } from './vmemmap.ts';

const PAGE_SIZE = 4096;
const LOCK = 0;
const FREE_PAGES = 4;
const TOTAL_PAGES = 8;
const HEADS = 16;
const TWO32 = 4294967296;

/** The physical address stored at `at`. */
export function readPointer(h: Hyp, at: number): number {
  return pointerAt(h.memory.words, h.memory.indexOf(at));
}

/** The physical address stored in the two words at `index` of the memory's words. */
export function pointerAt(words: Int32Array, index: number): number {
  const lo = words[index]! >>> 0;
  const hi = words[index + 1]!;
  return hi === 0 ? lo : (hi >>> 0) * TWO32 + lo;
}

/** Store physical address `pa` at `at`. */
export function writePointer(h: Hyp, at: number, pa: number): void {
  h.memory.write64(at, pa < TWO32 ? 0 : Math.floor(pa / TWO32), pa);
}

function* push(h: Hyp, pool: number, pa: number, order: number): Steps<void> {
  const head = pool + HEADS + 8 * order;
  const next = readPointer(h, head);
  writePointer(h, pa, next);
  writePointer(h, pa + 8, 0);
  if (next !== 0) writePointer(h, next + 8, pa);
  writePointer(h, head, pa);
  const at = hypPage(h, pa);
  yield* writeHypPage(h, at, withFreeBlock(yield* readHypPage(h, at), poolTag(h, pool), order));
}

function* remove(h: Hyp, pool: number, pa: number, order: number): Steps<void> {
  const next = readPointer(h, pa);
  const previous = readPointer(h, pa + 8);
  if (previous === 0) writePointer(h, pool + HEADS + 8 * order, next);
  else writePointer(h, previous, next);
  if (next !== 0) writePointer(h, next + 8, previous);
  const at = hypPage(h, pa);
  yield* writeHypPage(h, at, withoutFreeBlock(yield* readHypPage(h, at)));
}

/** Neighbouring pages may belong to different pools: a free block carries the tag of its own. */
function poolTag(h: Hyp, pool: number): number {
  return pool === h.layout.iommuPool ? 1 : 0;
}

function addCount(h: Hyp, at: number, pages: number): void {
  h.memory.write32(at, h.memory.read32(at) + pages);
}

/**
 * Take 2^order zeroed, naturally aligned pages.
 * @returns the physical address, or 0 when the pool has no block of that order
 */
export function* allocPages(h: Hyp, pool: number, order: number): Steps<number> {
  yield* lock(h, pool + LOCK);
  let found = order;
  while (found <= POOL_ORDER_MAX && readPointer(h, pool + HEADS + 8 * found) === 0) found++;
  if (found > POOL_ORDER_MAX) {
    yield* unlock(h, pool + LOCK);
    return 0;
  }
  const pa = readPointer(h, pool + HEADS + 8 * found);
  yield* remove(h, pool, pa, found);
  while (found > order) {
    found--;
    yield* push(h, pool, pa + (PAGE_SIZE << found), found);
  }
  addCount(h, pool + FREE_PAGES, -(1 << order));
  for (let i = 0; i < 1 << order; i++) {
    h.memory.zeroPage(pa + i * PAGE_SIZE);
    h.memory.setClass(pa + i * PAGE_SIZE, StateClass.state);
    const at = hypPage(h, pa + i * PAGE_SIZE);
    yield* writeHypPage(h, at, (yield* readHypPage(h, at)) | 1);
  }
  yield* unlock(h, pool + LOCK);
  return pa;
}

/** Give 2^order pages at `pa` back to the pool; buddies join while both are free. Content is dead from here on. */
export function* freePages(h: Hyp, pool: number, pa: number, order: number): Steps<void> {
  yield* lock(h, pool + LOCK);
  for (let i = 0; i < 1 << order; i++) {
    const at = hypPage(h, pa + i * PAGE_SIZE);
    yield* writeHypPage(h, at, (yield* readHypPage(h, at)) & ~0xffff);
    h.memory.setClass(pa + i * PAGE_SIZE, StateClass.dead);
  }
  yield* join(h, pool, pa, order);
  addCount(h, pool + FREE_PAGES, 1 << order);
  yield* unlock(h, pool + LOCK);
}

function* join(h: Hyp, pool: number, pa: number, order: number): Steps<void> {
  let block = pa;
  let level = order;
  while (level < POOL_ORDER_MAX) {
    const size = PAGE_SIZE << level;
    const buddy = (block & size) === 0 ? block + size : block - size;
    const at = hypPage(h, buddy);
    if (at < 0 || !isFreeBlock(yield* readHypPage(h, at), poolTag(h, pool), level)) break;
    yield* remove(h, pool, buddy, level);
    block = Math.min(block, buddy);
    level++;
  }
  yield* push(h, pool, block, level);
}

/** Add `pages` pages from `pa` that the hypervisor has just come to own to the pool, in the largest aligned blocks. */
export function* addPages(h: Hyp, pool: number, pa: number, pages: number): Steps<void> {
  yield* lock(h, pool + LOCK);
  let done = 0;
  while (done < pages) {
    const at = pa + done * PAGE_SIZE;
    let order = 0;
    while (order < POOL_ORDER_MAX && done + (2 << order) <= pages && (at & ((PAGE_SIZE << (order + 1)) - 1)) === 0) {
      order++;
    }
    for (let i = 0; i < 1 << order; i++) h.memory.setClass(at + i * PAGE_SIZE, StateClass.dead);
    yield* join(h, pool, at, order);
    done += 1 << order;
  }
  addCount(h, pool + FREE_PAGES, pages);
  addCount(h, pool + TOTAL_PAGES, pages);
  yield* unlock(h, pool + LOCK);
}

/** Take one free page out of the pool for good, to give it back to the host. @returns its address, or 0 */
export function* withdrawPage(h: Hyp, pool: number): Steps<number> {
  const pa = yield* allocPages(h, pool, 0);
  if (pa === 0) return 0;
  yield* lock(h, pool + LOCK);
  const at = hypPage(h, pa);
  yield* writeHypPage(h, at, (yield* readHypPage(h, at)) & ~0xffff);
  addCount(h, pool + TOTAL_PAGES, -1);
  yield* unlock(h, pool + LOCK);
  return pa;
}

/** Pages on the free lists of the pool. */
export function freePageCount(h: Hyp, pool: number): number {
  return h.memory.read32(pool + FREE_PAGES);
}
