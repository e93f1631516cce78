/** Random steps about who holds a page: shared with the hypervisor, donated to a pool, given to a guest, taken back. */

import type { CallName } from '#hypercall-abi';
import type { PageRef, Step, Value } from '../scenario/index.ts';
import { callStep } from './call-step.ts';
import type { GuestDeviceSteps } from './guest-devices.ts';
import type { PageHolder, Vm, VmStage } from './known.ts';
import { type Picks, SINGLES } from './picks.ts';
import type { World } from './world.ts';

const VMS_MAX = 4;
/** CR0, GBPA, GERROR, GERRORN, CMDQ_PROD, EVENTQ_PROD, EVENTQ_CONS: those that hosts have to do with. */
const REGISTERS = [0x20, 0x44, 0x60, 0x64, 0x98, 0x100a8, 0x100ac];
/** Where the others are that have a meaning: ID, control, interrupt, table and queue registers. */
const REGISTERS_END = 0xe0;
/** Widths of an access other than a word's. */
const WIDTHS = [1, 2, 8] as const;
const NARROW = [1, 2] as const;
const RUN = 16;
const GUEST_PROT = 7;
const POOLS = [0, 1];
const ALL = 4095;

export class GuestSteps {
  private readonly picks: Picks;
  private readonly world: World;
  private readonly devices: GuestDeviceSteps;

  constructor(picks: Picks, devices: GuestDeviceSteps) {
    this.picks = picks;
    this.world = picks.world;
    this.devices = devices;
  }

  share(): Step {
    return callStep(this.world.profile, this.picks.cpu(), 'host_share_hyp', { pfn: this.page() });
  }

  unshare(): Step | null {
    const page = this.heldPage('shared');
    return page && callStep(this.world.profile, this.picks.cpu(), 'host_unshare_hyp', { pfn: page });
  }

  /** Donate one page, mapped for DMA or not, as a list of one. */
  donate(): Step {
    const { prng } = this.picks;
    const pool = prng.pick(POOLS);
    const page = this.page();
    const order = prng.chance(10) ? prng.between(1, 3) : 0;
    return callStep(this.world.profile, this.picks.cpu(), 'alloc_mgt_refill', {
      pool,
      head: order > 0 ? { ...page, byte: order } : page,
      count: 1,
    });
  }

  reclaimPool(): Step {
    const { prng } = this.picks;
    // All of it now and then: what a hypervisor does without memory is worth seeing.
    const target = prng.chance(80) ? prng.between(0, 4) : ALL;
    return callStep(this.world.profile, this.picks.cpu(), 'alloc_mgt_reclaim', { pool: prng.pick(POOLS), target });
  }

  reclaimable(): Step {
    return callStep(this.world.profile, this.picks.cpu(), 'alloc_mgt_reclaimable', {
      pool: this.picks.prng.pick(POOLS),
    });
  }

  /** The next thing that a VM needs: a handle, a description that the hypervisor may read, a table, a CPU. */
  advanceVm(): Step | null {
    const { prng } = this.picks;
    const { vms } = this.world;
    const open = vms.filter(({ stage, loadedOn }) => stage !== 'gone' && stage !== 'dying' && loadedOn < 0);
    if (open.length === 0 || (vms.length < VMS_MAX && prng.chance(10))) return this.reserve();
    // One VM that runs is worth more than several that are on their way.
    const vm = prng.chance(70) ? open.reduce(further) : prng.pick(open);
    const name = { name: vm.name };
    switch (vm.stage) {
      case 'reserved':
        return callStep(this.world.profile, this.picks.cpu(), 'host_share_hyp', { pfn: { page: vm.page } });
      case 'shared':
        vm.stage = 'described';
        return {
          kind: 'describe',
          cpu: this.picks.cpu(),
          at: { page: vm.page },
          vm: this.world.profile.has('reserve_vm') ? name : 0,
          isProtected: vm.isProtected ? 1 : 0,
          vcpus: prng.chance(90) ? 1 : prng.pick([0, 2, -1 >>> 0]),
        };
      case 'described':
        return (
          this.promises(vm) ?? {
            ...callStep(this.world.profile, this.picks.cpu(), 'init_vm', {
              kvm: { page: vm.page },
              pgd: { page: `${vm.name}t` },
            }),
            ...(!this.world.profile.has('reserve_vm') && { bind: vm.name }),
          }
        );
      default:
        return callStep(this.world.profile, this.cpuForGuest(), 'vcpu_load', { vm: name, vcpu: 0 });
    }
  }

