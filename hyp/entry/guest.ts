/**
 * The entry for guests of android17: the HVC of a protected VM whose vCPU is loaded. Every mistake of the guest is
 * answered with INVALID_PARAMETER. A call that lacks something that the host can give ends in the host: begun anew
 * afterwards, or told the guest as far as it came.
 */

import {
  DEV_REQ_DMA_FUNCTION_ID,
  err,
  type GuestExit,
  GuestStatus,
  guestCallNamed,
  PROT_MASK,
  PVIOMMU_FUNCTION_ID,
  setNumber,
} from '#hypercall-abi';
import type { Steps } from '#machine';
import { claimDevice } from '../assign.ts';
import { detachDev } from '../attach.ts';
import type { Hyp } from '../context.ts';
import { deviceOfStream } from '../device.ts';
import { mapGuestPage, unmapGuestRange } from '../guest-dma.ts';
import { allocGuestDomain, attachGuestStream, freeGuestDomain } from '../guest-domain.ts';
import { findRoute, routeEndpoint, routeIommu } from '../pviommu.ts';
import { takeRequest } from '../request.ts';
import { PAGE_SIZE } from '../stage2.ts';
import { callingVm, vmHandle } from '../vm.ts';
import { u32, u64 } from './arguments.ts';

const ATTACH_DEV = guestCallNamed('guest_attach_dev').op;
const DETACH_DEV = guestCallNamed('guest_detach_dev').op;
const ALLOC_DOMAIN = guestCallNamed('guest_alloc_domain').op;
const FREE_DOMAIN = guestCallNamed('guest_free_domain').op;
const MAP_PAGES = guestCallNamed('guest_map_pages').op;
const UNMAP_PAGES = guestCallNamed('guest_unmap_pages').op;
const REGISTERS_END = 7;

/** Serve the guest's call in h.x. @returns null when the guest goes on, else why the host must run first */
export function* enterGuest(h: Hyp): Steps<GuestExit | null> {
  const { x } = h;
  const vm = h.profile.has('pviommu_attach') ? yield* callingVm(h) : -1;
  const id = vm < 0 || x[1] !== 0 ? 0 : u32(h, 0);
  if (id === DEV_REQ_DMA_FUNCTION_ID) return yield* requestDma(h, vm);
  if (id !== PVIOMMU_FUNCTION_ID || x[3] !== 0) return answer(h, GuestStatus.notSupported, 0);
  switch (x[2]) {
    case ATTACH_DEV:
      return yield* attach(h, vm);
    case DETACH_DEV:
      return yield* detach(h, vm);
    case ALLOC_DOMAIN: {
      const domain = restIsZero(h, 2) ? yield* allocGuestDomain(h, vmHandle(h, vm)) : err('EINVAL');
      return domain < 0 ? refuse(h) : answer(h, GuestStatus.success, domain);
    }
    case FREE_DOMAIN: {
      const freed = restIsZero(h, 3) ? yield* freeGuestDomain(h, vmHandle(h, vm), u32(h, 2)) : err('EINVAL');
      return outcome(h, freed);
    }
    case MAP_PAGES:
      return yield* map(h, vm);
    case UNMAP_PAGES:
      return yield* unmap(h, vm);
    default:
      return answer(h, GuestStatus.notSupported, 0);
  }
}

/** Leave a status in x0 and a result in x1. Everything else that the guest can see becomes 0. */
function answer(h: Hyp, status: number, value: number): null {
  setNumber(h.x, 0, status);
  setNumber(h.x, 1, value);
  setNumber(h.x, 2, 0);
  setNumber(h.x, 3, 0);
  return null;
}

function refuse(h: Hyp): null {
  return answer(h, GuestStatus.invalid, 0);
}

/** What a bare 0 or errno becomes. */
function outcome(h: Hyp, result: number): null {
  return result === 0 ? answer(h, GuestStatus.success, 0) : refuse(h);
}

/** Whether x[first] to x6 are zero. */
function restIsZero(h: Hyp, first: number): boolean {
  for (let n = first; n < REGISTERS_END; n++) if ((h.x[2 * n]! | h.x[2 * n + 1]!) !== 0) return false;
  return true;
}

