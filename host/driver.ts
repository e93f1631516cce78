/**
 * The host's IOMMU driver: turns domain, attach, map and unmap into hypercalls, serves the memory requests that come
 * back, and goes on where a call stopped short (pKVM's host driver; docs/abi-sources.md section 6).
 */

import { AttachFlag, type Boundary, type CallResult, Errno, type MemoryRequest } from '#hypercall-abi';
import { HostMemcache } from './memcache.ts';
import type { HostMemory } from './memory.ts';
import type { ScatterList } from './scatter-list.ts';

const PASID_NONE = 0;
const NO_FLAGS = 0;
/** Number of the SMMUv3 driver. */
const DRIVER = 0;

/** What {@link IommuDriver.attach} may be told beside the stream. */
export interface AttachOptions {
  readonly pasid?: number;
  readonly pasidBits?: number;
  /** Faults are to stall until {@link IommuDriver.respond}. */
  readonly stall?: boolean;
}

/** What the driver must know where the hypervisor has its pages from memcaches. */
export interface DriverCaches {
  /** The page with the caches of all CPUs. */
  readonly page: number;
  /** log2 of the pages of a domain's first table, by IOMMU. */
  readonly rootOrders: readonly number[];
}

/** Counters that a report shows. */
export interface DriverStatistics {
  calls: number;
  topUps: number;
  pagesDonated: number;
  shortMaps: number;
}

export class IommuDriver {
  readonly statistics: DriverStatistics = { calls: 0, topUps: 0, pagesDonated: 0, shortMaps: 0 };
  private readonly boundary: Boundary;
  private readonly memory: HostMemory;
  private readonly cpu: number;
  private readonly caches: DriverCaches | null;
  private readonly memcache: HostMemcache | null;
  private readonly freeIds: number[] = [];
  private nextId = 1;

  /**
   * @param cpu the CPU on which this driver runs
   * @param caches where the hypervisor has its pages from memcaches; else null
   */
  constructor(boundary: Boundary, memory: HostMemory, cpu = 0, caches: DriverCaches | null = null) {
    this.boundary = boundary;
    this.memory = memory;
    this.cpu = cpu;
    this.caches = caches;
    this.memcache = caches === null ? null : new HostMemcache(boundary, caches.page, cpu);
  }

  /** The domain in the arguments of a call: where IOMMUs have domains of their own, both are named. */
  private named(id: number): readonly number[] {
    const { perIommu } = this.boundary.profile.domains;
    return perIommu === undefined ? [id] : [Math.floor(id / perIommu), id % perIommu];
  }

  /**
   * Make a domain. @param stage 1 or 2; where domains have no type they translate at stage 2, whatever is asked
   * @returns its id (1 and up), or a negative errno
   */
  allocDomain(iommu: number, stage: 1 | 2): number {
    if (this.caches !== null) return this.allocRooted(iommu, this.caches.rootOrders[iommu] ?? 0);
    const id = this.freeIds.pop() ?? this.nextId++;
    if (id >= this.boundary.profile.domains.hostCount) return -Errno.ENOMEM;
    const { s1, s2 } = this.boundary.profile.domainTypes;
    const type = stage === 1 ? s1 : s2;
    const isBound = this.boundary.profile.tableBuilt === 'alloc';
    const args = isBound ? [DRIVER, iommu, id, type] : [id, type];
    const result = this.untilServed(() => this.boundary.call(this.cpu, 'alloc_domain', ...args));
    if (result !== 0) this.freeIds.push(id);
    return result === 0 ? id : result;
  }

  /** A domain whose first table the host gives: such domains translate at stage 2. */
  private allocRooted(iommu: number, order: number): number {
    const { perIommu = 1 } = this.boundary.profile.domains;
    const id = this.freeIds.pop() ?? this.nextId++;
    const root = this.memory.alloc(order);
    if (id >= perIommu || root === 0) return -Errno.ENOMEM;
    const result = this.untilServed(() => this.boundary.call(this.cpu, 'alloc_domain', iommu, id, root));
    if (result === 0) return iommu * perIommu + id;
    this.freeIds.push(id);
    return result;
  }

  /** Free an idle domain. @returns 0 or a negative errno */
  freeDomain(id: number): number {
    this.statistics.calls++;
    const { errno } = this.boundary.call(this.cpu, 'free_domain', ...this.named(id));
    if (errno === 0) this.freeIds.push(this.named(id).at(-1)!);
    return errno;
  }

  /**
   * Attach a stream to a domain, or one PASID of it.
   * @param options `pasidBits`: with PASID 0, log2 of the PASIDs that the stream is to have room for
   * @returns 0 or a negative errno
   */
  attach(iommu: number, id: number, sid: number, options: AttachOptions = {}): number {
    const { pasid = PASID_NONE, pasidBits = 0, stall = false } = options;
    const flags = stall ? AttachFlag.stall : NO_FLAGS;
    const args = [iommu, this.named(id).at(-1)!, sid, pasid, pasidBits, flags].slice(
      0,
      this.boundary.profile.call('attach_dev').args.length,
    );
    return this.untilServed(() => this.boundary.call(this.cpu, 'attach_dev', ...args));
  }

