/**
 * TLB invalidation for one domain. The tag of a domain's translations is its id: ASID at stage 1 (with VMID 0), VMID at
 * stage 2. Ranges are cut as upstream cuts them: the count of pages is taken apart from its lowest set bit upwards.
 */

import { err } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { domainSmmu, domainStage, smmuStreams } from './domain-record.ts';
import { lock, unlock } from './lock.ts';
import { hasRangeInvalidation, identityStreams, issueCommand, SMMU_LOCK, smmuRecord, syncCommands } from './smmu.ts';

/** Tag of the identity domain. */
export const IDENTITY_VMID = 0;
const CMD_TLBI_NH_ALL = 0x10;
const CMD_TLBI_NH_ASID = 0x11;
const CMD_TLBI_NH_VA = 0x12;
const CMD_TLBI_S12_VMALL = 0x28;
const CMD_TLBI_S2_IPA = 0x2a;
const TWO31 = 2147483648;
const TWO32 = 4294967296;
/** Without range commands, from this many leaves on one command for the whole tag is cheaper. */
const WHOLE_TAG_LEAVES = 512;

/** Tag of the domain in the upper half of a command's first word: VMID 15:0, ASID 31:16. */
function tag(stage: number, domainId: number): number {
  return stage === 1 ? domainId << 16 : domainId;
}

/** Whether that SMMU may hold translations of the domain being worked on. */
function mayHold(h: Hyp, index: number): boolean {
  if (h.profile.domainSmmus === 'one') return index === domainSmmu(h, h.domain);
  return h.memory.read32(smmuStreams(h.domain, index)) !== 0;
}

/** Drop every translation of the domain being worked on, and wait. @returns 0 or -ETIMEDOUT */
export function* invalidateDomain(h: Hyp): Steps<number> {
  let result = 0;
  for (let i = 0; i < h.smmus.length; i++) {
    if (mayHold(h, i) && (yield* invalidateDomainOn(h, i)) !== 0) result = err('ETIMEDOUT');
  }
  return result;
}

