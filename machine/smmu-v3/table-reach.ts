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
import { Kind, type StaleSet, what } from './stale-set.ts';

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

const AF = 1 << 10;
const NOT_GLOBAL = 1 << 11;

/** What becomes stale when tables are let go: nothing, what a range of pages does not cover, or global leaves. */
export class Remainder {
  mode: 'nothing' | 'outside' | 'globals' = 'nothing';
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
    regime.ignoreAccessFlag = (flags & 1) !== 0;
    regime.flatPermissions = (flags & 2) !== 0;
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
    if (!this.memory.isRam(regime.base)) return 0;
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
    this.refTable(root, regime.startLevel, start, regime.base, startBytes(regime));
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
    const bytes = Math.max(64, startTableSize(this.granule(root), (shape >>> 8) & 15, shape & 0xff));
    this.unrefTable(root, (shape >>> 8) & 15, this.start(root), this.base(root), bytes, rest);
    this.roots.clear(root);
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
      if (classify(granule, level, lo) === Descriptor.table) {
        this.refChild(root, level, page + i * pages, memory.words[at + 2 * i + 1]!, lo);
      }
    }
  }

  /** Adds a reference to the table that a descriptor of `level` names. */
  refChild(root: number, level: number, page: number, hi: number, lo: number): void {
    const granule = this.granule(root);
    this.refTable(root, level + 1, page, descriptorAddress(hi, lo, granule), POW2[granule]!);
  }

  /** Drops a reference to the table that a descriptor of `level` names. */
  unrefChild(root: number, level: number, page: number, hi: number, lo: number, rest: Remainder): void {
    const granule = this.granule(root);
    this.unrefTable(root, level + 1, page, descriptorAddress(hi, lo, granule), POW2[granule]!, rest);
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
    if (level < 3 || rest.mode !== 'nothing') {
      const granule = this.granule(root);
      const pages = POW2[levelShift(granule, level) - 12]!;
      const at = store.wordsAt(node);
      const count = store.wordCount(node);
      for (let i = 0; i < count; i++) {
        const lo = memory.words[at + 2 * i]!;
        const kind = classify(granule, level, lo);
        if (kind === Descriptor.invalid) continue;
        const hi = memory.words[at + 2 * i + 1]!;
        const first = page + i * pages;
        const outside = rest.mode === 'outside' && (first + pages <= rest.from || first >= rest.to);
        if (kind === Descriptor.table) {
          if (outside) this.staleTable(root, level, first, hi, lo, pa + 8 * i);
          else this.unrefChild(root, level, first, hi, lo, rest);
        } else if (outside || (rest.mode === 'globals' && (lo & NOT_GLOBAL) === 0)) {
          this.staleLeaf(root, level, first, hi, lo, pa + 8 * i);
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
    const granule = (words[this.roots.at(root) + F.shape]! >>> 12) & 0xff;
    const was = classify(granule, level, oldLo);
    const is = classify(granule, level, newLo);
    if (was === Descriptor.invalid && is !== Descriptor.table) return;
    const base = joinSigned(words[at + NodeField.baseHi]!, words[at + NodeField.baseLo]!);
    const page = base + k * POW2[levelShift(granule, level) - 12]!;
    if (is === Descriptor.table) this.refChild(root, level, page, newHi, newLo);
    if (was === Descriptor.table) this.staleTable(root, level, page, oldHi, oldLo, pa);
    else if (was === Descriptor.leaf) this.staleLeaf(root, level, page, oldHi, oldLo, pa);
  }

  /** A table descriptor may still be cached. The entry takes over the reference to the table it names. */
  private staleTable(root: number, level: number, page: number, hi: number, lo: number, at: number): void {
    const whatItIs = what(Kind.table, level, this.stage(root), false, this.granule(root));
    if (!this.stale.add(whatItIs, this.tag(root), page, hi, lo, at, root, 0, 0)) {
      this.unrefChild(root, level, page, hi, lo, NOTHING);
    }
  }

  private staleLeaf(root: number, level: number, page: number, hi: number, lo: number, at: number): void {
    // A descriptor with the access flag clear is never cached.
    const words = this.memory.words;
    const record = this.roots.at(root);
    if ((lo & AF) === 0 && (words[record + F.flags]! & 1) === 0) return;
    const stage = words[record + F.stage]!;
    const global = stage === 1 && (lo & NOT_GLOBAL) === 0;
    this.stale.addLeaf(
      what(Kind.leaf, level, stage, global, (words[record + F.shape]! >>> 12) & 0xff),
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
    flags: (regime.ignoreAccessFlag ? 1 : 0) | (regime.flatPermissions ? 2 : 0),
  };
}

function startBytes(regime: Regime): number {
  return startTableSize(regime.granule, regime.startLevel, regime.inputBits);
}
