/**
 * What hardware may still hold although memory has changed: the invalidation automaton. An entry begins when something
 * reachable is removed ("unclean"), is marked when a command covers it ("queued"), and ends when a CMD_SYNC behind that
 * command has completed. What is valid now may always be cached and needs no entry.
 *
 * Leaves that follow on each other share an entry. Coverage is what the architecture requires of a command, no more: an
 * implementation may drop more, and this set never counts on it.
 */

import { type PhysicalMemory, StateClass } from '#machine/memory';
import { commandOpcode, Opcode, rangePages } from './decode/index.ts';
import { PAGE, TWO32 } from './facts.ts';
import { LEAF_PAGES } from './maplets.ts';
import { type NodeStore, T } from './node-store.ts';

/** What an entry is a copy of. `steBody`, `cdBody`: words 1 to 7 were written since the last CFGI_STE or CFGI_CD. */
export const StaleKind = { leaf: 1, table: 2, ste: 3, cd: 4, l1std: 5, steBody: 6, cdBody: 7 } as const;

/** Words of an entry. */
export const S = {
  /** Kind, level << 4, {@link QUEUED}, {@link GLOBAL}. */
  what: 0,
  smmu: 1,
  tag: 2,
  /** Stream; for a level-1 descriptor the first one. */
  sid: 3,
  /** First input page; of a context descriptor, its PASID. */
  iovaLo: 4,
  iovaHi: 5,
  /** Leaves in the entry; streams below a level-1 descriptor. */
  count: 6,
  /** Node that it leads to; 0 for a leaf. */
  node: 7,
  /** Page that the first leaf leads to. */
  targetLo: 8,
  targetHi: 9,
  /** Attributes of the leaves. */
  meaning: 10,
} as const;
const STRIDE = 12;
const CHUNK_LOG2 = 7;
const QUEUED = 1 << 8;
const GLOBAL = 1 << 9;

/**
 * Bits of an SMMU's power word. What it held when it went off must not serve when it is on again: `keepsConfig` and
 * `keepsTlb` stay until an invalidation of everything, marked when it is queued, has completed.
 */
export const Off = { off: 1, keepsConfig: 2, keepsTlb: 4, configQueued: 8, tlbQueued: 16 } as const;
const CFGI_ALL_RANGE = 31;

/** Called for each entry that ends; the entry's words are at `at`. */
export type Release = (at: number) => void;

export class StaleSet {
  private readonly memory: PhysicalMemory;
  private readonly store: NodeStore;
  private readonly rangeInvalidation: readonly boolean[];
  private readonly header: number;
  /** A word per SMMU, see {@link Off}. */
  private readonly power: number;
  private readonly chunks: number[] = [];

  constructor(store: NodeStore, rangeInvalidation: readonly boolean[]) {
    this.memory = store.memory;
    this.store = store;
    this.rangeInvalidation = rangeInvalidation;
    // Number of entries, and number of tags whose whole-tag invalidation waits for its SYNC.
    this.header = store.memory.allocFile(2, StateClass.derived);
    this.power = store.memory.allocFile(rangeInvalidation.length, StateClass.derived);
  }

  get size(): number {
    return this.memory.words[this.header]!;
  }

  /** First word of entry `i`. */
  at(i: number): number {
    return this.chunks[i >>> CHUNK_LOG2]! + (i & ((1 << CHUNK_LOG2) - 1)) * STRIDE;
  }

  word(at: number, word: number): number {
    return this.memory.words[at + word]!;
  }

  kind(at: number): number {
    return this.memory.words[at]! & 0xf;
  }

  level(at: number): number {
    return (this.memory.words[at]! >>> 4) & 0xf;
  }

  isQueued(at: number): boolean {
    return (this.memory.words[at]! & QUEUED) !== 0;
  }

  /** First input page of an entry. */
  iovaPage(at: number): number {
    return this.memory.words[at + S.iovaHi]! * TWO32 + (this.memory.words[at + S.iovaLo]! >>> 0);
  }

  /** Page that the first leaf of an entry leads to. */
  targetPage(at: number): number {
    return this.memory.words[at + S.targetHi]! * TWO32 + (this.memory.words[at + S.targetLo]! >>> 0);
  }

  /** Whether the SMMU is off: nothing that changes can be cached. */
  isOff(smmu: number): boolean {
    return (this.memory.words[this.power + smmu]! & Off.off) !== 0;
  }

  /** Whether the SMMU may still hold what it held when it went off. */
  keepsOld(smmu: number): boolean {
    return (this.memory.words[this.power + smmu]! & (Off.keepsConfig | Off.keepsTlb)) !== 0;
  }

