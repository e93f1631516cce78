/**
 * The life cycles as dense tables, compiled from the statecharts beside this file. Edit those instead, and then
 * `UPDATE=1 npx vitest run test/hypercall-abi/life-cycles.test.ts && npm run format`.
 */

import { FORBIDDEN, type LifeCycle } from './life-cycle.ts';

const X = FORBIDDEN;

export const domainLifeCycle: LifeCycle = {
  name: 'domain',
  description: 'A translation domain, by its id: the host makes it, gives it streams and pages, and frees it.',
  initial: 0,
  states: [
    { name: 'free', description: 'Nobody uses the id. It has no page table.' },
    { name: 'idle', description: 'Allocated, with a page table of its own that no stream uses.' },
    { name: 'attached', description: 'At least one stream translates through its page table.' },
    {
      name: 'reserved',
      description: 'Never the host’s to use: the identity domain, the ids of guests, and what is no id at all.',
    },
  ],
  events: [
    { name: 'ALLOC', rule: 'An id is allocated only while it is free.' },
    { name: 'FREE', rule: 'Only an allocated domain to which no stream is attached may be freed.' },
    { name: 'ATTACH_FIRST', rule: 'Only an allocated domain may be given a stream.' },
    { name: 'ATTACH', rule: 'A further stream is attached only where there is one already.' },
    { name: 'ATTACH_ELSEWHERE', rule: 'A domain takes streams only of the IOMMU that it was allocated for.' },
    { name: 'DETACH', rule: 'A stream other than the last is detached only from a domain with several.' },
    { name: 'DETACH_LAST', rule: 'A stream is detached only from a domain to which one is attached.' },
    { name: 'MAP', rule: 'Pages are mapped only in an allocated domain.' },
    { name: 'UNMAP', rule: 'Pages are unmapped only in an allocated domain.' },
    { name: 'TRANSLATE', rule: 'An IOVA has an address only in an allocated domain.' },
  ],
  rules: {
    'free.FREE': 'A domain is freed once.',
    'attached.FREE': 'A domain must not be freed while a stream translates through its page table.',
    'reserved.ALLOC': 'This id is not the host’s to allocate.',
  },
  next: Uint8Array.from(
    [
      [1, X, X, X, X, X, X, X, X, X], // free
      [X, 0, 2, X, X, X, X, 1, 1, 1], // idle
      [X, X, X, 2, X, 2, 1, 2, 2, 2], // attached
      [X, X, X, X, X, X, X, X, X, X], // reserved
    ].flat(),
  ),
};

export const streamLifeCycle: LifeCycle = {
  name: 'stream',
  description: 'The attachment of a stream: the accesses of a device under one StreamID.',
  initial: 0,
  states: [
    {
      name: 'blocked',
      description: 'Every access aborts. So do all streams from the moment the hypervisor takes over.',
    },
    {
      name: 'attached',
      description:
        'Accesses translate through the page table of one domain, be it the identity domain; those with a PASID abort.',
    },
    { name: 'withPasids', description: 'At least one PASID of the stream translates through a domain of its own.' },
  ],
  events: [
    {
      name: 'ATTACH',
      rule: 'A stream translates through one domain at a time: it is detached before it is attached again.',
    },
    { name: 'DETACH', rule: 'Only a stream that is attached may be detached.' },
    { name: 'DETACH_OTHER', rule: 'A stream is detached only by naming the domain that it is attached to.' },
    { name: 'PASID_FIRST', rule: 'A stream is attached itself before any PASID of it is.' },
    { name: 'PASID', rule: 'A further PASID is attached only where there is one already.' },
    { name: 'PASID_GONE', rule: 'A PASID other than the last is detached only where there are several.' },
    { name: 'PASID_LAST', rule: 'A PASID is detached only from a stream that has one.' },
  ],
  rules: {
    'withPasids.DETACH': 'A stream is detached after all its PASIDs.',
  },
  next: Uint8Array.from(
    [
      [1, X, X, X, X, X, X], // blocked
      [X, 0, X, 2, X, X, X], // attached
      [X, X, X, X, 2, 2, 1], // withPasids
    ].flat(),
  ),
};

