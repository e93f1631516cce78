/**
 * The recipes by which steps are made up: how often each is chosen, what it needs, and which brings that about. One list,
 * in one order, for every machine and profile: inputs of a fuzzer name recipes by their number.
 */

import type { CallName } from '#hypercall-abi';
import type { Step } from '../scenario/index.ts';
import type { DeviceSteps } from './devices.ts';
import type { GuestDeviceSteps } from './guest-devices.ts';
import type { GuestSteps } from './guests.ts';
import type { ListSteps } from './lists.ts';
import type { MappingSteps } from './mappings.ts';
import type { MemorySteps } from './memory.ts';
import type { MixedSteps } from './mixing.ts';
import type { Picks } from './picks.ts';
import type { WrongSteps } from './wrong.ts';

/** A way to make up a step. */
export interface Recipe {
  /** Stable: inputs of a fuzzer name recipes by it. */
  readonly name: string;
  /** How often it is chosen, compared with others; 0 when the machine, the profile or the calls that are allowed leave it out. */
  readonly weight: number;
  /** Null when nothing fits at the moment. */
  readonly make: () => Step | null;
  /** Number of the recipe that is tried when nothing fits: one that brings about what is lacking, where there is one. */
  readonly instead: number;
}

/** A recipe as it is written down: `calls` must be allowed, `lacks` names the recipe that brings about what it needs. */
type RecipeEntry = readonly [
  name: string,
  weight: number,
  calls: readonly CallName[],
  make: Recipe['make'],
  lacks?: string,
];

/** Who makes up steps. */
export interface Makers {
  readonly mappings: MappingSteps;
  readonly devices: DeviceSteps;
  readonly lists: ListSteps;
  readonly memory: MemorySteps;
  readonly guests: GuestSteps;
  readonly guestDevices: GuestDeviceSteps;
  readonly mixed: MixedSteps;
  readonly wrong: WrongSteps;
  /** Steps that say something about those which follow. */
  readonly generator: Readonly<Record<'callOfGuest' | 'hoard' | 'repeat', Recipe['make']>>;
}

/** All recipes; those that the machine leaves out, or that need calls which are not allowed, weigh nothing. */
export function recipesOf(picks: Picks, allowed: ReadonlySet<CallName>, makers: Makers): Recipe[] {
  const all = entries(picks, makers);
  return all.map(([name, weight, calls, make, lacks], number) => {
    const instead = all.findIndex(([other]) => other === lacks);
    return {
      name,
      weight: calls.every((call) => allowed.has(call)) ? weight : 0,
      make,
      instead: instead < 0 ? (number + 1) % all.length : instead,
    };
  });
}

function entries({ machine, world: { profile } }: Picks, makers: Makers): readonly RecipeEntry[] {
  const { mappings, devices, lists, memory, guests, guestDevices, mixed, wrong, generator } = makers;
  const hasAssignable = machine.devices.some(({ assignable }) => assignable !== undefined);
  const promises: readonly CallName[] = ['pviommu_attach', 'pviommu_add_vsid', 'init_vm'];
  return [
    ['alloc-domain', 5, ['alloc_domain'], () => mappings.allocDomain()],
    ['free-domain', 2, ['free_domain'], () => mappings.freeDomain(), 'alloc-domain'],
    ['attach', 6, ['attach_dev'], () => mappings.attach(), 'alloc-domain'],
    [
      'attach-pasid',
      machine.smmus.some(({ ssidBits }) => ssidBits > 0) ? 8 : 0,
      ['attach_dev'],
      () => mappings.attachPasid(),
      'attach',
    ],
    ['detach', 3, ['detach_dev'], () => mappings.detach(), 'attach'],
    ['map', 24, ['map_pages'], () => mappings.map(), 'alloc-domain'],
    ['map-list', 3, ['map_sg', 'host_share_hyp'], () => lists.mapList(), 'alloc-domain'],
    ['unmap', 16, ['unmap_pages'], () => mappings.unmap(), 'map'],
    ['translate', 2, ['iova_to_phys'], () => mappings.translate(), 'alloc-domain'],
    ['set-identity', 4, ['set_identity'], () => devices.setIdentity()],
    ['power', 2, ['hvc_pd'], () => devices.power()],
    [
      'respond',
      machine.smmus.some(({ stallModel }) => stallModel === 'both') ? 3 : 0,
      ['page_response'],
      () => devices.respond(),
    ],
    [
      'nested',
      1,
      ['attach_dev_nested', 'iotlb_inv_nested_domain', 'nested_cfg_sync'],
      () => devices.nested(),
      'alloc-domain',
    ],
    ['dma', 9, [], () => devices.dma(), 'attach'],
    ['identity-dma', 3, ['set_identity'], () => devices.identityDma(), 'set-identity'],
    ['topup', 2, ['alloc_mgt_refill'], () => memory.topup()],
    ['fill-memcache', memory.hasMemcaches ? 6 : 0, [], () => memory.fillMemcache()],
    ['spoil-memcache', memory.hasMemcaches ? 1 : 0, [], () => memory.spoilMemcache()],
    ['donate', 3, ['alloc_mgt_refill'], () => guests.donate()],
    ['reclaim-pool', 1, ['alloc_mgt_reclaim'], () => guests.reclaimPool()],
    ['reclaimable', 1, ['alloc_mgt_reclaimable'], () => guests.reclaimable()],
    ['share', 3, ['host_share_hyp'], () => guests.share()],
    ['unshare', 2, ['host_unshare_hyp'], () => guests.unshare(), 'share'],
    ['advance-vm', 9, [...profile.namesOf('reserve_vm'), 'init_vm', 'vcpu_load'], () => guests.advanceVm()],
    ['map-guest', 8, ['map_guest'], () => guests.mapGuest(), 'advance-vm'],
    ['give-guest', 8, ['donate_guest', 'share_guest'], () => guests.mapGuest(), 'advance-vm'],
    ['take-back', 3, ['unshare_guest', 'reclaim_dying_guest_page'], () => guests.takeBack(), 'map-guest'],
    [
      'tear-down',
      3,
      ['start_teardown_vm', 'finalize_teardown_vm', 'vcpu_put', ...profile.namesOf('unreserve_vm')],
      () => guests.tearDown(),
      'advance-vm',
    ],
    ['access', 3, [], () => guests.access()],
    [
      'give-registers',
      hasAssignable ? 4 : 0,
      ['host_donate_hyp_mmio', 'host_reclaim_hyp_mmio'],
      () => guestDevices.registers(),
    ],
    ['guest-call', hasAssignable ? 16 : 2, promises, generator.callOfGuest, 'advance-vm'],
    ['guest-dma', hasAssignable ? 4 : 1, promises, () => guestDevices.dma(), 'guest-call'],
    [
      'meddle',
      hasAssignable ? 8 : 1,
      ['free_domain', 'unmap_pages', 'map_pages', 'attach_dev', 'detach_dev', 'set_identity'],
      () => guestDevices.meddle(),
      'guest-call',
    ],
    ['guest-hoard', hasAssignable ? 1 : 0, promises, generator.hoard, 'advance-vm'],
    ['silence', 2, [], () => guestDevices.silence()],
    ['mix', 8, [], () => mixed.mix()],
    ['repeat', 3, [], generator.repeat],
    ['garbage', 5, [], () => wrong.garbage()],
  ];
}
