/**
 * The caches of an SMMU, owned by the adversary. What is valid and reachable now may always be cached and needs no
 * state. What is kept here is the rest: things that were reachable, changed, and were not yet invalidated to the end.
 *
 * A write to a reachable structure adds stale entries; a command marks those it covers; the SYNC after it removes them.
 * An entry that leaves takes with it what only it still led to. If the command covered only a part of what lay below,
 * the other part becomes stale in its own right: that is why a table entry remembers the range that was covered.
 *
 * Invalidation is judged strictly: what a configuration still cached leads to can be cached anew until the SYNC, so a
 * TLB invalidation in the same batch as the configuration's does not count for it.
 */

import type { SmmuFeatures } from '../description.ts';
import type { PhysicalMemory, WriteObserver } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { levelShift } from '../table-walk.ts';
import { joinSigned } from '../word64.ts';
import { ALL_SIDS, ConfigReach } from './config-reach.ts';
import { ContextReach } from './context-reach.ts';
import { NodeField, NodeKind, NodeStore, ONLY_LAST_LEVEL } from './node-store.ts';
import { Remainder, SPARES_GLOBALS, sparedBy } from './remainder.ts';
import { COMBINED, Field, GLOBAL, Kind, PENDING, StaleSet } from './stale-set.ts';
import { StreamTable } from './stream-table.ts';
import { TableReach } from './table-reach.ts';
import { TranslationCache } from './translation-cache.ts';

/** Which TLB entries a command invalidates. */
export interface TlbScope {
  /** Stages: bit 0 stage 1, bit 1 stage 2. */
  readonly stages: number;
  /** VMID and ASID; -1 for any. */
  readonly vmid: number;
  readonly asid: number;
  /** Global entries are left alone (by ASID alone). */
  readonly sparesGlobal: boolean;
  /** Input pages [from, to) of 4 KiB; the whole space when `whole`. */
  readonly whole: boolean;
  readonly from: number;
  readonly to: number;
  /** Table entries are left alone. */
  readonly leafOnly: boolean;
  /** Only leaves of this level (and, unless leafOnly, tables above); 0 for every level. */
  readonly ttl: number;
}

/** Which cached configuration a command invalidates: StreamIDs [from, to), and what kinds. */
export interface ConfigScope {
  readonly from: number;
  readonly to: number;
  /** STEs (and the CDs fetched through them); else CDs alone. */
  readonly stes: boolean;
  readonly level1: boolean;
  /** SubstreamID of the CD; -1 for all of the stream. */
  readonly ssid: number;
  /** Also what an earlier stream table led to. */
  readonly everything: boolean;
}

export class Caches implements WriteObserver {
  readonly stale: StaleSet;
  readonly store: NodeStore;
  readonly tables: TableReach;
  readonly config: ConfigReach;
  readonly contexts: ContextReach;
  /** What the hardware of `translateCached` holds. */
  readonly translations: TranslationCache;
  private readonly memory: PhysicalMemory;
  private readonly scratchTable = new StreamTable();
  private readonly rest = new Remainder();

  constructor(memory: PhysicalMemory, smmu: SmmuFeatures) {
    this.memory = memory;
    this.stale = new StaleSet(memory);
    this.translations = new TranslationCache(memory);
    this.store = new NodeStore(memory, this);
    this.tables = new TableReach(memory, this.store, this.stale);
    this.contexts = new ContextReach(memory, smmu, this.store, this.stale, this.tables);
    this.config = new ConfigReach(memory, smmu, this.store, this.stale, this.tables, this.contexts);
  }

  /** Hardware itself writes: its caches follow its own updates of flags. */
  updating = false;

  /** A word of a watched page changed. */
  wrote(pa: number, slot: number, oldHi: number, oldLo: number, newHi: number, newLo: number): void {
    if (this.updating) return;
    const head = this.store.heads.get(slot, 0);
    // Most writes stop here: nothing reachable on the page any more, or a first mapping, which removes nothing.
    if (head === 0) return;
    if ((head & ONLY_LAST_LEVEL) !== 0 && (oldLo & 1) === 0) {
      // Under a nested stream it may be what a stage-1 table is behind.
      if (this.contexts.active) this.searchAgain();
      return;
    }
    const { memory, store } = this;
    const word = (pa & 4095) >>> 3;
    let next = 0;
    for (let node = head >>> 1; node !== 0; node = next) {
      const at = store.at(node);
      next = memory.words[at + NodeField.next]!;
      const range = memory.words[at + NodeField.range]!;
      const k = word - (range & 0xffff);
      if (k < 0 || k >= range >>> 16) continue;
      switch (memory.words[at + NodeField.what]! & 15) {
        case NodeKind.table:
          this.tables.wrote(node, k, pa, oldHi, oldLo, newHi, newLo);
          break;
        case NodeKind.cd:
          this.config.wroteCd(node, k, pa, oldHi, oldLo);
          break;
        case NodeKind.ste:
          this.config.wroteSte(node, k, pa, oldHi, oldLo);
          break;
        case NodeKind.contexts:
          this.contexts.wroteContext(node, k, pa, oldHi, oldLo);
          break;
        case NodeKind.contextTable:
          this.contexts.wroteContextTable(node, k, pa, oldHi, oldLo);
          break;
        default:
          this.config.wroteL1(node, k, pa, oldHi, oldLo, newHi, newLo);
          break;
      }
    }
    if (this.contexts.active) this.searchAgain();
  }