  /** The SMMU was switched off: what it may hold is no longer followed one by one. */
  switchOff(smmu: number, release: Release): void {
    this.memory.put(this.power + smmu, Off.off | Off.keepsConfig | Off.keepsTlb);
    for (let i = this.size - 1; i >= 0; i--) {
      if (i >= this.size) continue;
      if (this.word(this.at(i), S.smmu) === smmu) this.end(i, release);
    }
  }

  /** It was switched on. */
  switchOn(smmu: number): void {
    const at = this.power + smmu;
    this.memory.put(at, this.memory.words[at]! & ~Off.off);
  }

  private markPower(smmu: number, opcode: number, lo1: number): void {
    const at = this.power + smmu;
    const word = this.memory.words[at]!;
    if ((word & (Off.keepsConfig | Off.keepsTlb)) === 0) return;
    const all = opcode === Opcode.CFGI_STE_RANGE && (lo1 & 31) === CFGI_ALL_RANGE;
    const queued = all ? Off.configQueued : opcode === Opcode.TLBI_NSNH_ALL ? Off.tlbQueued : 0;
    if (queued !== 0) this.memory.put(at, word | queued);
  }

  private syncPower(smmu: number): void {
    const at = this.power + smmu;
    const word = this.memory.words[at]!;
    const done = word & (Off.configQueued | Off.tlbQueued);
    // Each queued mark stands two bits above what it ends.
    if (done !== 0) this.memory.put(at, word & ~(done | (done >>> 2)));
  }

  private push(): number {
    const i = this.size;
    while (this.chunks.length <= i >>> CHUNK_LOG2) {
      this.chunks.push(this.memory.allocFile(STRIDE << CHUNK_LOG2, StateClass.derived));
    }
    this.memory.put(this.header, i + 1);
    return this.at(i);
  }

  private fill(
    what: number,
    smmu: number,
    tag: number,
    sid: number,
    iovaPage: number,
    count: number,
    node: number,
    targetPage: number,
    meaning: number,
  ): void {
    const at = this.push();
    const { memory } = this;
    memory.put(at + S.what, what);
    memory.put(at + S.smmu, smmu);
    memory.put(at + S.tag, tag);
    memory.put(at + S.sid, sid);
    memory.put(at + S.iovaLo, iovaPage | 0);
    memory.put(at + S.iovaHi, (iovaPage / TWO32) | 0);
    memory.put(at + S.count, count);
    memory.put(at + S.node, node);
    memory.put(at + S.targetLo, targetPage | 0);
    memory.put(at + S.targetHi, (targetPage / TWO32) | 0);
    memory.put(at + S.meaning, meaning);
    if (tag !== 0) this.store.addTag(tag, T.staleEntries, 1);
  }

  /** A leaf was removed. It joins the last entry when it follows on it. */
  addLeaf(tag: number, level: number, iovaPage: number, targetPage: number, meaning: number, global: boolean): void {
    const what = StaleKind.leaf | (level << 4) | (global ? GLOBAL : 0);
    const { memory, size } = this;
    if (size > 0) {
      const at = this.at(size - 1);
      const count = memory.words[at + S.count]!;
      const pages = count * LEAF_PAGES[level]!;
      if (
        memory.words[at] === what &&
        memory.words[at + S.tag] === tag &&
        memory.words[at + S.meaning] === meaning &&
        this.iovaPage(at) + pages === iovaPage &&
        this.targetPage(at) + pages === targetPage
      ) {
        memory.put(at + S.count, count + 1);
        return;
      }
    }
    this.fill(what, this.store.tag(tag, T.smmu), tag, 0, iovaPage, 1, 0, targetPage, meaning);
  }

  /** A table descriptor of `level` was removed; a walk may still go on to `node`. */
  addTable(tag: number, level: number, iovaPage: number, node: number): void {
    this.fill(StaleKind.table | (level << 4), this.store.tag(tag, T.smmu), tag, 0, iovaPage, 1, node, 0, 0);
  }

  /** A stream table entry or context descriptor of `sid` that led to `node` was changed. */
  addRoute(kind: number, smmu: number, sid: number, node: number, tag: number, pasid = 0): void {
    this.fill(kind, smmu, tag, sid, pasid, 1, node, 0, 0);
  }

  /** A level-1 descriptor over `count` streams from `sid` was changed. */
  addLevel1(smmu: number, sid: number, count: number, node: number): void {
    this.fill(StaleKind.l1std, smmu, 0, sid, 0, count, node, 0, 0);
  }

  /** Whether there is an entry of that kind for the stream (and PASID), not yet through with its SYNC. */
  hasStream(kind: number, smmu: number, sid: number, pasid = 0): boolean {
    for (let i = this.size - 1; i >= 0; i--) {
      const at = this.at(i);
      const isKind = this.kind(at) === kind && this.word(at, S.iovaLo) === pasid;
      if (isKind && this.word(at, S.smmu) === smmu && this.word(at, S.sid) === sid) return true;
    }
    return false;
  }

