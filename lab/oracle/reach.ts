/**
 * What devices can reach, decoded from the bytes of translation tables as they change. A node is a page that hardware
 * may walk; it is reached live (from a domain record, a valid STE or CD, a reached table) or only from what may still be
 * cached. The content of a node counts with it, and counts as it is NOW: a table page that was freed too early and
 * written again is followed with its new content.
 *
 * For each page of RAM two numbers: leaves in the domains' own tables, and any other way there (removed leaves whose
 * invalidation has not completed, tables that are only cached, tables of no domain).
 */

import { StateClass } from '#machine/memory';
import { DescriptorKind, descriptorKind, nextTableAddress, outputAddress } from './decode/index.ts';
import { type Facts, IDENTITY_VMID, PAGE, Place } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { isNotGlobal, leafHash, leafMeaning } from './leaf.ts';
import { LEAF_PAGES } from './maplets.ts';
import { N, NodeKind, type NodeStore, Reached, T } from './node-store.ts';
import { S, StaleKind, type StaleSet } from './stale-set.ts';

const ENTRIES = 512;

/** What the reach graph needs from the rest of the oracle. */
export interface ReachHooks {
  /** A node came to be in this page: its writes must be seen from now on, and the page must be the hypervisor's. */
  structurePage(page: number, node: number): void;
  /** The context descriptor, stream table or level-1 table of a node begins or ceases to count. */
  settled(node: number, from: number, to: number): void;
  /** Leaves of that tag have changed. */
  tagTouched(tag: number): void;
  /** The identity domain leads to the page, or does no more. */
  pageTouched(page: number): void;
  /** SMMU for which the table of a domain was made. */
  homeOf(domain: number): number;
}

export class Reach {
  readonly store: NodeStore;
  readonly stale: StaleSet;
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly hooks: ReachHooks;
  private readonly mapped: number;
  private readonly other: number;
  /** Leaves of the identity table that are in it now, and those that may still be cached: no reference counts them. */
  private readonly identity: number;
  private readonly identityStale: number;