  /** Detach a stream from its domain, or one PASID of it. @returns 0 or a negative errno */
  detach(iommu: number, id: number, sid: number, pasid = PASID_NONE): number {
    this.statistics.calls++;
    const args = [iommu, this.named(id).at(-1)!, sid, pasid];
    return this.boundary.call(
      this.cpu,
      'detach_dev',
      ...args.slice(0, this.boundary.profile.call('detach_dev').args.length),
    ).errno;
  }

  /** Answer an access that stalled under that tag. @param status one of PageResponse @returns 0 or a negative errno */
  respond(iommu: number, sid: number, tag: number, status: number): number {
    this.statistics.calls++;
    return this.boundary.call(this.cpu, 'page_response', DRIVER, iommu, sid, PASID_NONE, tag, status).errno;
  }

  /**
   * Map `count` pages of `pgsize` bytes; tops up and goes on until all is mapped or nothing helps.
   * @returns the bytes mapped; less than asked only together with an errno in {@link lastErrno}
   */
  map(id: number, iova: number, pa: number, pgsize: number, count: number, prot: number): number {
    const size = pgsize * count;
    let mapped = 0;
    this.lastErrno = 0;
    while (mapped < size) {
      this.statistics.calls++;
      const result = this.boundary.call(
        this.cpu,
        'map_pages',
        ...this.named(id),
        iova + mapped,
        pa + mapped,
        pgsize,
        (size - mapped) / pgsize,
        prot,
      );
      mapped += result.value;
      if (mapped >= size) break;
      if (result.errno !== 0 && (result.errno !== -Errno.ENOMEM || result.request === null)) {
        this.lastErrno = result.errno;
        break;
      }
      this.statistics.shortMaps++;
      // Upstream's loop would spin on a short map that asks for nothing; here that ends it.
      this.lastErrno = this.serveAny(result.request) ?? -Errno.EINVAL;
      if (this.lastErrno !== 0) break;
    }
    return mapped;
  }

  /**
   * Map a list, which is shared with the hypervisor, as one run of IOVAs from `iova` on; tops up and goes on until the
   * list is empty or nothing helps. What is mapped is taken off the list.
   * @returns the bytes mapped
   */
  mapList(id: number, iova: number, list: ScatterList, prot: number): number {
    let total = 0;
    for (;;) {
      this.statistics.calls++;
      const { value, request } = this.boundary.call(this.cpu, 'map_sg', id, iova + total, list.at, list.count, prot);
      total += value;
      list.skip(value);
      if (list.bytes === 0) return total;
      this.statistics.shortMaps++;
      if (request === null || this.serve(request) !== 0) return total;
    }
  }

  /** Why the last {@link map} ended short: a negative errno, or 0. */
  lastErrno = 0;

  /** Unmap `count` pages of `pgsize` bytes. @returns the bytes unmapped; it stops at the first hole */
  unmap(id: number, iova: number, pgsize: number, count: number): number {
    const size = pgsize * count;
    let unmapped = 0;
    while (unmapped < size) {
      this.statistics.calls++;
      const { value, request } = this.boundary.call(
        this.cpu,
        'unmap_pages',
        ...this.named(id),
        iova + unmapped,
        pgsize,
        (size - unmapped) / pgsize,
      );
      unmapped += value;
      if (value === 0 && this.serveAny(request) !== 0) break;
    }
    return unmapped;
  }

  /** Physical address behind an IOVA, or 0. */
  iovaToPhys(id: number, iova: number): number {
    this.statistics.calls++;
    return this.boundary.call(this.cpu, 'iova_to_phys', ...this.named(id), iova).value;
  }

  /** Repeat a call while it fails and asks for memory that can be given. */
  private untilServed(call: () => CallResult): number {
    for (;;) {
      this.statistics.calls++;
      const { errno, request } = call();
      if (errno >= 0) return errno;
      const served = this.serveAny(request);
      if (served === null) return errno;
      if (served !== 0) return served;
    }
  }

  /** Serve a request, or a need that the memcache shows. @returns 0, a negative errno, or null for neither */
  private serveAny(request: MemoryRequest | null): number | null {
    if (request !== null) return this.serve(request);
    if (this.memcache === null || !this.memcache.takeNeed()) return null;
    const pa = this.memory.alloc();
    if (pa === 0) return -Errno.ENOMEM;
    this.statistics.topUps++;
    this.statistics.pagesDonated++;
    return this.memcache.push(pa) ? 0 : -Errno.EPERM;
  }

  /** Donate what a request asks for: one chunk for the IOMMU pool, single pages for the heap. @returns 0 or -errno */
  serve(request: MemoryRequest): number {
    const isIommu = request.pool === 1;
    const order = isIommu ? Math.ceil(Math.log2(request.pages)) : 0;
    const chunks = isIommu ? 1 : request.pages;
    let head = 0;
    for (let i = 0; i < chunks; i++) {
      const pa = this.memory.alloc(order);
      if (pa === 0) return -Errno.ENOMEM;
      if (!this.boundary.write64(this.cpu, pa, Math.floor(head / 4294967296), head | 0)) return -Errno.EPERM;
      head = pa + order;
    }
    this.statistics.topUps++;
    this.statistics.calls++;
    const { errno } = this.boundary.call(this.cpu, 'alloc_mgt_refill', request.pool, head, chunks);
    if (errno === 0) this.statistics.pagesDonated += chunks << order;
    return errno;
  }
}
