/** Drivers of the life cycles that have to do with guests: devices, paravirtual IOMMUs, domains of guests. */

import { PvIommuRecord } from '#hyp/layout';
import { DomainType } from '#hypercall-abi';
import { offsetOf } from '#lab/oracle/layout-reader';
import { twoSmmus } from '#machine';
import { makeRig, PAGE, type Rig, RW } from '../lab/oracle-rig.ts';
import {
  GUEST_DOMAIN,
  guestOf,
  isDone,
  makeVm,
  NET,
  NET_REGISTERS,
  type Route,
  readerOf,
  type Subject,
  subject,
} from './life-cycle-subject.ts';

export function makeDevice(): Subject {
  const rig = makeRig({ machine: twoSmmus, full: 'never' });
  rig.refill(1, 20);
  const hostDomain = 1;
  rig.call('alloc_domain', 0, 0, hostDomain, DomainType.s1);
  const route: Route = [7, 1, 0, NET];
  const vm = makeVm(rig, true, [route]);
  const [guest, other] = [guestOf(rig, vm), guestOf(rig, makeVm(rig, true, [route]))];
  for (const one of [guest, other]) one('guest_alloc_domain');
  const base = NET_REGISTERS * PAGE;
  let iova = 0;
  const { stage2 } = rig.oracle as unknown as {
    stage2: { walk(root: number, ipa: number): boolean; hi: number; lo: number };
  };
  const state = (): string => {
    if (readerOf(rig).deviceContext(0) !== 0) return 'guestOwned';
    stage2.walk(readerOf(rig).hostRoot(), base);
    if ((stage2.lo & 1) === 0) return stage2.lo === 0 ? 'hostOwned' : 'hypOwned';
    return (stage2.hi & (1 << 23)) === 0 ? 'hostOwned' : 'tainted';
  };
  // Attached and blocked again, so that nothing stays.
  const hostUse = (): boolean =>
    rig.call('attach_dev', 0, hostDomain, NET, 0, 0, 0).errno === 0 &&
    rig.call('detach_dev', 0, hostDomain, NET, 0).errno === 0;
  return subject(rig, state, {
    donate: () => rig.call('host_donate_hyp_mmio', NET_REGISTERS, 1).errno === 0,
    reclaim: () => rig.call('host_reclaim_hyp_mmio', NET_REGISTERS, 1).errno === 0,
    map: () => {
      iova += PAGE;
      return rig.call('map_pages', hostDomain, iova, base, PAGE, 1, RW | 16).value === PAGE;
    },
    access: () => rig.session.boundary.read32(0, base) !== null,
    host_use: hostUse,
    claim: () => isDone(guest('guest_dev_req_dma', 7, 1)),
    claim_others: () => {
      // Only somebody else's device is in question: nobody's is claimed by the first.
      if (state() === 'guestOwned') return isDone(other('guest_dev_req_dma', 7, 1));
      return false;
    },
    claim_attached: () => {
      rig.call('attach_dev', 0, hostDomain, NET, 0, 0, 0);
      const done = state() !== 'guestOwned' && isDone(guest('guest_dev_req_dma', 7, 1));
      rig.call('detach_dev', 0, hostDomain, NET, 0);
      return done;
    },
    guest_use: () =>
      isDone(guest('guest_attach_dev', 7, 1, 0, GUEST_DOMAIN, 0)) &&
      isDone(guest('guest_detach_dev', 7, 1, 0, GUEST_DOMAIN)),
    vm_gone: () => {
      const before = state();
      return rig.call('start_teardown_vm', vm).errno === 0 && state() !== before;
    },
  });
}

