/**
 * Configuration structures that the SMMU can reach: stream tables, their level-1 descriptors and STEs, CDs. A node of a
 * stream table belongs to the table that was enabled; a CD node belongs to one StreamID, because CDs are cached per
 * stream even where several share the memory. What an STE leads to is its target: a CD, or a stage-2 root.
 *
 * Hardware may read an STE or CD with some words old and some new, until an invalidation has completed. What such a
 * mix leads to is in reach too. Tables of CDs, and all that nested streams reach, are {@link ContextReach}'s.
 */

import type { SmmuFeatures } from '../description.ts';
import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { RecordFile } from '../record-file.ts';
import { hiOf, join, loOf } from '../word64.ts';
import { CD_SIZE, Cd, decodeCd } from './cd.ts';
import { hasContextTable } from './context-fetch.ts';
import type { ContextReach } from './context-reach.ts';
import { mixes, mixOptions, readMix } from './mixes.ts';
import { NodeKind, type NodeStore } from './node-store.ts';
import { Field, Kind, type StaleSet, what } from './stale-set.ts';
import { decodeSte, STE_SIZE, Ste, SteKind } from './ste.ts';
import { l1Entries, l2Address, type StreamTable } from './stream-table.ts';
import type { TableReach } from './table-reach.ts';

/** Words of a stream-table root. */
const F = { shape: 0, baseLo: 1, baseHi: 2, refs: 3, kept: 4 } as const;

/** Shape of a stream-table number that is not in use, below others that are. */
const GONE = -1;

const STE_WORDS = STE_SIZE / 8;
const CD_WORDS = CD_SIZE / 8;
/** 64-bit words of an STE and of a CD that decide where they lead: the others are not interpreted here. */
const STE_WORDS_USED = 4;
const CD_WORDS_USED = 3;
const STE_V = 1;
/** STE.Config: from here on it leads to a translation, if V is set. */
const CONFIG_STAGE1 = 5;

/** A target: 0 for none, else the number of a CD node, of a root or of a context, above two bits telling which. */
const TARGET_SHIFT = 2;
const IS_ROOT = 1;
const IS_CONTEXT = 2;

/** StreamIDs [from, to) that an invalidation covered; the others under a dropped descriptor stay stale. */
export interface SidRange {
  readonly from: number;
  readonly to: number;
}

export const ALL_SIDS: SidRange = { from: 0, to: 2 ** 32 };

export class ConfigReach {
  private readonly memory: PhysicalMemory;
  private readonly smmu: SmmuFeatures;
  private readonly store: NodeStore;
  private readonly stale: StaleSet;
  private readonly tables: TableReach;
  private readonly contexts: ContextReach;
  private readonly streamTables: RecordFile;
  private readonly ste = new Ste();
  private readonly cd = new Cd();

  constructor(
    memory: PhysicalMemory,
    smmu: SmmuFeatures,
    store: NodeStore,
    stale: StaleSet,
    tables: TableReach,
    contexts: ContextReach,
  ) {
    this.memory = memory;
    this.smmu = smmu;
    this.store = store;
    this.stale = stale;
    this.tables = tables;
    this.contexts = contexts;
    this.streamTables = new RecordFile(memory, 8, StateClass.derived, 16);
  }

  // ---- stream tables

  /** The SMMU was enabled with this table. */
  acquireStreamTable(table: StreamTable): void {
    const roots = this.streamTables;
    const shape = packed(table);
    let n = 1;
    for (; roots.get(n, F.shape) !== 0; n++) if (this.isTable(n, table, shape)) break;
    const known = roots.get(n, F.shape) !== 0;
    roots.put(n, F.refs, roots.get(n, F.refs) + 1);
    if (known) return;
    roots.put(n, F.shape, shape);
    roots.put(n, F.baseLo, loOf(table.base));
    roots.put(n, F.baseHi, hiOf(table.base));
    if (table.twoLevel)
      this.eachPart(table.base, l1Entries(table), 1, (at, first, count) => this.refL1(n, first, at, count));
    else this.refStes(n, 0, table.base, 2 ** table.log2Size);
  }

