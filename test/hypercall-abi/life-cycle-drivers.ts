/**
 * For each life cycle something real that lives it: events as calls and accesses, and the state as the hypervisor's
 * records tell it. Events that differ only in what is counted outside the statechart are one act.
 */

import { DomainType, Errno, GuestStatus, type lifeCycles, type profiles } from '#hypercall-abi';
import { type MachineDescription, tiny, twoSmmus } from '#machine';
import { commandsDuring } from '../hyp/harness.ts';
import { makeRig, PAGE, type Rig, RW } from '../lab/oracle-rig.ts';
import { makeDevice, makeGuestDomain, makePvIommu } from './life-cycle-guest-drivers.ts';
import {
  type Driver,
  GUEST_DOMAIN,
  guestOf,
  IOVA,
  makeVm,
  NET,
  readerOf,
  type Subject,
  subject,
  takeNet,
  VM,
} from './life-cycle-subject.ts';

function makeDomain(): Subject {
  const rig = makeRig({ machine: twoSmmus, full: 'never' });
  rig.refill(1, 40);
  const sids = [5, 6];
  let attached = 0;
  let iova = 0;
  const pa = rig.page();
  const map = (): boolean => {
    iova += PAGE;
    return rig.call('map_pages', 1, iova, pa, PAGE, 1, RW).value === PAGE;
  };
  const state = (): string => {
    const refs = readerOf(rig).domainRefs(1);
    return refs === 0 ? 'free' : refs === 1 ? 'idle' : 'attached';
  };
  return subject(rig, state, {
    alloc: () => rig.call('alloc_domain', 0, 1, 1, 1).errno === 0,
    free: () => rig.call('free_domain', 1).errno === 0,
    attach: () => {
      const isDone = rig.call('attach_dev', 1, 1, sids[attached % 2]!, 0, 0, 0).errno === 0;
      if (isDone) attached++;
      return isDone;
    },
    attach_elsewhere: () => rig.call('attach_dev', 0, 1, 0x10, 0, 0, 0).errno === 0,
    detach: () => {
      const isDone = rig.call('detach_dev', 1, 1, sids[Math.max(0, attached - 1) % 2]!, 0).errno === 0;
      if (isDone) attached--;
      return isDone;
    },
    map,
    unmap: () => {
      map();
      return rig.call('unmap_pages', 1, iova, PAGE, 1).value === PAGE;
    },
    translate: () => {
      map();
      return rig.call('iova_to_phys', 1, iova).value === pa;
    },
  });
}

/** A device with PASIDs, and domains: 1 for its stream, 2 and 3 for PASIDs 1 and 2. */
function makePasidRig(): Rig {
  const rig = makeRig({ machine: twoSmmus, full: 'never' });
  rig.refill(1, 30);
  for (const id of [1, 2, 3]) {
    rig.call('alloc_domain', 0, 0, id, DomainType.s1);
    rig.call('map_pages', id, IOVA, rig.page(), PAGE, 1, RW);
  }
  return rig;
}

function makeStream(): Subject {
  const rig = makePasidRig();
  const net = rig.session.devices[1]!;
  const translates = (ssid: number): boolean => net.read(IOVA, { ssid }).ok;
  const state = (): string => {
    if (!net.read(IOVA).ok) return 'blocked';
    return translates(1) || translates(2) ? 'withPasids' : 'attached';
  };
  const attach = (domain: number, pasid: number): boolean =>
    rig.call('attach_dev', 0, domain, NET, pasid, 2, 0).errno === 0;
  const detach = (domain: number, pasid: number): boolean => rig.call('detach_dev', 0, domain, NET, pasid).errno === 0;
  return subject(rig, state, {
    attach: () => attach(1, 0),
    detach: () => detach(1, 0),
    detach_other: () => detach(2, 0),
    pasid: () => (translates(1) ? attach(3, 2) : attach(2, 1)),
    pasid_gone: () => (translates(2) ? detach(3, 2) : detach(2, 1)),
  });
}

function makePasid(): Subject {
  const rig = makePasidRig();
  rig.call('attach_dev', 0, 1, NET, 0, 2, 0);
  const state = (): string => (rig.session.devices[1]!.read(IOVA, { ssid: 1 }).ok ? 'attached' : 'blocked');
  return subject(rig, state, {
    attach: () => rig.call('attach_dev', 0, 2, NET, 1, 0, 0).errno === 0,
    detach: () => rig.call('detach_dev', 0, 2, NET, 1).errno === 0,
    detach_other: () => rig.call('detach_dev', 0, 3, NET, 1).errno === 0,
  });
}

const PAGE_STATES: Readonly<Record<string, string>> = {
  '1,3': 'sharedGuest',
  '1,2': 'sharedHyp',
  '3,0': 'hypOwned',
};

