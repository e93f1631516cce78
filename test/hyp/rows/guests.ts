/** The shortest way to every row of guests' calls, of what configures them, and of devices on their way to a guest. */

import { expect } from 'vitest';
import type { CallName, GuestCallName, GuestResult } from '#hypercall-abi';
import { twoSmmus } from '#machine';
import { PAGE, type Rig } from '../../lab/oracle-rig.ts';
import type { Ways } from './way.ts';

const INVALID = -3;
const RW = 3;
const NET_SID = 0x20;
const NET = 0x0a000;
const GPU = 0x0a010;
const DOORBELLS = 0x0a014;
const CAMERA = 0x0a020;
export const IPA = 0x100000;

/** A guest behind the oracle, with routes to every stream and the page IPA .. IPA + 3. */
export class Guest {
  readonly rig: Rig;
  vm = 0;
  kvm = 0;
  constructor(rig: Rig) {
    this.rig = rig;
  }

  host(name: CallName, ...args: readonly (number | bigint)[]): number {
    return this.rig.call(name, ...args).errno;
  }

  call(name: GuestCallName, ...args: readonly (number | bigint)[]): GuestResult {
    return this.rig.session.boundary.guestCall(0, name, ...args);
  }

  /** Make the VM; its vCPU is loaded. */
  make(): this {
    const { boundary } = this.rig.session;
    this.rig.refill(0, 8);
    this.vm = this.rig.call('reserve_vm').value;
    this.kvm = this.rig.page();
    boundary.write32(0, this.kvm, this.vm);
    boundary.write32(0, this.kvm + 4, 1);
    boundary.write32(0, this.kvm + 8, 1);
    expect(this.host('pviommu_attach', this.kvm, 7)).toBe(0);
    const routes = [
      [0, NET_SID],
      [0, 0x200],
      [1, 3],
      [1, 5],
      [0, 0x10],
      [9, 1],
    ] as const;
    routes.forEach(([iommu, sid], vsid) => {
      expect(this.host('pviommu_add_vsid', this.kvm, 7, iommu, sid, vsid)).toBe(0);
    });
    expect(this.host('host_share_hyp', this.kvm / PAGE)).toBe(0);
    expect(this.host('init_vm', this.kvm, this.rig.page())).toBe(0);
    this.host('vcpu_load', this.vm, 0);
    for (let i = 0; i < 4; i++) expect(this.host('map_guest', this.rig.page() / PAGE, IPA / PAGE + i, 1, 7)).toBe(0);
    return this;
  }

  /** It has the network card, attached to domain 256, and memory for tables. */
  attach(): this {
    this.make();
    this.rig.refill(1, 24);
    this.refillBlock();
    expect(this.host('host_donate_hyp_mmio', NET, 1)).toBe(0);
    expect(this.call('guest_dev_req_dma', 7, 0).status).toBe(0);
    expect(this.call('guest_alloc_domain').value).toBe(256);
    expect(this.call('guest_attach_dev', 7, 0, 0, 256, 0)).toMatchObject({ status: 0, exit: null });
    return this;
  }

  /** A chunk for a level-2 stream table. */
  refillBlock(): void {
    const pa = this.rig.page(2);
    this.rig.session.boundary.write64(0, pa, 0, 0);
    expect(this.host('alloc_mgt_refill', 1, pa + 2, 1)).toBe(0);
  }
}

/** The guest crosses with these registers. */
function raw(guest: Guest, ...registers: readonly number[]): void {
  const { boundary } = guest.rig.session;
  const x = boundary.guestRegisters(0);
  x.fill(0);
  registers.forEach((value, n) => {
    x[2 * n] = value | 0;
  });
  boundary.guestHvc(0);
}

/** How each row is reached, by its id. */
/** From now on no SMMU answers. */
function hang({ rig }: Guest): void {
  for (const smmu of rig.machine.smmus) smmu.setAnswers(false);
}

