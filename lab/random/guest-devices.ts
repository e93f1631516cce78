/**
 * Random steps of guests that have devices: the host promises a paravirtual IOMMU before a VM is made and gives up
 * registers; the guest asks for a device, makes domains, maps and unmaps; its devices do DMA meanwhile.
 */

import { type CallName, type GuestCallName, guestCallNamed, guestCalls } from '#hypercall-abi';
import type { CallStep, GuestStep, NamedStream, Step, Value } from '../scenario/index.ts';
import { callStep } from './call-step.ts';
import type { GuestDomain, Vm } from './known.ts';
import { PAGE, type Picks } from './picks.ts';
import type { World } from './world.ts';

const PVIOMMU = 7;
const DOMAINS_MAX = 3;
/** Pages of a guest, and one more. */
const GFNS = 25;
const IOVAS = [0, 1, 2, 3, 510, 511, 512, 2 ** 18 - 1].map((page) => page * PAGE);
const PROTS = [3, 3, 3, 3, 3, 3, 1, 2, 7, 0, 64];

/** The call of a guest with these arguments, the others 0. */
export function guestStep(cpu: number, call: GuestCallName, args: Readonly<Record<string, Value>>): GuestStep {
  const all: Record<string, Value> = {};
  for (const { name } of guestCallNamed(call).args) all[name] = args[name] ?? 0;
  return { kind: 'guest', cpu, call, args: all };
}

export class GuestDeviceSteps {
  private readonly picks: Picks;
  private readonly world: World;
  /** Streams of devices that a guest can be given. */
  private readonly assignable: ReadonlySet<string>;

  constructor(picks: Picks) {
    this.picks = picks;
    this.world = picks.world;
    const { devices } = picks.machine;
    this.assignable = new Set(
      picks.streams.flatMap(({ name, device }) => (devices[device]!.assignable === undefined ? [] : [name])),
    );
  }

  /** What the host promises a VM before it is made; null when that is enough. */
  promise(vm: Vm): Step | null {
    const { prng } = this.picks;
    const kvm = { page: vm.page };
    if (this.world.silent !== null) return null;
    if (vm.pviommu < 0) {
      const pviommu = prng.chance(95) ? PVIOMMU : prng.below(3);
      return prng.chance(80)
        ? callStep(this.world.profile, this.picks.cpu(), 'pviommu_attach', { kvm, pviommu })
        : null;
    }
    const missing = this.missingRegisters(vm);
    if (missing !== null && prng.chance(60)) return missing;
    const stream = this.routeFor(vm);
    if (stream === null) return null;
    return callStep(this.world.profile, this.picks.cpu(), 'pviommu_add_vsid', {
      kvm,
      pviommu: vm.pviommu,
      iommu: prng.chance(95) ? stream.iommu : prng.below(this.picks.machine.smmus.length + 1),
      endpoint: { name: stream.name },
      vsid: prng.chance(95) ? vm.routes.length : 0,
    });
  }

  /** The stream that the VM gets a route to next, most of the time one of a device that it can be given; null when it has enough. */
  private routeFor({ routes }: Vm): NamedStream | null {
    const { prng } = this.picks;
    const next = this.picks.streams.filter(({ name }) => !routes.includes(name));
    const useful = next.filter(({ name }) => this.assignable.has(name));
    const isEnough = routes.some((name) => this.assignable.has(name)) || useful.length === 0;
    if (next.length === 0 || prng.chance(isEnough ? 50 : 3)) return null;
    if (prng.chance(5)) return prng.pick(this.picks.streams);
    return prng.pick(useful.length > 0 && prng.chance(85) ? useful : next);
  }

  /** The host gives up registers of a device that a route of the VM leads to; null when it has given up all of them. */
  private missingRegisters({ routes }: Vm): CallStep | null {
    const { machine, streams, world } = this.picks;
    const devices = routes.map((route) => streams.find(({ name }) => name === route)?.device ?? -1);
    const named = devices.flatMap((device) => machine.devices[device]?.assignable?.mmio ?? []);
    const missing = machine.mmio.filter(
      ({ name, base }) => named.includes(name) && !world.registers.includes(base / PAGE),
    );
    if (missing.length === 0) return null;
    const { base, size } = this.picks.prng.pick(missing);
    return callStep(world.profile, this.picks.cpu(), 'host_donate_hyp_mmio', { pfn: base / PAGE, pages: size / PAGE });
  }

