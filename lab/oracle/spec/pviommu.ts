/**
 * What a VM is promised before it is made, and the registers of devices on their way to it: pviommu_attach,
 * pviommu_add_vsid, host_donate_hyp_mmio, host_reclaim_hyp_mmio (docs/abi-sources.md, section 7). A VM that is not made yet
 * is named by the address of its description.
 */

import { PVIOMMU_COUNT, PVIOMMU_ROUTES_MAX } from '#hyp/layout';
import { VM_HANDLE_BASE } from '#hypercall-abi';
import { PAGE } from '../facts.ts';
import { DeviceUse } from '../ghost-pages.ts';
import type { Call } from './call.ts';
import { accept, type CallRules, lack, refuse } from './row.ts';
import { entryIsUnanswered } from './stream.ts';

/** Words of a record: see Ghost.pviommu. */
const W = { kvmLo: 0, kvmHi: 1, id: 2, vm: 3, count: 4, routes: 5 } as const;

function find(c: Call, wanted: (record: Int32Array) => boolean): number {
  for (let n = 0; n < PVIOMMU_COUNT; n++) if (wanted(c.ghost.pviommu(n))) return n;
  return -1;
}

const isFree = (record: Int32Array): boolean => record[W.kvmLo] === 0 && record[W.kvmHi] === 0;
/** Whether it may still change, and is for the VM with the description at x1. */
const isOpen = (c: Call, record: Int32Array): boolean =>
  !isFree(record) && record[W.vm] === 0 && record[W.kvmLo] === c.lo(1) && record[W.kvmHi] === c.hi(1);

const attach = 'pviommu_attach';

export const pviommuAttach: CallRules = {
  prepare: (c) => {
    c.slot = find(c, isFree);
  },
  rows: [
    refuse(attach, 'EINVAL', (c) => c.lo(1) === 0 && c.hi(1) === 0),
    refuse(attach, 'EBUSY', (c) => c.slot < 0),
    accept(attach, 'ok', {
      apply: (c) => {
        if (c.slot < 0) return;
        c.ghost.setPviommuWord(c.slot, W.kvmLo, c.lo(1));
        c.ghost.setPviommuWord(c.slot, W.kvmHi, c.hi(1));
        c.ghost.setPviommuWord(c.slot, W.id, c.i32(2));
        c.monitor.touched.guestTables = true;
      },
    }),
  ],
};

const add = 'pviommu_add_vsid';

/** First word of the route of that virtual StreamID, or -1. */
function routeAt(record: Int32Array, vsid: number): number {
  for (let at = W.routes; at < W.routes + 3 * record[W.count]!; at += 3) if (record[at + 2] === vsid) return at;
  return -1;
}

export const pviommuAddVsid: CallRules = {
  prepare: (c) => {
    c.slot = find(c, (record) => isOpen(c, record) && record[W.id] === c.i32(2));
  },
  rows: [
    refuse(add, 'ENOENT', (c) => c.slot < 0),
    refuse(add, 'EBUSY', (c) => c.ghost.pviommu(c.slot)[W.count] === PVIOMMU_ROUTES_MAX),
    refuse(add, 'EEXIST', (c) => routeAt(c.ghost.pviommu(c.slot), c.i32(5)) >= 0),
    accept(add, 'ok', {
      apply: (c) => {
        if (c.slot < 0) return;
        const count = c.ghost.pviommu(c.slot)[W.count]!;
        const at = W.routes + 3 * count;
        c.ghost.setPviommuWord(c.slot, at, c.i32(3));
        c.ghost.setPviommuWord(c.slot, at + 1, c.i32(4));
        c.ghost.setPviommuWord(c.slot, at + 2, c.i32(5));
        c.ghost.setPviommuWord(c.slot, W.count, count + 1);
        c.monitor.touched.guestTables = true;
      },
    }),
  ],
};

/** The VM in c.slot has been made from the description at x1. */
export function fixPviommus(c: Call): void {
  for (let n = 0; n < PVIOMMU_COUNT; n++) {
    if (!isOpen(c, c.ghost.pviommu(n))) continue;
    c.ghost.setPviommuWord(n, W.vm, VM_HANDLE_BASE + c.slot);
    c.monitor.touched.guestTables = true;
  }
}

/** SMMU and StreamID that a virtual StreamID of a VM stands for, or null. */
export function routeOf(c: Call, vm: number, id: number, vsid: number): { smmu: number; sid: number } | null {
  const n = find(c, (record) => record[W.vm] === vm && record[W.id] === id);
  const record = n < 0 ? null : c.ghost.pviommu(n);
  const at = record === null ? -1 : routeAt(record, vsid);
  return at < 0 ? null : { smmu: record![at]! >>> 0, sid: record![at + 1]! >>> 0 };
}

