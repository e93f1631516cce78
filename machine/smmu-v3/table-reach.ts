/**
 * Translation tables that the SMMU can reach. A root is a start table under a TLB tag (stage, VMID, ASID); its tables
 * are nodes, referenced by the descriptor that names them and by stale entries that still lead there. A root that no
 * STE or CD names any more stays as a stale `tag` entry: the TLB may still hold its leaves and its table pointers,
 * until an invalidation of the whole tag and its SYNC.
 */

import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { RecordFile } from '../record-file.ts';
import { classify, Descriptor, descriptorAddress, levelShift, type Regime, startTableSize } from '../table-walk.ts';
import { hiOf, joinSigned, loOf } from '../word64.ts';
import { NodeField, NodeKind, type NodeStore } from './node-store.ts';
import { COMBINED, Kind, NESTED, type StaleSet, WIDE, what } from './stale-set.ts';

/** Words of a root. */
const F = {
  stage: 0,
  tag: 1,
  baseLo: 2,
  baseHi: 3,
  /** inputBits[7:0] startLevel[11:8] granule[19:12] outputBits[31:24] */
  shape: 4,
  refs: 5,
  /** Stale `tag` entries that keep it. */
  kept: 6,
  flags: 7,
  /** Input page at which the range starts. */
  startLo: 8,
  startHi: 9,
} as const;

/** Bits of a root's flags. */
const NO_ACCESS_FLAG = 1;
const FLAT = 2;
const IN_IPA = 4;
const WIDE_ADDRESSES = 8;
const SETS_ACCESS_FLAG = 16;
const SETS_DIRTY = 32;

const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;

/** What becomes stale when tables are let go: nothing, what a range of pages does not cover, or global leaves. */
export class Remainder {
  mode: 'nothing' | 'outside' | 'globals' = 'nothing';
  /** Stage-2 leaves that are covered stay in combination with stage 1. */
  combined = false;
  /** Covered input pages [from, to), for `outside`. */
  from = 0;
  to = 0;
}

export const NOTHING = new Remainder();

export class TableReach {
  private readonly memory: PhysicalMemory;
  private readonly store: NodeStore;
  private readonly stale: StaleSet;
  private readonly roots: RecordFile;
  private readonly header: number;

  constructor(memory: PhysicalMemory, store: NodeStore, stale: StaleSet) {
    this.memory = memory;
    this.store = store;
    this.stale = stale;
    this.header = memory.allocFile(1, StateClass.derived);
    this.roots = new RecordFile(memory, 16, StateClass.derived, 64);
  }

  /** Roots are numbered 1 to this; some numbers are free (stage 0). */
  get top(): number {
    return this.memory.words[this.header]!;
  }

  stage(root: number): number {
    return this.roots.get(root, F.stage);
  }

  tag(root: number): number {
    return this.roots.get(root, F.tag);
  }

  granule(root: number): number {
    return (this.roots.get(root, F.shape) >>> 12) & 0xff;
  }

  /** Its tables lie behind a stage 2: what they are in memory is found by {@link ContextReach}. */
  nested(root: number): boolean {
    return (this.roots.get(root, F.flags) & IN_IPA) !== 0;
  }

  private wide(root: number): boolean {
    return (this.roots.get(root, F.flags) & WIDE_ADDRESSES) !== 0;
  }

  base(root: number): number {
    return joinSigned(this.roots.get(root, F.baseHi), this.roots.get(root, F.baseLo));
  }

  /** Input page at which the root's range starts: 0, or negative for the upper half. */
  start(root: number): number {
    return joinSigned(this.roots.get(root, F.startHi), this.roots.get(root, F.startLo));
  }

  /** Fills `regime` so that a walk starts at this root. */
  regime(root: number, regime: Regime): void {
    const shape = this.roots.get(root, F.shape);
    const flags = this.roots.get(root, F.flags);
    regime.stage = this.stage(root) === 1 ? 1 : 2;
    regime.inputBits = shape & 0xff;
    regime.startLevel = (shape >>> 8) & 15;
    regime.granule = (shape >>> 12) & 0xff;
    regime.outputBits = shape >>> 24;
    regime.base = this.base(root);
    regime.ignoreAccessFlag = (flags & NO_ACCESS_FLAG) !== 0;
    regime.flatPermissions = (flags & FLAT) !== 0;
    regime.nested = (flags & IN_IPA) !== 0;
    regime.wide = (flags & WIDE_ADDRESSES) !== 0;
    regime.setsAccessFlag = (flags & SETS_ACCESS_FLAG) !== 0;
    regime.setsDirty = (flags & SETS_DIRTY) !== 0;
  }

