/**
 * From a StreamID to a translation table: stream table entries, level-1 descriptors and context descriptors, decoded as
 * they change. What an entry led to before stays reachable until CFGI_STE (CFGI_CD) and its SYNC have completed.
 *
 * Left out: two-level tables of context descriptors, nested translation (judged by its stage 2), granules other than 4 KiB. Where a stream uses one of them, that is a finding.
 */

import {
  CD_BYTES,
  cdAsid,
  cdFlag,
  cdGranuleBits0,
  cdT0sz,
  cdTtb,
  cdValid,
  l1stdEntries,
  l1stdL2Ptr,
  levelShift,
  STE_BYTES,
  SteConfig,
  stage2StartLevel,
  steConfig,
  steS1CdMax,
  steS1ContextPtr,
  steS1Fmt,
  steS2GranuleBits,
  steS2Sl0,
  steS2T0sz,
  steS2Ttb,
  steS2Vmid,
  steValid,
} from './decode/index.ts';
import { type Facts, PAGE, TWO32 } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import { JournaledTable } from './journaled-table.ts';
import { N, NodeKind, type NodeStore, Reached, T } from './node-store.ts';
import type { Reach } from './reach.ts';
import { StaleKind, type StaleSet } from './stale-set.ts';

/** What a stream table entry says that its stream does. */
export const RouteKind = { none: 0, stage1: 1, stage2: 2, bypass: 3 } as const;

/** Words of a route: what the entry was decoded as when it last changed. */
const R = { kind: 0, node: 1, tag: 2, lo: 3, hi: 4, span: 5 } as const;
const ROUTE_WORDS = 6;
const STES_PER_PAGE = PAGE / STE_BYTES;
const GRANULE_BITS = 12;
/** log2 of the descriptors in the largest table that is followed. */
const CD_TABLE_LOG2_MAX = 10;

export class Routes {
  private readonly facts: Facts;
  private readonly store: NodeStore;
  private readonly stale: StaleSet;
  private readonly reach: Reach;
  private readonly findings: Findings;
  private readonly table: JournaledTable;
  private readonly structurePage: (page: number, node: number) => void;
  /** Result of {@link decodeSte} and {@link decodeCd}: the root or CD, and the tag. */
  private target = 0;
  /** Context descriptors at {@link target}, for a stage-1 entry. */
  private span = 0;
  private tag = 0;
  private startLevel = 0;
  private rootPages = 0;

  /** @param structurePage told of each page that a stream table or CD is found in */
  constructor(
    facts: Facts,
    findings: Findings,
    store: NodeStore,
    stale: StaleSet,
    reach: Reach,
    structurePage: (page: number, node: number) => void,
  ) {
    this.facts = facts;
    this.structurePage = structurePage;
    this.findings = findings;
    this.store = store;
    this.stale = stale;
    this.reach = reach;
    this.table = new JournaledTable(facts.memory, ROUTE_WORDS);
  }

  // ---- stream tables

  /** Take the stream table (or level-1 table) that an SMMU was given at boot into the graph. `split` 0: linear. */
  addStreamTable(smmu: number, pa: number, log2: number, split: number): void {
    const entryBytes = split === 0 ? STE_BYTES : 8;
    const total = 2 ** Math.max(0, log2 - split);
    const kind = split === 0 ? NodeKind.ste : NodeKind.l1std;
    const perPage = PAGE / entryBytes;
    for (let first = 0; first < total; first += perPage) {
      const entries = Math.min(perPage, total - first);
      const id = this.streamNode(pa + first * entryBytes, kind, smmu, first * 2 ** split, split, entries, true);
      if (id !== 0) this.reach.refer(id, N.liveRefs, 1);
    }
  }

  private streamNode(
    pa: number,
    kind: number,
    smmu: number,
    sid: number,
    split: number,
    entries: number,
    boot: boolean,
  ): number {
    const page = this.facts.pageOf(pa);
    if (page < 0) {
      this.findings.add('structure', 'no-ram', `a stream table lies at ${hex(pa)}, where there is no RAM`, { pa });
      return 0;
    }
    const known = this.reach.findNode(page, kind, split, 0, 0, sid | 0);
    if (known !== 0) return known;
    const id = this.store.makeNode(page, kind, split, 0, smmu);
    this.store.setNode(id, N.sid, sid | 0);
    this.store.setNode(id, N.valid, entries);
    if (boot) this.store.setNode(id, N.boot, 1);
    this.structurePage(page, id);
    return id;
  }