  /** The SMMU was disabled: the table stays as a stale `strtab` entry. */
  releaseStreamTable(table: StreamTable): void {
    const roots = this.streamTables;
    const shape = packed(table);
    for (let n = 1; roots.get(n, F.shape) !== 0; n++) {
      if (!this.isTable(n, table, shape)) continue;
      roots.put(n, F.refs, roots.get(n, F.refs) - 1);
      const config = what(Kind.strtab, 0, 0, false, 0);
      if (this.stale.add(config, 0, 0, 0, 0, table.base, n, 0, 0)) roots.put(n, F.kept, roots.get(n, F.kept) + 1);
    }
  }

  /** Reads stream-table root `n` back into `table`. */
  streamTable(n: number, table: StreamTable): void {
    const shape = this.streamTables.get(n, F.shape);
    table.log2Size = shape & 0x3f;
    table.twoLevel = (shape & 0x100) !== 0;
    table.split = (shape >>> 16) & 0xff;
    table.base = join(this.streamTables.get(n, F.baseHi), this.streamTables.get(n, F.baseLo));
  }

  /** A stale `strtab` entry is gone. */
  dropStreamTable(n: number, scratch: StreamTable): void {
    const roots = this.streamTables;
    const kept = roots.get(n, F.kept) - 1;
    roots.put(n, F.kept, kept);
    if (kept !== 0 || roots.get(n, F.refs) !== 0) return;
    this.streamTable(n, scratch);
    if (scratch.twoLevel) this.eachPart(scratch.base, l1Entries(scratch), 1, (at, first) => this.unrefL1(n, first, at));
    else this.unrefStes(n, 0, scratch.base, 2 ** scratch.log2Size, ALL_SIDS);
    roots.clear(n);
    // Nodes know a table by its number, so later ones stay where they are: a table that no other equals fills the gap.
    if (roots.get(n + 1, F.shape) !== 0) roots.put(n, F.shape, GONE);
  }

  private isTable(n: number, table: StreamTable, shape: number): boolean {
    const roots = this.streamTables;
    return (
      roots.get(n, F.shape) === shape &&
      roots.get(n, F.baseLo) === loOf(table.base) &&
      roots.get(n, F.baseHi) === hiOf(table.base)
    );
  }

  // ---- level-1 descriptors

  private refL1(n: number, first: number, at: number, count: number): void {
    const node = this.store.add(NodeKind.l1std, 0, n, first, at, count);
    if (node === 0) return;
    this.eachWord(node, (k, hi, lo) => this.refL1Child(n, first + k, hi, lo));
  }

  private unrefL1(n: number, first: number, at: number): void {
    const node = this.store.find(NodeKind.l1std, 0, n, first, at);
    if (node === 0) return;
    this.eachWord(node, (k, hi, lo) => this.dropL1Child(n, (first + k) * this.step(n), hi, lo, ALL_SIDS));
    this.store.remove(node);
  }

  /** Streams per level-1 descriptor. */
  private step(n: number): number {
    return 1 << ((this.streamTables.get(n, F.shape) >>> 16) & 0xff);
  }

  private spanOf(n: number, lo: number): number {
    const span = lo & 0x1f;
    const split = (this.streamTables.get(n, F.shape) >>> 16) & 0xff;
    return span === 0 || span > 11 || span > split + 1 ? 0 : 1 << (span - 1);
  }

  private refL1Child(n: number, index: number, hi: number, lo: number): void {
    const span = this.spanOf(n, lo);
    if (span !== 0) this.refStes(n, index * this.step(n), l2Address(hi, lo, span), span);
  }

  /** Lets go of what a level-1 descriptor named. STEs outside `covered` may still be cached. */
  dropL1Child(n: number, firstSid: number, hi: number, lo: number, covered: SidRange): void {
    const span = this.spanOf(n, lo);
    if (span !== 0) this.unrefStes(n, firstSid, l2Address(hi, lo, span), span, covered);
  }

