/** attach_dev, detach_dev, set_identity and page_response (docs/abi-sources.md, section 3). */

import { AttachFlag, type ErrnoName } from '#hypercall-abi';
import type { Call } from './call.ts';
import { accept, type CallRules, lack, type Row, refuse, type Shortage } from './row.ts';

/** 64 KiB of 64-byte descriptors, the largest table that is made: 2^10. */
const PASID_BITS_MAX = 10;
/** Descriptors in a page, as log2. */
const PER_PAGE_BITS = 6;

/** The domain in x2 when it is in use, else -1. */
export function usedDomain(c: Call): number {
  const id = c.u32(2);
  return id < c.facts.profile.domains.count && c.ghost.domainUsed(id) ? id : -1;
}

/** The same when it is the host's. */
function ownDomain(c: Call): number {
  const id = usedDomain(c);
  return id >= 0 && c.ghost.domainOwner(id) === 0 ? id : -1;
}

/** The IOMMU: x2 of set_identity and page_response, x1 of the others. */
export const smmu = (c: Call, iommu = c.u32(1)) => c.facts.description.smmus[iommu];

export function streamExists(c: Call, iommu = c.u32(1)): boolean {
  return c.u32(3) < 2 ** c.reader.streamTableLog2(iommu);
}

/** Id of the identity domain. */
const identityOf = (c: Call): number => c.facts.profile.domains.identity;

/** Stage of the domain that the stream of the call is attached to; 0 when it is attached to none. */
export function stageOfStream(c: Call): number {
  const id = c.ghost.streamDomain(c.u32(1), c.u32(3));
  if (id === identityOf(c)) return 2;
  return id < 0 ? 0 : c.ghost.domainStage(id);
}

/** Whether the stream is one of a device that is not the host's at the moment. */
export function isForeign(c: Call, iommu = c.u32(1)): boolean {
  const device = c.facts.deviceOf(iommu, c.u32(3));
  return device >= 0 && c.ghost.deviceContext(device) !== 0;
}

/** Whether the level-2 table of the stream is there; a linear table has all. */
export function hasLevel2(c: Call, iommu = c.u32(1), sid = c.u32(3)): boolean {
  const split = c.reader.streamTableSplit(iommu);
  if (split === 0) return true;
  const at = c.reader.streamTable(iommu) + 8 * Math.floor(sid / 2 ** split);
  return (c.facts.memory.read32(at) & 31) !== 0;
}

/** Whether a stream has an entry, and its SMMU would leave unanswered what it is told about it. */
export function entryIsUnanswered(
  c: Call,
  { smmu: iommu, sid }: { readonly smmu: number; readonly sid: number },
): boolean {
  return sid < 2 ** c.reader.streamTableLog2(iommu) && hasLevel2(c, iommu, sid) && c.isUnanswered(iommu);
}

/** Pages of a level-2 table: 2^split entries of 64 bytes. */
export function level2Pages(c: Call, iommu = c.u32(1)): number {
  return Math.max(1, 2 ** (c.reader.streamTableSplit(iommu) - 6));
}

const stage = (c: Call): number => c.ghost.domainStage(c.u32(2));
const pasid = (c: Call): number => c.u32(4);
/** Domain that the PASID of the call is attached to, or -1. */
const attachedTo = (c: Call): number => c.ghost.streamDomain(c.u32(1), c.u32(3), pasid(c));
/** Whether the PASID has no place in the stream's table. */
const isBeyond = (c: Call): boolean => pasid(c) >= 2 ** c.ghost.pasidBits(c.u32(1), c.u32(3));

const attach = 'attach_dev';
/** The call that attaches a stream for the first time says how many PASIDs it has room for. */
const wantedBits = (c: Call): number => Math.min(c.u32(5), smmu(c)!.ssidBits);

function stalls(c: Call): boolean {
  const model = smmu(c)?.stallModel ?? 'terminate';
  const flags = c.facts.profile.call(attach).args.some(({ name }) => name === 'flags') ? c.lo(6) : 0;
  return model === 'stall' || (model === 'both' && (flags & AttachFlag.stall) !== 0);
}

/** Pages of the table of context descriptors that the call makes. */
export function descriptorPages(c: Call): number {
  return 2 ** Math.max(0, wantedBits(c) - PER_PAGE_BITS);
}

/** The level-2 table comes before what else the call may be refused for. */
const needsLevel2 = lack(attach, 'iommu', {
  pages: level2Pages,
  accept: (c) => (hasLevel2(c) ? 'asks for a level-2 table that is there' : null),
});

/** What is missing where nothing else is wrong: the level-2 table; else the descriptors, for PASID 0 at stage 1. */
function needsTables(stage: (c: Call) => number): Shortage {
  const pages = (c: Call): number => {
    if (!hasLevel2(c)) return level2Pages(c);
    return stage(c) === 1 && pasid(c) === 0 ? descriptorPages(c) : 0;
  };
  const accept = (c: Call): string | null => (pages(c) === 0 ? 'asks for memory that it does not need' : null);
  return { ...lack(attach, 'iommu', { pages, accept }), id: `${attach}/ENOMEM-tables` };
}

