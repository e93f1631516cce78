/**
 * The vmemmap: one 32-bit record for every page of RAM (pKVM's struct hyp_page; fields in layout.ts). It says what the
 * host and the hypervisor have of the page, and how often the page is mapped for DMA. Callers hold the lock that guards
 * the part they touch: the host lock for the host's state and the refcount, the hyp lock for the hypervisor's state.
 */

import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { HypPage, PageState } from './layout.ts';

const REFCOUNT_MASK = 0xffff;
export const REFCOUNT_MAX = 0xffff;
const ORDER_SHIFT = 16;
const HOST_SHIFT = 24;
const HYP_SHIFT = 28;
const STATE_MASK = 0xf;
/** NOPAGE is 3 in some generations and 8 in others; no other state has this bit. */
const NO_PAGE_BIT = 8;

/** Address of the record of the page at `pa`; -1 when `pa` is not RAM. */
export function hypPage(h: Hyp, pa: number): number {
  const ram = h.machine.ram;
  let firstPage = 0;
  for (let i = 0; i < ram.length; i++) {
    const range = ram[i]!;
    const offset = pa - range.base;
    if (offset >= 0 && offset < range.size) {
      // There are fewer pages than 2^31.
      return h.layout.vmemmap + (firstPage + ((offset / 4096) | 0)) * HypPage.size;
    }
    firstPage += range.size / 4096;
  }
  return -1;
}

/** Read a page record. `at` comes from {@link hypPage}. */
export function* readHypPage(h: Hyp, at: number): Steps<number> {
  yield { kind: 'read', at };
  return h.memory.read32(at);
}

/** Write a page record. */
export function* writeHypPage(h: Hyp, at: number, record: number): Steps<void> {
  yield { kind: 'write', at };
  h.memory.write32(at, record);
}

export function refcountOf(record: number): number {
  return record & REFCOUNT_MASK;
}

export function hostStateOf(record: number): PageState {
  const number = (record >>> HOST_SHIFT) & STATE_MASK;
  return (number < NO_PAGE_BIT ? number : PageState.noPage) as PageState;
}

/** Whether the host's state is OWNED, whose number is 0. */
export function isHostOwned(record: number): boolean {
  return (record & (STATE_MASK << HOST_SHIFT)) === 0;
}

export function hypStateOf(record: number): PageState {
  const complement = (record >>> HYP_SHIFT) & STATE_MASK;
  return (complement < NO_PAGE_BIT ? complement ^ PageState.noPage : complement ^ NO_PAGE_BIT) as PageState;
}

/** Whether the page heads a free block of that pool and order. */
export function isFreeBlock(record: number, poolTag: number, order: number): boolean {
  return ((record >>> ORDER_SHIFT) & 0xff) === ((poolTag << 4) | (order + 1));
}

/** @param noPage the profile's number of NOPAGE */
export function withHostState(record: number, state: PageState, noPage: number): number {
  const number = state === PageState.noPage ? noPage : state;
  return (record & ~(STATE_MASK << HOST_SHIFT)) | (number << HOST_SHIFT);
}

/** @param noPage the profile's number of NOPAGE */
export function withHypState(record: number, state: PageState, noPage: number): number {
  const complement = state === PageState.noPage ? 0 : state ^ noPage;
  return (record & ~(STATE_MASK << HYP_SHIFT)) | (complement << HYP_SHIFT);
}

export function withFreeBlock(record: number, poolTag: number, order: number): number {
  return (record & ~(0xff << ORDER_SHIFT)) | (((poolTag << 4) | (order + 1)) << ORDER_SHIFT);
}

export function withoutFreeBlock(record: number): number {
  return record & ~(0xff << ORDER_SHIFT);
}

/** Count one more user of the page at record `at`. The caller made sure that the count is below its maximum. */
export function* getHypPage(h: Hyp, at: number): Steps<void> {
  const record = yield* readHypPage(h, at);
  yield* writeHypPage(h, at, record + 1);
}

/** Count one user less. @throws Error when the count is zero already */
export function* putHypPage(h: Hyp, at: number): Steps<void> {
  const record = yield* readHypPage(h, at);
  if (refcountOf(record) === 0) throw belowZero(at);
  yield* writeHypPage(h, at, record - 1);
}

/**
 * Read the records of up to `pages` pages that follow on each other, from the one at `at` on, into h.records: those that
 * lie in one page of the vmemmap. @returns how many
 */
export function* readHypPages(h: Hyp, at: number, pages: number): Steps<number> {
  const count = Math.min(pages, (4096 - (at & 4095)) / HypPage.size);
  yield { kind: 'read', at };
  h.memory.readWords(at, h.records, 2 * count);
  return count;
}

/** {@link getHypPage} for each of a run of pages, whose records follow on each other from `at` on. */
export function* getHypPages(h: Hyp, at: number, pages: number): Steps<void> {
  const { records } = h;
  for (let done = 0; done < pages; ) {
    const first = at + HypPage.size * done;
    const count = yield* readHypPages(h, first, pages - done);
    for (let i = 0; i < count; i++) records[2 * i] = records[2 * i]! + 1;
    yield { kind: 'write', at: first };
    h.memory.writeWords(first, records, 2 * count);
    done += count;
  }
}

/** {@link putHypPage} for each of a run of pages. @throws Error when the count of one is zero already */
export function* putHypPages(h: Hyp, at: number, pages: number): Steps<void> {
  const { records } = h;
  for (let done = 0; done < pages; ) {
    const first = at + HypPage.size * done;
    const count = yield* readHypPages(h, first, pages - done);
    for (let i = 0; i < count; i++) {
      if (refcountOf(records[2 * i]!) === 0) throw belowZero(first + HypPage.size * i);
      records[2 * i] = records[2 * i]! - 1;
    }
    yield { kind: 'write', at: first };
    h.memory.writeWords(first, records, 2 * count);
    done += count;
  }
}

function belowZero(at: number): Error {
  return new Error(`refcount of page record 0x${at.toString(16)} drops below zero`);
}
