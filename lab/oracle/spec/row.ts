/**
 * Rows of the call specification. For every call an ordered list: the first row whose condition holds on the state
 * before the call decides what must come back. The oracle
 * counts how often each row decided.
 */

import { Errno, type ErrnoName, errnoName, RequestType } from '#hypercall-abi';
import type { Call } from './call.ts';

/** What is allowed instead of a row's outcome when the hypervisor runs out of memory. */
export interface Shortage {
  readonly id: string;
  /** Its number among all rows. */
  index: number;
  /** Pool that ran out: 0 heap, 1 IOMMU. */
  readonly pool: number;
  /** The call has no register for a request: that memory was short shows in the pool alone. */
  readonly isSilent: boolean;
  /** Whether the outcome is this shortage, where neither a request nor the pool tells. */
  readonly claims?: (c: Call) => boolean;
  /** Errno that comes back with the request. */
  readonly errno: number;
  /** Pages that the request must ask for. */
  readonly pages: (c: Call) => number;
  /** Whether the pool has no block of that order, if it is not the pool as the call left it that says so. */
  readonly lacks?: (c: Call, order: number) => boolean;
  /** What is wrong with the outcome, beside the errno and the request; null when it is as it must be. */
  readonly accept: (c: Call) => string | null;
  /** What the call has done nevertheless. */
  readonly apply: (c: Call) => void;
}

export interface Row {
  /** Call and outcome, for example `map_pages/EEXIST`. */
  readonly id: string;
  /** Its number among all rows. */
  index: number;
  readonly when: (c: Call) => boolean;
  /** 0, or the negative errno that must come back. */
  readonly errno: number;
  readonly accept: (c: Call) => string | null;
  readonly apply: (c: Call) => void;
  readonly shortages: readonly Shortage[];
}

/** The specification of one call. */
export interface CallRules {
  /** Looks at the state before the call and keeps in the {@link Call} what several rows need. */
  readonly prepare: (c: Call) => void;
  readonly rows: readonly Row[];
  /** The call works through several mappings, each under the domain's lock and whole: others may see the first of them. */
  readonly isPiecewise?: true;
  /** Register of the first argument of the ABI as rows find it, when that is not x1. */
  readonly firstArgument?: number;
}

const always = (): boolean => true;
const nothing = (): void => {};
const right = (): null => null;

/** A row that requires an errno and no change. The id is `call/ERRNO`, with `-why` where there are several. */
export function refuse(call: string, errno: ErrnoName, when: (c: Call) => boolean, why = ''): Row {
  const id = `${call}/${errno}${why === '' ? '' : `-${why}`}`;
  return { id, index: -1, when, errno: -Errno[errno], accept: right, apply: nothing, shortages: [] };
}

/** What a row of success may have beside its name. */
export interface Success {
  readonly when?: (c: Call) => boolean;
  readonly accept?: (c: Call) => string | null;
  readonly apply?: (c: Call) => void;
  readonly shortages?: readonly Shortage[];
}

/** A row that requires 0. Without a condition it is the last one. */
export function accept(call: string, name: string, success: Success): Row {
  return {
    id: `${call}/${name}`,
    index: -1,
    when: success.when ?? always,
    errno: 0,
    accept: success.accept ?? right,
    apply: success.apply ?? nothing,
    shortages: success.shortages ?? [],
  };
}

/** What a shortage may have beside its pool. */
export interface Lack {
  readonly errno?: number;
  readonly pages?: (c: Call) => number;
  readonly accept?: (c: Call) => string | null;
  readonly apply?: (c: Call) => void;
  readonly isSilent?: boolean;
}

/** A shortage in that pool: by default -ENOMEM, a request for one page, and nothing done. */
export function lack(call: string, pool: 'heap' | 'iommu', more: Lack = {}): Shortage {
  return {
    id: `${call}/ENOMEM-${pool}`,
    index: -1,
    pool: pool === 'heap' ? 0 : 1,
    isSilent: more.isSilent ?? false,
    errno: more.errno ?? -Errno.ENOMEM,
    pages: more.pages ?? ((): number => 1),
    accept: more.accept ?? right,
    apply: more.apply ?? nothing,
  };
}

/** Whether the outcome of the call is this shortage. */
export function isShortage(c: Call, shortage: Shortage): boolean {
  if (shortage.claims !== undefined) return c.errno === shortage.errno && shortage.claims(c);
  if (shortage.isSilent) return c.errno === shortage.errno && c.poolLacks(shortage.pool, 0);
  const type = shortage.pool === 0 ? RequestType.heap : RequestType.iommu;
  return c.errno === shortage.errno && c.requestType === type;
}

/** What is wrong with a shortage that the outcome claims; null when it is as it must be. */
export function judgeShortage(c: Call, shortage: Shortage): string | null {
  if (shortage.isSilent) return shortage.accept(c);
  const pages = shortage.pages(c);
  if (c.requestPages !== pages) return `asks for ${c.requestPages} pages where ${pages} are missing`;
  const order = Math.ceil(Math.log2(pages));
  const lacks = shortage.lacks?.(c, order) ?? c.poolLacks(shortage.pool, order);
  if (!lacks) return 'asks for memory although the pool has some';
  return shortage.accept(c);
}

/** What is wrong with an outcome that the row decides; null when it is as required. */
export function judge(c: Call, row: Row): string | null {
  if (c.errno !== row.errno) return `gave ${errnoName(c.errno)}; ${row.id} requires ${errnoName(row.errno)}`;
  if (c.requestType !== 0) return `left a memory request of type ${c.requestType} without a shortage`;
  return row.accept(c);
}
