/** The life-cycle tracker about VMs, their guests' calls, devices and power: what it must report, and what it must not. */

import { expect, test } from 'vitest';
import {
  encodeGuestCall,
  type GuestCallName,
  guestCallNamed,
  LifeCycleTracker,
  makeRegisters,
  type Platform,
  setNumber,
} from '#hypercall-abi';
import { outcome } from './outcome.ts';
import {
  attach,
  detach,
  EINVAL,
  finalize,
  give,
  initVm,
  live,
  load,
  map,
  ok,
  PA,
  PAGE,
  PFN,
  PGD,
  put,
  reclaimGuest,
  reserve,
  type Step,
  share,
  teardown,
  VM,
} from './steps.ts';

const BASE = 0x09050000;
const REGISTERS = 0x0a000000;
const SID = 0x20;
const KVM = 0x40007000;

/** An SMMU in power domain 4, another that is in none, and two devices in one group, one without registers. */
const platform: Platform = {
  iommus: [
    { base: BASE, powerDomain: 4 },
    { base: 0x09090000, powerDomain: null },
  ],
  devices: [
    { group: 1, streams: [{ iommu: 0, sid: SID }], registers: [{ base: REGISTERS, size: 2 * PAGE }] },
    { group: 1, streams: [{ iommu: 1, sid: 6 }], registers: [] },
  ],
};

interface GuestStep {
  readonly guest: GuestCallName;
  readonly args: readonly number[];
  /** x0, x1 and x2 on return. */
  readonly result: readonly [x0: number, x1: number, x2: number];
  readonly cpu: number;
}
type AnyStep = Step | GuestStep | { readonly access: number };

const guest = (name: GuestCallName, args: readonly number[], x1 = 0, x2 = 0, x0 = 0, cpu = 0): GuestStep => ({
  guest: name,
  args,
  result: [x0, x1, x2],
  cpu,
});
const claim = (sid = SID, vsid = 1): AnyStep => guest('guest_dev_req_dma', [7, vsid], BASE, sid);
const takeDomain = (id = 256, cpu = 0): AnyStep => guest('guest_alloc_domain', [], id, 0, 0, cpu);
const attachOwn = (id = 256, vsid = 1, cpu = 0): AnyStep =>
  guest('guest_attach_dev', [7, vsid, 0, id, 0], 0, 0, 0, cpu);
const detachOwn = (id = 256, vsid = 1): AnyStep => guest('guest_detach_dev', [7, vsid, 0, id]);
const mapOwn = (iova = PAGE, ipa = PAGE, id = 256): AnyStep => guest('guest_map_pages', [id, iova, ipa, PAGE, 3], PAGE);
const unmapOwn = (iova = PAGE, id = 256): AnyStep => guest('guest_unmap_pages', [id, iova, PAGE], PAGE);
const freeOwn = (id = 256): AnyStep => guest('guest_free_domain', [id]);
const promise = (kvm = KVM): Step => ['pviommu_attach', [kvm, 7]];
const route = (vsid = 1, iommu = 0, sid = SID, kvm = KVM): Step => ['pviommu_add_vsid', [kvm, 7, iommu, sid, vsid]];
const donate: Step = ['host_donate_hyp_mmio', [REGISTERS / PAGE, 2]];
const takeBack: Step = ['host_reclaim_hyp_mmio', [REGISTERS / PAGE, 2]];
const power = (on: number, result: { readonly x1?: number } = ok): Step => ['hvc_pd', [4, on], result];
const alloc = (id: number): Step => ['alloc_domain', [0, 0, id, 0]];

/** A guest with the device, a page of its own at PAGE, and its vCPU loaded. */
const loaded: readonly AnyStep[] = [
  promise(),
  route(),
  route(2, 1, 6),
  reserve(),
  ['init_vm', [KVM, PGD]],
  donate,
  load(VM),
  give(PFN, 1),
];
const owning: readonly AnyStep[] = [...loaded, claim(), takeDomain(), attachOwn()];
/** A second guest, on CPU 1. */
const second: readonly AnyStep[] = [reserve(VM + 1), initVm(PGD + PAGE), load(VM + 1, 1)];

