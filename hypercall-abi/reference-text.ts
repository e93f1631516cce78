/**
 * What the reference page says beyond the call table: the meaning of units, results, and of each error of each call. For
 * readers only; nothing decides by it. A test holds its keys against the table.
 */

import type { ArgumentUnit, CallName, ResultKind } from './calls.ts';
import type { ErrnoName } from './errors.ts';
import type { Profile } from './profiles/index.ts';

/** What an argument of that unit is. */
export const unitText: Readonly<Record<ArgumentUnit, string>> = {
  pfn: 'number of a host page: physical address / 4096',
  gfn: 'number of a guest page: guest physical address / 4096',
  pages: 'number of 4 KiB pages: 1, or 512 with both sides aligned to 2 MiB',
  pa: 'physical address in bytes',
  iova: 'address that the device uses, in bytes',
  ipa: 'address that the guest uses, in bytes',
  bytes: 'size of one page of the page table, in bytes',
  count: 'how many',
  prot: 'protection bits, see below',
  handle: 'handle of a VM, from 0x1000 on',
  driver: 'number of the IOMMU driver: 0, the only one',
  iommu: 'index of the IOMMU in the machine description',
  domain: 'domain id, 1 to 255 for the host',
  domainType: 'domain type, see below',
  stream: 'StreamID',
  pasid: 'PASID; 0 is the stream itself',
  pasidBits: 'PASID 0 only: room for 2 to the power of it, at most what the IOMMU has; more than 10 is refused',
  attachFlags: 'bit 16: faults stall where the IOMMU leaves a choice; all others are ignored',
  pageTag: 'tag of the stalled access (STAG), from its event; bits 15:0',
  pageResponse: '0 try again; 1 or 2 end it with an abort; anything else just ends it',
  flags: 'ignored',
  switch: '0 off, anything else on',
  powerDomain: 'number of a power domain, 0 to 31',
  pool: '0 the heap, 1 the IOMMU pool',
  list: 'first chunk of a list, see below',
  buffer: 'size in bytes',
  index: 'number of a vCPU, from 0',
  order: 'log2 of the number of pages: 0, or 9 for 2 MiB',
};

/** Where a single argument means something else than its unit says. */
export const argumentText: Readonly<Record<string, string>> = {
  'map_guest.prot': 'access of a guest that is not protected: 1 execute, 2 write, 4 read',
  'init_vm.kvm': 'physical address of the VM’s description, see below',
  'init_vm.pgd': 'physical address of the page that is donated for the top-level table',
  'alloc_mgt_refill.count': 'number of chunks in the list, at most 4095',
  'alloc_mgt_reclaim.target': 'number of pages wanted; what is not positive gives none',
  'host_donate_hyp_mmio.pfn': 'number of the first page of the registers',
  'host_donate_hyp_mmio.pages': 'number of pages: exactly those of the range',
  'host_reclaim_hyp_mmio.pfn': 'number of the first page of the registers',
  'host_reclaim_hyp_mmio.pages': 'number of pages: exactly those of the range',
  'pviommu_attach.kvm': 'address of the description that `init_vm` will be given',
  'pviommu_attach.pviommu': 'number by which the guest will name it',
  'pviommu_add_vsid.kvm': 'address of the description that `init_vm` will be given',
  'pviommu_add_vsid.pviommu': 'number by which the guest will name it',
  'pviommu_add_vsid.endpoint': 'StreamID that it stands for',
  'pviommu_add_vsid.vsid': 'virtual StreamID by which the guest will name it',
  'page_response.pasid': 'PASID of the access: not needed to find it',
  'map_pages.pgcount': 'number of pages of that size',
  'unmap_pages.pgcount': 'number of pages of that size',
  'map_sg.sg':
    'physical address of the list, a multiple of 8, in pages shared with the hypervisor: for each element 24 bytes, physical address (64 bits), page size (64 bits), number of pages (32 bits, then 32 unused)',
  'map_sg.nent': 'number of elements',
};

/** What x1 holds on return. */
export const resultText: Readonly<Record<ResultKind, string>> = {
  errno: '0, or a negative error',
  handleOrErrno: 'the handle, or a negative error',
  bytes: 'bytes done, counted from the start of the range',
  pa: 'the physical address, or 0 where there is none',
  pages: 'number of pages',
  list: 'first page of the list, 0 for none',
  none: 'not written',
};