  /** A CPU on which no vCPU is loaded, most of the time. */
  private cpuForGuest(): number {
    const cpu = this.picks.cpu();
    const { vms } = this.world;
    const isFree = (one: number): boolean => vms.every(({ loadedOn }) => loadedOn !== one);
    if (isFree(cpu) || this.picks.prng.chance(15)) return cpu;
    const other = Array.from({ length: this.picks.machine.cpus }, (_, one) => one).find(isFree);
    return other ?? cpu;
  }

  private promises(vm: Vm): Step | null {
    return this.world.profile.has('pviommu_attach') ? this.devices.promise(vm) : null;
  }

  private reserve(): Step | null {
    const { vms } = this.world;
    if (vms.length >= VMS_MAX) return null;
    const name = `vm${vms.length + 1}`;
    const isProtected = this.picks.prng.chance(65);
    vms.push({
      name,
      stage: 'reserved',
      isProtected,
      page: `${name}k`,
      loadedOn: -1,
      guestPages: [],
      pviommu: -1,
      routes: [],
      claimed: [],
      domains: [],
    });
    // Without handles to reserve, a VM begins with its description.
    if (!this.world.profile.has('reserve_vm')) {
      return callStep(this.world.profile, this.picks.cpu(), 'host_share_hyp', { pfn: { page: `${name}k` } });
    }
    return { ...callStep(this.world.profile, this.picks.cpu(), 'reserve_vm', {}), bind: name };
  }

  mapGuest(): Step | null {
    const { prng } = this.picks;
    const loaded = this.world.vms.filter(({ loadedOn }) => loadedOn >= 0);
    if (loaded.length === 0) return prng.chance(3) ? this.mapGuestOn(0, this.page(), this.giving(null)) : null;
    const vm = prng.pick(loaded);
    if (prng.chance(4)) {
      const args = { pfn: { page: 'huge', run: 512 }, gfn: 512 * prng.below(3), pages: 512, prot: GUEST_PROT };
      return callStep(this.world.profile, vm.loadedOn, this.giving(vm), args);
    }
    return this.mapGuestOn(vm.loadedOn, this.page(), this.giving(vm));
  }

  /** Give the guest on that CPU the page that it misses. */
  mapGuestAt(cpu: number, gfn: number): Step {
    return callStep(this.world.profile, cpu, 'map_guest', { pfn: this.page(), gfn, pages: 1, prot: GUEST_PROT });
  }

  /** The call that gives pages to that VM, now and then the other one. */
  private giving(vm: Vm | null): CallName {
    if (this.world.profile.has('map_guest')) return 'map_guest';
    const isProtected = vm?.isProtected ?? this.picks.prng.chance(50);
    return isProtected === this.picks.prng.chance(95) ? 'donate_guest' : 'share_guest';
  }

  private mapGuestOn(cpu: number, pfn: Value, call: CallName): Step {
    const { prng } = this.picks;
    const gfn = prng.chance(80) ? prng.below(24) : 512 * prng.between(1, 3) - prng.below(2);
    const prot = prng.chance(80) ? GUEST_PROT : prng.below(9);
    return callStep(this.world.profile, cpu, call, { pfn, gfn, pages: 1, prot });
  }

  takeBack(): Step | null {
    const { prng } = this.picks;
    const vms = this.world.vms.filter(({ guestPages }) => guestPages.length > 0);
    if (vms.length === 0) return null;
    const dying = vms.filter(({ stage }) => stage === 'dying');
    return this.takeBackFrom(prng.pick(dying.length > 0 && prng.chance(60) ? dying : vms));
  }

  private takeBackFrom(vm: Vm): Step | null {
    const { prng } = this.picks;
    const isDying = vm.stage === 'dying';
    const call = vm.isProtected === prng.chance(isDying ? 70 : 90) ? 'reclaim_dying_guest_page' : 'unshare_guest';
    if (call === 'reclaim_dying_guest_page' && !isDying && prng.chance(80)) return null;
    const { gfn, page } = prng.pick(vm.guestPages);
    return callStep(this.world.profile, this.picks.cpu(), call, { vm: { name: vm.name }, pfn: page, gfn, pages: 1 });
  }

