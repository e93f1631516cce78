/**
 * The life of a page table: configured, allocated or opened again, freed.
 */
import type { Steps } from '#machine';
import { Errno } from './errno.ts';
import { formats } from './formats/index.ts';
import { freeTables } from './free.ts';
import type { PageTable, PageTableConfig, PageTableLayout, PageTableOps } from './types.ts';

/** Hardware fetches the first table in units of this many bytes. */
const MIN_PGD_BYTES = 64;
const PAGE_BYTES = 4096;

/**
 * Works out the shape of a page table and what the hardware must be told, without allocating anything.
 *
 * @returns the layout, in which page sizes, `ias` and `oas` are restricted to what the format can do, or a negative errno
 *   when the configuration is refused
 */
export function configurePageTable(config: PageTableConfig): PageTableLayout | number {
  return formats[config.fmt].configure(config);
}

/** Bytes to allocate for the first table. */
export function pgdBytes(layout: PageTableLayout): number {
  return Math.max(layout.pgdSize, MIN_PGD_BYTES);
}

/**
 * Allocates an empty page table.
 *
 * @returns the page table, or a negative errno: `EINVAL` when the configuration is refused, `ENOMEM`
 */
export function* allocPageTable(ops: PageTableOps, config: PageTableConfig): Steps<PageTable | number> {
  const layout = configurePageTable(config);
  if (typeof layout === 'number') return layout;
  const root = yield* ops.allocTable(pgdBytes(layout));
  if (root === 0) return Errno.ENOMEM;
  // The empty table must be visible before a register points to it.
  yield { kind: 'barrier', at: 0 };
  return made(ops, layout, root);
}

/**
 * Opens a page table that exists, without touching memory.
 *
 * @param config what it was allocated with, or, to save the work, the layout that came of it
 * @param root physical address of its first table
 * @throws RangeError when there can be no such page table
 */
export function openPageTable(ops: PageTableOps, config: PageTableConfig | PageTableLayout, root: number): PageTable {
  const layout = 'format' in config ? config : configurePageTable(config);
  if (typeof layout === 'number') throw new RangeError(`no ${config.fmt} page table has this configuration`);
  return made(ops, layout, root);
}

function made(ops: PageTableOps, layout: PageTableLayout, root: number): PageTable {
  const page = root / PAGE_BYTES;
  // Concatenated tables are more than a page, and small ones less.
  const isPage = layout.granule === PAGE_BYTES && layout.pgdSize === PAGE_BYTES && page === (page | 0);
  return { ops, root, rootPage: isPage ? page | 0 : -1, layout };
}

/** Frees a page table and all tables below, children before parents. What they mapped is no longer cached when it starts. */
export function* freePageTable(pt: PageTable): Steps<void> {
  yield* pt.ops.flushAll();
  yield* freeTables(pt, pt.root, pt.layout.startLevel, pgdBytes(pt.layout));
}
