/** Guests with devices behind SMMUs that stop answering, and answer again, at any call: random, with every oracle. */

import { expect, test } from 'vitest';
import type { GuestCallName } from '#hypercall-abi';
import { twoSmmus } from '#machine';
import { Dice, hits, makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';

const PVIOMMU = 7;
const PAGES = 3;
/** Tags wide enough for guests' domains behind both SMMUs, which devices share. */
const machine = { ...twoSmmus, smmus: twoSmmus.smmus.map((smmu) => ({ ...smmu, asid16: true, vmid16: true })) };
const routes = [
  [0, 0x20],
  [0, 0x200],
  [1, 3],
  [1, 5],
] as const;

/** A protected VM after another on CPU 0, with routes to all devices, that does as it likes. */
class Life {
  private readonly rig: Rig;
  private readonly dice: Dice;
  private vm = 0;

  constructor(rig: Rig, dice: Dice) {
    this.rig = rig;
    this.dice = dice;
  }

  begin(): void {
    const { rig } = this;
    for (const { base, size } of machine.mmio) rig.call('host_donate_hyp_mmio', base / PAGE, size / PAGE);
    const kvm = rig.page();
    this.vm = rig.call('reserve_vm').value;
    for (const [i, word] of [this.vm, 1, 1].entries()) rig.session.boundary.write32(0, kvm + 4 * i, word);
    rig.call('host_share_hyp', kvm / PAGE);
    rig.call('pviommu_attach', kvm, PVIOMMU);
    routes.forEach(([iommu, sid], vsid) => {
      rig.call('pviommu_add_vsid', kvm, PVIOMMU, iommu, sid, vsid);
    });
    expect(rig.call('init_vm', kvm, rig.page()).errno).toBe(0);
    rig.call('vcpu_load', this.vm, 0);
    for (let gfn = 0; gfn < PAGES; gfn++) rig.call('map_guest', rig.page() / PAGE, gfn, 1, 7);
  }

  /** Tear down, and begin anew; while an SMMU does not answer that may not come through. */
  end(): void {
    const { rig, vm } = this;
    rig.call('vcpu_put');
    if (rig.call('start_teardown_vm', vm).errno !== 0) {
      rig.call('vcpu_load', vm, 0);
      return;
    }
    // A page that was unmapped without an answer stays for good, and so does the VM.
    for (let gfn = 0; gfn < PAGES; gfn++) rig.call('reclaim_dying_guest_page', vm, gfn, 1);
    rig.call('finalize_teardown_vm', vm);
    this.begin();
  }

  private call(name: GuestCallName, ...args: readonly number[]): void {
    const { exit } = this.rig.session.boundary.guestCall(0, name, ...args);
    if (exit?.reason !== 'memory') return;
    const { pages, pool } = exit.request;
    const order = Math.ceil(Math.log2(pages));
    const pa = this.rig.page(2);
    this.rig.session.boundary.write64(0, pa, 0, 0);
    this.rig.call('alloc_mgt_refill', pool, pa + Math.max(order, 2), 1);
  }

  step(): void {
    const { dice, rig } = this;
    const domain = 256 + dice.below(2);
    const vsid = dice.below(routes.length);
    const iova = dice.below(3) * PAGE;
    switch (dice.below(12)) {
      case 0:
      case 1:
        this.call('guest_dev_req_dma', PVIOMMU, vsid);
        break;
      case 2:
        this.call('guest_alloc_domain');
        break;
      case 3:
        this.call('guest_free_domain', domain);
        break;
      case 4:
      case 5:
        this.call('guest_attach_dev', PVIOMMU, vsid, 0, domain, 0);
        break;
      case 6:
        this.call('guest_detach_dev', PVIOMMU, vsid, 0, domain);
        break;
      case 7:
        this.call('guest_unmap_pages', domain, iova, PAGE);
        break;
      case 8:
        rig.machine.smmus[dice.below(2)]!.setAnswers(dice.chance(65));
        break;
      case 9:
        if (dice.chance(40)) this.end();
        break;
      default:
        this.call('guest_map_pages', domain, iova, dice.below(PAGES) * PAGE, PAGE * (1 + dice.below(2)), RW);
    }
  }
}

test('nothing is wrong, whenever an SMMU stops and goes on', () => {
  const reached = new Map<string, number>();
  const rows = [
    'guest_dev_req_dma/invalid-unanswered',
    'guest_attach_dev/invalid-unanswered',
    'guest_detach_dev/invalid-unanswered',
    'guest_free_domain/invalid-unanswered',
    'start_teardown_vm/ETIMEDOUT',
    'start_teardown_vm/ok',
    'reclaim_dying_guest_page/EBUSY',
    'finalize_teardown_vm/ok',
  ];
  for (let seed = 1; seed <= 8; seed++) {
    const rig = makeRig({ machine, full: 25 });
    rig.refill(0, 12);
    const life = new Life(rig, new Dice(seed));
    life.begin();
    for (let i = 0; i < 250; i++) {
      life.step();
      expect(tell(rig.oracle.findings), `seed ${seed}, step ${i}`).toBe('');
      expect(rig.session.boundary.violations, `seed ${seed}, step ${i}`).toEqual([]);
    }
    rig.oracle.checkAll();
    expect(tell(rig.oracle.findings), `seed ${seed}`).toBe('');
    for (const id of rows) reached.set(id, (reached.get(id) ?? 0) + hits(rig, id));
  }
  for (const id of rows) expect(reached.get(id), id).toBeGreaterThan(0);
});
