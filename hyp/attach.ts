/**
 * attach_dev and detach_dev: a PASID of a stream gets a descriptor that leads to a domain's page table, or loses it.
 * PASID 0, which also stands for accesses without one, makes and clears the stream's STE: it is attached first and
 * detached last. Attach refuses what has an entry already; detach refuses an entry that is not this domain's.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import { bindDomain, leaveSmmu, uncountStream } from './binding.ts';
import type { Hyp } from './context.ts';
import {
  allocCdTable,
  cdAsid,
  cdAt,
  clearCd,
  enableCd,
  freeCdTable,
  isCdTableSize,
  isCdValid,
  readCd,
  writeCdBody,
} from './context-descriptor.ts';
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
import { SMMU_LOCK, smmuRecord, syncCd } from './smmu.ts';
import {
  clearSte,
  faultsStall,
  findSte,
  STE_CONFIG_S1,
  STE_CONFIG_S2,
  steCdBits,
  steCdTable,
  steConfig,
  steLo,
  steVmid,
  writeS1Ste,
  writeS2Ste,
} from './stream-table.ts';

/** One PASID of one stream, and the domain that it is to translate through. */
export interface Attachment {
  /** Index of the SMMU. */
  readonly iommu: number;
  /** Number of the domain. */
  readonly id: number;
  readonly sid: number;
  readonly pasid: number;
}

/** How it is to be attached. */
export interface AttachOptions {
  /** log2 of how many PASIDs the stream is to have room for, if this is the first. */
  readonly pasidBits: number;
  /** Whether faults are to stall, if the hardware leaves the choice. */
  readonly stall: boolean;
}

/**
 * attach_dev. @param vm handle of the VM that asks, 0 for the host
 * @returns 0; -EPERM the device is somebody else's; -EINVAL no such domain, or a PASID on a stream that is not attached;
 * -ENODEV no such IOMMU; -EBUSY the domain is bound to another IOMMU, the stream or PASID is in use, or it cannot have
 * PASIDs; -ENOMEM (with a request only where memory would help: a StreamID out of range has none); -E2BIG more PASIDs
 * than a table has, or a PASID beyond the stream's table
 */
export function* attachDev(h: Hyp, vm: number, attachment: Attachment, options: AttachOptions): Steps<number> {
  const { iommu, id, sid } = attachment;
  const context = yield* getDeviceContext(h, iommu, sid, vm);
  if (context !== 0) return context;
  const domain = domainRecord(h, id);
  yield* lock(h, h.layout.domainLock);
  let result = err('EINVAL');
  if (yield* getDomain(h, domain, vm)) {
    result = yield* attachStream(h, domain, attachment, options);
    // Without an answer from the hardware the entry may be in use: the domain stays referenced, lost but safe.
    if (result !== 0 && result !== err('ETIMEDOUT')) yield* putDomain(h, domain);
  }
  yield* unlock(h, h.layout.domainLock);
  yield* putDeviceContext(h, iommu, sid);
  return result;
}

function* attachStream(h: Hyp, domain: number, attachment: Attachment, options: AttachOptions): Steps<number> {
  const { iommu, sid } = attachment;
  const smmu = smmuRecord(h, iommu);
  if (smmu < 0) return err('ENODEV');
  const isBoundAtAttach = h.profile.tableBuilt === 'first-attach';
  if (!isBoundAtAttach && domainSmmu(h, domain) !== iommu) return err('EBUSY');
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, sid, true);
  let result = err('ENOMEM');
  if (ste !== 0) {
    result = isBoundAtAttach
      ? yield* bindAndAttach(h, smmu, domain, ste, attachment, options)
      : yield* attachEntry(h, smmu, domain, ste, attachment, options);
  }
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* bindAndAttach(
  h: Hyp,
  smmu: number,
  domain: number,
  ste: number,
  attachment: Attachment,
  options: AttachOptions,
): Steps<number> {
  const bound = yield* bindDomain(h, domain, attachment.id, attachment.iommu);
  if (bound !== 0) return bound;
  const result = yield* attachEntry(h, smmu, domain, ste, attachment, options);
  if (result !== 0 && result !== err('ETIMEDOUT')) yield* uncountStream(h, domain, attachment.iommu);
  return result;
}

function* attachEntry(
  h: Hyp,
  smmu: number,
  domain: number,
  ste: number,
  attachment: Attachment,
  options: AttachOptions,
): Steps<number> {
  return domainStage(h, domain) === 1
    ? yield* attachS1(h, smmu, domain, ste, attachment, options)
    : yield* attachS2(h, smmu, domain, ste, attachment, options);
}

function* attachS1(
  h: Hyp,
  smmu: number,
  domain: number,
  ste: number,
  attachment: Attachment,
  options: AttachOptions,
): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  const first = steLo(h, ste, 0);
  if (steConfig(first) === STE_CONFIG_S2) return err('EBUSY');
  if (attachment.pasid === 0) {
    if (first !== 0) return err('EBUSY');
    return yield* attachFirst(h, smmu, domain, ste, attachment, options);
  }
  if (steConfig(first) !== STE_CONFIG_S1) return err('EINVAL');
  return yield* attachPasid(h, smmu, domain, ste, attachment, options);
}

