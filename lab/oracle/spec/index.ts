/**
 * The call specification: for every call of the hypercall ABI its ordered rows, written from the documents and not from
 * the code that is judged.
 */

import { type CallName, type GuestCallName, type Profile, type ProfileName, profiles } from '#hypercall-abi';
import { allocDomain, freeDomain } from './domain.ts';
import {
  donateGuest,
  mapGuest,
  reclaimDyingGuestPage,
  reclaimNamedGuestPage,
  shareGuest,
  unshareGuest,
} from './guest.ts';
import { guestRules } from './guest-calls.ts';
import { mapPages, mapPagesAndroid16, mapPagesRfcV2 } from './map.ts';
import { iotlbSyncMap, mapSg } from './map-sg.ts';
import { attachDevNested, iotlbInvNestedDomain, nestedCfgSync } from './nested.ts';
import { reclaim, reclaimAny, reclaimable, reclaimableAny, refill, refillSilently } from './pool.ts';
import { hvcPd } from './power.ts';
import { donateMmio, pviommuAddVsid, pviommuAttach, reclaimMmio } from './pviommu.ts';
import {
  allocDomainRfcV1,
  attachDevRfcV1,
  detachDevRfcV1,
  freeDomainRfcV1,
  iovaToPhysV1,
  mapPagesV1,
  unmapPagesV1,
} from './rfc-v1.ts';
import type { CallRules, Row, Shortage } from './row.ts';
import { hostShareHyp, hostUnshareHyp } from './share.ts';
import { attachDev, detachDev, pageResponse, setIdentity } from './stream.ts';
import {
  allocDomainAndroid16,
  allocDomainRfcV2,
  attachDevAndroid16,
  attachDevRfcV2,
  detachAndroid16,
  detachRfcV2,
  freeUnboundAndroid16,
  freeUnboundRfcV2,
} from './unbound.ts';
import {
  iovaToPhys,
  iovaToPhysAndroid16,
  iovaToPhysUnbound,
  unmapPages,
  unmapPagesAndroid16,
  unmapPagesUnbound,
} from './unmap.ts';
import {
  createVm,
  finalizeTeardownVm,
  initVm,
  reserveVm,
  startTeardownVm,
  startTeardownVmWithoutDevices,
  unreserveVm,
  vcpuLoad,
  vcpuPut,
} from './vm.ts';

export { Call } from './call.ts';
export { MADE_AGAIN } from './guest-calls.ts';
export { type CallRules, isShortage, judge, judgeShortage, type Row, type Shortage } from './row.ts';

/** The rules of every call that a profile has. */
type RulesByCall = Readonly<Partial<Record<CallName, CallRules>>>;

const android17: RulesByCall = {
  host_share_hyp: hostShareHyp,
  host_unshare_hyp: hostUnshareHyp,
  map_guest: mapGuest,
  unshare_guest: unshareGuest,
  reserve_vm: reserveVm,
  unreserve_vm: unreserveVm,
  init_vm: initVm,
  reclaim_dying_guest_page: reclaimDyingGuestPage,
  start_teardown_vm: startTeardownVm,
  finalize_teardown_vm: finalizeTeardownVm,
  vcpu_load: vcpuLoad,
  vcpu_put: vcpuPut,
  alloc_mgt_refill: refill,
  alloc_mgt_reclaimable: reclaimable,
  alloc_mgt_reclaim: reclaim,
  alloc_domain: allocDomain,
  free_domain: freeDomain,
  attach_dev: attachDev,
  detach_dev: detachDev,
  map_pages: mapPages,
  map_sg: mapSg,
  iotlb_sync_map: iotlbSyncMap,
  unmap_pages: unmapPages,
  iova_to_phys: iovaToPhys,
  set_identity: setIdentity,
  hvc_pd: hvcPd,
  attach_dev_nested: attachDevNested,
  iotlb_inv_nested_domain: iotlbInvNestedDomain,
  nested_cfg_sync: nestedCfgSync,
  host_donate_hyp_mmio: donateMmio,
  host_reclaim_hyp_mmio: reclaimMmio,
  pviommu_attach: pviommuAttach,
  pviommu_add_vsid: pviommuAddVsid,
  page_response: pageResponse,
};

/** Rows of what is no hypercall of the table, by their ids: boot, aborts, unknown function ids. */
export const ENTRY_ROWS = [
  'boot/ok',
  'boot/refused',
  'abort/retry',
  'abort/inject',
  'abort/ENOMEM',
  'abort/forwarded',
  'unknown/not-supported',
  'unknown/guest-not-supported',
] as const;
export type EntryRow = (typeof ENTRY_ROWS)[number];

