/**
 * The entry from the host: a hypercall is found by its position, runs, and leaves its result. x0 becomes the SMCCC
 * status (map_pages: the errno), x1 the result, x2 a memory request where the call can have one.
 */

import { callNamed, FUNCTION_ID_BASE, getNumber, SmcccStatus, setNumber } from '#hypercall-abi';
import type { Steps } from '#machine';
import { attachDev, detachDev } from './attach.ts';
import type { Hyp } from './context.ts';
import { allocDomain, freeDomain } from './domain.ts';
import { mapGuest, reclaimDyingGuestPage, unshareGuest } from './guest-memory.ts';
import { iovaToPhysHypercall, mapHypercall, unmapHypercall } from './map.ts';
import { shareHyp, unshareHyp } from './ownership.ts';
import { reclaim, reclaimable, refill } from './refill.ts';
import { returnRequest } from './request.ts';
import { finalizeTeardownVm, initVm, reserveVm, startTeardownVm, unreserveVm, vcpuLoad, vcpuPut } from './vm.ts';

const PAGE_SIZE = 4096;

const HOST_SHARE_HYP = callNamed('host_share_hyp').position;
const HOST_UNSHARE_HYP = callNamed('host_unshare_hyp').position;
const MAP_GUEST = callNamed('map_guest').position;
const UNSHARE_GUEST = callNamed('unshare_guest').position;
const RESERVE_VM = callNamed('reserve_vm').position;
const UNRESERVE_VM = callNamed('unreserve_vm').position;
const INIT_VM = callNamed('init_vm').position;
const RECLAIM_DYING_GUEST_PAGE = callNamed('reclaim_dying_guest_page').position;
const START_TEARDOWN_VM = callNamed('start_teardown_vm').position;
const FINALIZE_TEARDOWN_VM = callNamed('finalize_teardown_vm').position;
const VCPU_LOAD = callNamed('vcpu_load').position;
const VCPU_PUT = callNamed('vcpu_put').position;
const REFILL = callNamed('alloc_mgt_refill').position;
const RECLAIMABLE = callNamed('alloc_mgt_reclaimable').position;
const RECLAIM = callNamed('alloc_mgt_reclaim').position;
const ALLOC_DOMAIN = callNamed('alloc_domain').position;
const FREE_DOMAIN = callNamed('free_domain').position;
const ATTACH_DEV = callNamed('attach_dev').position;
const DETACH_DEV = callNamed('detach_dev').position;
const MAP_PAGES = callNamed('map_pages').position;
const UNMAP_PAGES = callNamed('unmap_pages').position;
const IOVA_TO_PHYS = callNamed('iova_to_phys').position;

/** Low 32 bits of x[n], unsigned. */
function u32(h: Hyp, n: number): number {
  return h.x[2 * n]! >>> 0;
}

/** Low 32 bits of x[n], signed. */
function i32(h: Hyp, n: number): number {
  return h.x[2 * n]!;
}

/** x[n]. */
function u64(h: Hyp, n: number): number {
  return getNumber(h.x, n);
}

/** Serve the hypercall in h.x. */
export function* handleHypercall(h: Hyp): Steps<void> {
  const { x } = h;
  h.gather.granule = 0;
  h.unmapCacheCount = 0;
  h.invalidated = true;
  let status: number = SmcccStatus.success;
  switch (x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1) {
    case MAP_PAGES:
      status = yield* mapHypercall(h);
      yield* returnRequest(h);
      break;
    case UNMAP_PAGES:
      yield* unmapHypercall(h);
      yield* returnRequest(h);
      break;
    case IOVA_TO_PHYS:
      yield* iovaToPhysHypercall(h);
      break;
    case ALLOC_DOMAIN:
      setNumber(x, 1, yield* allocDomain(h, u32(h, 1), u32(h, 2), u32(h, 3), i32(h, 4)));
      yield* returnRequest(h);
      break;
    case FREE_DOMAIN:
      setNumber(x, 1, yield* freeDomain(h, u32(h, 1)));
      break;
    case ATTACH_DEV:
      setNumber(x, 1, yield* attachDev(h, u32(h, 1), u32(h, 2), u32(h, 3), u32(h, 4)));
      yield* returnRequest(h);
      break;
    case DETACH_DEV:
      setNumber(x, 1, yield* detachDev(h, u32(h, 1), u32(h, 2), u32(h, 3), u32(h, 4)));
      break;
    case HOST_SHARE_HYP:
      setNumber(x, 1, yield* shareHyp(h, u64(h, 1) * PAGE_SIZE));
      break;
    case HOST_UNSHARE_HYP:
      setNumber(x, 1, yield* unshareHyp(h, u64(h, 1) * PAGE_SIZE));
      break;
    case MAP_GUEST:
      setNumber(x, 1, yield* mapGuest(h, u64(h, 1), u64(h, 2), u64(h, 3), u32(h, 4)));
      yield* returnRequest(h);
      break;
    case UNSHARE_GUEST:
      setNumber(x, 1, yield* unshareGuest(h, u32(h, 1), u64(h, 2), u64(h, 3)));
      break;
    case RESERVE_VM:
      setNumber(x, 1, yield* reserveVm(h));
      break;
    case UNRESERVE_VM:
      yield* unreserveVm(h, u32(h, 1));
      break;
    case INIT_VM:
      setNumber(x, 1, yield* initVm(h));
      yield* returnRequest(h);
      break;
    case RECLAIM_DYING_GUEST_PAGE:
      setNumber(x, 1, yield* reclaimDyingGuestPage(h, u32(h, 1), u64(h, 2), u64(h, 3)));
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
      setNumber(x, 1, yield* refill(h));
      yield* returnRequest(h);
      break;
    case RECLAIMABLE:
      setNumber(x, 1, reclaimable(h));
      break;
    case RECLAIM:
      yield* reclaim(h);
      break;
    default:
      status = SmcccStatus.notSupported;
  }
  setNumber(x, 0, status);
}