/** What a call leaves in other registers than x0, x1 and the request in x2. */
export const moreResults: Readonly<Partial<Record<CallName, readonly (readonly [register: string, text: string])[]>>> =
  {
    alloc_mgt_refill: [
      ['x3', 'what is left of the list: address of the next chunk, with the number of chunks in bits 11:0'],
    ],
    alloc_mgt_reclaim: [['x2', 'number of pages in the list']],
  };

const notHosts = 'the page is not the host’s alone';
const unanswered = 'the IOMMU did not complete an invalidation';
const notRam = 'not RAM of one region, or mapped for DMA';

/** When a call gives an error. */
export const errorText: Readonly<Record<CallName, Readonly<Partial<Record<ErrnoName, string>>>>> = {
  host_share_hyp: { EINVAL: notRam, EPERM: notHosts },
  host_unshare_hyp: {
    EINVAL: 'not RAM',
    EPERM: 'the page is not shared with the hypervisor',
    EBUSY: 'the hypervisor has the page pinned',
  },
  map_guest: {
    EINVAL: `no vCPU is loaded on this CPU; number of pages, alignment, address or access bits not allowed; ${notRam}`,
    EPERM: `${notHosts}, or the guest has something at that address`,
    EBUSY: 'the page is shared as often as can be counted',
    ENOMEM: 'no memory for tables: the request says what is missing',
    ETIMEDOUT: unanswered,
  },
  donate_guest: {
    EINVAL: `no vCPU of a protected VM is loaded on this CPU; number of pages, alignment or address not allowed; ${notRam}`,
    EPERM: `${notHosts}, or the guest has something at that address`,
    ENOMEM: 'no memory for tables: the request says what is missing',
  },
  share_guest: {
    EINVAL: `no vCPU of a non-protected VM is loaded on this CPU; number of pages, alignment, address or access bits not allowed; ${notRam}`,
    EPERM: `${notHosts}, or the guest has something at that address`,
    EBUSY: 'the page is shared as often as can be counted',
    ENOMEM: 'no memory for tables: the request says what is missing',
  },
  unshare_guest: {
    EINVAL: 'no such VM, or a protected one; number of pages or address not allowed',
    ENOENT: 'the guest has no page there',
    EPERM: 'the page there is not one that the host shares',
  },
  reserve_vm: { ENOMEM: 'all handles are taken' },
  unreserve_vm: {},
  init_vm: {
    EINVAL:
      'the description is misaligned, crosses a page, has no vCPU, or no reserved handle; the table page is misaligned or not the host’s to donate',
    EPERM: 'the page of the description is not shared with the hypervisor',
    ENOMEM: 'no memory to note the donation: the request says what is missing',
    ETIMEDOUT: unanswered,
  },
  reclaim_dying_guest_page: {
    EINVAL: 'no VM of that handle is being torn down; number of pages or address not allowed',
    EPERM: 'the VM is not protected, or the guest does not own the page',
    ENOENT: 'the guest has no page there',
    EBUSY: 'an SMMU that did not answer may still let a device of the guest reach the page',
  },
  start_teardown_vm: {
    ENOENT: 'no such VM',
    ETIMEDOUT: unanswered,
    EBUSY: 'one of its vCPUs is loaded',
    EINVAL: 'it is being torn down already',
  },
  finalize_teardown_vm: {
    ENOENT: 'no such VM',
    EBUSY: 'it is not being torn down, or its guest still holds pages',
  },
  vcpu_load: {},
  vcpu_put: {},
  alloc_mgt_refill: {
    EINVAL: `no such pool; too many chunks; order above 0 for the heap or 6 for the IOMMU pool; chunk not aligned to its size; ${notRam}`,
    EPERM: 'a page of the chunk is not the host’s alone',
    ENOMEM: 'no memory to note the donation: the request says what is missing',
    ETIMEDOUT: unanswered,
  },
  alloc_mgt_reclaimable: {},
  alloc_mgt_reclaim: {},
  alloc_domain: {
    ENODEV: 'no such driver, or no such IOMMU',
    EINVAL: 'the id is not the host’s or is in use; no such type, or the IOMMU has not that stage',
    EPERM: 'the identity domain is not the host’s to make',
    ENOMEM: 'no memory for the top-level table: the request says what is missing',
    ERANGE: 'the id has more bits than the ASIDs or VMIDs of the IOMMU',
  },
  free_domain: {
    EINVAL: 'no such id; the domain is not the host’s, or a stream is attached',
    ENODEV: 'the domain was never allocated',
    ETIMEDOUT: `${unanswered}: the domain is still there`,
  },
  attach_dev: {
    EPERM: 'the device is with a guest',
    EINVAL: 'no such domain of the host; a PASID on a stream that is not attached',
    ENODEV: 'no such IOMMU',
    EBUSY:
      'the domain belongs to another IOMMU; the stream or its PASID is attached already; a PASID with a stage-2 domain',
    ENOMEM: 'no memory for tables, with a request; or a StreamID out of range, with none',
    E2BIG: 'a PASID beyond what the stream has room for; room for more than 1024 PASIDs',
    ETIMEDOUT: unanswered,
  },
  detach_dev: {
    EPERM: 'the device is with a guest',
    EINVAL: 'no such domain, or nothing is attached to it; PASID 0 while others of the stream are attached',
    ENODEV: 'no such IOMMU, or no entry for the StreamID',
    EACCES: 'the stream, or its PASID, is not attached to that domain',
    ENOENT: 'the PASID is not attached',
    E2BIG: 'a PASID beyond what the stream has room for',
    ETIMEDOUT: unanswered,
  },
  map_pages: {
    EOPNOTSUPP: 'a protection bit that does not exist',
    E2BIG: 'pgsize times pgcount overflows, or a range wraps at 2^64',
    EINVAL:
      'an address that is no multiple of pgsize or of 4 KiB; a range that is neither RAM of one region nor registers of one device; a page size that the table has not; neither read nor write',
    ENOENT: 'no such domain of the host',
    EPERM: 'a page is not the host’s alone',
    EEXIST: 'something is mapped there already; x1 counts what was mapped before it',
    ERANGE: 'an address beyond what the table translates, or beyond what the IOMMU can output',
    EBUSY: 'a page is mapped as often as can be counted',
    ENOMEM: 'no memory to note that a device page is mapped: the request says what is missing',
  },
  unmap_pages: {},
  iova_to_phys: {},
  set_identity: {
    ENODEV: 'no such driver, or no such IOMMU',
    EPERM: 'the device is with a guest',
    EINVAL: 'the IOMMU has no stage 2; off, and identity is not on for the stream',
    ENOMEM: 'no memory for tables, with a request; or a StreamID out of range, with none',
    EBUSY: 'on, and the stream has an entry already',
    ETIMEDOUT: unanswered,
  },
  attach_dev_nested: {
    EPERM: 'the device is with a guest; a page of the descriptor is not shared with the hypervisor',
    EINVAL: 'the descriptor is not in RAM; no such domain',
    ENODEV: 'the driver has no such operation: everything else',
  },
  iotlb_inv_nested_domain: {
    EINVAL: 'no such domain',
    ENODEV: 'the driver has no such operation: everything else',
  },
  nested_cfg_sync: {
    EINVAL: 'the command is not in RAM',
    EPERM: 'a page of the command is not shared with the hypervisor',
    ENODEV: 'the driver has no such operation: everything else',
  },
  hvc_pd: {
    E2BIG: 'no such power domain',
    ENOENT: 'no IOMMU is in that power domain',
    ETIMEDOUT: `${unanswered}: it stays off`,
  },
  host_donate_hyp_mmio: {
    ENODEV: 'not exactly a register range of a device that a guest may be given',
    EBUSY: 'the device is a guest’s, or a call is at work on it',
    EPERM: 'not the host’s any more, or mapped for DMA once',
    ENOMEM: 'no memory for tables: the request says what is missing',
    ETIMEDOUT: unanswered,
  },
  map_sg: {},
  iotlb_sync_map: {
    EINVAL: 'no bytes, or a range that wraps; no such domain of the host',
    ENODEV: 'the IOMMU driver has no such operation',
  },
  host_reclaim_hyp_mmio: {
    ENODEV: 'not exactly a register range of a device that a guest may be given',
    EBUSY: 'the device is a guest’s',
    EPERM: 'not the hypervisor’s',
  },
  pviommu_attach: { EINVAL: 'no address', EBUSY: 'there are as many as there can be' },
  pviommu_add_vsid: {
    ENOENT: 'no such paravirtual IOMMU, or its VM is made already',
    EBUSY: 'it has as many as it can',
    EEXIST: 'the virtual StreamID stands for something already',
  },
  page_response: {
    EPERM: 'the device is with a guest',
    ENODEV: 'no such driver or IOMMU, or faults of the IOMMU never stall',
    ETIMEDOUT: 'the IOMMU did not take the command',
  },
};

