/**
 * The calls of the first posted series (docs/abi-sources.md, section 7): domains of an IOMMU, the first table from the host,
 * all other pages from the memcache. Rows see a domain by the number that it has among all IOMMUs', in the register where
 * the later generations have it; one that there cannot be is seen as a number beyond all.
 *
 * Deviations: an id that nobody allocated is an error where upstream works with what the slot holds; only alloc_domain makes
 * leaf pages of domain records; domain 0 is -EPERM; an SMMU without stage 2 is -EINVAL; detach looks at whose the entry is.
 */

import { DOMAINS_PER_LEAF } from '#hyp/layout';
import { Errno } from '#hypercall-abi';
import { PAGE } from '../facts.ts';
import { Owner } from '../ghost-pages.ts';
import type { Call } from './call.ts';
import { mapPagesRfcV1 } from './map.ts';
import { isExhausted, wasTaken, withCache } from './memcache.ts';
import { accept, type CallRules, lack, type Row, refuse, type Shortage } from './row.ts';
import { detachRows, entryRows, hasLevel2, smmu, streamExists, usedDomain } from './stream.ts';
import { iovaToPhys, unmapPages } from './unmap.ts';

const NO_DOMAIN = 0xffffffff;
const STAGE_2 = 2;

/** Domains of the IOMMU in x1: no more than its VMIDs. */
function domainsOf(c: Call): number {
  const features = c.facts.description.smmus[c.u32(1)];
  if (features === undefined) return 0;
  return Math.min(c.facts.profile.domains.perIommu!, features.vmid16 ? 0x10000 : 0x100);
}

/** Number among all of the domain in x1 and x2. */
function domainNumber(c: Call): number {
  const id = c.u32(2);
  return id < domainsOf(c) ? c.u32(1) * c.facts.profile.domains.perIommu! + id : NO_DOMAIN;
}

/** x2 becomes the number among all. */
function nameDomain(c: Call): void {
  c.x[4] = domainNumber(c);
  c.x[5] = 0;
}

/** As where domains have one number, in x1: what follows moves forward. */
function dropIommu(c: Call): void {
  const number = domainNumber(c);
  c.x.copyWithin(2, 4);
  c.x[2] = number;
  c.x[3] = 0;
}

/** As attach_dev and detach_dev of later generations: no PASID, no flags. */
function nameStream(c: Call): void {
  nameDomain(c);
  c.x.fill(0, 8);
}

/** A shortage that shows in what the call has left undone: the errno is one of several reasons'. */
function unseen(call: string, errno: number, claims: (c: Call) => boolean): Shortage {
  return {
    ...lack(call, 'iommu', {
      errno,
      isSilent: true,
      accept: (c) => (isExhausted(c) ? null : 'wants a page although the cache has some'),
    }),
    id: `${call}/EINVAL-page`,
    claims,
  };
}

const alloc = 'alloc_domain';
let stageOfRoot = 0;

function rootPages(c: Call): number {
  return smmu(c) === undefined ? 1 : c.facts.geometry(c.u32(1), STAGE_2).rootPages;
}

/** First page of the root in x3, -1 when it is not all RAM. */
function rootPage(c: Call): number {
  return c.facts.ramRange(c.number(3), rootPages(c));
}

function isRootFit(c: Call): boolean {
  const first = rootPage(c);
  if (first < 0) return false;
  for (let i = 0; i < rootPages(c); i++) {
    if (!c.ghost.pages.isHostAlone(first + i) || c.ghost.pages.references(first + i) !== 0) return false;
  }
  return true;
}

const hasLeaf = (c: Call): boolean => c.reader.domainLeaf(Math.floor(c.u32(2) / DOMAINS_PER_LEAF)) !== 0;
const noLeaf = unseen(alloc, -Errno.EINVAL, (c) => !hasLeaf(c));
/** The heap has no page to note the donation, or the root was in the cache and is the leaf page now. */
const noRoot: Shortage = {
  ...lack(alloc, 'heap', { errno: -Errno.ENOMEM, isSilent: true }),
  claims: (c) => {
    if (c.poolLacks(0, 0)) return true;
    for (let i = 0; i < rootPages(c); i++) if (wasTaken(rootPage(c) + i)) return true;
    return false;
  },
};

