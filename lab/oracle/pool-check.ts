/**
 * The pools in a full check: free lists hold free pages of the hypervisor's, once, in blocks that are aligned to their size,
 * marked as free, and joined where two make a larger one; counts are those of what is there.
 */

import { POOL_ORDER_MAX } from '#hyp/layout';
import { type Facts, PAGE } from './facts.ts';
import { type Findings, hex } from './findings.ts';
import type { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { type LayoutReader, PageWord } from './layout-reader.ts';

export class PoolCheck {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly findings: Findings;
  private readonly reader: LayoutReader;

  constructor(facts: Facts, ghost: Ghost, findings: Findings, reader: LayoutReader) {
    this.facts = facts;
    this.ghost = ghost;
    this.findings = findings;
    this.reader = reader;
  }

  /** Go through all free lists. @param roles by page: not 0 where a structure was met; what is free is noted as 2 */
  check(roles: Uint8Array): void {
    for (const pool of [0, 1]) {
      let free = 0;
      for (let order = 0; order <= POOL_ORDER_MAX; order++) free += this.freeList(pool, order, roles);
      if (free === this.reader.poolFreePages(pool)) continue;
      const text = `pool ${pool} counts ${this.reader.poolFreePages(pool)} free pages; its lists hold ${free}`;
      this.findings.add('allocation', 'pool-count', text, { pool, free });
    }
  }

  private freeList(pool: number, order: number, roles: Uint8Array): number {
    let pages = 0;
    for (let pa = this.reader.poolHead(pool, order); pa !== 0; pa = this.facts.read64(pa)) {
      for (let i = 0; i < 2 ** order; i++) {
        const page = this.facts.pageOf(pa + i * PAGE);
        if (page < 0 || roles[page] !== 0 || this.ghost.pages.owner(page) !== Owner.hyp) {
          const text = `${hex(pa + i * PAGE)} is on a free list of pool ${pool}, and is no free page of the hypervisor's`;
          this.findings.add('allocation', 'free-list', text, { pa: pa + i * PAGE, pool });
          return pages;
        }
        roles[page] = 2;
        this.references(pa + i * PAGE, page, 0, 'is free');
        pages++;
      }
      this.freeBlock(pool, pa, order);
    }
    return pages;
  }

  /** A page of a pool counts one reference while it is lent, and none while it is free. */
  references(pa: number, page: number, expected: number, what: string): void {
    const found = PageWord.references(this.reader.page(page));
    if (found === expected) return;
    this.findings.add('refcount', 'pool-page', `${hex(pa)} ${what}, and counts ${found} references`, { pa, found });
  }

  /** A free block is marked as one, and has been joined with its buddy if that is free, too. */
  private freeBlock(pool: number, pa: number, order: number): void {
    if (!this.isMarkedFree(pool, pa, order)) {
      const text = `${hex(pa)} is on the list of free blocks of ${2 ** order} pages of pool ${pool}; its record says otherwise`;
      this.findings.add('allocation', 'free-mark', text, { pa, pool });
    }
    const size = 2 ** order * PAGE;
    if (pa % size !== 0) {
      const text = `${hex(pa)}, a free block of ${2 ** order} pages of pool ${pool}, is not aligned to its size`;
      this.findings.add('allocation', 'unaligned', text, { pa, pool });
    }
    const buddy = (pa / size) % 2 === 0 ? pa + size : pa - size;
    if (order === POOL_ORDER_MAX || !this.isMarkedFree(pool, buddy, order)) return;
    const text = `${hex(pa)} and ${hex(buddy)}, free blocks of ${2 ** order} pages of pool ${pool}, were not joined`;
    this.findings.add('allocation', 'not-joined', text, { pa, pool });
  }

  /** Whether the record of the page at `pa` says that a free block of 2^order pages of that pool begins there. */
  private isMarkedFree(pool: number, pa: number, order: number): boolean {
    const page = this.facts.pageOf(pa);
    if (page < 0) return false;
    const record = this.reader.page(page);
    return PageWord.freeOrder(record) === order + 1 && PageWord.freePool(record) === pool;
  }
}