  /** A stream table or CD node begins or ceases to count. */
  settled(id: number, from: number, to: number): void {
    const kind = this.store.kind(id);
    if (kind === NodeKind.cd) this.settleCd(id, from, to);
    else if (kind === NodeKind.ste && (from === Reached.none) !== (to === Reached.none)) this.settleStes(id, to);
    else if (kind === NodeKind.l1std && (from === Reached.none) !== (to === Reached.none)) this.settleLevel1(id, to);
  }

  private settleStes(id: number, to: number): void {
    const first = this.store.node(id, N.sid) >>> 0;
    const smmu = this.store.smmu(id);
    const pa = this.facts.paOf(this.store.node(id, N.page));
    for (let i = 0; i < this.store.node(id, N.valid); i++) {
      if (to === Reached.none) this.setRoute(smmu, first + i, RouteKind.none);
      else this.decodeAndSet(smmu, first + i, pa + i * STE_BYTES);
    }
  }

  private settleLevel1(id: number, to: number): void {
    const pa = this.facts.paOf(this.store.node(id, N.page));
    const { memory } = this.facts;
    for (let at = pa; at < pa + 8 * this.store.node(id, N.valid); at += 8) {
      const i = memory.indexOf(at);
      const delta = to === Reached.none ? -1 : 1;
      this.referLevel2(id, at, memory.words[i + 1]!, memory.words[i]!, N.liveRefs, delta);
    }
  }

  /** Count the level-2 table that the level-1 descriptor at `at` with that value leads to. */
  private referLevel2(id: number, at: number, hi: number, lo: number, word: number, delta: number): number {
    const split = this.store.level(id);
    const entries = l1stdEntries(lo, split);
    if (entries === 0) return 0;
    const smmu = this.store.smmu(id);
    const sid = (this.store.node(id, N.sid) >>> 0) + ((at % PAGE) / 8) * 2 ** split;
    const l2 = l1stdL2Ptr(hi, lo);
    let first = 0;
    let before = 0;
    for (let done = 0; done < entries; done += STES_PER_PAGE) {
      const count = Math.min(STES_PER_PAGE, entries - done);
      const node = this.streamNode(l2 + done * STE_BYTES, NodeKind.ste, smmu, sid + done, 0, count, false);
      if (node === 0) break;
      if (first === 0) first = node;
      else if (this.store.node(before, N.sibling) !== node) this.store.setNode(before, N.sibling, node);
      before = node;
    }
    if (first !== 0) this.reach.refer(first, word, delta);
    return first;
  }

  /** The level-1 descriptor at `pa` has changed. */
  wroteLevel1(id: number, pa: number, oldHi: number, oldLo: number, hi: number, lo: number): void {
    const isOff = this.stale.isOff(this.store.smmu(id));
    const old = isOff ? 0 : this.referLevel2(id, pa, oldHi, oldLo, N.staleRefs, 1);
    if (old !== 0) {
      const split = this.store.level(id);
      const sid = (this.store.node(id, N.sid) >>> 0) + ((pa % PAGE) / 8) * 2 ** split;
      this.stale.addLevel1(this.store.smmu(id), sid, 2 ** split, old);
    }
    this.referLevel2(id, pa, hi, lo, N.liveRefs, 1);
    this.referLevel2(id, pa, oldHi, oldLo, N.liveRefs, -1);
  }

  /** A word of the stream table entry around `pa` has changed. */
  wroteSte(id: number, pa: number, oldLo: number, lo: number): void {
    const smmu = this.store.smmu(id);
    const index = Math.floor((pa % PAGE) / STE_BYTES);
    if (index >= this.store.node(id, N.valid)) return;
    const sid = (this.store.node(id, N.sid) >>> 0) + index;
    const ste = pa - (pa % STE_BYTES);
    if (pa === ste) {
      if (!steValid(oldLo) && steValid(lo) && this.stale.hasStream(StaleKind.steBody, smmu, sid)) {
        this.torn(sid, 'became valid while hardware may hold other words of it from before');
      }
    } else {
      if (this.stale.hasStream(StaleKind.ste, smmu, sid)) {
        this.torn(sid, 'changed while hardware may still hold its first word');
      }
      if (!this.stale.isOff(smmu) && !this.stale.hasStream(StaleKind.steBody, smmu, sid)) {
        this.stale.addRoute(StaleKind.steBody, smmu, sid, 0, 0);
      }
    }
    this.decodeAndSet(smmu, sid, ste);
  }

