/**
 * The entry of android16-6.12: a hypercall is found by its position, runs, and leaves its result. x0 becomes the SMCCC
 * status (map_pages: the errno), x1 the result, x2 and x3 a memory request where the call can have one.
 */

import { AttachFlag, android16, err, FUNCTION_ID_BASE, SmcccStatus, setNumber } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from '../context.ts';
import { allocUnboundDomain } from '../domain.ts';
import { donateGuest, reclaimNamedGuestPage, shareGuest, unshareGuest } from '../guest-memory.ts';
import { shareHyp, unshareHyp } from '../ownership.ts';
import { reclaimAny, reclaimableAny } from '../refill.ts';
import { returnRequest } from '../request.ts';
import { createVm, finalizeTeardownVm, startTeardownVm, vcpuLoad, vcpuPut } from '../vm.ts';
import { i32, u32, u64 } from './arguments.ts';
import { attach, detach, freeUnbound, map, refillSilently, translate, unmap } from './generation2.ts';
import { mapSg } from './map-sg.ts';

const PAGE_SIZE = 4096;

/** Position of a call in the function-id space. */
const at = (name: string): number => android16.call(name).position;

const HOST_SHARE_HYP = at('host_share_hyp');
const HOST_UNSHARE_HYP = at('host_unshare_hyp');
const DONATE_GUEST = at('donate_guest');
const SHARE_GUEST = at('share_guest');
const UNSHARE_GUEST = at('unshare_guest');
const INIT_VM = at('init_vm');
const RECLAIM_DYING_GUEST_PAGE = at('reclaim_dying_guest_page');
const START_TEARDOWN_VM = at('start_teardown_vm');
const FINALIZE_TEARDOWN_VM = at('finalize_teardown_vm');
const VCPU_LOAD = at('vcpu_load');
const VCPU_PUT = at('vcpu_put');
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
const MAP_SG = at('map_sg');

/** Serve the hypercall in h.x. */
export function* enterAndroid16(h: Hyp): Steps<void> {
  const { x } = h;
  let status: number = SmcccStatus.success;
  switch (x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1) {
    case MAP_PAGES:
      setNumber(x, 1, yield* map(h));
      status = h.mapResult;
      yield* returnRequest(h);
      break;
    case UNMAP_PAGES:
      setNumber(x, 1, yield* unmap(h));
      yield* returnRequest(h);
      break;
    case IOVA_TO_PHYS:
      if (u32(h, 1) === h.profile.domains.identity) x.copyWithin(2, 4, 6);
      else setNumber(x, 1, yield* translate(h));
      break;
    case MAP_SG:
      setNumber(x, 1, yield* mapSg(h));
      yield* returnRequest(h);
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
      setNumber(x, 1, yield* attach(h, (u32(h, 6) & AttachFlag.stall) !== 0));
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
    case DONATE_GUEST:
      setNumber(x, 1, yield* donateGuest(h, u64(h, 1), u64(h, 2), u64(h, 3)));
      yield* returnRequest(h);
      break;
    case SHARE_GUEST:
      setNumber(x, 1, yield* shareGuest(h, u64(h, 1), u64(h, 2), u64(h, 4), u32(h, 3)));
      yield* returnRequest(h);
      break;
    case UNSHARE_GUEST:
      setNumber(x, 1, yield* unshareGuest(h, u32(h, 1), u64(h, 2), u64(h, 3)));
      break;
    case INIT_VM:
      setNumber(x, 1, yield* createVm(h));
      yield* returnRequest(h);
      break;
    case RECLAIM_DYING_GUEST_PAGE:
      setNumber(x, 1, yield* reclaimNamedGuestPage(h, u32(h, 1), u64(h, 2), u64(h, 3), u64(h, 4)));
      break;
    case START_TEARDOWN_VM:
      setNumber(x, 1, yield* startTeardownVm(h, u32(h, 1)));
      break;
    case FINALIZE_TEARDOWN_VM:
      setNumber(x, 1, yield* finalizeTeardownVm(h, u32(h, 1)));
      break;
    case VCPU_LOAD:
      yield* vcpuLoad(h, u32(h, 1), u32(h, 2));
      break;
    case VCPU_PUT:
      yield* vcpuPut(h);
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
 * alloc_domain: x1 domain, x2 type. @returns, in the order of the checks: -EINVAL an id of the guests'; -EPERM the
 * identity domain; then what {@link allocUnboundDomain} says
 */
function* allocDomain(h: Hyp, id: number, type: number): Steps<number> {
  if (id >= h.profile.domains.hostCount) return err('EINVAL');
  // The host makes the identity domain upstream; here it is the hypervisor's own.
  if (id === h.profile.domains.identity) return err('EPERM');
  return yield* allocUnboundDomain(h, id, type);
}
