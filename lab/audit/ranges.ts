/** Leaves side by side become ranges, and leaves on forbidden memory become violations. */
import { sameRights } from './rights.ts';
import { beneathAt, entryAt, type Run } from './runs.ts';
import type { AuditViolation, Entry, ReachRange, Region, Rights } from './types.ts';

type Open<T> = { -readonly [K in keyof T]: T[K] };

/** The descriptors of a context, by their addresses. */
export interface Entries {
  readonly entry: (address: number) => Entry;
  readonly beneath: (address: number) => Entry;
}

/** Joins runs that are contiguous as IOVA and as PA and have equal rights. Runs are in ascending order of IOVA. */
export function coalesce(runs: readonly Run<Rights>[], entries: Entries): ReachRange[] {
  const ranges: ReachRange[] = [];
  for (let i = 0; i < runs.length; ) {
    const first = runs[i]!;
    let last = first;
    let leaves = first.count;
    let size = first.unit * first.count;
    for (i++; i < runs.length && follows(first, size, runs[i]!); i++) {
      last = runs[i]!;
      leaves += last.count;
      size += last.unit * last.count;
    }
    const { iova, pa, rights, beneath } = first;
    ranges.push({
      iova,
      pa,
      size,
      rights,
      leaves,
      entry: entries.entry(first.entry),
      last: entries.entry(entryAt(last, last.count - 1)),
      beneath: beneath === null ? null : entries.beneath(beneath),
    });
  }
  return ranges;
}

interface Stretch {
  readonly iova: number;
  readonly pa: number;
  readonly rights: Rights;
}

/** Does `next` go on where a stretch of `size` bytes ends? */
function follows({ iova, pa, rights }: Stretch, size: number, next: Stretch): boolean {
  return iova + size === next.iova && pa + size === next.pa && sameRights(rights, next.rights);
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

/** How many violations of one context and one region are listed one by one. */
export const MOST_LISTED = 1000;

/**
 * What the leaves of one context violate: any access to protected memory, a write to memory of tables. Of one region at
 * most {@link MOST_LISTED} are found; `omitted` counts the others.
 */
export function violationsOf(
  runs: readonly Run<Rights>[],
  index: RegionIndex,
  streams: readonly number[],
  ssid: number | null,
  entries: Entries,
): { readonly found: readonly AuditViolation[]; readonly omitted: number } {
  const found: Open<AuditViolation>[] = [];
  const open = new Map<Region, { last: Open<AuditViolation> | null; count: number }>();
  let omitted = 0;
  for (const run of runs) {
    const end = run.pa + run.unit * run.count;
    for (const region of index.touched(run.pa, end)) {
      if (region.kind === 'table' && !run.rights.write) continue;
      const pa = Math.max(run.pa, region.start);
      const size = Math.min(end, region.end) - pa;
      const first = Math.floor((pa - run.pa) / run.unit);
      const leaves = Math.floor((pa + size - 1 - run.pa) / run.unit) - first + 1;
      const iova = run.iova + (pa - run.pa);
      const before = open.get(region) ?? { last: null, count: 0 };
      open.set(region, before);
      if (before.last !== null && follows(before.last, before.last.size, { iova, pa, rights: run.rights })) {
        before.last.size += size;
        before.last.leaves += leaves;
        continue;
      }
      if (before.count++ >= MOST_LISTED) {
        omitted++;
        continue;
      }
      const beneath = beneathAt(run, first);
      before.last = {
        kind: region.kind === 'table' ? 'table memory is writable' : 'protected memory is reachable',
        streams,
        ssid,
        region,
        iova,
        pa,
        size,
        rights: run.rights,
        entry: entries.entry(entryAt(run, first)),
        beneath: beneath === null ? null : entries.beneath(beneath),
        leaves,
      };
      found.push(before.last);
    }
  }
  return { found, omitted };
}