  /** A command was queued on that SMMU: mark what it covers. Word n of the command is (hi, lo). */
  command(smmu: number, hi0: number, lo0: number, hi1: number, lo1: number): void {
    const opcode = commandOpcode(lo0);
    this.markPower(smmu, opcode, lo1);
    switch (opcode) {
      case Opcode.CFGI_STE:
      case Opcode.CFGI_STE_RANGE:
      case Opcode.CFGI_CD:
      case Opcode.CFGI_CD_ALL:
        this.configuration(smmu, opcode, hi0 >>> 0, lo0 >>> 12, lo1);
        break;
      case Opcode.TLBI_NH_VA:
      case Opcode.TLBI_NH_VAA:
      case Opcode.TLBI_S2_IPA:
        this.range(smmu, opcode, hi0, lo0, hi1, lo1);
        break;
      case Opcode.TLBI_NH_ALL:
      case Opcode.TLBI_NH_ASID:
      case Opcode.TLBI_S12_VMALL:
      case Opcode.TLBI_NSNH_ALL:
        this.whole(smmu, opcode, hi0);
        break;
    }
  }

  private mark(at: number): void {
    const what = this.memory.words[at]!;
    if ((what & QUEUED) === 0) this.memory.put(at, what | QUEUED);
  }

  /** @param pasid what CFGI_CD names; the others name none */
  private configuration(smmu: number, opcode: number, sid: number, pasid: number, lo1: number): void {
    let first = sid;
    let last = sid;
    if (opcode === Opcode.CFGI_STE_RANGE) {
      const streams = 2 ** ((lo1 & 31) + 1);
      first = sid - (sid % streams);
      last = first + streams - 1;
    }
    const onlyCds = opcode === Opcode.CFGI_CD || opcode === Opcode.CFGI_CD_ALL;
    const leafOnly = opcode === Opcode.CFGI_STE && (lo1 & 1) !== 0;
    for (let i = this.size - 1; i >= 0; i--) {
      const at = this.at(i);
      const kind = this.kind(at);
      if (kind < StaleKind.ste || this.word(at, S.smmu) !== smmu) continue;
      if (onlyCds && kind !== StaleKind.cd && kind !== StaleKind.cdBody) continue;
      if (opcode === Opcode.CFGI_CD && this.word(at, S.iovaLo) !== pasid) continue;
      if (leafOnly && kind === StaleKind.l1std) continue;
      const from = this.word(at, S.sid) >>> 0;
      if (first < from + this.word(at, S.count) && from <= last) this.mark(at);
    }
  }

  /** Whether an entry's tag is what a TLBI with that VMID (and ASID) names. */
  private tagMatches(tag: number, opcode: number, hi0: number): boolean {
    const { store } = this;
    if (opcode === Opcode.TLBI_NSNH_ALL) return true;
    if (store.tag(tag, T.vmid) !== (hi0 & 0xffff)) return false;
    if (opcode === Opcode.TLBI_S12_VMALL) return true;
    if (opcode === Opcode.TLBI_S2_IPA) return store.tag(tag, T.stage) === 2;
    if (store.tag(tag, T.stage) !== 1) return false;
    return opcode === Opcode.TLBI_NH_ALL || opcode === Opcode.TLBI_NH_VAA || store.tag(tag, T.asid) === hi0 >>> 16;
  }

  private whole(smmu: number, opcode: number, hi0: number): void {
    const { store } = this;
    for (let i = this.size - 1; i >= 0; i--) {
      const at = this.at(i);
      if (this.kind(at) > StaleKind.table || this.word(at, S.smmu) !== smmu) continue;
      const isGlobal = (this.word(at, S.what) & GLOBAL) !== 0;
      if (isGlobal && opcode === Opcode.TLBI_NH_ASID) continue;
      if (this.tagMatches(this.word(at, S.tag), opcode, hi0)) this.mark(at);
    }
    for (let tag = 1; tag <= store.tags.last; tag++) {
      if (store.tag(tag, T.heat) !== 1 || store.tag(tag, T.smmu) !== smmu) continue;
      // While a stream leads here, what is dropped may be fetched again at once.
      if (store.tag(tag, T.attached) !== 0 || store.tag(tag, T.staleRoutes) !== 0) continue;
      if (!this.tagMatches(tag, opcode, hi0)) continue;
      store.setTag(tag, T.heat, 2);
      this.memory.put(this.header + 1, this.memory.words[this.header + 1]! + 1);
    }
  }

