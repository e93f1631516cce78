/**
 * For each property a few steps that keep it on the hypervisor as it is, and break it on one in which a line or two were
 * changed. docs/properties is made of them, and the switches of properties are tested with them.
 */

import type { Property } from '#lab/oracle/index';
import type { SourceEdit } from '#lab/zoo/card';

export interface PropertyExample {
  readonly property: Property;
  /** Machine preset; `tiny` when left out. */
  readonly machine?: string;
  /** Whether it takes two machines in lock step. */
  readonly twin?: boolean;
  /** Steps of a scenario, as text, without what they come to. */
  readonly steps: string;
  /** What is changed in the hypervisor. */
  readonly edit: SourceEdit;
}

/** A scenario as the format wants it. */
export function textOf({ machine = 'tiny', steps }: PropertyExample): string {
  const lines = steps.split('\n').map((line) => line.trim());
  return ['postern scenario v1', 'profile android17', `machine ${machine}`, 'hypervisor postern', ...lines, ''].join(
    '\n',
  );
}

/** Memory for tables, a domain of stage 1, and the disk attached to it. */
const DISK = `
  @cpu0 topup iommu 8
  @cpu0 alloc_domain domain=d1 type=s1
  @cpu0 attach_dev domain=d1 endpoint=disk`;

/** A protected VM whose guest has page:secret. */
const GUEST = `
  @cpu0 vm1 = reserve_vm
  @cpu0 host_share_hyp pfn=page:vm
  @cpu0 describe page:vm vm=vm1 protected=1 vcpus=1
  @cpu0 init_vm kvm=page:vm pgd=page:pgd
  @cpu0 vcpu_load vm=vm1 vcpu=0
  @cpu0 map_guest pfn=page:secret gfn=0x10 pages=1 prot=write|read`;

const MAP = '@cpu0 map_pages domain=d1 iova=0x1000 paddr=page:a pgsize=0x1000 pgcount=1 prot=read|write';
const UNMAP = '@cpu0 unmap_pages domain=d1 iova=0x1000 pgsize=0x1000 pgcount=1';

