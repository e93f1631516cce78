/**
 * The host's IOMMU driver: turns domain, attach, map and unmap into hypercalls, serves the memory requests that come
 * back, and goes on where a call stopped short (pKVM's host driver; docs/abi-sources.md section 6).
 */

import { AttachFlag, type Boundary, type CallResult, Errno, type MemoryRequest } from '#hypercall-abi';
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
  private readonly freeIds: number[] = [];
  private nextId = 1;

  /** @param cpu the CPU on which this driver runs */
  constructor(boundary: Boundary, memory: HostMemory, cpu = 0) {
    this.boundary = boundary;
    this.memory = memory;
    this.cpu = cpu;
  }

  /**
   * Make a domain. @param stage 1 or 2
   * @returns its id (1 and up), or a negative errno
   */
  allocDomain(iommu: number, stage: 1 | 2): number {
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

  /** Free an idle domain. @returns 0 or a negative errno */
  freeDomain(id: number): number {
    this.statistics.calls++;
    const { errno } = this.boundary.call(this.cpu, 'free_domain', id);
    if (errno === 0) this.freeIds.push(id);
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
    const args = [iommu, id, sid, pasid, pasidBits, flags].slice(
      0,
      this.boundary.profile.call('attach_dev').args.length,
    );
    return this.untilServed(() => this.boundary.call(this.cpu, 'attach_dev', ...args));
  }

  /** Detach a stream from its domain, or one PASID of it. @returns 0 or a negative errno */
  detach(iommu: number, id: number, sid: number, pasid = PASID_NONE): number {
    this.statistics.calls++;
    return this.boundary.call(this.cpu, 'detach_dev', iommu, id, sid, pasid).errno;
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
        id,
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
      this.lastErrno = result.request === null ? -Errno.EINVAL : this.serve(result.request);
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
        id,
        iova + unmapped,
        pgsize,
        (size - unmapped) / pgsize,
      );
      unmapped += value;
      if (value === 0 && (request === null || this.serve(request) !== 0)) break;
    }
    return unmapped;
  }

  /** Physical address behind an IOVA, or 0. */
  iovaToPhys(id: number, iova: number): number {
    this.statistics.calls++;
    return this.boundary.call(this.cpu, 'iova_to_phys', id, iova).value;
  }

  /** Repeat a call while it fails and asks for memory that can be given. */
  private untilServed(call: () => CallResult): number {
    for (;;) {
      this.statistics.calls++;
      const { errno, request } = call();
      if (errno >= 0 || request === null) return errno;
      const served = this.serve(request);
      if (served !== 0) return served;
    }
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
