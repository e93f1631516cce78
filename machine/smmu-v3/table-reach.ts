/**
 * Translation tables that the SMMU can reach. A root is a start table under a TLB tag (stage, VMID, ASID); its tables
 * are nodes, referenced by the descriptor that names them and by stale entries that still lead there. A root that no
 * STE or CD names any more stays as a stale `tag` entry: the TLB may still hold its leaves and its table pointers,
 * until an invalidation of the whole tag and its SYNC.
 */

import { type PhysicalMemory, StateClass } from '../memory/index.ts';
import { POW2 } from '../pow2.ts';
import { RecordFile } from '../record-file.ts';
import {
  classify,
  Descriptor,
  descriptorAddress,
  levelShift,
  Regime,
  startTableSize,
  TableLimit,
  tableLimits,
} from '../table-walk.ts';
import { hiOf, joinSigned, loOf } from '../word64.ts';
import { NodeField, NodeKind, type NodeStore } from './node-store.ts';
import { leafClass, NOTHING, Remainder, SPARES_GLOBALS, tableClass } from './remainder.ts';
import { COMBINED, Kind, type StaleSet, what } from './stale-set.ts';
import { NESTED, NO_ACCESS_FLAG, underLimits, WIDE, walkedRegime, walkedWith } from './walked-with.ts';

/** Words of a root. */
const F = {
  stage: 0,
  tag: 1,
  baseLo: 2,
  baseHi: 3,
  /** inputBits[7:0] startLevel[11:8] granule[19:12] */
  shape: 4,
  refs: 5,
  /** Stale `tag` entries that keep it. */
  kept: 6,
  /** As {@link walkedWith}. */
  flags: 7,
  /** Input page at which the range starts. */
  startLo: 8,
  startHi: 9,
} as const;

const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;
/** The low bits of a table descriptor, above the last level. */
const TABLE = 3;

