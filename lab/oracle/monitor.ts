/**
 * Watches memory. Every write to the hypervisor's records and to the structures that hardware walks is decoded at once,
 * whoever makes it, and told to those who keep what it means: which pages are released (releases.ts), what is queued for
 * hardware (queue-watch.ts), what tables and streams lead to (reach.ts, routes.ts). What must hold at every moment, and
 * not only between calls, is checked there.
 *
 * A CMD_SYNC counts as completed when the hypervisor's record of PROD has passed it: hardware consumes the queue before
 * the call goes on. Whether it was told is checked when the call returns, by the registers (hardware.ts).
 */

import { DOMAINS_PER_LEAF } from '#hyp/layout';
import { VM_COUNT } from '#hypercall-abi';
import { type PhysicalMemory, StateClass } from '#machine/memory';
import { CD_BYTES } from './decode/index.ts';
import { type Facts, IDENTITY_VMID, PAGE, TWO32 } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import {
  CPU_RECORD_BYTES,
  DEVICE_RECORD_BYTES,
  DOMAIN_RECORD_BYTES,
  DOMAIN_REFS,
  DOMAIN_ROOT,
  guestDomainBytes,
  type LayoutReader,
  PAGE_RECORD_BYTES,
  PVIOMMU_BYTES,
  SMMU_POWER,
  SMMU_PROD,
  SMMU_RECORD_BYTES,
  VM_RECORD_BYTES,
} from './layout-reader.ts';
import { Locks } from './locks.ts';
import { N, NodeKind, NodeStore, Reached, T } from './node-store.ts';
import { QueueWatch } from './queue-watch.ts';
import { Reach } from './reach.ts';
import { Releases } from './releases.ts';
import { Routes } from './routes.ts';
import type { Sections } from './sections.ts';
import type { Sometimes } from './sometimes.ts';
import { StaleSet } from './stale-set.ts';
import { Touched } from './touched.ts';

/** Field of a level-1 descriptor that is 0 while it leads nowhere. */
const L1STD_SPAN = 31;
/** From a slot to the index of its first word. */
const SLOT_WORD_SHIFT = 10;

/** What a page of the hypervisor's layout holds. */
const Role = {
  none: 0,
  pages: 1,
  domains: 2,
  vms: 3,
  cpus: 4,
  smmus: 5,
  globals: 6,
  registry: 7,
  leaves: 8,
  pviommus: 9,
} as const;

export class Monitor {
  readonly store: NodeStore;
  readonly stale: StaleSet;
  readonly reach: Reach;
  readonly routes: Routes;
  readonly touched: Touched;
  readonly locks: Locks;
  readonly queues: QueueWatch;
  readonly releases: Releases;
  /** Looks at each locked section, while that is wanted. */
  sections: Sections | null = null;
  private sometimes: Sometimes | null = null;
  private readonly facts: Facts;
  private readonly memory: PhysicalMemory;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;
  /** By slot of a page; slots beyond have none. */
  private roles: Uint8Array = new Uint8Array(1024);
  /** By page: number of the leaf page of domain records that it is, plus 1. */
  private readonly domainLeaves: number;
  private readonly observer: number;
  /** Word 0: whether the machine is protected; then, per domain, the node of the root that its record links. */
  private readonly state: number;
  private readonly linkedRoots: number;
  constructor(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader, domains: number) {
    this.facts = facts;
    this.memory = facts.memory;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
    this.store = new NodeStore(facts);
    this.stale = new StaleSet(
      this.store,
      facts.description.smmus.map((smmu) => smmu.rangeInvalidation),
    );
    this.touched = new Touched(facts.pages, facts.description.smmus.length);
    const smmus = facts.description.smmus.length;
    this.locks = new Locks(
      reader.layout,
      facts.description.cpus,
      { domains, vms: VM_COUNT, smmus },
      (rule, text, cpu) => {
        findings.add('lock', rule, text, { cpu });
      },
    );
    const structurePage = (page: number, node: number): void => {
      this.structurePage(page, node);
    };
    this.reach = new Reach(facts, ghost, findings, this.store, this.stale, {
      structurePage,
      settled: (node, from, to) => {
        this.routes.settled(node, from, to);
      },
      tagTouched: (tag) => {
        this.touched.tags.add(tag);
      },
      pageTouched: (page) => {
        if (this.active) this.touched.pages.add(page);
      },
      homeOf: (domain) => reader.domainSmmu(domain),
    });
    this.routes = new Routes(facts, findings, this.store, this.stale, this.reach, structurePage);
    this.queues = new QueueWatch(facts, findings, reader, this.reach, this.stale, this.touched);
    this.releases = new Releases(facts, ghost, findings, reader, this.store, this.reach, this.queues);
    this.state = this.memory.allocFile(1, StateClass.derived);
    this.linkedRoots = this.memory.allocFile(domains, StateClass.derived);
    this.domainLeaves = this.memory.allocFile(facts.pages, StateClass.derived);
    this.observer = this.memory.observe(this);
    this.watchRecords(domains);
  }

