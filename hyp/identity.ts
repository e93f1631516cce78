/**
 * The identity domain: what a stream reaches for which the host has turned identity on (android17's set_identity). Its
 * one stage-2 table serves every SMMU with that stage, tagged VMID 0, and always says what the host's stage 2 says: the
 * host's pages are mapped where they are, to be read and written; what is another's, the SMMUs' registers among it, is not.
 *
 * Taken as a snapshot at boot, then changed with each change of owner, under the host lock; a page leaves the host only
 * after its translation has been invalidated on each SMMU that uses the table. Memory that can change hands (RAM and the
 * ranges of devices) is mapped by pages, and every table for it is made at boot, so that no later change needs memory or
 * splits a block; the rest of the address space by the largest blocks. Nothing beyond the smallest output size is mapped.
 */

import { err } from '#hypercall-abi';
import {
  configurePageTable,
  mapPages,
  openPageTable,
  type PageTable,
  type PageTableLayout,
  type PageTableOps,
  Prot,
  pgdBytes,
  unmapPages,
} from '#io-pgtable';
import type { SmmuDescription, Steps } from '#machine';
import type { Hyp } from './context.ts';
import { pageTableConfig } from './domain-record.ts';
import { hostStage2Run } from './host-stage2.ts';
import { OwnerId } from './layout.ts';
import { allocPages, freePages, readPointer, writePointer } from './pool.ts';
import { PAGE_SIZE, SMMU_MMIO_SIZE } from './stage2.ts';
import { invalidateIdentity } from './tlb.ts';
import { hypPage } from './vmemmap.ts';

const RAM_PROT = Prot.READ | Prot.WRITE;
const MMIO_PROT = Prot.READ | Prot.WRITE | Prot.MMIO | Prot.NOEXEC;
const BLOCK_SIZES = [2 ** 30, 2 ** 21];

/** Shape of the identity table: what all SMMUs with stage 2 can walk. Null when there is none. */
export function identityLayout(smmus: readonly SmmuDescription[]): PageTableLayout | null {
  const users = smmus.filter(({ stage2 }) => stage2);
  if (users.length === 0) return null;
  const narrowest = users.reduce((least, smmu) => (smmu.oas < least.oas ? smmu : least));
  const layout = configurePageTable(pageTableConfig(narrowest, 2));
  if (typeof layout === 'number') throw new RangeError(`no identity table fits SMMU ${narrowest.name}`);
  return layout;
}

/** What the page-table code gets: tables come from the heap, at boot only; invalidation is this file's business. */
export function identityOps(h: Hyp): PageTableOps {
  const orderOf = (bytes: number): number => Math.max(0, Math.ceil(Math.log2(bytes / PAGE_SIZE)));
  return {
    memory: h.memory,
    allocTable: function* (bytes: number): Steps<number> {
      return yield* allocPages(h, h.layout.heapPool, orderOf(bytes));
    },
    freeTable: function* (pa: number, bytes: number): Steps<void> {
      yield* freePages(h, h.layout.heapPool, pa, orderOf(bytes));
    },
    flushAll: function* (): Steps<void> {},
    flushWalk: function* (): Steps<void> {},
    addPages: function* (): Steps<void> {},
    warn: () => {},
  };
}

/** The identity table; root 0 before the snapshot, and for ever where no SMMU has stage 2. */
export function identityTable(h: Hyp): PageTable {
  return openPageTable(h.identityOps, h.identityLayout!, readPointer(h, h.layout.identityRoot));
}

