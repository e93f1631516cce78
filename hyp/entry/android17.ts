/**
 * The entry of android17-6.18: a hypercall is found by its position, runs, and leaves its result. x0 becomes the SMCCC
 * status (map_pages: the errno), x1 the result, x2 a memory request where the call can have one.
 *
 * What the arguments of map_pages, unmap_pages and iova_to_phys must be is checked here, in this generation's order.
 */

import {
  AttachFlag,
  additionWraps,
  android17,
  err,
  FUNCTION_ID_BASE,
  PROT_MASK,
  product,
  SmcccStatus,
  setNumber,
} from '#hypercall-abi';
import type { Steps } from '#machine';
import { type Attachment, attachDev, detachDev } from '../attach.ts';
import type { Hyp } from '../context.ts';
import { donateMmio, reclaimMmio } from '../device-mmio.ts';
import { allocDomain, freeDomain } from '../domain.ts';
import { domainRecord, getDomain, HOST_OWNER, putDomain } from '../domain-record.ts';
import { mapGuest, reclaimDyingGuestPage, unshareGuest } from '../guest-memory.ts';
import { mapInDomain, translateInDomain, unmapInDomain } from '../map.ts';
import { attachDevNested, invalidateNestedDomain, nestedConfigSync, refuseDomain } from '../nested.ts';
import { shareHyp, unshareHyp } from '../ownership.ts';
import { pageResponse } from '../page-response.ts';
import { switchPower } from '../power.ts';
import { addVsid, attachPvIommu } from '../pviommu.ts';
import { reclaim, reclaimable, refill } from '../refill.ts';
import { returnRequest } from '../request.ts';
import { setIdentity } from '../set-identity.ts';
import { finalizeTeardownVm, initVm, reserveVm, startTeardownVm, unreserveVm, vcpuLoad, vcpuPut } from '../vm.ts';
import { i32, isAligned, u32, u64, wraps64 } from './arguments.ts';
import { mapSg } from './map-sg.ts';

const PAGE_SIZE = 4096;

/** Position of a call in the function-id space. */
const at = (name: string): number => android17.call(name).position;

const HOST_SHARE_HYP = at('host_share_hyp');
const HOST_UNSHARE_HYP = at('host_unshare_hyp');
const MAP_GUEST = at('map_guest');
const UNSHARE_GUEST = at('unshare_guest');
const RESERVE_VM = at('reserve_vm');
const UNRESERVE_VM = at('unreserve_vm');
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
const SET_IDENTITY = at('set_identity');
const MAP_SG = at('map_sg');
const HVC_PD = at('hvc_pd');
const ATTACH_DEV_NESTED = at('attach_dev_nested');
const IOTLB_INV_NESTED_DOMAIN = at('iotlb_inv_nested_domain');
const NESTED_CFG_SYNC = at('nested_cfg_sync');
const IOTLB_SYNC_MAP = at('iotlb_sync_map');
const HOST_DONATE_HYP_MMIO = at('host_donate_hyp_mmio');
const HOST_RECLAIM_HYP_MMIO = at('host_reclaim_hyp_mmio');
const PVIOMMU_ATTACH = at('pviommu_attach');
const PVIOMMU_ADD_VSID = at('pviommu_add_vsid');
const PAGE_RESPONSE = at('page_response');