export const pasidLifeCycle: LifeCycle = {
  name: 'pasid',
  description: 'One PASID of a stream, other than 0: a context descriptor of its own.',
  initial: 0,
  states: [
    { name: 'blocked', description: 'Accesses with this PASID abort.' },
    { name: 'attached', description: 'Accesses with this PASID translate through the page table of one domain.' },
  ],
  events: [
    {
      name: 'ATTACH',
      rule: 'A PASID translates through one domain at a time: it is detached before it is attached again.',
    },
    { name: 'DETACH', rule: 'Only a PASID that is attached may be detached.' },
    { name: 'DETACH_OTHER', rule: 'A PASID is detached only by naming the domain that it is attached to.' },
  ],
  rules: {},
  next: Uint8Array.from(
    [
      [1, X, X], // blocked
      [X, 0, X], // attached
    ].flat(),
  ),
};

export const pageLifeCycle: LifeCycle = {
  name: 'page',
  description: 'A page of RAM: whose it is, and whether its owner’s devices reach it.',
  initial: 0,
  states: [
    { name: 'hostOwned', description: 'The host’s alone, and not mapped for DMA.' },
    { name: 'hostDma', description: 'The host’s alone, and mapped for DMA at least once.' },
    { name: 'sharedHyp', description: 'The host’s, and the hypervisor may read and write it.' },
    { name: 'hypOwned', description: 'The hypervisor’s alone: a table, a queue, or a free page of one of its pools.' },
    { name: 'guestOwned', description: 'A protected guest’s alone.' },
    { name: 'guestDma', description: 'A protected guest’s alone, and mapped for DMA of its devices at least once.' },
    { name: 'sharedGuest', description: 'The host’s, and mapped by at least one guest that is not protected.' },
  ],
  events: [
    { name: 'MAP_FIRST', rule: 'A page may be mapped for DMA only while it is the host’s alone.' },
    { name: 'MAP', rule: 'A page may be mapped for DMA only while it is the host’s alone.' },
    { name: 'UNMAP', rule: 'Only a mapped page may be unmapped.' },
    { name: 'UNMAP_LAST', rule: 'Only a mapped page may be unmapped.' },
    { name: 'SHARE_HYP', rule: 'A page may be shared with the hypervisor only while it is the host’s alone.' },
    { name: 'UNSHARE_HYP', rule: 'Only a page that is shared with the hypervisor may be taken back from sharing.' },
    { name: 'DONATE_HYP', rule: 'A page may be donated to the hypervisor only while it is the host’s alone.' },
    { name: 'RETURN_HOST', rule: 'The hypervisor gives back only a page that it owns.' },
    { name: 'DONATE_GUEST', rule: 'A page may be donated to a guest only while it is the host’s alone.' },
    { name: 'RECLAIM_GUEST', rule: 'Only a page that a guest owns may be reclaimed.' },
    { name: 'GUEST_MAP_FIRST', rule: 'A guest maps only pages of its own for DMA.' },
    { name: 'GUEST_MAP', rule: 'A guest maps only pages of its own for DMA.' },
    { name: 'GUEST_UNMAP', rule: 'A guest unmaps only a page that it has mapped.' },
    { name: 'GUEST_UNMAP_LAST', rule: 'A guest unmaps only a page that it has mapped.' },
    {
      name: 'SHARE_GUEST_FIRST',
      rule: 'A page may be shared with a guest only while it is the host’s, and not shared with the hypervisor.',
    },
    {
      name: 'SHARE_GUEST',
      rule: 'A page may be shared with a guest only while it is the host’s, and not shared with the hypervisor.',
    },
    { name: 'UNSHARE_GUEST', rule: 'Only a page that is shared with a guest may be taken back from sharing.' },
    { name: 'UNSHARE_GUEST_LAST', rule: 'Only a page that is shared with a guest may be taken back from sharing.' },
  ],
  rules: {
    'hostDma.SHARE_HYP': 'A page that a device may reach must not change hands: it is unmapped everywhere first.',
    'hostDma.DONATE_HYP': 'A page that a device may reach must not change hands: it is unmapped everywhere first.',
    'hostDma.DONATE_GUEST': 'A page that a device may reach must not change hands: it is unmapped everywhere first.',
    'hostDma.SHARE_GUEST_FIRST':
      'A page that a device may reach must not change hands: it is unmapped everywhere first.',
    'hostDma.SHARE_GUEST': 'A page that a device may reach must not change hands: it is unmapped everywhere first.',
    'hypOwned.MAP_FIRST': 'No device of the host may reach a page that the hypervisor owns.',
    'hypOwned.MAP': 'No device of the host may reach a page that the hypervisor owns.',
    'guestOwned.MAP_FIRST': 'No device of the host may reach a page that a guest owns.',
    'guestOwned.MAP': 'No device of the host may reach a page that a guest owns.',
    'guestDma.MAP_FIRST': 'No device of the host may reach a page that a guest owns.',
    'guestDma.MAP': 'No device of the host may reach a page that a guest owns.',
    'guestDma.RECLAIM_GUEST':
      'A page that a device of a guest may reach stays the guest’s until it is unmapped everywhere.',
  },
  next: Uint8Array.from(
    [
      [1, X, X, X, 2, X, 3, X, 4, X, X, X, X, X, 6, X, X, X], // hostOwned
      [X, 1, 1, 0, X, X, X, X, X, X, X, X, X, X, X, X, X, X], // hostDma
      [X, X, X, X, X, 0, X, X, X, X, X, X, X, X, X, X, X, X], // sharedHyp
      [X, X, X, X, X, X, X, 0, X, X, X, X, X, X, X, X, X, X], // hypOwned
      [X, X, X, X, X, X, X, X, X, 0, 5, X, X, X, X, X, X, X], // guestOwned
      [X, X, X, X, X, X, X, X, X, X, X, 5, 5, 4, X, X, X, X], // guestDma
      [X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, 6, 6, 0], // sharedGuest
    ].flat(),
  ),
};