export const ways: Readonly<Record<string, (guest: Guest) => unknown>> = {
  'host_donate_hyp_mmio/ENODEV': (g) => g.host('host_donate_hyp_mmio', GPU, 1),
  'host_donate_hyp_mmio/EBUSY': (g) => g.attach().host('host_donate_hyp_mmio', NET, 1),
  'host_donate_hyp_mmio/EPERM-given': (g) => {
    g.rig.refill(0, 8);
    g.host('host_donate_hyp_mmio', NET, 1);
    g.host('host_donate_hyp_mmio', NET, 1);
  },
  'host_donate_hyp_mmio/EPERM-mapped': (g) => {
    g.rig.refill(0, 8);
    g.rig.refill(1, 16);
    g.host('alloc_domain', 0, 0, 1, 0);
    // The page stays made ready for DMA when the table refuses it afterwards.
    expect(g.host('map_pages', 1, 0, GPU * PAGE, PAGE, 1, 0)).toBe(-22);
    g.host('host_donate_hyp_mmio', GPU, 2);
    expect(g.host('map_pages', 1, 0, NET * PAGE, PAGE, 1, RW | 16)).toBe(0);
    g.host('host_donate_hyp_mmio', NET, 1);
  },
  'host_donate_hyp_mmio/ETIMEDOUT': (g) => {
    g.rig.refill(1, 16);
    expect(g.host('set_identity', 0, 0, 0x10, 1, 0)).toBe(0);
    g.rig.machine.smmus[0]!.setAnswers(false);
    g.host('host_donate_hyp_mmio', NET, 1);
  },
  'host_donate_hyp_mmio/ok': (g) => g.host('host_donate_hyp_mmio', NET, 1),
  'host_donate_hyp_mmio/ENOMEM-heap': (g) => {
    g.rig.call('alloc_mgt_reclaim', 0, 4095);
    expect(g.rig.call('host_donate_hyp_mmio', NET, 1)).toMatchObject({ errno: -12, request: { pool: 0 } });
  },
  'host_reclaim_hyp_mmio/ENODEV': (g) => g.host('host_reclaim_hyp_mmio', NET, 2),
  'host_reclaim_hyp_mmio/EBUSY': (g) => g.attach().host('host_reclaim_hyp_mmio', NET, 1),
  'host_reclaim_hyp_mmio/EPERM': (g) => g.host('host_reclaim_hyp_mmio', NET, 1),
  'host_reclaim_hyp_mmio/ok': (g) => {
    g.host('host_donate_hyp_mmio', GPU, 2);
    expect(g.host('host_reclaim_hyp_mmio', GPU, 2)).toBe(0);
    expect(g.rig.session.boundary.read32(0, GPU * PAGE)).toBe(0);
  },
  'pviommu_attach/EINVAL': (g) => g.host('pviommu_attach', 0, 1),
  'pviommu_attach/EBUSY': (g) => {
    for (let i = 0; i < 33; i++) g.host('pviommu_attach', 0x1000, i);
  },
  'pviommu_attach/ok': (g) => g.host('pviommu_attach', 2n ** 64n - 1n, -1),
  'pviommu_add_vsid/ENOENT': (g) => g.make().host('pviommu_add_vsid', g.kvm, 7, 0, 1, 99),
  'pviommu_add_vsid/EBUSY': (g) => {
    g.host('pviommu_attach', 0x1000, 1);
    for (let i = 0; i < 17; i++) g.host('pviommu_add_vsid', 0x1000, 1, 0, 1, i);
  },
  'pviommu_add_vsid/EEXIST': (g) => {
    g.host('pviommu_attach', 0x1000, 1);
    for (let i = 0; i < 2; i++) g.host('pviommu_add_vsid', 0x1000, 1, 0, i, 5);
  },
  'pviommu_add_vsid/ok': (g) => {
    g.host('pviommu_attach', 0x1000, 1);
    g.host('pviommu_add_vsid', 0x1000, 1, 0, 1, 5);
  },
  'start_teardown_vm/ETIMEDOUT': (g) => {
    g.attach().host('vcpu_put');
    hang(g);
    g.host('start_teardown_vm', g.vm);
  },
  'reclaim_dying_guest_page/EBUSY': (g) => {
    g.attach().call('guest_map_pages', 256, 0, IPA, PAGE, RW);
    hang(g);
    // What was unmapped may still be cached: the page is not let go of any more.
    g.call('guest_unmap_pages', 256, 0, PAGE);
    for (const smmu of g.rig.machine.smmus) smmu.setAnswers(true);
    g.host('vcpu_put');
    expect(g.host('start_teardown_vm', g.vm)).toBe(0);
    g.host('reclaim_dying_guest_page', g.vm, IPA / PAGE, 1);
  },
  'free_domain/EINVAL-owner': (g) => g.attach().host('free_domain', 256),
  'guest_dev_req_dma/invalid-registers': (g) => raw(g.make(), 0xc600003d, 7, 0, 1),
  'guest_dev_req_dma/invalid-route': (g) => g.make().call('guest_dev_req_dma', 7, 5),
  'guest_dev_req_dma/invalid-device': (g) => g.make().call('guest_dev_req_dma', 7, 4),
  'guest_dev_req_dma/invalid-others': (g) => {
    g.attach().host('vcpu_put');
    new Guest(g.rig).make().call('guest_dev_req_dma', 7, 0);
  },
  'guest_dev_req_dma/invalid-group': (g) => {
    g.make().host('host_donate_hyp_mmio', GPU, 2);
    g.call('guest_dev_req_dma', 7, 1);
  },
  'guest_dev_req_dma/ok': (g) => {
    g.make().host('host_donate_hyp_mmio', GPU, 2);
    expect(g.host('host_donate_hyp_mmio', DOORBELLS, 1)).toBe(0);
    expect(g.call('guest_dev_req_dma', 7, 2)).toMatchObject({ status: 0, value: 0x09090000, value2: 3 });
  },
  'guest_dev_req_dma/invalid-unanswered': (g) => {
    g.attach().call('guest_detach_dev', 7, 0, 0, 256);
    g.host('vcpu_put');
    g.host('start_teardown_vm', g.vm);
    const next = new Guest(g.rig).make();
    next.host('host_donate_hyp_mmio', NET, 1);
    hang(g);
    next.call('guest_dev_req_dma', 7, 0);
  },
  'guest_attach_dev/invalid-route': (g) => g.make().call('guest_attach_dev', 6, 0, 0, 256, 0),
  'guest_attach_dev/invalid-domain': (g) => g.make().call('guest_attach_dev', 7, 0, 0, 256, 0),
  'guest_attach_dev/invalid-iommu': (g) => {
    g.make().call('guest_alloc_domain');
    g.call('guest_attach_dev', 7, 5, 0, 256, 0);
  },
  'guest_attach_dev/invalid-tag': (g) => {
    g.make().host('host_donate_hyp_mmio', CAMERA, 1);
    expect(g.call('guest_dev_req_dma', 7, 3).status).toBe(0);
    g.call('guest_alloc_domain');
    expect(g.call('guest_attach_dev', 7, 3, 0, 256, 0)).toMatchObject({ status: INVALID, exit: null });
  },
  'guest_attach_dev/invalid-device': (g) => {
    g.make().rig.refill(1, 16);
    g.call('guest_alloc_domain');
    g.call('guest_attach_dev', 7, 0, 0, 256, 0);
    g.call('guest_attach_dev', 7, 4, 0, 256, 0);
  },
  'guest_attach_dev/invalid-other-iommu': (g) => {
    g.attach().host('host_donate_hyp_mmio', CAMERA, 1);
    expect(g.call('guest_dev_req_dma', 7, 3).status).toBe(0);
    g.call('guest_attach_dev', 7, 3, 0, 256, 0);
  },
  'guest_attach_dev/invalid-in-use': (g) => g.attach().call('guest_attach_dev', 7, 0, 0, 256, 0),
  'guest_attach_dev/invalid-pasid': (g) => {
    g.attach().call('guest_detach_dev', 7, 0, 0, 256);
    g.call('guest_attach_dev', 7, 0, 1, 256, 0);
  },
  'guest_attach_dev/invalid-unanswered': (g) => {
    g.attach().call('guest_detach_dev', 7, 0, 0, 256);
    hang(g);
    g.call('guest_attach_dev', 7, 0, 0, 256, 0);
  },
  'guest_attach_dev/ok': (g) => g.attach(),
  'guest_attach_dev/ENOMEM-iommu': (g) => {
    g.make().host('host_donate_hyp_mmio', NET, 1);
    g.call('guest_dev_req_dma', 7, 0);
    g.call('guest_alloc_domain');
    expect(g.call('guest_attach_dev', 7, 0, 0, 256, 0)).toMatchObject({ again: true });
    g.rig.refill(1, 1);
    expect(g.call('guest_attach_dev', 7, 0, 0, 256, 0)).toMatchObject({ exit: { request: { pages: 4 } } });
  },
  'guest_detach_dev/invalid-registers': (g) => raw(g.attach(), 0xc600003e, 1, 7, 0, 0, 256, 1),
  'guest_detach_dev/invalid-route': (g) => g.make().call('guest_detach_dev', 7, 9, 0, 256),
  'guest_detach_dev/invalid-device': (g) => g.make().call('guest_detach_dev', 7, 0, 0, 256),
  'guest_detach_dev/invalid-domain': (g) => g.attach().call('guest_detach_dev', 7, 0, 0, 257),
  'guest_detach_dev/invalid-pasid': (g) => g.attach().call('guest_detach_dev', 7, 0, 1, 256),
  'guest_detach_dev/invalid-unanswered': (g) => {
    hang(g.attach());
    g.call('guest_detach_dev', 7, 0, 0, 256);
  },
  'guest_detach_dev/ok': (g) => g.attach().call('guest_detach_dev', 7, 0, 0, 256),
  'guest_alloc_domain/invalid-registers': (g) => raw(g.make(), 0xc600003e, 2, 1),
  'guest_alloc_domain/invalid-none-left': (g) => {
    g.make();
    for (let i = 0; i < 257; i++) g.call('guest_alloc_domain');
  },
  'guest_alloc_domain/ok': (g) => g.make().call('guest_alloc_domain'),
  'guest_free_domain/invalid-registers': (g) => raw(g.make(), 0xc600003e, 3, 256, 1),
  'guest_free_domain/invalid-domain': (g) => g.make().call('guest_free_domain', 256),
  'guest_free_domain/invalid-attached': (g) => g.attach().call('guest_free_domain', 256),
  'guest_free_domain/invalid-unanswered': (g) => {
    g.attach().call('guest_detach_dev', 7, 0, 0, 256);
    hang(g);
    g.call('guest_free_domain', 256);
  },
  'guest_free_domain/ok': (g) => {
    g.attach().call('guest_map_pages', 256, 0, IPA, 2 * PAGE, RW);
    g.call('guest_detach_dev', 7, 0, 0, 256);
    g.call('guest_free_domain', 256);
    expect(g.call('guest_alloc_domain').value).toBe(256);
    expect(g.call('guest_free_domain', 256).status).toBe(0);
  },
  'guest_map_pages/invalid-alignment': (g) => g.attach().call('guest_map_pages', 256, 1, IPA, PAGE, RW),
  'guest_map_pages/invalid-prot': (g) => g.attach().call('guest_map_pages', 256, 0, IPA, PAGE, 64),
  'guest_map_pages/invalid-part': (g) => {
    g.attach().call('guest_map_pages', 256, 0x2000, IPA, PAGE, RW);
    expect(g.call('guest_map_pages', 256, 0, IPA, 4 * PAGE, RW)).toMatchObject({ status: INVALID, value: 2 * PAGE });
    expect(g.call('guest_map_pages', 1, 0x5000, IPA, PAGE, RW).status).toBe(INVALID);
    expect(g.call('guest_map_pages', 256, 2n ** 64n - 4096n, IPA, PAGE, RW).status).toBe(INVALID);
    expect(g.call('guest_map_pages', 256, 2 ** 48, IPA, PAGE, RW).status).toBe(INVALID);
    expect(g.call('guest_map_pages', 256, 0x5000, 2 ** 48, PAGE, RW).status).toBe(INVALID);
    expect(g.call('guest_map_pages', 256, 0x5000, IPA, PAGE, 4).status).toBe(INVALID);
  },
  'guest_map_pages/page': (g) => g.attach().call('guest_map_pages', 256, 0, IPA, 2n ** 64n - 4096n, RW),
  'guest_map_pages/ok': (g) => g.attach().call('guest_map_pages', 256, 0, IPA, 4 * PAGE, RW),
  'guest_map_pages/ENOMEM-iommu': (g) => {
    g.attach();
    for (let i = 0; g.call('guest_map_pages', 256, i * 2 ** 39, IPA, PAGE, RW).exit === null; i++);
  },
  'guest_unmap_pages/invalid-alignment': (g) => g.attach().call('guest_unmap_pages', 256, 0, 1),
  'guest_unmap_pages/invalid-registers': (g) => raw(g.attach(), 0xc600003e, 5, 256, 0, PAGE, 1),
  'guest_unmap_pages/invalid-part': (g) => {
    g.attach().call('guest_map_pages', 256, 0, IPA, PAGE, RW);
    expect(g.call('guest_unmap_pages', 256, 0, 2 * PAGE)).toMatchObject({ status: INVALID, value: PAGE });
    expect(g.call('guest_unmap_pages', 256, 4096, 2n ** 64n - 4096n).status).toBe(INVALID);
    expect(g.call('guest_unmap_pages', 1, 0, PAGE).status).toBe(INVALID);
  },
  'guest_unmap_pages/ok': (g) => {
    g.attach().call('guest_map_pages', 256, 0, IPA, 2 * PAGE, RW);
    g.call('guest_unmap_pages', 256, 0, 2 * PAGE);
  },
};

/** Every row of guests' calls and of what configures them, of android17. */
export const guestWays: Ways = Object.fromEntries(
  Object.entries(ways).map(([id, way]) => [id, { machine: twoSmmus, run: (rig: Rig) => way(new Guest(rig)) }]),
);
