/**
 * The memory management calls: the host donates chunks of pages to a pool, asks how much could come back, and takes free
 * pages back. The list runs through the pages themselves: the head is a chunk's address with its order in the low 12
 * bits, and the first word of a chunk holds the next head. A link is read only after its chunk is the hypervisor's.
 */

import { err, getNumber, PoolId, setNumber } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { fetchDouble } from './host-buffer.ts';
import { POOL_ORDER_MAX } from './layout.ts';
import { donateToHost, donateToHyp } from './ownership.ts';
import { addPages, freePageCount, withdrawPage, writePointer } from './pool.ts';
import { dropRequest } from './request.ts';

const PAGE_SIZE = 4096;
/** Low bits of a list head that hold the order of its chunk. */
const ORDER_MASK = PAGE_SIZE - 1;
const TWO32 = 4294967296;
/** Chunks one call takes at most; what is left goes back in x3. */
const CHUNKS_MAX = 4095;
/** Pages one reclaim gives at most. */
const RECLAIM_MAX = 4095;

function poolOf(h: Hyp, id: number): number {
  return id === PoolId.heap ? h.layout.heapPool : id === PoolId.iommu ? h.layout.iommuPool : -1;
}

/**
 * alloc_mgt_refill: x1 pool, x2 head, x3 count of chunks. Chunks taken before a failure stay donated.
 * @param tellsRest whether what is left of the list goes to x3 (head, with the count in the low 12 bits)
 * @returns 0; -EINVAL unknown pool, order too large (heap: not 0), or misaligned chunk; what the donation says
 */
export function* refill(h: Hyp, tellsRest: boolean): Steps<number> {
  const { x } = h;
  const pool = poolOf(h, x[2]! >>> 0);
  let count = getNumber(x, 3);
  if (pool < 0 || count > CHUNKS_MAX) {
    if (tellsRest) setNumber(x, 3, 0);
    return err('EINVAL');
  }
  // The host's words, which may be anything: 64 bits as a pair, so that none is lost.
  let headHi = x[5]!;
  let headLo = x[4]!;
  const orderMax = pool === h.layout.heapPool ? 0 : POOL_ORDER_MAX;
  let result = 0;
  while (count > 0) {
    const order = headLo & ORDER_MASK;
    const pa = (headHi >>> 0) * TWO32 + ((headLo & ~ORDER_MASK) >>> 0);
    if (order > orderMax || (pa & ((PAGE_SIZE << order) - 1)) !== 0) result = err('EINVAL');
    else result = yield* donateToHyp(h, pa, 1 << order);
    if (result !== 0) break;
    yield* fetchDouble(h, pa, h.element, 0);
    headLo = h.element[0]!;
    headHi = h.element[1]!;
    count--;
    for (let i = 0; i < 1 << order; i++) h.memory.zeroPage(pa + i * PAGE_SIZE);
    yield* addPages(h, pool, pa, 1 << order);
  }
  if (tellsRest) {
    x[6] = count === 0 ? 0 : (headLo & ~ORDER_MASK) | count;
    x[7] = count === 0 ? 0 : headHi;
  }
  return result;
}

/** alloc_mgt_reclaimable: the pages that {@link reclaim} could give back; 0 for an unknown pool. */
export function reclaimable(h: Hyp): number {
  const pool = poolOf(h, h.x[2]! >>> 0);
  return pool < 0 ? 0 : freePageCount(h, pool);
}

/** alloc_mgt_reclaim: x1 pool, x2 target. Leaves the head of a list of zeroed pages in x1 and their number in x2. */
export function* reclaim(h: Hyp): Steps<void> {
  const pool = poolOf(h, h.x[2]! >>> 0);
  h.x.fill(0, 2, 4);
  const count = pool < 0 ? 0 : yield* reclaimFrom(h, pool, Math.min(h.x[4]!, RECLAIM_MAX));
  setNumber(h.x, 2, count);
}

/** The same where no pool is named: x1 target. The heap gives first. */
export function* reclaimAny(h: Hyp): Steps<void> {
  const target = Math.min(h.x[2]!, RECLAIM_MAX);
  h.x.fill(0, 2, 4);
  let count = yield* reclaimFrom(h, h.layout.heapPool, target);
  count += yield* reclaimFrom(h, h.layout.iommuPool, target - count);
  setNumber(h.x, 2, count);
}

/** Pages that {@link reclaimAny} could give back. */
export function reclaimableAny(h: Hyp): number {
  return freePageCount(h, h.layout.heapPool) + freePageCount(h, h.layout.iommuPool);
}

/** Put up to `target` pages of a pool in front of the list whose head is in x1. @returns how many */
function* reclaimFrom(h: Hyp, pool: number, target: number): Steps<number> {
  let count = 0;
  while (count < target) {
    const pa = yield* withdrawPage(h, pool);
    if (pa === 0) break;
    writePointer(h, pa, getNumber(h.x, 1));
    if ((yield* donateToHost(h, pa, 1)) !== 0) {
      yield* addPages(h, pool, pa, 1);
      // The call has no register for a request.
      yield* dropRequest(h);
      break;
    }
    setNumber(h.x, 1, pa);
    count++;
  }
  return count;
}