export class TableReach {
  private readonly memory: PhysicalMemory;
  private readonly store: NodeStore;
  private readonly stale: StaleSet;
  private readonly roots: RecordFile;
  private readonly header: number;
  private readonly scratch = new Regime();

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
    return (this.roots.get(root, F.flags) & NESTED) !== 0;
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
    regime.stage = this.stage(root) === 1 ? 1 : 2;
    regime.inputBits = shape & 0xff;
    regime.startLevel = (shape >>> 8) & 15;
    regime.granule = (shape >>> 12) & 0xff;
    regime.base = this.base(root);
    walkedRegime(this.roots.get(root, F.flags), regime);
  }

  /** The root with that identity; 0 when there is none. `upper` tells the upper half of a stage-1 space. */
  find(regime: Regime, vmid: number, asid: number, upper: boolean): number {
    const tag = (vmid << 16) | asid;
    const shape = shapeOf(regime);
    const flags = walkedWith(regime);
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
    const shape = shapeOf(regime);
    const flags = walkedWith(regime);
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
    if (!regime.nested) this.refTable(root, regime.startLevel, start, regime.base, startBytes(regime), TableLimit.none);
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
    if (globalsStay) rest.spared = SPARES_GLOBALS;
    const shape = this.roots.get(root, F.shape);
    if (this.nested(root)) {
      if (!rest.isNothing) this.leaveBelow(root, -1, this.start(root), POW2[(shape & 0xff) - 12]!, rest);
      this.removeNested(root);
    } else {
      const level = (shape >>> 8) & 15;
      this.unrefTable(root, level, this.start(root), this.base(root), this.startBytes(root), TableLimit.none, rest);
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

  /**
   * Address of the table that a descriptor of `level` names; -1 when it names none, or one that is out of the output
   * range, where no walk goes.
   */
  child(root: number, level: number, hi: number, lo: number): number {
    const { scratch } = this;
    this.regime(root, scratch);
    const { granule, wide } = scratch;
    if (classify(granule, level, lo, wide) !== Descriptor.table) return -1;
    const table = descriptorAddress(hi, lo, granule, wide);
    return table < POW2[scratch.outputBits]! ? table : -1;
  }

  /** Limits under which the table that a descriptor names is reached, when the descriptor's own table is under `limits`. */
  limitsBelow(root: number, limits: number, hi: number): number {
    this.regime(root, this.scratch);
    return limits | tableLimits(this.scratch, hi);
  }

  /** What of the nested tables below `level` for `pages` pages from `page` stays cached when they are let go. */
  private leaveBelow(root: number, level: number, page: number, pages: number, rest: Remainder): void {
    const { store } = this;
    const top = store.top;
    for (let node = 1; node <= top; node++) {
      if (store.kind(node) !== NodeKind.table || store.owner(node) !== root || store.level(node) <= level) continue;
      const base = store.base(node);
      if (base >= page && base < page + pages) this.leave(node, rest, true);
    }
  }

  /** What of a table node stays cached becomes stale; what does not is let go, unless it is nested: then it is found anew. */
  private leave(node: number, rest: Remainder, nested: boolean): void {
    const { store } = this;
    const root = store.owner(node);
    const level = store.level(node);
    const limits = store.limits(node);
    const step = this.pagesPer(root, level);
    const count = store.wordCount(node);
    const first = store.base(node);
    const at = store.address(node);
    const index = store.wordsAt(node);
    // Of what all goes, only tables matter.
    const [mask, value] = level < 3 && rest.isNothing ? [3, TABLE] : [1, 1];
    for (let i = 0; i < count; i++) {
      const lo = this.memory.words[index + 2 * i]!;
      if (lo === 0) i += Math.max(1, this.memory.blanksFrom(index + 2 * i) >>> 1) - 1;
      if ((lo & mask) !== value) continue;
      const hi = this.memory.words[index + 2 * i + 1]!;
      this.leaveOne(root, level, limits, first + i * step, step, hi, lo, at + 8 * i, rest, nested);
    }
  }

  private leaveOne(
    root: number,
    level: number,
    limits: number,
    page: number,
    pages: number,
    hi: number,
    lo: number,
    pa: number,
    rest: Remainder,
    nested: boolean,
  ): void {
    const kind = classify(this.granule(root), level, lo, (this.roots.get(root, F.flags) & WIDE) !== 0);
    const outside = page + pages <= rest.from || page >= rest.to;
    if (kind === Descriptor.table) {
      if (outside || (rest.spared & tableClass(level)) !== 0) this.staleTable(root, level, page, hi, lo, pa, limits);
      else if (!nested) this.unrefChild(root, level, page, hi, lo, limits, rest);
    } else if (kind === Descriptor.leaf) {
      const global = this.stage(root) === 1 && (lo & NOT_GLOBAL) === 0;
      if (outside || (rest.spared & leafClass(level, global)) !== 0) {
        this.staleLeaf(root, level, page, hi, lo, pa, limits);
      } else if (rest.combined) this.staleLeaf(root, level, page, hi, lo, pa, limits, COMBINED);
    }
  }

  // ---- tables

  /** Adds a reference to the table of `level` at `pa`, which translates input pages from `page` under `limits`. */
  private refTable(root: number, level: number, page: number, pa: number, bytes: number, limits: number): void {
    const pages = POW2[levelShift(this.granule(root), level) - 12]!;
    for (let offset = 0; offset < bytes; ) {
      const size = Math.min(bytes - offset, 4096 - ((pa + offset) & 4095));
      this.refPart(root, level, page + (offset / 8) * pages, pa + offset, size / 8, limits);
      offset += size;
    }
  }

  private refPart(root: number, level: number, page: number, pa: number, count: number, limits: number): void {
    const { store, memory } = this;
    const found = store.find(NodeKind.table, level, root, page, pa, limits);
    if (found !== 0) {
      store.setRefs(found, store.refs(found) + 1);
      return;
    }
    const node = store.add(NodeKind.table, level, root, page, pa, count, limits);
    if (node === 0 || level === 3) return;
    const pages = POW2[levelShift(this.granule(root), level) - 12]!;
    const at = store.wordsAt(node);
    for (let i = 0; i < count; i++) {
      const lo = memory.words[at + 2 * i]!;
      if (lo === 0) i += Math.max(1, memory.blanksFrom(at + 2 * i) >>> 1) - 1;
      if ((lo & 3) === TABLE) this.refChild(root, level, page + i * pages, memory.words[at + 2 * i + 1]!, lo, limits);
    }
  }

  /** Adds a reference to the table that a descriptor of `level` names, if it names one. */
  private refChild(root: number, level: number, page: number, hi: number, lo: number, limits: number): void {
    const table = this.nested(root) ? -1 : this.child(root, level, hi, lo);
    if (table < 0) return;
    this.refTable(root, level + 1, page, table, POW2[this.granule(root)]!, this.limitsBelow(root, limits, hi));
  }

  /** Drops a reference to the table that a descriptor of `level`, in a table under `limits`, names. */
  unrefChild(root: number, level: number, page: number, hi: number, lo: number, limits: number, rest: Remainder): void {
    if (this.nested(root)) {
      if (!rest.isNothing) this.leaveBelow(root, level, page, this.pagesPer(root, level), rest);
      return;
    }
    const table = this.child(root, level, hi, lo);
    const below = this.limitsBelow(root, limits, hi);
    if (table >= 0) this.unrefTable(root, level + 1, page, table, POW2[this.granule(root)]!, below, rest);
  }

  private unrefTable(
    root: number,
    level: number,
    page: number,
    pa: number,
    bytes: number,
    limits: number,
    rest: Remainder,
  ): void {
    const pages = POW2[levelShift(this.granule(root), level) - 12]!;
    for (let offset = 0; offset < bytes; ) {
      const size = Math.min(bytes - offset, 4096 - ((pa + offset) & 4095));
      const first = page + (offset / 8) * pages;
      this.unref(this.store.find(NodeKind.table, level, root, first, pa + offset, limits), rest);
      offset += size;
    }
  }

  private unref(node: number, rest: Remainder): void {
    if (node === 0) return;
    const { store } = this;
    const refs = store.refs(node) - 1;
    store.setRefs(node, refs);
    if (refs !== 0) return;
    if (store.level(node) < 3 || !rest.isNothing) this.leave(node, rest, false);
    store.remove(node);
  }

  // ---- what a write does

  /** A descriptor of a table node was overwritten. `k`: its number in the node. */
  wrote(node: number, k: number, pa: number, oldHi: number, oldLo: number, newHi: number, newLo: number): void {
    const words = this.memory.words;
    const at = this.store.at(node);
    const it = words[at + NodeField.what]!;
    const level = (it >>> 4) & 15;
    const limits = it >>> 8;
    const root = words[at + NodeField.owner]!;
    const record = this.roots.at(root);
    const granule = (words[record + F.shape]! >>> 12) & 0xff;
    const wide = (words[record + F.flags]! & WIDE) !== 0;
    const was = classify(granule, level, oldLo, wide);
    const is = classify(granule, level, newLo, wide);
    if (was === Descriptor.invalid && is !== Descriptor.table) return;
    const base = joinSigned(words[at + NodeField.baseHi]!, words[at + NodeField.baseLo]!);
    const page = base + k * POW2[levelShift(granule, level) - 12]!;
    if (is === Descriptor.table) this.refChild(root, level, page, newHi, newLo, limits);
    if (was === Descriptor.table) this.staleTable(root, level, page, oldHi, oldLo, pa, limits);
    else if (was === Descriptor.leaf) this.staleLeaf(root, level, page, oldHi, oldLo, pa, limits);
  }

  /** A table descriptor may still be cached. The entry takes over the reference to the table it names. */
  private staleTable(
    root: number,
    level: number,
    page: number,
    hi: number,
    lo: number,
    at: number,
    limits: number,
  ): void {
    const flags = this.roots.get(root, F.flags);
    const it = what(Kind.table, level, this.stage(root), false, this.granule(root)) | flags | underLimits(limits);
    if (!this.stale.add(it, this.tag(root), page, hi, lo, at, root, 0, 0)) {
      this.unrefChild(root, level, page, hi, lo, limits, NOTHING);
    }
  }

  private staleLeaf(
    root: number,
    level: number,
    page: number,
    hi: number,
    lo: number,
    at: number,
    limits: number,
    mark = 0,
  ): void {
    // A descriptor with the access flag clear is never cached.
    const words = this.memory.words;
    const record = this.roots.at(root);
    const flags = words[record + F.flags]!;
    if ((lo & AF) === 0 && (flags & NO_ACCESS_FLAG) === 0) return;
    const stage = words[record + F.stage]!;
    const global = stage === 1 && (lo & NOT_GLOBAL) === 0;
    this.stale.addLeaf(
      what(Kind.leaf, level, stage, global, (words[record + F.shape]! >>> 12) & 0xff) |
        flags |
        underLimits(limits) |
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

function shapeOf(regime: Regime): number {
  return regime.inputBits | (regime.startLevel << 8) | (regime.granule << 12);
}

function startBytes(regime: Regime): number {
  return startTableSize(regime.granule, regime.startLevel, regime.inputBits);
}