  /** The host takes its hands off a device that a guest is to get: a stream of its group that is not blocked; null for none. */
  private inTheWay(route: string | undefined): CallStep | null {
    const { machine, streams, world } = this.picks;
    const device = streams.find(({ name }) => name === route)?.device ?? -1;
    const group = machine.devices[device]?.assignable?.group;
    const stream = streams.find(
      (one) => machine.devices[one.device]!.assignable?.group === group && this.isHostsOwn(one.name),
    );
    if (group === undefined || stream === undefined) return null;
    const at = { iommu: stream.iommu, endpoint: { name: stream.name } };
    if (world.identity.includes(stream.name)) return callStep(world.profile, this.picks.cpu(), 'set_identity', at);
    const domain = world.domains.find(({ attached }) => attached.some(({ name }) => name === stream.name))!;
    const { pasid } = domain.attached.find(({ name }) => name === stream.name)!;
    return callStep(world.profile, this.picks.cpu(), 'detach_dev', { ...at, domain: { name: domain.name }, pasid });
  }

  /** Whether the host has the stream do something. */
  private isHostsOwn(stream: string): boolean {
    const { identity, domains } = this.world;
    return identity.includes(stream) || domains.some(({ attached }) => attached.some(({ name }) => name === stream));
  }

  /** Registers of a device that can be assigned go to the hypervisor, or come back. */
  registers(): Step | null {
    const { prng } = this.picks;
    const named = this.picks.machine.devices.flatMap(({ assignable }) => assignable?.mmio ?? []);
    const ranges = this.picks.machine.mmio.filter(({ name }) => named.includes(name));
    if (ranges.length === 0) return null;
    const { base, size } = prng.pick(ranges);
    const call = prng.chance(85) ? 'host_donate_hyp_mmio' : 'host_reclaim_hyp_mmio';
    return callStep(this.world.profile, this.picks.cpu(), call, { pfn: base / PAGE, pages: size / PAGE });
  }

  /** An SMMU stops answering, now and then; one that has stopped goes on soon. */
  silence(): Step | null {
    const { prng } = this.picks;
    const { silent } = this.world;
    if (silent !== null) return { kind: 'smmu', smmu: silent, answers: true };
    return prng.chance(15) ? { kind: 'smmu', smmu: prng.pick(this.picks.machine.smmus).name, answers: false } : null;
  }

  /** The guest that is loaded on some CPU makes a call. */
  call(): Step | null {
    const { prng } = this.picks;
    const loaded = this.world.vms.filter(
      ({ loadedOn, pviommu, isProtected }) => loadedOn >= 0 && ((isProtected && pviommu >= 0) || prng.chance(5)),
    );
    if (loaded.length === 0) return prng.chance(1) ? guestStep(this.picks.cpu(), 'guest_alloc_domain', {}) : null;
    const vm = prng.pick(loaded);
    if (prng.chance(4)) return this.garbage(vm.loadedOn);
    const step = this.sensible(vm);
    return step.kind === 'guest' && prng.chance(8) ? this.withWrongArgument(step) : step;
  }

  private sensible(vm: Vm): GuestStep | CallStep {
    const { prng } = this.picks;
    const cpu = vm.loadedOn;
    const live = vm.domains.filter((domain) => domain.live);
    const inUse = live.filter(({ attached }) => attached.length > 0);
    const choice = inUse.length > 0 && prng.chance(85) ? inUse : live;
    const domain = choice.length > 0 ? prng.pick(choice) : null;
    const vsid = this.vsid(vm, domain);
    const route = { pviommu: vm.pviommu, vsid };
    const claimed = vm.claimed.includes(vsid);
    if (!claimed && prng.chance(inUse.length > 0 ? 10 : 35)) {
      const missing = this.missingRegisters(vm) ?? this.inTheWay(vm.routes[vsid]);
      return missing !== null && prng.chance(70) ? missing : guestStep(cpu, 'guest_dev_req_dma', route);
    }
    if (domain === null || (live.length < DOMAINS_MAX && prng.chance(5))) return this.alloc(vm);
    const name = { name: domain.name };
    const attached = domain.attached.includes(vsid);
    if (!attached && prng.chance(claimed ? 60 : 8)) {
      return guestStep(cpu, 'guest_attach_dev', { ...route, domain: name, pasid: prng.chance(97) ? 0 : 1 });
    }
    const dice = prng.below(100);
    if (attached && dice < 10) return guestStep(cpu, 'guest_detach_dev', { ...route, domain: name });
    if (dice < 13) return guestStep(cpu, 'guest_free_domain', { domain: name });
    // Without a stream the domain has no table.
    if (domain.attached.length === 0 && prng.chance(60)) return guestStep(cpu, 'guest_dev_req_dma', route);
    const mapped = domain.mappings.length > 0 ? prng.pick(domain.mappings) : null;
    if (dice < 40 && mapped !== null) {
      const { iova, size } = mapped;
      return guestStep(cpu, 'guest_unmap_pages', { domain: name, iova, size: prng.chance(85) ? size : size + PAGE });
    }
    return this.map(vm, domain);
  }

