/**
 * What the SMMU can reach through streams with substreams, and through nested streams: CD tables, and stage-1 tables
 * that lie behind a stage 2. Where those are in memory depends on stage 2, present and cached, so nothing here is
 * counted up and down: after each change that matters, the reach is searched anew from its contexts.
 *
 * A context is one way in which an STE leads to CDs: a table of them, its geometry, and the stage 2 below it. What is no
 * longer reached but may still be cached becomes stale: CDs and level-1 descriptors, of which a cache needs no table.
 * Stage-1 leaves need no such care here: what cuts off their table without a stage-1 invalidation stays itself cached.
 */

import type { SmmuFeatures } from '../description.ts';
import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { RecordFile } from '../record-file.ts';
import type { Regime } from '../table-walk.ts';
import { hiOf, join, loOf } from '../word64.ts';
import { CD_SIZE, Cd, decodeCd } from './cd.ts';
import { contextLeaf } from './context-fetch.ts';
import { mixes, mixOptions, readMix } from './mixes.ts';
import { NodeKind, type NodeStore } from './node-store.ts';
import { Places } from './places.ts';
import { Field, Kind, type StaleSet, what } from './stale-set.ts';
import { type Ste, SteKind } from './ste.ts';
import type { TableReach } from './table-reach.ts';

/** Words of a context. `shape`: used[0] nested[1] log2[12:8] split[20:16]; 0 when the number is free. */
const F = { shape: 0, sid: 1, vmid: 2, pointerLo: 3, pointerHi: 4, stage2: 5, refs: 6 } as const;

const USED = 1;
const NESTED = 2;
const CD_WORDS = CD_SIZE / 8;
const CD_WORDS_USED = 3;
const PAGE = 4096;
const CD_V = 1 << 31;
const SUBSTREAM = 2 ** 32;

const CD_ENTRY = what(Kind.cd, 0, 0, false, 0);
const L1CD_ENTRY = what(Kind.l1cd, 0, 0, false, 0);

/** Substreams [from, to) of a stream whose CDs an invalidation has covered. */
export interface CoveredSubstreams {
  readonly sid: number;
  readonly from: number;
  readonly to: number;
}

export class ContextReach {
  private readonly memory: PhysicalMemory;
  private readonly smmu: SmmuFeatures;
  private readonly store: NodeStore;
  private readonly stale: StaleSet;
  private readonly tables: TableReach;
  private readonly places: Places;
  private readonly contexts: RecordFile;
  /** By root: 1 when the last search holds a reference to it. */
  private readonly held: RecordFile;
  /** Highest number of a context, and whether there is anything to search. */
  private readonly header: number;
  private readonly cd = new Cd();
  /** What the search that runs has found. */
  private readonly nodes = new Set<number>();
  private readonly roots = new Set<number>();
  private readonly visited = new Set<string>();
  /** Streams of which an earlier word of a CD may be cached. */
  private readonly changedStreams = new Set<number>();
  private changed = false;
  private readonly covered: CoveredSubstreams[] = [];

  constructor(memory: PhysicalMemory, smmu: SmmuFeatures, store: NodeStore, stale: StaleSet, tables: TableReach) {
    this.memory = memory;
    this.smmu = smmu;
    this.store = store;
    this.stale = stale;
    this.tables = tables;
    this.places = new Places(memory, stale, tables);
    this.contexts = new RecordFile(memory, 8, StateClass.derived, 16);
    this.held = new RecordFile(memory, 1, StateClass.derived, 64);
    this.header = memory.allocFile(2, StateClass.derived);
  }

  /** Whether any context or nested table is in reach. */
  get active(): boolean {
    return this.memory.words[this.header + 1] !== 0;
  }

  /** Whether stage-1 entries of a VMID may hold what its stage 2 says: there are, or were, nested streams. */
  nests(vmid: number): boolean {
    const { tables, stale } = this;
    for (let root = 1; root <= tables.top; root++) {
      if (tables.stage(root) === 1 && tables.nested(root) && tables.tag(root) >>> 16 === vmid) return true;
    }
    for (let i = 0; i < stale.size; i++) {
      if (stale.nested(i) && stale.get(i, Field.tag) >>> 16 === vmid) return true;
    }
    return false;
  }

