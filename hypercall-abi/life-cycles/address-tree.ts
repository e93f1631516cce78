/**
 * What is mapped where, for several address spaces at once: IOVAs of domains, guest addresses of VMs. A four-level radix
 * tree over 48-bit addresses in one typed array; a run of 1 GiB or 2 MiB that is aligned on both sides takes one entry,
 * and is split when part of it goes. Work and memory are bounded by what the page tables themselves need.
 *
 * Addresses and sizes are in bytes; what is not a multiple of 4 KiB is widened to whole pages.
 */

const PAGE = 4096;
const ENTRIES = 512;
/** Bytes that one entry spans, by level. */
const SPANS = [2 ** 39, 2 ** 30, 2 ** 21, PAGE] as const;
const LAST = 3;
const TOP_PAGES = 2 ** 18;

/** Addresses from here on are not followed. */
export const ADDRESS_LIMIT = 2 ** 48;

/** Is told of every run of targets that has been removed or replaced. */
export interface RunSink {
  /** @param target address of the first byte; @param size in bytes, a multiple of 4 KiB */
  run(target: number, size: number): void;
}

/** An entry is 0, a table (twice its number), or a leaf (its target plus 1, which is odd). */
const leaf = (target: number) => target + 1;
const isLeaf = (entry: number) => entry % 2 === 1;

export class AddressTree {
  readonly #roots: Int32Array;
  #entries = new Float64Array(16 * ENTRIES);
  /** Entries in use, by node. */
  #used = new Int32Array(16);
  readonly #freeNodes: number[] = [];
  #nodes = 1;

  /** @param spaces number of address spaces */
  constructor(spaces: number) {
    this.#roots = new Int32Array(spaces);
  }

  /** Forget everything. */
  reset(): void {
    this.#roots.fill(0);
    this.#entries.fill(0, 0, this.#nodes * ENTRIES);
    this.#used.fill(0, 0, this.#nodes);
    this.#freeNodes.length = 0;
    this.#nodes = 1;
  }

  /** Map [address, address + size) to `target`; what was there goes to `sink`. */
  insert(space: number, address: number, target: number, size: number, sink: RunSink): void {
    if (size === PAGE && address % PAGE === 0 && target % PAGE === 0 && address < ADDRESS_LIMIT) {
      this.#insertPage(space, address, target, sink);
      return;
    }
    let at = address - (address % PAGE);
    let to = target - (target % PAGE);
    const end = Math.min(Math.ceil((address + size) / PAGE) * PAGE, ADDRESS_LIMIT);
    if (at >= end) return;
    this.remove(space, at, end - at, sink);
    while (at < end) {
      let level = 1;
      while (level < LAST && (at % SPANS[level]! !== 0 || to % SPANS[level]! !== 0 || end - at < SPANS[level]!))
        level++;
      this.#put(space, at, to, level);
      at += SPANS[level]!;
      to += SPANS[level]!;
    }
  }

  /** Unmap [address, address + size); what was there goes to `sink`. @returns bytes that were mapped */
  remove(space: number, address: number, size: number, sink: RunSink): number {
    const root = this.#roots[space]!;
    if (size === PAGE && root !== 0 && this.#removePage(root, address, sink)) return PAGE;
    const from = address - (address % PAGE);
    const to = Math.min(Math.ceil((address + size) / PAGE) * PAGE, ADDRESS_LIMIT);
    if (root === 0 || from >= to) return 0;
    const removed = this.#removeFrom(root, 0, from, to, sink);
    if (this.#used[root] === 0) {
      this.#roots[space] = 0;
      this.#freeNodes.push(root);
    }
    return removed;
  }

  /** Unmap a whole space. */
  clear(space: number, sink: RunSink): void {
    this.remove(space, 0, ADDRESS_LIMIT, sink);
  }

  /** Tell `sink` what is mapped in [address, address + size), without removing it. */
  visit(space: number, address: number, size: number, sink: RunSink): void {
    const root = this.#roots[space]!;
    const to = Math.min(address + size, ADDRESS_LIMIT);
    if (root !== 0 && address < to) this.#visitFrom(root, 0, address, to, sink);
  }

  /** Address that `address` maps to, or -1. */
  lookup(space: number, address: number): number {
    let node = this.#roots[space]!;
    if (node === 0 || address >= ADDRESS_LIMIT) return -1;
    for (let level = 0; ; level++) {
      const span = SPANS[level]!;
      const entry = this.#entries[node * ENTRIES + (Math.floor(address / span) % ENTRIES)]!;
      if (entry === 0) return -1;
      if (isLeaf(entry)) return entry - 1 + (address % span);
      node = entry / 2;
    }
  }

  #insertPage(space: number, address: number, target: number, sink: RunSink): void {
    const at = this.#slotOfPage(space, address);
    if (at < 0) {
      // Inside a larger run, which has to be split.
      this.remove(space, address, PAGE, sink);
      this.#put(space, address, target, LAST);
      return;
    }
    const old = this.#entries[at]!;
    if (old !== 0) sink.run(old - 1, PAGE);
    else this.#used[Math.floor(at / ENTRIES)]!++;
    this.#entries[at] = leaf(target);
  }