  private searchAgain(): void {
    this.contexts.touch();
    this.contexts.settle();
  }

  /** The SMMU was enabled with this stream table. */
  enable(table: StreamTable): void {
    this.config.acquireStreamTable(table);
    this.contexts.settle();
  }

  /** The SMMU was disabled. */
  disable(table: StreamTable): void {
    this.translations.clear();
    this.config.releaseStreamTable(table);
    this.contexts.settle();
  }

  // ---- invalidation

  /** A TLB invalidation was consumed: what it covers goes with the next SYNC. */
  invalidateTlb(scope: TlbScope): void {
    const { stale } = this;
    this.translations.invalidate(scope);
    const n = stale.size;
    const combined = this.contexts.active && (scope.stages & 1) !== 0 && scope.whole && scope.asid < 0;
    for (let i = 0; i < n; i++) {
      const at = stale.entry(i);
      const words = this.memory.words;
      const what = words[at]!;
      const kind = what & 15;
      if (kind > Kind.tag) continue;
      const tag = words[at + Field.tag]!;
      if ((what & COMBINED) !== 0) {
        if (combined && vmidMatches(tag, scope)) stale.markPending(i);
        continue;
      }
      if (tagMatches(what, tag, scope)) this.cover(i, at, what, scope);
      if (combined && ((what >>> 8) & 3) === 2 && vmidMatches(tag, scope)) this.coverCombined(i);
    }
  }

  /**
   * Stage-1 entries of the VMID were invalidated. What they hold of a stage-2 entry is gone with them, if that entry's
   * own invalidation came before; otherwise it can be combined anew.
   */
  private coverCombined(i: number): void {
    if (this.stale.pending(i)) this.stale.put(i, Field.combinedGone, 1);
  }

  private cover(i: number, at: number, what: number, scope: TlbScope): void {
    const kind = what & 15;
    if (kind === Kind.leaf) this.coverLeaves(i, at, what, scope);
    else if (kind === Kind.table) this.coverTable(i, scope);
    else if (scope.whole) this.coverTag(i, scope);
  }

  /** @param at index of the words of entry `i`, of which `what` is the first */
  private coverLeaves(i: number, at: number, what: number, scope: TlbScope): void {
    const { stale } = this;
    const level = (what >>> 5) & 7;
    if ((what & PENDING) !== 0 || (scope.ttl !== 0 && scope.ttl !== level)) return;
    const words = this.memory.words;
    const pages = POW2[levelShift((what >>> 12) & 31, level) - 12]!;
    const first = joinSigned(words[at + Field.addressHi]!, words[at + Field.addressLo]!);
    const count = words[at + Field.count]!;
    if (scope.whole || (scope.from <= first && scope.to >= first + count * pages)) stale.markPending(i);
    else this.coverPartOfRun(i, first, pages, count, scope);
  }

  private coverPartOfRun(i: number, first: number, pages: number, count: number, scope: TlbScope): void {
    // Any address inside a block invalidates the whole block.
    const from = Math.max(0, Math.floor((scope.from - first) / pages));
    const to = Math.min(count, Math.ceil((scope.to - first) / pages));
    if (from < to) this.stale.coverRun(i, from, to);
  }

  private coverTable(i: number, scope: TlbScope): void {
    const { stale } = this;
    if (scope.leafOnly || (scope.ttl !== 0 && stale.level(i) >= scope.ttl)) return;
    const size = stale.pagesPer(i);
    const first = stale.page(i);
    const from = scope.whole ? 0 : Math.max(0, scope.from - first);
    const to = scope.whole ? size : Math.min(size, scope.to - first);
    if (from < to) this.coverPart(i, from, to, sparedBy(scope));
  }

