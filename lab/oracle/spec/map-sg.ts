/**
 * map_sg and iotlb_sync_map (docs/abi-sources.md, section 3). map_sg gives bytes and no errno. Its list must be all in
 * pages that the host shares with the hypervisor; each element is worth what map_pages says of it, one of no bytes is
 * passed over, and the first that is not mapped whole ends the list.
 *
 * Deviations: a list must be aligned to 8 bytes; the physical range of an element must not wrap (upstream leaves that to
 * use_dma); iotlb_sync_map drops the reference that it took.
 */

import { Errno, PROT_MASK, ScatterElement } from '#hypercall-abi';
import { PAGE, TWO32 } from '../facts.ts';
import type { Call } from './call.ts';
import { mapPages, mapPagesAndroid16, planAfter, usedDomain } from './map.ts';
import { accept, type CallRules, lack, type Row, refuse, type Shortage } from './row.ts';

const call = 'map_sg';
const HEAP = 0;
const IOMMU = 1;

/** Why the list ends where it does. */
type End = 'prot' | 'no-domain' | 'list' | 'overflow' | 'alignment' | 'pages' | 'table' | 'ok';

/** One element that has bytes: its registers as those of a map_pages, and what map_pages would make of it. */
interface Element {
  readonly x: Int32Array;
  readonly size: number;
  /** Bytes that get mapped when no memory is missing. */
  readonly planned: number;
  readonly row: Row;
}

let end: End = 'ok';
let elements: Element[] = [];
const total = (): number => elements.reduce((sum, { planned }) => sum + planned, 0);

const rulesOf = (c: Call): CallRules => (c.facts.profile.tableBuilt === 'alloc' ? mapPages : mapPagesAndroid16);

/** What a row of map_pages that refuses means for the list. */
function endOf(id: string): End {
  if (id === 'map_pages/E2BIG') return 'overflow';
  if (id === 'map_pages/EINVAL-alignment') return 'alignment';
  return ['EPERM', 'EBUSY', 'EINVAL-range'].includes(id.slice('map_pages/'.length)) ? 'pages' : 'table';
}

/** Have `work` done with other registers, and the bytes of one element as the result. */
function within<T>(c: Call, x: Int32Array, value: number, work: () => T): T {
  const mine = c.x.slice();
  const mineValue = c.value;
  c.x.set(x);
  c.value = value;
  const result = work();
  c.x.set(mine);
  c.value = mineValue;
  return result;
}

function isListReadable(c: Call): boolean {
  const offset = c.u32(3) % PAGE;
  if (offset % 8 !== 0) return false;
  const pages = Math.ceil((offset + c.u32(4) * ScatterElement.size) / PAGE);
  const first = c.facts.ramRange(c.number(3) - offset, Math.max(1, pages));
  if (first < 0) return false;
  for (let i = 0; i < pages; i++) if (!c.ghost.pages.isSharedWithHyp(first + i)) return false;
  return true;
}

/** Registers of a map_pages for element `i`, to IOVA `iova` (words). */
function registersOf(c: Call, i: number, iova: readonly [lo: number, hi: number]): Int32Array {
  const at = c.number(3) + i * ScatterElement.size;
  const word = (offset: number): number => c.hostWord(at + offset);
  const { phys, pgsize, pgcount } = ScatterElement;
  const x = new Int32Array(c.x.length);
  x.set([c.lo(1), c.hi(1), ...iova, word(phys), word(phys + 4), word(pgsize), word(pgsize + 4), word(pgcount), 0], 2);
  x[12] = c.lo(5);
  return x;
}

/** What map_pages makes of an element; null for one that has no bytes. */
function plan(c: Call, x: Int32Array): Element | null {
  const { prepare, rows } = rulesOf(c);
  return within(c, x, 0, () => {
    prepare(c);
    const row = rows.find((one) => one.when(c))!;
    if (c.size === 0 && endOf(row.id) !== 'alignment') return null;
    const isPart = row.errno === -Errno.EEXIST || row.errno === -Errno.ERANGE;
    return { x, size: Math.max(0, c.size), planned: row.errno === 0 || isPart ? c.planned : 0, row };
  });
}