  /** The guest is done with the domain that a call of the host is about: the next step to be rid of it. */
  letGo({ args }: CallStep | GuestStep): Step | null {
    const { prng } = this.picks;
    for (const { domains, loadedOn: cpu, pviommu } of this.world.vms) {
      const domain = domains.find(({ id, live }) => live && id === args.domain);
      if (domain === undefined || cpu < 0) continue;
      const name = { name: domain.name };
      if (domain.attached.length === 0) return guestStep(cpu, 'guest_free_domain', { domain: name });
      return guestStep(cpu, 'guest_detach_dev', { pviommu, vsid: prng.pick(domain.attached), domain: name });
    }
    return null;
  }

  /** Domains without end: what a guest that hoards them comes to. */
  hoard(): Step | null {
    const { prng } = this.picks;
    const loaded = this.world.vms.filter(
      ({ loadedOn, pviommu, isProtected }) => loadedOn >= 0 && pviommu >= 0 && isProtected,
    );
    return loaded.length === 0 ? null : this.alloc(prng.pick(loaded));
  }

  /** The number of a guest's domain, most of the time of one that a guest has. */
  domainId(): number {
    const { prng, world } = this.picks;
    const ids = world.vms.flatMap(({ domains }) => domains.flatMap(({ live, id }) => (live ? [id] : [])));
    return ids.length > 0 && prng.chance(85) ? prng.pick(ids) : world.profile.domains.hostCount + prng.below(3);
  }

  /** The host uses what is a guest's by now: a domain by its id, a device by its stream. */
  meddle(): Step | null {
    const { prng, world } = this.picks;
    const { profile } = world;
    const vms = world.vms.filter(({ domains, claimed }) => claimed.length > 0 || domains.some(({ live }) => live));
    if (vms.length === 0) return null;
    const vm = prng.pick(vms);
    const domain = this.domainId();
    const mappings = vm.domains.flatMap((one) => one.mappings);
    const iova = mappings.length > 0 && prng.chance(80) ? prng.pick(mappings).iova : prng.pick(IOVAS);
    const names = vm.claimed.flatMap((vsid) => vm.routes[vsid] ?? []);
    const stream = this.picks.streams.find(({ name }) => name === (names.length > 0 ? prng.pick(names) : ''));
    const { iommu, name: endpoint } = stream ?? prng.pick(this.picks.streams);
    const device = { iommu, endpoint: { name: endpoint } };
    const own = world.domains.find(({ live }) => live);
    const target = own === undefined || prng.chance(30) ? domain : { name: own.name };
    const call = (name: CallName, args: Readonly<Record<string, Value>>): Step =>
      callStep(profile, this.picks.cpu(), name, args);
    switch (prng.below(7)) {
      case 0:
        return call('free_domain', { domain });
      case 1:
        return call('unmap_pages', { domain, iova, pgsize: PAGE, pgcount: 1 });
      case 2:
        return call('map_pages', { domain, iova, paddr: { page: 'p0' }, pgsize: PAGE, pgcount: 1, prot: 3 });
      case 3:
        return call('attach_dev', { ...device, domain: target });
      case 4:
        return call('detach_dev', { ...device, domain: target });
      case 5:
        return call('set_identity', { ...device, on: prng.below(2) });
      default: {
        if (!profile.has('attach_dev_nested')) return call('attach_dev', { ...device, domain });
        return call('attach_dev_nested', { ...device, domain: target, descriptor: { page: vm.page }, size: 64 });
      }
    }
  }