  /** The root with that identity; 0 when there is none. `upper` tells the upper half of a stage-1 space. */
  find(regime: Regime, vmid: number, asid: number, upper: boolean): number {
    const tag = (vmid << 16) | asid;
    const { shape, flags } = packed(regime);
    for (let root = 1; root <= this.top; root++) {
      if (
        this.roots.get(root, F.stage) === regime.stage &&
        this.roots.get(root, F.tag) === tag &&
        this.roots.get(root, F.shape) === shape &&
        this.roots.get(root, F.flags) === flags &&
        this.roots.get(root, F.startHi) < 0 === upper &&
        this.base(root) === regime.base
      ) {
        return root;
      }
    }
    return 0;
  }

  /** Adds a reference to the root with that identity, making it if need be; 0 when its table is not in RAM. */
  acquire(regime: Regime, vmid: number, asid: number, upper: boolean): number {
    if (!regime.nested && !this.memory.isRam(regime.base)) return 0;
    const found = this.find(regime, vmid, asid, upper);
    if (found !== 0) {
      this.roots.put(found, F.refs, this.roots.get(found, F.refs) + 1);
      return found;
    }
    let root = 1;
    while (root <= this.top && this.stage(root) !== 0) root++;
    if (root > this.top) this.memory.put(this.header, root);
    const { shape, flags } = packed(regime);
    const start = upper ? -POW2[regime.inputBits - 12]! : 0;
    const { roots } = this;
    roots.put(root, F.stage, regime.stage);
    roots.put(root, F.tag, (vmid << 16) | asid);
    roots.put(root, F.baseLo, loOf(regime.base));
    roots.put(root, F.baseHi, hiOf(regime.base));
    roots.put(root, F.shape, shape);
    roots.put(root, F.flags, flags);
    roots.put(root, F.refs, 1);
    roots.put(root, F.startLo, loOf(start));
    roots.put(root, F.startHi, hiOf(start));
    if (!regime.nested) this.refTable(root, regime.startLevel, start, regime.base, startBytes(regime));
    return root;
  }

  /** Drops a reference. The last one leaves a stale `tag` entry. */
  release(root: number): void {
    const refs = this.roots.get(root, F.refs) - 1;
    this.roots.put(root, F.refs, refs);
    if (refs !== 0) return;
    const whatItIs = what(Kind.tag, 0, this.stage(root), false, this.granule(root));
    const added = this.stale.add(whatItIs, this.tag(root), 0, 0, 0, this.base(root), root, 0, 0);
    if (added) this.roots.put(root, F.kept, this.roots.get(root, F.kept) + 1);
  }

  /** Whether nothing but this many stale `tag` entries keeps the root. */
  unkept(root: number, tags: number): boolean {
    return this.roots.get(root, F.refs) === 0 && this.roots.get(root, F.kept) === tags;
  }

  /** A stale `tag` entry of the root is gone. What nothing keeps any more is let go. */
  dropTag(root: number, globalsStay: boolean): void {
    const kept = this.roots.get(root, F.kept) - 1;
    this.roots.put(root, F.kept, kept);
    if (kept !== 0 || this.roots.get(root, F.refs) !== 0) return;
    const rest = new Remainder();
    if (globalsStay) rest.mode = 'globals';
    const shape = this.roots.get(root, F.shape);
    if (this.nested(root)) {
      if (globalsStay) this.leaveBelow(root, -1, this.start(root), POW2[(shape & 0xff) - 12]!, rest);
      this.removeNested(root);
    } else {
      this.unrefTable(root, (shape >>> 8) & 15, this.start(root), this.base(root), this.startBytes(root), rest);
    }
    this.roots.clear(root);
  }

  private removeNested(root: number): void {
    const { store } = this;
    for (let node = 1; node <= store.top; node++) {
      if (store.kind(node) === NodeKind.table && store.owner(node) === root) store.remove(node);
    }
  }

  /** Bytes of the start table. */
  startBytes(root: number): number {
    const shape = this.roots.get(root, F.shape);
    return startTableSize(this.granule(root), (shape >>> 8) & 15, shape & 0xff);
  }

  startLevel(root: number): number {
    return (this.roots.get(root, F.shape) >>> 8) & 15;
  }

  /** Input pages that a descriptor of `level` covers. */
  pagesPer(root: number, level: number): number {
    return POW2[levelShift(this.granule(root), level) - 12]!;
  }

  /** Address of the table that a descriptor of `level` names; -1 when it names none. */
  child(root: number, level: number, hi: number, lo: number): number {
    const granule = this.granule(root);
    const wide = this.wide(root);
    return classify(granule, level, lo, wide) === Descriptor.table ? descriptorAddress(hi, lo, granule, wide) : -1;
  }

