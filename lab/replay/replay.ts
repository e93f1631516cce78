/**
 * Replays the DMA traffic of a real kernel: every iommu_map and iommu_unmap of a trace goes through the host's IOMMU
 * core and driver, the hypercalls, the hypervisor's tables, and the modelled SMMU, with the oracles watching each step.
 *
 * Each translation root of the log becomes a domain, with its devices attached before it is first used. The model
 * invalidates at every unmap, so a log of a lazy kernel is replayed as one call per unmap all the same.
 */

import { type IommuDomain, iommuMap, iommuUnmap, PAGE_SIZES_4K } from '#host';
import { hypLayout } from '#hyp/layout';
import type { Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { commandOpcode, isTlbInvalidation } from '../oracle/decode/command.ts';
import type { Property } from '../oracle/index.ts';
import { type HypervisorFactory, Session, type Violation } from '../session/session.ts';
import { pciStreamId } from '../trace/event.ts';
import type { MapOperation, OperationLog, UnmapOperation } from '../trace/operation.ts';

const CMD_SYNC = 0x46;
const READ_WRITE_CACHE = 7;
/** WRITE, NOEXEC, MMIO: how Linux maps an interrupt doorbell. */
const DOORBELL = 0x1a;
const PROGRESS_EVERY = 512;
const FREE_PAGES = 4;
const TOTAL_PAGES = 8;

export interface ReplayOptions {
  readonly machine: MachineDescription;
  /** Translation stage of the domains. */
  readonly stage: 1 | 2;
  /** Streams of each root, where a fixture tells; roots that are absent take the log's devices in order. */
  readonly streams?: ReadonlyMap<number, readonly number[]>;
  readonly unchecked?: boolean;
  /** The properties that are reported; all when left out. */
  readonly properties?: readonly Property[];
  /** Whom the host calls; ours when left out. */
  readonly hypervisor?: HypervisorFactory;
  /** The contract between host and hypervisor; the default one when left out. */
  readonly profile?: Profile;
  /** Milliseconds from an arbitrary start, for the rate. */
  readonly now: () => number;
  readonly onProgress?: (done: number, total: number) => void;
  /** Asked between operations; true ends the replay early. */
  readonly stop?: () => boolean;
  /** Lets others run now and then (a signal, a screen); the replay goes on when it resolves. */
  readonly pause?: () => Promise<void>;
}

/** An operation that did not do what the kernel's did. */
export interface Mismatch {
  readonly line: number;
  readonly what: string;
}

export interface ReplayedRoot {
  readonly root: number;
  readonly domain: number;
  readonly streams: readonly number[];
}

export interface ReplayReport {
  readonly hypervisor: string;
  readonly machine: string;
  readonly stage: 1 | 2;
  readonly operations: number;
  readonly maps: number;
  readonly unmaps: number;
  readonly bytesMapped: number;
  readonly bytesUnmapped: number;
  /** Hypercalls by name. */
  readonly calls: Readonly<Record<string, number>>;
  readonly hypercalls: number;
  /** Largest number of pages that tables and descriptors took from the IOMMU pool, and their bytes. */
  readonly peakTablePages: number;
  readonly peakTableBytes: number;
  readonly tlbInvalidations: number;
  readonly syncs: number;
  /** TLB invalidations and SYNCs that unmaps caused, per unmap. */
  readonly invalidationsPerUnmap: number;
  readonly syncsPerUnmap: number;
  readonly topUps: number;
  readonly roots: readonly ReplayedRoot[];
  readonly mismatches: readonly Mismatch[];
  readonly mismatchCount: number;
  readonly violations: readonly Violation[];
  /** How often everything was decoded anew, the last time at the end; what a call touches is compared after each. */
  readonly fullChecks: number;
  readonly interrupted: boolean;
  readonly milliseconds: number;
}

const LISTED_MAX = 20;

/** A replay that can be looked into afterwards. */
export interface Replay {
  readonly report: ReplayReport;
  readonly session: Session;
}

/** Replay a log from a fresh machine. */
export async function replay(log: OperationLog, options: ReplayOptions): Promise<Replay> {
  const start = options.now();
  const session = new Session({
    machine: options.machine,
    ...(options.profile === undefined ? {} : { profile: options.profile }),
    ...(options.hypervisor === undefined ? {} : { hypervisor: options.hypervisor }),
    ...(options.unchecked ? { unchecked: true } : {}),
    ...(options.properties === undefined ? {} : { properties: options.properties }),
  });
  const run = new Run(session, log, options);
  const interrupted = await run.all();
  session.oracle?.checkAll();
  const milliseconds = options.now() - start;
  return { session, report: run.report(interrupted, milliseconds) };
}

class Run {
  private readonly session: Session;
  private readonly log: OperationLog;
  private readonly options: ReplayOptions;
  private readonly domains = new Map<number, IommuDomain>();
  private readonly roots: ReplayedRoot[] = [];
  private readonly spareStreams: number[];
  private readonly mismatches: Mismatch[] = [];
  private mismatchCount = 0;
  private readonly calls = new Map<string, number>();
  private readonly pool: number;
  private peak = 0;
  private invalidations = 0;
  private syncs = 0;
  private unmapInvalidations = 0;
  private unmapSyncs = 0;
  private maps = 0;
  private unmaps = 0;
  private bytesMapped = 0;
  private bytesUnmapped = 0;

  constructor(session: Session, log: OperationLog, options: ReplayOptions) {
    this.session = session;
    this.log = log;
    this.options = options;
    this.pool = hypLayout(options.machine, session.profile).iommuPool;
    const taken = new Set([...(options.streams?.values() ?? [])].flat());
    this.spareStreams = log.statistics.devices
      .map((device) => pciStreamId(device))
      .filter((sid): sid is number => sid !== null && !taken.has(sid));
    for (const smmu of session.machine.smmus) {
      smmu.observer = {
        command: (_index, _hi0, lo0) => {
          const opcode = commandOpcode(lo0);
          if (opcode === CMD_SYNC) this.syncs++;
          else if (isTlbInvalidation(opcode)) this.invalidations++;
        },
      };
    }
    session.boundary.onCall = (name) => this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
  }

  /** @returns whether it was stopped before the end */
  async all(): Promise<boolean> {
    const { operations } = this.log;
    const { onProgress, stop, pause } = this.options;
    for (let i = 0; i < operations.length; i++) {
      const operation = operations[i]!;
      if (operation.kind === 'map') this.map(operation);
      else if (operation.kind === 'unmap') this.unmap(operation);
      if (i % PROGRESS_EVERY === 0) {
        onProgress?.(i, operations.length);
        if (pause !== undefined) await pause();
        if (stop?.() === true) return true;
      }
    }
    onProgress?.(operations.length, operations.length);
    return false;
  }

  private domain(root: number, line: number): IommuDomain | null {
    const known = this.domains.get(root);
    if (known !== undefined) return known;
    const { driver } = this.session;
    const id = driver.allocDomain(0, this.options.stage);
    if (id < 0) {
      this.mismatch(line, `no domain for root ${root}: ${id}`);
      return null;
    }
    const domain = { id, pgsizeBitmap: PAGE_SIZES_4K, driver };
    this.domains.set(root, domain);
    const streams = this.options.streams?.get(root) ?? this.spareStreams.splice(0, 1);
    for (const sid of streams) {
      const attached = driver.attach(0, id, sid);
      if (attached !== 0) this.mismatch(line, `attach of stream 0x${sid.toString(16)} to domain ${id}: ${attached}`);
    }
    this.roots.push({ root, domain: id, streams });
    return domain;
  }

  private map({ root, iova, pa, size, prot, line }: MapOperation): void {
    const domain = this.domain(root, line);
    if (domain === null) return;
    const assumed = this.session.machine.memory.isRam(pa) ? READ_WRITE_CACHE : DOORBELL;
    const result = iommuMap(domain, iova, pa, size, prot ?? assumed);
    this.maps++;
    if (result === 0) this.bytesMapped += size;
    else this.mismatch(line, `map of 0x${size.toString(16)} bytes at IOVA 0x${iova.toString(16)}: ${result}`);
    this.samplePool();
  }

  private unmap({ root, iova, size, line }: UnmapOperation): void {
    const domain = this.domain(root, line);
    if (domain === null) return;
    const { invalidations, syncs } = this;
    const unmapped = iommuUnmap(domain, iova, size);
    this.unmapInvalidations += this.invalidations - invalidations;
    this.unmapSyncs += this.syncs - syncs;
    this.unmaps++;
    this.bytesUnmapped += unmapped;
    if (unmapped !== size) {
      this.mismatch(line, `unmap of 0x${size.toString(16)} bytes at IOVA 0x${iova.toString(16)} removed ${unmapped}`);
    }
  }

  private samplePool(): void {
    const { memory } = this.session.machine;
    const used = memory.read32(this.pool + TOTAL_PAGES) - memory.read32(this.pool + FREE_PAGES);
    if (used > this.peak) this.peak = used;
  }

  private mismatch(line: number, what: string): void {
    this.mismatchCount++;
    if (this.mismatches.length < LISTED_MAX) this.mismatches.push({ line, what });
  }

  report(interrupted: boolean, milliseconds: number): ReplayReport {
    const { session, options } = this;
    const per = (count: number): number => (this.unmaps === 0 ? 0 : count / this.unmaps);
    return {
      hypervisor: session.boundary.identity,
      machine: options.machine.name,
      stage: options.stage,
      operations: this.maps + this.unmaps,
      maps: this.maps,
      unmaps: this.unmaps,
      bytesMapped: this.bytesMapped,
      bytesUnmapped: this.bytesUnmapped,
      calls: Object.fromEntries([...this.calls].sort(([a], [b]) => (a < b ? -1 : 1))),
      hypercalls: [...this.calls.values()].reduce((sum, n) => sum + n, 0),
      peakTablePages: this.peak,
      peakTableBytes: this.peak * 4096,
      tlbInvalidations: this.invalidations,
      syncs: this.syncs,
      invalidationsPerUnmap: per(this.unmapInvalidations),
      syncsPerUnmap: per(this.unmapSyncs),
      topUps: session.driver.statistics.topUps,
      roots: this.roots,
      mismatches: this.mismatches,
      mismatchCount: this.mismatchCount,
      violations: session.violations(),
      fullChecks: session.oracle?.statement().fullChecks ?? 0,
      interrupted,
      milliseconds,
    };
  }
}