  /** Index of the 4 KiB entry for `address`, with tables made on the way; -1 where a larger run is in the way. */
  #slotOfPage(space: number, address: number): number {
    const page = address / PAGE;
    const high = Math.floor(page / TOP_PAGES);
    const low = page - high * TOP_PAGES;
    let node = this.#child(this.#root(space) * ENTRIES + (high >> 9));
    if (node !== 0) node = this.#child(node * ENTRIES + (high & 511));
    if (node !== 0) node = this.#child(node * ENTRIES + (low >> 9));
    return node === 0 ? -1 : node * ENTRIES + (low & 511);
  }

  /** Remove a 4 KiB entry; its table stays, as in the hypervisor. @returns false where there is no such entry */
  #removePage(root: number, address: number, sink: RunSink): boolean {
    if (address % PAGE !== 0 || address >= ADDRESS_LIMIT) return false;
    const page = address / PAGE;
    const high = Math.floor(page / TOP_PAGES);
    const low = page - high * TOP_PAGES;
    const top = this.#entries[root * ENTRIES + (high >> 9)]!;
    if (top === 0) return false;
    const upper = this.#entries[(top / 2) * ENTRIES + (high & 511)]!;
    if (upper === 0 || isLeaf(upper)) return false;
    const lower = this.#entries[(upper / 2) * ENTRIES + (low >> 9)]!;
    if (lower === 0 || isLeaf(lower)) return false;
    const node = lower / 2;
    const old = this.#entries[node * ENTRIES + (low & 511)]!;
    if (old === 0) return false;
    this.#entries[node * ENTRIES + (low & 511)] = 0;
    this.#used[node]!--;
    sink.run(old - 1, PAGE);
    return true;
  }

  /** Enter a run of the span of `level`, where nothing is. */
  #put(space: number, address: number, target: number, level: number): void {
    let node = this.#root(space);
    for (let i = 0; i < level; i++) {
      node = this.#child(node * ENTRIES + (Math.floor(address / SPANS[i]!) % ENTRIES));
    }
    this.#entries[node * ENTRIES + (Math.floor(address / SPANS[level]!) % ENTRIES)] = leaf(target);
    this.#used[node]!++;
  }

  #root(space: number): number {
    if (this.#roots[space] === 0) this.#roots[space] = this.#addNode();
    return this.#roots[space]!;
  }

  /** The table at index `at`, made if there is nothing; 0 for a leaf. */
  #child(at: number): number {
    const entry = this.#entries[at]!;
    if (entry !== 0) return isLeaf(entry) ? 0 : entry / 2;
    const node = this.#addNode();
    this.#entries[at] = 2 * node;
    this.#used[Math.floor(at / ENTRIES)]!++;
    return node;
  }

  /** An empty node. A node that becomes free is empty too. */
  #addNode(): number {
    const again = this.#freeNodes.pop();
    if (again !== undefined) return again;
    if (this.#nodes === this.#used.length) {
      const entries = new Float64Array(2 * this.#entries.length);
      entries.set(this.#entries);
      const used = new Int32Array(2 * this.#used.length);
      used.set(this.#used);
      this.#entries = entries;
      this.#used = used;
    }
    return this.#nodes++;
  }

  /** Remove [from, to) of a node's span, given as offsets into it. @returns bytes that were mapped */
  #removeFrom(node: number, level: number, from: number, to: number, sink: RunSink): number {
    const span = SPANS[level]!;
    let removed = 0;
    for (let i = Math.floor(from / span); i * span < to; i++) {
      const at = node * ENTRIES + i;
      const entry = this.#entries[at]!;
      if (entry === 0) continue;
      const first = Math.max(from - i * span, 0);
      const last = Math.min(to - i * span, span);
      if (isLeaf(entry) && last - first === span) {
        this.#entries[at] = 0;
        this.#used[node]!--;
        removed += span;
        sink.run(entry - 1, span);
        continue;
      }
      const child = isLeaf(entry) ? this.#split(at, entry - 1, level) : entry / 2;
      removed += this.#removeFrom(child, level + 1, first, last, sink);
      if (this.#used[child] === 0) {
        this.#entries[at] = 0;
        this.#used[node]!--;
        this.#freeNodes.push(child);
      }
    }
    return removed;
  }

  /** Replace the run at index `at` of `level` by a table of smaller ones. */
  #split(at: number, target: number, level: number): number {
    const child = this.#addNode();
    const span = SPANS[level + 1]!;
    for (let i = 0; i < ENTRIES; i++) this.#entries[child * ENTRIES + i] = leaf(target + i * span);
    this.#used[child] = ENTRIES;
    this.#entries[at] = 2 * child;
    return child;
  }

  #visitFrom(node: number, level: number, from: number, to: number, sink: RunSink): void {
    const span = SPANS[level]!;
    for (let i = Math.floor(from / span); i * span < to; i++) {
      const entry = this.#entries[node * ENTRIES + i]!;
      if (entry === 0) continue;
      const first = Math.max(from - i * span, 0);
      const last = Math.min(to - i * span, span);
      if (isLeaf(entry)) sink.run(entry - 1 + first, last - first);
      else this.#visitFrom(entry / 2, level + 1, first, last, sink);
    }
  }
}
