/**
 * attach_dev and detach_dev: a stream gets an STE that leads to a domain's page table, or loses it. Attach refuses a
 * stream that has an entry already; detach refuses a stream whose entry is not this domain's.
 *
 * Left out: PASIDs other than 0 (they are refused as on hardware without SubstreamIDs).
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import { bindDomain, leaveSmmu, uncountStream } from './binding.ts';
import type { Hyp } from './context.ts';
import { allocCd, cdAsid, cdOfSte, freeCd, writeCd } from './context-descriptor.ts';
import { getDeviceContext, putDeviceContext } from './device.ts';
import {
  domainPageTable,
  domainRecord,
  domainRefs,
  domainSmmu,
  domainStage,
  getDomain,
  putDomain,
} from './domain-record.ts';
import { lock, unlock } from './lock.ts';
import { SMMU_LOCK, smmuRecord } from './smmu.ts';
import {
  clearSte,
  findSte,
  STE_CONFIG_S1,
  STE_CONFIG_S2,
  steConfig,
  steLo,
  steVmid,
  writeS1Ste,
  writeS2Ste,
} from './stream-table.ts';

/**
 * attach_dev. @param vm handle of the VM that asks, 0 for the host
 * @returns 0; -EPERM the device is somebody else's; -EINVAL no such domain, or PASID without a CD table; -ENODEV no such
 * IOMMU; -EBUSY the domain is bound to another IOMMU or the stream has an entry; -ENOMEM (with a request only where
 * memory would help: a StreamID out of range has none); -E2BIG PASID too large
 */
export function* attachDev(h: Hyp, vm: number, iommu: number, id: number, sid: number, pasid: number): Steps<number> {
  const context = yield* getDeviceContext(h, iommu, sid, vm);
  if (context !== 0) return context;
  const domain = domainRecord(h, id);
  yield* lock(h, h.layout.domainLock);
  let result = err('EINVAL');
  if (yield* getDomain(h, domain, vm)) {
    result = yield* attachStream(h, iommu, domain, id, sid, pasid);
    // Without an answer from the hardware the entry may be in use: the domain stays referenced, lost but safe.
    if (result !== 0 && result !== err('ETIMEDOUT')) yield* putDomain(h, domain);
  }
  yield* unlock(h, h.layout.domainLock);
  yield* putDeviceContext(h, iommu, sid);
  return result;
}

function* attachStream(h: Hyp, iommu: number, domain: number, id: number, sid: number, pasid: number): Steps<number> {
  const smmu = smmuRecord(h, iommu);
  if (smmu < 0) return err('ENODEV');
  const isBoundAtAttach = h.profile.tableBuilt === 'first-attach';
  if (!isBoundAtAttach && domainSmmu(h, domain) !== iommu) return err('EBUSY');
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, sid, true);
  let result = err('ENOMEM');
  if (ste !== 0) {
    result = isBoundAtAttach
      ? yield* bindAndAttach(h, iommu, smmu, domain, id, sid, ste, pasid)
      : yield* attachEntry(h, smmu, domain, id, sid, ste, pasid);
  }
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* bindAndAttach(
  h: Hyp,
  iommu: number,
  smmu: number,
  domain: number,
  id: number,
  sid: number,
  ste: number,
  pasid: number,
): Steps<number> {
  const bound = yield* bindDomain(h, domain, iommu);
  if (bound !== 0) return bound;
  const result = yield* attachEntry(h, smmu, domain, id, sid, ste, pasid);
  if (result !== 0 && result !== err('ETIMEDOUT')) yield* uncountStream(h, domain, iommu);
  return result;
}

function* attachEntry(
  h: Hyp,
  smmu: number,
  domain: number,
  id: number,
  sid: number,
  ste: number,
  pasid: number,
): Steps<number> {
  return domainStage(h, domain) === 1
    ? yield* attachS1(h, smmu, domain, id, sid, ste, pasid)
    : yield* attachS2(h, smmu, domain, id, sid, ste, pasid);
}

function* attachS1(
  h: Hyp,
  smmu: number,
  domain: number,
  id: number,
  sid: number,
  ste: number,
  pasid: number,
): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  const first = steLo(h, ste, 0);
  if (steConfig(first) === STE_CONFIG_S2) return err('EBUSY');
  if (pasid !== 0) return first === 0 ? err('EINVAL') : err('E2BIG');
  if (first !== 0) return err('EBUSY');
  const cd = yield* allocCd(h);
  if (cd === 0) return err('ENOMEM');
  const table = domainPageTable(h, domain, id);
  yield* writeCd(h, cd, table.layout, table.root, id);
  return yield* writeS1Ste(h, smmu, sid, ste, cd);
}

function* attachS2(
  h: Hyp,
  smmu: number,
  domain: number,
  id: number,
  sid: number,
  ste: number,
  pasid: number,
): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (steLo(h, ste, 0) !== 0 || pasid !== 0) return err('EBUSY');
  const table = domainPageTable(h, domain, id);
  return yield* writeS2Ste(h, smmu, sid, ste, table.layout, table.root, id);
}

/**
 * detach_dev. @param vm handle of the VM that asks, 0 for the host
 * @returns 0; -EPERM the device is somebody else's; -EINVAL no such domain or nothing attached to it; -ENODEV no such
 * IOMMU or no entry for the StreamID; -E2BIG PASID too large; -EACCES the stream's entry is not this domain's
 */
export function* detachDev(h: Hyp, vm: number, iommu: number, id: number, sid: number, pasid: number): Steps<number> {
  const context = yield* getDeviceContext(h, iommu, sid, vm);
  if (context !== 0) return context;
  const domain = domainRecord(h, id);
  yield* lock(h, h.layout.domainLock);
  let result = err('EINVAL');
  if (domain >= 0 && (yield* domainRefs(h, domain)) > 1) {
    result = yield* detachStream(h, iommu, domain, id, sid, pasid);
    if (result === 0) yield* putDomain(h, domain);
  }
  yield* unlock(h, h.layout.domainLock);
  yield* putDeviceContext(h, iommu, sid);
  return result;
}

function* detachStream(h: Hyp, iommu: number, domain: number, id: number, sid: number, pasid: number): Steps<number> {
  const smmu = smmuRecord(h, iommu);
  if (smmu < 0) return err('ENODEV');
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, sid, false);
  let result = err('ENODEV');
  if (ste !== 0) {
    result =
      domainStage(h, domain) === 1
        ? yield* detachS1(h, smmu, id, sid, ste, pasid)
        : yield* detachS2(h, smmu, id, sid, ste);
  }
  if (result === 0 && h.profile.tableBuilt === 'first-attach') result = yield* leaveSmmu(h, domain, id, iommu, smmu);
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* detachS1(h: Hyp, smmu: number, id: number, sid: number, ste: number, pasid: number): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (steConfig(steLo(h, ste, 0)) !== STE_CONFIG_S1) return err('EACCES');
  if (pasid !== 0) return err('E2BIG');
  const cd = cdOfSte(h, ste);
  if (cdAsid(h, cd) !== id) return err('EACCES');
  const result = yield* clearSte(h, smmu, sid, ste);
  // CFGI_STE drops the descriptors fetched through the stream too, and has completed: the page is free to go.
  if (result === 0) yield* freeCd(h, cd);
  return result;
}

function* detachS2(h: Hyp, smmu: number, id: number, sid: number, ste: number): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (steConfig(steLo(h, ste, 0)) !== STE_CONFIG_S2) return err('EACCES');
  if (steVmid(h, ste) !== id) return err('EACCES');
  return yield* clearSte(h, smmu, sid, ste);
}