export const powerLifeCycle: LifeCycle = {
  name: 'power',
  description: 'The power of an SMMU that is in a power domain; any other is on for good.',
  initial: 0,
  states: [
    { name: 'on', description: 'It translates, and takes commands.' },
    {
      name: 'off',
      description: 'Every access of a device behind it aborts. Changes of tables need no commands, and give none.',
    },
  ],
  events: [
    { name: 'SWITCH_OFF', rule: 'An SMMU may be switched off at any time.' },
    { name: 'SWITCH_ON', rule: 'An SMMU may be switched on at any time.' },
    { name: 'SWITCH_ON_UNANSWERED', rule: 'An SMMU that does not answer may be told to come on at any time.' },
    { name: 'COMMAND', rule: 'Commands are given only to an SMMU that is on.' },
    { name: 'TRANSLATE', rule: 'Devices are let through only by an SMMU that is on.' },
  ],
  rules: {},
  next: Uint8Array.from(
    [
      [1, 0, 1, 0, 0], // on
      [1, 0, 1, X, X], // off
    ].flat(),
  ),
};

export const vmLifeCycle: LifeCycle = {
  name: 'vm',
  description: 'A VM, by its handle.',
  initial: 0,
  states: [
    { name: 'free', description: 'Nobody uses the handle.' },
    { name: 'reserved', description: 'The host has the handle, and there is no VM yet.' },
    { name: 'live', description: 'The VM has a stage 2 of its own; none of its vCPUs is loaded.' },
    { name: 'loaded', description: 'A vCPU of it is loaded on at least one CPU, so it cannot go away.' },
    { name: 'dying', description: 'No vCPU can be loaded any more; the host takes its pages back one by one.' },
  ],
  events: [
    { name: 'RESERVE', rule: 'A handle is reserved only while it is free.' },
    { name: 'UNRESERVE', rule: 'Only a handle that never became a VM is given back.' },
    { name: 'INIT', rule: 'A VM is made only of a reserved handle.' },
    { name: 'CREATE', rule: 'Where nothing is reserved before, a VM is made of a free handle.' },
    { name: 'LOAD_FIRST', rule: 'Only a vCPU of a live VM may be loaded.' },
    { name: 'LOAD', rule: 'A further vCPU is loaded only where there is one already.' },
    { name: 'PUT', rule: 'A vCPU other than the last is put only where there are several.' },
    { name: 'PUT_LAST', rule: 'Only a loaded vCPU may be put.' },
    { name: 'GIVE', rule: 'Pages are given only to the VM whose vCPU is loaded.' },
    { name: 'CALL', rule: 'Only a guest whose vCPU is loaded makes calls.' },
    { name: 'START_TEARDOWN', rule: 'Only a live VM of which no vCPU is loaded may be torn down.' },
    { name: 'RECLAIM', rule: 'Pages are reclaimed only from a VM that is being torn down.' },
    { name: 'FINALIZE', rule: 'Only a VM that is being torn down may be finished.' },
  ],
  rules: {
    'loaded.START_TEARDOWN': 'A VM is not torn down while a vCPU of it is loaded.',
  },
  next: Uint8Array.from(
    [
      [1, X, X, 2, X, X, X, X, X, X, X, X, X], // free
      [X, 0, 2, X, X, X, X, X, X, X, X, X, X], // reserved
      [X, X, X, X, 3, X, X, X, X, X, 4, X, X], // live
      [X, X, X, X, X, 3, 3, 2, 3, 3, X, X, X], // loaded
      [X, X, X, X, X, X, X, X, X, X, X, 4, 0], // dying
    ].flat(),
  ),
};