function play(steps: readonly AnyStep[]): LifeCycleTracker {
  const tracker = new LifeCycleTracker(undefined, platform);
  for (const step of steps) {
    if ('access' in step) tracker.accessed(step.access);
    else if ('guest' in step) playGuest(tracker, step);
    else outcome(tracker, step[0], step[1], step[2], step[3]);
  }
  return tracker;
}

function playGuest(tracker: LifeCycleTracker, step: GuestStep): void {
  const spec = guestCallNamed(step.guest);
  const [before, after] = [makeRegisters(), makeRegisters()];
  encodeGuestCall(before, spec, step.args);
  step.result.forEach((value, n) => {
    setNumber(after, n, value);
  });
  tracker.guestCrossed(spec, step.cpu, before, after);
}

/** The last of the steps must not have succeeded; the ones before must be fine. */
test.each<[what: string, steps: readonly AnyStep[], violation: string]>([
  ['a handle is reserved twice', [reserve(), reserve()], 'vm 0x1000 is reserved, not to RESERVE'],
  ['a VM is made without a handle', [initVm(PA)], 'vm any handle is free, not to INIT'],
  ['pages are given to no VM', [...live(), give()], 'vm that is loaded on CPU 0 is live, not to GIVE'],
  [
    'pages are given after the put',
    [...live(), load(VM), put(), give()],
    'vm that is loaded on CPU 0 is live, not to GIVE',
  ],
  ['a loaded VM is torn down', [...live(), load(VM), give(), teardown()], 'vm 0x1000 is loaded, not to START_TEARDOWN'],
  ['a VM is torn down twice', [...live(), teardown(), teardown()], 'vm 0x1000 is dying, not to START_TEARDOWN'],
  ['a live VM is finished', [...live(), finalize(VM)], 'vm 0x1000 is live, not to FINALIZE'],
  ['a live VM’s page is reclaimed', [...live(), reclaimGuest(VM)], 'vm 0x1000 is live, not to RECLAIM'],
  ['a handle that is none is finished', [finalize(7)], 'vm 0x7 is free, not to FINALIZE'],
  ['a guest calls that is not loaded', [...live(), takeDomain()], 'vm that is loaded on CPU 0 is live, not to CALL'],
  ['a route is added for nobody', [route()], 'pviommu 7 of 0x40007000 is none, not to ADD_VSID'],
  [
    'a virtual StreamID gets two streams',
    [promise(), route(), route()],
    'pviommu 7 of 0x40007000 is open, not to ADD_VSID_AGAIN',
  ],
  [
    'a route is added to a VM that is made',
    [promise(), reserve(), ['init_vm', [KVM, PGD]], route()],
    'pviommu 7 of 0x40007000 is none, not to ADD_VSID',
  ],
  [
    'a guest finds a stream that it was not promised',
    [...loaded, claim(SID, 9)],
    'pviommu 7, StreamID 9 is none, not to RESOLVE',
  ],
  ['registers are donated twice', [donate, donate], 'device 0xa000000 is hypOwned, not to DONATE'],
  ['registers are taken back that were not given', [takeBack], 'device 0xa000000 is hostOwned, not to RECLAIM'],
  [
    'a guest’s registers are taken back',
    [...loaded, claim(), takeBack],
    'device 0xa000000 is guestOwned, not to RECLAIM',
  ],
  [
    'the host reaches registers that it gave',
    [donate, { access: REGISTERS + PAGE }],
    'device 0xa000000 is hypOwned, not to ACCESS',
  ],
  [
    'registers that were mapped are donated',
    [alloc(1), map(1, 0, REGISTERS), donate],
    'device 0xa000000 is tainted, not to DONATE',
  ],
  [
    'registers that were given are mapped',
    [alloc(1), donate, map(1, 0, REGISTERS + PAGE)],
    'device 0xa000000 is hypOwned, not to MAP',
  ],
  [
    'the host attaches a guest’s device',
    [...loaded, alloc(1), claim(), attach(1, SID)],
    'device 0xa000000 is guestOwned, not to HOST_USE',
  ],
  [
    'the host uses a device of the group without registers',
    [...loaded, alloc(1), claim(), ['set_identity', [0, 1, 6, 1, 0]]],
    'device of stream 1:6 is guestOwned, not to HOST_USE',
  ],
  [
    'a device is claimed with its registers at the host',
    [...loaded, takeBack, claim()],
    'device 0xa000000 is hostOwned, not to CLAIM or CLAIM_AGAIN',
  ],
  [
    'a device is claimed that the host has attached',
    [...loaded, alloc(1), attach(1, SID), claim()],
    'device 0xa000000 is hypOwned, not to CLAIM_ATTACHED',
  ],
  [
    'a device is claimed by a second guest',
    [
      promise(KVM + 8),
      route(1, 0, SID, KVM + 8),
      ...owning,
      reserve(VM + 1),
      ['init_vm', [KVM + 8, PGD + PAGE]],
      load(VM + 1, 1),
      guest('guest_dev_req_dma', [7, 1], BASE, SID, 0, 1),
    ],
    'device 0xa000000 is guestOwned, not to CLAIM_OTHERS',
  ],
  [
    'a guest attaches a device that it has not asked for',
    [...loaded, takeDomain(), attachOwn()],
    'device 0xa000000 is hypOwned, not to GUEST_USE',
  ],
  ['a guest’s stream is attached twice', [...owning, attachOwn()], 'stream 0:32 is attached, not to ATTACH'],
  ['a guest gets an id of the host', [...loaded, takeDomain(1)], 'guestDomain 1 is reserved, not to ALLOC'],
  ['a guest gets an id twice', [...loaded, takeDomain(), takeDomain()], 'guestDomain 256 is fresh, not to ALLOC'],
  ['a guest uses an id that nobody has', [...loaded, freeOwn()], 'guestDomain 256 is free, not to FREE'],
  ['a guest’s domain is freed with a stream', [...owning, freeOwn()], 'guestDomain 256 is attached, not to FREE'],
  ['a guest maps without a table', [...loaded, takeDomain(), mapOwn()], 'guestDomain 256 is fresh, not to MAP'],
  [
    'a guest’s domain gets a stream of another SMMU',
    [...owning, attachOwn(256, 2)],
    'guestDomain 256 is attached, not to ATTACH_ELSEWHERE',
  ],
  [
    'a guest uses another’s domain',
    [...owning, ...second, guest('guest_free_domain', [256], 0, 0, 0, 1)],
    'guestDomain 256 is attached, not to USE_OTHERS',
  ],
  ['the host uses a guest’s domain', [...owning, map(256, 0, PA + PAGE)], 'domain 256 is reserved, not to MAP'],
  [
    'a page that a guest’s device may reach is reclaimed',
    [...owning, mapOwn(), put(), ['start_teardown_vm', [VM], { x1: -110 }], reclaimGuest(VM)],
    'vm 0x1000 is live or loaded, not to RECLAIM',
  ],
  [
    'a guest’s page is mapped by the host',
    [...owning, mapOwn(), alloc(1), map(1, 0, PA)],
    'page 0x40000000 is guestDma, not to MAP_FIRST',
  ],
  [
    'a command is given to an SMMU that is off',
    [alloc(1), power(0), ['attach_dev', [0, 1, 3, 0, 0, 0], { x1: -110 }]],
    'power 0 is off, not to COMMAND',
  ],
])('it is a violation when %s', (_, steps, violation) => {
  expect(play(steps.slice(0, -1)).violations).toEqual([]);
  const [first] = play(steps).violations;
  expect(first && `${first.machine} ${first.subject} is ${first.state}, not to ${first.event}`).toBe(violation);
  expect(first?.rule).toMatch(/^[A-Z].*\.$/);
});