/** Domains of guests that are a VM's. */
function* domainsOf(c: Call, vm: number): Generator<number> {
  const { hostCount, count } = c.facts.profile.domains;
  for (let id = hostCount; id < count; id++) if (c.ghost.domainOwner(id) === vm) yield id;
}

/** Whether an SMMU leaves unanswered what it must be told before the VM has nothing left. */
export function isStuck(c: Call, vm: number): boolean {
  if (!c.facts.profile.has('pviommu_attach')) return false;
  const { ghost, facts } = c;
  const holdsDevice = facts.registry.some(
    ({ streams }, device) =>
      ghost.deviceContext(device) === vm && streams.some((stream) => entryIsUnanswered(c, stream)),
  );
  return holdsDevice || [...domainsOf(c, vm)].some((id) => ghost.domainUsed(id) && c.domainIsUnanswered(id));
}

/**
 * The VM goes: its devices are the host's, its domains and paravirtual IOMMUs nobody's. Where an SMMU does not answer, what
 * comes behind it stays the VM's.
 */
export function takeBack(c: Call, vm: number): void {
  const { ghost, facts, monitor } = c;
  if (!facts.profile.has('pviommu_attach')) return;
  monitor.touched.guestTables = true;
  for (let device = 0; device < facts.registry.length; device++) {
    if (ghost.deviceContext(device) === vm && !takeDeviceBack(c, device)) return;
  }
  for (const id of domainsOf(c, vm)) {
    monitor.touched.domains.add(id);
    if (ghost.domainUsed(id)) {
      ghost.findReferences(id);
      if (c.domainIsUnanswered(id)) return;
      ghost.freeDomain(id, c.touch);
    }
    ghost.setDomainOwner(id, 0);
  }
  for (let n = 0; n < PVIOMMU_COUNT; n++) if (ghost.pviommu(n)[W.vm] === vm) ghost.clearPviommu(n);
}

/** @returns whether all of its streams could be blocked */
function takeDeviceBack(c: Call, device: number): boolean {
  const { ghost, facts, monitor } = c;
  for (const stream of facts.registry[device]!.streams) {
    if (entryIsUnanswered(c, stream)) return false;
    const id = ghost.streamDomain(stream.smmu, stream.sid);
    ghost.detach(stream.smmu, stream.sid, 0);
    // The domain counts the stream until it is freed itself.
    if (id >= 0) ghost.loseReference(id, stream.smmu);
    monitor.touched.addStream(stream.smmu, stream.sid);
  }
  ghost.setDeviceContext(device, 0);
  monitor.touched.devices.add(device);
  facts.resources.forEach((resource, i) => {
    if (resource.device === device) give(c, i, false);
  });
  return true;
}

// ---- registers

/** Number of the register range that x1 (page) and x2 (pages) name exactly, or -1. */
function namedResource(c: Call): number {
  return c.facts.resources.findIndex(({ base, size }) => c.number(1) * PAGE === base && c.number(2) * PAGE === size);
}

function give(c: Call, resource: number, given: boolean): void {
  c.ghost.setGiven(resource, given);
  c.monitor.touched.resources.add(resource);
}

const context = (c: Call): number => c.ghost.deviceContext(c.facts.resources[c.slot]!.device);

/** Whether a page of the range was mapped for DMA once. */
function isTainted(c: Call): boolean {
  const { base, size } = c.facts.resources[c.slot]!;
  for (let pa = base; pa < base + size; pa += PAGE) if (c.ghost.pages.deviceUse(pa) === DeviceUse.mapped) return true;
  return false;
}

const donate = 'host_donate_hyp_mmio';

const donateShortages = [lack(donate, 'heap')];

export const donateMmio: CallRules = {
  prepare: (c) => {
    c.slot = namedResource(c);
  },
  rows: [
    refuse(donate, 'ENODEV', (c) => c.slot < 0),
    refuse(donate, 'EBUSY', (c) => context(c) !== 0),
    refuse(donate, 'EPERM', (c) => c.ghost.isGiven(c.slot), 'given'),
    refuse(donate, 'EPERM', isTainted, 'mapped'),
    { ...refuse(donate, 'ETIMEDOUT', (c) => c.identityIsUnanswered()), shortages: donateShortages },
    accept(donate, 'ok', {
      apply: (c) => {
        if (c.slot >= 0) give(c, c.slot, true);
      },
      shortages: donateShortages,
    }),
  ],
};

const reclaim = 'host_reclaim_hyp_mmio';

export const reclaimMmio: CallRules = {
  prepare: (c) => {
    c.slot = namedResource(c);
  },
  rows: [
    refuse(reclaim, 'ENODEV', (c) => c.slot < 0),
    refuse(reclaim, 'EBUSY', (c) => context(c) !== 0),
    refuse(reclaim, 'EPERM', (c) => !c.ghost.isGiven(c.slot)),
    accept(reclaim, 'ok', {
      apply: (c) => {
        if (c.slot >= 0) give(c, c.slot, false);
      },
    }),
  ],
};
