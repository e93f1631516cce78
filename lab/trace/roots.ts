/**
 * The translation roots of a log: named by the kernel's pointers where probes tell them, inferred where they do not.
 *
 * Boot-time mappings come before the probes and so without a name. Their root is a named one if the log says so: a
 * root that unmaps what it never mapped, or the only one that never maps those addresses itself.
 */
import type { TranslationRoot } from './operation.ts';

interface Root {
  id: number;
  readonly ops: string | null;
  pgd: string | null;
  readonly origin: 'probe' | 'inferred';
}

/** A boot-time mapping that waits to be claimed. */
interface BootExtent {
  readonly root: number;
  readonly iova: number;
  readonly end: number;
  live: boolean;
}

export class RootTable {
  private readonly roots: Root[] = [];
  private readonly byOps = new Map<string, Root>();
  private readonly boot: BootExtent[] = [];
  /** Per inferred root: the named roots that map its addresses themselves, and so are others. */
  private readonly rivals = new Map<number, Set<number>>();
  private readonly claims = new Map<number, number>();

  /** A root the log does not name. */
  infer(): number {
    const id = this.roots.length;
    this.roots.push({ id, ops: null, pgd: null, origin: 'inferred' });
    return id;
  }

  /** The root of a map call. A table page that moves means another root. */
  named(ops: string, pgd: string): number {
    const known = this.byOps.get(ops);
    if (known !== undefined && (known.pgd === pgd || known.pgd === null)) {
      known.pgd = pgd;
      return known.id;
    }
    return this.add(ops, pgd);
  }

  /** The root of an unmap call, which does not tell the table page. */
  ofOps(ops: string): number {
    return this.byOps.get(ops)?.id ?? this.add(ops, null);
  }

  /** A boot-time mapping in an inferred root. */
  addBoot(root: number, iova: number, size: number): void {
    this.boot.push({ root, iova, end: iova + size, live: true });
  }

  /** A named root maps [iova, end): it is not the one whose boot-time mapping lies there. */
  maps(root: number, iova: number, end: number): void {
    for (const extent of this.boot) {
      if (!extent.live || iova >= extent.end || end <= extent.iova || this.claims.get(extent.root) === root) continue;
      const rivals = this.rivals.get(extent.root) ?? new Set();
      this.rivals.set(extent.root, rivals.add(root));
    }
  }

  /** A named root unmaps [iova, end): what it never mapped there was mapped at boot. */
  unmaps(root: number, iova: number, end: number): void {
    for (const extent of this.boot) {
      if (!extent.live || iova >= extent.end || end <= extent.iova) continue;
      if (this.rivals.get(extent.root)?.has(root) === true) continue;
      this.claims.set(extent.root, root);
      extent.live = false;
    }
  }

  /** Ends the log: for each root as numbered so far, its number in the table that is returned. */
  settle(): { roots: TranslationRoot[]; renumber: (root: number) => number } {
    const open = new Set(this.boot.map((extent) => extent.root).filter((root) => !this.claims.has(root)));
    const named = this.roots.filter(({ origin }) => origin === 'probe');
    for (const root of open.size === 1 ? open : []) {
      const candidates = named.filter(({ id }) => !(this.rivals.get(root)?.has(id) ?? false) && !this.isClaimer(id));
      if (candidates.length === 1) this.claims.set(root, candidates[0]!.id);
    }
    const kept = this.roots.filter(({ id }) => !this.claims.has(id));
    const position = new Map(kept.map(({ id }, i) => [id, i]));
    return {
      roots: kept.map(({ ops, pgd, origin }, id) => ({ id, ops, pgd, origin })),
      renumber: (root) => position.get(this.claims.get(root) ?? root)!,
    };
  }

  private isClaimer(root: number): boolean {
    return [...this.claims.values()].includes(root);
  }

  private add(ops: string, pgd: string | null): number {
    const root: Root = { id: this.roots.length, ops, pgd, origin: 'probe' };
    this.roots.push(root);
    this.byOps.set(ops, root);
    return root.id;
  }
}