/** What an errno is called. */
export const errnoText: Readonly<Record<ErrnoName, string>> = {
  EPERM: 'operation not permitted',
  ENOENT: 'no such entry',
  EIO: 'input or output error',
  E2BIG: 'argument too big',
  EAGAIN: 'try again',
  ENOMEM: 'out of memory',
  EACCES: 'access denied',
  EBUSY: 'in use',
  EEXIST: 'exists already',
  ENODEV: 'no such device',
  EINVAL: 'invalid argument',
  ERANGE: 'out of range',
  EOVERFLOW: 'value too large',
  EOPNOTSUPP: 'not supported',
  ETIMEDOUT: 'timed out',
};

/** Where the older generations mean something else by an error, or have one that android17 has not. */
const older: Partial<Record<CallName, Readonly<Partial<Record<ErrnoName, string>>>>> = {
  init_vm: {
    EINVAL:
      'the description is misaligned, crosses a page or has no vCPU; the table page is misaligned or not the host’s to donate',
    ENOMEM: 'no handle is free, with no request; or no memory to note the donation, with one',
  },
  reclaim_dying_guest_page: {
    EINVAL: 'no VM of that handle is being torn down; order or address not allowed; the guest has another page there',
  },
  alloc_mgt_refill: { EINVAL: 'whatever went wrong; chunks before it were taken' },
  alloc_domain: {
    EINVAL: 'the id is not the host’s or is in use; no such type',
    ENOMEM:
      'no memory for the record: the request says what is missing; in rfc-v2 also an id that there is not, with none',
  },
  free_domain: { EINVAL: 'no such domain of the host, or a stream is attached' },
  attach_dev: {
    EINVAL:
      'no such IOMMU or domain; the IOMMU cannot do what the type asks for; in rfc-v2 the domain belongs to another IOMMU; a PASID on a stream that is not attached',
    EBUSY:
      'the table of the domain does not fit the IOMMU; the stream or its PASID is attached already; a PASID with a stage-2 domain',
    ERANGE: 'the id has more bits than the ASIDs or VMIDs of the IOMMU',
  },
  detach_dev: {
    EINVAL: 'no such IOMMU or domain, or nothing is attached to it; PASID 0 while others of the stream are attached',
    ENODEV: 'no entry for the StreamID',
  },
  map_pages: {
    EINVAL: 'what android17 refuses with it; the identity domain; a domain to which no stream was ever attached',
  },
};

/** When a call of that profile gives an error; undefined where nothing is said. */
export function errorTextOf({ tableBuilt }: Profile, call: CallName, error: ErrnoName): string | undefined {
  const text = errorText[call][error];
  return tableBuilt === 'alloc' ? text : (older[call]?.[error] ?? text);
}

/** What a call of that profile leaves in other registers than x0, x1 and the request. */
export function moreResultsOf(
  profile: Profile,
  call: CallName,
): readonly (readonly [register: string, text: string])[] {
  const isSilent = call === 'alloc_mgt_refill' && !profile.call(call).request;
  return isSilent ? [] : (moreResults[call] ?? []);
}

/** What a unit means in that profile, where it is not the same everywhere. */
export function unitTextOf({ domains }: Profile, unit: ArgumentUnit): string | undefined {
  return unit === 'domain' ? `domain id, ${domains.identity + 1} to ${domains.hostCount - 1} for the host` : undefined;
}
