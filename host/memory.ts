/**
 * The host's own page allocator, over the RAM that is not the hypervisor's: first fit from the top, by naturally aligned
 * chunks of 2^order pages. It only keeps books; contents are reached through the boundary.
 */

const PAGE_SIZE = 4096;

/** Ranges of RAM in bytes, as in a machine description. */
export interface HostRam {
  readonly ram: readonly { readonly base: number; readonly size: number }[];
  readonly carveOut: { readonly base: number; readonly size: number };
}

export class HostMemory {
  private readonly ranges: { base: number; end: number }[] = [];
  private readonly freed = new Map<number, number[]>();
  /** Pages handed out and not freed. */
  pagesInUse = 0;

  constructor({ ram, carveOut }: HostRam) {
    const carveEnd = carveOut.base + carveOut.size;
    for (const { base, size } of ram) {
      const end = base + size;
      if (carveEnd <= base || carveOut.base >= end) this.ranges.push({ base, end });
      else {
        if (carveOut.base > base) this.ranges.push({ base, end: carveOut.base });
        if (carveEnd < end) this.ranges.push({ base: carveEnd, end });
      }
    }
  }

  /**
   * Take 2^order pages, naturally aligned. The highest range is used first.
   * @returns the physical address, or 0 when nothing is left
   */
  alloc(order = 0): number {
    const again = this.freed.get(order)?.pop();
    if (again !== undefined) {
      this.pagesInUse += 1 << order;
      return again;
    }
    const bytes = PAGE_SIZE * 2 ** order;
    for (let i = this.ranges.length - 1; i >= 0; i--) {
      const range = this.ranges[i]!;
      const base = range.end - bytes - ((range.end - bytes) % bytes);
      if (base < range.base) continue;
      range.end = base;
      this.pagesInUse += 1 << order;
      return base;
    }
    return 0;
  }

  /** Give 2^order pages back. */
  free(pa: number, order = 0): void {
    const list = this.freed.get(order);
    if (list === undefined) this.freed.set(order, [pa]);
    else list.push(pa);
    this.pagesInUse -= 1 << order;
  }
}