  /** A level-1 descriptor was overwritten. */
  wroteL1(node: number, k: number, pa: number, oldHi: number, oldLo: number, newHi: number, newLo: number): void {
    const n = this.store.owner(node);
    const index = this.store.base(node) + k;
    const sid = index * this.step(n);
    this.refL1Child(n, index, newHi, newLo);
    const config = what(Kind.l1std, 0, 0, false, 0);
    if (!this.stale.add(config, this.step(n), sid, oldHi, oldLo, pa, n, 0, 0)) {
      this.dropL1Child(n, sid, oldHi, oldLo, ALL_SIDS);
    }
  }

  // ---- STEs

  private refStes(n: number, firstSid: number, pa: number, count: number): void {
    this.eachPart(pa, count, STE_WORDS, (at, first, stes) => {
      const sid = firstSid + first;
      const found = this.store.find(NodeKind.ste, 0, n, sid, at);
      if (found !== 0) {
        this.store.setRefs(found, this.store.refs(found) + 1);
        return;
      }
      if (this.store.add(NodeKind.ste, 0, n, sid, at, stes * STE_WORDS) === 0) return;
      for (let i = 0; i < stes; i++) this.acquireTarget(sid + i, this.readSte(at + i * STE_SIZE));
    });
  }

  private unrefStes(n: number, firstSid: number, pa: number, count: number, covered: SidRange): void {
    this.eachPart(pa, count, STE_WORDS, (at, first, stes) => {
      const base = firstSid + first;
      const node = this.store.find(NodeKind.ste, 0, n, base, at);
      if (node === 0) return;
      const refs = this.store.refs(node) - 1;
      this.store.setRefs(node, refs);
      if (refs !== 0) return;
      for (let i = 0; i < stes; i++) {
        const sid = base + i;
        const ste = this.readSte(at + i * STE_SIZE);
        const target = this.findTarget(sid, ste);
        const stays = (ste.words[0]! & STE_V) !== 0 && (sid < covered.from || sid >= covered.to);
        if (stays) this.staleSte(sid, at + i * STE_SIZE, target);
        else this.releaseTarget(target);
      }
      this.store.remove(node);
    });
  }

  /** Every word of an STE that is out of reach may still be cached. The first entry takes over the target. */
  private staleSte(sid: number, at: number, target: number): void {
    const from = this.memory.indexOf(at);
    for (let word = 0; word < STE_WORDS_USED; word++) {
      const lo = this.memory.words[from + 2 * word]!;
      const hi = this.memory.words[from + 2 * word + 1]!;
      const held = word === 0 ? target : 0;
      const added = this.stale.add(STE_ENTRY, 0, sid, hi, lo, at + 8 * word, 0, held, 0);
      if (!added) this.releaseTarget(held);
    }
  }

  private readSte(pa: number): Ste {
    const from = this.memory.indexOf(pa);
    for (let i = 0; i < 16; i++) this.ste.words[i] = this.memory.words[from + i]!;
    decodeSte(this.ste, this.smmu);
    return this.ste;
  }

  /** A 64-bit word of an STE was overwritten. */
  wroteSte(node: number, k: number, pa: number, oldHi: number, oldLo: number): void {
    const word = k % STE_WORDS;
    if (word >= STE_WORDS_USED) return;
    const sid = this.store.base(node) + (k - word) / STE_WORDS;
    const at = pa - 8 * word;
    if (!this.mayLead(sid, at, word === 0 ? oldLo : 0)) {
      this.stale.add(STE_ENTRY, 0, sid, oldHi, oldLo, pa, 0, 0, 0);
      return;
    }
    const now = this.acquireTarget(sid, this.readSte(at));
    this.readSte(at);
    this.ste.words[2 * word] = oldLo;
    this.ste.words[2 * word + 1] = oldHi;
    decodeSte(this.ste, this.smmu);
    const before = this.findTarget(sid, this.ste);
    const held = before === now ? 0 : before;
    if (before === now) this.releaseTarget(now);
    if (!this.stale.add(STE_ENTRY, 0, sid, oldHi, oldLo, pa, 0, held, 0)) this.releaseTarget(held);
    this.keepSteMixes(sid, at, pa, oldHi, oldLo, now);
  }