  private torn(sid: number, what: string): void {
    this.findings.add('invalidation', 'ste-torn', `the stream table entry of stream ${hex(sid)} ${what}`, { sid });
  }

  private decodeAndSet(smmu: number, sid: number, ste: number): void {
    this.setRoute(smmu, sid, this.decodeSte(smmu, sid, ste));
  }

  /** Decode the entry at `ste`; leaves the CD or root in {@link target}. */
  private decodeSte(smmu: number, sid: number, ste: number): number {
    const { words } = this.facts.memory;
    const i = this.facts.memory.indexOf(ste);
    this.target = 0;
    this.span = 0;
    this.tag = 0;
    const lo0 = words[i]!;
    if (!steValid(lo0)) return RouteKind.none;
    const config = steConfig(lo0);
    if (config < SteConfig.bypass) return RouteKind.none;
    if (config === SteConfig.bypass) return RouteKind.bypass;
    if (config === SteConfig.stage1) {
      const log2 = steS1CdMax(words[i + 1]!);
      const isFollowed = log2 === 0 || (log2 <= CD_TABLE_LOG2_MAX && steS1Fmt(lo0) === 0);
      if (!isFollowed)
        this.notModelled(smmu, sid, 'has a table of context descriptors of two levels, or too large a one');
      this.span = isFollowed ? 2 ** log2 : 1;
      this.target = steS1ContextPtr(words[i + 1]!, lo0);
      return RouteKind.stage1;
    }
    if (config === SteConfig.nested) this.notModelled(smmu, sid, 'is nested');
    const hi2 = words[i + 5]!;
    const t0sz = steS2T0sz(hi2);
    const level = stage2StartLevel(steS2Sl0(hi2, words[i + 6]!), t0sz, GRANULE_BITS, false);
    if (steS2GranuleBits(hi2) !== GRANULE_BITS || level === null) {
      this.notModelled(smmu, sid, 'has a stage 2 of another granule or of no legal shape');
      return RouteKind.none;
    }
    this.shape(64 - t0sz, level);
    this.target = steS2Ttb(words[i + 7]!, words[i + 6]!);
    this.tag = this.store.tagFor(smmu, 2, steS2Vmid(words[i + 4]!), -1);
    return RouteKind.stage2;
  }

  /** While the SMMU is off nobody looks, and words may become visible in any order: the call's end is soon enough. */
  private notModelled(smmu: number, sid: number, what: string): void {
    if (this.stale.isOff(smmu)) return;
    this.findings.add('streams', 'not-modelled', `stream ${hex(sid)} ${what}, which no call asks for`, { sid });
  }

  private shape(inputBits: number, startLevel: number): void {
    this.startLevel = startLevel;
    this.rootPages = Math.max(1, (2 ** (inputBits - levelShift(startLevel)) * 8) / PAGE);
  }

  /** From now on the stream takes the way that was decoded last; what it was before may still be cached. */
  private setRoute(smmu: number, sid: number, kind: number): void {
    const { store, stale, reach, facts } = this;
    // Following a context descriptor decodes into the same fields.
    const { target, span } = this;
    const known = this.table.find(sid | 0, smmu);
    const { words } = facts.memory;
    const oldKind = known < 0 ? RouteKind.none : words[known + R.kind]!;
    if (oldKind === kind) {
      if (kind === RouteKind.none) return;
      const before = words[known + R.hi]! * TWO32 + (words[known + R.lo]! >>> 0);
      if (before === target && words[known + R.tag] === this.tag && words[known + R.span] === span) return;
    }
    const oldNode = known < 0 ? 0 : words[known + R.node]!;
    const oldTag = known < 0 ? 0 : words[known + R.tag]!;
    const { tag: decoded } = this;
    const node = this.nodeOf(smmu, sid, kind);
    // What leads nowhere has no translations, and no tag of any.
    const tag = node === 0 ? 0 : decoded;
    if (node !== 0) reach.refer(node, N.liveRefs, 1);
    if (tag !== 0) this.warm(tag, T.attached);
    if (oldKind !== RouteKind.none) {
      if (!stale.isOff(smmu)) this.keepRoute(smmu, sid, oldNode, oldTag);
      if (oldTag !== 0) store.addTag(oldTag, T.attached, -1);
      if (oldNode !== 0) reach.refer(oldNode, N.liveRefs, -1);
    }
    if (kind === RouteKind.bypass) this.bypass(sid);
    if (kind === RouteKind.none) {
      this.table.remove(sid | 0, smmu);
      return;
    }
    const at = this.table.insert(sid | 0, smmu);
    facts.memory.put(at + R.kind, kind);
    facts.memory.put(at + R.node, node);
    facts.memory.put(at + R.tag, tag);
    facts.memory.put(at + R.lo, target | 0);
    facts.memory.put(at + R.hi, (target / TWO32) | 0);
    facts.memory.put(at + R.span, span);
  }

