/** Fields of a domain's record (layout.ts), its reference count, and the page table that they describe. */

import { openPageTable, type PageTable, type PageTableConfig } from '#io-pgtable';
import type { SmmuDescription, Steps } from '#machine';
import type { Hyp } from './context.ts';
import { DOMAINS_PER_LEAF, DomainRecord } from './layout.ts';
import { allocPages, readPointer, writePointer } from './pool.ts';
import { requestIommu } from './request.ts';

const REFS = 0;
const OWNER = 4;
const KIND = 8;
export const DOMAIN_LOCK = 12;
const ROOT = 16;
const SMMU_STREAMS = 24;

/** Owner of a domain that the host made. */
export const HOST_OWNER = 0;

/** Record of the domain with that id; -1 when there can be none, or the leaf page that would hold it does not exist. */
export function domainRecord(h: Hyp, id: number): number {
  const { count, table } = h.profile.domains;
  if (id >= count) return -1;
  return table === 'array' ? h.layout.domains + id * DomainRecord.size : recordInLeaf(h, h.domainBase + id);
}

function recordInLeaf(h: Hyp, id: number): number {
  const leaf = readPointer(h, leafPointer(h, id));
  return leaf === 0 ? -1 : leaf + (id % DOMAINS_PER_LEAF) * DomainRecord.size;
}

/** Where the address of the leaf page that holds the record is. */
function leafPointer(h: Hyp, id: number): number {
  return h.layout.domains + 8 * Math.floor(id / DOMAINS_PER_LEAF);
}

/**
 * The same for an id that there can be, with the leaf page made when it does not exist. It stays from then on. Callers
 * hold the domain table lock. @returns -1 without memory for the leaf, with a request left behind
 */
export function* needDomainRecord(h: Hyp, id: number): Steps<number> {
  const known = domainRecord(h, id);
  if (known >= 0) return known;
  const leaf = yield* allocPages(h, h.layout.iommuPool, 0);
  if (leaf === 0) {
    yield* requestIommu(h, 1);
    return -1;
  }
  const at = leafPointer(h, h.domainBase + id);
  yield { kind: 'write', at };
  writePointer(h, at, leaf);
  return domainRecord(h, id);
}

/** References: 0 free, 1 idle, more while streams are attached or calls in flight. */
export function* domainRefs(h: Hyp, domain: number): Steps<number> {
  yield { kind: 'read', at: domain + REFS };
  return h.memory.read32(domain + REFS);
}

/**
 * Change the reference count from `from` to `to`, as one atomic instruction does: calls in flight on other CPUs move it
 * without a common lock. @returns what it was; nothing has changed unless that is `from`
 */
export function* exchangeDomainRefs(h: Hyp, domain: number, from: number, to: number): Steps<number> {
  yield { kind: 'write', at: domain + REFS };
  return h.memory.compareExchange32(domain + REFS, from, to);
}

/** References are an int upstream: one more than this would turn negative, and look like a free domain's after a while. */
const REFS_MAX = 0x7fffffff;

/** Take a reference if the domain is allocated, the caller's, and not full. @returns whether it was taken */
export function* getDomain(h: Hyp, domain: number, owner: number): Steps<boolean> {
  // The owner is tested before the count moves: a foreign caller must not be able to disturb a free in flight.
  if (domain < 0 || h.memory.read32(domain + OWNER) !== owner) return false;
  let refs = yield* domainRefs(h, domain);
  while (refs !== 0 && refs !== REFS_MAX) {
    const was = yield* exchangeDomainRefs(h, domain, refs, refs + 1);
    if (was === refs) return true;
    refs = was;
  }
  return false;
}

/** Drop a reference. */
export function* putDomain(h: Hyp, domain: number): Steps<void> {
  let refs = yield* domainRefs(h, domain);
  for (;;) {
    const was = yield* exchangeDomainRefs(h, domain, refs, refs - 1);
    if (was === refs) return;
    refs = was;
  }
}

export function domainOwner(h: Hyp, domain: number): number {
  return h.memory.read32(domain + OWNER);
}

/** Say whose the id is. */
export function setDomainOwner(h: Hyp, domain: number, owner: number): void {
  h.memory.write32(domain + OWNER, owner);
}

