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
  `${header('android17', 'tiny', "A block of pages at the beginning of a guest's addresses, and a page behind their end")}\
@cpu0 vm1 = reserve_vm -> handle
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 init_vm kvm=page:k pgd=page:t -> 0
@cpu0 vcpu_load vm=vm1
@cpu0 map_guest pfn=page:huge[512] gfn=0 pages=512 prot=exec|write|read -> 0
@cpu0 map_guest pfn=page:a gfn=0x1000000000 pages=1 prot=exec|write|read -> -EINVAL
@cpu0 map_guest pfn=page:a gfn=0xfffffffff pages=1 prot=exec|write|read -> 0
@cpu0 vm2 = reserve_vm -> handle
@cpu0 describe page:k vm=vm2 protected=0 vcpus=1 -> ok
@cpu0 init_vm kvm=page:k pgd=page:u -> 0
@cpu1 vcpu_load vm=vm2
@cpu1 map_guest pfn=page:b gfn=0x1000000000 pages=1 prot=exec|write|read -> -EINVAL
@cpu1 map_guest pfn=page:b gfn=0xfffffffff pages=1 prot=exec|write|read -> 0
`,
  `${header('android17', 'two-smmus', 'Registers at the end of an SMMU, and the words behind the records of paravirtual IOMMUs')}\
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 map_pages domain=d1 iova=0x1000 paddr=0x906f000 pgsize=0x1000 pgcount=1 prot=read -> -EPERM, 0 bytes
@cpu0 map_pages domain=d1 iova=0x1000 paddr=0xa011000 pgsize=0x1000 pgcount=1 prot=read|mmio -> 0, 0x1000 bytes
@cpu0 map_pages domain=d1 iova=0x2000 paddr=0xa012000 pgsize=0x1000 pgcount=1 prot=read|mmio -> -EINVAL, 0 bytes
@cpu0 vm1 = reserve_vm -> handle
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 init_vm kvm=page:k pgd=page:t -> 0
@cpu0 vcpu_load vm=vm1
@cpu0 g1 = guest_alloc_domain -> domain
@cpu0 pviommu_add_vsid kvm=1 pviommu=0 iommu=0 endpoint=net vsid=5 -> -ENOENT
`,
  `${header('rfc-v1', 'two-smmus', 'The last domain of one IOMMU, by a number that is too large for the next')}\
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain iommu=0 domain=4095 pgd=page:root[16] -> 0
@cpu0 free_domain iommu=1 domain=4096 -> -EINVAL
@cpu0 free_domain iommu=1 domain=256 -> -EINVAL
@cpu0 detach_dev iommu=1 domain=4096 endpoint=camera -> -EINVAL
@cpu0 attach_dev iommu=1 domain=4096 endpoint=camera -> -EINVAL
@cpu0 free_domain iommu=0 domain=4095 -> 0
`,
  `${header('android17', 'two-smmus', "The second page of a device's registers was mapped for DMA")}\
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 map_pages domain=d1 iova=0x1000 paddr=0xa011000 pgsize=0x1000 pgcount=1 prot=read|mmio -> 0, 0x1000 bytes
@cpu0 unmap_pages domain=d1 iova=0x1000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0 host_donate_hyp_mmio pfn=0xa010 pages=2 -> -EPERM
@cpu0 host_donate_hyp_mmio pfn=0xa014 pages=1 -> 0
`,
  `${header('android17', 'two-smmus', "A guest's calls with something in a register that must be zero")}\
@cpu0 topup iommu 8 -> 0
@cpu0 topup iommu order=2 -> 0
@cpu0 vm1 = reserve_vm -> handle
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 pviommu_attach kvm=page:k pviommu=1 -> 0
@cpu0 pviommu_add_vsid kvm=page:k pviommu=1 iommu=0 endpoint=net vsid=5 -> 0
@cpu0 host_donate_hyp_mmio pfn=0xa000 pages=1 -> 0
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 init_vm kvm=page:k pgd=page:t -> 0
@cpu0 vcpu_load vm=vm1
@cpu0 map_guest pfn=page:a gfn=16 pages=1 prot=exec|write|read -> 0
@cpu0 guest_hvc x0=0xc600003d x1=1 x2=5 x3=1 -> invalid
@cpu0 guest_hvc x0=0xc600003d x1=1 x2=5 x6=0x100000000 -> invalid
@cpu0 guest_dev_req_dma pviommu=1 vsid=5 -> token 0x9050000 0x20
@cpu0 guest_hvc x0=0xc600003e x1=2 x2=1 -> invalid
@cpu0 g1 = guest_alloc_domain -> domain
@cpu0 guest_attach_dev pviommu=1 vsid=5 domain=g1 -> 0
@cpu0 guest_hvc x0=0xc600003e x1=1 x2=1 x3=5 x5=256 x6=1 -> invalid
@cpu0 guest_map_pages domain=g1 iova=0x1000 ipa=0x10000 size=0x1000 prot=read|write -> 0, 0x1000 bytes
@cpu0 guest_hvc x0=0xc600003e x1=5 x2=256 x3=0x1000 x4=0x1000 x5=1 -> invalid
@cpu0 guest_unmap_pages domain=g1 iova=0x1000 size=0x1000 -> 0, 0x1000 bytes
@cpu0 guest_detach_dev pviommu=1 vsid=5 domain=g1 -> 0
@cpu0 guest_hvc x0=0xc600003e x1=3 x2=256 x3=1 -> invalid
@cpu0 guest_free_domain domain=g1 -> 0
`,
  `${header('android17', 'tiny', 'A function id of more than 32 bits (android17)')}\
@cpu0 hvc x0=0x1c6000015 x1=0x40100 -> not supported
@cpu0 hvc x0=0xc6000015 x1=0x40100 -> 0
`,
  `${header('android16', 'tiny', 'A function id of more than 32 bits (android16)')}\
@cpu0 hvc x0=0x1c6000016 x1=0x40100 -> not supported
@cpu0 hvc x0=0xc6000016 x1=0x40100 -> 0
`,
  `${header('rfc-v2', 'tiny', 'A function id of more than 32 bits (rfc-v2)')}\
@cpu0 hvc x0=0x1c6000014 x1=0x40100 -> not supported
@cpu0 hvc x0=0xc6000014 x1=0x40100 -> 0
`,
  `${header('rfc-v1', 'tiny', 'A function id of more than 32 bits (rfc-v1)')}\
@cpu0 hvc x0=0x1c600000e x1=0x40100 -> not supported
@cpu0 hvc x0=0xc600000e x1=0x40100 -> 0
`,
  manyRuns(),
  allIds(),
];

/** More pages that do not follow each other than the list of a CPU has room for, unmapped by one call: on the last CPU. */
function manyRuns(): string {
  const pages = 1040;
  const maps = Array.from(
    { length: pages },
    (_, n) =>
      `@cpu1 map_pages domain=d1 iova=${4096 * n} paddr=page:a pgsize=0x1000 pgcount=1 prot=read -> 0, 0x1000 bytes\n`,
  );
  return `${header('android17', 'tiny', 'One call unmaps more pages that do not follow each other than a list has room for')}\
@cpu0 topup iommu 16 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
${maps.join('')}\
@cpu1 unmap_pages domain=d1 iova=0 pgsize=0x1000 pgcount=${pages} -> ${4096 * pages} bytes
`;
}

/** Every id that guests can have, and one more. */
function allIds(): string {
  return `${header('android17', 'two-smmus', 'A guest takes all the domains that there are')}\
@cpu0 vm1 = reserve_vm -> handle
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 init_vm kvm=page:k pgd=page:t -> 0
@cpu0 vcpu_load vm=vm1
${'@cpu0 guest_alloc_domain -> domain\n'.repeat(256)}\
@cpu0 guest_alloc_domain -> invalid
`;
}
