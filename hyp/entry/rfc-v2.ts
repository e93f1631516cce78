/**
 * The entry of RFC v2: a hypercall is found by its position, runs, and leaves its result. x0 becomes the SMCCC status, x1
 * the result, x2 and x3 a memory request where the call can have one. map_pages gives bytes: what went wrong, the host
 * does not learn.
 */

import { err, FUNCTION_ID_BASE, rfcV2, SmcccStatus, setNumber } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from '../context.ts';
import { allocUnboundDomain } from '../domain.ts';
import { shareHyp, unshareHyp } from '../ownership.ts';
import { reclaimAny, reclaimableAny } from '../refill.ts';
import { returnRequest } from '../request.ts';
import { i32, u32, u64 } from './arguments.ts';
import { attach, detach, freeUnbound, map, refillSilently, translate, unmap } from './generation2.ts';

const PAGE_SIZE = 4096;

/** Position of a call in the function-id space. */
const at = (name: string): number => rfcV2.call(name).position;

const HOST_SHARE_HYP = at('host_share_hyp');
const HOST_UNSHARE_HYP = at('host_unshare_hyp');
const REFILL = at('alloc_mgt_refill');
const RECLAIMABLE = at('alloc_mgt_reclaimable');
const RECLAIM = at('alloc_mgt_reclaim');
const ALLOC_DOMAIN = at('alloc_domain');
const FREE_DOMAIN = at('free_domain');
const ATTACH_DEV = at('attach_dev');
const DETACH_DEV = at('detach_dev');
const MAP_PAGES = at('map_pages');
const UNMAP_PAGES = at('unmap_pages');
const IOVA_TO_PHYS = at('iova_to_phys');

/** Serve the hypercall in h.x. */
export function* enterRfcV2(h: Hyp): Steps<void> {
  const { x } = h;
  let status: number = SmcccStatus.success;
  switch (x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1) {
    case MAP_PAGES:
      setNumber(x, 1, yield* map(h));
      yield* returnRequest(h);
      break;
    case UNMAP_PAGES:
      setNumber(x, 1, yield* unmap(h));
      yield* returnRequest(h);
      break;
    case IOVA_TO_PHYS:
      setNumber(x, 1, yield* translate(h));
      break;
    case ALLOC_DOMAIN:
      setNumber(x, 1, yield* allocDomain(h, u32(h, 1), i32(h, 2)));
      yield* returnRequest(h);
      break;
    case FREE_DOMAIN:
      setNumber(x, 1, yield* freeUnbound(h));
      yield* returnRequest(h);
      break;
    case ATTACH_DEV:
      setNumber(x, 1, yield* attach(h, false));
      yield* returnRequest(h);
      break;
    case DETACH_DEV:
      setNumber(x, 1, yield* detach(h));
      yield* returnRequest(h);
      break;
    case HOST_SHARE_HYP:
      setNumber(x, 1, yield* shareHyp(h, u64(h, 1) * PAGE_SIZE));
      break;
    case HOST_UNSHARE_HYP:
      setNumber(x, 1, yield* unshareHyp(h, u64(h, 1) * PAGE_SIZE));
      break;
    case REFILL:
      setNumber(x, 1, yield* refillSilently(h));
      break;
    case RECLAIMABLE:
      setNumber(x, 1, reclaimableAny(h));
      break;
    case RECLAIM:
      yield* reclaimAny(h);
      break;
    default:
      status = SmcccStatus.notSupported;
  }
  setNumber(x, 0, status);
}

/**
 * alloc_domain: x1 domain, x2 type. @returns, in the order of the checks: -ENOMEM, with no request, an id that there is
 * not; -EPERM id 0, whose tag is the identity domain's; then what {@link allocUnboundDomain} says
 */
function* allocDomain(h: Hyp, id: number, type: number): Steps<number> {
  if (id >= h.profile.domains.count) return err('ENOMEM');
  return id === h.profile.domains.identity ? err('EPERM') : yield* allocUnboundDomain(h, id, type);
}