function prepare(c: Call): void {
  elements = [];
  end = 'ok';
  if ((c.u32(5) & ~PROT_MASK) !== 0) end = 'prot';
  else if (usedDomain(c) < 0) end = 'no-domain';
  else if (!isListReadable(c)) end = 'list';
  else planList(c);
}

function wordsToNumber(hi: number, lo: number): number {
  return (hi >>> 0) * TWO32 + (lo >>> 0);
}

function planList(c: Call): void {
  let iova: readonly [number, number] = [c.lo(2), c.hi(2)];
  for (let i = 0; i < c.u32(4); i++) {
    const element = plan(c, registersOf(c, i, iova));
    if (element === null) continue;
    elements.push(element);
    if (element.row.errno !== 0) {
      end = endOf(element.row.id);
      break;
    }
    planAfter(elements.map(({ x, size }) => ({ base: wordsToNumber(x[7]!, x[6]!), size })));
    const next = wordsToNumber(iova[1], iova[0]) + element.size;
    iova = [next | 0, Math.floor(next / TWO32) | 0];
  }
  planAfter([]);
}

function judgeBytes(c: Call): string | null {
  const expected = total();
  return c.value === expected ? null : `mapped 0x${c.value.toString(16)} bytes; it must be 0x${expected.toString(16)}`;
}

/** The element in which a list of `value` bytes ends, and the bytes of it; null when all are mapped. */
function lastOf(value: number): { readonly element: Element; readonly bytes: number } | null {
  let bytes = value;
  for (const element of elements) {
    if (bytes < element.size) return { element, bytes };
    bytes -= element.size;
  }
  return null;
}

/** A list that ends for want of memory must end as a map_pages of its last element might. */
function judgeShort(c: Call, pool: number): string | null {
  const last = lastOf(c.value);
  if (last === null) return 'asks for memory although all of the list is mapped';
  const { element, bytes } = last;
  const shortage = element.row.shortages.find((one) => one.pool === pool);
  if (shortage === undefined) return `asks for memory where ${element.row.id} holds`;
  return within(c, element.x, bytes, () => {
    rulesOf(c).prepare(c);
    return shortage.accept(c);
  });
}

/** Write down what was mapped, element by element. @param pool that ran out in the last one, or -1 */
function applyUntil(c: Call, pool: number): void {
  let left = c.value;
  for (const { x, size, row } of elements) {
    const bytes = Math.min(left, size);
    const isLast = bytes < size;
    const decided = (isLast && row.shortages.find((one) => one.pool === pool)) || row;
    within(c, x, bytes, () => {
      rulesOf(c).prepare(c);
      decided.apply(c);
    });
    left -= bytes;
    if (isLast) return;
  }
}

const apply = (c: Call): void => applyUntil(c, -1);

const shortages: readonly Shortage[] = [
  lack(call, 'iommu', { errno: 0, accept: (c) => judgeShort(c, IOMMU), apply: (c) => applyUntil(c, IOMMU) }),
  lack(call, 'heap', { errno: 0, accept: (c) => judgeShort(c, HEAP), apply: (c) => applyUntil(c, HEAP) }),
];

const ends = (name: End, more: readonly Shortage[]): Row =>
  accept(call, name, { when: () => end === name, accept: judgeBytes, apply, shortages: more });

export const mapSg: CallRules = {
  prepare,
  isPiecewise: true,
  rows: [
    ends('prot', []),
    ends('no-domain', []),
    ends('list', []),
    ...(['overflow', 'alignment', 'pages', 'table', 'ok'] as const).map((name) => ends(name, shortages)),
  ],
};

const sync = 'iotlb_sync_map';

/** The driver has no such operation: no arguments make it succeed. */
export const iotlbSyncMap: CallRules = {
  prepare: (c) => {
    c.size = c.hi(3) === 0 && c.lo(3) === 0 ? 0 : c.sumFits(2, 3) ? 1 : -1;
  },
  rows: [
    refuse(sync, 'EINVAL', (c) => c.size <= 0, 'range'),
    refuse(sync, 'EINVAL', (c) => usedDomain(c) < 0, 'domain'),
    refuse(sync, 'ENODEV', () => true),
  ],
};
