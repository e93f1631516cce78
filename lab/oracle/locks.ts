/**
 * Locks as the oracle sees them: words that become a CPU's number plus 1 and 0 again. Each CPU must take them in the
 * declared order (hyp/layout.ts), never the same class twice, and release only what it holds. What is left held after a
 * call is found where records are compared (compare.ts).
 */

import { DomainRecord, type HypLayout, LOCK_ORDER, PoolRecord, SmmuRecord, VmRecord } from '#hyp/layout';

export type LockRule = 'order' | 'not-holder';

/** Told of each broken rule. */
export type LockReport = (rule: LockRule, text: string, cpu: number) => void;

type LockClass = (typeof LOCK_ORDER)[number];

/** The locks that a CPU holds, in the order in which it took them. */
interface Held {
  readonly at: number[];
  readonly rank: number[];
}

/** Global locks lie in the first page of the layout. */
const GLOBAL_BYTES = 4096;

/** A run of records that each have a lock. */
interface LockedRecords {
  readonly base: number;
  readonly end: number;
  readonly size: number;
  readonly offset: number;
  readonly rank: number;
}

function rankOf(name: LockClass): number {
  return LOCK_ORDER.indexOf(name);
}

/** How many records of each kind there are. */
export interface LockCounts {
  readonly domains: number;
  readonly vms: number;
  readonly smmus: number;
}

const DOMAIN_LOCK = DomainRecord.fields.find(({ name }) => name === 'lock')!.offset;

export class Locks {
  /** By word of the page of global records: place of the lock in the order, plus 1. */
  private readonly globals = new Uint8Array(GLOBAL_BYTES / 4);
  private readonly globalBase: number;
  private readonly records: readonly LockedRecords[];
  private readonly held: readonly Held[];
  private readonly report: LockReport;
  /** Told of each lock that was released by who held it, and where it is; null while nobody asks. */
  onReleased: ((name: LockClass, pa: number) => void) | null = null;

  constructor(layout: HypLayout, cpus: number, counts: LockCounts, report: LockReport) {
    const lockOf = (record: { readonly fields: readonly { name: string; offset: number }[] }): number =>
      record.fields.find(({ name }) => name === 'lock')!.offset;
    const run = (base: number, size: number, count: number, offset: number, name: LockClass): LockedRecords => ({
      base,
      end: base + size * count,
      size,
      offset,
      rank: rankOf(name),
    });
    this.globalBase = layout.base;
    const global = (at: number, name: LockClass): void => {
      const word = (at - layout.base) / 4;
      if (!(word in this.globals)) throw new RangeError(`the ${name} lock is not in the first page of the layout`);
      this.globals[word] = rankOf(name) + 1;
    };
    global(layout.callLock, 'call');
    global(layout.vmLock, 'vmTable');
    global(layout.pviommuLock, 'pviommu');
    global(layout.deviceLock, 'device');
    global(layout.domainLock, 'domainTable');
    global(layout.hostLock, 'host');
    global(layout.hypLock, 'hyp');
    for (const pool of [layout.heapPool, layout.iommuPool]) global(pool + lockOf(PoolRecord), 'pool');
    this.records = [
      run(layout.domains, DomainRecord.size, counts.domains, lockOf(DomainRecord), 'domain'),
      run(layout.vms, VmRecord.size, counts.vms, lockOf(VmRecord), 'guest'),
      run(layout.smmus, SmmuRecord.size, counts.smmus, lockOf(SmmuRecord), 'smmu'),
    ];
    this.held = Array.from({ length: cpus }, () => ({ at: [], rank: [] }));
    this.report = report;
  }

  /** Place of the lock at `pa` in the order; -1 when that is no lock. */
  rankAt(pa: number): number {
    const inGlobals = pa - this.globalBase;
    if (inGlobals >= 0 && inGlobals < GLOBAL_BYTES) return this.globals[inGlobals >>> 2]! - 1;
    const { records } = this;
    for (let i = 0; i < records.length; i++) {
      const { base, end, size, offset, rank } = records[i]!;
      if (pa >= base && pa < end) return (pa - base) % size === offset ? rank : -1;
    }
    return -1;
  }

  /** The word at `pa` was `before` and is `after`; if it is a lock, that takes or releases it. */
  wrote(pa: number, before: number, after: number): void {
    if (before === after) return;
    const rank = this.rankAt(pa);
    if (rank < 0) return;
    if (after === 0) this.released(before - 1, pa, rank);
    else this.taken(after - 1, pa, rank);
  }

  /** The same for a word in a leaf page of domain records. */
  wroteDomainLeaf(pa: number, before: number, after: number): void {
    if (before === after || pa % DomainRecord.size !== DOMAIN_LOCK) return;
    if (after === 0) this.released(before - 1, pa, rankOf('domain'));
    else this.taken(after - 1, pa, rankOf('domain'));
  }

  /** `cpu` has taken the lock at `pa`. */
  taken(cpu: number, pa: number, rank = this.rankAt(pa)): void {
    const held = this.held[cpu];
    if (held === undefined) return;
    const n = held.at.length;
    if (n !== 0 && held.rank[n - 1]! >= rank) {
      const text = `takes the ${LOCK_ORDER[rank]} lock while it holds the ${LOCK_ORDER[held.rank[n - 1]!]} lock`;
      this.report('order', `CPU ${cpu} ${text}`, cpu);
    }
    held.at.push(pa);
    held.rank.push(rank);
  }

  /** `cpu`, whose number the lock word held, has released it. */
  released(cpu: number, pa: number, rank = this.rankAt(pa)): void {
    const held = this.held[cpu];
    const at = held === undefined ? -1 : held.at.lastIndexOf(pa);
    if (at >= 0) {
      drop(held!, at);
      this.onReleased?.(LOCK_ORDER[rank]!, pa);
    } else this.report('not-holder', `the ${LOCK_ORDER[rank]} lock is released, which CPU ${cpu} did not hold`, cpu);
  }

  /** Whether `cpu` holds a lock of that class. */
  holds(cpu: number, name: LockClass): boolean {
    return this.held[cpu]?.rank.some((rank) => LOCK_ORDER[rank] === name) ?? false;
  }

  /** Classes of the locks that `cpu` holds, in the order in which it took them. */
  heldBy(cpu: number): readonly string[] {
    return this.held[cpu]!.rank.map((rank) => LOCK_ORDER[rank]!);
  }

  /** A call has ended, or was undone: what is held now is no longer this object's concern. */
  clear(): void {
    for (let cpu = 0; cpu < this.held.length; cpu++) {
      const { at, rank } = this.held[cpu]!;
      if (at.length === 0) continue;
      at.length = 0;
      rank.length = 0;
    }
  }
}

/** Locks are mostly released in the order opposite to that in which they were taken. */
function drop({ at, rank }: Held, n: number): void {
  if (n === at.length - 1) {
    at.pop();
    rank.pop();
    return;
  }
  at.splice(n, 1);
  rank.splice(n, 1);
}
