/** What the tests of the oracle stand on: a booted session, and a random but sensible host. */

import { ScatterList } from '#host';
import { createHypervisor } from '#hyp/plain';
import {
  AttachFlag,
  type Boundary,
  type CallName,
  type CallResult,
  type GuestResult,
  type Hypervisor,
  type Profile,
  VM_HANDLE_BASE,
} from '#hypercall-abi';
import type { CheckedHypervisor, Finding } from '#lab/oracle/index';
import { Session, type SessionOptions } from '#lab/session/session';
import { type Machine, type MachineDescription, streamsOf, tiny } from '#machine';

export const PAGE = 4096;
export const RW = 3;

/** Behaviour put between the oracle and the real hypervisor. */
export type Mischief = (inner: Hypervisor, machine: Machine) => Hypervisor;

export interface Rig {
  readonly session: Session;
  readonly machine: Machine;
  readonly oracle: CheckedHypervisor;
  call(name: CallName, ...args: readonly (number | bigint)[]): CallResult;
  /** Pages that the host has free. */
  page(order?: number): number;
  /** Donate `pages` pages to a pool. */
  refill(pool: number, pages: number): void;
}

export function makeRig(
  options: {
    readonly machine?: MachineDescription;
    readonly full?: NonNullable<SessionOptions['full']>;
    readonly mischief?: Mischief;
    /** Mischief behind the hypervisor's back holds no locks: with it locked sections are not looked at, when left out. */
    readonly sections?: boolean;
    readonly profile?: Profile;
  } = {},
): Rig {
  let real: Machine | undefined;
  const session = new Session({
    machine: options.machine ?? tiny,
    full: options.full ?? 'every',
    ...((options.sections ?? options.mischief === undefined) ? {} : { sections: false }),
    ...(options.profile !== undefined && { profile: options.profile }),
    hypervisor: (machine, profile) => {
      real = machine;
      const inner = createHypervisor(machine, profile);
      return options.mischief === undefined ? inner : options.mischief(inner, machine);
    },
  });
  const { boundary, hostMemory, oracle } = session;
  if (oracle === null || real === undefined) throw new Error('the session has no oracle');
  const call = (name: CallName, ...args: readonly (number | bigint)[]): CallResult => boundary.call(0, name, ...args);
  const page = (order = 0): number => {
    const pa = hostMemory.alloc(order);
    if (pa === 0) throw new Error('no page left');
    return pa;
  };
  const refill = (pool: number, pages: number): void => {
    let head = 0;
    for (let i = 0; i < pages; i++) {
      const pa = page();
      boundary.write64(0, pa, Math.floor(head / 2 ** 32), head | 0);
      head = pa;
    }
    const { errno } = call('alloc_mgt_refill', pool, head, pages);
    if (errno !== 0) throw new Error(`refill: ${errno}`);
  };
  return { session, machine: real, oracle, call, page, refill };
}

/** How often a row of the call specification decided. @throws Error when there is no such row */
export function hits(rig: Rig, id: string): number {
  const row = rig.oracle.rows().find((candidate) => candidate.id === id);
  if (row === undefined) throw new Error(`no row ${id}`);
  return row.hits;
}

/** Findings as `property/rule`, each once. */
export function kinds(findings: readonly Finding[]): string[] {
  return [...new Set(findings.map(({ property, rule }) => `${property}/${rule}`))];
}

/** Findings as text, for a message. */
export function tell(findings: readonly Finding[]): string {
  return findings.map(({ property, rule, call, text }) => `${property}/${rule}: ${text} [${call}]`).join('\n');
}

