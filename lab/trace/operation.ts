/** What a trace asks of an IOMMU, at the level of iommu_map and iommu_unmap: the input of a replay. */

/** iommu_map(iova, pa, size, prot) on one translation root. Addresses and sizes in bytes. */
export interface MapOperation {
  readonly kind: 'map';
  /** Index into the roots of the log. */
  readonly root: number;
  readonly iova: number;
  readonly pa: number;
  readonly size: number;
  /** IOMMU_READ 1, WRITE 2, CACHE 4, NOEXEC 8, MMIO 16; null when the log does not tell. */
  readonly prot: number | null;
  /** Line on which the operation begins. */
  readonly line: number;
}

/** iommu_unmap(iova, size): `size` is what was really removed. */
export interface UnmapOperation {
  readonly kind: 'unmap';
  readonly root: number;
  readonly iova: number;
  readonly size: number;
  readonly line: number;
}

/** A device joins an IOMMU group. */
export interface GroupOperation {
  readonly kind: 'group';
  readonly group: number;
  readonly device: string;
  readonly line: number;
}

/** A device gets its domain. `domain` is the kernel's pointer where a probe caught it. */
export interface AttachOperation {
  readonly kind: 'attach';
  readonly device: string;
  readonly domain: string | null;
  readonly line: number;
}

export type Operation = MapOperation | UnmapOperation | GroupOperation | AttachOperation;

/** A set of translation tables, as far as the log tells one from another. */
export interface TranslationRoot {
  readonly id: number;
  /** The kernel's pointers; null where only stock events told of the root. */
  readonly ops: string | null;
  readonly pgd: string | null;
  /**
   * `probe`: named by probe events. `inferred`: the log names no domains, and this root holds mappings that could not
   * live in an earlier one.
   */
  readonly origin: 'probe' | 'inferred';
}

/** What the driver put on its command queue, as far as probes tell. */
export interface CommandStatistics {
  /** Submissions, and those right after an unmap by the same task. */
  readonly submissions: number;
  readonly afterUnmap: number;
  /** Commands besides SYNCs. */
  readonly commands: number;
  /** Of which TLB invalidations; null on kernels where the probe does not see the commands. */
  readonly invalidations: number | null;
  /** SYNCs; null likewise: then at most one a submission. */
  readonly syncs: number | null;
  /** Commands by name, as far as seen. */
  readonly byName: ReadonlyMap<string, number>;
}

export interface OperationStatistics {
  readonly maps: number;
  readonly unmaps: number;
  readonly mappedBytes: number;
  readonly unmappedBytes: number;
  /** Were there probe events, so that every operation is known to belong to its root? */
  readonly probed: boolean;
  /** Stock maps from before the probes. */
  readonly bootMaps: number;
  /** Page-table calls that no stock event sums up, and so operations of their own. */
  readonly unpaired: number;
  /** Unmaps of a log without probes: of a union of mappings; with mappings of different addresses to choose from; over
   * several roots, and so split; of nothing that is mapped, and so left out. */
  readonly unions: number;
  readonly ambiguous: number;
  readonly split: number;
  readonly unmatched: number;
  /** Names of devices in the order they appear. */
  readonly devices: readonly string[];
  readonly commands: CommandStatistics | null;
  /** Does every unmap invalidate and wait, or are freed addresses flushed later? Null when the log gives no sign. */
  readonly policy: 'strict' | 'lazy' | null;
}

export interface OperationLog {
  readonly operations: readonly Operation[];
  readonly roots: readonly TranslationRoot[];
  readonly statistics: OperationStatistics;
}