  private watchRecords(domains: number): void {
    const { layout } = this.reader;
    const { cpus, smmus } = this.facts.description;
    this.watchRange(layout.base, PAGE, Role.globals);
    this.watchRange(layout.vmemmap, this.facts.pages * PAGE_RECORD_BYTES, Role.pages);
    const { table } = this.facts.profile.domains;
    if (table === 'array') this.watchRange(layout.domains, domains * DOMAIN_RECORD_BYTES, Role.domains);
    else this.watchRange(layout.domains, (domains / DOMAINS_PER_LEAF) * 8, Role.leaves);
    this.watchRange(layout.vms, PAGE, Role.vms);
    this.watchRange(layout.cpuRecords, cpus * CPU_RECORD_BYTES, Role.cpus);
    this.watchRange(layout.devices, layout.deviceCount * DEVICE_RECORD_BYTES, Role.registry);
    this.watchRange(layout.pviommus, PVIOMMU_BYTES, Role.pviommus);
    this.watchRange(layout.guestDomains, guestDomainBytes(this.facts.profile), Role.pviommus);
    this.watchRange(layout.smmus, smmus.length * SMMU_RECORD_BYTES, Role.smmus);
  }

  private watchRange(base: number, bytes: number, role: number): void {
    for (let pa = base; pa < base + bytes; pa += PAGE) {
      const slot = this.memory.watch(pa, this.observer);
      if (slot >= this.roles.length) {
        const larger = new Uint8Array(2 * slot);
        larger.set(this.roles);
        this.roles = larger;
      }
      this.roles[slot] = role;
    }
  }

  /** From now on `sometimes` is told of states that no call tells. */
  tell(sometimes: Sometimes): void {
    this.sometimes = sometimes;
    this.queues.sometimes = sometimes;
  }

  /** Whether the machine is protected: boot has succeeded (and was not undone). */
  get active(): boolean {
    return this.memory.words[this.state] !== 0;
  }

  /** The hypervisor has taken over: decode what the SMMUs have been given. The ghost's owners stand already. */
  start(): void {
    this.linkIdentity();
    this.memory.put(this.state, 1);
    for (let i = 0; i < this.reader.layout.deviceCount; i++) this.touched.devices.add(i);
    this.facts.description.smmus.forEach((_, i) => {
      const log2 = this.reader.streamTableLog2(i);
      this.routes.addStreamTable(i, this.reader.streamTable(i), log2, this.reader.streamTableSplit(i));
    });
  }

  /** The identity table counts from now on, on every SMMU that can use it, whether a stream does or not. */
  private linkIdentity(): void {
    const { facts, reader, reach } = this;
    const root = reader.identityRoot();
    const { startLevel, rootPages } = facts.identityGeometry;
    for (const smmu of facts.identitySmmus) {
      const node = reach.rootNode(root, startLevel, rootPages, 2, smmu, this.store.tagFor(smmu, 2, IDENTITY_VMID, -1));
      if (node !== 0) reach.refer(node, N.liveRefs, 1);
    }
  }

  // ---- the observer

  /** What the page in a slot holds. */
  private roleOf(slot: number): number {
    return slot < this.roles.length ? this.roles[slot]! : Role.none;
  }