/** Small deterministic random numbers (mulberry32). */
export class Dice {
  private state: number;
  constructor(seed: number) {
    this.state = seed;
  }
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }
  below(n: number): number {
    return this.next() % n;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

const GARBAGE: readonly bigint[] = [
  0n,
  1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 48n,
  2n ** 52n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
];

/** A host that does sensible things most of the time, on few objects, so that they meet. */
export class RandomHost {
  private readonly boundary: Boundary;
  private readonly dice: Dice;
  private readonly smmus: number;
  private readonly sids: readonly number[];
  private readonly streams: readonly { readonly iommu: number; readonly sid: number }[];
  private readonly cpus: number;
  private readonly pages: readonly number[];
  private readonly session: Session;
  private readonly pools: boolean;
  /** Page for lists, shared with the hypervisor. */
  private list = 0;
  calls = 0;

  /** @param pools whether to refill and reclaim pools too */
  constructor(session: Session, seed: number, pages = 40, pools = true) {
    this.session = session;
    this.boundary = session.boundary;
    this.dice = new Dice(seed);
    const { description } = session.machine;
    this.smmus = description.smmus.length;
    this.sids = [
      ...description.devices.flatMap((device) => streamsOf(device).map(({ sid }) => sid)),
      2 ** description.smmus[0]!.sidBits,
    ];
    this.streams = description.devices.flatMap((device) =>
      streamsOf(device).map(({ smmu, sid }) => ({
        iommu: description.smmus.findIndex(({ name }) => name === smmu),
        sid,
      })),
    );
    this.cpus = description.cpus;
    this.pools = pools;
    const first = description.ram[0]!.base + 0x100000;
    // Two blocks' worth of neighbours around a block boundary, so that ranges and blocks happen.
    this.pages = Array.from({ length: pages }, (_, i) => first + i * PAGE);
  }

  private call(cpu: number, name: CallName, ...args: readonly (number | bigint)[]): CallResult {
    this.calls++;
    return this.boundary.call(cpu, name, ...args);
  }

  private iova(): number {
    const { dice } = this;
    const base = dice.pick([0, 0, 0, 0x200000, 0x40000000, 2 ** 39, 2 ** 40 - 0x200000, 2 ** 48 - 0x200000]);
    return base + dice.pick([0, 1, 2, 3, 4, 510, 511]) * PAGE;
  }

  private frame(): number {
    return this.dice.pick(this.pages);
  }

  /** One random call. */
  step(): void {
    const { dice } = this;
    const cpu = dice.below(this.cpus);
    if (dice.chance(3)) {
      this.garbage(cpu);
      return;
    }
    const domain = dice.pick([1, 2, 3, 3, 4, 255]);
    const iommu = dice.below(this.smmus);
    const sid = dice.pick(this.sids);
    const handle = VM_HANDLE_BASE + dice.below(3);
    switch (dice.below(29)) {
      case 27:
        this.guestDevice(cpu);
        break;
      case 28:
        for (let i = 0; i < 6; i++) this.guest(cpu);
        break;
      case 0:
        this.served(cpu, () => this.call(cpu, 'alloc_domain', 0, iommu, domain, dice.pick([0, 0, 1, 1, 2, -1])));
        break;
      case 1:
        if (dice.chance(40)) this.call(cpu, 'free_domain', dice.chance(90) ? domain : dice.pick([0, 256, 511, 512]));
        break;
      case 2:
      case 3:
        this.attach(cpu, iommu, domain, sid);
        break;
      case 4:
        this.call(cpu, 'detach_dev', iommu, domain, sid, this.pasid(iommu));
        if (this.hasPasids(iommu)) this.call(cpu, 'page_response', 0, iommu, sid, 0, dice.below(3), dice.below(4));
        break;
      case 5:
      case 6:
      case 7:
      case 8:
      case 9:
        this.map(cpu, domain);
        break;
      case 10:
      case 11:
      case 12:
        this.unmap(cpu, domain);
        break;
      case 13:
        this.call(cpu, 'iova_to_phys', domain, this.iova() + dice.below(PAGE));
        this.more(cpu, iommu, domain, sid);
        break;
      case 14:
        this.call(cpu, dice.chance(50) ? 'host_share_hyp' : 'host_unshare_hyp', this.frame() / PAGE);
        break;
      case 15:
        this.vm(cpu, handle);
        break;
      case 16:
      case 17:
        this.mapGuest(cpu);
        break;
      case 18:
        this.call(cpu, 'unshare_guest', handle, dice.below(6), 1);
        break;
      case 19:
        this.call(cpu, dice.pick(['vcpu_put', 'reserve_vm']));
        break;
      case 20:
        this.call(cpu, 'vcpu_load', handle, dice.below(3));
        break;
      case 21:
        this.teardown(cpu, handle);
        break;
      case 22:
        this.pool(cpu);
        break;
      case 26:
        this.call(cpu, 'hvc_pd', dice.chance(90) ? 4 : dice.pick([0, 31, 32]), dice.below(2));
        break;
      case 24:
      case 25:
        this.served(cpu, () => this.call(cpu, 'set_identity', 0, iommu, sid, dice.below(2), 0));
        break;
      case 23:
        if (dice.chance(70)) this.boundary.write32(cpu, this.frame(), dice.next() | 0);
        else this.register(cpu);
        break;
    }
  }

  private register(cpu: number): void {
    const { dice } = this;
    const { base } = dice.pick(this.session.machine.description.smmus);
    const at = base + dice.pick([0x20, 0x60, 0x64, 0x98, 0x100a8, 0x100ac]);
    if (dice.chance(50)) this.boundary.read32(cpu, at);
    else this.boundary.write32(cpu, at, dice.next() | 0);
  }

  private attach(cpu: number, iommu: number, domain: number, sid: number): void {
    const { dice } = this;
    const pasid = this.pasid(iommu);
    const bits = this.hasPasids(iommu) ? dice.pick([0, 3, 3, 7, 11]) : 0;
    const flags = this.hasPasids(iommu) && dice.chance(30) ? AttachFlag.stall : 0;
    this.served(cpu, () => this.call(cpu, 'attach_dev', iommu, domain, sid, pasid, bits, flags));
  }

  private hasPasids(iommu: number): boolean {
    return this.session.machine.description.smmus[iommu]!.ssidBits > 0;
  }

  /** PASIDs are rare where the hardware has none. */
  private pasid(iommu: number): number {
    const { dice } = this;
    if (!this.hasPasids(iommu)) return dice.chance(95) ? 0 : 1;
    return dice.chance(50) ? 0 : dice.pick([1, 1, 2, 7, 8, 127]);
  }

  private map(cpu: number, domain: number): void {
    const { dice } = this;
    const block = dice.chance(8);
    const base = this.session.machine.description.ram[0]!.base;
    const pgsize = block ? 0x200000 : dice.chance(97) ? PAGE : dice.pick([0, 8192, 0x201000, 2 ** 30]);
    const pa = block ? base : dice.chance(97) ? this.frame() : this.session.machine.description.smmus[0]!.base;
    const iova = block ? dice.pick([0, 0x200000, 0x40000000]) : this.iova();
    const count = block ? 1 : dice.pick([1, 1, 1, 2, 3, 8, 600]);
    this.served(cpu, () =>
      this.call(cpu, 'map_pages', domain, iova, pa, pgsize, count, dice.chance(95) ? dice.pick([1, 2, 3, 7, 11]) : 0),
    );
  }

  private more(cpu: number, iommu: number, domain: number, sid: number): void {
    const { dice } = this;
    const kind = dice.below(10);
    if (kind < 2) this.call(cpu, 'iotlb_sync_map', domain, this.iova(), dice.pick([0, PAGE, -PAGE]));
    else if (kind < 6) this.mapList(cpu, domain);
    else if (kind < 8) this.nested(cpu, iommu, domain, sid);
  }

  /** A list of up to three ranges, in a page that is shared for it. */
  private mapList(cpu: number, domain: number): void {
    const { dice, boundary } = this;
    if (this.list === 0) {
      this.list = this.session.hostMemory.alloc();
      this.call(cpu, 'host_share_hyp', this.list / PAGE);
    }
    const ranges = Array.from({ length: dice.below(4) }, () => ({
      phys: this.frame() + (dice.chance(95) ? 0 : 0x800),
      pgsize: dice.chance(95) ? PAGE : dice.pick([0, 0x800, 0x200000]),
      pgcount: dice.pick([0, 1, 1, 1, 2, 3, 2 ** 31]),
    }));
    new ScatterList(boundary, this.list, ranges, cpu);
    const at = dice.chance(95) ? this.list : this.frame();
    const prot = dice.chance(95) ? dice.pick([1, 2, 3, 7, 11]) : 64;
    this.served(cpu, () => this.call(cpu, 'map_sg', domain, this.iova(), at, ranges.length, prot));
  }

  /** What this generation's driver refuses. */
  private nested(cpu: number, iommu: number, domain: number, sid: number): void {
    const buffer = this.list === 0 || this.dice.chance(30) ? this.frame() : this.list;
    this.call(cpu, 'attach_dev_nested', iommu, domain, sid, 0, 0, buffer, 64);
    this.call(cpu, 'nested_cfg_sync', 0, iommu, buffer, 64);
    this.call(cpu, 'iotlb_inv_nested_domain', domain, 0, PAGE, PAGE, 1);
  }

  private unmap(cpu: number, domain: number): void {
    const { dice } = this;
    const block = dice.chance(20);
    const pgsize = block ? 0x200000 : PAGE;
    const iova = block ? dice.pick([0, 0x200000, 0x40000000]) : this.iova();
    this.call(cpu, 'unmap_pages', domain, iova, pgsize, dice.pick([1, 1, 1, 2, 3, 8, 512, 513]));
  }

  private vm(cpu: number, handle: number): void {
    const { dice, boundary } = this;
    if (dice.chance(30)) {
      this.call(cpu, 'unreserve_vm', handle);
      return;
    }
    const kvm = this.frame();
    this.call(cpu, 'reserve_vm');
    this.call(cpu, 'host_share_hyp', kvm / PAGE);
    if (
      boundary.write32(cpu, kvm, handle) &&
      boundary.write32(cpu, kvm + 4, dice.below(2)) &&
      boundary.write32(cpu, kvm + 8, dice.below(3))
    ) {
      const at = dice.pick([kvm, kvm, kvm, kvm, kvm + 2, kvm + 4092]);
      this.call(cpu, 'pviommu_attach', dice.chance(95) ? at : 0, 7);
      this.streams.forEach(({ iommu, sid }, vsid) => {
        this.call(cpu, 'pviommu_add_vsid', at, 7, iommu, sid, dice.chance(95) ? vsid : 0);
      });
      this.served(cpu, () => this.call(cpu, 'init_vm', at, this.frame()));
    }
  }

  /** Registers of a device go to the hypervisor or back, and its streams are blocked. */
  private guestDevice(cpu: number): void {
    const { dice } = this;
    const { mmio } = this.session.machine.description;
    if (mmio.length === 0) return;
    const { base, size } = dice.pick(mmio);
    const pages = dice.chance(95) ? size / PAGE : 3;
    const name = dice.chance(80) ? 'host_donate_hyp_mmio' : 'host_reclaim_hyp_mmio';
    this.served(cpu, () => this.call(cpu, name, base / PAGE, pages));
  }

  /** The guest that is loaded does something with its paravirtual IOMMU. */
  private guest(cpu: number): void {
    const { dice } = this;
    const domain = dice.chance(95) ? 256 + dice.below(3) : dice.pick([0, 1, 511, 512]);
    const pviommu = dice.chance(95) ? 7 : 8;
    const vsid = dice.below(this.streams.length + 1);
    const iova = this.iova();
    const ipa = dice.chance(90) ? dice.below(6) * PAGE : dice.pick([1, 2 ** 48 - PAGE, 2 ** 48]);
    const size = dice.pick([0, 1, 1, 2, 3, 3.5]) * PAGE;
    const make = (): GuestResult => {
      const { boundary } = this;
      this.calls++;
      switch (kind) {
        case 0:
          return boundary.guestCall(cpu, 'guest_dev_req_dma', pviommu, vsid);
        case 1:
          return boundary.guestCall(cpu, 'guest_alloc_domain');
        case 2:
        case 3:
          return boundary.guestCall(cpu, 'guest_attach_dev', pviommu, vsid, 0, domain, 0);
        case 4:
          return boundary.guestCall(cpu, 'guest_detach_dev', pviommu, vsid, dice.chance(95) ? 0 : 1, domain);
        case 5:
          return boundary.guestCall(cpu, 'guest_free_domain', domain);
        case 6:
        case 7:
        case 8:
          return boundary.guestCall(cpu, 'guest_map_pages', domain, iova, ipa, size, dice.pick([1, 2, 3, 7, 64]));
        case 9:
          return boundary.guestCall(cpu, 'guest_unmap_pages', domain, iova, size);
        default: {
          const x = boundary.guestRegisters(cpu);
          for (let n = 0; n < x.length; n++) x[n] = dice.chance(70) ? 0 : dice.next() | 0;
          x[0] = dice.pick([0xc600003d, 0xc600003e]) | 0;
          x[1] = 0;
          x[2] = dice.below(8);
          return { status: 0, value: 0, value2: 0, exit: boundary.guestHvc(cpu), again: false };
        }
      }
    };
    const kind = dice.below(11);
    const { exit } = make();
    if (exit?.reason !== 'memory' || dice.chance(30)) return;
    const order = Math.ceil(Math.log2(exit.request.pages));
    const pa = this.session.hostMemory.alloc(order);
    if (pa === 0) return;
    this.refillWith(cpu, exit.request.pool, [pa + order]);
    make();
  }

  private mapGuest(cpu: number): void {
    const { dice } = this;
    const pages = dice.pick([1, 1, 1, 1, 2, 512]);
    const pfn = pages === 512 ? this.session.machine.description.ram[0]!.base / PAGE : this.frame() / PAGE;
    const gfn = pages === 512 ? 512 : dice.below(6);
    this.served(cpu, () => this.call(cpu, 'map_guest', pfn, gfn, pages, dice.chance(95) ? dice.below(8) : 8));
  }

  private teardown(cpu: number, handle: number): void {
    const { dice } = this;
    if (dice.chance(50)) this.call(cpu, 'start_teardown_vm', handle);
    for (let gfn = 0; gfn < 6; gfn++) {
      if (dice.chance(40)) this.call(cpu, 'reclaim_dying_guest_page', handle, gfn, 1);
    }
    if (dice.chance(30)) this.call(cpu, 'reclaim_dying_guest_page', handle, 512, 512);
    if (dice.chance(50)) this.call(cpu, 'finalize_teardown_vm', handle);
  }

  private pool(cpu: number): void {
    const { dice } = this;
    const pool = dice.pick([0, 1, 1, 1]);
    if (!this.pools) return;
    switch (dice.below(4)) {
      case 0:
      case 1:
        this.refillWith(
          cpu,
          pool,
          [this.frame(), this.frame()].map((pa) => pa + (dice.chance(90) ? 0 : 1)),
        );
        break;
      case 2:
        this.call(cpu, 'alloc_mgt_reclaim', dice.chance(95) ? pool : 2, dice.pick([1, 2, 3, 100, -1]));
        break;
      case 3:
        this.call(cpu, 'alloc_mgt_reclaimable', dice.chance(90) ? pool : 2);
    }
  }

  private refillWith(cpu: number, pool: number, chunks: readonly number[]): CallResult {
    let head = 0;
    for (const chunk of chunks) {
      this.boundary.write64(cpu, chunk - (chunk % PAGE), Math.floor(head / 2 ** 32), head | 0);
      head = chunk;
    }
    return this.call(cpu, 'alloc_mgt_refill', pool, head, chunks.length);
  }

  /** Make the call; sometimes give the memory that it asks for and make it again. */
  private served(cpu: number, call: () => CallResult): void {
    const { request } = call();
    if (request === null || this.dice.chance(30)) return;
    const order = request.pool === 1 ? Math.ceil(Math.log2(request.pages)) : 0;
    const pa = this.session.hostMemory.alloc(order);
    if (pa === 0) return;
    this.refillWith(cpu, request.pool, [pa + order]);
    call();
  }

  private garbage(cpu: number): void {
    const { dice } = this;
    const x = this.boundary.registers(cpu);
    for (let n = 1; n < 8; n++) {
      const value = dice.chance(50)
        ? dice.pick(GARBAGE)
        : BigInt(dice.pick([this.frame(), this.iova(), dice.below(8)]));
      x[2 * n] = Number(BigInt.asIntN(32, value));
      x[2 * n + 1] = Number(BigInt.asIntN(32, value >> 32n));
    }
    x[0] = (0xc6000000 + dice.below(90)) | 0;
    x[1] = dice.chance(98) ? 0 : 1;
    this.calls++;
    this.boundary.hvc(cpu);
  }
}