  private alloc(vm: Vm): GuestStep {
    const number = this.world.vms.reduce((sum, { domains }) => sum + domains.length, 0) + 1;
    const free = vm.domains.find((domain) => !domain.live);
    if (free !== undefined) return { ...guestStep(vm.loadedOn, 'guest_alloc_domain', {}), bind: free.name };
    const name = `g${number}`;
    vm.domains.push({ name, id: 0, live: false, attached: [], mappings: [] });
    return { ...guestStep(vm.loadedOn, 'guest_alloc_domain', {}), bind: name };
  }

  private map(vm: Vm, domain: GuestDomain): GuestStep {
    const { prng } = this.picks;
    const own = vm.guestPages.length > 0 && prng.chance(85);
    const gfn = own ? prng.pick(vm.guestPages).gfn : prng.below(GFNS);
    return guestStep(vm.loadedOn, 'guest_map_pages', {
      domain: { name: domain.name },
      iova: prng.pick(IOVAS),
      ipa: gfn * PAGE,
      size: PAGE * (prng.chance(70) ? 1 : prng.between(2, 4)),
      prot: prng.pick(PROTS),
    });
  }

  /** A stream that the guest may use, most of the time one that goes with the domain. */
  private vsid(vm: Vm, domain: GuestDomain | null): number {
    const { prng } = this.picks;
    if (domain !== null && domain.attached.length > 0 && prng.chance(30)) return prng.pick(domain.attached);
    if (vm.claimed.length > 0 && prng.chance(75)) return prng.pick(vm.claimed);
    const assignable = vm.routes.flatMap((name, vsid) => (this.assignable.has(name) ? [vsid] : []));
    if (assignable.length > 0 && prng.chance(85)) return prng.pick(assignable);
    return prng.below(Math.max(1, vm.routes.length) + (prng.chance(5) ? 1 : 0));
  }

  /** A device that a guest has attached does DMA. */
  dma(): Step | null {
    const { prng } = this.picks;
    const choices = this.world.vms.flatMap(({ domains, routes }) =>
      domains.flatMap(({ attached, mappings }) => attached.map((vsid) => ({ stream: routes[vsid], mappings }))),
    );
    if (choices.length === 0) return null;
    const { stream, mappings } = prng.pick(choices);
    if (stream === undefined) return null;
    const known = mappings.length > 0 && prng.chance(80);
    const iova = known ? prng.pick(mappings).iova : prng.pick(IOVAS);
    const cached = prng.chance(50) ? { cached: true as const } : {};
    return prng.chance(50)
      ? { kind: 'dma', device: stream, access: 'read', iova, ...cached }
      : { kind: 'dma', device: stream, access: 'write', iova, value: prng.next(), ...cached };
  }

  /** One argument becomes some other number, or another guest's domain. */
  private withWrongArgument(step: GuestStep): GuestStep {
    const { prng } = this.picks;
    const { args } = guestCallNamed(step.call);
    if (args.length === 0) return step;
    const { name, unit } = prng.pick(args);
    const names = this.world.vms.flatMap(({ domains }) => domains.map((domain) => domain.name));
    const value: Value =
      unit === 'domain' && names.length > 0 && prng.chance(60)
        ? { name: prng.pick(names) }
        : prng.pick(WRONG[unit] ?? WRONG_NUMBERS);
    return { ...step, args: { ...step.args, [name]: value } };
  }

  /** Registers as they come. */
  private garbage(cpu: number): Step {
    const { prng } = this.picks;
    const { functionId, op, args } = prng.pick(guestCalls);
    const registers: Value[] = [functionId, ...(op < 0 ? [] : [prng.chance(90) ? op : 9])];
    for (let n = 0; n < args.length + 1; n++)
      registers.push(prng.chance(50) ? prng.below(4) : prng.pick(WRONG_NUMBERS));
    while (registers.at(-1) === 0) registers.pop();
    return { kind: 'guestHvc', cpu, registers: registers.slice(0, 8) };
  }
}

const WRONG_NUMBERS: readonly Value[] = [
  0,
  1,
  2,
  255,
  256,
  511,
  512,
  0x1001,
  0xffffffff,
  { big: '0xfffffffffffff000' },
];
const WRONG: Readonly<Record<string, readonly Value[]>> = {
  iova: [1, 0x1800, 2 ** 39, 2 ** 40, 2 ** 48, { big: '0xfffffffffffff000' }],
  ipa: [1, 0x800, 2 ** 40, 2 ** 48 - PAGE, 2 ** 48, { big: '0xfffffffffffff000' }],
  bytes: [0, 1, 0x800, 8 * PAGE, { big: '0xfffffffffffff000' }],
};