export const examples: readonly PropertyExample[] = [
  {
    property: 'accounting',
    steps: `
  @cpu0 set_identity endpoint=disk on=1
  @cpu0 topup iommu 1`,
    edit: {
      file: 'hyp/set-identity.ts',
      function: 'turnOn',
      before: '  if (steLo(h, ste, 0) !== 0) h.memory.write32(smmu + IDENTITY_STREAMS, identityStreams(h, smmu) + 1);',
      after: '',
    },
  },
  {
    property: 'allocation',
    steps: `${DISK}
  @cpu0 detach_dev domain=d1 endpoint=disk`,
    edit: {
      file: 'hyp/attach.ts',
      function: 'detachS1',
      before: '  if (result === 0) yield* freeCdTable(h, table, bits);',
      after: '',
    },
  },
  {
    property: 'commands',
    steps: DISK,
    edit: {
      file: 'hyp/smmu.ts',
      function: 'syncCommands',
      before: '  const issued = yield* issueCommand(h, smmu, 0, CMD_SYNC | SYNC_SIGNAL_SEV, 0, 0);',
      after: '  const issued = yield* issueCommand(h, smmu, 0, CMD_SYNC | (1 << 12), 0, 0);',
    },
  },
  {
    property: 'identity',
    steps: `
  @cpu0 set_identity endpoint=disk on=1
  @cpu0 topup iommu 1`,
    edit: {
      file: 'hyp/ownership.ts',
      function: 'setOwner',
      before: '  else result = yield* removeFromIdentity(h, pa, pages);',
      after: '',
    },
  },
  {
    property: 'invalidation',
    steps: `${DISK}
  ${MAP}
  disk write 0x1000 1
  ${UNMAP}
  disk write 0x1000 2 cached`,
    edit: {
      file: 'hyp/page-table-ops.ts',
      function: 'completeUnmap',
      before: ['  const result = yield* flushGather(h);', '  if (result === 0) yield* releasePages(h);'].join('\n'),
      after: ['  yield* releasePages(h);', '  yield* flushGather(h);'].join('\n'),
    },
  },
  {
    property: 'isolation',
    steps: `${DISK}
  ${MAP}
  @cpu0 alloc_mgt_refill pool=iommu head=page:a count=1
  disk write 0x1000 0xbad`,
    edit: {
      file: 'hyp/ownership.ts',
      function: 'donateToHyp',
      before: '  let result = yield* checkHost(h, pa, pages, PageState.owned, true);',
      after: '  let result = yield* checkHost(h, pa, pages, PageState.owned, false);',
    },
  },
  {
    property: 'life-cycle',
    steps: `${DISK}
  @cpu0 free_domain domain=d1`,
    edit: {
      file: 'hyp/domain.ts',
      function: 'freeDomain',
      before: "  else if ((yield* exchangeDomainRefs(h, domain, 1, 0)) !== 1) result = err('EINVAL');",
      after: '  else yield* exchangeDomainRefs(h, domain, refs, 0);',
    },
  },
  {
    property: 'lock',
    steps: `
  @cpu0 set_identity endpoint=disk on=0`,
    edit: {
      file: 'hyp/set-identity.ts',
      function: 'setEntry',
      before: '  yield* unlock(h, smmu + SMMU_LOCK);',
      after: '  if (result === 0) yield* unlock(h, smmu + SMMU_LOCK);',
    },
  },
  {
    property: 'non-interference',
    twin: true,
    steps: `${GUEST}
  @cpu0 vcpu_put
  @cpu0 start_teardown_vm vm=vm1
  @cpu0 reclaim_dying_guest_page vm=vm1 gfn=0x10 pages=1
  @cpu0 read page:secret`,
    edit: {
      file: 'hyp/guest-memory.ts',
      function: 'reclaimPage',
      before: '  h.memory.zeroPage(pa);',
      after: '',
    },
  },
  {
    property: 'oracle',
    steps: `
  @cpu0 topup iommu 8
  @cpu0 alloc_domain domain=d1 type=s2
  ${MAP}`,
    edit: {
      file: 'hyp/map.ts',
      function: 'mapInDomain',
      before: '  yield* unlock(h, domain + DOMAIN_LOCK);',
      after: [
        '  yield* unlock(h, domain + DOMAIN_LOCK);',
        '  h.memory.words[h.memory.indexOf(domainPageTable(h, domain, id).root) + 2] = 0x400007fd;',
      ].join('\n'),
    },
  },
  {
    property: 'ownership',
    steps: `
  @cpu0 host_share_hyp pfn=page:a
  @cpu0 host_unshare_hyp pfn=page:a
  @cpu0 host_share_hyp pfn=page:a`,
    edit: {
      file: 'hyp/ownership.ts',
      function: 'unshareHyp',
      before: '    yield* setHost(h, pa, 1, PageState.owned);',
      after: '',
    },
  },
  {
    property: 'panic',
    steps: `
  @cpu0 topup iommu 8
  @cpu0 alloc_domain domain=d1 type=s1
  @cpu0 attach_dev iommu=7 domain=d1 endpoint=disk`,
    edit: {
      file: 'hyp/attach.ts',
      function: 'attachStream',
      before: "  if (smmu < 0) return err('ENODEV');",
      after: "  if (smmu < 0) throw new Error('BUG: no such IOMMU');",
    },
  },
  {
    property: 'refcount',
    steps: `${DISK}
  ${MAP}
  ${UNMAP}
  @cpu0 host_share_hyp pfn=page:a`,
    edit: {
      file: 'hyp/page-table-ops.ts',
      function: 'completeUnmap',
      before: '  if (result === 0) yield* releasePages(h);',
      after: '',
    },
  },
  {
    property: 'spec',
    steps: `
  @cpu0 host_share_hyp pfn=page:a
  @cpu0 host_share_hyp pfn=page:a`,
    edit: {
      file: 'hyp/ownership.ts',
      function: 'checkHost',
      before: "    if (hostStateOf(record) !== state) return err('EPERM');",
      after: "    if (hostStateOf(record) !== state) return err('EINVAL');",
    },
  },
  {
    property: 'streams',
    steps: DISK,
    edit: {
      file: 'hyp/attach.ts',
      function: 'attachFirst',
      before: '  yield* enableCd(h, cd, layout, id, faultsStall(h, iommu, stall));',
      after: '  yield* enableCd(h, cd, layout, id + 1, faultsStall(h, iommu, stall));',
    },
  },
  {
    property: 'structure',
    steps: `${DISK}
  @cpu0 detach_dev domain=d1 endpoint=disk`,
    edit: {
      file: 'hyp/attach.ts',
      function: 'detachS1',
      before: '  const result = yield* clearSte(h, smmu, sid, ste);',
      after: [
        '  yield* freeCdTable(h, table, bits);',
        '  const result = yield* clearSte(h, smmu, sid, ste);',
        '  if (result === 0) return result;',
      ].join('\n'),
    },
  },
  {
    property: 'tables',
    steps: `${DISK}
  @cpu0 map_pages domain=d1 iova=0x1000 paddr=page:a pgsize=0x1000 pgcount=1 prot=read
  disk write 0x1000 0xbad`,
    edit: {
      file: 'hyp/map.ts',
      function: 'mapUsed',
      before:
        '    const step = yield* mapPages(table, iova + mapped, paddr + mapped, pgsize, (size - mapped) / pgsize, prot);',
      after:
        '    const step = yield* mapPages(table, iova + mapped, paddr + mapped, pgsize, (size - mapped) / pgsize, prot | 2);',
    },
  },
  {
    property: 'tag-reuse',
    steps: `${DISK}
  ${MAP}
  disk write 0x1000 1
  @cpu0 detach_dev domain=d1 endpoint=disk
  @cpu0 free_domain domain=d1
  @cpu0 alloc_domain domain=d1 type=s1`,
    edit: {
      file: 'hyp/page-table-ops.ts',
      function: 'flushAll',
      before: '      if ((yield* invalidateDomain(h)) !== 0) h.invalidated = false;',
      after: '',
    },
  },
  {
    property: 'unchanged',
    steps: `${DISK}
  @cpu0 free_domain domain=d1`,
    edit: {
      file: 'hyp/domain.ts',
      function: 'freeDomain',
      before: "  else if ((yield* exchangeDomainRefs(h, domain, 1, 0)) !== 1) result = err('EINVAL');",
      after: [
        '  else if ((yield* exchangeDomainRefs(h, domain, 1, 0)) !== 1) {',
        '    yield* exchangeDomainRefs(h, domain, refs, refs - 1);',
        "    result = err('EINVAL');",
        '  }',
      ].join('\n'),
    },
  },
];
