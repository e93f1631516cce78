/**
 * The full check: nothing incremental is trusted. Every stream table, context descriptor and table is decoded from its
 * root, every page record, VM, stage 2 and free list is read, and all of it is compared with the ghost and with what the
 * monitor has counted on the way.
 */

import { DOMAINS_PER_LEAF } from '#hyp/layout';
import { VM_COUNT } from '#hypercall-abi';
import type { Comparison } from './compare.ts';
import {
  CD_BYTES,
  COMMAND_BYTES,
  DescriptorKind,
  descriptorKind,
  l1stdEntries,
  l1stdL2Ptr,
  nextTableAddress,
  outputAddress,
  STE_BYTES,
  SteConfig,
  steConfig,
  steS1CdMax,
  steValid,
} from './decode/index.ts';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { VmLife } from './ghost-vms.ts';
import { IdentityCheck } from './identity-check.ts';
import type { LayoutReader } from './layout-reader.ts';
import { leafMeaning } from './leaf.ts';
import { LEAF_PAGES } from './maplets.ts';
import type { Monitor } from './monitor.ts';
import { N, NodeKind, Reached } from './node-store.ts';
import { PoolCheck } from './pool-check.ts';
import { recountTags } from './recount.ts';
import type { Stage2 } from './stage2.ts';
import { S, StaleKind } from './stale-set.ts';

type LeafVisitor = (iova: number, level: number, hi: number, lo: number) => void;

export class FullCheck {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  private readonly monitor: Monitor;
  private readonly comparison: Comparison;
  private readonly stage2: Stage2;
  /** Scratch: leaves counted per page. */
  private readonly mapped: Int32Array;
  private readonly other: Int32Array;
  private readonly identityStale: Int32Array;
  private readonly identity: IdentityCheck;
  private readonly pools: PoolCheck;
  /** Scratch: pages met as tables and as free. */
  private readonly roles: Uint8Array;
  /** Scratch: pages of the IOMMU pool that were met as tables. */
  private iommuPages = 0;