export const deviceLifeCycle: LifeCycle = {
  name: 'device',
  description: 'A device that a guest may be given, and one range of its registers: whose they are.',
  initial: 0,
  states: [
    { name: 'hostOwned', description: 'The host’s, and never mapped for DMA.' },
    {
      name: 'hypOwned',
      description:
        'The registers are the hypervisor’s: neither the host nor its devices reach them, and no guest does yet.',
    },
    { name: 'guestOwned', description: 'A guest has the device; its streams are the guest’s to attach.' },
    { name: 'tainted', description: 'The host’s, and mapped for DMA at least once: it never changes hands again.' },
  ],
  events: [
    { name: 'DONATE', rule: 'Registers are donated only by the host that has them.' },
    { name: 'RECLAIM', rule: 'Registers are taken back only from the hypervisor.' },
    { name: 'MAP', rule: 'Registers are mapped for DMA only while they are the host’s.' },
    { name: 'ACCESS', rule: 'The host reaches only registers that are its own.' },
    { name: 'HOST_USE', rule: 'The host attaches and detaches only streams of devices that no guest has.' },
    { name: 'CLAIM', rule: 'A guest gets a device only when the host has given up all registers of its group.' },
    { name: 'CLAIM_AGAIN', rule: 'A guest that asks again must have the device.' },
    { name: 'CLAIM_OTHERS', rule: 'A device that a guest has is no other guest’s.' },
    { name: 'CLAIM_ATTACHED', rule: 'A guest gets a device only while every stream of its group is blocked.' },
    { name: 'GUEST_USE', rule: 'A guest attaches and detaches only streams of devices that it has.' },
    { name: 'VM_GONE', rule: 'A device goes back to the host with the VM that has it.' },
  ],
  rules: {
    'guestOwned.RECLAIM': 'Registers of a device that a guest has are not taken back.',
    'tainted.DONATE': 'Registers that devices may have been told of are never given away.',
  },
  next: Uint8Array.from(
    [
      [1, X, 3, 0, 0, X, X, X, X, X, X], // hostOwned
      [X, 0, X, X, 1, 2, X, X, X, X, X], // hypOwned
      [X, X, X, X, X, X, 2, X, X, 2, 0], // guestOwned
      [X, X, 3, 3, 3, X, X, X, X, X, X], // tainted
    ].flat(),
  ),
};

