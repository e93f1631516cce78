/**
 * Which memory the SMMU can reach: a node for every piece of a page that holds a live (or still cached) structure,
 * found by the page's slot. One page may hold several, for example four small tables, or one table reached twice.
 * Derived from memory, registers and the stale set, but kept in journaled words so that undo restores it too.
 */

import { type PhysicalMemory, StateClass, type WriteObserver } from '../memory/index.ts';
import { RecordFile } from '../record-file.ts';
import { hiOf, joinSigned, loOf } from '../word64.ts';

export const NodeKind = { l1std: 1, ste: 2, cd: 3, table: 4, contexts: 5, contextTable: 6 } as const;

/** Words of a node's record. `what`: kind[3:0] level[7:4] limits[9:8] (of the tables above a table); `range`: first word[15:0] count[31:16]. */
export const NodeField = { next: 0, what: 1, owner: 2, baseLo: 3, baseHi: 4, range: 5, refs: 6, slot: 7 } as const;

const NODE_WORDS = 8;

/** What every node of a page is, packed: only last-level tables, so that a first mapping there removes nothing. */
export const ONLY_LAST_LEVEL = 1;

/** Beyond so many nodes on one page it is a table that points at itself again and again; no more are tracked. */
const MOST_PER_PAGE = 64;

export class NodeStore {
  readonly memory: PhysicalMemory;
  /** By slot: first node shifted left by one, and {@link ONLY_LAST_LEVEL}. */
  readonly heads: RecordFile;
  private readonly nodes: RecordFile;
  private readonly header: number;
  private readonly bit: number;

  constructor(memory: PhysicalMemory, observer: WriteObserver) {
    this.memory = memory;
    this.bit = memory.observe(observer);
    this.header = memory.allocFile(3, StateClass.derived);
    this.heads = new RecordFile(memory, 1, StateClass.derived, 4096);
    this.nodes = new RecordFile(memory, NODE_WORDS, StateClass.derived, 512);
  }

  /** How many pieces of memory were not tracked because their page is reached too often. */
  get lost(): number {
    return this.memory.words[this.header + 2]!;
  }

  /** Index in {@link PhysicalMemory.words} of a node's record, to be read by {@link NodeField}. */
  at(node: number): number {
    return this.nodes.at(node);
  }

  /** First node of the page in `slot`; 0 for none. */
  first(slot: number): number {
    return this.heads.get(slot, 0) >>> 1;
  }

  next(node: number): number {
    return this.nodes.get(node, NodeField.next);
  }

  kind(node: number): number {
    return this.nodes.get(node, NodeField.what) & 15;
  }

  level(node: number): number {
    return (this.nodes.get(node, NodeField.what) >>> 4) & 15;
  }

  /** Limits of the tables above a table, through which it is reached. */
  limits(node: number): number {
    return this.nodes.get(node, NodeField.what) >>> 8;
  }

  /** Nodes are numbered 1 to this; some numbers are free (kind 0). */
  get top(): number {
    return this.memory.words[this.header]!;
  }

  /** Root of a table or stream-table node; VMID of a CD; number of the context that CDs of a table belong to. */
  owner(node: number): number {
    return this.nodes.get(node, NodeField.owner);
  }

  /**
   * First input page of a table, first StreamID of STEs, first index of level-1 descriptors, StreamID of a CD, first
   * SubstreamID of a part of a CD table, first index of its level-1 descriptors.
   */
  base(node: number): number {
    return joinSigned(this.nodes.get(node, NodeField.baseHi), this.nodes.get(node, NodeField.baseLo));
  }

  /** Index in its page of the node's first 64-bit word, and how many words it has. */
  firstWord(node: number): number {
    return this.nodes.get(node, NodeField.range) & 0xffff;
  }

  wordCount(node: number): number {
    return this.nodes.get(node, NodeField.range) >>> 16;
  }

  /** Index in {@link PhysicalMemory.words} of the node's first word. */
  wordsAt(node: number): number {
    return (this.nodes.get(node, NodeField.slot) << 10) + 2 * this.firstWord(node);
  }

