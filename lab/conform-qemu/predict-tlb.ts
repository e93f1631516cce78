/**
 * The predictor's TLB: leaves of one stage, and of both stages together, found by ASID, VMID, granule, level and
 * address, as QEMU keeps them. Leaves of stage 2 have the ASID -1.
 */
import { leafSize } from '../oracle/decode/descriptor.ts';
import type { DeviationId } from './deviations.ts';
import type { Invalidation } from './predict-invalidate.ts';
import type { Leaf, Rights, Stage } from './predict-walk.ts';

/** Entries that QEMU's TLB holds before it is emptied. */
const TLB_ENTRIES = 256;

export interface TlbEntry {
  /** -1 for stage 2. */
  readonly asid: number;
  readonly vmid: number;
  readonly granuleBits: number;
  readonly level: number;
  readonly input: number;
  readonly size: number;
  readonly pa: number;
  /** Where stage 1 led, for an entry of both stages; else -1. */
  readonly ipa: number;
  readonly first: Rights;
  readonly second: Rights;
  /** It belongs to every ASID. */
  readonly global: boolean;
  readonly device: boolean;
  readonly because: Set<DeviationId>;
}

const ALL: Rights = { readable: true, writable: true };

/** The entry that a leaf of one stage makes. */
export function entryOf({ stage, asid, vmid }: Stage, leaf: Leaf, because: Iterable<DeviationId>): TlbEntry {
  const { granuleBits, level, input, size, pa, global, device, readable, writable } = leaf;
  const rights = { readable, writable };
  const place = { asid, vmid, granuleBits, level, input, size, pa, ipa: -1, global, device };
  const [first, second] = stage === 1 ? [rights, ALL] : [ALL, rights];
  return { ...place, first, second, because: new Set(because) };
}

/** The entry of both stages: as large as the smaller leaf, and of its granule and level. */
export function combined(
  { asid, vmid }: Stage,
  one: Leaf,
  two: Leaf,
  iova: number,
  because: Iterable<DeviationId>,
): TlbEntry {
  const { granuleBits, level, size } = two.size < one.size ? two : one;
  const input = iova - (iova % size);
  const ipa = one.pa + (input - one.input);
  return {
    ...{ asid, vmid, granuleBits, level, input, size, ipa },
    pa: two.pa + (ipa - two.input),
    first: { readable: one.readable, writable: one.writable },
    second: { readable: two.readable, writable: two.writable },
    global: one.global,
    device: two.device,
    because: new Set(because),
  };
}

export class Tlb {
  private readonly entries = new Map<string, TlbEntry>();

  clear(): void {
    this.entries.clear();
  }

  insert(entry: TlbEntry): void {
    if (this.entries.size >= TLB_ENTRIES) this.entries.clear();
    this.entries.set(keyOf(entry.asid, entry.vmid, entry.granuleBits, entry.level, entry.input), entry);
  }

  /** A leaf that covers `input`, at a level that stage 1 would have for this granule and input size. */
  lookup({ asid, vmid }: Stage, granuleBits: number, inputBits: number, input: number): TlbEntry | null {
    for (let level = 4 - Math.ceil((inputBits - granuleBits) / (granuleBits - 3)); level <= 3; level++) {
      const size = leafSize(level, granuleBits);
      const found = this.entries.get(keyOf(asid, vmid, granuleBits, level, input - (input % size)));
      if (found !== undefined) return found;
    }
    return null;
  }

  /** Takes out what an invalidation covers. With `tagged`, a global leaf counts as one of its ASID only. */
  drop(scope: Invalidation, tagged: boolean): void {
    for (const [key, entry] of this.entries) {
      if (!scope.dropsLeaf(entry)) continue;
      if (entry.global && tagged && !scope.dropsLeaf({ ...entry, global: false })) entry.because.add('global-tagged');
      else this.entries.delete(key);
    }
  }
}

function keyOf(asid: number, vmid: number, granuleBits: number, level: number, input: number): string {
  return `${asid} ${vmid} ${granuleBits} ${level} ${input}`;
}
