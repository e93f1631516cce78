/**
 * What a piece of hypervisor code has at hand on one CPU: the machine it runs on, where its records are, and scratch
 * that lives no longer than one hypercall. Nothing here is state: all of that is in simulated memory (see layout.ts).
 */

import type { Profile } from '#hypercall-abi';
import type { PageTableLayout, PageTableOps } from '#io-pgtable';
import type { Bus, Cpu, MachineDescription, SmmuDescription } from '#machine';
import type { PhysicalMemory } from '#machine/memory';
import type { HypLayout } from './layout.ts';

/** Invalidations gathered during one unmap: the range [start, end) of IOVAs, in leaves of `granule` bytes. */
export interface Gather {
  start: number;
  end: number;
  granule: number;
}

export interface Hyp {
  /** The contract that is kept. */
  readonly profile: Profile;
  readonly memory: PhysicalMemory;
  readonly bus: Bus;
  /** The CPU this context runs on. */
  readonly cpu: number;
  readonly cpus: readonly Cpu[];
  readonly machine: MachineDescription;
  readonly smmus: readonly SmmuDescription[];
  readonly layout: HypLayout;
  /** x0..x7 of the call being served. */
  x: Int32Array;
  /** Record of the domain whose page table is being worked on, for the callbacks of the page-table code. */
  domain: number;
  domainId: number;
  /** What is added to a domain's number to find its record: where each IOMMU has domains of its own, the first of the one named. */
  domainBase: number;
  readonly gather: Gather;
  /** What was fetched from memory of the host, as registers: an element of a scatter list, numbers of a memcache, a link. */
  readonly element: Int32Array;
  /** Page records of a run of pages, as {@link readHypPages} has read them. */
  readonly records: Int32Array;
  /** Entries in this CPU's unmap cache. */
  unmapCacheCount: number;
  /**
   * Whether every invalidation of the call has completed. When the hardware did not answer one, what was unlinked may
   * still be reached: tables and pages stay allocated and counted, lost but safe.
   */
  invalidated: boolean;
  /** Errno of the map being served, beside the bytes it mapped. */
  mapResult: number;
  readonly pageTableOps: PageTableOps;
  /** Shapes of the page tables there can be: for SMMU i, stage 1 at 2i and stage 2 at 2i + 1; null without the stage. */
  readonly tableLayouts: readonly (PageTableLayout | null)[];
  /** Shape of the identity domain's table; null where no SMMU has stage 2. */
  readonly identityLayout: PageTableLayout | null;
  readonly identityOps: PageTableOps;
}