  /** What an entry led to may still be cached. */
  private keepRoute(smmu: number, sid: number, node: number, tag: number): void {
    this.stale.addRoute(StaleKind.ste, smmu, sid, node, tag);
    if (tag !== 0) this.store.addTag(tag, T.staleRoutes, 1);
    if (node !== 0) this.reach.refer(node, N.staleRefs, 1);
  }

  private warm(tag: number, word: number): void {
    this.store.addTag(tag, word, 1);
    if (this.store.tag(tag, T.heat) !== 1) this.store.setTag(tag, T.heat, 1);
  }

  private bypass(sid: number): void {
    const text = `stream ${hex(sid)} bypasses translation: its device reaches all memory`;
    this.findings.add('isolation', 'bypass', text, { sid, via: 'live' });
  }

  private nodeOf(smmu: number, sid: number, kind: number): number {
    if (kind === RouteKind.stage1) return this.cdTable(smmu, sid, this.target, this.span);
    if (kind !== RouteKind.stage2) return 0;
    return this.reach.rootNode(this.target, this.startLevel, this.rootPages, 2, smmu, this.tag);
  }

  // ---- context descriptors

  /** The descriptors of a linear table, each a node, one the sibling of the next; returns the first. */
  private cdTable(smmu: number, sid: number, pa: number, span: number): number {
    let first = 0;
    let before = 0;
    for (let pasid = 0; pasid < span; pasid++) {
      const id = this.cdNode(smmu, sid, pasid, pa + pasid * CD_BYTES);
      if (id === 0) break;
      if (first === 0) first = id;
      else if (this.store.node(before, N.sibling) !== id) this.store.setNode(before, N.sibling, id);
      before = id;
    }
    return first;
  }

  private cdNode(smmu: number, sid: number, pasid: number, pa: number): number {
    const page = this.facts.pageOf(pa);
    if (page < 0) {
      const text = `the context descriptor of stream ${hex(sid)} lies at ${hex(pa)}`;
      if (!this.stale.isOff(smmu)) this.findings.add('structure', 'no-ram', text, { pa });
      return 0;
    }
    const offset = pa % PAGE;
    const known = this.reach.findNode(page, NodeKind.cd, 0, 0, pasid, sid | 0, offset);
    if (known !== 0) return known;
    const id = this.store.makeNode(page, NodeKind.cd, 0, 1, smmu);
    this.store.setNode(id, N.sid, sid | 0);
    this.store.setNode(id, N.iovaLo, pasid);
    this.store.setNode(id, N.offset, offset);
    this.structurePage(page, id);
    return id;
  }

  /** Decode the context descriptor of a node; leaves the root in {@link target}. @returns whether there is one */
  private decodeCd(id: number): boolean {
    const { words } = this.facts.memory;
    const i = this.facts.memory.indexOf(this.facts.paOf(this.store.node(id, N.page)) + this.store.node(id, N.offset));
    const lo0 = words[i]!;
    const hi0 = words[i + 1]!;
    const sid = this.store.node(id, N.sid) >>> 0;
    const smmu = this.store.smmu(id);
    if (!cdValid(lo0)) return false;
    if (!cdFlag(hi0, lo0, 30)) this.notModelled(smmu, sid, 'uses TTB1');
    if (cdFlag(hi0, lo0, 14)) return false;
    const inputBits = 64 - cdT0sz(lo0);
    if (cdGranuleBits0(lo0) !== GRANULE_BITS || inputBits > 48 || inputBits <= 12) {
      this.notModelled(smmu, sid, 'has a stage 1 of another granule or of no legal shape');
      return false;
    }
    this.shape(inputBits, 4 - Math.ceil((inputBits - GRANULE_BITS) / 9));
    this.target = cdTtb(words[i + 3]!, words[i + 2]!);
    this.tag = this.store.tagFor(smmu, 1, 0, cdAsid(hi0));
    return true;
  }

