/**
 * What is mapped, as the calls have made it: for every domain the set of its leaves (input address, level, output
 * address, meaning). A trie of 512-way nodes in journaled words, so that a range is visited in order and nothing is
 * hashed. A leaf of level 1, 2 or 3 stands for 1 GiB, 2 MiB or 4 KiB.
 *
 * Nodes stay until their domain is freed. A node counts the leaves it holds itself.
 */

import type { PhysicalMemory } from '#machine/memory';
import { PAGE } from './facts.ts';
import { RecordFile } from './record-file.ts';

/** Leaves in the node, nodes below it, then its entries of two words each. */
const LEAVES = 0;
const NODES = 1;
const ENTRIES = 2;
const STRIDE = ENTRIES + 2 * 512;
const NODE = 1;
const LEAF = 1 << 31;
const MEANING_SHIFT = 16;
const MEANING_MASK = 0x7fff;
const TWO18 = 262144;

/** Bytes of a leaf of each level. */
export const LEAF_BYTES: readonly number[] = [2 ** 39, 2 ** 30, 2 ** 21, PAGE];
/** Pages of a leaf of each level. */
export const LEAF_PAGES: readonly number[] = [2 ** 27, 2 ** 18, 512, 1];

export class Maplets {
  /** Level at which the last {@link find} stopped. */
  level = 0;
  /** First word of the node that holds the entry found. */
  private holder = 0;
  private readonly memory: PhysicalMemory;
  private readonly nodes: RecordFile;

  constructor(memory: PhysicalMemory) {
    this.memory = memory;
    this.nodes = new RecordFile(memory, STRIDE, 5);
  }

  /** A fresh, empty set: the number of its root node. */
  make(): number {
    return this.nodes.alloc();
  }

  /**
   * The entry that decides `iova` in the set `root`, looked for down to `level`: where it stands is left in
   * {@link level}. Ask {@link isLeaf} and {@link isNode} what it is.
   */
  find(root: number, iova: number, level: number): number {
    const page = iova / PAGE;
    const high = (page / TWO18) | 0;
    const low = page - high * TWO18;
    const { words } = this.memory;
    let holder = this.nodes.at(root);
    let at = holder + ENTRIES + 2 * (high >>> 9);
    let current = 0;
    while (current < level && words[at + 1] === NODE) {
      current++;
      const slot = current === 1 ? high & 511 : current === 2 ? low >>> 9 : low & 511;
      holder = this.nodes.at(words[at]!);
      at = holder + ENTRIES + 2 * slot;
    }
    this.holder = holder;
    this.level = current;
    return at;
  }

  isLeaf(at: number): boolean {
    return this.memory.words[at + 1]! < 0;
  }

  isNode(at: number): boolean {
    return this.memory.words[at + 1] === NODE;
  }

  /** First page number that the leaf at `at` leads to. */
  targetPage(at: number): number {
    return (this.memory.words[at + 1]! & 0xff) * 4294967296 + (this.memory.words[at]! >>> 0);
  }

  meaning(at: number): number {
    return (this.memory.words[at + 1]! >>> MEANING_SHIFT) & MEANING_MASK;
  }

  /** Whether any leaf stands below the node at entry `at`. `level` is that of the entry. */
  hasLeaves(at: number, level: number): boolean {
    if (!this.isNode(at)) return false;
    const node = this.nodes.at(this.memory.words[at]!);
    if (this.memory.words[node + LEAVES] !== 0) return true;
    if (level === 2 || this.memory.words[node + NODES] === 0) return false;
    for (let i = 0; i < 512; i++) if (this.hasLeaves(node + ENTRIES + 2 * i, level + 1)) return true;
    return false;
  }

  /** Put a leaf where there is none, nor any below or above it. */
  insert(root: number, iova: number, level: number, targetPage: number, meaning: number): void {
    const { memory } = this;
    let at = this.find(root, iova, level);
    while (this.level < level) {
      memory.put(at, this.nodes.alloc());
      memory.put(at + 1, NODE);
      memory.put(this.holder + NODES, memory.words[this.holder + NODES]! + 1);
      at = this.find(root, iova, level);
    }
    if (this.isNode(at)) {
      this.freeNode(memory.words[at]!);
      memory.put(this.holder + NODES, memory.words[this.holder + NODES]! - 1);
    }
    this.insertFound(at, targetPage, meaning);
  }

  /** {@link insert} at the entry that {@link find} has just given, which is at the level of the leaf and empty. */
  insertFound(at: number, targetPage: number, meaning: number): void {
    const { memory } = this;
    const words = memory.edit(at, 2);
    words[at] = targetPage | 0;
    words[at + 1] = LEAF | (meaning << MEANING_SHIFT) | ((targetPage / 4294967296) & 0xff);
    memory.put(this.holder + LEAVES, words[this.holder + LEAVES]! + 1);
  }

  /** {@link remove} the leaf at the entry that {@link find} has just given. */
  removeFound(at: number): void {
    const { memory } = this;
    const words = memory.edit(at, 2);
    words[at] = 0;
    words[at + 1] = 0;
    memory.put(this.holder + LEAVES, words[this.holder + LEAVES]! - 1);
  }

  /** Remove the leaf of exactly that level. */
  remove(root: number, iova: number, level: number): void {
    const at = this.find(root, iova, level);
    if (this.level === level && this.isLeaf(at)) this.removeFound(at);
  }

  /** Calls `visit` with each leaf at or below entry `at` of `level`, whose span begins at `iova`, in order. */
  forEachBelow(
    at: number,
    level: number,
    iova: number,
    visit: (iova: number, level: number, at: number) => void,
  ): void {
    if (this.isLeaf(at)) {
      visit(iova, level, at);
      return;
    }
    if (!this.isNode(at)) return;
    this.forEachIn(this.memory.words[at]!, level + 1, iova, visit);
  }

  /** The same for all entries of a node, of which `level` is the level. Those that are empty are not looked for. */
  private forEachIn(
    id: number,
    level: number,
    iova: number,
    visit: (iova: number, level: number, at: number) => void,
  ): void {
    const { words } = this.memory;
    const node = this.nodes.at(id);
    let left = words[node + LEAVES]! + words[node + NODES]!;
    const span = LEAF_BYTES[level]!;
    for (let i = 0; left > 0; i++) {
      const at = node + ENTRIES + 2 * i;
      if (words[at + 1] === 0) continue;
      left--;
      this.forEachBelow(at, level, iova + i * span, visit);
    }
  }

  /** Calls `visit` with each leaf of the set, in order of input address. */
  forEach(root: number, visit: (iova: number, level: number, at: number) => void): void {
    this.forEachIn(root, 0, 0, visit);
  }

  /** Free a whole set. */
  free(root: number): void {
    this.freeNode(root);
  }

  private freeNode(id: number): void {
    const node = this.nodes.at(id);
    const { memory } = this;
    let left = memory.words[node + LEAVES]! + memory.words[node + NODES]!;
    for (let at = node + ENTRIES; left > 0; at += 2) {
      const kind = memory.words[at + 1]!;
      if (kind === 0) continue;
      left--;
      if (kind === NODE) this.freeNode(memory.words[at]!);
      memory.put(at, 0);
      memory.put(at + 1, 0);
    }
    memory.put(node + LEAVES, 0);
    memory.put(node + NODES, 0);
    this.nodes.freeEmpty(id);
  }
}
