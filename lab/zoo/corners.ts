/**
 * Corners: steps that random ones hardly ever put together, as scenarios with what must come of them. Each was written for
 * a mutant that nothing else found.
 */

const header = (profile: string, machine: string, title: string): string =>
  `postern scenario v1\nprofile ${profile}\nmachine ${machine}\nhypervisor postern\ntitle ${title}\n\n`;

export const corners: readonly string[] = [
  `${header('android17', 'tiny', 'Pages of no size, and of sizes beyond 4 GiB')}\
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 map_pages domain=d1 iova=0x100000000 paddr=0 pgsize=0 pgcount=1 prot=read -> -EINVAL, 0 bytes
@cpu0 map_pages domain=d1 iova=0x100000000 paddr=0 pgsize=0x200000000 pgcount=0 prot=read -> -EINVAL, 0 bytes
@cpu0 map_pages domain=d1 iova=0 paddr=0x100000000 pgsize=0x200000000 pgcount=0 prot=read -> -EINVAL, 0 bytes
@cpu0 map_pages domain=d1 iova=0x200000000 paddr=0x400000000 pgsize=0x200000000 pgcount=0 prot=read -> 0, 0 bytes
@cpu0 map_pages domain=d1 iova=0x200000000 paddr=0x400000000 pgsize=0x200000000 pgcount=1 prot=read -> -EINVAL, 0 bytes
`,
  `${header('android17', 'two-smmus', 'Descriptions whose addresses differ in the upper word alone')}\
@cpu0 pviommu_attach kvm=0x140000000 pviommu=1 -> 0
@cpu0 pviommu_add_vsid kvm=0x40000000 pviommu=1 iommu=0 endpoint=net vsid=5 -> -ENOENT
@cpu0 pviommu_add_vsid kvm=0x140000000 pviommu=1 iommu=0 endpoint=net vsid=5 -> 0
`,
  `${header('android17', 'two-smmus', 'Two VMs are made from descriptions in one place, one after the other')}\
@cpu0 vm1 = reserve_vm -> handle
@cpu0 vm2 = reserve_vm -> handle
@cpu0 pviommu_attach kvm=page:k pviommu=1 -> 0
@cpu0 pviommu_add_vsid kvm=page:k pviommu=1 iommu=0 endpoint=net vsid=5 -> 0
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 init_vm kvm=page:k pgd=page:t -> 0
@cpu0 pviommu_attach kvm=page:k pviommu=2 -> 0
@cpu0 describe page:k vm=vm2 protected=1 vcpus=1 -> ok
@cpu0 init_vm kvm=page:k pgd=page:u -> 0
`,
  `${header('android17', 'tiny', 'A description that ends behind its page')}\
@cpu0 vm1 = reserve_vm -> handle
# the handle, protected, and in the next page the number of vCPUs
@cpu0 write page:k[2].0xff8 0x1000 -> ok
@cpu0 write page:k[2].0xffc 1 -> ok
@cpu0 write page:k[2]+1 1 -> ok
@cpu0 host_share_hyp pfn=page:k[2] -> 0
@cpu0 init_vm kvm=page:k[2].0xff8 pgd=page:t -> -EINVAL
`,
  `${header('android17', 'tiny', 'A range that wraps')}\
@cpu0 topup iommu 4 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 iotlb_sync_map domain=d1 iova=0xfffffffffffff000 size=0x2000 -> -EINVAL
@cpu0 iotlb_sync_map domain=d1 iova=0x100000000 size=0xfffffffeffffffff -> -ENODEV
`,
  `${header('rfc-v1', 'tiny', 'A count of pages that the host has put next to the end of its lower word')}\
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain iommu=0 domain=d1 pgd=page:root[16] -> 0
@cpu0 map_pages iommu=0 domain=d1 iova=0 paddr=page:a pgsize=0x1000 pgcount=1 prot=read|write -> 0x1000 bytes
# the number of pages in the cache of this CPU
@cpu0 write 0x402fc008 0xffffffff -> ok
@cpu0 free_domain iommu=0 domain=d1 -> 0
@cpu0 read 0x402fc00c -> 1
`,
];
