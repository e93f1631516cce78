/** A guest with devices: what the tests of paravirtual IOMMUs and device assignment stand on. */

import { expect } from 'vitest';
import type { CallName, GuestCallName, GuestResult } from '#hypercall-abi';
import { twoSmmus } from '#machine';
import { booted, type Harness } from './harness.ts';

export const NET_SID = 0x20;
export const NET_PFN = 0x0a000;
export const SMMU0 = 0x09050000;

/** A protected VM whose vCPU is loaded on CPU 0, with guest pages 0x100 .. 0x103. */
export interface Guest {
  readonly h: Harness;
  readonly vm: number;
  readonly pages: readonly number[];
  host(name: CallName, ...args: readonly (number | bigint)[]): number;
  call(name: GuestCallName, ...args: readonly (number | bigint)[]): GuestResult;
}

/** Routes as [pvIOMMU, virtual StreamID, SMMU, StreamID]. */
export type Route = readonly [pviommu: number, vsid: number, iommu: number, sid: number];

export const NET_ROUTE: Route = [7, 1, 0, NET_SID];
export const GPU_ROUTES: readonly Route[] = [
  [7, 2, 0, 0x200],
  [7, 3, 0, 0x201],
  [7, 4, 1, 3],
];

/** @param gives register ranges as [first page, pages] that the host gives up */
export function guestOn(
  h: Harness = booted(twoSmmus),
  routes: readonly Route[] = [NET_ROUTE, ...GPU_ROUTES],
  gives: readonly (readonly [number, number])[] = [[NET_PFN, 1]],
  isProtected = true,
): Guest {
  const host = (name: CallName, ...args: readonly (number | bigint)[]): number =>
    h.boundary.call(0, name, ...args).errno;
  const vm = h.boundary.call(0, 'reserve_vm').value;
  const kvm = h.memory.alloc();
  h.boundary.write32(0, kvm, vm);
  h.boundary.write32(0, kvm + 4, isProtected ? 1 : 0);
  h.boundary.write32(0, kvm + 8, 2);
  for (const id of new Set(routes.map(([pviommu]) => pviommu))) expect(host('pviommu_attach', kvm, id)).toBe(0);
  for (const [id, vsid, iommu, sid] of routes) expect(host('pviommu_add_vsid', kvm, id, iommu, sid, vsid)).toBe(0);
  for (const [pfn, pages] of gives) expect(host('host_donate_hyp_mmio', pfn, pages)).toBe(0);
  expect(host('host_share_hyp', kvm / 4096)).toBe(0);
  expect(host('init_vm', kvm, h.memory.alloc())).toBe(0);
  h.boundary.call(0, 'vcpu_load', vm, 0);
  const pages = [0, 1, 2, 3].map((i) => {
    const pa = h.memory.alloc();
    expect(host('map_guest', pa / 4096, 0x100 + i, 1, 7)).toBe(0);
    return pa;
  });
  return { h, vm, pages, host, call: (name, ...args) => h.boundary.guestCall(0, name, ...args) };
}

/** Serve what a guest's call wants until it comes through. */
export function served(guest: Guest, name: GuestCallName, ...args: readonly (number | bigint)[]): GuestResult {
  for (let i = 0; i < 8; i++) {
    const result = guest.call(name, ...args);
    if (result.exit?.reason !== 'memory') return result;
    expect(guest.h.driver.serve(result.exit.request)).toBe(0);
  }
  throw new Error(`${name} does not come through`);
}

/** A guest that has the network card, attached to a domain of its own. */
export function attached(h?: Harness): { readonly guest: Guest; readonly domain: number } {
  const guest = guestOn(h);
  expect(guest.call('guest_dev_req_dma', 7, 1).status).toBe(0);
  const domain = guest.call('guest_alloc_domain').value;
  expect(served(guest, 'guest_attach_dev', 7, 1, 0, domain, 0)).toMatchObject({ status: 0, exit: null });
  return { guest, domain };
}