/** DEV_REQ_DMA: x1 pvIOMMU, x2 virtual StreamID. The token is the base of the SMMU's registers and the StreamID there. */
function* requestDma(h: Hyp, vm: number): Steps<null> {
  if (!restIsZero(h, 3)) return refuse(h);
  const route = yield* findRoute(h, vmHandle(h, vm), u32(h, 1), u32(h, 2));
  if (route < 0 || routeIommu(h, route) >= h.smmus.length) return refuse(h);
  const iommu = routeIommu(h, route);
  const endpoint = routeEndpoint(h, route);
  const device = deviceOfStream(h, iommu, endpoint);
  if (device < 0 || (yield* claimDevice(h, device, vmHandle(h, vm))) !== 0) return refuse(h);
  answer(h, GuestStatus.success, h.smmus[iommu]!.base);
  setNumber(h.x, 2, endpoint);
  return null;
}

/** ATTACH_DEV: x2 pvIOMMU, x3 virtual StreamID, x4 PASID, x5 domain, x6 bits of PASIDs, of which a guest gets none. */
function* attach(h: Hyp, vm: number): Steps<GuestExit | null> {
  const handle = vmHandle(h, vm);
  const route = yield* findRoute(h, handle, u32(h, 2), u32(h, 3));
  if (route < 0) return refuse(h);
  const result = yield* attachGuestStream(h, handle, {
    iommu: routeIommu(h, route),
    id: u32(h, 5),
    sid: routeEndpoint(h, route),
    pasid: u32(h, 4),
  });
  // Nothing has happened yet: with the memory the guest makes the call again. Where no memory would help, there is no request.
  const request = result === err('ENOMEM') ? yield* takeRequest(h) : null;
  return request === null ? outcome(h, result) : { reason: 'memory', request };
}

/** DETACH_DEV: x2 pvIOMMU, x3 virtual StreamID, x4 PASID, x5 domain. */
function* detach(h: Hyp, vm: number): Steps<null> {
  if (!restIsZero(h, 6)) return refuse(h);
  const handle = vmHandle(h, vm);
  const route = yield* findRoute(h, handle, u32(h, 2), u32(h, 3));
  if (route < 0) return refuse(h);
  const result = yield* detachDev(h, handle, {
    iommu: routeIommu(h, route),
    id: u32(h, 5),
    sid: routeEndpoint(h, route),
    pasid: u32(h, 4),
  });
  return outcome(h, result);
}

/** MAP_PAGES: x2 domain, x3 iova, x4 ipa, x5 size, x6 prot. x1 returns the bytes mapped, also beside a refusal. */
function* map(h: Hyp, vm: number): Steps<GuestExit | null> {
  const { x } = h;
  if (!isPageAligned(h, 3) || !isPageAligned(h, 4) || !isPageAligned(h, 5)) return refuse(h);
  if ((x[12]! & ~PROT_MASK) !== 0 || x[13] !== 0) return refuse(h);
  const domain = u32(h, 2);
  const iova = u64(h, 3);
  const ipa = u64(h, 4);
  const size = u64(h, 5);
  const prot = u32(h, 6);
  for (let mapped = 0; mapped < size; mapped += PAGE_SIZE) {
    const result = yield* mapGuestPage(h, vm, domain, iova + mapped, ipa + mapped, prot);
    if (result === 0) continue;
    const exit = yield* exitFor(h, result, ipa + mapped, size - mapped);
    answer(h, exit === null ? GuestStatus.invalid : GuestStatus.success, mapped);
    return exit;
  }
  return answer(h, GuestStatus.success, size);
}

/** What the host can do about a page that could not be mapped; null for nothing. */
function* exitFor(h: Hyp, result: number, ipa: number, size: number): Steps<GuestExit | null> {
  if (result === err('ENOENT')) return { reason: 'map', ipa, size };
  const request = result === err('ENOMEM') ? yield* takeRequest(h) : null;
  return request === null ? null : { reason: 'memory', request };
}

/** UNMAP_PAGES: x2 domain, x3 iova, x4 size. x1 returns the bytes unmapped; fewer than asked for are a mistake. */
function* unmap(h: Hyp, vm: number): Steps<null> {
  if (!isPageAligned(h, 3) || !isPageAligned(h, 4) || !restIsZero(h, 5)) return refuse(h);
  const size = u64(h, 4);
  const unmapped = yield* unmapGuestRange(h, vm, u32(h, 2), u64(h, 3), size);
  return answer(h, unmapped < size ? GuestStatus.invalid : GuestStatus.success, unmapped);
}

function isPageAligned(h: Hyp, n: number): boolean {
  return (h.x[2 * n]! & (PAGE_SIZE - 1)) === 0;
}