  constructor(
    facts: Facts,
    ghost: Ghost,
    findings: Findings,
    reader: LayoutReader,
    monitor: Monitor,
    comparison: Comparison,
    stage2: Stage2,
  ) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
    this.monitor = monitor;
    this.comparison = comparison;
    this.stage2 = stage2;
    this.mapped = new Int32Array(facts.pages);
    this.other = new Int32Array(facts.pages);
    this.identityStale = new Int32Array(facts.pages);
    this.identity = new IdentityCheck(facts, ghost, findings, reader);
    this.roles = new Uint8Array(facts.pages);
    this.pools = new PoolCheck(facts, ghost, findings, reader);
    comparison.firstDifference = (id) => {
      this.roles.fill(0);
      return this.compareLeaves(id, false);
    };
  }

  /** The identity domain as boot has made it. */
  afterBoot(): void {
    this.identity.run(() => {});
  }

  run(): void {
    this.mapped.fill(0);
    this.other.fill(0);
    this.identityStale.fill(0);
    this.roles.fill(0);
    this.iommuPages = 0;
    this.domains();
    this.facts.description.smmus.forEach((_, smmu) => {
      this.streams(smmu);
    });
    this.identity.run((pa) => this.claim(pa, 'a table of the identity domain'));
    this.staleWays();
    recountTags(this.facts, this.monitor, this.findings);
    this.pools.check(this.roles);
    this.iommuLeak();
    this.cpuTables();
    this.lostPages();
    for (let page = 0; page < this.facts.pages; page++) this.page(page);
    this.stage2.checkHost();
    for (let slot = 0; slot < VM_COUNT; slot++) this.vm(slot);
    for (let cpu = 0; cpu < this.facts.description.cpus; cpu++) this.comparison.cpu(cpu);
    this.facts.registry.forEach((_, device) => {
      this.comparison.device(device);
    });
    this.comparison.guestTables();
    this.comparison.locks();
  }

  // ---- domains

  private domains(): void {
    const { count, table } = this.facts.profile.domains;
    if (table === 'array') {
      for (let id = 0; id < count; id++) this.domain(id);
      return;
    }
    for (let n = 0; n < count / DOMAINS_PER_LEAF; n++) {
      const leaf = this.reader.domainLeaf(n);
      if (leaf === 0) continue;
      this.claim(leaf, `the records of domains from ${n * DOMAINS_PER_LEAF} on`, true);
      for (let i = 0; i < DOMAINS_PER_LEAF; i++) this.domain(n * DOMAINS_PER_LEAF + i);
    }
  }

  private domain(id: number): void {
    const { ghost, reader } = this;
    const isPlain = reader.domainRefs(id) === 0 && reader.domainLock(id) === 0 && reader.domainOwner(id) === 0;
    if (!ghost.domainUsed(id) && ghost.domainOwner(id) === 0 && isPlain) return;
    this.comparison.domain(id);
    if (!ghost.domainUsed(id) || ghost.domainStage(id) === 0) return;
    const difference = this.compareLeaves(id, true);
    if (difference !== '') this.findings.add('tables', 'leaves', `domain ${id} ${difference}`, { domain: id });
  }

  private forEachLeaf(id: number, visit: LeafVisitor): void {
    const { startLevel, rootPages } = this.facts.geometry(this.ghost.domainSmmu(id), this.ghost.domainStage(id));
    const root = this.reader.domainRoot(id);
    this.table(root, startLevel, 0, 512 * rootPages, visit);
  }

  private table(pa: number, level: number, iova: number, entries: number, visit: LeafVisitor): void {
    const { facts } = this;
    const page = facts.pageOf(pa);
    if (page < 0) {
      this.findings.add('structure', 'no-ram', `a level ${level} table lies at ${hex(pa)}, where there is no RAM`, {
        pa,
      });
      return;
    }
    for (let i = 0; i < entries * 8; i += PAGE) this.claim(pa + i, `a level ${level} table`, true);
    const span = LEAF_PAGES[level]! * PAGE;
    for (let i = 0; i < entries; i++) {
      const at = facts.memory.indexOf(pa + 8 * i);
      const lo = facts.memory.words[at]!;
      if ((lo & 1) === 0) continue;
      const hi = facts.memory.words[at + 1]!;
      const kind = descriptorKind(level, hi, lo);
      if (kind === DescriptorKind.table) this.table(nextTableAddress(hi, lo), level + 1, iova + i * span, 512, visit);
      else if (kind !== DescriptorKind.invalid) visit(iova + i * span, level, hi, lo);
    }
  }

  /**
   * A page holds a live structure: it must be the hypervisor's, allocated, and hold nothing else.
   * @param isPooled whether it is from the IOMMU pool
   */
  private claim(pa: number, what: string, isPooled = false): void {
    const page = this.facts.pageOf(pa);
    // A first table that the host gave with the call is in no pool.
    if (isPooled && this.ghost.pages.isInPool(page)) {
      this.iommuPages++;
      this.pools.references(pa, page, 1, `holds ${what}`);
    }
    if (this.ghost.pages.owner(page) !== Owner.hyp) {
      const text = `${what} lies at ${hex(pa)}, a page of the ${this.ghost.pages.ownerName(page)}`;
      this.findings.add('structure', 'foreign-page', text, { pa });
    }
    if (this.roles[page] !== 0) {
      this.findings.add('structure', 'shared-page', `${what} at ${hex(pa)} lies in the page of another structure`, {
        pa,
      });
    }
    this.roles[page] = 1;
  }

  /**
   * The first difference between the tables of a domain and its maplets, in words; empty for none. With `counted` every
   * leaf is counted on its pages.
   */
  private compareLeaves(id: number, counted: boolean): string {
    const { ghost } = this;
    const expected: { iova: number; level: number; target: number; meaning: number }[] = [];
    ghost.maplets.forEach(ghost.domainMaplets(id), (iova, level, at) => {
      expected.push({ iova, level, target: ghost.maplets.targetPage(at), meaning: ghost.maplets.meaning(at) });
    });
    let next = 0;
    let text = '';
    this.forEachLeaf(id, (iova, level, hi, lo) => {
      const target = outputAddress(level, hi, lo) / PAGE;
      if (counted) {
        this.count(this.mapped, target, LEAF_PAGES[level]!);
        this.checkOwners(id, target, LEAF_PAGES[level]!, iova);
      }
      if (text !== '') return;
      const mine = expected[next];
      const meaning = leafMeaning(level, hi, lo);
      const found = `${hex(iova)} to ${hex(target * PAGE)} at level ${level}`;
      if (mine === undefined || mine.iova > iova) text = `maps ${found}, which nobody asked for`;
      else if (mine.iova < iova) text = `does not map ${hex(mine.iova)}, which was mapped`;
      else if (mine.level !== level || mine.target !== target) {
        text = `maps ${found}; it must be ${hex(mine.target * PAGE)} at level ${mine.level}`;
      } else if (mine.meaning !== meaning) {
        text = `maps ${found} with attributes ${hex(meaning)}; it must be ${hex(mine.meaning)}`;
      }
      next++;
    });
    const missing = expected[next];
    if (text === '' && missing !== undefined) text = `does not map ${hex(missing.iova)}, which was mapped`;
    return text;
  }

  /** A domain may lead to its owner's pages, and to no others, now and through what may be cached. */
  private checkOwners(id: number, target: number, pages: number, iova: number): void {
    for (let i = 0; i < pages; i++) {
      const pa = (target + i) * PAGE;
      const page = this.facts.pageOf(pa);
      if (page < 0 || this.ghost.mayReach(id, page)) continue;
      const text = `domain ${id} leads from ${hex(iova)} to ${hex(pa)}, a page of the ${this.ghost.pages.ownerName(page)}`;
      this.findings.add('isolation', 'foreign-page', text, { pa, iova, domain: id });
    }
  }

  private count(column: Int32Array, target: number, pages: number): void {
    for (let i = 0; i < pages; i++) {
      const page = this.facts.pageOf((target + i) * PAGE);
      if (page >= 0) column[page]!++;
    }
  }

  // ---- streams

  private streams(smmu: number): void {
    const { reader, facts } = this;
    const table = reader.streamTable(smmu);
    const log2 = reader.streamTableLog2(smmu);
    const split = reader.streamTableSplit(smmu);
    const perTable = 2 ** split;
    this.record(smmu, table);
    if (split === 0) {
      this.stes(smmu, table, 0, 2 ** log2);
      return;
    }
    for (let i = 0; i < 2 ** Math.max(0, log2 - split); i++) {
      const at = facts.memory.indexOf(table + 8 * i);
      const lo = facts.memory.words[at]!;
      const entries = l1stdEntries(lo, split);
      if (entries !== 0) this.stes(smmu, l1stdL2Ptr(facts.memory.words[at + 1]!, lo), i * perTable, entries);
    }
  }

  /** The record of an SMMU still names what boot took over; the pages of the command queue are the hypervisor's. */
  private record(smmu: number, table: number): void {
    const { reader, facts, monitor } = this;
    const { store } = monitor;
    const page = facts.pageOf(table);
    let id = page < 0 ? 0 : store.firstIn(page);
    while (id !== 0 && store.node(id, N.boot) === 0) id = store.node(id, N.nextInPage);
    if (id === 0) {
      const text = `the record of SMMU ${smmu} names a stream table at ${hex(table)}, which was not taken over at boot`;
      this.findings.add('structure', 'smmu-record', text, { smmu, pa: table });
    }
    const queue = reader.commandQueue(smmu);
    for (let pa = queue; pa < queue + COMMAND_BYTES * 2 ** reader.commandQueueLog2(smmu); pa += PAGE) {
      if (facts.pageOf(pa) >= 0) this.claim(pa, 'a command queue');
    }
  }

  private stes(smmu: number, table: number, firstSid: number, entries: number): void {
    const isPooled = this.reader.streamTableSplit(smmu) !== 0;
    for (let pa = table; pa < table + entries * STE_BYTES; pa += PAGE) this.claim(pa, 'a stream table', isPooled);
    for (let i = 0; i < entries; i++) {
      const sid = firstSid + i;
      const lo = this.facts.memory.read32(table + i * STE_BYTES);
      if (lo === 0 && this.ghost.streamDomain(smmu, sid) < 0) continue;
      this.comparison.stream(smmu, sid);
      if (steValid(lo) && steConfig(lo) === SteConfig.stage1) {
        const hi = this.facts.memory.read32(table + i * STE_BYTES + 4);
        const cds = (hi & 0xfffff) * 4294967296 + ((lo & ~63) >>> 0);
        for (let pa = cds; pa < cds + CD_BYTES * 2 ** steS1CdMax(hi); pa += PAGE) {
          if (this.facts.pageOf(pa) >= 0) this.claim(pa, `the context descriptors of stream ${hex(sid)}`, true);
        }
      }
    }
  }

  // ---- what may still be cached

  /** Count again, from the stale set and the nodes, the ways that the monitor has counted. */
  private staleWays(): void {
    const { stale, store } = this.monitor;
    for (let i = 0; i < stale.size; i++) {
      const at = stale.at(i);
      if (stale.kind(at) !== StaleKind.leaf) continue;
      const column = this.monitor.reach.isIdentity(stale.word(at, S.tag)) ? this.identityStale : this.other;
      const pages = stale.word(at, S.count) * LEAF_PAGES[stale.level(at)]!;
      this.count(column, stale.targetPage(at), pages);
      const id = this.monitor.reach.domainOf(stale.word(at, S.tag));
      if (column === this.other) this.checkOwners(id, stale.targetPage(at), pages, stale.iovaPage(at) * PAGE);
    }
    for (let page = 0; page < this.facts.pages; page++) {
      for (let id = store.firstIn(page); id !== 0; id = store.node(id, N.nextInPage)) this.staleNode(id, page);
    }
  }

  private staleNode(id: number, page: number): void {
    const { store, reach } = this.monitor;
    if (store.kind(id) !== NodeKind.table) return;
    const isDomains = reach.domainOf(store.node(id, N.tag)) >= 0;
    if (store.node(id, N.reached) === Reached.live && isDomains) return;
    const level = store.level(id);
    const first = this.facts.memory.indexOf(this.facts.paOf(page));
    for (let i = 0; i < 512; i++) {
      const lo = this.facts.memory.words[first + 2 * i]!;
      const hi = this.facts.memory.words[first + 2 * i + 1]!;
      const kind = descriptorKind(level, hi, lo);
      if (kind === DescriptorKind.block || kind === DescriptorKind.page) {
        this.count(this.other, outputAddress(level, hi, lo) / PAGE, LEAF_PAGES[level]!);
      }
    }
  }

  // ---- pages

  private page(page: number): void {
    const { ghost, monitor } = this;
    this.identityWays(page);
    // Most memory is the host's and nobody has done anything with it.
    const isPlain = this.mapped[page] === 0 && this.other[page] === 0 && ghost.pages.isUntouched(page);
    if (isPlain && monitor.reach.isUnreached(page) && this.reader.isPlainPage(page)) return;
    this.comparison.page(page);
    const mapped = this.mapped[page]!;
    const other = this.other[page]!;
    if (mapped !== monitor.reach.mappedCount(page) || other !== monitor.reach.otherCount(page)) {
      const pa = this.facts.paOf(page);
      const text =
        `${hex(pa)}: ${mapped} leaves and ${other} other ways by a full decode, ` +
        `${monitor.reach.mappedCount(page)} and ${monitor.reach.otherCount(page)} as they were counted`;
      this.findings.add('oracle', 'counts', text, { pa });
    }
    if (mapped !== ghost.pages.dmaCount(page)) {
      const pa = this.facts.paOf(page);
      const text = `${mapped} leaves lead to ${hex(pa)}; ${ghost.pages.dmaCount(page)} were mapped`;
      this.findings.add('tables', 'count', text, { pa });
    }
    // What leads to a guest's page was judged where it was counted: its own domains may.
    if (ghost.pages.owner(page) === Owner.hyp) monitor.releases.checkUnreached(page, 'foreign-page');
  }

  /** Ways of the identity domain to a page, as they were counted and by a full decode. */
  private identityWays(page: number): void {
    const { reach } = this.monitor;
    const live = this.identity.mapped[page]! * this.facts.identitySmmus.length;
    const stale = this.identityStale[page]!;
    if (live === reach.identityMappings(page) && stale === reach.identityStaleCount(page)) return;
    const pa = this.facts.paOf(page);
    const text =
      `${hex(pa)}: ${live} ways of the identity domain and ${stale} stale ones by a full decode, ` +
      `${reach.identityMappings(page)} and ${reach.identityStaleCount(page)} as they were counted`;
    this.findings.add('oracle', 'counts', text, { pa });
  }

  // ---- pools and CPU tables

  /** Every page of the IOMMU pool is free, or holds a table that is in use, unless hardware has not answered. */
  private iommuLeak(): void {
    const lent = this.reader.poolTotalPages(1) - this.reader.poolFreePages(1);
    if (lent === this.iommuPages || this.ghost.hasLeaked) return;
    const text = `${lent} pages of the IOMMU pool are not free; ${this.iommuPages} hold tables that are in use`;
    this.findings.add('allocation', 'pool-leak', text, { lent, used: this.iommuPages });
  }

  private cpuTables(): void {
    const claim = (pa: number): void => {
      if (this.facts.pageOf(pa) < 0) {
        this.findings.add('structure', 'no-ram', `a table of a CPU's stage 2 lies at ${hex(pa)}`, { pa });
      } else {
        this.claim(pa, "a table of a CPU's stage 2");
      }
    };
    this.stage2.forEachTable(this.reader.hostRoot(), claim);
    for (let slot = 0; slot < VM_COUNT; slot++) {
      if (this.ghost.vms.life(slot) >= VmLife.live) {
        this.stage2.forEachTable(this.facts.paOf(this.ghost.vms.pgd(slot)), claim);
      }
    }
  }

  /**
   * Every page that the hypervisor has beside its records is free in a pool or holds a structure that something leads
   * to. What hardware may still use is kept back: an SMMU that did not answer has left such pages behind, for good.
   */
  private lostPages(): void {
    const { facts, ghost, monitor, reader } = this;
    if (ghost.mayHaveLost) return;
    for (let page = 0; page < facts.pages; page++) {
      if (ghost.pages.owner(page) !== Owner.hyp || this.roles[page] !== 0) continue;
      const pa = facts.paOf(page);
      if (reader.isRecordPage(pa) || monitor.store.firstIn(page) !== 0) continue;
      this.findings.add('allocation', 'lost-page', `${hex(pa)} is the hypervisor's, and nothing leads there`, { pa });
    }
  }

  private vm(slot: number): void {
    this.comparison.vm(slot);
    if (this.ghost.vms.life(slot) < VmLife.live) return;
    let pages = 0;
    this.stage2.forEachGuestLeaf(slot, (gfn, count) => {
      pages += count;
      if (count === 1) this.stage2.checkGuestPage(slot, gfn, 'ownership');
    });
    if (pages === this.ghost.vms.pages(slot)) return;
    const text = `VM slot ${slot} has ${pages} pages in its stage 2; it must be ${this.ghost.vms.pages(slot)}`;
    this.findings.add('accounting', 'guest-pages', text, { slot, pages });
  }
}