const allocRows: CallRules = {
  prepare: (c) => {
    stageOfRoot = smmu(c)?.stage2 === true ? STAGE_2 : 0;
  },
  rows: [
    refuse(alloc, 'EINVAL', (c) => c.u32(2) === NO_DOMAIN, 'id'),
    refuse(alloc, 'EPERM', (c) => c.u32(2) % c.facts.profile.domains.perIommu! === 0),
    { ...refuse(alloc, 'EINVAL', (c) => c.ghost.domainUsed(c.u32(2)), 'in-use'), shortages: [noLeaf] },
    { ...refuse(alloc, 'EINVAL', () => stageOfRoot === 0, 'stage'), shortages: [noLeaf] },
    {
      ...refuse(alloc, 'EINVAL', (c) => (c.lo(3) & (rootPages(c) * PAGE - 1)) !== 0, 'alignment'),
      shortages: [noLeaf],
    },
    { ...refuse(alloc, 'ENOMEM', (c) => !isRootFit(c), 'root'), shortages: [noLeaf] },
    accept(alloc, 'ok', {
      apply: (c) => {
        if (c.u32(2) === NO_DOMAIN || c.ghost.domainUsed(c.u32(2)) || rootPage(c) < 0) return;
        c.ghost.makeDomain(c.u32(2), STAGE_2, c.u32(1));
        c.monitor.touched.domains.add(c.u32(2));
        for (let i = 0; i < rootPages(c); i++) c.setOwner(rootPage(c) + i, Owner.hyp);
      },
      shortages: [noLeaf, noRoot],
    }),
  ],
};

/** Pages that the host gives for the first table. */
function givenRoots(c: Call, cached: readonly number[]): number[] {
  const first = c.u32(2) === NO_DOMAIN ? -1 : rootPage(c);
  if (first < 0) return [];
  const pages = Array.from({ length: rootPages(c) }, (_, i) => first + i);
  // The leaf page of the record comes first: if it is one of them, it came from the cache.
  return hasLeaf(c) ? pages : pages.filter((page) => page !== cached[0]);
}

export const allocDomainRfcV1 = withCache(allocRows, nameDomain, givenRoots);

const free = 'free_domain';

/** Pages of the domain's first table. */
function rootsOf(c: Call): number[] {
  if (usedDomain(c) < 0) return [];
  const first = c.facts.pageOf(c.reader.domainRoot(c.u32(2)));
  return first < 0 ? [] : Array.from({ length: rootPages(c) }, (_, i) => first + i);
}

const freeRows: CallRules = {
  prepare: () => {},
  rows: [
    refuse(free, 'EINVAL', (c) => usedDomain(c) < 0, 'id'),
    refuse(free, 'EINVAL', (c) => c.ghost.domainAttached(c.u32(2)) !== 0, 'attached'),
    refuse(free, 'ETIMEDOUT', (c) => c.domainIsUnanswered(c.u32(2))),
    accept(free, 'ok', {
      apply: (c) => {
        if (usedDomain(c) < 0) return;
        c.ghost.freeDomain(c.u32(2), c.touch);
        c.monitor.touched.domains.add(c.u32(2));
      },
    }),
  ],
};

export const freeDomainRfcV1 = withCache(freeRows, nameDomain, rootsOf);

const attach = 'attach_dev';
const noLevel2 = unseen(attach, -Errno.EINVAL, (c) => smmu(c) !== undefined && streamExists(c) && !hasLevel2(c));

/** Everything but a timeout is -EINVAL. */
function invalid(row: Row): Row {
  if (row.errno === 0 || row.errno === -Errno.ETIMEDOUT) return row;
  return { ...row, id: row.id.replace(/\/E[A-Z0-9]+/, '/EINVAL'), errno: -Errno.EINVAL };
}

/** Rows that only stage 1 or PASIDs come to. */
const ofStage1 = /stage2$|in-use$|table$|pasid$|descriptor$/;

const attachRows: CallRules = {
  prepare: () => {},
  rows: [
    refuse(attach, 'EINVAL', (c) => usedDomain(c) < 0, 'domain'),
    refuse(attach, 'EINVAL', (c) => !streamExists(c), 'stream'),
    ...entryRows(
      () => STAGE_2,
      [noLevel2],
      [noLevel2],
      () => {},
    )
      .filter(({ id }) => id.endsWith('in-use-stage2') || !ofStage1.test(id))
      .map(invalid),
  ],
};

export const attachDevRfcV1 = withCache(attachRows, nameStream);

const detach = 'detach_dev';

export const detachDevRfcV1 = withCache(
  {
    prepare: () => {},
    rows: [
      refuse(detach, 'EINVAL', (c) => usedDomain(c) < 0 || c.ghost.domainAttached(c.u32(2)) === 0, 'domain'),
      ...detachRows().filter(({ id }) => !/E2BIG|ENOENT|other-pasids/.test(id)),
    ],
  },
  nameStream,
);

/** The rules of a call of later generations, for one that names the IOMMU in front. */
const withoutIommu = (rules: CallRules): CallRules => ({ ...withCache(rules, dropIommu), firstArgument: 0 });

export const mapPagesV1 = withoutIommu(mapPagesRfcV1);
export const unmapPagesV1 = withoutIommu(unmapPages);
export const iovaToPhysV1 = withoutIommu(iovaToPhys);