export const pviommuLifeCycle: LifeCycle = {
  name: 'pviommu',
  description: 'A paravirtual IOMMU that a VM is promised, by the address of the VM’s description and its number.',
  initial: 0,
  states: [
    { name: 'none', description: 'Nobody was promised it.' },
    { name: 'open', description: 'The host may still say which streams its virtual StreamIDs stand for.' },
    {
      name: 'fixed',
      description: 'The VM is made: its guest finds the streams, and the host changes nothing of it any more.',
    },
  ],
  events: [
    { name: 'ATTACH', rule: 'An IOMMU is promised only to a VM that is not made yet.' },
    { name: 'ADD_VSID', rule: 'Virtual StreamIDs are added only until the VM is made.' },
    { name: 'ADD_VSID_AGAIN', rule: 'A virtual StreamID stands for one stream.' },
    { name: 'FIX', rule: 'What a VM finds is fixed once, when it is made.' },
    { name: 'RESOLVE', rule: 'A guest finds only the virtual StreamIDs that it was promised.' },
    { name: 'VM_GONE', rule: 'An IOMMU goes with the VM that it was made for.' },
  ],
  rules: {},
  next: Uint8Array.from(
    [
      [1, X, X, X, X, X], // none
      [1, 1, X, 2, X, X], // open
      [X, X, X, X, 2, 0], // fixed
    ].flat(),
  ),
};

export const guestDomainLifeCycle: LifeCycle = {
  name: 'guestDomain',
  description: 'A translation domain of a guest, by its id.',
  initial: 0,
  states: [
    { name: 'free', description: 'No guest has the id.' },
    { name: 'fresh', description: 'A guest’s, without a page table: it never had a stream.' },
    { name: 'idle', description: 'A guest’s, with a page table that no stream uses any more.' },
    { name: 'attached', description: 'At least one stream of the guest’s devices translates through its page table.' },
    { name: 'reserved', description: 'No guest’s to use: the ids of the host, and what is no id at all.' },
  ],
  events: [
    { name: 'ALLOC', rule: 'A guest is given an id only while nobody has it.' },
    { name: 'FREE', rule: 'Only an own domain to which no stream is attached may be given back.' },
    { name: 'ATTACH_FIRST', rule: 'Only an own domain may be given a stream.' },
    { name: 'ATTACH', rule: 'A further stream is attached only where there is one already.' },
    { name: 'ATTACH_ELSEWHERE', rule: 'A domain takes streams only of the IOMMU that its page table was made for.' },
    { name: 'DETACH', rule: 'A stream other than the last is detached only from a domain with several.' },
    { name: 'DETACH_LAST', rule: 'A stream is detached only from a domain to which one is attached.' },
    { name: 'MAP', rule: 'Pages are mapped only in an own domain that has a page table.' },
    { name: 'UNMAP', rule: 'Pages are unmapped only in an own domain that has a page table.' },
    { name: 'USE_OTHERS', rule: 'A guest uses no domain of another guest.' },
    { name: 'VM_GONE', rule: 'The domains of a guest go with its VM.' },
  ],
  rules: {
    'attached.FREE': 'A domain must not be given back while a stream translates through its page table.',
  },
  next: Uint8Array.from(
    [
      [1, X, X, X, X, X, X, X, X, X, X], // free
      [X, 0, 3, X, X, X, X, X, X, X, 0], // fresh
      [X, 0, 3, X, X, X, X, 2, 2, X, 0], // idle
      [X, X, X, 3, X, 3, 2, 3, 3, X, 0], // attached
      [X, X, X, X, X, X, X, X, X, X, X], // reserved
    ].flat(),
  ),
};

/** Every life cycle by its name. */
export const lifeCycles = {
  domain: domainLifeCycle,
  stream: streamLifeCycle,
  pasid: pasidLifeCycle,
  page: pageLifeCycle,
  power: powerLifeCycle,
  vm: vmLifeCycle,
  device: deviceLifeCycle,
  pviommu: pviommuLifeCycle,
  guestDomain: guestDomainLifeCycle,
} as const;