export const attachDev: CallRules = {
  prepare: () => {},
  rows: [
    refuse(attach, 'EPERM', (c) => isForeign(c)),
    refuse(attach, 'EINVAL', (c) => ownDomain(c) < 0, 'domain'),
    refuse(attach, 'ENODEV', (c) => smmu(c) === undefined),
    refuse(attach, 'EBUSY', (c) => c.ghost.domainSmmu(c.u32(2)) !== c.u32(1), 'other-iommu'),
    refuse(attach, 'ENOMEM', (c) => !streamExists(c), 'stream'),
    ...entryRows(stage, [needsLevel2], [needsTables(stage)], () => {}),
  ],
};

/**
 * The rows of what is checked and done once there is an entry for the stream: with android17 at once, with older
 * generations behind the domain's binding.
 * @param stage that the domain translates at, or will once it is bound
 * @param before what can be missing where the call is refused all the same
 * @param missing what can be missing where it would have succeeded
 * @param reached what the call has done when it comes to these rows
 */
export function entryRows(
  stage: (c: Call) => number,
  before: readonly Shortage[],
  missing: readonly Shortage[],
  reached: (c: Call) => void,
): readonly Row[] {
  const refused = (errno: ErrnoName, when: (c: Call) => boolean, why: string): Row => ({
    ...refuse(attach, errno, when, why),
    shortages: before,
    apply: reached,
  });
  const isFirst = (c: Call): boolean => stage(c) === 1 && pasid(c) === 0;
  return [
    refused('EBUSY', (c) => stage(c) === 1 && stageOfStream(c) === 2, 'stage2'),
    refused('EBUSY', (c) => isFirst(c) && stageOfStream(c) !== 0, 'in-use'),
    // Deviation: upstream stops the machine.
    refused('E2BIG', (c) => isFirst(c) && wantedBits(c) > PASID_BITS_MAX, 'table'),
    refused('EINVAL', (c) => stage(c) === 1 && !isFirst(c) && stageOfStream(c) === 0, 'no-cd-table'),
    refused('E2BIG', (c) => stage(c) === 1 && isBeyond(c) && !isFirst(c), 'pasid'),
    refused('EBUSY', (c) => stage(c) === 1 && attachedTo(c) >= 0, 'descriptor'),
    refused('EBUSY', (c) => stage(c) === 2 && stageOfStream(c) !== 0, 'in-use-stage2'),
    refused('EBUSY', (c) => stage(c) === 2 && pasid(c) !== 0, 'pasid-stage2'),
    {
      ...refuse(attach, 'ETIMEDOUT', (c) => c.isUnanswered(c.u32(1))),
      apply: (c) => {
        reached(c);
        c.ghost.loseReference(c.u32(2), c.u32(1));
        touchStream(c);
      },
      shortages: missing,
    },
    accept(attach, 'ok', {
      apply: (c) => {
        if (usedDomain(c) < 0 || smmu(c) === undefined || attachedTo(c) >= 0) return;
        // What the domain translates at may be known only before it is bound.
        const bits = isFirst(c) ? wantedBits(c) : 0;
        reached(c);
        c.ghost.attach(c.u32(1), c.u32(3), pasid(c), c.u32(2), stalls(c), bits);
        touchStream(c);
      },
      shortages: missing,
    }),
  ];
}

export function touchStream(c: Call): void {
  c.monitor.touched.addStream(c.u32(1), c.u32(3));
  c.monitor.touched.domains.add(c.u32(2));
}

const detach = 'detach_dev';
/** The attachment that the call ends: stage 2 knows no PASIDs, and the argument is not looked at. */
const detachedPasid = (c: Call): number => (stage(c) === 1 ? pasid(c) : 0);
const detachedFrom = (c: Call): number => c.ghost.streamDomain(c.u32(1), c.u32(3), detachedPasid(c));

export const detachDev: CallRules = {
  prepare: () => {},
  rows: [
    refuse(detach, 'EPERM', (c) => isForeign(c)),
    refuse(detach, 'EINVAL', (c) => usedDomain(c) < 0 || c.ghost.domainAttached(c.u32(2)) === 0, 'domain'),
    refuse(detach, 'ENODEV', (c) => smmu(c) === undefined, 'iommu'),
    ...detachRows(),
  ],
};