  /**
   * Joins [from, to), without what is spared in it, to the part of entry `i` that is covered. One range is remembered:
   * where two cannot be joined into one, the larger counts.
   */
  private coverPart(i: number, from: number, to: number, spared: number): void {
    const { stale } = this;
    if (!stale.pending(i)) {
      stale.markPending(i);
      this.setCovered(i, from, to, spared);
      return;
    }
    const low = stale.get(i, Field.coveredFrom);
    const high = stale.get(i, Field.coveredTo);
    const sparedBefore = stale.get(i, Field.spared);
    if (low === from && high === to) stale.put(i, Field.spared, sparedBefore & spared);
    else if (low <= from && to <= high && (sparedBefore & ~spared) === 0) return;
    else if (from <= low && high <= to) this.setCovered(i, from, to, spared);
    else if (from <= high && low <= to && !(low <= from && to <= high)) {
      this.setCovered(i, Math.min(low, from), Math.max(high, to), sparedBefore | spared);
    } else if (to - from > high - low) this.setCovered(i, from, to, spared);
  }

  private setCovered(i: number, from: number, to: number, spared: number): void {
    const { stale } = this;
    stale.put(i, Field.coveredFrom, from);
    stale.put(i, Field.coveredTo, to);
    stale.put(i, Field.spared, spared);
  }

  /** `coveredTo` of a tag entry: 1 when global leaves were spared, 2 when nothing was. */
  private coverTag(i: number, scope: TlbScope): void {
    const { stale } = this;
    stale.markPending(i);
    const spared = scope.asid >= 0 && scope.sparesGlobal ? 1 : 2;
    stale.put(i, Field.coveredTo, Math.max(spared, stale.get(i, Field.coveredTo)));
  }

  /** A configuration invalidation was consumed. */
  invalidateConfig(scope: ConfigScope): void {
    const { stale } = this;
    this.translations.clear();
    const n = stale.size;
    for (let i = 0; i < n; i++) {
      const kind = stale.kind(i);
      const sid = stale.get(i, Field.addressLo) >>> 0;
      if (kind === Kind.ste || kind === Kind.cd) {
        if (kind === Kind.cd ? scope.ssid >= 0 && stale.get(i, Field.addressHi) !== scope.ssid : !scope.stes) continue;
        if (sid >= scope.from && sid < scope.to) stale.markPending(i);
      } else if (kind === Kind.l1cd) {
        if (sid >= scope.from && sid < scope.to) this.coverContextTable(i, scope);
      } else if (kind === Kind.l1std) {
        const span = stale.get(i, Field.tag);
        const from = Math.max(0, scope.from - sid);
        const to = Math.min(span, scope.to - sid);
        if (scope.level1 && from < to) this.coverPart(i, from, to, 0);
      } else if (kind === Kind.strtab && scope.everything) {
        stale.markPending(i);
      }
    }
  }

  private coverContextTable(i: number, scope: ConfigScope): void {
    const span = this.stale.get(i, Field.tag);
    const at = scope.ssid - this.stale.get(i, Field.addressHi);
    if (scope.ssid < 0) this.coverPart(i, 0, span, 0);
    else if (scope.level1 && at >= 0 && at < span) this.coverPart(i, at, at + 1, 0);
  }

  /** A SYNC completed: what was invalidated before it is gone, with all that only it led to. */
  sync(): void {
    const { stale } = this;
    if (stale.waiting === 0) return;
    const n = stale.size;
    // A leaf leads nowhere: when only leaves wait, there is nothing to let go of but them.
    if (!this.onlyLeavesWait(n)) this.letGo(n);
    const { active } = this.contexts;
    if (active) this.keepCombined(n);
    stale.removeWaiting();
    if (active) this.searchAgain();
  }

  /** Stage-2 leaves that were invalidated alone stay inside the stage-1 entries of their VMID. */
  private keepCombined(n: number): void {
    const { stale } = this;
    for (let i = 0; i < n; i++) {
      const what = stale.get(i, Field.what);
      if ((what & 15) !== Kind.leaf || (what & PENDING) === 0 || (what & COMBINED) !== 0) continue;
      if (((what >>> 8) & 3) === 2 && this.staysCombined(i)) stale.put(i, Field.what, (what & ~PENDING) | COMBINED);
    }
  }

  private staysCombined(i: number): boolean {
    const { stale } = this;
    return stale.get(i, Field.combinedGone) === 0 && this.contexts.nests(stale.get(i, Field.tag) >>> 16);
  }

  private letGo(n: number): void {
    const { stale } = this;
    this.condemn(n);
    for (let i = 0; i < n; i++) if (stale.pending(i) && stale.kind(i) !== Kind.tag) this.drop(i);
    // Roots last: the tables of a root are let go under the root's name.
    for (let i = 0; i < n; i++) {
      if (!stale.pending(i) || stale.kind(i) !== Kind.tag) continue;
      this.tables.dropTag(stale.get(i, Field.root), stale.get(i, Field.coveredTo) === 1);
    }
  }