  /** What of the nested tables below `level` for `pages` pages from `page` stays cached when they are let go. */
  private leaveBelow(root: number, level: number, page: number, pages: number, rest: Remainder): void {
    const { store, memory } = this;
    const granule = this.granule(root);
    const top = store.top;
    for (let node = 1; node <= top; node++) {
      if (store.kind(node) !== NodeKind.table || store.owner(node) !== root || store.level(node) <= level) continue;
      const base = store.base(node);
      if (base < page || base >= page + pages) continue;
      const at = store.wordsAt(node);
      const step = this.pagesPer(root, store.level(node));
      for (let i = 0; i < store.wordCount(node); i++) {
        const lo = memory.words[at + 2 * i]!;
        const kind = classify(granule, store.level(node), lo, this.wide(root));
        if (kind === Descriptor.invalid) continue;
        const first = base + i * step;
        const outside = rest.mode === 'outside' && (first + step <= rest.from || first >= rest.to);
        if (!outside && (rest.mode !== 'globals' || kind === Descriptor.table || (lo & NOT_GLOBAL) !== 0)) continue;
        const hi = memory.words[at + 2 * i + 1]!;
        const pa = store.address(node) + 8 * i;
        if (kind === Descriptor.table) this.staleTable(root, store.level(node), first, hi, lo, pa);
        else this.staleLeaf(root, store.level(node), first, hi, lo, pa);
      }
    }
  }

  // ---- tables

  /** Adds a reference to the table of `level` at `pa`, which translates input pages from `page`. */
  private refTable(root: number, level: number, page: number, pa: number, bytes: number): void {
    const pages = POW2[levelShift(this.granule(root), level) - 12]!;
    for (let offset = 0; offset < bytes; ) {
      const size = Math.min(bytes - offset, 4096 - ((pa + offset) & 4095));
      this.refPart(root, level, page + (offset / 8) * pages, pa + offset, size / 8);
      offset += size;
    }
  }

  private refPart(root: number, level: number, page: number, pa: number, count: number): void {
    const { store, memory } = this;
    const found = store.find(NodeKind.table, level, root, page, pa);
    if (found !== 0) {
      store.setRefs(found, store.refs(found) + 1);
      return;
    }
    const empty = memory.isRam(pa) && memory.slotOf(pa) === 0;
    const node = store.add(NodeKind.table, level, root, page, pa, count);
    if (node === 0 || empty || level === 3) return;
    const granule = this.granule(root);
    const pages = POW2[levelShift(granule, level) - 12]!;
    const at = store.wordsAt(node);
    for (let i = 0; i < count; i++) {
      const lo = memory.words[at + 2 * i]!;
      if (classify(granule, level, lo, this.wide(root)) === Descriptor.table) {
        this.refChild(root, level, page + i * pages, memory.words[at + 2 * i + 1]!, lo);
      }
    }
  }

  /** Adds a reference to the table that a descriptor of `level` names. */
  refChild(root: number, level: number, page: number, hi: number, lo: number): void {
    if (this.nested(root)) return;
    const granule = this.granule(root);
    this.refTable(root, level + 1, page, descriptorAddress(hi, lo, granule, this.wide(root)), POW2[granule]!);
  }

  /** Drops a reference to the table that a descriptor of `level` names. */
  unrefChild(root: number, level: number, page: number, hi: number, lo: number, rest: Remainder): void {
    const granule = this.granule(root);
    if (this.nested(root)) {
      if (rest.mode !== 'nothing') this.leaveBelow(root, level, page, this.pagesPer(root, level), rest);
      return;
    }
    const table = descriptorAddress(hi, lo, granule, this.wide(root));
    this.unrefTable(root, level + 1, page, table, POW2[granule]!, rest);
  }

  private unrefTable(root: number, level: number, page: number, pa: number, bytes: number, rest: Remainder): void {
    const pages = POW2[levelShift(this.granule(root), level) - 12]!;
    for (let offset = 0; offset < bytes; ) {
      const size = Math.min(bytes - offset, 4096 - ((pa + offset) & 4095));
      this.unrefPart(root, level, page + (offset / 8) * pages, pa + offset, rest);
      offset += size;
    }
  }

