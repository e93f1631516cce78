/** Corners in which the correct hypervisor was once accused: scenarios that long runs of random calls came upon. */
import { expect, test } from 'vitest';
import { parseScenario, runScenario } from '../../lab/scenario/index.ts';
import { hypervisorByIdentity } from '../../lab/zoo/index.ts';

const header = (machine: string): string =>
  `postern scenario v1\nprofile android17\nmachine ${machine}\nhypervisor postern\n\n`;
const guest = `@cpu0 host_share_hyp pfn=page:a -> 0
@cpu0 vm1 = reserve_vm -> handle
@cpu0 describe page:a vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 pviommu_attach kvm=page:a pviommu=0 -> 0
@cpu0 pviommu_add_vsid kvm=page:a pviommu=0 endpoint=net vsid=0 -> 0
@cpu0 init_vm kvm=page:a pgd=page:b -> 0
@cpu0 vcpu_load vm=vm1 vcpu=0 -> 0
`;

test.each([
  [
    'memory for a table runs out before the SMMU is asked about the first chunk of a refill',
    `${header('tiny')}@cpu0 set_identity endpoint=usb on=on -> 0
smmu0 stops answering
@cpu0 alloc_mgt_reclaim pool=heap target=256 -> 0x4037f000
@cpu0 alloc_mgt_refill pool=heap head=0x40000000 count=1 -> -ENOMEM request heap 1
`,
  ],
  [
    'the host finds a domain of a guest in use while the guest tries to attach a device that is not its own',
    `${header('two-smmus')}${guest}@cpu0 g1 = guest_alloc_domain -> domain
@cpu0 topup iommu 1 -> 0
@cpu0:15 guest_attach_dev pviommu=0 vsid=0 domain=g1 -> invalid
@cpu1 free_domain domain=256 -> -EINVAL
@cpu0:end
`,
  ],
  [
    'a guest’s attach that wants more memory has made its table, in a call that was stopped',
    `${header('two-smmus')}${guest}@cpu0 host_donate_hyp_mmio pfn=0xa000 pages=1 -> 0
smmu0 stops answering
@cpu0 topup iommu 1 -> 0
@cpu0 guest_dev_req_dma pviommu=0 vsid=0 -> token 0x9050000 0x20
@cpu0 g1 = guest_alloc_domain -> domain
@cpu0:1 guest_attach_dev pviommu=0 vsid=0 domain=g1 -> again request iommu 4
@cpu0:end
`,
  ],
  [
    'memory that a call missed has come on another CPU before the call has ended',
    `${header('tiny')}@cpu0 topup heap 4 -> 0
@cpu0 alloc_mgt_reclaim pool=iommu target=4095
@cpu0:6 alloc_domain domain=d1 type=s1 -> -ENOMEM request iommu 1
@cpu1 topup iommu 8
@cpu0:end
`,
  ],
  [
    'a list that the host would map in a domain of a guest tears nothing of it down',
    `${header('two-smmus')}@cpu0 vm1 = reserve_vm -> handle
@cpu0 host_share_hyp pfn=page:a -> 0
@cpu0 describe page:a vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 pviommu_attach kvm=page:a pviommu=0 -> 0
@cpu0 pviommu_add_vsid kvm=page:a pviommu=0 endpoint=gpu-1 vsid=0 -> 0
@cpu0 host_donate_hyp_mmio pfn=0xa010 pages=2 -> 0
@cpu0 host_donate_hyp_mmio pfn=0xa014 pages=1 -> 0
@cpu0 init_vm kvm=page:a pgd=page:b -> 0
@cpu0 vcpu_load vm=vm1 vcpu=0 -> 0
@cpu0 g1 = guest_alloc_domain -> domain
@cpu0 map_guest pfn=page:c gfn=0x10 pages=1 prot=0 -> 0
@cpu0 guest_dev_req_dma pviommu=0 vsid=0 -> token 0x9050000 0x201
@cpu0 topup iommu 9 -> 0
@cpu0 guest_attach_dev pviommu=0 vsid=0 domain=g1 -> 0
@cpu0 guest_map_pages domain=g1 iova=0 ipa=0x10000 size=0x1000 prot=write -> 0, 0x1000 bytes
@cpu0 map_sg domain=256 iova=0 sg=page:a nent=0 prot=0 -> 0 bytes
@cpu0 vcpu_put -> 0
@cpu0 start_teardown_vm vm=vm1 -> 0
@cpu0 reclaim_dying_guest_page vm=vm1 gfn=0x10 pages=1 -> 0
`,
  ],
])('%s', (_, text) => {
  const report = runScenario(parseScenario(text), { hypervisors: hypervisorByIdentity });
  expect(report).toMatchObject({ violations: [], ok: true, lostTrack: null });
});

