/**
 * attach_dev, detach_dev and set_identity (docs/abi-sources.md, section 3). Only PASID 0 can be attached: the hardware modelled has no
 * substreams, so a stage-1 stream has one context descriptor.
 */

import type { Call } from './call.ts';
import { accept, type CallRules, lack, type Row, refuse, type Shortage } from './row.ts';

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

/** Number of the IOMMU: in x2 of set_identity, in x1 of the others. */
export function iommuExists(c: Call, iommu = c.u32(1)): boolean {
  return iommu < c.facts.description.smmus.length;
}

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
export function hasLevel2(c: Call, iommu = c.u32(1)): boolean {
  const split = c.reader.streamTableSplit(iommu);
  if (split === 0) return true;
  const at = c.reader.streamTable(iommu) + 8 * Math.floor(c.u32(3) / 2 ** split);
  return (c.facts.memory.read32(at) & 31) !== 0;
}

/** Pages of a level-2 table: 2^split entries of 64 bytes. */
export function level2Pages(c: Call, iommu = c.u32(1)): number {
  return Math.max(1, 2 ** (c.reader.streamTableSplit(iommu) - 6));
}

const attach = 'attach_dev';
const stage = (c: Call): number => c.ghost.domainStage(c.u32(2));
const pasid = (c: Call): number => c.u32(4);

/** A missing level-2 table asks for its pages; with it there, what is missing is the page of the descriptor. */
const shortages = [lack(attach, 'iommu', { pages: (c) => (hasLevel2(c) ? 1 : level2Pages(c)) })];

export const attachDev: CallRules = {
  prepare: () => {},
  rows: [
    refuse(attach, 'EPERM', (c) => isForeign(c)),
    refuse(attach, 'EINVAL', (c) => ownDomain(c) < 0, 'domain'),
    refuse(attach, 'ENODEV', (c) => !iommuExists(c)),
    refuse(attach, 'EBUSY', (c) => c.ghost.domainSmmu(c.u32(2)) !== c.u32(1), 'other-iommu'),
    refuse(attach, 'ENOMEM', (c) => !streamExists(c), 'stream'),
    ...entryRows(stage, shortages, () => {}),
  ],
};

/**
 * The rows of what is checked and done once there is an entry for the stream: with android17 at once, with older
 * generations behind the domain's binding.
 * @param stage that the domain translates at, or will once it is bound
 * @param shortages what can be missing on the way to each row
 * @param reached what the call has done when it comes to these rows
 */
export function entryRows(
  stage: (c: Call) => number,
  shortages: readonly Shortage[],
  reached: (c: Call) => void,
): readonly Row[] {
  const refused = (row: Row): Row => ({ ...row, shortages, apply: reached });
  return [
    refused(refuse(attach, 'EBUSY', (c) => stage(c) === 1 && stageOfStream(c) === 2, 'stage2')),
    refused(refuse(attach, 'EINVAL', (c) => stage(c) === 1 && pasid(c) !== 0 && stageOfStream(c) === 0, 'no-cd-table')),
    refused(refuse(attach, 'E2BIG', (c) => stage(c) === 1 && pasid(c) !== 0)),
    refused(refuse(attach, 'EBUSY', (c) => stageOfStream(c) !== 0, 'in-use')),
    refused(refuse(attach, 'EBUSY', (c) => stage(c) === 2 && pasid(c) !== 0, 'pasid')),
    {
      ...refuse(attach, 'ETIMEDOUT', (c) => c.isUnanswered(c.u32(1))),
      apply: (c) => {
        reached(c);
        c.ghost.loseReference(c.u32(2), c.u32(1));
        touchStream(c);
      },
      shortages,
    },
    accept(attach, 'ok', {
      apply: (c) => {
        if (usedDomain(c) < 0 || c.ghost.streamDomain(c.u32(1), c.u32(3)) >= 0) return;
        reached(c);
        c.ghost.attach(c.u32(1), c.u32(3), c.u32(2));
        touchStream(c);
      },
      shortages,
    }),
  ];
}

export function touchStream(c: Call): void {
  c.monitor.touched.addStream(c.u32(1), c.u32(3));
  c.monitor.touched.domains.add(c.u32(2));
}

const detach = 'detach_dev';
const isOtherDomain = (c: Call): boolean => c.ghost.streamDomain(c.u32(1), c.u32(3)) !== c.u32(2);

export const detachDev: CallRules = {
  prepare: () => {},
  rows: [
    refuse(detach, 'EPERM', (c) => isForeign(c)),
    refuse(detach, 'EINVAL', (c) => usedDomain(c) < 0 || c.ghost.domainAttached(c.u32(2)) === 0),
    refuse(detach, 'ENODEV', (c) => !iommuExists(c), 'iommu'),
    ...detachRows(),
  ],
};

/** The rows of what is checked and done once domain and IOMMU are known. */
export function detachRows(): readonly Row[] {
  return [
    refuse(detach, 'ENODEV', (c) => !streamExists(c) || !hasLevel2(c), 'stream'),
    refuse(detach, 'EACCES', (c) => stageOfStream(c) !== stage(c), 'stage'),
    refuse(detach, 'E2BIG', (c) => stage(c) === 1 && pasid(c) !== 0),
    refuse(detach, 'EACCES', isOtherDomain, 'domain'),
    refuse(detach, 'ETIMEDOUT', (c) => c.isUnanswered(c.u32(1))),
    accept(detach, 'ok', {
      apply: (c) => {
        const id = c.ghost.streamDomain(c.u32(1), c.u32(3));
        if (id < 0) return;
        c.ghost.detach(c.u32(1), c.u32(3));
        c.monitor.touched.domains.add(id);
        touchStream(c);
      },
    }),
  ];
}

const identity = 'set_identity';
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
    refuse(identity, 'ENODEV', (c) => !iommuExists(c, identityIommu(c)), 'iommu'),
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
  if (!iommuExists(c, iommu)) return;
  c.monitor.touched.addStream(iommu, c.u32(3));
  if (turnsOn(c) && streamOf(c) < 0) {
    c.ghost.attach(iommu, c.u32(3), identityOf(c));
    c.ghost.addIdentityStream(iommu, 1);
  } else if (!turnsOn(c) && streamOf(c) === identityOf(c)) {
    c.ghost.detach(iommu, c.u32(3));
    c.ghost.addIdentityStream(iommu, -1);
  }
}