/** What the page's record says, in the words of the life cycle. */
function pageState(rig: Rig, pa: number): string {
  const at = readerOf(rig).layout.vmemmap + ((pa - tiny.ram[0]!.base) / PAGE) * 8;
  const record = rig.machine.memory.read32(at);
  const host = (record >>> 24) & 15;
  const hyp = 3 - ((record >>> 28) & 15);
  if (host === 0 && hyp === 3) return (record & 0xffff) === 0 ? 'hostOwned' : 'hostDma';
  if (host === 3 && hyp === 3) return (record & 0xffff) === 0 ? 'guestOwned' : 'guestDma';
  return PAGE_STATES[`${host},${hyp}`] ?? `host ${host}, hypervisor ${hyp}`;
}

function makePage(): Subject {
  const rig = makeRig({ machine: twoSmmus, full: 'never' });
  rig.refill(1, 20);
  rig.call('alloc_domain', 0, 0, 1, 1);
  const owner = makeVm(rig, true, [[7, 1, 0, NET]]);
  const sharers = [makeVm(rig, false), makeVm(rig, false)];
  const asOwner = guestOf(rig, owner);
  takeNet(rig, asOwner);
  const pa = rig.page();
  let iova = 0;
  let guestIova = 0;
  let shares = 0;
  rig.call('map_pages', 1, 0, rig.page(), PAGE, 1, RW);
  // What the reclaim gives back must be the page in question.
  rig.call('alloc_mgt_reclaim', 1, 4095);
  const give = (vm: number): boolean => {
    rig.call('vcpu_load', vm, 0);
    const { errno } = rig.call('map_guest', pa / PAGE, 0, 1, 7);
    rig.call('vcpu_put');
    return errno === 0;
  };
  return subject(rig, () => pageState(rig, pa), {
    guest_map: () => {
      const { value } = asOwner('guest_map_pages', GUEST_DOMAIN, guestIova + PAGE, 0, PAGE, RW);
      if (value === PAGE) guestIova += PAGE;
      return value === PAGE;
    },
    guest_unmap: () => {
      const isDone = asOwner('guest_unmap_pages', GUEST_DOMAIN, guestIova, PAGE).value === PAGE;
      if (isDone) guestIova -= PAGE;
      return isDone;
    },
    map: () => {
      const isDone = rig.call('map_pages', 1, iova + PAGE, pa, PAGE, 1, RW).value === PAGE;
      if (isDone) iova += PAGE;
      return isDone;
    },
    unmap: () => {
      // Nothing of the page is mapped at 0.
      const isDone = iova !== 0 && rig.call('unmap_pages', 1, iova, PAGE, 1).value === PAGE;
      if (isDone) iova -= PAGE;
      return isDone;
    },
    share_hyp: () => rig.call('host_share_hyp', pa / PAGE).errno === 0,
    unshare_hyp: () => rig.call('host_unshare_hyp', pa / PAGE).errno === 0,
    donate_hyp: () => rig.call('alloc_mgt_refill', 1, pa, 1).errno === 0,
    return_host: () => rig.call('alloc_mgt_reclaim', 1, 1).value === pa,
    donate_guest: () => give(owner),
    reclaim_guest: () => {
      // The teardown unmaps what the guest has mapped.
      if (pageState(rig, pa) !== 'guestDma') rig.call('start_teardown_vm', owner);
      return rig.call('reclaim_dying_guest_page', owner, 0, 1).errno === 0;
    },
    share_guest: () => {
      const isDone = give(sharers[shares % 2]!);
      if (isDone) shares++;
      return isDone;
    },
    unshare_guest: () => {
      const isDone = rig.call('unshare_guest', sharers[Math.max(0, shares - 1)]!, 0, 1).errno === 0;
      if (isDone) shares--;
      return isDone;
    },
  });
}

const POWER_DOMAIN = 5;
const switched: MachineDescription = { ...tiny, smmus: [{ ...tiny.smmus[0]!, powerDomain: POWER_DOMAIN }] };

function makePower(): Subject {
  const rig = makeRig({ machine: switched, full: 'never' });
  rig.refill(1, 20);
  rig.call('alloc_domain', 0, 0, 1, 1);
  rig.call('attach_dev', 0, 1, 0, 0, 0, 0);
  const pa = rig.page();
  rig.call('map_pages', 1, 0x1000, pa, PAGE, 1, RW);
  const smmu = rig.machine.smmus[0]!;
  const power = (on: number): number => rig.call('hvc_pd', POWER_DOMAIN, on).errno;
  const CR0 = 0x20;
  return subject(rig, () => (smmu.get(CR0) === 0 ? 'off' : 'on'), {
    switch_off: () => power(0) === 0,
    switch_on: () => power(1) === 0,
    switch_on_unanswered: () => {
      smmu.setAnswers(false);
      const errno = power(1);
      smmu.setAnswers(true);
      return errno === -Errno.ETIMEDOUT;
    },
    command: () => {
      rig.call('map_pages', 1, 0x5000, pa, PAGE, 1, RW);
      return commandsDuring(rig.machine, () => rig.call('unmap_pages', 1, 0x5000, PAGE, 1)).length > 0;
    },
    translate: () => rig.session.devices[0]!.read(0x1000).ok,
  });
}

