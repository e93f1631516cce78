import type { Profile, ProfileName } from '#hypercall-abi';

/** The attack of the demo: a host and its disk try everything to reach a page that it has given to a protected guest. */
export const attackScenario = `postern scenario v1
profile android17
machine tiny
hypervisor postern
title The host and its disk try to reach a page that belongs to a guest

# a protected guest, and a page for it
@cpu0 vm1 = reserve_vm -> handle
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 init_vm kvm=page:k pgd=page:g -> 0
@cpu0 vcpu_load vm=vm1 vcpu=0 -> *
@cpu0 write page:secret 0x5ec2e7 -> ok

# the disk may reach the page while it is the host's
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> 0, 0x1000 bytes
disk read 0x10000 -> page:secret

# while it is mapped for DMA it cannot be given away
@cpu0 map_guest pfn=page:secret gfn=0x100 pages=1 prot=7 -> -EINVAL
@cpu0 unmap_pages domain=d1 iova=0x10000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0 map_guest pfn=page:secret gfn=0x100 pages=1 prot=7 -> 0

# now it is the guest's: no way leads there any more
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> -EPERM, 0 bytes
disk read 0x10000 cached -> fault F_TRANSLATION
@cpu0 read page:secret -> abort
`;

/** The same where a VM gets its handle when it is made, and donation is a call of its own. */
const attackAndroid16 = `postern scenario v1
profile android16
machine tiny
hypervisor postern
title The host and its disk try to reach a page that belongs to a guest

# a protected guest, and a page for it
@cpu0 describe page:k vm=0 protected=1 vcpus=1 -> ok
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 vm1 = init_vm kvm=page:k pgd=page:g -> handle
@cpu0 vcpu_load vm=vm1 vcpu=0 -> *
@cpu0 write page:secret 0x5ec2e7 -> ok

# the disk may reach the page while it is the host's
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> 0, 0x1000 bytes
disk read 0x10000 -> page:secret

# while it is mapped for DMA it cannot be given away
@cpu0 donate_guest pfn=page:secret gfn=0x100 pages=1 -> -EINVAL
@cpu0 unmap_pages domain=d1 iova=0x10000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0 donate_guest pfn=page:secret gfn=0x100 pages=1 -> 0

# now it is the guest's: no way leads there any more
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> -EPERM, 0 bytes
disk read 0x10000 cached -> fault F_TRANSLATION
@cpu0 read page:secret -> abort
`;

/** The same without guests: the page goes to the hypervisor, and map_pages does not say why it maps nothing. */
const attackRfcV2 = `postern scenario v1
profile rfc-v2
machine tiny
hypervisor postern
title The host and its disk try to reach a page that belongs to the hypervisor

# the disk may reach the page while it is the host's
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> 0x1000 bytes
disk read 0x10000 -> page:secret

# while it is mapped for DMA it cannot be given away
@cpu0 alloc_mgt_refill pool=iommu head=page:secret count=1 -> -EINVAL
@cpu0 unmap_pages domain=d1 iova=0x10000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0 alloc_mgt_refill pool=iommu head=page:secret count=1 -> 0

# now it is the hypervisor's: no way leads there any more
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> 0 bytes
disk read 0x10000 cached -> fault F_TRANSLATION
@cpu0 read page:secret -> abort
`;

/** The same where pages go to the hypervisor as the first table of a domain, which must be two pages here. */
const attackRfcV1 = `postern scenario v1
profile rfc-v1
machine tiny
hypervisor postern
title The host and its disk try to reach a page that belongs to the hypervisor

# the disk may reach the page while it is the host's
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 pgd=page:root[2] -> 0
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret[2] pgsize=0x1000 pgcount=1 prot=read|write -> 0x1000 bytes
disk read 0x10000 -> page:secret

# while it is mapped for DMA it cannot be given away
@cpu0 alloc_domain domain=d2 pgd=page:secret -> -ENOMEM
@cpu0 unmap_pages domain=d1 iova=0x10000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
@cpu0 alloc_domain domain=d2 pgd=page:secret -> 0

# now it is the hypervisor's: no way leads there any more
@cpu0 map_pages domain=d1 iova=0x10000 paddr=page:secret pgsize=0x1000 pgcount=1 prot=read|write -> 0 bytes
disk read 0x10000 cached -> fault F_TRANSLATION
@cpu0 read page:secret -> abort
`;

const attacks: Readonly<Record<ProfileName, string>> = {
  android17: attackScenario,
  android16: attackAndroid16,
  'rfc-v2': attackRfcV2,
  'rfc-v1': attackRfcV1,
};

/** The attack in the calls of that profile. */
export function attackOf({ name }: Profile): string {
  return attacks[name];
}
