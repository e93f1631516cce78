/**
 * The host's stage 2: an identity map that grows on demand. An entry of 0 is the host's own and not yet touched; a
 * valid one is mapped; another invalid one names, in bits 9:2, the owner that keeps the host out (pKVM's annotation).
 *
 * Callers hold the host lock. Left out: the CPU's TLBs (an access walks the table each time), so no TLBI stands here.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { OwnerId } from './layout.ts';
import { readPointer } from './pool.ts';
import {
  BLOCK_SIZE,
  entryHi,
  entryLo,
  findEntry,
  IPA_END,
  levelOf,
  needEntry,
  PAGE_SIZE,
  placeOf,
  spanAt,
  writeEntry,
} from './stage2.ts';
import { hypPage } from './vmemmap.ts';

const VALID = 1;
const PAGE = 2;
const OWNER_SHIFT = 2;
/** Access flag, inner shareable, read and write, normal write-back memory. */
const RAM_ATTRIBUTES = (1 << 10) | (3 << 8) | (3 << 6) | (0xf << 2);
/** Access flag, outer shareable, read and write, Device-nGnRE; execute-never is in the upper word. */
const MMIO_ATTRIBUTES = (1 << 10) | (2 << 8) | (3 << 6) | (1 << 2);
const MMIO_NX_HI = 1 << 22;
/** Software bit 55 of a device page's leaf: mapped for DMA once, so the page never changes hands again. */
const TAINTED_HI = 1 << 23;
const TWO32 = 4294967296;

function root(h: Hyp): number {
  return readPointer(h, h.layout.hostStage2Root);
}

/** Whose the page at `pa` is, as the host's stage 2 says: OwnerId.host or the annotated owner. */
export function* hostStage2Owner(h: Hyp, pa: number): Steps<number> {
  return (yield* hostStage2Run(h, pa)).owner;
}

/** Whose `pa` is, and the end of the entry that says so. */
export function* hostStage2Run(h: Hyp, pa: number): Steps<{ owner: number; end: number }> {
  const found = yield* findEntry(h, root(h), pa);
  const lo = entryLo(h, placeOf(found));
  const span = spanAt(levelOf(found));
  return { owner: (lo & VALID) !== 0 ? OwnerId.host : (lo >>> OWNER_SHIFT) & 0xff, end: pa - (pa % span) + span };
}

/**
 * Annotate one page with its owner; the host's own pages go back to 0 and are mapped again when it touches them.
 * @returns 0 or -ENOMEM (nothing has changed then, but tables may have been added)
 */
export function* setHostStage2Owner(h: Hyp, pa: number, owner: number): Steps<number> {
  const at = yield* needEntry(h, root(h), pa, 3);
  if (at < 0) return at;
  yield* writeEntry(h, at, 0, owner << OWNER_SHIFT);
  return 0;
}

/** Annotate an aligned range at boot, by 2 MiB blocks where nothing finer is there yet. @returns 0 or -ENOMEM */
export function* annotateAtBoot(h: Hyp, base: number, size: number, owner: number): Steps<number> {
  for (let pa = base; pa < base + size; ) {
    const block = pa % BLOCK_SIZE === 0 && pa + BLOCK_SIZE <= base + size;
    const at = yield* needEntry(h, root(h), pa, block ? 2 : 3);
    if (at < 0) return at;
    yield* writeEntry(h, at, 0, owner << OWNER_SHIFT);
    pa += block ? BLOCK_SIZE : PAGE_SIZE;
  }
  return 0;
}

/**
 * The host touched `ipa` and its stage 2 had no mapping: map it if it is the host's, RAM by 2 MiB where the whole block
 * is untouched, device registers by pages.
 * @returns 0, -EPERM when another owner keeps the host out, -EINVAL beyond the IPA space, -ENOMEM
 */
export function* mapHostOnDemand(h: Hyp, ipa: number): Steps<number> {
  if (ipa >= IPA_END) return err('EINVAL');
  const found = yield* findEntry(h, root(h), ipa);
  const lo = entryLo(h, placeOf(found));
  if ((lo & VALID) !== 0) return 0;
  if (lo !== 0) return err('EPERM');
  const isRam = hypPage(h, ipa) >= 0;
  const block = ipa - (ipa % BLOCK_SIZE);
  const asBlock =
    isRam && levelOf(found) <= 2 && h.machine.ram.some((r) => block >= r.base && block + BLOCK_SIZE <= r.base + r.size);
  const at = yield* needEntry(h, root(h), ipa, asBlock ? 2 : 3);
  if (at < 0) return at;
  const pa = asBlock ? block : ipa - (ipa % PAGE_SIZE);
  const attributes = isRam ? RAM_ATTRIBUTES : MMIO_ATTRIBUTES;
  const hi = Math.floor(pa / TWO32) | (isRam ? 0 : MMIO_NX_HI);
  yield* writeEntry(h, at, hi, pa | attributes | VALID | (asBlock ? 0 : PAGE));
  return 0;
}

/** The host maps the device page at `pa`, which its stage 2 maps, for DMA: the page is tainted for good. */
export function* taintMmio(h: Hyp, pa: number): Steps<void> {
  const at = placeOf(yield* findEntry(h, root(h), pa));
  const hi = entryHi(h, at);
  if ((hi & TAINTED_HI) === 0) yield* writeEntry(h, at, hi | TAINTED_HI, entryLo(h, at));
}

/** Whether the page at `pa` was mapped for DMA once. */
export function* isTaintedMmio(h: Hyp, pa: number): Steps<boolean> {
  const at = placeOf(yield* findEntry(h, root(h), pa));
  return (entryLo(h, at) & VALID) !== 0 && (entryHi(h, at) & TAINTED_HI) !== 0;
}