const VM_STATES = ['free', 'reserved', 'live', 'dying'];

function makeVmSubject(profile?: (typeof profiles)[number]): Subject {
  const rig = makeRig({ machine: twoSmmus, full: 'never', ...(profile !== undefined && { profile }) });
  const { boundary } = rig.session;
  const kvm = rig.page();
  rig.call('host_share_hyp', kvm / PAGE);
  for (const [i, word] of [VM, 1, 2].entries()) boundary.write32(0, kvm + 4 * i, word);
  let given = 0;
  const loads = (): number => readerOf(rig).vmLoads(0);
  const state = (): string => (loads() > 0 ? 'loaded' : VM_STATES[readerOf(rig).vmState(0)]!);
  return subject(rig, state, {
    reserve: () => rig.call('reserve_vm').value === VM,
    unreserve: () => {
      const before = state();
      rig.call('unreserve_vm', VM);
      return before !== state();
    },
    init: () => rig.call('init_vm', kvm, rig.page()).errno === 0,
    create: () => rig.call('init_vm', kvm, rig.page()).value === VM,
    load: () => {
      const before = loads();
      boundary.call(before, 'vcpu_load', VM, before);
      return loads() === before + 1;
    },
    put: () => {
      const before = loads();
      boundary.call(Math.max(0, before - 1), 'vcpu_put');
      return loads() === before - 1;
    },
    give: () => {
      const isDone = rig.call('map_guest', rig.page() / PAGE, given, 1, 7).errno === 0;
      if (isDone) given++;
      return isDone;
    },
    call: () => boundary.guestCall(0, 'guest_dev_req_dma', 0, 0).status !== GuestStatus.notSupported,
    start_teardown: () => rig.call('start_teardown_vm', VM).errno === 0,
    reclaim: () => rig.call('reclaim_dying_guest_page', VM, 0, 1).errno === 0,
    finalize: () => rig.call('finalize_teardown_vm', VM).errno === 0,
  });
}

export const drivers: Readonly<Record<keyof typeof lifeCycles, Driver>> = {
  domain: {
    make: makeDomain,
    acts: { ATTACH_FIRST: 'attach', DETACH_LAST: 'detach' },
    paths: { DETACH: ['ALLOC', 'ATTACH_FIRST', 'ATTACH', 'DETACH'] },
  },
  stream: {
    make: makeStream,
    acts: { PASID_FIRST: 'pasid', PASID_LAST: 'pasid_gone' },
    paths: { PASID_GONE: ['ATTACH', 'PASID_FIRST', 'PASID', 'PASID_GONE'] },
  },
  pasid: { make: makePasid, acts: {}, paths: {} },
  page: {
    make: makePage,
    acts: {
      MAP_FIRST: 'map',
      UNMAP_LAST: 'unmap',
      GUEST_MAP_FIRST: 'guest_map',
      GUEST_UNMAP_LAST: 'guest_unmap',
      SHARE_GUEST_FIRST: 'share_guest',
      UNSHARE_GUEST_LAST: 'unshare_guest',
    },
    paths: {
      UNMAP: ['MAP_FIRST', 'MAP', 'UNMAP'],
      GUEST_UNMAP: ['DONATE_GUEST', 'GUEST_MAP_FIRST', 'GUEST_MAP', 'GUEST_UNMAP'],
      UNSHARE_GUEST: ['SHARE_GUEST_FIRST', 'SHARE_GUEST', 'UNSHARE_GUEST'],
    },
  },
  power: { make: makePower, acts: {}, paths: {} },
  vm: {
    make: makeVmSubject,
    acts: { LOAD_FIRST: 'load', PUT_LAST: 'put' },
    paths: {
      PUT: ['RESERVE', 'INIT', 'LOAD_FIRST', 'LOAD', 'PUT'],
      RECLAIM: ['RESERVE', 'INIT', 'LOAD_FIRST', 'GIVE', 'PUT_LAST', 'START_TEARDOWN', 'RECLAIM'],
    },
    elsewhere: ['CREATE'],
  },
  device: { make: makeDevice, acts: { CLAIM_AGAIN: 'claim' }, paths: {} },
  pviommu: {
    make: makePvIommu,
    acts: {},
    paths: { RESOLVE: ['ATTACH', 'ADD_VSID', 'FIX', 'RESOLVE'] },
  },
  guestDomain: {
    make: makeGuestDomain,
    acts: { ATTACH_FIRST: 'attach', DETACH_LAST: 'detach' },
    paths: { DETACH: ['ALLOC', 'ATTACH_FIRST', 'ATTACH', 'DETACH'] },
  },
};