/** Stage and SMMU of the domain, in one word: to be taken apart with {@link stageOf} and {@link smmuOf}. */
export function domainKind(h: Hyp, domain: number): number {
  return h.memory.read32(domain + KIND);
}

export function stageOf(kind: number): number {
  return kind & 0xff;
}

export function smmuOf(kind: number): number {
  return (kind >>> 8) & 0xff;
}

/** Translation stage, 1 or 2; 0 while the domain has no table. */
export function domainStage(h: Hyp, domain: number): number {
  return stageOf(domainKind(h, domain));
}

/** Index of the SMMU that the domain is bound to. */
export function domainSmmu(h: Hyp, domain: number): number {
  return smmuOf(domainKind(h, domain));
}

/** Give a domain its page table. */
export function setDomainTable(h: Hyp, domain: number, smmu: number, stage: number, root: number): void {
  h.memory.write32(domain + KIND, stage | (smmu << 8) | (domainType(h, domain) << 16));
  writePointer(h, domain + ROOT, root);
}

/** Address of the domain's top-level table. */
export function domainRoot(h: Hyp, domain: number): number {
  return readPointer(h, domain + ROOT);
}

/** Type that a domain was allocated with, where the first attach builds the table. */
export function domainType(h: Hyp, domain: number): number {
  return (domainKind(h, domain) >>> 16) & 0xff;
}

/** Where the number of the domain's streams behind that SMMU is counted. */
export function smmuStreams(domain: number, smmu: number): number {
  return domain + SMMU_STREAMS + 4 * smmu;
}

/** Fill the record of a new domain that has no table yet; the reference count comes last. */
export function* initUnboundDomain(h: Hyp, domain: number, type: number): Steps<void> {
  h.memory.write32(domain + OWNER, HOST_OWNER);
  h.memory.write32(domain + KIND, type << 16);
  yield { kind: 'barrier', at: domain };
  yield* exchangeDomainRefs(h, domain, 0, 1);
}

/**
 * Whether that SMMU can tag translations of the stage with the number of the domain. Where ASIDs (VMIDs) have 8 bits, a
 * larger one would be cut off, and two domains would share their translations.
 */
export function isTag(smmu: SmmuDescription, stage: number, id: number): boolean {
  return id < ((stage === 1 ? smmu.asid16 : smmu.vmid16) ? 0x10000 : 0x100);
}

/** Fill the record of a new domain; the reference count comes last, when everything else stands. */
export function* initDomain(
  h: Hyp,
  domain: number,
  owner: number,
  smmu: number,
  stage: number,
  root: number,
): Steps<void> {
  setDomainOwner(h, domain, owner);
  setDomainTable(h, domain, smmu, stage, root);
  yield { kind: 'barrier', at: domain };
  yield* exchangeDomainRefs(h, domain, 0, 1);
}

/** Clear the record of a domain whose reference count is 0 already: the id is free. */
export function* clearDomain(h: Hyp, domain: number): Steps<void> {
  h.memory.write32(domain + OWNER, HOST_OWNER);
  h.memory.write32(domain + KIND, 0);
  writePointer(h, domain + ROOT, 0);
}

/**
 * Configuration of a domain's page table on that SMMU: 4 KiB granule with 2 MiB and 1 GiB blocks; 48-bit IOVAs at
 * stage 1, the SMMU's output size on both sides at stage 2.
 */
export function pageTableConfig(smmu: SmmuDescription, stage: number): PageTableConfig {
  return {
    fmt: stage === 1 ? 'ARM_64_LPAE_S1' : 'ARM_64_LPAE_S2',
    pgsizeBitmap: 2 ** 30 + 2 ** 21 + 2 ** 12,
    ias: stage === 1 ? 48 : smmu.oas,
    oas: smmu.oas,
    coherentWalk: smmu.coherent,
    quirks: 0,
  };
}

/**
 * Open the domain's page table. `h.domain` and `h.domainId` say from here on, until the call ends, whose table it is: the
 * page-table code calls back for tables and invalidations (page-table-ops.ts) and knows nothing of domains.
 */
export function domainPageTable(h: Hyp, domain: number, id: number): PageTable {
  h.domain = domain;
  h.domainId = id;
  const kind = domainKind(h, domain);
  const layout = h.tableLayouts[2 * smmuOf(kind) + stageOf(kind) - 1]!;
  return openPageTable(h.pageTableOps, layout, readPointer(h, domain + ROOT));
}