/** Make the table, at boot, with the host's stage 2 as it stands. @returns 0 or -ENOMEM */
export function* snapshotHostStage2(h: Hyp): Steps<number> {
  const layout = h.identityLayout;
  if (layout === null) return 0;
  const root = yield* h.identityOps.allocTable(pgdBytes(layout));
  if (root === 0) return err('ENOMEM');
  writePointer(h, h.layout.identityRoot, root);
  const table = identityTable(h);
  const ranges = movableRanges(h);
  let at = 0;
  for (const { base, size } of ranges) {
    if (!(yield* mapRange(table, at, base, MMIO_PROT, true))) return err('ENOMEM');
    const prot = hypPage(h, base) >= 0 ? RAM_PROT : MMIO_PROT;
    if (!(yield* mapRange(table, base, base + size, prot, false))) return err('ENOMEM');
    at = base + size;
  }
  if (!(yield* mapRange(table, at, layout.outputEnd, MMIO_PROT, true))) return err('ENOMEM');
  // Every table is there now. Out goes what is not the host's: no stream uses the table yet, so nothing is cached of it.
  for (const { base, size } of ranges) {
    for (let pa = base; pa < base + size; ) {
      const run = yield* hostStage2Run(h, pa);
      const end = Math.min(run.end, base + size);
      if (run.owner !== OwnerId.host) yield* unmapRange(table, pa, end);
      pa = end;
    }
  }
  return 0;
}

/** The ranges whose pages can change hands, in the order of their addresses. */
function movableRanges(h: Hyp): { base: number; size: number }[] {
  const registers = h.smmus.map(({ base }) => ({ base, size: SMMU_MMIO_SIZE }));
  return [...h.machine.ram, ...h.machine.mmio, ...registers].sort((a, b) => a.base - b.base);
}

/** Map [start, end) where it is, as far as the table reaches. @returns whether there was memory for all tables */
function* mapRange(table: PageTable, start: number, end: number, prot: number, blocks: boolean): Steps<boolean> {
  const last = Math.min(end, table.layout.outputEnd);
  for (let at = start; at < last; ) {
    const block = blocks ? BLOCK_SIZES.find((bytes) => at % bytes === 0 && at + bytes <= last) : undefined;
    const size = block ?? PAGE_SIZE;
    const mapped = yield* mapPages(table, at, at, size, Math.floor((last - at) / size), prot);
    if (mapped <= 0) return false;
    at += mapped;
  }
  return true;
}

/** Unmap the pages of [start, end), all of which are mapped. No invalidation. */
function* unmapRange(table: PageTable, start: number, end: number): Steps<void> {
  const last = Math.min(end, table.layout.outputEnd);
  for (let at = start; at < last; ) {
    const unmapped = yield* unmapPages(table, at, PAGE_SIZE, (last - at) / PAGE_SIZE);
    if (unmapped <= 0) throw notMirrored(at);
    at += unmapped;
  }
}

/** The host gets pages: devices with identity reach them from here on. The content must be fit for the host to see. */
export function* addToIdentity(h: Hyp, pa: number, pages: number): Steps<void> {
  const table = h.identityLayout === null ? null : identityTable(h);
  if (table === null || table.root === 0) return;
  const prot = hypPage(h, pa) >= 0 ? RAM_PROT : MMIO_PROT;
  if (!(yield* mapRange(table, pa, pa + pages * PAGE_SIZE, prot, false))) throw notMirrored(pa);
}

/**
 * The host loses pages: no device with identity reaches them once this has returned 0.
 * @returns 0, or -ETIMEDOUT when an SMMU does not answer; the pages are the host's and mapped again then
 */
export function* removeFromIdentity(h: Hyp, pa: number, pages: number): Steps<number> {
  const table = h.identityLayout === null ? null : identityTable(h);
  if (table === null || table.root === 0) return 0;
  const size = Math.min(pa + pages * PAGE_SIZE, table.layout.outputEnd) - pa;
  if (size <= 0) return 0;
  yield* unmapRange(table, pa, pa + size);
  const result = yield* invalidateIdentity(h, pa, size);
  if (result !== 0) yield* addToIdentity(h, pa, pages);
  return result;
}

function notMirrored(pa: number): Error {
  return new Error(`the identity table and the host's stage 2 differ at 0x${pa.toString(16)}`);
}