  /** Whether the STE leads anywhere with any first word that it has, had before (`oldLo`), or may be cached with. */
  private mayLead(sid: number, at: number, oldLo: number): boolean {
    if (leads(oldLo) || leads(this.memory.read32(at))) return true;
    const { stale } = this;
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.ste || stale.get(i, Field.addressLo) >>> 0 !== sid) continue;
      if (leads(stale.get(i, Field.oldLo)) && stale.at(i) === at) return true;
    }
    return false;
  }

  /** Keeps in reach what each mix of old and new words leads to, by one more entry for the word just written. */
  private keepSteMixes(sid: number, at: number, pa: number, oldHi: number, oldLo: number, now: number): void {
    const options = mixOptions(this.stale, Kind.ste, sid, at, true);
    // The whole entry as it is, or as it was before this write, is in reach already.
    if (options.reduce((total, word) => total * word.length, 1) <= 2) return;
    for (const mix of mixes(options)) {
      readMix(this.memory, this.stale, at, mix, this.ste.words);
      decodeSte(this.ste, this.smmu);
      const target = this.acquireTarget(sid, this.ste);
      const known = target === now || !this.stale.add(STE_ENTRY, 0, sid, oldHi, oldLo, pa, 0, target, 0);
      if (known) this.releaseTarget(target);
    }
  }

  private findTarget(sid: number, ste: Ste): number {
    if (ste.kind === SteKind.stage2) return asTarget(this.tables.find(ste.stage2, ste.vmid, 0, false), IS_ROOT);
    if (hasContextTable(ste)) return asTarget(this.contexts.find(sid, ste), IS_CONTEXT);
    if (ste.kind !== SteKind.stage1) return 0;
    return asTarget(this.store.find(NodeKind.cd, 0, ste.vmid, sid, ste.contextPointer), 0);
  }

  private acquireTarget(sid: number, ste: Ste): number {
    if (ste.kind === SteKind.stage2) return asTarget(this.tables.acquire(ste.stage2, ste.vmid, 0, false), IS_ROOT);
    if (hasContextTable(ste)) return asTarget(this.contexts.acquire(sid, ste), IS_CONTEXT);
    if (ste.kind !== SteKind.stage1) return 0;
    const { vmid, contextPointer } = ste;
    const found = this.store.find(NodeKind.cd, 0, vmid, sid, contextPointer);
    if (found !== 0) {
      this.store.setRefs(found, this.store.refs(found) + 1);
      return asTarget(found, 0);
    }
    const node = this.store.add(NodeKind.cd, 0, vmid, sid, contextPointer, CD_WORDS);
    if (node !== 0) this.acquireRoots(this.readCd(contextPointer), vmid);
    return asTarget(node, 0);
  }

  /** Drops a reference to a target. */
  releaseTarget(target: number): void {
    if (target === 0) return;
    const node = target >>> TARGET_SHIFT;
    if ((target & IS_ROOT) !== 0) {
      this.tables.release(node);
      return;
    }
    if ((target & IS_CONTEXT) !== 0) {
      this.contexts.release(node);
      return;
    }
    const refs = this.store.refs(node) - 1;
    this.store.setRefs(node, refs);
    if (refs !== 0) return;
    const vmid = this.store.owner(node);
    const cd = this.readCd(this.store.address(node));
    const lower = this.lowerRoot(cd, vmid);
    const upper = this.upperRoot(cd, vmid);
    this.store.remove(node);
    this.releaseRoot(lower);
    this.releaseRoot(upper);
  }

  // ---- CDs

  private readCd(pa: number): Cd {
    const from = this.memory.indexOf(pa);
    for (let i = 0; i < 16; i++) this.cd.words[i] = this.memory.words[from + i]!;
    decodeCd(this.cd, this.smmu);
    return this.cd;
  }

  /** Root of each half that a CD names now; 0 for none. */
  private lowerRoot(cd: Cd, vmid: number): number {
    return cd.illegal === '' && cd.walks0 ? this.tables.find(cd.half0, vmid, cd.asid, false) : 0;
  }

  private upperRoot(cd: Cd, vmid: number): number {
    return cd.illegal === '' && cd.walks1 ? this.tables.find(cd.half1, vmid, cd.asid, true) : 0;
  }

  private acquireRoots(cd: Cd, vmid: number): void {
    if (cd.illegal !== '') return;
    if (cd.walks0) this.tables.acquire(cd.half0, vmid, cd.asid, false);
    if (cd.walks1) this.tables.acquire(cd.half1, vmid, cd.asid, true);
  }

  /** Drops a reference to a root; 0 is none. */
  releaseRoot(root: number): void {
    if (root !== 0) this.tables.release(root);
  }

  /** A 64-bit word of a CD was overwritten. */
  wroteCd(node: number, k: number, pa: number, oldHi: number, oldLo: number): void {
    if (k >= CD_WORDS_USED) return;
    const vmid = this.store.owner(node);
    const sid = this.store.base(node);
    const cd = this.readCd(pa - 8 * k);
    this.acquireRoots(cd, vmid);
    const lowerNow = this.lowerRoot(cd, vmid);
    const upperNow = this.upperRoot(cd, vmid);
    cd.words[2 * k] = oldLo;
    cd.words[2 * k + 1] = oldHi;
    decodeCd(cd, this.smmu);
    let lower = this.lowerRoot(cd, vmid);
    let upper = this.upperRoot(cd, vmid);
    if (lower === lowerNow) {
      this.releaseRoot(lower);
      lower = 0;
    }
    if (upper === upperNow) {
      this.releaseRoot(upper);
      upper = 0;
    }
    if (!this.stale.add(CD_ENTRY, 0, sid, oldHi, oldLo, pa, 0, lower, upper)) {
      this.releaseRoot(lower);
      this.releaseRoot(upper);
    }
    this.keepCdMixes(sid, vmid, pa - 8 * k, pa, oldHi, oldLo);
  }

  /** As {@link keepSteMixes}, for a CD. */
  private keepCdMixes(sid: number, vmid: number, at: number, pa: number, oldHi: number, oldLo: number): void {
    const options = mixOptions(this.stale, Kind.cd, sid, at, true);
    if (options.reduce((total, word) => total * word.length, 1) <= 2) return;
    for (const mix of mixes(options)) {
      const { cd } = this;
      readMix(this.memory, this.stale, at, mix, cd.words);
      decodeCd(cd, this.smmu);
      this.acquireRoots(cd, vmid);
      const lower = this.lowerRoot(cd, vmid);
      const upper = this.upperRoot(cd, vmid);
      if (lower + upper !== 0 && this.stale.add(CD_ENTRY, 0, sid, oldHi, oldLo, pa, 0, lower, upper)) continue;
      this.releaseRoot(lower);
      this.releaseRoot(upper);
    }
  }

  // ---- pages

  /** Cuts `count` entries of `words` 64-bit words at `pa` into the pieces that lie on one page each. */
  private eachPart(
    pa: number,
    count: number,
    words: number,
    visit: (at: number, first: number, count: number) => void,
  ): void {
    const size = 8 * words;
    for (let first = 0; first < count; ) {
      const at = pa + first * size;
      const here = Math.min(count - first, (4096 - (at % 4096)) / size);
      visit(at, first, here);
      first += here;
    }
  }

  private eachWord(node: number, visit: (k: number, hi: number, lo: number) => void): void {
    const count = this.store.wordCount(node);
    for (let k = 0; k < count; k++) {
      const at = this.store.wordsAt(node) + 2 * k;
      visit(k, this.memory.words[at + 1]!, this.memory.words[at]!);
    }
  }
}

const STE_ENTRY = what(Kind.ste, 0, 0, false, 0);
const CD_ENTRY = what(Kind.cd, 0, 0, false, 0);

/** Whether an STE with this first word may lead somewhere. */
function leads(lo: number): boolean {
  return (lo & STE_V) !== 0 && ((lo >>> 1) & 7) >= CONFIG_STAGE1;
}

function asTarget(number: number, which: number): number {
  return number === 0 ? 0 : (number << TARGET_SHIFT) | which;
}

function packed(table: StreamTable): number {
  return table.log2Size | (table.twoLevel ? 0x100 : 0) | (table.split << 16) | (1 << 30);
}
