/**
 * What the drivers of life cycles stand on: something real that lives a life cycle, events as calls and accesses, and guests
 * that make calls of their own.
 */

import type { GuestCallName, GuestResult, profiles } from '#hypercall-abi';
import type { LayoutReader } from '#lab/oracle/layout-reader';
import { PAGE, type Rig } from '../lab/oracle-rig.ts';

export interface Subject {
  readonly rig: Rig;
  /** Perform an act. @returns whether it was done */
  act(name: string): boolean;
  state(): string;
}

export interface Driver {
  readonly make: (profile?: (typeof profiles)[number]) => Subject;
  /** The act that an event is; its own name in lower case when left out. */
  readonly acts: Readonly<Record<string, string>>;
  /** Whole paths to events that need more than one of something. */
  readonly paths: Readonly<Record<string, readonly string[]>>;
  /** Events that only other profiles have. */
  readonly elsewhere?: readonly string[];
}

export const VM = 0x1000;
/** StreamID of the device that has PASIDs, device 1. */
export const NET = 0x20;
export const IOVA = 0x1000;
export const readerOf = ({ oracle }: Rig): LayoutReader => (oracle as unknown as { reader: LayoutReader }).reader;

export function subject(rig: Rig, state: () => string, acts: Readonly<Record<string, () => boolean>>): Subject {
  return {
    rig,
    state,
    act: (name) => {
      const act = acts[name];
      if (act === undefined) throw new Error(`nothing drives '${name}'`);
      return act();
    },
  };
}

/** A way to a stream: number of the paravirtual IOMMU, virtual StreamID, SMMU, StreamID. */
export type Route = readonly [pviommu: number, vsid: number, iommu: number, sid: number];

/** A VM that is live. @returns its handle */
export function makeVm(rig: Rig, isProtected: boolean, routes: readonly Route[] = []): number {
  const kvm = rig.page();
  for (const id of new Set(routes.map(([pviommu]) => pviommu))) rig.call('pviommu_attach', kvm, id);
  for (const [id, vsid, iommu, sid] of routes) rig.call('pviommu_add_vsid', kvm, id, iommu, sid, vsid);
  const vm = rig.call('reserve_vm').value;
  for (const [i, word] of [vm, isProtected ? 1 : 0, 2].entries()) rig.session.boundary.write32(0, kvm + 4 * i, word);
  rig.call('host_share_hyp', kvm / PAGE);
  if (rig.call('init_vm', kvm, rig.page()).errno !== 0) throw new Error('no VM was made');
  return vm;
}

export type GuestCall = (name: GuestCallName, ...args: readonly number[]) => GuestResult;

/** What a guest does: its vCPU is loaded for the call, and whatever memory it lacks is there. */
export function guestOf(rig: Rig, vm: number): GuestCall {
  const { boundary } = rig.session;
  return (name, ...args) => {
    rig.call('vcpu_load', vm, 0);
    let result = boundary.guestCall(0, name, ...args);
    while (result.exit?.reason === 'memory') {
      rig.refill(1, result.exit.request.pages);
      result = boundary.guestCall(0, name, ...args);
    }
    rig.call('vcpu_put');
    return result;
  };
}

export const isDone = ({ status, exit }: GuestResult): boolean => status === 0 && exit === null;

/** First id of guests. */
export const GUEST_DOMAIN = 256;
export const NET_REGISTERS = 0x0a000;

/** The guest gets the device {@link NET} and a domain with a page table for it. */
export function takeNet(rig: Rig, guest: GuestCall): void {
  rig.call('host_donate_hyp_mmio', NET_REGISTERS, 1);
  const isReady =
    isDone(guest('guest_dev_req_dma', 7, 1)) &&
    guest('guest_alloc_domain').value === GUEST_DOMAIN &&
    isDone(guest('guest_attach_dev', 7, 1, 0, GUEST_DOMAIN, 0));
  if (!isReady) throw new Error('the guest has no device');
}