  wrote(pa: number, slot: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    if (this.memory.words[this.state] === 0) return;
    const role = this.roleOf(slot);
    if (role !== Role.none) {
      this.wroteRecord(role, pa, oldHi, oldLo, hi, lo);
      return;
    }
    const page = this.facts.pageOf(pa);
    const first = this.store.firstIn(page);
    if (first === 0) {
      const leaf = this.memory.words[this.domainLeaves + page]!;
      if (leaf !== 0) this.wroteLeaf(leaf - 1, pa, oldHi, oldLo, hi, lo);
      return;
    }
    if (this.store.node(first, N.nextInPage) === 0) {
      if (this.holds(first, pa)) this.wroteNode(first, pa, oldHi, oldLo, hi, lo);
      return;
    }
    const ids: number[] = [];
    for (let id = first; id !== 0; id = this.store.node(id, N.nextInPage)) if (this.holds(id, pa)) ids.push(id);
    for (const id of ids) if (this.isIn(page, id)) this.wroteNode(id, pa, oldHi, oldLo, hi, lo);
  }

  /** Records of pages and leaves are mostly written as runs: what must be looked at in each of them is little. */
  wroteRun(pa: number, slot: number, old: Int32Array, count: number): boolean {
    const { words } = this.memory;
    if (words[this.state] === 0) return true;
    if (this.sections !== null) return false;
    const start = (slot << SLOT_WORD_SHIFT) + ((pa & (PAGE - 1)) >>> 2);
    const role = this.roleOf(slot);
    if (role === Role.none) {
      const node = this.store.firstIn(this.facts.pageOf(pa));
      const isTable = node !== 0 && this.store.kind(node) === NodeKind.table;
      return (
        isTable && this.store.node(node, N.nextInPage) === 0 && this.reach.wroteLeaves(node, pa, start, old, count)
      );
    }
    if (role !== Role.pages) return false;
    const first = (pa - this.reader.layout.vmemmap) / PAGE_RECORD_BYTES;
    for (let k = 0; k < count; k += 2) {
      const lo = words[start + k]!;
      if (lo !== old[k] || words[start + k + 1] !== old[k + 1]) this.wrotePage(first + k / 2, old[k]!, lo);
    }
    return true;
  }

  /** Whether a node lies at `pa`, in whose page it is: a context descriptor has only a part of its page. */
  private holds(id: number, pa: number): boolean {
    if (this.store.kind(id) !== NodeKind.cd) return true;
    const offset = (pa % PAGE) - this.store.node(id, N.offset);
    return offset >= 0 && offset < CD_BYTES;
  }

  /** What one node's change sets off may have taken others out of the page. */
  private isIn(page: number, id: number): boolean {
    for (let at = this.store.firstIn(page); at !== 0; at = this.store.node(at, N.nextInPage))
      if (at === id) return true;
    return false;
  }

  private wroteNode(id: number, pa: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    if (this.sections !== null) this.guardNode(this.sections, id);
    switch (this.store.kind(id)) {
      case NodeKind.table:
        this.reach.wroteDescriptor(id, pa, oldHi, oldLo, hi, lo);
        break;
      case NodeKind.cd:
        this.touched.addStream(this.store.smmu(id), this.store.node(id, N.sid) >>> 0);
        this.routes.wroteCd(id, pa, oldLo, lo);
        break;
      case NodeKind.ste: {
        const sid = (this.store.node(id, N.sid) >>> 0) + Math.floor((pa % PAGE) / 64);
        this.touched.addStream(this.store.smmu(id), sid);
        this.routes.wroteSte(id, pa, oldLo, lo);
        break;
      }
      case NodeKind.l1std:
        if ((lo & L1STD_SPAN) !== 0 && (oldLo & L1STD_SPAN) === 0) this.sometimes?.saw('level-2-table-made');
        this.routes.wroteLevel1(id, pa, oldHi, oldLo, hi, lo);
        break;
    }
  }

  private guardNode(sections: Sections, id: number): void {
    const { store } = this;
    if (store.kind(id) !== NodeKind.table) sections.wroteStream(store.smmu(id));
    else if (store.node(id, N.reached) === Reached.live) sections.wroteTable(store.node(id, N.tag));
  }