  private unrefPart(root: number, level: number, page: number, pa: number, rest: Remainder): void {
    const { store, memory } = this;
    const node = store.find(NodeKind.table, level, root, page, pa);
    if (node === 0) return;
    const refs = store.refs(node) - 1;
    store.setRefs(node, refs);
    if (refs !== 0) return;
    if (level < 3 || rest.mode !== 'nothing' || rest.combined) {
      const granule = this.granule(root);
      const pages = POW2[levelShift(granule, level) - 12]!;
      const at = store.wordsAt(node);
      const count = store.wordCount(node);
      for (let i = 0; i < count; i++) {
        const lo = memory.words[at + 2 * i]!;
        const kind = classify(granule, level, lo, this.wide(root));
        if (kind === Descriptor.invalid) continue;
        const hi = memory.words[at + 2 * i + 1]!;
        const first = page + i * pages;
        const outside = rest.mode === 'outside' && (first + pages <= rest.from || first >= rest.to);
        if (kind === Descriptor.table) {
          if (outside) this.staleTable(root, level, first, hi, lo, pa + 8 * i);
          else this.unrefChild(root, level, first, hi, lo, rest);
        } else if (outside || (rest.mode === 'globals' && (lo & NOT_GLOBAL) === 0)) {
          this.staleLeaf(root, level, first, hi, lo, pa + 8 * i);
        } else if (rest.combined) {
          this.staleLeaf(root, level, first, hi, lo, pa + 8 * i, COMBINED);
        }
      }
    }
    store.remove(node);
  }

  // ---- what a write does

  /** A descriptor of a table node was overwritten. `k`: its number in the node. */
  wrote(node: number, k: number, pa: number, oldHi: number, oldLo: number, newHi: number, newLo: number): void {
    const words = this.memory.words;
    const at = this.store.at(node);
    const level = words[at + NodeField.what]! >>> 4;
    const root = words[at + NodeField.owner]!;
    const record = this.roots.at(root);
    const granule = (words[record + F.shape]! >>> 12) & 0xff;
    const wide = (words[record + F.flags]! & WIDE_ADDRESSES) !== 0;
    const was = classify(granule, level, oldLo, wide);
    const is = classify(granule, level, newLo, wide);
    if (was === Descriptor.invalid && is !== Descriptor.table) return;
    const base = joinSigned(words[at + NodeField.baseHi]!, words[at + NodeField.baseLo]!);
    const page = base + k * POW2[levelShift(granule, level) - 12]!;
    if (is === Descriptor.table) this.refChild(root, level, page, newHi, newLo);
    if (was === Descriptor.table) this.staleTable(root, level, page, oldHi, oldLo, pa);
    else if (was === Descriptor.leaf) this.staleLeaf(root, level, page, oldHi, oldLo, pa);
  }

  /** A table descriptor may still be cached. The entry takes over the reference to the table it names. */
  private staleTable(root: number, level: number, page: number, hi: number, lo: number, at: number): void {
    const whatItIs = what(Kind.table, level, this.stage(root), false, this.granule(root)) | this.marks(root);
    if (!this.stale.add(whatItIs, this.tag(root), page, hi, lo, at, root, 0, 0)) {
      this.unrefChild(root, level, page, hi, lo, NOTHING);
    }
  }

  /** NESTED and WIDE of a root's entries. */
  private marks(root: number): number {
    const flags = this.roots.get(root, F.flags);
    return ((flags & IN_IPA) !== 0 ? NESTED : 0) | ((flags & WIDE_ADDRESSES) !== 0 ? WIDE : 0);
  }

  private staleLeaf(root: number, level: number, page: number, hi: number, lo: number, at: number, mark = 0): void {
    // A descriptor with the access flag clear is never cached.
    const words = this.memory.words;
    const record = this.roots.at(root);
    if ((lo & AF) === 0 && (words[record + F.flags]! & 1) === 0) return;
    const stage = words[record + F.stage]!;
    const global = stage === 1 && (lo & NOT_GLOBAL) === 0;
    this.stale.addLeaf(
      what(Kind.leaf, level, stage, global, (words[record + F.shape]! >>> 12) & 0xff) |
        (words[record + F.flags]! > FLAT + NO_ACCESS_FLAG ? this.marks(root) : 0) |
        mark,
      words[record + F.tag]!,
      page,
      hi,
      lo,
      at,
      root,
    );
  }
}

function packed(regime: Regime): { shape: number; flags: number } {
  return {
    shape: regime.inputBits | (regime.startLevel << 8) | (regime.granule << 12) | (regime.outputBits << 24),
    flags:
      (regime.ignoreAccessFlag ? NO_ACCESS_FLAG : 0) |
      (regime.flatPermissions ? FLAT : 0) |
      (regime.nested ? IN_IPA : 0) |
      (regime.wide ? WIDE_ADDRESSES : 0) |
      (regime.setsAccessFlag ? SETS_ACCESS_FLAG : 0) |
      (regime.setsDirty ? SETS_DIRTY : 0),
  };
}

function startBytes(regime: Regime): number {
  return startTableSize(regime.granule, regime.startLevel, regime.inputBits);
}