  tearDown(): Step | null {
    const { prng } = this.picks;
    const vms = this.world.vms.filter(({ stage }) => stage === 'live' || stage === 'dying' || prng.chance(5));
    if (vms.length === 0) return null;
    const dying = vms.filter(({ stage }) => stage === 'dying');
    const vm = prng.pick(dying.length > 0 && prng.chance(50) ? dying : vms);
    // As long as the guest has pages the VM cannot go.
    if (vm.stage === 'dying' && vm.guestPages.length > 0 && prng.chance(70)) return this.takeBackFrom(vm);
    if (vm.loadedOn >= 0 && prng.chance(70)) return callStep(this.world.profile, vm.loadedOn, 'vcpu_put', {});
    const end = endOf(vm);
    return this.world.profile.has(end)
      ? callStep(this.world.profile, this.picks.cpu(), end, { vm: { name: vm.name } })
      : null;
  }

  /** The host ends a VM, most of the time one whose guest has something: the vCPU goes, then the VM; none when there is no VM. */
  end(): Step[] {
    const { prng, world } = this.picks;
    const live = world.vms.filter(({ stage }) => stage === 'live');
    const rich = live.filter(({ claimed, guestPages }) => claimed.length + guestPages.length > 0);
    const vms = rich.length > 0 && prng.chance(85) ? rich : live;
    if (vms.length === 0) return [];
    const vm = prng.pick(vms);
    const end = callStep(world.profile, this.picks.cpu(), 'start_teardown_vm', { vm: { name: vm.name } });
    return vm.loadedOn < 0 ? [end] : [callStep(world.profile, vm.loadedOn, 'vcpu_put', {}), end];
  }

  /** The host itself reads or writes a page, whosever it is. */
  access(): Step {
    const { prng } = this.picks;
    const cpu = this.picks.cpu();
    const at: number | PageRef = prng.chance(25)
      ? prng.pick(this.picks.machine.smmus).base + this.register()
      : { ...this.page(), ...(prng.chance(50) && { byte: 4 * prng.between(1, 4) }) };
    const isAlignedTo8 = (typeof at === 'number' ? at : (at.byte ?? 0)) % 8 === 0;
    const width = prng.chance(90) ? {} : { width: prng.pick(isAlignedTo8 ? WIDTHS : NARROW) };
    return prng.chance(50)
      ? { kind: 'read', cpu, at, ...width }
      : { kind: 'write', cpu, at, value: prng.next(), ...width };
  }

  /** Offset of a register of an SMMU. */
  private register(): number {
    return this.picks.prng.chance(60) ? this.picks.prng.pick(REGISTERS) : 4 * this.picks.prng.below(REGISTERS_END / 4);
  }

  /** Any page that was ever used. */
  private page(): PageRef {
    const { prng } = this.picks;
    const held = [...this.world.pages.keys()];
    if (held.length > 0 && prng.chance(30)) return { page: prng.pick(held) };
    if (prng.chance(15)) {
      const offset = prng.below(RUN);
      return { page: 'run', run: RUN, ...(offset > 0 && { offset }) };
    }
    return { page: `p${prng.below(SINGLES)}` };
  }

  private heldPage(holder: PageHolder): PageRef | null {
    const pages = [...this.world.pages].filter(([, held]) => held === holder);
    return pages.length === 0 ? null : { page: this.picks.prng.pick(pages)[0] };
  }
}

const STAGES: readonly VmStage[] = ['reserved', 'shared', 'described', 'live'];

/** The VM that lacks less before it runs. */
function further(one: Vm, other: Vm): Vm {
  return STAGES.indexOf(other.stage) > STAGES.indexOf(one.stage) ? other : one;
}

function endOf({ stage }: Vm): 'unreserve_vm' | 'finalize_teardown_vm' | 'start_teardown_vm' {
  if (stage === 'dying') return 'finalize_teardown_vm';
  return stage === 'live' ? 'start_teardown_vm' : 'unreserve_vm';
}