  private wroteRecord(role: number, pa: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    const { layout } = this.reader;
    if (role !== Role.pages && role !== Role.cpus) {
      this.locks.wrote(pa, oldLo, lo);
      this.locks.wrote(pa + 4, oldHi, hi);
    }
    if (this.sections !== null) this.guardRecord(this.sections, role, pa, oldHi, oldLo, hi, lo);
    switch (role) {
      case Role.pages:
        this.wrotePage((pa - layout.vmemmap) / PAGE_RECORD_BYTES, oldLo, lo);
        break;
      case Role.domains:
        this.wroteDomain(pa - layout.domains, oldLo, lo);
        break;
      case Role.leaves: {
        const leaf = (hi >>> 0) * TWO32 + (lo >>> 0);
        if (leaf !== 0) this.leafMade((pa - layout.domains) / 8, leaf);
        break;
      }
      case Role.vms:
        this.touched.vms.add(Math.floor((pa - layout.vms) / VM_RECORD_BYTES));
        break;
      case Role.cpus:
        this.touched.cpus.add(Math.floor((pa - layout.cpuRecords) / CPU_RECORD_BYTES));
        break;
      case Role.registry: {
        const device = Math.floor((pa - layout.devices) / DEVICE_RECORD_BYTES);
        // The tables of streams and resources lie behind the devices: whatever is written there concerns all of them.
        if (device < layout.deviceCount) this.touched.devices.add(device);
        else for (let i = 0; i < layout.deviceCount; i++) this.touched.devices.add(i);
        break;
      }
      case Role.pviommus:
        this.touched.guestTables = true;
        break;
      case Role.smmus: {
        const offset = pa - layout.smmus;
        const inRecord = offset % SMMU_RECORD_BYTES;
        const smmu = (offset - inRecord) / SMMU_RECORD_BYTES;
        if (inRecord === SMMU_PROD - (SMMU_PROD % 8)) {
          const high = SMMU_PROD % 8 !== 0;
          this.queues.producerMoved(smmu, high ? oldHi : oldLo, high ? hi : lo);
        } else if (inRecord === SMMU_POWER - (SMMU_POWER % 8)) {
          const high = SMMU_POWER % 8 !== 0;
          this.powerMoved(smmu, (high ? oldHi : oldLo) !== 0, (high ? hi : lo) !== 0);
        }
        break;
      }
    }
  }

  /** Each word of the pair that has changed and is no lock. */
  private guardRecord(
    sections: Sections,
    role: number,
    pa: number,
    oldHi: number,
    oldLo: number,
    hi: number,
    lo: number,
  ): void {
    const { layout } = this.reader;
    if (role === Role.pages) {
      sections.wrotePage((pa - layout.vmemmap) / PAGE_RECORD_BYTES, oldHi, oldLo, hi, lo);
      return;
    }
    for (const at of [pa, pa + 4]) {
      const changed = at === pa ? oldLo !== lo : oldHi !== hi;
      if (!changed || this.locks.rankAt(at) >= 0) continue;
      if (role === Role.domains) this.guardDomain(sections, at - layout.domains);
      else if (role === Role.smmus) sections.wroteSmmu(Math.floor((at - layout.smmus) / SMMU_RECORD_BYTES));
      else if (role === Role.registry) sections.wroteDevice(Math.floor((at - layout.devices) / DEVICE_RECORD_BYTES));
      else if (role === Role.pviommus) sections.wroteGuestTables();
      else if (role === Role.vms) {
        const offset = at - layout.vms;
        sections.wroteVm(Math.floor(offset / VM_RECORD_BYTES), offset % VM_RECORD_BYTES);
      }
    }
  }

  private guardDomain(sections: Sections, offset: number): void {
    if (offset % DOMAIN_RECORD_BYTES !== DOMAIN_REFS) sections.wroteDomain(Math.floor(offset / DOMAIN_RECORD_BYTES));
  }

  private wrotePage(page: number, before: number, after: number): void {
    this.touched.pages.add(page);
    this.releases.wrotePage(page, before, after);
  }

  private structurePage(page: number, node: number): void {
    this.memory.watch(this.facts.paOf(page), this.observer);
    this.releases.checkStructure(page, node);
  }

  // ---- domain records

