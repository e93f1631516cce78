/**
 * What the names of a scenario stand for on one machine. Everything is numbered in the order of its first appearance,
 * so the same steps always mean the same numbers: domains from 1; pages from the top of the host's free memory down,
 * runs of a block (512 pages) and more from its bottom up. A VM's name stands for the handle that its reserve_vm returned,
 * the name of a guest's domain for the id that guest_alloc_domain returned, and both for 0 before that.
 */

import type { HostMemory } from '#host';
import type { ArgumentUnit, ArgumentValue } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { namedStreams } from './streams.ts';
import type { PageRef, Value } from './types.ts';
import { isBig, isName, isPage, pageRef } from './value.ts';

const PAGE_SIZE = 4096;
/** Blocks keep away from single pages: on a small machine there is room for one only while its place is whole. */
const BLOCK_ORDER = 9;

/** A step asks for something that the machine does not have. */
export class CannotDo extends Error {
  override readonly name: string = 'CannotDo';
}

interface Bound {
  readonly pa: number;
  readonly pages: number;
}

/** What names stood for at some time. */
export interface BoundNames {
  readonly low: number;
  readonly high: number;
  readonly domains: ReadonlyMap<string, number>;
  readonly vms: ReadonlyMap<string, number>;
  readonly guestDomains: ReadonlyMap<string, number>;
  readonly pages: ReadonlyMap<string, Bound>;
}

export class NameBinder {
  private readonly sids: ReadonlyMap<string, number>;
  /** The host's free memory: [bottom, top). */
  private readonly bottom: number;
  private readonly top: number;
  private low: number;
  private high: number;
  private domains = new Map<string, number>();
  private vms = new Map<string, number>();
  private guestDomains = new Map<string, number>();
  private pages = new Map<string, Bound>();

  /** @param memory the host's allocator after the machine has booted: nothing else may take pages from it */
  constructor(machine: MachineDescription, memory: HostMemory) {
    this.sids = new Map(namedStreams(machine).map(({ name, sid }) => [name, sid]));
    const highest = memory.alloc(0);
    if (highest === 0) throw new RangeError(`the host of machine ${machine.name} has no free page`);
    memory.free(highest);
    this.top = highest + PAGE_SIZE;
    this.bottom = lowestHostPage(machine, highest);
    this.low = this.bottom;
    this.high = this.top;
  }

  /** Forget every name. */
  reset(): void {
    this.low = this.bottom;
    this.high = this.top;
    this.domains.clear();
    this.vms.clear();
    this.guestDomains.clear();
    this.pages.clear();
  }

  /** What the names stand for now. */
  save(): BoundNames {
    const { low, high, domains, vms, guestDomains, pages } = this;
    return {
      low,
      high,
      domains: new Map(domains),
      vms: new Map(vms),
      guestDomains: new Map(guestDomains),
      pages: new Map(pages),
    };
  }

  /** Let the names stand for what they stood for then. */
  restore({ low, high, domains, vms, guestDomains, pages }: BoundNames): void {
    this.low = low;
    this.high = high;
    this.domains = new Map(domains);
    this.vms = new Map(vms);
    this.guestDomains = new Map(guestDomains);
    this.pages = new Map(pages);
  }

  /** The register value that `value` stands for in an argument of that unit. @throws CannotDo for an unknown device */
  resolve(value: Value, unit: ArgumentUnit): ArgumentValue {
    if (typeof value === 'number') return value;
    if (isPage(value))
      return unit === 'pfn' || unit === 'gfn' ? Math.floor(this.address(value) / PAGE_SIZE) : this.address(value);
    if (isBig(value)) return BigInt(value.big);
    if (unit === 'domain') return this.domain(value.name);
    if (unit === 'stream') return this.stream(value.name);
    return this.vms.get(value.name) ?? 0;
  }

  /** Number of a domain. */
  domain(name: string): number {
    const known = this.domains.get(name);
    if (known !== undefined) return known;
    const id = this.domains.size + 1;
    this.domains.set(name, id);
    return id;
  }

  /** As {@link resolve}, for an argument of a guest's call: names are those of the guests' domains. */
  resolveGuest(value: Value, unit: ArgumentUnit): ArgumentValue {
    return isName(value) ? (this.guestDomains.get(value.name) ?? 0) : this.resolve(value, unit);
  }

  /** A guest has got a domain. */
  bindGuestDomain(name: string, id: number): void {
    this.guestDomains.set(name, id);
  }

  /** A VM has got its handle. */
  bindVm(name: string, handle: number): void {
    this.vms.set(name, handle);
  }

  /** Address in bytes of a page reference. @throws CannotDo when the host's memory is used up */
  address({ page, run = 1, offset = 0, byte = 0 }: PageRef): number {
    let bound = this.pages.get(page);
    if (bound === undefined) {
      const pa = this.draw(Math.log2(run));
      if (pa === 0) throw new CannotDo(`the host has no ${run} free pages for page:${page}`);
      bound = { pa, pages: run };
      this.pages.set(page, bound);
    }
    return bound.pa + offset * PAGE_SIZE + byte;
  }

  /** Take 2^order fresh pages, naturally aligned. @returns their address, or 0 when there are none */
  draw(order: number): number {
    const bytes = PAGE_SIZE * 2 ** order;
    if (order < BLOCK_ORDER) {
      const pa = Math.floor((this.high - bytes) / bytes) * bytes;
      if (pa < this.low) return 0;
      this.high = pa;
      return pa;
    }
    const pa = Math.ceil(this.low / bytes) * bytes;
    if (pa + bytes > this.high) return 0;
    this.low = pa + bytes;
    return pa;
  }

  /** An address by the page it is in, if that has a name. */
  nameOf(pa: number): Value {
    for (const [page, bound] of this.pages) {
      const offset = Math.floor((pa - bound.pa) / PAGE_SIZE);
      if (offset >= 0 && offset < bound.pages) return pageRef(page, 1, offset, pa % PAGE_SIZE);
    }
    return pa;
  }

  private stream(name: string): number {
    const sid = this.sids.get(name);
    if (sid === undefined) throw new CannotDo(`no device ${name}: there are ${[...this.sids.keys()].join(', ')}`);
    return sid;
  }
}

/** Lowest page of the part of RAM that holds `pa` and is not the hypervisor's. */
function lowestHostPage({ ram, carveOut }: MachineDescription, pa: number): number {
  const { base } = ram.find((range) => pa >= range.base && pa < range.base + range.size)!;
  const carveEnd = carveOut.base + carveOut.size;
  return carveEnd > base && carveEnd <= pa ? carveEnd : base;
}
