/** The states that a run should have been in are told in every generation, whatever registers its calls use. */
import { expect, test } from 'vitest';
import { parseScenario, runScenario } from '../../lab/scenario/index.ts';
import { hypervisorByIdentity } from '../../lab/zoo/index.ts';

const body = {
  'rfc-v1': `@cpu0 topup iommu 8
@cpu0 alloc_domain iommu=0 domain=d1 pgd=page:root[16] -> 0
@cpu0 map_pages iommu=0 domain=d1 iova=0x1ff000 paddr=page:run[16] pgsize=0x1000 pgcount=2 prot=read|write -> 0x2000 bytes
@cpu0 map_pages iommu=0 domain=d1 iova=0 paddr=page:run[16] pgsize=0x1000 pgcount=1 prot=read|write -> 0x1000 bytes
@cpu0 map_pages iommu=0 domain=d1 iova=0x400000 paddr=page:huge[512] pgsize=0x200000 pgcount=1 prot=read|write -> 0x200000 bytes
@cpu0 unmap_pages iommu=0 domain=d1 iova=0x400000 pgsize=0x1000 pgcount=1
@cpu0 unmap_pages iommu=0 domain=d1 iova=0 pgsize=0x200000 pgcount=1 -> 0x200000 bytes`,
  'rfc-v2': `@cpu0 topup heap 8
@cpu0 topup iommu 8
@cpu0 alloc_domain domain=d1 type=s2 -> 0
@cpu0 attach_dev domain=d1 endpoint=net -> 0
@cpu0 topup iommu 8
@cpu0 map_pages domain=d1 iova=0x1ff000 paddr=page:run[16] pgsize=0x1000 pgcount=2 prot=read|write -> 0x2000 bytes
@cpu0 map_pages domain=d1 iova=0 paddr=page:run[16] pgsize=0x1000 pgcount=1 prot=read|write -> 0x1000 bytes
@cpu0 map_pages domain=d1 iova=0x400000 paddr=page:huge[512] pgsize=0x200000 pgcount=1 prot=read|write -> 0x200000 bytes
@cpu0 unmap_pages domain=d1 iova=0x400000 pgsize=0x1000 pgcount=1
@cpu0 unmap_pages domain=d1 iova=0 pgsize=0x200000 pgcount=1 -> 0x200000 bytes`,
};

test.each(Object.entries(body))('maps and unmaps are told in %s', (profile, steps) => {
  const counts = new Map<string, number>();
  const text = `postern scenario v1\nprofile ${profile}\nmachine tiny\nhypervisor postern\n\n${steps}\n`;
  const onStep: NonNullable<Parameters<typeof runScenario>[1]['onStep']> = (_, __, session) => {
    for (const { name, hits } of session.oracle!.sometimesCounts()) counts.set(name, hits);
  };
  const report = runScenario(parseScenario(text), { hypervisors: hypervisorByIdentity, onStep });
  expect(report.steps.filter(({ asExpected }) => !asExpected)).toEqual([]);
  const told = ['map-at-once', 'map-block', 'page-mapped-twice', 'unmap-part-of-block', 'unmap-table'];
  expect(told.map((name) => [name, counts.get(name)])).toEqual(told.map((name) => [name, 1]));
});
