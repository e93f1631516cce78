/**
 * The call specification: for every call of the hypercall ABI its ordered rows, written from the documents and not from
 * the code that is judged.
 */

import { type CallName, calls } from '#hypercall-abi';
import { allocDomain, freeDomain } from './domain.ts';
import { mapGuest, reclaimDyingGuestPage, unshareGuest } from './guest.ts';
import { mapPages } from './map.ts';
import { reclaim, reclaimable, refill } from './pool.ts';
import type { CallRules, Row, Shortage } from './row.ts';
import { hostShareHyp, hostUnshareHyp } from './share.ts';
import { attachDev, detachDev } from './stream.ts';
import { iovaToPhys, unmapPages } from './unmap.ts';
import { finalizeTeardownVm, initVm, reserveVm, startTeardownVm, unreserveVm, vcpuLoad, vcpuPut } from './vm.ts';

export { Call } from './call.ts';
export { type CallRules, isShortage, judge, judgeShortage, type Row, type Shortage } from './row.ts';

const rules: Readonly<Record<CallName, CallRules>> = {
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
  unmap_pages: unmapPages,
  iova_to_phys: iovaToPhys,
};

/** Rows of what is no hypercall of the table, by their ids: boot, aborts, unknown function ids. */
export const ENTRY_ROWS = [
  'boot/ok',
  'boot/refused',
  'abort/retry',
  'abort/inject',
  'abort/ENOMEM',
  'unknown/not-supported',
] as const;
export type EntryRow = (typeof ENTRY_ROWS)[number];

/** Ids of all rows by their number. The same call may not have two rows of one id. */
export const rowIds: readonly string[] = numberRows();

function numberRows(): string[] {
  const ids: string[] = [...ENTRY_ROWS];
  const number = (row: Row | Shortage): void => {
    if (row.index >= 0) return;
    if (ids.includes(row.id)) throw new RangeError(`two rows of the call specification are called ${row.id}`);
    row.index = ids.length;
    ids.push(row.id);
  };
  for (const { name } of calls) {
    for (const row of rules[name].rows) {
      number(row);
      for (const shortage of row.shortages) number(shortage);
    }
  }
  return ids;
}

const byPosition: (CallRules | undefined)[] = [];
for (const { name, position } of calls) byPosition[position] = rules[name];

/** The rules of the call at that position of the function-id space. */
export function rulesAt(position: number): CallRules | undefined {
  return byPosition[position];
}