  private settleCd(id: number, from: number, to: number): void {
    const { store } = this;
    if (from === Reached.none) this.linkCd(id);
    const root = store.node(id, N.linked);
    const tag = store.node(id, N.linkedTag);
    if (root === 0) return;
    if (to === Reached.live) this.warm(tag, T.attached);
    else if (to === Reached.stale) this.warm(tag, T.staleRoutes);
    if (to !== Reached.none) this.reach.refer(root, to === Reached.live ? N.liveRefs : N.staleRefs, 1);
    if (from === Reached.none) return;
    store.addTag(tag, from === Reached.live ? T.attached : T.staleRoutes, -1);
    this.reach.refer(root, from === Reached.live ? N.liveRefs : N.staleRefs, -1);
  }

  /** Note in the node what its descriptor leads to now. */
  private linkCd(id: number): void {
    const found = this.decodeCd(id);
    const smmu = this.store.smmu(id);
    const root = found ? this.reach.rootNode(this.target, this.startLevel, this.rootPages, 1, smmu, this.tag) : 0;
    this.store.setNode(id, N.linked, root);
    this.store.setNode(id, N.linkedTag, root === 0 ? 0 : this.tag);
  }

  /** Two words of the descriptor of CD node `id` have changed: `oldLo` and `lo` are the first of them. */
  wroteCd(id: number, pa: number, oldLo: number, lo: number): void {
    const { store, reach } = this;
    if (store.node(id, N.reached) === Reached.live) this.checkCdTorn(id, pa, oldLo, lo);
    const oldRoot = store.node(id, N.linked);
    const oldTag = store.node(id, N.linkedTag);
    const reached = store.node(id, N.reached);
    const refs = reached === Reached.live ? N.liveRefs : N.staleRefs;
    const count = reached === Reached.live ? T.attached : T.staleRoutes;
    this.linkCd(id);
    const root = store.node(id, N.linked);
    if (root === oldRoot && store.node(id, N.linkedTag) === oldTag) return;
    if (root !== 0) {
      this.warm(store.node(id, N.linkedTag), count);
      reach.refer(root, refs, 1);
    }
    if (oldRoot === 0) return;
    if (!this.stale.isOff(store.smmu(id))) {
      this.stale.addRoute(
        StaleKind.cd,
        store.smmu(id),
        store.node(id, N.sid),
        oldRoot,
        oldTag,
        store.node(id, N.iovaLo),
      );
      store.addTag(oldTag, T.staleRoutes, 1);
      reach.refer(oldRoot, N.staleRefs, 1);
    }
    store.addTag(oldTag, count, -1);
    reach.refer(oldRoot, refs, -1);
  }

  /** The epochs in which a descriptor that hardware may read is written, as those of an entry are. */
  private checkCdTorn(id: number, pa: number, oldLo: number, lo: number): void {
    const { store, stale } = this;
    const smmu = store.smmu(id);
    const sid = store.node(id, N.sid);
    const pasid = store.node(id, N.iovaLo);
    const torn = (what: string): void => {
      const text = `the context descriptor of stream ${hex(sid >>> 0)}, PASID ${pasid}, ${what}`;
      this.findings.add('invalidation', 'cd-torn', text, { sid, pasid });
    };
    if (pa % CD_BYTES === 0) {
      if (!cdValid(oldLo) && cdValid(lo) && stale.hasStream(StaleKind.cdBody, smmu, sid, pasid)) {
        torn('became valid while hardware may hold other words of it from before');
      }
      return;
    }
    if (stale.hasStream(StaleKind.cd, smmu, sid, pasid)) torn('changed while hardware may still hold its first word');
    if (!stale.isOff(smmu) && !stale.hasStream(StaleKind.cdBody, smmu, sid, pasid)) {
      stale.addRoute(StaleKind.cdBody, smmu, sid, 0, 0, pasid);
    }
  }

  /** Calls `visit` with the tag of each route that has one of its own (a stage-2 stream). */
  forEachTag(visit: (tag: number) => void): void {
    this.table.forEach((_sid, _smmu, at) => {
      const tag = this.facts.memory.words[at + R.tag]!;
      if (tag !== 0 && this.facts.memory.words[at + R.node] !== 0) visit(tag);
    });
  }
}