  // ---- contexts

  /** StreamID of a context. */
  streamOf(n: number): number {
    return this.contexts.get(n, F.sid) >>> 0;
  }

  /** The context that an STE leads to; 0 when there is none of that kind. */
  find(sid: number, ste: Ste): number {
    const shape = shapeOf(ste);
    const { contexts } = this;
    for (let n = 1; n <= this.top; n++) {
      if (
        contexts.get(n, F.shape) === shape &&
        contexts.get(n, F.sid) === (sid | 0) &&
        contexts.get(n, F.vmid) === ste.vmid &&
        contexts.get(n, F.pointerLo) === loOf(ste.contextPointer) &&
        contexts.get(n, F.pointerHi) === hiOf(ste.contextPointer) &&
        contexts.get(n, F.stage2) === this.stage2Root(ste)
      ) {
        return n;
      }
    }
    return 0;
  }

  /** 0 where stage 2 leads nowhere, its start table not being in RAM; -1 for a root that nothing holds yet. */
  private stage2Root({ kind, stage2, vmid }: Ste): number {
    if (kind !== SteKind.nested || !this.memory.isRam(stage2.base)) return 0;
    return this.tables.find(stage2, vmid, 0, false) || -1;
  }

  /** Adds a reference to the context that an STE leads to. The reach is searched by the next {@link settle}. */
  acquire(sid: number, ste: Ste): number {
    this.changed = true;
    const { contexts } = this;
    let n = this.find(sid, ste);
    if (n !== 0) {
      contexts.put(n, F.refs, contexts.get(n, F.refs) + 1);
      return n;
    }
    n = 1;
    while (n <= this.top && contexts.get(n, F.shape) !== 0) n++;
    if (n > this.top) this.memory.put(this.header, n);
    this.memory.put(this.header + 1, 1);
    contexts.put(n, F.shape, shapeOf(ste));
    contexts.put(n, F.sid, sid | 0);
    contexts.put(n, F.vmid, ste.vmid);
    contexts.put(n, F.pointerLo, loOf(ste.contextPointer));
    contexts.put(n, F.pointerHi, hiOf(ste.contextPointer));
    if (ste.kind === SteKind.nested) {
      contexts.put(n, F.stage2, this.tables.acquire(ste.stage2, ste.vmid, 0, false));
    }
    contexts.put(n, F.refs, 1);
    return n;
  }

  /** Drops a reference to a context. */
  release(n: number): void {
    const { contexts } = this;
    const refs = contexts.get(n, F.refs) - 1;
    contexts.put(n, F.refs, refs);
    if (refs !== 0) return;
    this.changed = true;
    const root = contexts.get(n, F.stage2);
    contexts.clear(n);
    if (root !== 0) this.tables.release(root);
  }

  private get top(): number {
    return this.memory.words[this.header]!;
  }

  // ---- what a write does

  /** A word of a CD table was overwritten. */
  wroteContext(node: number, k: number, pa: number, oldHi: number, oldLo: number): void {
    const word = k % CD_WORDS;
    if (word >= CD_WORDS_USED) return;
    const ssid = this.store.base(node) + (k - word) / CD_WORDS;
    this.stale.add(CD_ENTRY, 0, this.substream(node, ssid), oldHi, oldLo, pa, 0, 0, 0);
    this.changed = true;
  }

  /** A level-1 descriptor of a CD table was overwritten. */
  wroteContextTable(node: number, k: number, pa: number, oldHi: number, oldLo: number): void {
    const span = this.span(this.store.owner(node));
    const ssid = (this.store.base(node) + k) * span;
    this.stale.add(L1CD_ENTRY, span, this.substream(node, ssid), oldHi, oldLo, pa, 0, 0, 0);
    this.changed = true;
  }

