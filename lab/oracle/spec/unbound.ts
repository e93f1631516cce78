/**
 * Domains and streams where the first attach builds a domain's table and binds it to an IOMMU (docs/abi-sources.md,
 * section 7). An IOMMU is looked up before the domain. Deviations: an id that nobody allocated is an error where upstream
 * panics; only alloc_domain makes leaf pages of domain records; a type that the hardware cannot serve is -EINVAL.
 */

import { DOMAINS_PER_LEAF } from '#hyp/layout';
import type { Call } from './call.ts';
import { accept, type CallRules, lack, type Row, refuse, type Shortage } from './row.ts';
import {
  descriptorPages,
  detachRows,
  entryRows,
  hasLevel2,
  isForeign,
  level2Pages,
  smmu,
  streamExists,
  usedDomain,
} from './stream.ts';

const alloc = 'alloc_domain';
const domains = (c: Call) => c.facts.profile.domains;

/** x1 domain, x2 type. The leaf page of the record may be missing, whatever the call comes to afterwards. */
function allocRows(prefix: readonly Row[]): CallRules {
  const shortages = [lack(alloc, 'iommu')];
  return {
    prepare: () => {},
    rows: [
      ...prefix,
      refuse(alloc, 'EINVAL', (c) => c.ghost.domainUsed(c.u32(1)), 'in-use'),
      {
        ...refuse(alloc, 'EINVAL', (c) => c.i32(2) < 0 || c.i32(2) >= c.facts.profile.domainTypeLimit, 'type'),
        shortages,
      },
      accept(alloc, 'ok', {
        accept: (c) => (c.reader.domainLeaf(Math.floor(c.u32(1) / DOMAINS_PER_LEAF)) !== 0 ? null : 'made no record'),
        apply: (c) => {
          if (c.u32(1) >= domains(c).count || c.ghost.domainUsed(c.u32(1))) return;
          c.ghost.makeUnbound(c.u32(1), c.i32(2));
          c.monitor.touched.domains.add(c.u32(1));
        },
        shortages,
      }),
    ],
  };
}

const noIdentity = (): Row => refuse(alloc, 'EPERM', (c) => c.u32(1) === domains(c).identity);

export const allocDomainAndroid16 = allocRows([
  refuse(alloc, 'EINVAL', (c) => c.u32(1) >= domains(c).hostCount, 'id'),
  noIdentity(),
]);

/** No memory is asked for: an id beyond the table is answered like a leaf page that cannot be made. */
export const allocDomainRfcV2 = allocRows([
  refuse(alloc, 'ENOMEM', (c) => c.u32(1) >= domains(c).count, 'id'),
  noIdentity(),
]);

const free = 'free_domain';
const freed = (c: Call): number => (c.u32(1) < domains(c).count && c.ghost.domainUsed(c.u32(1)) ? c.u32(1) : -1);

function freeRules(...waits: readonly Row[]): CallRules {
  return {
    prepare: () => {},
    rows: [
      refuse(free, 'EINVAL', (c) => freed(c) < 0, 'id'),
      refuse(free, 'EINVAL', (c) => c.ghost.domainAttached(c.u32(1)) !== 0, 'attached'),
      ...waits,
      accept(free, 'ok', {
        apply: (c) => {
          if (freed(c) < 0) return;
          c.ghost.freeDomain(c.u32(1), c.touch);
          c.monitor.touched.domains.add(c.u32(1));
        },
      }),
    ],
  };
}

/** No IOMMU holds anything of a domain that its streams have left. */
export const freeUnboundAndroid16 = freeRules();

/** The IOMMU that the domain belongs to may hold translations until the table goes. */
export const freeUnboundRfcV2 = freeRules(
  refuse(free, 'ETIMEDOUT', (c) => c.ghost.domainStage(c.u32(1)) !== 0 && c.domainIsUnanswered(c.u32(1))),
);

const attach = 'attach_dev';
const IOMMU_POOL = 1;

/** Stage that a type means on the SMMU in x1, 0 for one that it cannot serve. */
function stageOfType(c: Call): number {
  const { s1, s2, any, bypass } = c.facts.profile.domainTypes;
  const features = smmu(c)!;
  const type = c.ghost.domainType(c.u32(2));
  if (type === any) return features.stage1 ? 1 : 2;
  if (type === s1) return features.stage1 ? 1 : 0;
  return (type === s2 || type === bypass) && features.stage2 ? 2 : 0;
}

const isBound = (c: Call): boolean => c.ghost.domainStage(c.u32(2)) !== 0;
const stage = (c: Call): number => (isBound(c) ? c.ghost.domainStage(c.u32(2)) : stageOfType(c));
const isElsewhere = (c: Call): boolean => isBound(c) && c.ghost.domainSmmu(c.u32(2)) !== c.u32(1);

