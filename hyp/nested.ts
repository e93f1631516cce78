/**
 * Nested translation, where the host keeps a stage 1 of its own: the three calls of android17. Its SMMUv3 driver has no
 * such operation, so what is left are the checks that the core makes before it asks the driver (iommu.c); no argument
 * makes them succeed. The buffers that they name are pinned meanwhile and never read.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { getDeviceContext, putDeviceContext } from './device.ts';
import { domainRecord, getDomain, HOST_OWNER, putDomain } from './domain-record.ts';
import { pinSharedRange, unpinSharedRange } from './ownership.ts';

/**
 * attach_dev_nested, with the host's descriptor of `size` bytes at `descriptor`.
 * @returns -EPERM the device is with a guest; -EINVAL or -EPERM the descriptor cannot be pinned; -EINVAL no such domain;
 *   -ENODEV
 */
export function* attachDevNested(
  h: Hyp,
  iommu: number,
  id: number,
  endpoint: number,
  descriptor: number,
  size: number,
): Steps<number> {
  let result = yield* getDeviceContext(h, iommu, endpoint, HOST_OWNER);
  if (result < 0) return result;
  result = yield* pinSharedRange(h, descriptor, size);
  if (result === 0) {
    result = yield* refuseDomain(h, id);
    yield* unpinSharedRange(h, descriptor, size);
  }
  yield* putDeviceContext(h, iommu, endpoint);
  return result;
}

/** iotlb_inv_nested_domain. @returns -EINVAL no such domain; -ENODEV */
export function* invalidateNestedDomain(h: Hyp, id: number): Steps<number> {
  return yield* refuseDomain(h, id);
}

/** nested_cfg_sync, with a command of `size` bytes at `command`. @returns -EINVAL, -EPERM it cannot be pinned; -ENODEV */
export function* nestedConfigSync(h: Hyp, command: number, size: number): Steps<number> {
  const result = yield* pinSharedRange(h, command, size);
  if (result < 0) return result;
  yield* unpinSharedRange(h, command, size);
  return err('ENODEV');
}

/** No domain has a driver with the operation that the call is about. @returns -EINVAL no such domain of the host; -ENODEV */
export function* refuseDomain(h: Hyp, id: number): Steps<number> {
  const domain = domainRecord(h, id);
  if (!(yield* getDomain(h, domain, HOST_OWNER))) return err('EINVAL');
  yield* putDomain(h, domain);
  return err('ENODEV');
}