test.each<[what: string, steps: readonly AnyStep[]]>([
  ['a VM’s life, twice', [...live(), load(VM), give(), put(), teardown(), reclaimGuest(VM), finalize(VM), ...live()]],
  ['a handle given back', [reserve(), ['unreserve_vm', [VM]], reserve()]],
  ['a load that failed', [...live(2), load(VM), load(VM + 1), give()]],
  [
    'two handles, of which one becomes a VM',
    [reserve(), reserve(VM + 1), initVm(PA), load(VM), give(PFN + 1), teardown(VM + 1)],
  ],
  [
    'a guest’s whole life',
    [...owning, mapOwn(), mapOwn(2 * PAGE), unmapOwn(), detachOwn(), freeOwn(), put(), teardown(), reclaimGuest(VM)],
  ],
  [
    'a teardown that unmaps',
    [...owning, mapOwn(), put(), teardown(), reclaimGuest(VM), donate, alloc(1), attach(1, SID), map(1, 0, PA)],
  ],
  [
    'a teardown without an answer, and again',
    [
      ...owning,
      mapOwn(),
      put(),
      ['start_teardown_vm', [VM], { x1: -110 }],
      alloc(1),
      attach(1, SID),
      detach(1, SID),
      teardown(),
      reclaimGuest(VM),
    ],
  ],
  ['a token asked for twice', [...owning, claim()]],
  ['an id that goes to the next guest', [...owning, put(), teardown(), ...second, takeDomain(256, 1)]],
  [
    'a table that stays because hardware did not answer the attach',
    [...loaded, claim(), takeDomain(), guest('guest_attach_dev', [7, 1, 0, 256, 0], 0, 0, -3), mapOwn()],
  ],
  [
    'a guest that is not known',
    [
      ...live(2),
      promise(),
      route(),
      reserve(VM + 2),
      ['init_vm', [KVM, PGD + PAGE * 2]],
      donate,
      load(VM),
      load(VM + 2),
      claim(),
      takeDomain(),
      attachOwn(),
      detachOwn(),
      freeOwn(),
    ],
  ],
  ['registers there and back', [{ access: REGISTERS }, donate, takeBack, { access: REGISTERS }, donate]],
  [
    'a call of a guest that failed',
    [...loaded, guest('guest_alloc_domain', [], 0, 0, -3), guest('guest_map_pages', [256, 0, 0, PAGE, 3], 0, 0, -3)],
  ],
  [
    'power off and on',
    [
      power(0),
      power(0),
      power(1),
      power(1, { x1: -110 }),
      power(1),
      alloc(1),
      ['attach_dev', [0, 1, 3, 0, 0, 0], { x1: -110 }],
    ],
  ],
  ['an SMMU that did not go off', [alloc(1), power(0, { x1: -110 }), ['attach_dev', [0, 1, 3, 0, 0, 0], { x1: -110 }]]],
  [
    'power domains that there are not',
    [
      ['hvc_pd', [9, 0], EINVAL],
      ['hvc_pd', [9, 0]],
    ],
  ],
  ['a share of a page beside', [...loaded, share(PFN + 9)]],
])('nothing is wrong with %s', (_, steps) => {
  expect(play(steps).violations).toEqual([]);
});

test('what registers tell of a VM and of a guest’s page', () => {
  expect(play(live()).vmStates(VM)).toBe('live');
  expect(play([...live(), load(VM)]).vmStates(VM)).toBe('live or loaded');
  expect(play([...live(), load(VM), give()]).vmStates(VM)).toBe('loaded');
  expect(play([reserve(), reserve(VM + 1), initVm(PA)]).vmStates(VM)).toBe('reserved or live');
  expect(play([...owning, mapOwn()]).pageStates(PA)).toBe('guestDma');
  expect(play([...owning, mapOwn(), unmapOwn()]).pageStates(PA)).toBe('guestOwned');
  expect(play([...owning, mapOwn(), put(), teardown()]).pageStates(PA)).toBe('guestOwned');
});
