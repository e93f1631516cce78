/** Leaves side by side become ranges, and leaves on forbidden memory become violations. */
import { sameRights } from './rights.ts';
import type { AuditViolation, Leaf, ReachRange, Region } from './types.ts';

type Open<T> = { -readonly [K in keyof T]: T[K] };

/** Joins leaves that are contiguous as IOVA and as PA and have equal rights. Leaves are in ascending order of IOVA. */
export function coalesce(leaves: readonly Leaf[]): ReachRange[] {
  const ranges: Open<ReachRange>[] = [];
  for (const leaf of leaves) {
    const range = ranges.at(-1);
    if (range !== undefined && follows(range, leaf)) {
      range.size += leaf.size;
      range.leaves++;
      range.last = leaf.entry;
    } else {
      ranges.push({ ...leaf, leaves: 1, last: leaf.entry });
    }
  }
  return ranges;
}

function follows(range: { iova: number; pa: number; size: number; rights: Leaf['rights'] }, leaf: Leaf): boolean {
  return (
    range.iova + range.size === leaf.iova && range.pa + range.size === leaf.pa && sameRights(range.rights, leaf.rights)
  );
}

/** Regions by address, for asking which ones a range touches. Regions may overlap. */
export class RegionIndex {
  private readonly regions: readonly Region[];
  /** The largest end of the regions up to each index. */
  private readonly reach: Float64Array;

  constructor(regions: readonly Region[]) {
    this.regions = [...regions].sort((a, b) => a.start - b.start);
    this.reach = new Float64Array(regions.length);
    let furthest = 0;
    this.regions.forEach((region, i) => {
      furthest = Math.max(furthest, region.end);
      this.reach[i] = furthest;
    });
  }

  /** Every region that shares a byte with [start, end). */
  *touched(start: number, end: number): Generator<Region> {
    const { regions, reach } = this;
    let low = 0;
    let high = regions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (reach[middle]! <= start) low = middle + 1;
      else high = middle;
    }
    for (let i = low; i < regions.length && regions[i]!.start < end; i++) {
      if (regions[i]!.end > start) yield regions[i]!;
    }
  }
}

/** What the leaves of one context violate: any access to protected memory, a write to memory of tables. */
export function violationsOf(
  leaves: readonly Leaf[],
  index: RegionIndex,
  streams: readonly number[],
  ssid: number | null,
): AuditViolation[] {
  const found: Open<AuditViolation>[] = [];
  const open = new Map<Region, Open<AuditViolation>>();
  for (const leaf of leaves) {
    for (const region of index.touched(leaf.pa, leaf.pa + leaf.size)) {
      if (region.kind === 'table' && !leaf.rights.write) continue;
      const from = Math.max(leaf.pa, region.start);
      const size = Math.min(leaf.pa + leaf.size, region.end) - from;
      const { rights, entry, beneath } = leaf;
      const part = { iova: leaf.iova + (from - leaf.pa), pa: from, size, rights, entry, beneath };
      const before = open.get(region);
      if (before !== undefined && follows(before, part)) {
        before.size += size;
        before.leaves++;
        continue;
      }
      const kind = region.kind === 'table' ? 'table memory is writable' : 'protected memory is reachable';
      const violation = { kind, streams, ssid, region, ...part, leaves: 1 } as const;
      found.push(violation);
      open.set(region, violation);
    }
  }
  return found;
}
