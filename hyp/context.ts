/**
 * What a piece of hypervisor code has at hand on one CPU: the machine it runs on, where its records are, and scratch
 * that lives no longer than one hypercall. Nothing here is state: all of that is in simulated memory (see layout.ts).
 */

import type { PageTableOps } from '#io-pgtable';
import type { Cpu, MachineDescription, SmmuDescription } from '#machine';
import type { PhysicalMemory } from '#machine/memory';
import type { HypLayout } from './layout.ts';

/** The physical address space as EL2 sees it: RAM and device registers. */
export interface HypBus {
  read32(pa: number): number;
  write32(pa: number, value: number): void;
  write64(pa: number, hi: number, lo: number): void;
}

/** Invalidations gathered during one unmap: the range [start, end) of IOVAs, in leaves of `granule` bytes. */
export interface Gather {
  start: number;
  end: number;
  granule: number;
}

export interface Hyp {
  readonly memory: PhysicalMemory;
  readonly bus: HypBus;
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
  readonly gather: Gather;
  /** Entries in this CPU's unmap cache. */
  unmapCacheCount: number;
  readonly pageTableOps: PageTableOps;
}