  constructor(facts: Facts, ghost: Ghost, findings: Findings, store: NodeStore, stale: StaleSet, hooks: ReachHooks) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.store = store;
    this.stale = stale;
    this.hooks = hooks;
    this.mapped = facts.memory.allocFile(facts.pages, StateClass.derived);
    this.other = facts.memory.allocFile(facts.pages, StateClass.derived);
    this.identity = facts.memory.allocFile(facts.pages, StateClass.derived);
    this.identityStale = facts.memory.allocFile(facts.pages, StateClass.derived);
  }

  /** Leaves in the domains' tables that lead to a page. */
  mappedCount(page: number): number {
    return this.facts.memory.words[this.mapped + page]!;
  }

  /** Ways to a page beside those. */
  otherCount(page: number): number {
    return this.facts.memory.words[this.other + page]!;
  }

  /** On how many SMMUs the identity table leads to a page now. */
  identityMappings(page: number): number {
    return this.facts.memory.words[this.identity + page]!;
  }

  /** Ways to a page that only caches may still have of the identity domain. */
  identityStaleCount(page: number): number {
    return this.facts.memory.words[this.identityStale + page]!;
  }

  /** All ways of the identity domain to a page, those of caches included. */
  identityCount(page: number): number {
    return this.identityMappings(page) + this.identityStaleCount(page);
  }

  /** Whether a tag is the identity domain's. */
  isIdentity(tag: number): boolean {
    return this.store.tag(tag, T.stage) === 2 && this.store.tag(tag, T.vmid) === IDENTITY_VMID;
  }

  /** Whether no leaf of a domain leads to the page, and nothing that may be cached of one. */
  isUnreached(page: number): boolean {
    const { words } = this.facts.memory;
    return words[this.mapped + page] === 0 && words[this.other + page] === 0;
  }

  /** The domain whose tag it is, or -1. */
  domainOf(tag: number): number {
    const { store } = this;
    const number = store.tag(tag, T.stage) === 1 ? store.tag(tag, T.asid) : store.tag(tag, T.vmid);
    const id = this.facts.domainWithTag(store.tag(tag, T.smmu), number);
    const isPlain = store.tag(tag, T.stage) === 2 || store.tag(tag, T.vmid) === 0;
    return isPlain && id < this.facts.profile.domains.count ? id : -1;
  }

  /** Whether anything of that tag may be cached now. */
  isHot(tag: number): boolean {
    const { store } = this;
    return (
      tag !== 0 &&
      !this.stale.isOff(store.tag(tag, T.smmu)) &&
      (store.tag(tag, T.heat) !== 0 || store.tag(tag, T.attached) + store.tag(tag, T.staleRoutes) > 0)
    );
  }

  // ---- nodes

  /** The node of that kind in a page, if there is one. `sid` and `offset` tell CDs apart. */
  findNode(page: number, kind: number, level: number, tag: number, iovaPage: number, sid = 0, offset = 0): number {
    const { store } = this;
    for (let id = store.firstIn(page); id !== 0; id = store.node(id, N.nextInPage)) {
      if (store.kind(id) !== kind || store.level(id) !== level || store.node(id, N.tag) !== tag) continue;
      if (store.node(id, N.sid) !== sid || store.node(id, N.offset) !== offset) continue;
      if (store.iovaPage(id) === iovaPage) return id;
    }
    return 0;
  }

  /** The node for a table in the page at `pa`, made when it is new; 0 (and a finding) where there is no RAM. */
  tableNode(pa: number, level: number, stage: number, smmu: number, tag: number, iovaPage: number): number {
    const page = this.facts.pageOf(pa);
    if (page < 0) {
      // While the SMMU is off nobody looks, and words of an STE may become visible in any order.
      const text = `a level ${level} table lies at ${hex(pa)}, where there is no RAM`;
      if (!this.stale.isOff(smmu)) this.findings.add('structure', 'no-ram', text, { pa });
      return 0;
    }
    const known = this.findNode(page, NodeKind.table, level, tag, iovaPage);
    if (known !== 0) return known;
    const { store } = this;
    const id = store.makeNode(page, NodeKind.table, level, stage, smmu);
    store.setNode(id, N.tag, tag);
    store.setNode(id, N.iovaLo, iovaPage | 0);
    store.setNode(id, N.iovaHi, (iovaPage / 4294967296) | 0);
    let valid = 0;
    const { memory } = this.facts;
    const first = memory.indexOf(this.facts.paOf(page));
    for (let i = 0; i < ENTRIES; i++) {
      i += memory.blanksFrom(first + 2 * i) >>> 1;
      if (i < ENTRIES) valid += memory.words[first + 2 * i]! & 1;
    }
    store.setNode(id, N.valid, valid);
    this.hooks.structurePage(page, id);
    return id;
  }

  /** The first table of a translation regime, of one or several pages; returns its first node. */
  rootNode(pa: number, startLevel: number, pages: number, stage: number, smmu: number, tag: number): number {
    let before = 0;
    let first = 0;
    for (let i = 0; i < pages; i++) {
      const id = this.tableNode(pa + i * PAGE, startLevel, stage, smmu, tag, i * ENTRIES * LEAF_PAGES[startLevel]!);
      if (id === 0) break;
      if (first === 0) first = id;
      else if (this.store.node(before, N.sibling) !== id) this.store.setNode(before, N.sibling, id);
      before = id;
    }
    return first;
  }

  /** Count a pointer to a node (and its siblings): `word` is liveRefs or staleRefs. */
  refer(id: number, word: number, delta: number): void {
    let next = 0;
    for (let node = id; node !== 0; node = next) {
      next = this.store.node(node, N.sibling);
      this.store.addNode(node, word, delta);
      this.settle(node);
    }
  }

  private settle(id: number): void {
    const { store } = this;
    const to =
      store.node(id, N.liveRefs) > 0 ? Reached.live : store.node(id, N.staleRefs) > 0 ? Reached.stale : Reached.none;
    const from = store.node(id, N.reached);
    if (to !== from) {
      store.setNode(id, N.reached, to);
      if (store.kind(id) === NodeKind.table) this.recount(id, from, to);
      else this.hooks.settled(id, from, to);
    }
    if (to === Reached.none) store.dropNode(id);
  }

  /** The content of a table counts as `to` and no longer as `from`. */
  private recount(id: number, from: number, to: number): void {
    const { store } = this;
    if (store.node(id, N.valid) === 0) return;
    const { memory } = this.facts;
    const level = store.level(id);
    // What was live may have been cached by value; what was only stale has its own entries already.
    const copy = from === Reached.live && this.isHot(store.node(id, N.tag));
    const first = memory.indexOf(this.facts.paOf(store.node(id, N.page)));
    if (level === 3 && from === Reached.none && to === Reached.live && this.isIdentity(store.node(id, N.tag))) {
      this.countIdentityTable(first);
      return;
    }
    for (let i = 0; i < ENTRIES; i++) {
      i += memory.blanksFrom(first + 2 * i) >>> 1;
      if (i >= ENTRIES) break;
      const lo = memory.words[first + 2 * i]!;
      if ((lo & 1) === 0) continue;
      const hi = memory.words[first + 2 * i + 1]!;
      const kind = descriptorKind(level, hi, lo);
      if (kind === DescriptorKind.invalid) continue;
      if (copy) this.remember(id, i, hi, lo, kind);
      if (to !== Reached.none) this.count(id, i, hi, lo, kind, to, 1);
      if (from !== Reached.none) this.count(id, i, hi, lo, kind, from, -1);
    }
  }

  private slotIova(id: number, index: number, level: number): number {
    return this.store.iovaPage(id) + index * LEAF_PAGES[level]!;
  }

  /** Count one descriptor of a node that is reached in that way. */
  private count(id: number, index: number, hi: number, lo: number, kind: number, reached: number, sign: number): void {
    const { store } = this;
    const level = store.level(id);
    if (kind === DescriptorKind.table) {
      const child = this.child(id, index, hi, lo);
      if (child !== 0) this.refer(child, reached === Reached.live ? N.liveRefs : N.staleRefs, sign);
      return;
    }
    this.countLeaf(store.node(id, N.tag), level, this.slotIova(id, index, level), hi, lo, reached, sign);
  }

  private child(id: number, index: number, hi: number, lo: number): number {
    const { store } = this;
    const level = store.level(id);
    const pa = nextTableAddress(hi, lo);
    return this.tableNode(
      pa,
      level + 1,
      store.stage(id),
      store.smmu(id),
      store.node(id, N.tag),
      this.slotIova(id, index, level),
    );
  }

  /** Whether the tag is that of the SMMU for which the domain's table was made, as the record says. */
  private isHome(tag: number, domain: number): boolean {
    return this.facts.profile.domainSmmus === 'one' || this.hooks.homeOf(domain) === this.store.tag(tag, T.smmu);
  }

  private countLeaf(
    tag: number,
    level: number,
    iovaPage: number,
    hi: number,
    lo: number,
    reached: number,
    sign: number,
  ): void {
    const target = outputAddress(level, hi, lo) / PAGE;
    const pages = LEAF_PAGES[level]!;
    if (sign > 0) this.checkRegisters(tag, target * PAGE, pages * PAGE, iovaPage);
    if (this.isIdentity(tag)) {
      this.countIdentityLeaf(target, pages, reached, sign);
      return;
    }
    const domain = this.domainOf(tag);
    const isOwn = reached === Reached.live && domain >= 0;
    const column = isOwn ? this.mapped : this.other;
    // A table that several SMMUs share has one leaf, whichever of them walks it: it counts for the one it was made for.
    if (!isOwn || this.isHome(tag, domain)) {
      if (level === 3) {
        const page = this.facts.pageOf(target * PAGE);
        if (page >= 0) this.countPages(column, page, 1, sign, tag, iovaPage * PAGE, reached);
      } else {
        this.facts.forEachRamPiece(target * PAGE, pages * PAGE, (first, count) => {
          const iova = iovaPage * PAGE + (this.facts.paOf(first) - target * PAGE);
          this.countPages(column, first, count, sign, tag, iova, reached);
        });
      }
    }
    if (reached !== Reached.live) return;
    const { store } = this;
    const meaning = leafMeaning(level, hi, lo);
    store.addTag(tag, T.hashA, sign * leafHash(iovaPage, level, target, meaning, false));
    store.addTag(tag, T.hashB, sign * leafHash(iovaPage, level, target, meaning, true));
    store.addTag(tag, T.leaves, sign);
    this.hooks.tagTouched(tag);
  }

  /** Count a leaf on `count` pages from `first`, the first of which it maps at `iova`. */
  private countPages(
    column: number,
    first: number,
    count: number,
    sign: number,
    tag: number,
    iova: number,
    reached: number,
  ): void {
    const { memory } = this.facts;
    if (count === 1) memory.put(column + first, memory.words[column + first]! + sign);
    else memory.addRun(column + first, count, sign);
    if (sign < 0) return;
    const domain = this.domainOf(tag);
    for (let i = this.ghost.reachableRun(domain, first, count); i < count; ) {
      this.breach(first + i, tag, iova + i * PAGE, reached);
      i++;
      i += this.ghost.reachableRun(domain, first + i, count - i);
    }
  }

  /**
   * The same for a leaf of the identity domain. Its blocks are large and hold no RAM: only what is RAM is visited. A page
   * on its way back to the host is mapped while the call runs: whose it is is compared when the call has returned.
   */
  private countIdentityLeaf(target: number, pages: number, reached: number, sign: number): void {
    const column = reached === Reached.live ? this.identity : this.identityStale;
    this.countRam(column, target, pages, sign, (page) => {
      this.hooks.pageTouched(page);
      if (
        sign > 0 &&
        this.ghost.pages.owner(page) === Owner.guest &&
        !this.facts.memory.isZeroFrom(this.facts.paOf(page))
      )
        this.exposed(page);
    });
  }

  private exposed(page: number): void {
    const pa = this.facts.paOf(page);
    const owner = this.ghost.pages.ownerName(page);
    const text = `the identity domain leads to ${hex(pa)} before what the ${owner} had there is gone`;
    this.findings.add('isolation', 'content', text, { pa, owner });
  }

  private checkRegisters(tag: number, pa: number, size: number, iovaPage: number): void {
    if (this.facts.pageOf(pa) >= 0 || !this.facts.touchesSmmu(pa, size)) return;
    const where = this.facts.placeOf(pa, size) === Place.smmu ? `at ${hex(pa)}` : `around ${hex(pa)}`;
    const iova = iovaPage * PAGE;
    this.findings.add(
      'isolation',
      'smmu-registers',
      `${this.tagName(tag)} maps ${hex(iova)} to the registers of an SMMU ${where}`,
      { iova, pa, via: 'live' },
    );
  }

  /** A page that is not the domain's owner's has become reachable. */
  private breach(page: number, tag: number, iova: number, reached: number): void {
    const pa = this.facts.paOf(page);
    const owner = this.ghost.pages.ownerName(page);
    const via = reached === Reached.live ? 'live' : 'stale table';
    this.findings.add(
      'isolation',
      'foreign-page',
      `${this.tagName(tag)} maps ${hex(iova)} to ${hex(pa)}, a page of the ${owner} (${via})`,
      { iova, pa, owner, via, domain: this.domainOf(tag) },
    );
  }

  /** A tag for people: the domain where it is one's. */
  tagName(tag: number): string {
    const { store } = this;
    const domain = this.domainOf(tag);
    if (domain >= 0) return `domain ${domain}`;
    return `the table with VMID ${store.tag(tag, T.vmid)} and ASID ${store.tag(tag, T.asid)}`;
  }

  /** Something reachable was removed while hardware may hold it: remember the copy. */
  private remember(id: number, index: number, hi: number, lo: number, kind: number): void {
    const { store } = this;
    const level = store.level(id);
    const tag = store.node(id, N.tag);
    const iovaPage = this.slotIova(id, index, level);
    if (kind === DescriptorKind.table) {
      const child = this.child(id, index, hi, lo);
      if (child === 0) return;
      this.stale.addTable(tag, level, iovaPage, child);
      this.refer(child, N.staleRefs, 1);
      return;
    }
    const meaning = leafMeaning(level, hi, lo);
    const target = outputAddress(level, hi, lo) / PAGE;
    const isGlobal = store.tag(tag, T.stage) === 1 && !isNotGlobal(meaning);
    this.stale.addLeaf(tag, level, iovaPage, target, meaning, isGlobal);
    this.countStale(tag, target, LEAF_PAGES[level]!, 1);
  }

  private countStale(tag: number, target: number, pages: number, sign: number): void {
    this.countRam(this.isIdentity(tag) ? this.identityStale : this.other, target, pages, sign, null);
  }

  /** The leaves of a level 3 table of the identity domain begin to count, when the machine has been taken over. */
  private countIdentityTable(first: number): void {
    const { facts } = this;
    const { memory } = facts;
    for (let i = first; i < first + 2 * ENTRIES; i += 2) {
      if (descriptorKind(3, memory.words[i + 1]!, memory.words[i]!) !== DescriptorKind.page) continue;
      const page = facts.pageOf(outputAddress(3, memory.words[i + 1]!, memory.words[i]!));
      if (page >= 0) memory.put(this.identity + page, memory.words[this.identity + page]! + 1);
    }
  }

  /** Add `sign` to a column for each page of RAM among `pages` pages from `target`, and call `visit` with it. */
  private countRam(
    column: number,
    target: number,
    pages: number,
    sign: number,
    visit: ((page: number) => void) | null,
  ): void {
    const { facts } = this;
    const { memory } = facts;
    if (pages === 1) {
      const page = facts.pageOf(target * PAGE);
      if (page < 0) return;
      memory.put(column + page, memory.words[column + page]! + sign);
      visit?.(page);
      return;
    }
    facts.forEachRamPiece(target * PAGE, pages * PAGE, (first, count) => {
      memory.addRun(column + first, count, sign);
      if (visit !== null) for (let page = first; page < first + count; page++) visit(page);
    });
  }

  // ---- changes

  /** The descriptor at `pa`, in the page of table node `id`, has changed. */
  wroteDescriptor(id: number, pa: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    const { store } = this;
    const level = store.level(id);
    const reached = store.node(id, N.reached);
    const index = (pa % PAGE) / 8;
    const before = descriptorKind(level, oldHi, oldLo);
    const after = descriptorKind(level, hi, lo);
    if ((oldLo & 1) !== (lo & 1)) store.addNode(id, N.valid, (lo & 1) - (oldLo & 1));
    const hot = this.isHot(store.node(id, N.tag));
    if (before !== DescriptorKind.invalid && after !== DescriptorKind.invalid && hot) {
      this.checkBreak(id, index, oldHi, oldLo, hi, lo, before !== after);
    }
    // The new way is counted before the old one goes, so that a table below both is never thought unreachable.
    if (before !== DescriptorKind.invalid && hot) this.remember(id, index, oldHi, oldLo, before);
    if (after !== DescriptorKind.invalid) this.count(id, index, hi, lo, after, reached, 1);
    if (before !== DescriptorKind.invalid) this.count(id, index, oldHi, oldLo, before, reached, -1);
  }

  /**
   * {@link wroteDescriptor} for a run in a last-level table of a domain that hardware reaches: `count` words from `pa` on,
   * which stand at index `start` of memory now and were the first of `old`. What all of them have in common is looked up
   * once.
   * @returns false for other tables, of which nothing is done
   */
  wroteLeaves(id: number, pa: number, start: number, old: Int32Array, count: number): boolean {
    const { store } = this;
    const tag = store.node(id, N.tag);
    const domain = this.domainOf(tag);
    if (store.level(id) !== 3 || store.node(id, N.reached) !== Reached.live || this.isIdentity(tag)) return false;
    if (domain < 0 || !this.isHome(tag, domain)) return false;
    const { words } = this.facts.memory;
    const hot = this.isHot(tag);
    const first = (pa & (PAGE - 1)) / 8;
    const sums = { a: 0, b: 0, leaves: 0 };
    let valid = 0;
    for (let k = 0; k < count; k += 2) {
      const lo = words[start + k]!;
      const hi = words[start + k + 1]!;
      const oldLo = old[k]!;
      const oldHi = old[k + 1]!;
      if (lo === oldLo && hi === oldHi) continue;
      const index = first + k / 2;
      const before = descriptorKind(3, oldHi, oldLo);
      const after = descriptorKind(3, hi, lo);
      valid += (lo & 1) - (oldLo & 1);
      if (before !== DescriptorKind.invalid && hot) {
        if (after !== DescriptorKind.invalid) this.checkBreak(id, index, oldHi, oldLo, hi, lo, false);
        this.remember(id, index, oldHi, oldLo, before);
      }
      const iovaPage = store.iovaPage(id) + index;
      if (after !== DescriptorKind.invalid) this.countOwn(tag, iovaPage, hi, lo, 1, sums);
      if (before !== DescriptorKind.invalid) this.countOwn(tag, iovaPage, oldHi, oldLo, -1, sums);
    }
    if (valid !== 0) store.addNode(id, N.valid, valid);
    store.addTag(tag, T.hashA, sums.a);
    store.addTag(tag, T.hashB, sums.b);
    store.addTag(tag, T.leaves, sums.leaves);
    this.hooks.tagTouched(tag);
    return true;
  }

  /** {@link countLeaf} for a page of a domain; what its tag gains is added to `sums`. */
  private countOwn(
    tag: number,
    iovaPage: number,
    hi: number,
    lo: number,
    sign: number,
    sums: { a: number; b: number; leaves: number },
  ): void {
    const pa = outputAddress(3, hi, lo);
    const page = this.facts.pageOf(pa);
    if (page >= 0) this.countPages(this.mapped, page, 1, sign, tag, iovaPage * PAGE, Reached.live);
    else if (sign > 0) this.checkRegisters(tag, pa, PAGE, iovaPage);
    const meaning = leafMeaning(3, hi, lo);
    sums.a = (sums.a + sign * leafHash(iovaPage, 3, pa / PAGE, meaning, false)) | 0;
    sums.b = (sums.b + sign * leafHash(iovaPage, 3, pa / PAGE, meaning, true)) | 0;
    sums.leaves += sign;
  }

  /** Break before make: a valid descriptor must not turn into another valid one of another address or size. */
  private checkBreak(
    id: number,
    index: number,
    oldHi: number,
    oldLo: number,
    hi: number,
    lo: number,
    otherKind: boolean,
  ): void {
    const level = this.store.level(id);
    if (!otherKind && nextTableAddress(oldHi, oldLo) === nextTableAddress(hi, lo)) return;
    const iova = this.slotIova(id, index, level) * PAGE;
    const name = this.tagName(this.store.node(id, N.tag));
    this.findings.add(
      'invalidation',
      'break-before-make',
      `${name}: the descriptor of ${hex(iova)} at level ${level} changed from valid to valid`,
      { iova, level },
    );
  }

  /** An SMMU was switched off. */
  switchOff(smmu: number): void {
    this.stale.switchOff(smmu, this.release);
  }

  /** The SYNC of an SMMU has completed. */
  sync(smmu: number): void {
    this.stale.sync(smmu, this.release);
  }

  private readonly release = (at: number): void => {
    const { stale } = this;
    const kind = stale.kind(at);
    const node = stale.word(at, S.node);
    if (kind === StaleKind.leaf) {
      const pages = stale.word(at, S.count) * LEAF_PAGES[stale.level(at)]!;
      this.countStale(stale.word(at, S.tag), stale.targetPage(at), pages, -1);
      return;
    }
    const tag = stale.word(at, S.tag);
    if ((kind === StaleKind.ste || kind === StaleKind.cd) && tag !== 0) this.store.addTag(tag, T.staleRoutes, -1);
    if (node !== 0) this.refer(node, N.staleRefs, -1);
  };
}
