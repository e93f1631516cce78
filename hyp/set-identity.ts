/**
 * set_identity: a stream gets an entry that leads to the identity domain (identity.ts), or loses it. Stage 2 alone, so
 * only on an SMMU that has it.
 *
 * How many streams of an SMMU use the table is counted in its record: while there are none, changes of the table need
 * no invalidation there. So when the last one goes, everything tagged VMID 0 must go too.
 */

import { err } from '#hypercall-abi';
import type { PageTableLayout } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { getDeviceContext, putDeviceContext } from './device.ts';
import { DRIVER_ID } from './domain.ts';
import { HOST_OWNER } from './domain-record.ts';
import { identityTable } from './identity.ts';
import { lock, unlock } from './lock.ts';
import { IDENTITY_STREAMS, identityStreams, SMMU_LOCK, smmuRecord } from './smmu.ts';
import { clearSte, faultsStall, findSte, isStage2Entry, steLo, steVmid, writeS2Ste } from './stream-table.ts';
import { IDENTITY_VMID, invalidateIdentityTag } from './tlb.ts';

/**
 * set_identity. @returns 0; -ENODEV unknown driver or IOMMU; -EPERM the device is a guest's; -EINVAL no stage 2 there, or off where identity is not on;
 * -ENOMEM (with a request only where memory would help); -EBUSY on where the stream has an entry; -ETIMEDOUT
 */
export function* setIdentity(h: Hyp, driver: number, iommu: number, sid: number, on: boolean): Steps<number> {
  if (driver !== DRIVER_ID) return err('ENODEV');
  const context = yield* getDeviceContext(h, iommu, sid, HOST_OWNER);
  if (context !== 0) return context;
  const result = yield* setEntry(h, iommu, sid, on);
  yield* putDeviceContext(h, iommu, sid);
  return result;
}

function* setEntry(h: Hyp, iommu: number, sid: number, on: boolean): Steps<number> {
  const smmu = smmuRecord(h, iommu);
  if (smmu < 0) return err('ENODEV');
  // Upstream writes an entry that the hardware calls illegal.
  if (!h.smmus[iommu]!.stage2) return err('EINVAL');
  yield* lock(h, smmu + SMMU_LOCK);
  const ste = yield* findSte(h, smmu, sid, true);
  let result = err('ENOMEM');
  if (ste !== 0) result = on ? yield* turnOn(h, iommu, sid, ste) : yield* turnOff(h, smmu, sid, ste);
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

function* turnOn(h: Hyp, iommu: number, sid: number, ste: number): Steps<number> {
  const smmu = smmuRecord(h, iommu);
  yield { kind: 'readDescriptor', at: ste };
  if (steLo(h, ste, 0) !== 0) return err('EBUSY');
  const { layout, root } = identityTable(h);
  const walked = asWalkedBy(h, iommu, layout);
  const result = yield* writeS2Ste(h, smmu, sid, ste, walked, root, IDENTITY_VMID, faultsStall(h, iommu, false));
  // Without an answer to the last SYNC the entry is valid all the same.
  if (steLo(h, ste, 0) !== 0) h.memory.write32(smmu + IDENTITY_STREAMS, identityStreams(h, smmu) + 1);
  return result;
}

/** The one table, as that SMMU is to fetch it: whether it sees the caches of the CPUs is its own. */
function asWalkedBy(h: Hyp, iommu: number, layout: PageTableLayout): PageTableLayout {
  const own = h.tableLayouts[2 * iommu + 1]!.registers;
  const { registers } = layout;
  if (own.stage !== 2 || registers.stage !== 2) throw new Error(`identity by a ${layout.fmt} table`);
  return { ...layout, registers: { ...registers, sh: own.sh, orgn: own.orgn, irgn: own.irgn } };
}

function* turnOff(h: Hyp, smmu: number, sid: number, ste: number): Steps<number> {
  yield { kind: 'readDescriptor', at: ste };
  if (!isStage2Entry(h, ste) || steVmid(h, ste) !== IDENTITY_VMID) return err('EINVAL');
  let result = yield* clearSte(h, smmu, sid, ste);
  const streams = identityStreams(h, smmu);
  if (result === 0 && streams === 1) result = yield* invalidateIdentityTag(h, smmu);
  // Without an answer the stream may still be at it: it stays counted.
  if (result === 0) h.memory.write32(smmu + IDENTITY_STREAMS, streams - 1);
  return result;
}