  /** StreamID and SubstreamID as one address of a stale entry. */
  private substream(node: number, ssid: number): number {
    return ssid * SUBSTREAM + (this.contexts.get(this.store.owner(node), F.sid) >>> 0);
  }

  /** CDs of a level-1 descriptor. */
  private span(n: number): number {
    return POW2[(this.contexts.get(n, F.shape) >>> 16) & 31]!;
  }

  /** Something that the search depends on has changed. */
  touch(): void {
    this.changed = true;
  }

  /** A stale level-1 CD descriptor went: of the CDs below it, these were invalidated with it. */
  dropContextTable(substreams: CoveredSubstreams): void {
    this.covered.push(substreams);
    this.changed = true;
  }

  // ---- the search

  /** Searches the reach anew if something has changed. */
  settle(): void {
    if (!this.changed) return;
    const { tables, held, roots } = this;
    if (this.active) {
      // What a search leaves behind as cached leads somewhere too.
      do {
        this.changed = false;
        this.search();
      } while (this.changed);
      let active = this.roots.size;
      for (let n = 1; n <= this.top; n++) active |= this.contexts.get(n, F.shape);
      for (let root = 1; root <= tables.top; root++) {
        if (held.get(root, 0) !== 0 && !roots.has(root)) {
          held.put(root, 0, 0);
          tables.release(root);
        }
        if (this.isNested(root)) active = 1;
      }
      this.memory.put(this.header + 1, active === 0 ? 0 : 1);
    }
    this.changed = false;
    this.covered.length = 0;
  }

  private isNested(root: number): boolean {
    return this.tables.stage(root) === 1 && this.tables.nested(root);
  }

