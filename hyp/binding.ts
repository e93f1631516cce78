/**
 * Where the first attach builds a domain's page table: the domain is bound to the IOMMU of that stream, whose features
 * give the table its shape and, if the type leaves it open, the domain its stage. Afterwards the profile says whether
 * streams behind other IOMMUs may come to share the table. What is shared counts its streams per IOMMU: invalidations go
 * where there are any, and an IOMMU that the last stream leaves is rid of the domain's translations at once.
 *
 * Models smmu_domain_finalise, smmu_fix_up_domains, smmu_domain_compat and the list of SMMUs of a domain. Callers hold
 * the domain table lock and the SMMU's lock.
 */

import { err } from '#hypercall-abi';
import { type PageTableLayout, pgdBytes } from '#io-pgtable';
import type { Steps } from '#machine';
import type { Hyp } from './context.ts';
import { domainKind, domainType, isTag, setDomainTable, smmuOf, smmuStreams, stageOf } from './domain-record.ts';
import { syncCommands } from './smmu.ts';
import { issueWholeTag } from './tlb.ts';

function layoutOf(h: Hyp, smmu: number, stage: number): PageTableLayout | null {
  return h.tableLayouts[2 * smmu + stage - 1]!;
}

/** Stage that a type means on an SMMU; 0 when it cannot serve it, or it is not served by this call at all. */
function stageFor(h: Hyp, type: number, smmu: number): number {
  const { s1, s2, any, bypass } = h.profile.domainTypes;
  const hasStage1 = layoutOf(h, smmu, 1) !== null;
  const hasStage2 = layoutOf(h, smmu, 2) !== null;
  if (type === any) return hasStage1 ? 1 : 2;
  if (type === s1) return hasStage1 ? 1 : 0;
  return (type === s2 || type === bypass) && hasStage2 ? 2 : 0;
}

/** Whether the table of one SMMU's domain has the shape that the other one would give it. */
function isCompatible(h: Hyp, stage: number, smmu: number, other: number): boolean {
  const [a, b] = [layoutOf(h, smmu, stage), layoutOf(h, other, stage)];
  return a !== null && b !== null && a.ias === b.ias && a.oas === b.oas;
}

/**
 * Make the domain able to serve a stream behind that SMMU, and count the stream.
 * @returns 0; -EINVAL the SMMU cannot do what the type asks for, or the domain belongs to another; -EBUSY the domain's
 *   table is not one for this SMMU; -ERANGE an id wider than the SMMU's tags; -ENOMEM with an IOMMU request
 */
export function* bindDomain(h: Hyp, domain: number, id: number, smmu: number): Steps<number> {
  const kind = domainKind(h, domain);
  const stage = stageOf(kind);
  if (stage === 0) {
    const result = yield* buildTable(h, domain, id, smmu);
    if (result !== 0) return result;
  } else if (smmuOf(kind) !== smmu) {
    if (h.profile.domainSmmus === 'one') return err('EINVAL');
    if (!isCompatible(h, stage, smmuOf(kind), smmu)) return err('EBUSY');
    if (!isTag(h.smmus[smmu]!, stage, id)) return err('ERANGE');
  }
  yield* countStream(h, domain, smmu, 1);
  return 0;
}

function* buildTable(h: Hyp, domain: number, id: number, smmu: number): Steps<number> {
  const stage = stageFor(h, domainType(h, domain), smmu);
  if (stage === 0) return err('EINVAL');
  if (!isTag(h.smmus[smmu]!, stage, id)) return err('ERANGE');
  const root = yield* h.pageTableOps.allocTable(pgdBytes(layoutOf(h, smmu, stage)!));
  if (root === 0) return err('ENOMEM');
  setDomainTable(h, domain, smmu, stage, root);
  return 0;
}

/** The stream that {@link bindDomain} counted was not attached. The table stays, empty, as upstream leaves it. */
export function* uncountStream(h: Hyp, domain: number, smmu: number): Steps<void> {
  yield* countStream(h, domain, smmu, -1);
}

/** Change the number of the domain's streams behind that SMMU. @returns the new number */
function* countStream(h: Hyp, domain: number, smmu: number, delta: number): Steps<number> {
  const at = smmuStreams(domain, smmu);
  yield { kind: 'write', at };
  const count = h.memory.read32(at) + delta;
  h.memory.write32(at, count);
  return count;
}

/**
 * A stream has left the domain. The last one behind its SMMU leaves no translations there: the id may be used again.
 * @returns 0, or -ETIMEDOUT: then the SMMU goes on to count as one that may hold translations
 */
export function* leaveSmmu(h: Hyp, domain: number, id: number, smmu: number, record: number): Steps<number> {
  if ((yield* countStream(h, domain, smmu, -1)) !== 0 || h.profile.domainSmmus === 'one') return 0;
  let result = yield* issueWholeTag(h, record, stageOf(domainKind(h, domain)), id);
  if (result === 0) result = yield* syncCommands(h, record);
  if (result !== 0) yield* countStream(h, domain, smmu, 1);
  return result;
}