  private onlyLeavesWait(n: number): boolean {
    for (let i = 0; i < n; i++) {
      const what = this.memory.words[this.stale.entry(i)]!;
      if ((what & PENDING) !== 0 && (what & 15) !== Kind.leaf) return false;
    }
    return true;
  }

  /**
   * Entries of a root that is going for good. One that appeared after the invalidation can only be in use by a walk
   * that had begun, and the SYNC ends those.
   */
  private condemn(n: number): void {
    const { stale } = this;
    for (let i = 0; i < n; i++) {
      if (stale.kind(i) !== Kind.tag || !stale.pending(i)) continue;
      const root = stale.get(i, Field.root);
      if (!this.tables.unkept(root, this.pendingTags(root, n))) continue;
      const globalsStay = stale.get(i, Field.coveredTo) === 1;
      for (let k = 0; k < n; k++) {
        const kind = stale.kind(k);
        if ((kind !== Kind.leaf && kind !== Kind.table) || stale.get(k, Field.root) !== root) continue;
        if (stale.combined(k)) continue;
        if (stale.pending(k) || (globalsStay && stale.global(k))) continue;
        if (stale.stage(k) === 2) stale.put(k, Field.combinedGone, 1);
        if (kind === Kind.table) {
          this.coverPart(k, 0, stale.pagesPer(k), globalsStay ? SPARES_GLOBALS : 0);
        } else stale.markPending(k);
      }
    }
  }

  private pendingTags(root: number, n: number): number {
    const { stale } = this;
    let count = 0;
    for (let i = 0; i < n; i++) {
      if (stale.kind(i) === Kind.tag && stale.pending(i) && stale.get(i, Field.root) === root) count++;
    }
    return count;
  }

  /** Lets go of what a table descriptor led to, but for what its invalidation did not cover. */
  private dropTable(i: number, hi: number, lo: number): void {
    const { stale } = this;
    const first = stale.page(i);
    const from = stale.get(i, Field.coveredFrom);
    const to = stale.get(i, Field.coveredTo);
    const whole = from === 0 && to === stale.pagesPer(i);
    const { rest } = this;
    rest.from = whole ? -Infinity : first + from;
    rest.to = whole ? Infinity : first + to;
    rest.spared = stale.get(i, Field.spared);
    rest.combined = stale.stage(i) === 2 && this.contexts.active && this.staysCombined(i);
    this.tables.unrefChild(stale.get(i, Field.root), stale.level(i), first, hi, lo, stale.limits(i), rest);
  }

  /** Lets go of what entry `i` led to. */
  private drop(i: number): void {
    const { stale } = this;
    const hi = stale.get(i, Field.oldHi);
    const lo = stale.get(i, Field.oldLo);
    switch (stale.kind(i)) {
      case Kind.table:
        this.dropTable(i, hi, lo);
        break;
      case Kind.cd:
        this.config.releaseRoot(stale.get(i, Field.heldA));
        this.config.releaseRoot(stale.get(i, Field.heldB));
        break;
      case Kind.ste:
        this.config.releaseTarget(stale.get(i, Field.heldA));
        break;
      case Kind.l1std: {
        const sid = stale.get(i, Field.addressLo) >>> 0;
        const from = stale.get(i, Field.coveredFrom);
        const to = stale.get(i, Field.coveredTo);
        const whole = to - from >= stale.get(i, Field.tag);
        const covered = whole ? ALL_SIDS : { from: sid + from, to: sid + to };
        this.config.dropL1Child(stale.get(i, Field.root), sid, hi, lo, covered);
        break;
      }
      case Kind.l1cd: {
        const sid = stale.get(i, Field.addressLo) >>> 0;
        const first = stale.get(i, Field.addressHi);
        const from = first + stale.get(i, Field.coveredFrom);
        this.contexts.dropContextTable({ sid, from, to: first + stale.get(i, Field.coveredTo) });
        break;
      }
      case Kind.strtab:
        this.config.dropStreamTable(stale.get(i, Field.root), this.scratchTable);
        break;
      default:
        break;
    }
  }
}

function vmidMatches(tag: number, scope: TlbScope): boolean {
  return scope.vmid < 0 || tag >>> 16 === scope.vmid;
}

/** Whether a TLB entry, by the words of its record, has a tag that the command names. */
function tagMatches(what: number, tag: number, scope: TlbScope): boolean {
  const stage = (what >>> 8) & 3;
  if ((scope.stages & stage) === 0) return false;
  if (scope.vmid >= 0 && tag >>> 16 !== scope.vmid) return false;
  if (stage === 2 || scope.asid < 0) return true;
  if ((what & GLOBAL) !== 0) return !scope.sparesGlobal;
  return (tag & 0xffff) === scope.asid;
}
