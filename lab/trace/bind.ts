/**
 * Which translation tables of a frozen machine belong to which root of its log. Only the kernel's pointer to the first
 * table page ties them: in one run, pointer minus physical address is the same constant for every root.
 */
import { livePages } from './live.ts';
import type { OperationLog } from './operation.ts';

/** A set of tables and the streams that use it. */
export interface BoundTable {
  /** Physical address of the first table page. */
  readonly table: number;
  readonly sids: readonly number[];
}

/**
 * The tables of each root, by root number. A root whose pointer the log does not tell gets the tables, left over by
 * the others, that hold everything it has mapped at the end: `holds` says whether a stream's tables lead from `iova`
 * to `pa`. Roots that match nothing (their domain is gone) are absent.
 */
export function bindRoots(
  log: OperationLog,
  tables: readonly BoundTable[],
  holds: (sid: number, iova: number, pa: number) => boolean,
): ReadonlyMap<number, BoundTable> {
  const bound = new Map<number, BoundTable>();
  const delta = commonDelta(log, tables);
  for (const { id, pgd } of log.roots) {
    const table =
      pgd === null ? undefined : tables.find((candidate) => BigInt(pgd) - BigInt(candidate.table) === delta);
    if (table !== undefined) bound.set(id, table);
  }
  const pages = livePages(log.operations);
  for (const { id, pgd } of log.roots) {
    const own = pages.filter((page) => page.root === id);
    if (pgd !== null || own.length === 0) continue;
    const left = tables.filter((candidate) => ![...bound.values()].includes(candidate));
    const table = left.find(({ sids }) => own.every(({ iova, pa }) => holds(sids[0]!, iova, pa)));
    if (table !== undefined) bound.set(id, table);
  }
  return bound;
}

/** The difference of pointer and address that ties the most tables; null when no root has a pointer. */
function commonDelta(log: OperationLog, tables: readonly BoundTable[]): bigint | null {
  const votes = new Map<bigint, Set<number>>();
  for (const { pgd } of log.roots) {
    if (pgd === null) continue;
    for (const { table } of tables) {
      const delta = BigInt(pgd) - BigInt(table);
      votes.set(delta, (votes.get(delta) ?? new Set()).add(table));
    }
  }
  let best: bigint | null = null;
  for (const [delta, voters] of votes) if (best === null || voters.size > votes.get(best)!.size) best = delta;
  return best;
}
