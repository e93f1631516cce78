/**
 * The window between the removal of a mapping and the end of its invalidation: as long as the modelled SMMU may still
 * hold it, the device still reaches the memory. Counted in operations of the log, and in its time.
 */
import type { Smmu } from '#machine';
import type { TlbTag } from './tables.ts';

/** A mapping that the log removed, while caches may hold it. Bytes. */
export interface Removed {
  readonly root: number;
  readonly tag: TlbTag;
  readonly iova: number;
  readonly size: number;
  readonly line: number;
  /** How many operations had been done, and the log's time, when it was removed. */
  readonly operation: number;
  readonly time: number;
}

export interface WindowStatistics {
  /** Mappings that were removed, and those that caches may still hold at the end. */
  readonly removed: number;
  readonly left: number;
  /** Most removed mappings, and most pages of 4 KiB of them, that caches may hold at one time. */
  readonly mostMappings: number;
  readonly mostPages: number;
  /** Operations and milliseconds from removal to invalidation. */
  readonly operations: Spread;
  readonly milliseconds: Spread;
}

export interface Spread {
  readonly median: number;
  readonly max: number;
}

const PAGE = 4096;

export class Window {
  private readonly smmu: Smmu;
  private open: Removed[] = [];
  private pages = 0;
  private removed = 0;
  private mostMappings = 0;
  private mostPages = 0;
  private readonly operations: number[] = [];
  private readonly milliseconds: number[] = [];

  constructor(smmu: Smmu) {
    this.smmu = smmu;
  }

  /** A mapping was removed from the tables. */
  remove(mapping: Removed): void {
    this.open.push(mapping);
    this.removed++;
    this.pages += Math.ceil(mapping.size / PAGE);
    this.mostMappings = Math.max(this.mostMappings, this.open.length);
    this.mostPages = Math.max(this.mostPages, this.pages);
  }

  /** Commands were consumed: lets go of the mappings that no cache can hold any more. */
  settle(operation: number, time: number): void {
    if (this.open.length === 0) return;
    const stale = this.smmu.stale().filter(({ kind }) => kind === 'leaf' || kind === 'table');
    const kept: Removed[] = [];
    for (const mapping of this.open) {
      const { tag, iova, size } = mapping;
      const held = stale.some((entry) => {
        if (entry.stage !== tag.stage || entry.vmid !== tag.vmid) return false;
        if (tag.stage === 1 && entry.asid !== -1 && entry.asid !== tag.asid) return false;
        return entry.iova < iova + size && iova < entry.iova + entry.size;
      });
      if (held) {
        kept.push(mapping);
        continue;
      }
      this.pages -= Math.ceil(size / PAGE);
      this.operations.push(operation - mapping.operation);
      this.milliseconds.push(1000 * (time - mapping.time));
    }
    this.open = kept;
  }

  /** The removed mapping of these addresses that caches may still hold, if there is one. */
  held(root: number, iova: number, size: number): Removed | null {
    return this.open.find((mapping) => mapping.root === root && overlaps(mapping, iova, size)) ?? null;
  }

  /** May caches still hold this one? */
  isOpen(mapping: Removed): boolean {
    return this.open.includes(mapping);
  }

  statistics(): WindowStatistics {
    return {
      removed: this.removed,
      left: this.open.length,
      mostMappings: this.mostMappings,
      mostPages: this.mostPages,
      operations: spread(this.operations),
      milliseconds: spread(this.milliseconds),
    };
  }
}

function overlaps(mapping: Removed, iova: number, size: number): boolean {
  return mapping.iova < iova + size && iova < mapping.iova + mapping.size;
}

function spread(values: readonly number[]): Spread {
  if (values.length === 0) return { median: 0, max: 0 };
  const sorted = values.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1]!, max: sorted.at(-1)! };
}
