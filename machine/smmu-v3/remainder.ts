/** What an invalidation of a table descriptor leaves in the caches of all that lay below it. */

/** Bit of {@link Remainder.spared} for leaves of a level. */
export function leafClass(level: number, global: boolean): number {
  return 1 << (level + (global ? 4 : 0));
}

/** Bit of {@link Remainder.spared} for table descriptors of a level. */
export function tableClass(level: number): number {
  return 1 << (8 + level);
}

/**
 * What of the tables that are let go stays cached, and so becomes stale: all outside of the input pages [from, to) that
 * an invalidation covered, and what the invalidation spared inside.
 */
export class Remainder {
  from = -Infinity;
  to = Infinity;
  /** Classes of what an invalidation spared: bits of {@link leafClass} and {@link tableClass}. */
  spared = 0;
  /** Stage-2 leaves that are covered stay in combination with stage 1. */
  combined = false;

  /** Whether all goes. */
  get isNothing(): boolean {
    return this.from === -Infinity && this.spared === 0 && !this.combined;
  }
}

export const NOTHING = new Remainder();

/** Spares the global leaves of every level. */
export const SPARES_GLOBALS = 0xf0;

/** What a command leaves alone below a table descriptor that it covers, as {@link Remainder.spared}. */
export function sparedBy({ sparesGlobal, ttl }: { readonly sparesGlobal: boolean; readonly ttl: number }): number {
  let spared = sparesGlobal ? SPARES_GLOBALS : 0;
  if (ttl === 0) return spared;
  for (let level = 0; level <= 3; level++) {
    if (level !== ttl) spared |= leafClass(level, false) | leafClass(level, true);
    if (level >= ttl) spared |= tableClass(level);
  }
  return spared;
}