  private search(): void {
    const { nodes, roots, visited, contexts, tables, store, stale } = this;
    nodes.clear();
    roots.clear();
    visited.clear();
    this.changedStreams.clear();
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) === Kind.cd) this.changedStreams.add(stale.get(i, Field.addressLo) >>> 0);
    }
    for (let n = 1; n <= this.top; n++) if (contexts.get(n, F.shape) !== 0) this.searchContext(n);
    for (let root = 1; root <= tables.top; root++) if (this.isNested(root)) this.searchRoot(root);
    for (let node = 1; node <= store.top; node++) {
      const kind = store.kind(node);
      if (nodes.has(node) || kind === 0) continue;
      if (kind === NodeKind.contexts) this.leaveContexts(node);
      else if (kind === NodeKind.contextTable) this.leaveContextTable(node);
      else if (kind !== NodeKind.table || !tables.nested(store.owner(node))) continue;
      store.remove(node);
    }
  }

  /** CDs of a context: those of its tables, and cached ones. */
  private searchContext(n: number): void {
    const { contexts, stale } = this;
    const shape = contexts.get(n, F.shape);
    const pointer = join(contexts.get(n, F.pointerHi), contexts.get(n, F.pointerLo));
    const log2 = (shape >>> 8) & 31;
    const split = (shape >>> 16) & 31;
    const sid = contexts.get(n, F.sid) >>> 0;
    const count = POW2[log2]!;
    if (split === 0) {
      this.searchLeaf(n, pointer, 0, count);
    } else {
      const span = POW2[split]!;
      this.eachPart(n, pointer, Math.max(1, count / span), 1, (pa, first, here) => {
        const node = this.want(NodeKind.contextTable, 0, n, first, pa, here);
        if (node === 0) return;
        const at = this.store.wordsAt(node);
        for (let i = 0; i < here; i++) {
          this.searchLeafOf(n, (first + i) * span, this.memory.words[at + 2 * i + 1]!, this.memory.words[at + 2 * i]!);
        }
      });
      for (let i = 0; i < stale.size; i++) {
        if (stale.kind(i) !== Kind.l1cd || stale.get(i, Field.addressLo) >>> 0 !== sid) continue;
        this.searchLeafOf(n, stale.get(i, Field.addressHi), stale.get(i, Field.oldHi), stale.get(i, Field.oldLo));
      }
    }
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.cd || stale.get(i, Field.addressLo) >>> 0 !== sid) continue;
      const ssid = stale.get(i, Field.addressHi);
      const at = stale.at(i);
      if (ssid < count) this.holdRoots(n, ssid, at - (at % CD_SIZE), false);
    }
  }

  private searchLeafOf(n: number, ssid: number, hi: number, lo: number): void {
    const leaf = contextLeaf(hi, lo, this.smmu.oas);
    if (leaf < 0) return;
    const log2 = (this.contexts.get(n, F.shape) >>> 8) & 31;
    this.searchLeaf(n, leaf, ssid, Math.min(this.span(n), POW2[log2]! - ssid));
  }

  private searchLeaf(n: number, address: number, ssid: number, count: number): void {
    const key = `${n} ${address} ${ssid}`;
    if (this.visited.has(key)) return;
    this.visited.add(key);
    this.eachPart(n, address, count, CD_WORDS, (pa, first, here) => {
      const node = this.want(NodeKind.contexts, 0, n, ssid + first, pa, here * CD_WORDS);
      if (node === 0) return;
      const changed = this.changedStreams.has(this.contexts.get(n, F.sid) >>> 0);
      const at = this.store.wordsAt(node);
      for (let i = 0; i < here; i++) {
        const valid = (this.memory.words[at + (i * CD_SIZE) / 4]! & CD_V) !== 0;
        if (valid || changed) this.holdRoots(n, ssid + first + i, pa + i * CD_SIZE, true);
      }
    });
  }

  /** Holds the roots that a CD names, in each mix of its words in which it may be read. */
  private holdRoots(n: number, ssid: number, at: number, reachable: boolean): void {
    const { contexts, stale, memory, cd, smmu } = this;
    const sid = contexts.get(n, F.sid) >>> 0;
    const options = mixOptions(stale, Kind.cd, sid, at, reachable, ssid);
    const vmid = contexts.get(n, F.vmid);
    const nested = (contexts.get(n, F.shape) & NESTED) !== 0;
    for (const mix of mixes(options)) {
      readMix(memory, stale, at, mix, cd.words);
      decodeCd(cd, smmu, nested);
      if (cd.illegal !== '') continue;
      if (cd.walks0) this.holdRoot(cd.half0, vmid, cd.asid, false);
      if (cd.walks1) this.holdRoot(cd.half1, vmid, cd.asid, true);
    }
  }

  private holdRoot(regime: Regime, vmid: number, asid: number, upper: boolean): void {
    const { tables, held } = this;
    let root = tables.find(regime, vmid, asid, upper);
    if (root === 0 || held.get(root, 0) === 0) {
      root = tables.acquire(regime, vmid, asid, upper);
      if (root === 0) return;
      held.put(root, 0, 1);
    }
    this.roots.add(root);
  }

  /** Tables of a nested root: the start table, what is below it, and what cached descriptors lead to. */
  private searchRoot(root: number): void {
    const { tables, stale } = this;
    this.searchTable(root, tables.startLevel(root), tables.start(root), tables.base(root), tables.startBytes(root), 0);
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.table || !stale.nested(i) || stale.get(i, Field.root) !== root) continue;
      const level = stale.level(i);
      const limits = stale.limits(i);
      this.searchBelow(root, level, stale.page(i), stale.get(i, Field.oldHi), stale.get(i, Field.oldLo), limits);
    }
  }

  private searchTable(root: number, level: number, page: number, ipa: number, bytes: number, limits: number): void {
    const key = `root ${root} ${level} ${page} ${ipa} ${limits}`;
    if (this.visited.has(key)) return;
    this.visited.add(key);
    const { tables, store, memory } = this;
    const vmid = tables.tag(root) >>> 16;
    const pages = tables.pagesPer(root, level);
    for (let offset = 0; offset < bytes; ) {
      const size = Math.min(bytes - offset, PAGE - ((ipa + offset) % PAGE));
      const first = page + (offset / 8) * pages;
      for (const pa of this.places.of(vmid, ipa + offset, true)) {
        const node = this.want(NodeKind.table, level, root, first, pa, size / 8, limits);
        if (node === 0 || level === 3) continue;
        const at = store.wordsAt(node);
        for (let i = 0; i < size / 8; i++) {
          const hi = memory.words[at + 2 * i + 1]!;
          this.searchBelow(root, level, first + i * pages, hi, memory.words[at + 2 * i]!, limits);
        }
      }
      offset += size;
    }
  }

  private searchBelow(root: number, level: number, page: number, hi: number, lo: number, limits: number): void {
    const { tables } = this;
    const table = tables.child(root, level, hi, lo);
    if (table < 0) return;
    const below = tables.limitsBelow(root, limits, hi);
    this.searchTable(root, level + 1, page, table, POW2[tables.granule(root)]!, below);
  }

  /** The node of that identity, made if need be; 0 when there is no room or no RAM. */
  private want(
    kind: number,
    level: number,
    owner: number,
    base: number,
    pa: number,
    count: number,
    limits = 0,
  ): number {
    const { store } = this;
    const found = store.find(kind, level, owner, base, pa, limits);
    const node = found || store.add(kind, level, owner, base, pa, count, limits);
    if (node !== 0) this.nodes.add(node);
    return node;
  }

  /** Cuts `count` entries of `words` 64-bit words at an address of context `n` into pieces of one page, where they are. */
  private eachPart(
    n: number,
    address: number,
    count: number,
    words: number,
    visit: (pa: number, first: number, count: number) => void,
  ): void {
    const size = 8 * words;
    const nested = (this.contexts.get(n, F.shape) & NESTED) !== 0;
    const vmid = this.contexts.get(n, F.vmid);
    for (let first = 0; first < count; ) {
      const at = address + first * size;
      const here = Math.min(count - first, (PAGE - (at % PAGE)) / size);
      if (!nested) visit(at, first, here);
      else for (const pa of this.places.of(vmid, at, false)) visit(pa, first, here);
      first += here;
    }
  }

  // ---- what stays cached

  /** CDs that are out of reach although their stream's configuration was not invalidated may still be cached. */
  private leaveContexts(node: number): void {
    const { store, memory } = this;
    if (this.contexts.get(store.owner(node), F.shape) === 0) return;
    for (let i = 0; i < store.wordCount(node) / CD_WORDS; i++) {
      const ssid = store.base(node) + i;
      const at = store.wordsAt(node) + i * (CD_SIZE / 4);
      if ((memory.words[at]! & CD_V) === 0 || this.isCovered(node, ssid)) continue;
      for (let word = 0; word < CD_WORDS_USED; word++) {
        const lo = memory.words[at + 2 * word]!;
        const hi = memory.words[at + 2 * word + 1]!;
        const pa = store.address(node) + i * CD_SIZE + 8 * word;
        if (this.stale.add(CD_ENTRY, 0, this.substream(node, ssid), hi, lo, pa, 0, 0, 0)) this.changed = true;
      }
    }
  }

  private leaveContextTable(node: number): void {
    const { store, memory } = this;
    const n = store.owner(node);
    if (this.contexts.get(n, F.shape) === 0) return;
    for (let k = 0; k < store.wordCount(node); k++) {
      const at = store.wordsAt(node) + 2 * k;
      const lo = memory.words[at]!;
      if ((lo & 1) === 0) continue;
      const ssid = (store.base(node) + k) * this.span(n);
      const pa = store.address(node) + 8 * k;
      const first = this.substream(node, ssid);
      if (this.stale.add(L1CD_ENTRY, this.span(n), first, memory.words[at + 1]!, lo, pa, 0, 0, 0)) this.changed = true;
    }
  }

  private isCovered(node: number, ssid: number): boolean {
    const sid = this.contexts.get(this.store.owner(node), F.sid) >>> 0;
    return this.covered.some((range) => range.sid === sid && ssid >= range.from && ssid < range.to);
  }
}

function shapeOf(ste: Ste): number {
  return USED | (ste.kind === SteKind.nested ? NESTED : 0) | (ste.contextLog2 << 8) | (ste.contextSplit << 16);
}