  private range(smmu: number, opcode: number, hi0: number, lo0: number, hi1: number, lo1: number): void {
    const ranged = this.rangeInvalidation[smmu]! && (lo1 & 0xc00) !== 0;
    const addressHi = opcode === Opcode.TLBI_S2_IPA ? hi1 & 0xffffff : hi1;
    const first = ((addressHi >>> 0) * TWO32 + ((lo1 & ~0xfff) >>> 0)) / PAGE;
    const granulePages = ranged ? 1 << (2 * (((lo1 >>> 10) & 3) - 1)) : 1;
    const end = first + (ranged ? rangePages(lo0) * granulePages : 1);
    const level = ranged ? (lo1 >>> 8) & 3 : 0;
    const leafOnly = (lo1 & 1) !== 0;
    // Entries that a split adds behind the end need no second look.
    for (let i = this.size - 1; i >= 0; i--) {
      const at = this.at(i);
      const kind = this.kind(at);
      if (kind > StaleKind.table || this.word(at, S.smmu) !== smmu || this.isQueued(at)) continue;
      const isGlobal = (this.word(at, S.what) & GLOBAL) !== 0;
      const tagOpcode = isGlobal && opcode === Opcode.TLBI_NH_VA ? Opcode.TLBI_NH_VAA : opcode;
      if (!this.tagMatches(this.word(at, S.tag), tagOpcode, hi0)) continue;
      const entryLevel = this.level(at);
      const start = this.iovaPage(at);
      if (kind === StaleKind.table) {
        if (leafOnly || (level !== 0 && entryLevel >= level)) continue;
        if (start < end && first < start + LEAF_PAGES[entryLevel]!) this.mark(at);
      } else if (level === 0 || level === entryLevel) {
        this.markLeaves(at, start, LEAF_PAGES[entryLevel]!, first, end);
      }
    }
  }

  /** Mark the leaves of a run that [first, end) touches; the others become entries of their own. */
  private markLeaves(at: number, start: number, pages: number, first: number, end: number): void {
    const count = this.word(at, S.count);
    const from = Math.max(0, Math.floor((first - start) / pages));
    const to = Math.min(count, Math.ceil((end - start) / pages));
    if (from >= to) return;
    if (to < count) this.split(at, to, count - to, pages);
    if (from > 0) {
      this.split(at, 0, from, pages);
      this.moveStart(at, from, pages);
    }
    if (to - from !== count) this.memory.put(at + S.count, to - from);
    this.mark(at);
  }

  /** Copy `count` leaves from number `from` on into an entry of their own. */
  private split(at: number, from: number, count: number, pages: number): void {
    const target = this.targetPage(at) + from * pages;
    const iova = this.iovaPage(at) + from * pages;
    const { words } = this.memory;
    this.fill(words[at]!, words[at + S.smmu]!, words[at + S.tag]!, 0, iova, count, 0, target, words[at + S.meaning]!);
  }

  private moveStart(at: number, leaves: number, pages: number): void {
    const iova = this.iovaPage(at) + leaves * pages;
    const target = this.targetPage(at) + leaves * pages;
    this.memory.put(at + S.iovaLo, iova | 0);
    this.memory.put(at + S.iovaHi, (iova / TWO32) | 0);
    this.memory.put(at + S.targetLo, target | 0);
    this.memory.put(at + S.targetHi, (target / TWO32) | 0);
  }

  /** A CMD_SYNC of that SMMU has completed: what was queued before it ends. */
  sync(smmu: number, release: Release): void {
    const { store, memory } = this;
    this.syncPower(smmu);
    for (let i = this.size - 1; i >= 0; i--) {
      const at = this.at(i);
      if (!this.isQueued(at) || this.word(at, S.smmu) !== smmu) continue;
      this.end(i, release);
    }
    if (memory.words[this.header + 1] === 0) return;
    let waiting = 0;
    for (let tag = 1; tag <= store.tags.last; tag++) {
      if (store.tag(tag, T.heat) !== 2) continue;
      if (store.tag(tag, T.smmu) === smmu) store.setTag(tag, T.heat, 0);
      else waiting++;
    }
    memory.put(this.header + 1, waiting);
  }

  private end(i: number, release: Release): void {
    const at = this.at(i);
    // Taking it out of its tag first: what its release sets free may change the set.
    const tag = this.word(at, S.tag);
    if (tag !== 0) this.store.addTag(tag, T.staleEntries, -1);
    release(at);
    this.remove(i);
  }

  private remove(i: number): void {
    const last = this.size - 1;
    if (i !== last) {
      const from = this.at(last);
      const to = this.at(i);
      for (let word = 0; word < STRIDE; word++) {
        const value = this.memory.words[from + word]!;
        if (this.memory.words[to + word] !== value) this.memory.put(to + word, value);
      }
    }
    this.memory.put(this.header, last);
  }
}