/** The rows of what is checked and done once domain and IOMMU are known. */
export function detachRows(): readonly Row[] {
  return [
    refuse(detach, 'ENODEV', (c) => !streamExists(c) || !hasLevel2(c), 'stream'),
    refuse(detach, 'EACCES', (c) => stageOfStream(c) !== stage(c), 'stage'),
    refuse(detach, 'E2BIG', (c) => stage(c) === 1 && isBeyond(c)),
    refuse(
      detach,
      'EINVAL',
      (c) => stage(c) === 1 && pasid(c) === 0 && c.ghost.pasids(c.u32(1), c.u32(3)) !== 0,
      'other-pasids',
    ),
    refuse(detach, 'ENOENT', (c) => detachedFrom(c) < 0),
    refuse(detach, 'EACCES', (c) => detachedFrom(c) !== c.u32(2), 'domain'),
    refuse(detach, 'ETIMEDOUT', (c) => c.isUnanswered(c.u32(1))),
    accept(detach, 'ok', {
      apply: (c) => {
        const id = detachedFrom(c);
        if (id < 0) return;
        c.ghost.detach(c.u32(1), c.u32(3), detachedPasid(c));
        c.monitor.touched.domains.add(id);
        touchStream(c);
      },
    }),
  ];
}

const identity = 'set_identity';
/** There is one driver. */
const DRIVER = 0;
const identityIommu = (c: Call): number => c.u32(2);
const turnsOn = (c: Call): boolean => c.lo(4) !== 0 || c.hi(4) !== 0;
const streamOf = (c: Call): number => c.ghost.streamDomain(identityIommu(c), c.u32(3));

/** A level-2 table is made whichever way identity is turned. */
const identityTables = [lack(identity, 'iommu', { pages: (c) => level2Pages(c, identityIommu(c)) })];

export const setIdentity: CallRules = {
  prepare: () => {},
  rows: [
    refuse(identity, 'ENODEV', (c) => c.u32(1) !== DRIVER, 'driver'),
    refuse(identity, 'EPERM', (c) => isForeign(c, identityIommu(c))),
    refuse(identity, 'ENODEV', (c) => smmu(c, identityIommu(c)) === undefined, 'iommu'),
    refuse(identity, 'EINVAL', (c) => !c.facts.identitySmmus.includes(identityIommu(c)), 'stage'),
    refuse(identity, 'ENOMEM', (c) => !streamExists(c, identityIommu(c)), 'stream'),
    refuse(identity, 'EBUSY', (c) => turnsOn(c) && streamOf(c) >= 0),
    {
      ...refuse(identity, 'EINVAL', (c) => !turnsOn(c) && streamOf(c) !== identityOf(c), 'not-on'),
      shortages: identityTables,
    },
    { ...refuse(identity, 'ETIMEDOUT', (c) => c.isUnanswered(identityIommu(c))), shortages: identityTables },
    accept(identity, 'off', { when: (c) => !turnsOn(c), apply: applyIdentity }),
    accept(identity, 'on', { apply: applyIdentity, shortages: identityTables }),
  ],
};

function applyIdentity(c: Call): void {
  const iommu = identityIommu(c);
  if (smmu(c, iommu) === undefined) return;
  c.monitor.touched.addStream(iommu, c.u32(3));
  if (turnsOn(c) && streamOf(c) < 0) {
    c.ghost.attach(iommu, c.u32(3), 0, identityOf(c), smmu(c, iommu)!.stallModel === 'stall', 0);
    c.ghost.addIdentityStream(iommu, 1);
  } else if (!turnsOn(c) && streamOf(c) === identityOf(c)) {
    c.ghost.detach(iommu, c.u32(3), 0);
    c.ghost.addIdentityStream(iommu, -1);
  }
}

const respond = 'page_response';

/** Ac and Ab of CMD_RESUME by status: success, invalid, failure. Any other ends the access without a word. */
const RESUMED_BY = [1, 2, 2];

/** What is wrong with the CMD_RESUMEs of the call; null for nothing. Where calls overlap, nobody knows whose they are. */
function judgeResume(c: Call): string | null {
  if (!c.isAlone) return null;
  const iommu = c.u32(2);
  const wanted = c.ghost.smmuOff(iommu) ? [] : [iommu, c.u32(3), c.u32(5) & 0xffff, RESUMED_BY[c.u32(6)] ?? 0];
  const { resumed } = c.monitor.touched;
  const isSame = resumed.length === wanted.length && resumed.every((word, i) => word === wanted[i]);
  return isSame ? null : `queued CMD_RESUME for ${resumed.join(', ')}; it must be ${wanted.join(', ')}`;
}

/** x1 driver, x2 IOMMU, x3 StreamID, x5 tag, x6 status. */
export const pageResponse: CallRules = {
  prepare: () => {},
  rows: [
    refuse(respond, 'EPERM', (c) => isForeign(c, c.u32(2))),
    refuse(respond, 'ENODEV', (c) => c.u32(1) !== DRIVER, 'driver'),
    // Deviation: upstream's public driver has no such operation at all.
    refuse(respond, 'ENODEV', (c) => (smmu(c, c.u32(2))?.stallModel ?? 'terminate') === 'terminate', 'no-stalls'),
    refuse(respond, 'ETIMEDOUT', (c) => c.isUnanswered(c.u32(2))),
    accept(respond, 'ok', { accept: judgeResume }),
  ],
};
