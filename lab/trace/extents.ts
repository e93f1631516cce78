/**
 * Matching for logs that name no domain. Several domains use the same IOVAs, so an unmap may mean any of several live
 * mappings: the one of the same address and size, else a union of adjacent ones, the newest first. That keeps the
 * number of live mappings of each IOVA right, which is all such a log can tell. Every mapping is given a root, the
 * first one where its addresses are free, so that a replay never maps twice into the same table.
 */

/** A live mapping. */
interface Extent {
  readonly root: number;
  readonly iova: number;
  readonly pa: number;
  readonly size: number;
}

/** A piece of an unmap, within one root. */
export interface Piece {
  readonly root: number;
  readonly iova: number;
  readonly size: number;
}

const PAGE = 4096;

export class ExtentMatcher {
  /** Statistics; see OperationStatistics. */
  unions = 0;
  ambiguous = 0;
  split = 0;
  unmatched = 0;
  private readonly newRoot: () => number;
  private readonly roots: number[] = [];
  /** Pages in use, per root in the order of `roots`. */
  private readonly used: Set<number>[] = [];
  /** Live mappings by their first address, oldest first. */
  private readonly live = new Map<number, Extent[]>();

  /** @param newRoot makes a root and returns its number */
  constructor(newRoot: () => number) {
    this.newRoot = newRoot;
  }

  /**
   * A mapping of [iova, iova + size). `reach` is the end of the run of adjacent mappings that begins here: a
   * scatter list, which will be unmapped as one and so belongs into one root. Returns the root.
   */
  map(iova: number, pa: number, size: number, reach: number, preferred: number | null): number {
    let at = preferred === null ? -1 : this.roots.indexOf(preferred);
    if (at < 0 || !this.isFree(at, iova, size)) {
      at = this.roots.findIndex((_, i) => this.isFree(i, iova, reach - iova));
      if (at < 0) {
        at = this.roots.length;
        this.roots.push(this.newRoot());
        this.used.push(new Set());
      }
    }
    const root = this.roots[at]!;
    this.insert({ root, iova, pa, size }, at);
    return root;
  }

  /** What an unmap of [iova, iova + size) removes; empty when nothing there is mapped. */
  unmap(iova: number, size: number): Piece[] {
    const here = this.live.get(iova);
    const same = here?.filter((extent) => extent.size === size) ?? [];
    if (same.length > 0) {
      if (same.some((extent) => extent.pa !== same[0]!.pa)) this.ambiguous++;
      const extent = same.at(-1)!;
      this.remove(extent);
      return [{ root: extent.root, iova, size }];
    }
    const chain = this.chain(iova, iova + size);
    if (chain !== null) {
      this.unions++;
      for (const extent of chain) this.remove(extent);
      return this.pieces(chain);
    }
    return this.cut(iova, size);
  }

  /** Live mappings, for whoever resolves their roots. */
  extents(): Extent[] {
    return [...this.live.values()].flat();
  }

  /** Adjacent mappings that make up [from, end): within one root where that is possible. */
  private chain(from: number, end: number): Extent[] | null {
    const firsts = this.live.get(from);
    if (firsts === undefined) return null;
    let ambiguous = false;
    const extend = (at: number, root: number | null): Extent[] | null => {
      if (at === end) return [];
      const candidates = (this.live.get(at) ?? []).filter((extent) => {
        return extent.iova + extent.size <= end && (root === null || extent.root === root);
      });
      for (let i = candidates.length - 1; i >= 0; i--) {
        const rest = extend(at + candidates[i]!.size, root);
        if (rest === null) continue;
        if (root === null && candidates.some((other) => other.pa !== candidates[i]!.pa)) ambiguous = true;
        return [candidates[i]!, ...rest];
      }
      return null;
    };
    const chains: Extent[][] = [];
    for (const root of new Set(firsts.toReversed().map((extent) => extent.root))) {
      const found = extend(from, root);
      if (found !== null) chains.push(found);
    }
    const chosen = chains[0] ?? extend(from, null);
    if (ambiguous || chains.some((other) => differ(other, chains[0]!))) this.ambiguous++;
    return chosen;
  }

  /** Removes part of one larger mapping and keeps what is around it. */
  private cut(iova: number, size: number): Piece[] {
    const whole = this.extents().findLast((extent) => {
      return extent.iova <= iova && extent.iova + extent.size >= iova + size;
    });
    if (whole === undefined) {
      this.unmatched++;
      return [];
    }
    const { root, pa } = whole;
    const at = this.roots.indexOf(root);
    this.remove(whole);
    const before = iova - whole.iova;
    const after = whole.size - before - size;
    if (before > 0) this.insert({ root, iova: whole.iova, pa, size: before }, at);
    if (after > 0) this.insert({ root, iova: iova + size, pa: pa + before + size, size: after }, at);
    return [{ root, iova, size }];
  }

  /** A chain as pieces: neighbours within one root are one piece. */
  private pieces(chain: readonly Extent[]): Piece[] {
    const pieces: { root: number; iova: number; size: number }[] = [];
    for (const { root, iova, size } of chain) {
      const last = pieces.at(-1);
      if (last?.root === root) last.size += size;
      else pieces.push({ root, iova, size });
    }
    if (pieces.length > 1) this.split++;
    return pieces;
  }

  private isFree(at: number, iova: number, size: number): boolean {
    const used = this.used[at]!;
    const end = iova + size;
    for (let page = Math.floor(iova / PAGE); page * PAGE < end; page++) if (used.has(page)) return false;
    return true;
  }

  private insert(extent: Extent, at: number): void {
    const here = this.live.get(extent.iova);
    if (here === undefined) this.live.set(extent.iova, [extent]);
    else here.push(extent);
    const end = extent.iova + extent.size;
    for (let page = Math.floor(extent.iova / PAGE); page * PAGE < end; page++) this.used[at]!.add(page);
  }

  private remove(extent: Extent): void {
    const here = this.live.get(extent.iova)!;
    if (here.length === 1) this.live.delete(extent.iova);
    else here.splice(here.indexOf(extent), 1);
    const used = this.used[this.roots.indexOf(extent.root)]!;
    const end = extent.iova + extent.size;
    for (let page = Math.floor(extent.iova / PAGE); page * PAGE < end; page++) used.delete(page);
  }
}

function differ(a: readonly Extent[], b: readonly Extent[]): boolean {
  return a.length !== b.length || a.some((extent, i) => extent.pa !== b[i]!.pa);
}