  /** Physical address of the node's first word. */
  address(node: number): number {
    return this.memory.paOfSlot(this.nodes.get(node, NodeField.slot)) + 8 * this.firstWord(node);
  }

  refs(node: number): number {
    return this.nodes.get(node, NodeField.refs);
  }

  setRefs(node: number, refs: number): void {
    this.nodes.put(node, NodeField.refs, refs);
  }

  /** The node of that identity at `pa`; 0 when there is none. */
  find(kind: number, level: number, owner: number, base: number, pa: number, limits = 0): number {
    if (!this.memory.isRam(pa)) return 0;
    const what = kind | (level << 4) | (limits << 8);
    const word = (pa & 4095) >>> 3;
    const lo = loOf(base);
    const hi = hiOf(base);
    for (let node = this.first(this.memory.slotOf(pa)); node !== 0; node = this.next(node)) {
      if (
        this.nodes.get(node, NodeField.what) === what &&
        this.nodes.get(node, NodeField.owner) === owner &&
        this.nodes.get(node, NodeField.baseLo) === lo &&
        this.nodes.get(node, NodeField.baseHi) === hi &&
        this.firstWord(node) === word
      ) {
        return node;
      }
    }
    return 0;
  }

  /**
   * Makes a node with one reference for `count` 64-bit words at `pa`, all on one page, and watches the page.
   * @returns 0 when there is no RAM there, or the page holds too many nodes already
   */
  add(kind: number, level: number, owner: number, base: number, pa: number, count: number, limits = 0): number {
    if (!this.memory.isRam(pa)) return 0;
    const slot = this.memory.slotForWrite(pa);
    let depth = 0;
    for (let other = this.first(slot); other !== 0; other = this.next(other)) depth++;
    if (depth >= MOST_PER_PAGE) {
      this.memory.put(this.header + 2, this.lost + 1);
      return 0;
    }
    const node = this.take();
    const first = this.first(slot);
    const at = this.nodes.atForWrite(node);
    const words = this.memory.edit(at, NODE_WORDS);
    words[at + NodeField.next] = first;
    words[at + NodeField.what] = kind | (level << 4) | (limits << 8);
    words[at + NodeField.owner] = owner;
    words[at + NodeField.baseLo] = loOf(base);
    words[at + NodeField.baseHi] = hiOf(base);
    words[at + NodeField.range] = ((pa & 4095) >>> 3) | (count << 16);
    words[at + NodeField.refs] = 1;
    words[at + NodeField.slot] = slot;
    this.setHead(slot, node);
    return node;
  }

  /** Takes a node out of its page's list and frees it. */
  remove(node: number): void {
    const slot = this.nodes.get(node, NodeField.slot);
    const after = this.next(node);
    let head = this.first(slot);
    if (head === node) {
      head = after;
    } else {
      let before = head;
      while (this.next(before) !== node) before = this.next(before);
      this.nodes.put(before, NodeField.next, after);
    }
    this.setHead(slot, head);
    this.nodes.clear(node);
    this.nodes.put(node, NodeField.next, this.memory.words[this.header + 1]!);
    this.memory.put(this.header + 1, node);
  }

  /** Makes `first` the first node of the page in `slot`. */
  private setHead(slot: number, first: number): void {
    let flag = first === 0 ? 0 : ONLY_LAST_LEVEL;
    for (let node = first; node !== 0; node = this.next(node)) {
      if ((this.nodes.get(node, NodeField.what) & 0xff) !== (NodeKind.table | (3 << 4))) flag = 0;
    }
    this.heads.put(slot, 0, (first << 1) | flag);
    this.memory.setWatched(slot, this.bit, first !== 0);
  }

  private take(): number {
    const words = this.memory.words;
    const free = words[this.header + 1]!;
    if (free !== 0) {
      this.memory.put(this.header + 1, this.next(free));
      return free;
    }
    const node = words[this.header]! + 1;
    this.memory.put(this.header, node);
    return node;
  }
}