/** Serve the hypercall in h.x. */
export function* enterAndroid17(h: Hyp): Steps<void> {
  const { x } = h;
  let status: number = SmcccStatus.success;
  switch (x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1) {
    case MAP_PAGES:
      status = yield* mapPages(h);
      yield* returnRequest(h);
      break;
    case UNMAP_PAGES:
      setNumber(x, 1, yield* unmapPages(h));
      yield* returnRequest(h);
      break;
    case IOVA_TO_PHYS:
      setNumber(x, 1, yield* iovaToPhys(h));
      break;
    case ALLOC_DOMAIN:
      setNumber(x, 1, yield* allocDomain(h, u32(h, 1), u32(h, 2), u32(h, 3), i32(h, 4)));
      yield* returnRequest(h);
      break;
    case FREE_DOMAIN:
      setNumber(x, 1, yield* freeDomain(h, u32(h, 1)));
      break;
    case ATTACH_DEV:
      setNumber(
        x,
        1,
        yield* attachDev(h, HOST_OWNER, attachment(h), {
          pasidBits: u32(h, 5),
          stall: (u32(h, 6) & AttachFlag.stall) !== 0,
        }),
      );
      yield* returnRequest(h);
      break;
    case DETACH_DEV:
      setNumber(x, 1, yield* detachDev(h, HOST_OWNER, attachment(h)));
      break;
    case SET_IDENTITY:
      setNumber(x, 1, yield* setIdentity(h, u32(h, 1), u32(h, 2), u32(h, 3), u64(h, 4) !== 0));
      yield* returnRequest(h);
      break;
    case MAP_SG:
      setNumber(x, 1, yield* mapSg(h));
      yield* returnRequest(h);
      break;
    case IOTLB_SYNC_MAP:
      setNumber(x, 1, yield* iotlbSyncMap(h));
      yield* returnRequest(h);
      break;
    case HVC_PD:
      setNumber(x, 1, yield* switchPower(h, u64(h, 1), u64(h, 2) !== 0));
      break;
    case HOST_DONATE_HYP_MMIO:
      setNumber(x, 1, yield* donateMmio(h, u64(h, 1) * PAGE_SIZE, u64(h, 2)));
      yield* returnRequest(h);
      break;
    case HOST_RECLAIM_HYP_MMIO:
      setNumber(x, 1, yield* reclaimMmio(h, u64(h, 1) * PAGE_SIZE, u64(h, 2)));
      break;
    case PVIOMMU_ATTACH:
      setNumber(x, 1, yield* attachPvIommu(h, i32(h, 2)));
      break;
    case PVIOMMU_ADD_VSID:
      setNumber(x, 1, yield* addVsid(h, i32(h, 2), u32(h, 3), u32(h, 4), u32(h, 5)));
      break;
    case ATTACH_DEV_NESTED:
      setNumber(x, 1, yield* attachDevNested(h, u32(h, 1), u32(h, 2), u32(h, 3), u64(h, 6), u64(h, 7)));
      yield* returnRequest(h);
      break;
    case IOTLB_INV_NESTED_DOMAIN:
      setNumber(x, 1, yield* invalidateNestedDomain(h, u32(h, 1)));
      break;
    case NESTED_CFG_SYNC:
      setNumber(x, 1, yield* nestedConfigSync(h, u64(h, 3), u64(h, 4)));
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
      setNumber(x, 1, yield* refill(h, true));
      yield* returnRequest(h);
      break;
    case RECLAIMABLE:
      setNumber(x, 1, reclaimable(h));
      break;
    case RECLAIM:
      yield* reclaim(h);
      break;
    case PAGE_RESPONSE:
      setNumber(x, 1, yield* pageResponse(h, u32(h, 1), u32(h, 2), u32(h, 3), u32(h, 5), u32(h, 6)));
      yield* returnRequest(h);
      break;
    default:
      status = SmcccStatus.notSupported;
  }
  setNumber(x, 0, status);
}

/** What attach_dev and detach_dev name: x1 IOMMU, x2 domain, x3 StreamID, x4 PASID. */
function attachment(h: Hyp): Attachment {
  return { iommu: u32(h, 1), id: u32(h, 2), sid: u32(h, 3), pasid: u32(h, 4) };
}

/**
 * map_pages: x1 domain, x2 iova, x3 paddr, x4 pgsize, x5 pgcount, x6 prot. Leaves the bytes mapped in x1.
 * @returns for x0, in the order of the checks: -EOPNOTSUPP prot; -E2BIG size overflows or an address wraps; -EINVAL
 *   iova or paddr not a multiple of pgsize; -ENOENT no such domain; then what {@link mapInDomain} says
 */
function* mapPages(h: Hyp): Steps<number> {
  const { x } = h;
  const id = u32(h, 1);
  const prot = u32(h, 6);
  const size = product(x, 4, 5);
  let result = 0;
  if ((prot & ~PROT_MASK) !== 0) result = err('EOPNOTSUPP');
  else if (size < 0 || additionWraps(x, 2, 4, 5, size) || additionWraps(x, 3, 4, 5, size)) result = err('E2BIG');
  else if (!isAligned(x, 2, 4) || !isAligned(x, 3, 4)) result = err('EINVAL');
  let mapped = 0;
  if (result === 0) {
    const domain = domainRecord(h, id);
    if (yield* getDomain(h, domain, HOST_OWNER)) {
      mapped = yield* mapInDomain(h, domain, id, 2, size, prot);
      result = h.mapResult;
      yield* putDomain(h, domain);
    } else {
      result = err('ENOENT');
    }
  }
  setNumber(x, 1, mapped);
  return result;
}

/** unmap_pages: x1 domain, x2 iova, x3 pgsize, x4 pgcount. @returns the bytes unmapped: 0 for anything wrong */
function* unmapPages(h: Hyp): Steps<number> {
  const { x } = h;
  const size = product(x, 3, 4);
  if (size <= 0 || additionWraps(x, 2, 3, 4, size) || !isAligned(x, 2, 3)) return 0;
  const id = u32(h, 1);
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const unmapped = yield* unmapInDomain(h, domain, id, 2, size);
  yield* putDomain(h, domain);
  return unmapped;
}

/** iova_to_phys: x1 domain, x2 iova. @returns the physical address, or 0 */
function* iovaToPhys(h: Hyp): Steps<number> {
  const id = u32(h, 1);
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return 0;
  const pa = yield* translateInDomain(h, domain, id, 2);
  yield* putDomain(h, domain);
  return pa;
}

/**
 * iotlb_sync_map: x1 domain, x2 iova, x3 size. @returns, in the order of the checks: -EINVAL no bytes, or a range that
 * wraps; -EINVAL no such domain; -ENODEV, as the driver has no such operation
 */
function* iotlbSyncMap(h: Hyp): Steps<number> {
  const { x } = h;
  const isEmpty = (x[6]! | x[7]!) === 0;
  if (isEmpty || wraps64(x, 2, 3)) return err('EINVAL');
  return yield* refuseDomain(h, u32(h, 1));
}