export function makePvIommu(): Subject {
  const rig = makeRig({ machine: twoSmmus, full: 'never' });
  const kvm = rig.page();
  const vm = rig.call('reserve_vm').value;
  for (const [i, word] of [vm, 1, 2].entries()) rig.session.boundary.write32(0, kvm + 4 * i, word);
  rig.call('host_share_hyp', kvm / PAGE);
  rig.call('host_donate_hyp_mmio', NET_REGISTERS, 1);
  const guest = guestOf(rig, vm);
  let vsids = 0;
  const state = (): string => {
    const { id, vm: of, kvmLo } = pviommuRecord(rig);
    if (id !== 7 || kvmLo !== kvm) return 'none';
    return of === 0 ? 'open' : 'fixed';
  };
  const add = (vsid: number): boolean => rig.call('pviommu_add_vsid', kvm, 7, 0, NET, vsid).errno === 0;
  return subject(rig, state, {
    // Once the VM is made, one more with its number is another's.
    attach: () => state() !== 'fixed' && rig.call('pviommu_attach', kvm, 7).errno === 0,
    add_vsid: () => {
      const done = add(vsids + 1);
      if (done) vsids++;
      return done;
    },
    add_vsid_again: () => vsids > 0 && add(vsids),
    fix: () => state() !== 'none' && rig.call('init_vm', kvm, rig.page()).errno === 0,
    resolve: () => isDone(guest('guest_dev_req_dma', 7, 1)),
    vm_gone: () => rig.call('start_teardown_vm', vm).errno === 0,
  });
}

function pviommuRecord(rig: Rig): { readonly id: number; readonly vm: number; readonly kvmLo: number } {
  const { layout } = readerOf(rig);
  const { memory } = rig.machine;
  const word = (name: string): number => memory.read32(layout.pviommus + offsetOf(PvIommuRecord, name)) >>> 0;
  return { id: word('id'), vm: word('vm'), kvmLo: word('kvmLo') };
}

export function makeGuestDomain(): Subject {
  const rig = makeRig({ machine: twoSmmus, full: 'never' });
  rig.refill(1, 20);
  const routes: readonly Route[] = [
    [7, 1, 0, NET],
    [7, 2, 0, 0x200],
    [7, 3, 1, 3],
  ];
  const vm = makeVm(rig, true, routes);
  const guest = guestOf(rig, vm);
  const other = guestOf(rig, makeVm(rig, true));
  for (const [pfn, pages] of [
    [NET_REGISTERS, 1],
    [0x0a010, 2],
    [0x0a014, 1],
  ] as const) {
    rig.call('host_donate_hyp_mmio', pfn, pages);
  }
  for (const vsid of [1, 2]) guest('guest_dev_req_dma', 7, vsid);
  rig.call('vcpu_load', vm, 0);
  rig.call('map_guest', rig.page() / PAGE, 0, 1, 7);
  rig.call('vcpu_put');
  let attached = 0;
  let iova = 0;
  const state = (): string => {
    const reader = readerOf(rig);
    if (reader.domainOwner(GUEST_DOMAIN) === 0) return 'free';
    const refs = reader.domainRefs(GUEST_DOMAIN);
    return refs === 0 ? 'fresh' : refs === 1 ? 'idle' : 'attached';
  };
  const map = (): boolean => {
    iova += PAGE;
    return guest('guest_map_pages', GUEST_DOMAIN, iova, 0, PAGE, RW).value === PAGE;
  };
  return subject(rig, state, {
    alloc: () => state() === 'free' && guest('guest_alloc_domain').value === GUEST_DOMAIN,
    free: () => isDone(guest('guest_free_domain', GUEST_DOMAIN)),
    attach: () => {
      const done = isDone(guest('guest_attach_dev', 7, attached + 1, 0, GUEST_DOMAIN, 0));
      if (done) attached++;
      return done;
    },
    // Where the domain has no table yet, the first stream says which IOMMU is its own.
    attach_elsewhere: () => state() !== 'fresh' && isDone(guest('guest_attach_dev', 7, 3, 0, GUEST_DOMAIN, 0)),
    detach: () => {
      const done = isDone(guest('guest_detach_dev', 7, Math.max(1, attached), 0, GUEST_DOMAIN));
      if (done) attached--;
      return done;
    },
    map,
    unmap: () => {
      map();
      return guest('guest_unmap_pages', GUEST_DOMAIN, iova, PAGE).value === PAGE;
    },
    use_others: () =>
      other('guest_map_pages', GUEST_DOMAIN, 0, 0, PAGE, RW).value > 0 ||
      isDone(other('guest_free_domain', GUEST_DOMAIN)),
    vm_gone: () => {
      const before = state();
      return rig.call('start_teardown_vm', vm).errno === 0 && before !== state();
    },
  });
}