test.each<[string, string]>([
  [
    'a call that overlapped has bound a domain before it ran out of memory',
    `profile rfc-v2
machine tiny
hypervisor postern

@cpu0 topup iommu 2 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0:0 alloc_mgt_refill pool=heap head=page:a count=1 -> 0
@cpu1 attach_dev domain=d1 endpoint=usb -> -ENOMEM request iommu 1
@cpu0:end
`,
  ],
  [
    'a leaf of a domain that no stream is attached to is still in the store buffer when its page loses the reference',
    `profile android16
machine tiny
hypervisor postern

@cpu0 topup iommu 5 -> 0
@cpu0 alloc_domain domain=d1 type=bypass -> 0
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
@cpu0 map_pages domain=d1 iova=0 paddr=page:a pgsize=0x1000 pgcount=1 prot=write -> 0, 0x1000 bytes
@cpu0 detach_dev domain=d1 endpoint=disk -> 0
@cpu0:0 unmap_pages domain=d1 iova=0 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0:end
`,
  ],
  [
    'domain records lie in a page that a call which has not ended has given',
    `profile rfc-v2
machine tiny
hypervisor postern

@cpu0:1 alloc_domain domain=d1 type=s1 -> -ENOMEM request iommu 1
@cpu1 alloc_domain domain=d1 type=s1
@cpu0:6
@cpu0 topup iommu 1 -> 0
@cpu1:end
@cpu0 topup iommu 3 -> 0
@cpu0 attach_dev domain=d1 endpoint=net -> 0
@cpu0 map_pages domain=d1 iova=0 paddr=page:a pgsize=0x1000 pgcount=1 prot=write -> 0 bytes
`,
  ],
  [
    'a page is mapped and released again while another call replaces the table in which its leaf was',
    `profile android17
machine tiny
hypervisor postern

@cpu0 topup iommu 6 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 map_pages domain=d1 iova=0 paddr=page:a pgsize=0x1000 pgcount=1 prot=write -> 0, 0x1000 bytes
@cpu0 attach_dev domain=d1 endpoint=net -> 0
@cpu0 alloc_domain domain=d2 type=s1 -> 0
@cpu0:1 set_identity endpoint=net on=off -> -EINVAL
@cpu1 map_pages domain=d1 iova=0 paddr=page:b[512] pgsize=0x200000 pgcount=1 prot=write
@cpu0:end
@cpu1:4
@cpu0 map_pages domain=d2 iova=0 paddr=page:a pgsize=0x1000 pgcount=1 prot=0 -> -EINVAL
@cpu1:end
`,
  ],
  [
    'an STE is still in the store buffer when its context descriptor is freed, and its SMMU is off',
    `profile android17
machine switched
hypervisor postern

@cpu0 topup iommu 2 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 attach_dev domain=d1 endpoint=gpu -> 0
@cpu0 hvc_pd device=1 on=off -> 0
@cpu0:0 detach_dev domain=d1 endpoint=gpu -> 0
@cpu0:end
`,
  ],
  [
    'a table that held nothing is unmapped, and then replaced by a call that had waited',
    `profile android17
machine tiny
hypervisor postern

@cpu0 topup iommu 4 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 map_pages domain=d1 iova=0 paddr=page:a pgsize=0x1000 pgcount=1 prot=read -> 0, 0x1000 bytes
@cpu0:3 unmap_pages domain=d1 iova=0 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu1 map_pages domain=d1 iova=0 paddr=page:b[512] pgsize=0x200000 pgcount=1 prot=write
@cpu0:end
@cpu0 unmap_pages domain=d1 iova=0 pgsize=0x200000 pgcount=1 -> 0x200000 bytes
@cpu1:end
`,
  ],
])('%s', (_, text) => {
  const report = runScenario(parseScenario(`postern scenario v1\n${text}`), { hypervisors: hypervisorByIdentity });
  expect(report).toMatchObject({ violations: [], ok: true, lostTrack: null });
});

test.each([
  ['', 'set_identity endpoint=disk on=on'],
  ['set_identity endpoint=disk on=on', 'set_identity endpoint=disk on=off'],
  ['attach_dev domain=d1 endpoint=gpu', 'detach_dev domain=d1 endpoint=gpu'],
  ['attach_dev domain=d2 endpoint=gpu', 'detach_dev domain=d2 endpoint=gpu'],
  ['', 'attach_dev domain=d1 endpoint=gpu'],
  ['', 'attach_dev domain=d2 endpoint=gpu'],
])('while an SMMU is off, words of an STE become visible in any order: after %j, %s', (before, call) => {
  const first = `@cpu0 topup iommu 8
@cpu0 alloc_domain domain=d1 type=s1
@cpu0 alloc_domain domain=d2 type=s2
${before === '' ? '' : `@cpu0 ${before}\n`}@cpu0 hvc_pd device=1 on=off
`;
  for (const yields of [5, 6, 7, 8, 9]) {
    for (const drains of [
      [0, 1],
      [0, 2],
      [1, 1],
      [1, 2],
      [2, 0],
    ]) {
      const schedule = `@cpu0:${yields} ${call}\n${drains.map((n) => `@cpu0 drain ${n}\n`).join('')}@cpu0:end\n`;
      const text = `${header('switched')}${first}${schedule}@cpu0 hvc_pd device=1 on=on\n`;
      const report = runScenario(parseScenario(text), { hypervisors: hypervisorByIdentity });
      expect(report, text).toMatchObject({ violations: [], lostTrack: null });
    }
  }
});

test('rows that decide overlapping calls are counted', () => {
  const text = `${header('tiny')}@cpu0:6 alloc_domain domain=d1 type=s1
@cpu1 host_share_hyp pfn=page:a -> 0
@cpu0:end
`;
  const hits = new Map<string, number>();
  runScenario(parseScenario(text), {
    hypervisors: hypervisorByIdentity,
    onStep: (_, __, session) => {
      for (const row of session.oracle!.rows()) hits.set(row.id, row.hits);
    },
  });
  const decided = [...hits].filter(([id, count]) => count > 0 && /^(alloc_domain|host_share_hyp)/.test(id));
  expect(decided.map(([id, count]) => [id, count])).toEqual([
    ['host_share_hyp/ok', 1],
    ['alloc_domain/ENOMEM-iommu', 1],
  ]);
});
