/**
 * Makes up the next step of a random run. Sensible steps lead somewhere; one in ten gets a wrong argument, a few are
 * garbage. What goes wrong in hypervisors is sought on purpose: maps that end half way (an empty pool, a range across
 * the border of a table or onto a mapping), unmaps right after maps, pages that change hands after they were mapped,
 * and device accesses that caches may still answer.
 */

import { type CallName, defaultProfile, FUNCTION_ID_BASE, Memcache, type Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { type CallStep, type NamedStream, namedStreams, type Step, type Value } from '../scenario/index.ts';
import type { Choices } from './choices.ts';
import { edge, edgesOf } from './edges.ts';
import { GuestDeviceSteps } from './guest-devices.ts';
import { GuestSteps } from './guests.ts';
import { ListSteps } from './lists.ts';
import { MappingSteps } from './mappings.ts';
import { type Asked, type Remembered, World } from './world.ts';

/** A way to make up a step. */
export interface Recipe {
  /** Stable: inputs of a fuzzer name recipes by it. */
  readonly name: string;
  /** How often it is chosen, compared with others; 0 when the machine, the profile or the user leaves it out. */
  readonly weight: number;
  /** Null when nothing fits at the moment. */
  readonly make: () => Step | null;
}

/** What a generator remembers of a run. */
export interface Planned {
  readonly world: Remembered;
  readonly again: Step | null;
  readonly isGuestRunning: boolean;
  /** Steps that are left of a list that was begun. */
  readonly list: readonly Step[];
}

/** Percentages. */
const SERVE_REQUEST = 75;
const SERVE_GUEST = 95;
const TRY_AGAIN = 85;
const WRONG_ARGUMENT = 10;
const GUEST_GOES_ON = 80;
/** Units of which products are made. */
const WRAPPING: ReadonlySet<string> = new Set(['pages', 'count']);
/** Recipes that are tried before a garbage crossing takes the place of a step. */
const TRIES = 8;

export class StepGenerator {
  readonly world: World;
  private readonly profile: Profile;
  private prng: Choices;
  private readonly machine: MachineDescription;
  private readonly wrongArguments: number;
  private readonly streams: readonly NamedStream[];
  private readonly allowed: ReadonlySet<CallName>;
  private readonly edges: ReturnType<typeof edgesOf>;
  /** The page with the memcaches, 0 where there is none. */
  private readonly memcaches: number;
  /** What steps are made by: the same list, in the same order, for every machine and profile. */
  readonly recipes: readonly Recipe[];
  private readonly weights: number;
  private readonly mappings: MappingSteps;
  private readonly guests: GuestSteps;
  private readonly guestDevices: GuestDeviceSteps;
  private readonly lists: ListSteps;
  private again: Step | null = null;
  private isGuestRunning = false;

  /**
   * @param allowed the calls that may be made
   * @param taken pages that boot has taken over, or pinned; the last is that of the memcaches, if there are any
   * @param profile the contract that the hypervisor keeps
   * @param wrongArguments calls, in percent, that get one argument wrong
   */
  constructor(
    machine: MachineDescription,
    allowed: readonly CallName[],
    prng: Choices,
    taken: readonly number[] = [],
    profile: Profile = defaultProfile,
    wrongArguments = WRONG_ARGUMENT,
  ) {
    this.wrongArguments = wrongArguments;
    this.machine = machine;
    this.profile = profile;
    this.world = new World(profile);
    this.streams = namedStreams(machine);
    this.allowed = new Set(allowed);
    this.edges = edgesOf(machine, taken);
    this.memcaches = profile.request === 'needs-page' ? (taken.at(-1) ?? 0) : 0;
    this.prng = prng;
    this.mappings = new MappingSteps(machine, this.world, prng);
    this.guestDevices = new GuestDeviceSteps(machine, this.world, prng);
    this.guests = new GuestSteps(machine, this.world, this.guestDevices, prng);
    this.lists = new ListSteps(this.world, this.mappings, prng);
    const { mappings, guests, guestDevices, lists } = this;
    const hasAssignable = machine.devices.some(({ assignable }) => assignable !== undefined);
    const promises: readonly CallName[] = ['pviommu_attach', 'pviommu_add_vsid', 'init_vm'];
    const all: readonly (readonly [name: string, weight: number, calls: readonly CallName[], make: Recipe['make']])[] =
      [
        ['alloc-domain', 5, ['alloc_domain'], () => mappings.allocDomain()],
        ['free-domain', 2, ['free_domain'], () => mappings.freeDomain()],
        ['attach', 6, ['attach_dev'], () => mappings.attach()],
        [
          'attach-pasid',
          machine.smmus.some(({ ssidBits }) => ssidBits > 0) ? 8 : 0,
          ['attach_dev'],
          () => mappings.attachPasid(),
        ],
        ['detach', 3, ['detach_dev'], () => mappings.detach()],
        ['map', 24, ['map_pages'], () => mappings.map()],
        ['map-list', 3, ['map_sg', 'host_share_hyp'], () => lists.mapList()],
        ['unmap', 16, ['unmap_pages'], () => mappings.unmap()],
        ['translate', 2, ['iova_to_phys'], () => mappings.translate()],
        ['set-identity', 4, ['set_identity'], () => mappings.setIdentity()],
        ['power', 2, ['hvc_pd'], () => mappings.power()],
        [
          'respond',
          machine.smmus.some(({ stallModel }) => stallModel === 'both') ? 3 : 0,
          ['page_response'],
          () => mappings.respond(),
        ],
        ['nested', 1, ['attach_dev_nested', 'iotlb_inv_nested_domain', 'nested_cfg_sync'], () => mappings.nested()],
        ['dma', 9, [], () => mappings.dma()],
        ['identity-dma', 3, ['set_identity'], () => mappings.identityDma()],
        ['topup', 2, ['alloc_mgt_refill'], () => this.topup()],
        ['fill-memcache', this.memcaches === 0 ? 0 : 6, [], () => this.fillMemcache()],
        ['spoil-memcache', this.memcaches === 0 ? 0 : 1, [], () => this.spoilMemcache()],
        ['donate', 3, ['alloc_mgt_refill'], () => guests.donate()],
        ['reclaim-pool', 1, ['alloc_mgt_reclaim'], () => guests.reclaimPool()],
        ['reclaimable', 1, ['alloc_mgt_reclaimable'], () => guests.reclaimable()],
        ['share', 3, ['host_share_hyp'], () => guests.share()],
        ['unshare', 2, ['host_unshare_hyp'], () => guests.unshare()],
        ['advance-vm', 9, [...profile.namesOf('reserve_vm'), 'init_vm', 'vcpu_load'], () => guests.advanceVm()],
        ['map-guest', 8, ['map_guest'], () => guests.mapGuest()],
        ['give-guest', 8, ['donate_guest', 'share_guest'], () => guests.mapGuest()],
        ['take-back', 3, ['unshare_guest', 'reclaim_dying_guest_page'], () => guests.takeBack()],
        [
          'tear-down',
          2,
          ['start_teardown_vm', 'finalize_teardown_vm', 'vcpu_put', ...profile.namesOf('unreserve_vm')],
          () => guests.tearDown(),
        ],
        ['access', 3, [], () => guests.access()],
        [
          'give-registers',
          hasAssignable ? 4 : 0,
          ['host_donate_hyp_mmio', 'host_reclaim_hyp_mmio'],
          () => guestDevices.registers(),
        ],
        ['guest-call', hasAssignable ? 16 : 2, promises, () => guestDevices.call()],
        ['guest-dma', hasAssignable ? 4 : 1, promises, () => guestDevices.dma()],
        [
          'meddle',
          hasAssignable ? 5 : 1,
          ['free_domain', 'unmap_pages', 'map_pages', 'attach_dev', 'detach_dev', 'set_identity'],
          () => guestDevices.meddle(),
        ],
        ['guest-hoard', hasAssignable ? 1 : 0, promises, () => guestDevices.hoard()],
        ['silence', 2, [], () => guestDevices.silence()],
        ['garbage', 5, [], () => this.garbage()],
      ];
    this.recipes = all.map(([name, weight, names, make]) => {
      const isPossible = names.every((call) => this.allowed.has(call));
      return { name, weight: isPossible ? weight : 0, make };
    });
    this.weights = this.recipes.reduce((sum, { weight }) => sum + weight, 0);
  }

  /** Begin a run anew. */
  reset(prng: Choices): void {
    this.decideBy(prng);
    this.lists.reset();
    this.world.reset();
    this.again = null;
    this.isGuestRunning = false;
  }

  /** Where the decisions come from, from now on. */
  decideBy(choices: Choices): void {
    this.prng = choices;
    this.mappings.reset(choices);
    this.guests.reset(choices);
    this.guestDevices.reset(choices);
    this.lists.decideBy(choices);
  }

  /** What is remembered, to be gone back to as often as wanted. */
  save(): Planned {
    const { again, isGuestRunning } = this;
    return { world: this.world.save(), again, isGuestRunning, list: this.lists.save() };
  }

  restore({ world, again, isGuestRunning, list }: Planned): void {
    this.world.restore(world);
    this.again = again;
    this.isGuestRunning = isGuestRunning;
    this.lists.restore(list);
  }

  /** The next step. {@link World.observe} must be told what comes of it. */
  next(): Step {
    const due = this.dueStep();
    if (due !== null) return due;
    const next = this.guestGoesOn() ?? this.spoiled(this.sensible());
    this.isGuestRunning = next.kind === 'guest';
    return next;
  }

  /** A guest that runs goes on running for a while. */
  private guestGoesOn(): Step | null {
    return this.isGuestRunning && this.prng.chance(GUEST_GOES_ON) ? this.guestDevices.call() : null;
  }

  /**
   * The next step by a recipe: what is due goes first, and where the recipe has nothing those after it are tried.
   * @param from number of the recipe
   */
  nextBy(from: number): Step {
    const due = this.dueStep();
    if (due !== null) return due;
    const { recipes } = this;
    for (let i = 0; i < recipes.length; i++) {
      const { weight, make } = recipes[(from + i) % recipes.length]!;
      const step = weight === 0 ? null : make();
      if (step !== null) return this.spoiled(step);
    }
    return this.garbage();
  }

  /** Memory for a call that asked for some, and the call again; the next step of a list that was begun. */
  private dueStep(): Step | null {
    const { prng } = this;
    const { asked } = this.world;
    if (asked !== null) {
      this.world.asked = null;
      const isGuest = asked.step.kind === 'guest';
      const served = prng.chance(isGuest ? SERVE_GUEST : SERVE_REQUEST) ? this.serve(asked) : null;
      if (served !== null) {
        this.isGuestRunning = isGuest;
        this.again = prng.chance(TRY_AGAIN) ? asked.step : null;
        return served;
      }
    }
    const { again } = this;
    this.again = null;
    return again ?? this.lists.next();
  }

  /** What the host does about a wish; null when it may not. */
  private serve({ step: { cpu }, request, ipa }: Asked): Step | null {
    if (request !== null && this.allowed.has('alloc_mgt_refill')) {
      return request.pool === 1
        ? { kind: 'topup', cpu, pool: 'iommu', chunks: 1, order: Math.ceil(Math.log2(request.pages)) }
        : { kind: 'topup', cpu, pool: 'heap', chunks: request.pages, order: 0 };
    }
    return ipa === null || !this.allowed.has('map_guest')
      ? null
      : this.guests.mapGuestAt(cpu, Math.floor(ipa / 0x1000));
  }

  private spoiled(step: Step): Step {
    const { prng } = this;
    return step.kind === 'call' && prng.chance(this.wrongArguments) ? this.withWrongArgument(step) : step;
  }

  private sensible(): Step {
    for (let i = 0; i < TRIES; i++) {
      let at = this.prng.below(this.weights);
      for (const { weight, make } of this.recipes) {
        at -= weight;
        if (at >= 0) continue;
        const step = make();
        if (step !== null) return step;
        break;
      }
    }
    return this.garbage();
  }

  private fillMemcache(): Step {
    return { kind: 'topup', cpu: 0, pool: 'iommu', chunks: this.prng.between(1, 4), order: 0 };
  }

  /** The host writes what it likes where the hypervisor looks for pages. */
  private spoilMemcache(): Step {
    const { prng } = this;
    const value: Value = prng.chance(60) ? { page: `p${prng.below(4)}` } : prng.next();
    const at = this.memcaches + (prng.chance(50) ? Memcache.head : Memcache.pages) + (prng.chance(20) ? 4 : 0);
    return { kind: 'write', cpu: 0, at, value };
  }

  private topup(): Step {
    const { prng } = this;
    const pool = prng.chance(85) ? 'iommu' : 'heap';
    const order = pool === 'iommu' && prng.chance(20) ? prng.between(1, 2) : 0;
    return { kind: 'topup', cpu: 0, pool, chunks: prng.between(1, order > 0 ? 1 : 3), order };
  }

  /** One argument becomes an edge value, or somebody else's handle. */
  private withWrongArgument(step: CallStep): CallStep {
    const { prng } = this;
    const { args } = this.profile.call(step.call);
    if (args.length === 0) return step;
    const { name, unit } = prng.pick(args);
    let value = edge(this.edges, unit, prng);
    const right = step.args[name];
    // So much more that the product with a page's size wraps to the right one, at 32 bits or at 64.
    if (WRAPPING.has(unit) && typeof right === 'number' && prng.chance(40)) {
      value = right + (prng.chance(50) ? 2 ** 52 : 2 ** 20);
    }
    if (unit === 'domain' && this.world.domains.length > 0 && prng.chance(50)) {
      value = { name: prng.pick(this.world.domains).name };
    } else if (unit === 'domain' && prng.chance(50)) {
      // A guest's.
      value = this.profile.domains.hostCount + prng.below(4);
    }
    if (unit === 'handle' && this.world.vms.length > 0 && prng.chance(50))
      value = { name: prng.pick(this.world.vms).name };
    if (unit === 'stream' && prng.chance(50)) value = { name: prng.pick(this.streams).name };
    return { ...step, args: { ...step.args, [name]: value } };
  }

  /** Registers as they come. */
  private garbage(): Step {
    const { prng } = this;
    const { calls } = this.profile;
    const spec = prng.pick(calls);
    const isCall = this.allowed.has(spec.name) && prng.chance(85);
    const position = isCall ? spec.position : prng.pick([0, 20, 24, 39, 47, 63, 84, 127, 128, 200, 0x10047]);
    if (!isCall && calls.some((call) => call.position === position && !this.allowed.has(call.name)))
      return this.garbage();
    const registers: Value[] = [FUNCTION_ID_BASE + position];
    const count = isCall ? spec.args.length : prng.below(7);
    for (let n = 0; n < count; n++) {
      const unit = isCall ? spec.args[n]!.unit : 'pa';
      registers.push(prng.chance(70) ? positive(edge(this.edges, unit, prng)) : prng.next());
    }
    while (registers.at(-1) === 0) registers.pop();
    return { kind: 'hvc', cpu: prng.below(this.machine.cpus), registers };
  }
}

/** Registers have no sign. */
function positive(value: Value): Value {
  return typeof value === 'number' && value < 0 ? 2 ** 32 + value : value;
}
