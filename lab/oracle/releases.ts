/**
 * Pages that are released or change hands: none may while a device reaches it, hardware may still reach it, or hardware
 * walks it as a structure of its own.
 */

import { PageState, PoolRecord } from '#hyp/layout';
import { PoolId } from '#hypercall-abi';
import type { Facts } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { type LayoutReader, PageWord } from './layout-reader.ts';
import { N, NodeKind, type NodeStore, Reached } from './node-store.ts';
import type { QueueWatch } from './queue-watch.ts';
import type { Reach } from './reach.ts';
import { describeWay } from './ways.ts';

const POOL_LOCK = PoolRecord.fields.find(({ name }) => name === 'lock')!.offset;

export class Releases {
  /** Told at once of a page that the hypervisor has got, or given up, where the call itself decides which; else null. */
  onMoved: ((page: number, isHyps: boolean) => void) | null = null;
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private readonly store: NodeStore;
  private readonly reach: Reach;
  private readonly queues: QueueWatch;
  /**
   * Where stores may wait: pages that lost a reference while a leaf still stood for it in memory, or the last one while
   * hardware used them, and the lock under which that was.
   */
  private readonly suspects = new Map<number, number>();

  constructor(
    facts: Facts,
    ghost: Ghost,
    findings: Findings,
    reader: LayoutReader,
    store: NodeStore,
    reach: Reach,
    queues: QueueWatch,
  ) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
    this.store = store;
    this.reach = reach;
    this.queues = queues;
  }

  /** The record of a page was written. */
  wrotePage(page: number, before: number, after: number): void {
    const refs = PageWord.references(after);
    if (refs < PageWord.references(before)) this.dropped(page, refs);
    if (PageWord.states(before) === PageWord.states(after)) return;
    const hostGone = PageWord.hostState(after) === PageState.noPage;
    if (hostGone && PageWord.hostState(before) !== PageState.noPage) this.checkUnreached(page, 'given-away');
    const hypGone = PageWord.hypState(before) === PageState.owned && PageWord.hypState(after) !== PageState.owned;
    if (hypGone) {
      this.structureLost(page, 'given back to the host');
      this.queues.checkGivenAway(page);
    }
    const isHyps = PageWord.hypState(after) === PageState.owned;
    if (this.onMoved !== null && (hypGone || (isHyps && PageWord.hypState(before) !== PageState.owned))) {
      this.onMoved(page, isHyps);
    }
  }

  /**
   * References that a page needs: one for each mapping, and one for each way there that hardware may still have. While an
   * SMMU leaves a SYNC unanswered, or another call is on its way to one, those ways are not over when the call is, and more
   * of them than one can lead through one mapping: then any reference will do. A pin stands for the ways whose invalidation
   * was given up.
   */
  private neededReferences(page: number, mapped: number): number {
    const others = this.reach.otherCount(page);
    const { isWaiting, isDeferring } = this.queues;
    if (this.ghost.pages.pins(page) === 0 && !isWaiting && !isDeferring) return mapped + others;
    return Math.max(mapped, Math.min(1, others));
  }

  /**
   * The reference count of a page went down to `refs`. While stores may wait, a leaf or a link that its CPU has cleared may
   * still stand in memory. Nobody else can use the page before the lock of the page records, or of the pool that it is in,
   * is released, and what that CPU has stored is visible then: so it is judged there.
   */
  private dropped(page: number, refs: number, isAtRelease = false): void {
    const mayWait = this.queues.isDeferring && !isAtRelease;
    const isHyps = this.ghost.pages.owner(page) === Owner.hyp;
    if (refs === 0 && this.store.firstIn(page) !== 0) {
      if (mayWait) this.suspects.set(page, isHyps ? this.poolLock(page) : this.reader.layout.hostLock);
      else this.structureLost(page, 'freed');
    }
    if (isHyps) return;
    const mapped = this.reach.mappedCount(page) + this.ghost.pages.pins(page);
    const pa = this.facts.paOf(page);
    if (refs < mapped && mayWait) {
      this.suspects.set(page, this.reader.layout.hostLock);
    } else if (refs < mapped) {
      const text = `the reference count of ${hex(pa)} drops to ${refs} while ${mapped} mappings stand`;
      this.findings.add('refcount', 'dropped-while-mapped', text, { pa, refs, mapped });
    } else if (refs < this.neededReferences(page, mapped)) {
      const way = describeWay(this.facts, this.reach, page);
      this.findings.add('invalidation', 'released-early', `${hex(pa)} is released while ${way.text}`, {
        pa,
        ...way.detail,
      });
    }
  }

  /** Lock of the pool that a page of the hypervisor was given to; tables are in that of the IOMMU. */
  private poolLock(page: number): number {
    const { heapPool, iommuPool } = this.reader.layout;
    return (this.ghost.pages.poolOf(page) === PoolId.heap ? heapPool : iommuPool) + POOL_LOCK;
  }

  /** The lock at `at` was released: stores before that are visible. */
  judgeSuspects(at: number): void {
    for (const [page, lock] of this.suspects) {
      if (lock !== at) continue;
      this.suspects.delete(page);
      this.dropped(page, PageWord.references(this.reader.page(page)), true);
    }
  }

  /** No store waits any more. */
  forgetSuspects(): void {
    this.suspects.clear();
  }

  /** A page that no longer is the host's must not be reachable in any way. */
  checkUnreached(page: number, rule: string): void {
    if (this.reach.isUnreached(page) && this.reach.identityCount(page) === 0 && this.ghost.pages.pins(page) === 0)
      return;
    const way = describeWay(this.facts, this.reach, page);
    const pa = this.facts.paOf(page);
    const owner = this.ghost.pages.ownerName(page);
    const text = `${hex(pa)} leaves the host while ${way.text}`;
    this.findings.add('isolation', rule, text, { pa, owner, ...way.detail });
  }

  /** A page that goes back to the host must not be reachable through the domains of the guest that had it. */
  checkLeftGuest(page: number): void {
    if (this.reach.isUnreached(page)) return;
    const way = describeWay(this.facts, this.reach, page);
    const pa = this.facts.paOf(page);
    this.findings.add('isolation', 'given-back', `${hex(pa)} goes back to the host while ${way.text}`, {
      pa,
      ...way.detail,
    });
  }

  private structureLost(page: number, how: string): void {
    for (let id = this.store.firstIn(page); id !== 0; id = this.store.node(id, N.nextInPage)) {
      const live = this.store.node(id, N.reached) === Reached.live;
      const pa = this.facts.paOf(page);
      const still = live ? 'hardware uses it' : 'it may still be cached';
      const text = `the page ${hex(pa)} of ${this.nodeName(id)} is ${how} while ${still}`;
      this.findings.add(live ? 'structure' : 'invalidation', live ? 'live-page' : 'table-freed-early', text, { pa });
    }
  }

  /** A structure that hardware walks lies on a page: it must be an allocated one of the hypervisor's. */
  checkStructure(page: number, node: number): void {
    const record = this.reader.page(page);
    const isHyp = this.ghost.pages.owner(page) === Owner.hyp;
    const allocated = this.store.node(node, N.boot) !== 0 || PageWord.references(record) !== 0;
    if (isHyp && allocated) return;
    const pa = this.facts.paOf(page);
    const whose = isHyp ? 'a free page of the hypervisor' : `a page of the ${this.ghost.pages.ownerName(page)}`;
    const text = `${this.nodeName(node)} lies at ${hex(pa)}, ${whose}`;
    this.findings.add('structure', isHyp ? 'free-page' : 'foreign-page', text, { pa });
  }

  /** What a node is, for people. */
  private nodeName(id: number): string {
    const { store } = this;
    const sid = hex(store.node(id, N.sid) >>> 0);
    switch (store.kind(id)) {
      case NodeKind.table:
        return `a level ${store.level(id)} table of ${this.reach.tagName(store.node(id, N.tag))}`;
      case NodeKind.cd:
        return `the context descriptor of stream ${sid}, PASID ${store.node(id, N.iovaLo)}`;
      case NodeKind.ste:
        return `the stream table from stream ${sid} on`;
      default:
        return `the level-1 stream table from stream ${sid} on`;
    }
  }
}