/** PASID 0: the stream gets its table of descriptors, then its entry. */
function* attachFirst(
  h: Hyp,
  smmu: number,
  domain: number,
  ste: number,
  { iommu, id, sid }: Attachment,
  { pasidBits, stall }: AttachOptions,
): Steps<number> {
  const bits = Math.min(pasidBits, h.smmus[iommu]!.ssidBits);
  // Upstream stops the machine here.
  if (!isCdTableSize(bits)) return err('E2BIG');
  const table = yield* allocCdTable(h, bits);
  if (table === 0) return err('ENOMEM');
  const { layout, root } = domainPageTable(h, domain, id);
  const cd = cdAt(table, 0);
  yield* writeCdBody(h, cd, layout, root);
  yield* enableCd(h, cd, layout, id, faultsStall(h, iommu, stall));
  return yield* writeS1Ste(h, smmu, sid, ste, table, bits);
}

/** A further PASID: only its descriptor is written, in the table that hardware may be reading. */
function* attachPasid(
  h: Hyp,
  smmu: number,
  domain: number,
  ste: number,
  { iommu, id, sid, pasid }: Attachment,
  { stall }: AttachOptions,
): Steps<number> {
  if (pasid >= 2 ** steCdBits(h, ste)) return err('E2BIG');
  const cd = cdAt(steCdTable(h, ste), pasid);
  if ((yield* readCd(h, cd)) !== 0) return err('EBUSY');
  const { layout, root } = domainPageTable(h, domain, id);
  yield* writeCdBody(h, cd, layout, root);
  const synced = yield* syncCd(h, smmu, sid, pasid);
  if (synced !== 0) return synced;
  yield* enableCd(h, cd, layout, id, faultsStall(h, iommu, stall));
  return yield* syncCd(h, smmu, sid, pasid);
}

function* attachS2(
  h: Hyp,
  smmu: number,
  domain: number,
  ste: number,
  { iommu, id, sid, pasid }: Attachment,
  { stall }: AttachOptions,
): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (steLo(h, ste, 0) !== 0 || pasid !== 0) return err('EBUSY');
  const { layout, root } = domainPageTable(h, domain, id);
  return yield* writeS2Ste(h, smmu, sid, ste, layout, root, id, faultsStall(h, iommu, stall));
}

/**
 * detach_dev. @param vm handle of the VM that asks, 0 for the host
 * @returns 0; -EPERM the device is somebody else's; -EINVAL no such domain, nothing attached to it, or PASID 0 before the
 * others; -ENODEV no such IOMMU or no entry for the StreamID; -E2BIG a PASID beyond the stream's table; -ENOENT the PASID
 * is not attached; -EACCES what is attached is not this domain
 */
export function* detachDev(h: Hyp, vm: number, attachment: Attachment): Steps<number> {
  const { iommu, id, sid } = attachment;
  const context = yield* getDeviceContext(h, iommu, sid, vm);
  if (context !== 0) return context;
  const domain = domainRecord(h, id);
  yield* lock(h, h.layout.domainLock);
  let result = err('EINVAL');
  if (domain >= 0 && (yield* domainRefs(h, domain)) > 1) {
    result = yield* detachStream(h, domain, attachment);
    if (result === 0) yield* putDomain(h, domain);
  }
  yield* unlock(h, h.layout.domainLock);
  yield* putDeviceContext(h, iommu, sid);
  return result;
}

function* detachStream(h: Hyp, domain: number, attachment: Attachment): Steps<number> {
  const { iommu, id } = attachment;
  const smmu = smmuRecord(h, iommu);
  if (smmu < 0) return err('ENODEV');
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, attachment.sid, false);
  let result = err('ENODEV');
  if (ste !== 0) {
    result =
      domainStage(h, domain) === 1
        ? yield* detachS1(h, smmu, ste, attachment)
        : yield* detachS2(h, smmu, ste, attachment);
  }
  if (result === 0 && h.profile.tableBuilt === 'first-attach') result = yield* leaveSmmu(h, domain, id, iommu, smmu);
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* detachS1(h: Hyp, smmu: number, ste: number, { id, sid, pasid }: Attachment): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (steConfig(steLo(h, ste, 0)) !== STE_CONFIG_S1) return err('EACCES');
  const bits = steCdBits(h, ste);
  if (pasid >= 2 ** bits) return err('E2BIG');
  const table = steCdTable(h, ste);
  if (pasid === 0 && (yield* hasOtherPasids(h, table, bits))) return err('EINVAL');
  const cd = cdAt(table, pasid);
  const isAttached = isCdValid(yield* readCd(h, cd));
  if (pasid !== 0 && !isAttached) return err('ENOENT');
  if (cdAsid(h, cd) !== id) return err('EACCES');
  if (pasid !== 0) return yield* clearCd(h, smmu, sid, pasid, cd);
  const result = yield* clearSte(h, smmu, sid, ste);
  // CFGI_STE drops the descriptors fetched through the stream too, and has completed: the table is free to go.
  if (result === 0) yield* freeCdTable(h, table, bits);
  return result;
}

function* hasOtherPasids(h: Hyp, table: number, bits: number): Steps<boolean> {
  for (let pasid = 1; pasid < 2 ** bits; pasid++) {
    if (isCdValid(yield* readCd(h, cdAt(table, pasid)))) return true;
  }
  return false;
}

function* detachS2(h: Hyp, smmu: number, ste: number, { id, sid }: Attachment): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (steConfig(steLo(h, ste, 0)) !== STE_CONFIG_S2) return err('EACCES');
  if (steVmid(h, ste) !== id) return err('EACCES');
  return yield* clearSte(h, smmu, sid, ste);
}
