/**
 * Invalidation of a range of addresses: as few commands as the SMMU allows, or one for all when there would be too many.
 * Addresses and sizes are in bytes; an address of the upper half of the address space is negative.
 */

import { structures } from '#machine/host-view';
import { ATC_ALL, buildAtcInv, buildTlbi, COMMAND_INTS, type Command } from './commands.ts';
import type { SmmuFeatures } from './features.ts';

const { COMMAND_STRUCTURES, setField } = structures;
/** The commands by address have these fields at the same place. */
const field = COMMAND_STRUCTURES.TLBI_NH_VA.field;
const ipa = COMMAND_STRUCTURES.TLBI_S2_IPA;

/** A range that was unmapped. `size` 0 stands for everything. */
export interface InvalidRange {
  readonly iova: number;
  readonly size: number;
  /** Bytes of the pages or blocks that were unmapped. */
  readonly granule: number;
  /** No table was unlinked: entries of the last level only. */
  readonly leaf: boolean;
}

const ATC_PAGE = 4096;
/** Number of 4 KiB pages of the 64-bit address space. */
const ATC_PAGES = 2 ** 52;
const NUM_LIMIT = 32;
const TWO32 = 2 ** 32;

const scratch = new Int32Array(COMMAND_INTS);

/** Whether a range is given up as a range: an ASID or a VMID is invalidated as a whole instead. */
export function isTooBig(smmu: SmmuFeatures, { size, granule }: InvalidRange): boolean {
  if (size === 0) return true;
  return !smmu.rangeInvalidation && size >= granule * (granule / 8);
}

/**
 * The commands for a range of one address space.
 * @param opcode TLBI_NH_VA, TLBI_EL2_VA or TLBI_S2_IPA
 * @param pageShift log2 of the smallest page of the page table
 * @param add takes each command; it is reused
 */
export function tlbiRange(
  smmu: SmmuFeatures,
  opcode: number,
  asid: number,
  vmid: number,
  pageShift: number,
  { iova, size, granule, leaf }: InvalidRange,
  add: (command: Command) => void,
): void {
  const address = opcode === ipa.opcode ? ipa.field.Address : field.Address;
  buildTlbi(scratch, opcode, asid, vmid);
  setField(scratch, field.Leaf, Number(leaf));
  const end = iova + size;
  if (!smmu.rangeInvalidation) {
    for (let at = iova; at < end; at += granule) {
      setField(scratch, address, at);
      add(scratch);
    }
    return;
  }
  const page = 2 ** pageShift;
  let pages = Math.ceil(size / page);
  setField(scratch, field.TG, (pageShift - 10) / 2);
  if (leaf) setField(scratch, field.TTL, 4 - Math.floor((Math.log2(granule) - 3) / (pageShift - 3)));
  // Without a level, a range of one page at scale 0 would be ILLEGAL: one page more is always allowed.
  else if (pages % NUM_LIMIT === 1) pages++;
  for (let at = iova; at < end; ) {
    const scale = trailingZeros(pages);
    const num = Math.floor(pages / 2 ** scale) % NUM_LIMIT;
    setField(scratch, field.SCALE, scale);
    setField(scratch, field.NUM, num - 1);
    setField(scratch, address, at);
    add(scratch);
    pages -= num * 2 ** scale;
    at += num * 2 ** scale * page;
  }
}

function trailingZeros(value: number): number {
  const lo = value | 0;
  if (lo !== 0) return 31 - Math.clz32(lo & -lo);
  const hi = Math.floor(value / TWO32);
  return 63 - Math.clz32(hi & -hi);
}

/** Number of a 4 KiB page in the 64-bit address space. */
function pageOf(address: number): number {
  const page = Math.floor(address / ATC_PAGE);
  return page < 0 ? page + ATC_PAGES : page;
}

/**
 * ATC_INV for a range: the smallest aligned power of two of pages around it. From 0 with size 0, that is everything.
 */
export function buildAtcInvRange(into: Command, sid: number, ssid: number, iova: number, size: number): void {
  const first = pageOf(iova);
  const last = pageOf(iova + size - 1);
  const hi = Math.floor(first / TWO32) ^ Math.floor(last / TWO32);
  const span = hi !== 0 ? 64 - Math.clz32(hi) : 32 - Math.clz32(first ^ last);
  const start = span >= ATC_ALL ? 0 : Math.floor(first / 2 ** span) * 2 ** span;
  const signed = start >= ATC_PAGES / 2 ? start - ATC_PAGES : start;
  buildAtcInv(into, sid, ssid, signed * ATC_PAGE, span);
}