const rfcV2: RulesByCall = {
  host_share_hyp: hostShareHyp,
  host_unshare_hyp: hostUnshareHyp,
  alloc_mgt_refill: refillSilently,
  alloc_mgt_reclaimable: reclaimableAny,
  alloc_mgt_reclaim: reclaimAny,
  alloc_domain: allocDomainRfcV2,
  free_domain: freeUnboundRfcV2,
  attach_dev: attachDevRfcV2,
  detach_dev: detachRfcV2,
  map_pages: mapPagesRfcV2,
  unmap_pages: unmapPagesUnbound,
  iova_to_phys: iovaToPhysUnbound,
};

const android16: RulesByCall = {
  ...rfcV2,
  donate_guest: donateGuest,
  share_guest: shareGuest,
  unshare_guest: unshareGuest,
  init_vm: createVm,
  reclaim_dying_guest_page: reclaimNamedGuestPage,
  start_teardown_vm: startTeardownVmWithoutDevices,
  finalize_teardown_vm: finalizeTeardownVm,
  vcpu_load: vcpuLoad,
  vcpu_put: vcpuPut,
  alloc_domain: allocDomainAndroid16,
  free_domain: freeUnboundAndroid16,
  attach_dev: attachDevAndroid16,
  detach_dev: detachAndroid16,
  map_pages: mapPagesAndroid16,
  map_sg: mapSg,
  unmap_pages: unmapPagesAndroid16,
  iova_to_phys: iovaToPhysAndroid16,
};

const rfcV1: RulesByCall = {
  host_share_hyp: hostShareHyp,
  host_unshare_hyp: hostUnshareHyp,
  alloc_domain: allocDomainRfcV1,
  free_domain: freeDomainRfcV1,
  attach_dev: attachDevRfcV1,
  detach_dev: detachDevRfcV1,
  map_pages: mapPagesV1,
  unmap_pages: unmapPagesV1,
  iova_to_phys: iovaToPhysV1,
};

const rulesOf: Readonly<Record<ProfileName, RulesByCall>> = {
  android17,
  android16,
  'rfc-v2': rfcV2,
  'rfc-v1': rfcV1,
};

/** The call specification of one profile. */
export class Specification {
  /** Its rows: a row has one number in all profiles that share it, so numbers may have holes. */
  readonly rows: readonly { readonly id: string; readonly index: number }[];
  /** Whether guests have calls of their own. */
  readonly hasGuests: boolean;
  readonly #byPosition: readonly (CallRules | undefined)[];

  /** @throws RangeError when a call has no rules, or two of its rows have one id */
  constructor(profile: Profile) {
    const rows: { readonly id: string; readonly index: number }[] = ENTRY_ROWS.map((id, index) => ({ id, index }));
    const seen = new Set<Row | Shortage>();
    const byPosition: (CallRules | undefined)[] = [];
    const all: CallRules[] = [];
    for (const { name, position } of profile.calls) {
      const rules = rulesOf[profile.name][name];
      if (rules === undefined) throw new RangeError(`the specification of ${profile.name} has no rules for ${name}`);
      byPosition[position] = rules;
      all.push(rules);
    }
    this.hasGuests = profile.has('pviommu_attach');
    if (this.hasGuests) all.push(...Object.values(guestRules));
    for (const rules of all) {
      for (const row of rules.rows.flatMap((one) => [one, ...one.shortages])) {
        if (seen.has(row)) continue;
        if (rows.some(({ id }) => id === row.id)) throw new RangeError(`two rows of one profile are called ${row.id}`);
        if (row.index < 0) row.index = numbered++;
        seen.add(row);
        rows.push({ id: row.id, index: row.index });
      }
    }
    this.rows = rows;
    this.#byPosition = byPosition;
  }

  /** The rules of the call at that position of the function-id space. */
  rulesAt(position: number): CallRules | undefined {
    return this.#byPosition[position];
  }
}

/** The rules of a guest's call. */
export function guestRulesOf(name: GuestCallName): CallRules {
  return guestRules[name];
}

/** Rows numbered so far, in all profiles. */
let numbered: number = ENTRY_ROWS.length;

const specifications = new Map(profiles.map((profile) => [profile.name, new Specification(profile)]));

/** The call specification of that profile. */
export function specificationOf(profile: Profile): Specification {
  return specifications.get(profile.name)!;
}

/** How many rows there are in all profiles: their numbers are below this. */
export function rowCount(): number {
  return numbered;
}