function* invalidateDomainOn(h: Hyp, index: number): Steps<number> {
  const smmu = smmuRecord(h, index);
  yield* lock(h, smmu + SMMU_LOCK);
  let result = yield* issueWholeTag(h, smmu, domainStage(h, h.domain), h.domainId);
  if (result === 0) result = yield* syncCommands(h, smmu);
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

/** Drop every translation of a domain on one SMMU. No SYNC. */
export function* issueWholeTag(h: Hyp, smmu: number, stage: number, id: number): Steps<number> {
  return yield* issueCommand(h, smmu, tag(stage, id), stage === 1 ? CMD_TLBI_NH_ASID : CMD_TLBI_S12_VMALL, 0, 0);
}

/**
 * Drop the translations of [start, start + size), given in leaves of `granule` bytes, and wait. With `leafOnly` false
 * also what walks may hold of the tables above.
 * @returns 0 or -ETIMEDOUT
 */
export function* invalidateRange(
  h: Hyp,
  start: number,
  size: number,
  granule: number,
  leafOnly: boolean,
): Steps<number> {
  let result = 0;
  for (let i = 0; i < h.smmus.length; i++) {
    if (!mayHold(h, i)) continue;
    if ((yield* invalidateRangeOn(h, i, start, size, granule, leafOnly)) !== 0) result = err('ETIMEDOUT');
  }
  return result;
}

function* invalidateRangeOn(
  h: Hyp,
  index: number,
  start: number,
  size: number,
  granule: number,
  leafOnly: boolean,
): Steps<number> {
  const stage = domainStage(h, h.domain);
  const smmu = smmuRecord(h, index);
  yield* lock(h, smmu + SMMU_LOCK);
  let result = hasRangeInvalidation(h, index)
    ? yield* issueRanges(h, smmu, stage, h.domainId, start, size, granule, leafOnly)
    : yield* issueSingles(h, smmu, stage, h.domainId, start, size, granule, leafOnly);
  if (result === 0) result = yield* syncCommands(h, smmu);
  yield* unlock(h, smmu + SMMU_LOCK);
  return result;
}

/**
 * Drop the translations of pages [start, start + size) of the identity domain, on every SMMU of which a stream uses it,
 * and wait. With them goes all of stage 1 under VMID 0, because an entry of a nested stream has both stages in one.
 * @returns 0 or -ETIMEDOUT
 */
export function* invalidateIdentity(h: Hyp, start: number, size: number): Steps<number> {
  // The cleared descriptors must be seen by a stream that is about to be given the table.
  yield { kind: 'barrier', at: h.layout.identityRoot };
  let result = 0;
  for (let i = 0; i < h.smmus.length && result === 0; i++) {
    const smmu = smmuRecord(h, i);
    yield* lock(h, smmu + SMMU_LOCK);
    if (identityStreams(h, smmu) !== 0) result = yield* invalidateIdentityPages(h, smmu, i, start, size);
    yield* unlock(h, smmu + SMMU_LOCK);
  }
  return result;
}

function* invalidateIdentityPages(h: Hyp, smmu: number, index: number, start: number, size: number): Steps<number> {
  let result = hasRangeInvalidation(h, index)
    ? yield* issueRanges(h, smmu, 2, IDENTITY_VMID, start, size, 4096, true)
    : yield* issueSingles(h, smmu, 2, IDENTITY_VMID, start, size, 4096, true);
  // Without stage 1 there are no such entries, and the command would be illegal.
  if (result === 0 && h.smmus[index]!.stage1) {
    result = yield* issueCommand(h, smmu, IDENTITY_VMID, CMD_TLBI_NH_ALL, 0, 0);
  }
  if (result === 0) result = yield* syncCommands(h, smmu);
  return result;
}

/** Drop every translation of the identity domain on one SMMU, whose lock is held, and wait. @returns 0 or -ETIMEDOUT */
export function* invalidateIdentityTag(h: Hyp, smmu: number): Steps<number> {
  const issued = yield* issueWholeTag(h, smmu, 2, IDENTITY_VMID);
  return issued !== 0 ? issued : yield* syncCommands(h, smmu);
}

function* issueSingles(
  h: Hyp,
  smmu: number,
  stage: number,
  id: number,
  start: number,
  size: number,
  granule: number,
  leafOnly: boolean,
): Steps<number> {
  if (size / granule >= WHOLE_TAG_LEAVES) return yield* issueWholeTag(h, smmu, stage, id);
  const opcode = stage === 1 ? CMD_TLBI_NH_VA : CMD_TLBI_S2_IPA;
  for (let at = start; at < start + size; at += granule) {
    const result = yield* issueCommand(h, smmu, tag(stage, id), opcode, upper(at), at | (leafOnly ? 1 : 0));
    if (result !== 0) return result;
  }
  return 0;
}

/** Upper word of an address. */
function upper(iova: number): number {
  return iova < TWO32 ? 0 : Math.floor(iova / TWO32);
}

/** Levels 1, 2, 3 hold leaves of 1 GiB, 2 MiB, 4 KiB. */
function levelHint(granule: number): number {
  return granule === 4096 ? 3 : granule === 2 ** 21 ? 2 : 1;
}

function* issueRanges(
  h: Hyp,
  smmu: number,
  stage: number,
  id: number,
  start: number,
  size: number,
  granule: number,
  leafOnly: boolean,
): Steps<number> {
  const opcode = stage === 1 ? CMD_TLBI_NH_VA : CMD_TLBI_S2_IPA;
  const ttl = leafOnly ? levelHint(granule) : 0;
  let pages = size / 4096;
  let at = start;
  while (pages > 0) {
    const scale = trailingZeros(pages);
    const count = scale < 31 && pages < TWO31 ? (pages >>> scale) & 31 : Math.floor(pages / 2 ** scale) % 32;
    const done = scale < 25 ? count << scale : count * 2 ** scale;
    // NUM = SCALE = TTL = 0 would be illegal: a single page without a level hint takes its neighbour along.
    const num = count === 1 && scale === 0 && ttl === 0 ? 1 : count - 1;
    const lo0 = opcode | (num << 12) | (scale << 20);
    const lo1 = (at & -4096) | (1 << 10) | (ttl << 8) | (leafOnly ? 1 : 0);
    const result = yield* issueCommand(h, smmu, tag(stage, id), lo0, upper(at), lo1);
    if (result !== 0) return result;
    at += done * 4096;
    pages -= done;
  }
  return 0;
}

/** Number of zero bits below the lowest set bit. SCALE has five bits: 31 at most. */
function trailingZeros(pages: number): number {
  const low = pages | 0;
  return low === 0 ? 31 : 31 - Math.clz32(low & -low);
}
