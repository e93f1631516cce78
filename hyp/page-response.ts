/**
 * page_response: the host, which reads the event queue, says what is to become of an access that stalled. Only for devices
 * that are the host's: it must not let a guest's device go on.
 */

import { err, PageResponse } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { getDeviceContext, putDeviceContext } from './device.ts';
import { DRIVER_ID } from './domain.ts';
import { HOST_OWNER } from './domain-record.ts';
import { lock, unlock } from './lock.ts';
import { Resume, resume, SMMU_LOCK, smmuRecord } from './smmu.ts';

/**
 * page_response. The hardware finds the access by its StreamID and tag; it needs no PASID.
 * @returns 0, whether or not there is such an access; -EPERM the device is a guest's; -ENODEV unknown driver or IOMMU, or
 * one whose faults never stall; -ETIMEDOUT
 */
export function* pageResponse(
  h: Hyp,
  driver: number,
  iommu: number,
  endpoint: number,
  tag: number,
  status: number,
): Steps<number> {
  const context = yield* getDeviceContext(h, iommu, endpoint, HOST_OWNER);
  if (context !== 0) return context;
  const smmu = smmuRecord(h, iommu);
  let result = err('ENODEV');
  if (driver === DRIVER_ID && smmu >= 0 && (h.smmus[iommu]!.stallModel ?? 'terminate') !== 'terminate') {
    yield* lock(h, smmu + SMMU_LOCK);
    result = yield* resume(h, smmu, endpoint, tag, responseTo(status));
    yield* unlock(h, smmu + SMMU_LOCK);
  }
  yield* putDeviceContext(h, iommu, endpoint);
  return result;
}

function responseTo(status: number): Resume {
  if (status === PageResponse.success) return Resume.retry;
  return status === PageResponse.invalid || status === PageResponse.failure ? Resume.abort : Resume.terminate;
}
