/**
 * The host's side of a memcache: the pages that one CPU keeps for the hypervisor, in memory that both may write (the host
 * driver of the first posted series).
 */

import { type Boundary, Memcache } from '#hypercall-abi';

const TWO32 = 4294967296;

export class HostMemcache {
  private readonly boundary: Boundary;
  private readonly at: number;
  private readonly cpu: number;

  /** @param page page with the caches of all CPUs */
  constructor(boundary: Boundary, page: number, cpu: number) {
    this.boundary = boundary;
    this.at = page + cpu * Memcache.size;
    this.cpu = cpu;
  }

  private read(offset: number): number {
    return (this.boundary.read32(this.cpu, this.at + offset) ?? 0) >>> 0;
  }

  /** Pages in the cache, as it says. */
  get pages(): number {
    return this.read(Memcache.pages);
  }

  /** Whether the hypervisor has missed a page since this was last asked. */
  takeNeed(): boolean {
    const isNeeded = this.read(Memcache.needsPage) !== 0;
    if (isNeeded) this.boundary.write32(this.cpu, this.at + Memcache.needsPage, 0);
    return isNeeded;
  }

  /** Put a page of the host in front. @returns whether the host may write it */
  push(pa: number): boolean {
    const { boundary, cpu, at } = this;
    if (!boundary.write64(cpu, pa, this.read(Memcache.head + 4) | 0, this.read(Memcache.head) | 0)) return false;
    boundary.write64(cpu, at + Memcache.head, Math.floor(pa / TWO32), pa | 0);
    boundary.write64(cpu, at + Memcache.pages, 0, this.pages + 1);
    return true;
  }
}
