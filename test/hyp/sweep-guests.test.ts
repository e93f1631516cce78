/**
 * The sweep for calls of guests: for every n, the n-th allocation of a call fails. The call ends in the host with what it
 * lacks, the guest makes it again or goes on behind what is done, and in the end it has done the same and nothing is lost.
 */

import { expect, test } from 'vitest';
import type { GuestCallName, GuestResult, MemoryRequest } from '#hypercall-abi';
import { type MachineDescription, twoSmmus } from '#machine';
import { PAGE, RW, tell } from '../lab/oracle-rig.ts';
import { describeVm, endVm, HEAP, IOMMU, SweepRig } from './sweep-rig.ts';

/** First id of guests, the number of their paravirtual IOMMU, and pages that they have, from guest page 0x100 on. */
const DOMAIN = 256;
const PVIOMMU = 7;
const GFN = 0x100;
const PAGES = 3;
const BLOCK = 0x200000;
const REQUESTS_MAX = 20;

/** The second SMMU with tags wide enough for the domains of guests. */
const wideTags: MachineDescription = {
  ...twoSmmus,
  smmus: [twoSmmus.smmus[0]!, { ...twoSmmus.smmus[1]!, asid16: true, vmid16: true }],
};

/** A device with its register ranges (first page, pages), and the virtual StreamID of its first stream. */
interface Assigned {
  readonly iommu: number;
  readonly sid: number;
  readonly registers: readonly (readonly [pfn: number, pages: number])[];
}
const net: Assigned = { iommu: 0, sid: 0x20, registers: [[0x0a000, 1]] };
const camera: Assigned = { iommu: 1, sid: 5, registers: [[0x0a020, 1]] };

interface GuestWork {
  readonly name: GuestCallName;
  readonly args: readonly number[];
}

interface Situation {
  readonly name: string;
  readonly device: Assigned;
  /** What the guest does before, with memory enough. */
  readonly before: readonly GuestWork[];
  readonly work: GuestWork;
  readonly allocations: number;
}

const attach: GuestWork = { name: 'guest_attach_dev', args: [PVIOMMU, 1, 0, DOMAIN, 0] };
const detach: GuestWork = { name: 'guest_detach_dev', args: [PVIOMMU, 1, 0, DOMAIN] };
const map = (iova: number, pages: number): GuestWork => ({
  name: 'guest_map_pages',
  args: [DOMAIN, iova, GFN * PAGE, pages * PAGE, RW],
});

const situations: readonly Situation[] = [
  { name: 'the first attach, no level-2 stream table', device: net, before: [], work: attach, allocations: 3 },
  { name: 'the first attach, linear stream table', device: camera, before: [], work: attach, allocations: 2 },
  { name: 'an attach again', device: net, before: [attach, detach], work: attach, allocations: 1 },
  { name: 'a map, no tables', device: net, before: [attach], work: map(0, 1), allocations: 3 },
  { name: 'a map, tables are there', device: net, before: [attach, map(0, 1)], work: map(PAGE, 2), allocations: 0 },
  {
    name: 'a map across two last-level tables',
    device: net,
    before: [attach],
    work: map(BLOCK - PAGE, PAGES),
    allocations: 4,
  },
];

class GuestSweep {
  readonly sweep = new SweepRig(wideTags);
  private readonly handle: number;
  private readonly pages: [number, number, number][] = [];

  constructor({ device: { iommu, sid, registers } }: Situation) {
    const { sweep } = this;
    sweep.rig.refill(HEAP, 8);
    sweep.rig.refill(IOMMU, 1);
    for (const [pfn, pages] of registers) sweep.must('host_donate_hyp_mmio', pfn, pages);
    const { handle, kvm, pgd } = describeVm(sweep, true);
    sweep.must('pviommu_attach', kvm, PVIOMMU);
    sweep.must('pviommu_add_vsid', kvm, PVIOMMU, iommu, sid, 1);
    sweep.must('init_vm', kvm, pgd);
    sweep.call('vcpu_load', handle, 0);
    for (let i = 0; i < PAGES; i++) {
      const pa = sweep.rig.page();
      sweep.mustDo(sweep.gift(true, pa, GFN + i, 1));
      this.pages.push([pa, GFN + i, 1]);
    }
    this.handle = handle;
    for (const name of ['guest_dev_req_dma', 'guest_alloc_domain'] as const) {
      const args = name === 'guest_dev_req_dma' ? [PVIOMMU, 1] : [];
      expect(this.call({ name, args }).status).toBe(0);
    }
  }

  private call({ name, args }: GuestWork): GuestResult {
    return this.sweep.rig.session.boundary.guestCall(0, name, ...args);
  }

  /** Do the work: whenever it lacks memory it gets exactly that, and goes on. @returns the requests, and all bytes */
  finish(work: GuestWork): { readonly requests: MemoryRequest[]; readonly bytes: number } {
    const requests: MemoryRequest[] = [];
    let bytes = 0;
    let args = work.args;
    for (;;) {
      const { status, exit, value, again } = this.call({ ...work, args });
      this.sweep.rig.oracle.checkAll();
      if (!again) bytes += value;
      if (exit === null) {
        expect(status).toBe(0);
        return { requests, bytes };
      }
      if (exit.reason !== 'memory') throw new Error(`${work.name} lacks a page at ${exit.ipa}`);
      requests.push(exit.request);
      if (requests.length > REQUESTS_MAX) throw new Error(`${work.name} asks for memory without end`);
      this.sweep.give(exit.request);
      if (work.name === 'guest_map_pages' && !again) {
        const [domain, iova, ipa, size, prot] = args as [number, number, number, number, number];
        args = [domain, iova + value, ipa + value, size - value, prot];
      }
    }
  }

  /** The VM goes. @returns pages in use afterwards */
  end(): readonly [number, number] {
    endVm(this.sweep, this.handle, this.pages);
    this.sweep.rig.oracle.checkAll();
    return [this.sweep.used(HEAP), this.sweep.used(IOMMU)];
  }
}

function runWith(situation: Situation, chunks: readonly MemoryRequest[]) {
  const guest = new GuestSweep(situation);
  for (const work of situation.before) guest.finish(work);
  guest.sweep.drain();
  for (const chunk of chunks) guest.sweep.give(chunk);
  const done = guest.finish(situation.work);
  const left = guest.end();
  return { ...done, left, findings: tell(guest.sweep.rig.oracle.findings) };
}

test.each(situations)('$name', (situation) => {
  const first = runWith(situation, []);
  expect(first.findings).toBe('');
  expect(first.requests).toHaveLength(situation.allocations);
  for (let n = 1; n <= first.requests.length + 1; n++) {
    const run = runWith(situation, first.requests.slice(0, n - 1));
    expect(run, `n = ${n}`).toEqual({ ...first, requests: first.requests.slice(n - 1) });
  }
});