/** Whether the table of a bound domain has not the shape that the SMMU in x1 would give it. */
function isMisfit(c: Call): boolean {
  const mine = c.facts.description.smmus[c.ghost.domainSmmu(c.u32(2))]!;
  const other = c.facts.description.smmus[c.u32(1)]!;
  return mine.oas !== other.oas || !(stage(c) === 1 ? other.stage1 : other.stage2);
}

/** How many tags the SMMU in x1 has at the domain's stage. */
function tags(c: Call): number {
  const { asid16, vmid16 } = c.facts.description.smmus[c.u32(1)]!;
  return 2 ** ((stage(c) === 1 ? asid16 : vmid16) ? 16 : 8);
}

/** Pages of the first table, as one chunk. */
function rootPages(c: Call): number {
  return 2 ** Math.ceil(Math.log2(c.facts.geometry(c.u32(1), stage(c)).rootPages));
}

/** Pages that the pool had before the call, and whether the level-2 table of the stream was there. */
let freeBefore = 0;
let hadLevel2 = false;

/** Whether there was memory for the first table: what is missing then is the page of a context descriptor. */
function hasBuilt(c: Call): boolean {
  if (isBound(c)) return true;
  // Of a call that overlapped with others, only the record tells what memory there was.
  if (c.isAfterwards) return usedDomain(c) >= 0 && c.reader.domainRoot(usedDomain(c)) !== 0;
  return stage(c) === 1 && hasLevel2(c) && freeBefore - (hadLevel2 ? 0 : level2Pages(c)) >= 1;
}

/** The domain has its table from here on, whether or not the stream is attached. */
function bind(c: Call): void {
  if (usedDomain(c) < 0 || isBound(c)) return;
  c.ghost.bindDomain(c.u32(2), stage(c), c.u32(1));
  c.monitor.touched.domains.add(c.u32(2));
}

function missing(): readonly Shortage[] {
  return [
    lack(attach, 'iommu', {
      pages: (c) => {
        if (!hasLevel2(c)) return level2Pages(c);
        return hasBuilt(c) ? descriptorPages(c) : rootPages(c);
      },
      apply: (c) => {
        if (hasLevel2(c) && hasBuilt(c)) bind(c);
      },
    }),
  ];
}

/** x1 iommu, x2 domain, x3 endpoint, x4 pasid. @param elsewhere what becomes of a domain bound to another IOMMU */
function attachRules(elsewhere: Row, context: readonly Row[]): CallRules {
  const shortages = missing();
  return {
    prepare: (c) => {
      freeBefore = c.reader.poolFreePages(IOMMU_POOL);
      hadLevel2 = smmu(c) !== undefined && streamExists(c) && hasLevel2(c);
    },
    rows: [
      refuse(attach, 'EINVAL', (c) => smmu(c) === undefined, 'iommu'),
      ...context,
      refuse(attach, 'EINVAL', (c) => usedDomain(c) < 0, 'domain'),
      refuse(attach, 'ENOMEM', (c) => !streamExists(c), 'stream'),
      { ...refuse(attach, 'EINVAL', (c) => stage(c) === 0, 'type'), shortages },
      { ...elsewhere, shortages },
      // Deviation: upstream tags with what the hardware leaves of the id.
      { ...refuse(attach, 'ERANGE', (c) => c.u32(2) >= tags(c)), shortages },
      ...entryRows(stage, shortages, shortages, bind),
    ],
  };
}

/** Several IOMMUs share a table that fits them. */
export const attachDevAndroid16 = attachRules(
  refuse(attach, 'EBUSY', (c) => isElsewhere(c) && isMisfit(c), 'other-iommu'),
  [refuse(attach, 'EPERM', (c) => isForeign(c))],
);

export const attachDevRfcV2 = attachRules(refuse(attach, 'EINVAL', isElsewhere, 'other-iommu'), []);

const detach = 'detach_dev';

function detachRules(context: readonly Row[]): CallRules {
  return {
    prepare: () => {},
    rows: [
      refuse(detach, 'EINVAL', (c) => smmu(c) === undefined, 'iommu'),
      ...context,
      refuse(detach, 'EINVAL', (c) => usedDomain(c) < 0 || c.ghost.domainAttached(c.u32(2)) === 0, 'domain'),
      ...detachRows(),
    ],
  };
}

export const detachAndroid16 = detachRules([refuse(detach, 'EPERM', (c) => isForeign(c))]);

/** Devices belong to the host: there are no contexts. */
export const detachRfcV2 = detachRules([]);