  /** The records of domains 64n and up are in the page at `pa` from now on. */
  private leafMade(n: number, pa: number): void {
    const page = this.facts.pageOf(pa);
    if (page < 0 || this.ghost.pages.owner(page) !== Owner.hyp) {
      this.findings.add('structure', 'foreign-page', `domain records lie at ${hex(pa)}, no page of the hypervisor`, {
        pa,
      });
      // Where calls overlap the ghost learns only in the end whose it is.
      if (page < 0 || !this.queues.isDeferring) return;
    }
    this.memory.put(this.domainLeaves + page, n + 1);
    this.memory.watch(pa, this.observer);
  }

  /** A word in the leaf page of domains 64n and up was written. */
  private wroteLeaf(n: number, pa: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    this.locks.wroteDomainLeaf(pa, oldLo, lo);
    this.locks.wroteDomainLeaf(pa + 4, oldHi, hi);
    this.wroteDomain(n * PAGE + (pa % PAGE), oldLo, lo);
  }

  private wroteDomain(offset: number, oldLo: number, lo: number): void {
    const inRecord = offset % DOMAIN_RECORD_BYTES;
    const id = (offset - inRecord) / DOMAIN_RECORD_BYTES;
    this.touched.domains.add(id);
    if (inRecord === DOMAIN_REFS && (oldLo === 0) !== (lo === 0)) this.linkDomain(id, lo !== 0);
    else if (inRecord === DOMAIN_ROOT && this.reader.domainRefs(id) !== 0) this.linkDomain(id, true);
  }

  /** The tag of a domain's translations, by its record. */
  private tagOf(id: number, stage: number, smmu: number): number {
    const number = this.facts.tagOf(id);
    return stage === 1 ? this.store.tagFor(smmu, 1, 0, number) : this.store.tagFor(smmu, 2, number, -1);
  }

  /** The domain's record begins (again) or ceases to name a table. */
  private linkDomain(id: number, used: boolean): void {
    const { reader, reach } = this;
    const at = this.linkedRoots + id;
    const old = this.memory.words[at]!;
    let root = 0;
    if (used) {
      const stage = reader.domainStage(id);
      const smmu = reader.domainSmmu(id);
      if (smmu < this.facts.description.smmus.length && (stage === 1 || stage === 2)) {
        const tag = this.tagOf(id, stage, smmu);
        // A domain that was to be freed and is there again has its tag still.
        if (!this.ghost.domainUsed(id)) this.checkTagClean(id, tag);
        const { startLevel, rootPages } = this.facts.geometry(smmu, stage);
        root = reach.rootNode(reader.domainRoot(id), startLevel, rootPages, stage, smmu, tag);
        this.touched.tags.add(tag);
      }
    }
    if (root !== 0) reach.refer(root, N.liveRefs, 1);
    this.memory.put(at, root);
    if (old !== 0) reach.refer(old, N.liveRefs, -1);
  }

  /** An id is used again: nothing of its tag may be cached any more. */
  private checkTagClean(id: number, tag: number): void {
    if (this.store.tag(tag, T.staleEntries) === 0) return;
    const text = `domain ${id} is made while translations of its tag from before may still be cached`;
    this.findings.add('tag-reuse', 'stale', text, { domain: id });
  }

  // ---- power

  private powerMoved(smmu: number, wasOff: boolean, isOff: boolean): void {
    if (isOff && !wasOff) this.reach.switchOff(smmu);
    else if (wasOff && !isOff) this.stale.switchOn(smmu);
    this.touched.power = true;
  }

  /** A call is over: an SMMU that is on must have forgotten what it held when it went off. */
  checkPower(): void {
    this.facts.description.smmus.forEach(({ name }, smmu) => {
      if (this.stale.isOff(smmu) || !this.stale.keepsOld(smmu)) return;
      const text = `${name} is on again, and may still hold what it held when it was switched off`;
      this.findings.add('invalidation', 'power-on', text, { smmu });
    });
  }

  // ---- while stores may wait

  /** From now on stores of a CPU may wait: what depends on them is looked at when they are visible. */
  deferStores(): void {
    this.queues.defer();
    this.locks.onReleased = (_, at) => this.releases.judgeSuspects(at);
  }

  /** Stores are visible at once again. @param forget whether commands that wait are never looked at */
  undeferStores(forget: boolean): void {
    this.releases.forgetSuspects();
    if (this.queues.isDeferring) this.locks.onReleased = null;
    this.queues.undefer(forget);
  }
}
