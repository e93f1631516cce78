/**
 * Makes up the next step of a random run. Sensible steps lead somewhere; one in ten gets a wrong argument, a few are
 * garbage. What goes wrong in hypervisors is sought on purpose: maps that end half way (an empty pool, a range across
 * the border of a table or onto a mapping), unmaps right after maps, pages that change hands after they were mapped,
 * and device accesses that caches may still answer.
 */

import { type CallName, defaultProfile, FUNCTION_ID_BASE, Memcache, type Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import {
  type CallStep,
  type GuestStep,
  type NamedStream,
  namedStreams,
  type Step,
  type Value,
} from '../scenario/index.ts';
import type { Choices } from './choices.ts';
import { edge, edgesOf } from './edges.ts';
import { GuestDeviceSteps } from './guest-devices.ts';
import { GuestSteps } from './guests.ts';
import { ListSteps } from './lists.ts';
import { MappingSteps } from './mappings.ts';
import { MixedSteps } from './mixing.ts';
import { type Asked, type Remembered, World } from './world.ts';

/** A way to make up a step. */
export interface Recipe {
  /** Stable: inputs of a fuzzer name recipes by it. */
  readonly name: string;
  /** How often it is chosen, compared with others; 0 when the machine, the profile or the user leaves it out. */
  readonly weight: number;
  /** Null when nothing fits at the moment. */
  readonly make: () => Step | null;
  /** Number of the recipe that is tried when nothing fits: one that brings about what is lacking, where there is one. */
  readonly instead: number;
}

/** A recipe as it is written down: `calls` must be allowed, `lacks` names the recipe that brings about what it needs. */
type RecipeEntry = readonly [
  name: string,
  weight: number,
  calls: readonly CallName[],
  make: Recipe['make'],
  lacks?: string,
];

/** What a generator remembers of a run. */
export interface Planned {
  readonly world: Remembered;
  readonly again: Step | null;
  readonly isGuestRunning: boolean;
  readonly last: Step | null;
  readonly lastRecipe: number;
  readonly repeats: number;
  readonly repeatsExactly: boolean;
  /** Steps that are left of a list that was begun. */
  readonly list: readonly Step[];
}

/** How often something is done in a row: a little more than tables tend to have room for. */
const TIMES = [1, 2, 4, 8, 16, 32, 64];
/** Percentages. */
const SERVE_REQUEST = 75;
const SERVE_GUEST = 95;
const TRY_AGAIN = 85;
const WRONG_ARGUMENT = 10;
const GUEST_GOES_ON = 75;
const BRING_UP = 50;
const BRING_UP_STEPS = 16;
/** Units of which products are made. */
const WRAPPING: ReadonlySet<string> = new Set(['pages', 'count']);

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
  private readonly repeatRecipe: number;
  /** Whether VMs can be made whose guests have devices. */
  private readonly hasGuests: boolean;
  private readonly mappings: MappingSteps;
  private readonly guests: GuestSteps;
  private readonly guestDevices: GuestDeviceSteps;
  private readonly lists: ListSteps;
  private readonly mixed: MixedSteps;
  private again: Step | null = null;
  private isGuestRunning = false;
  /** The last step that was made up, by which recipe, and how many more times it is made, or others by that recipe are. */
  private last: Step | null = null;
  private lastRecipe = 0;
  private repeats = 0;
  private repeatsExactly = false;

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
    this.mixed = new MixedSteps(machine, this.world, this.allowed, prng);
    const { mappings, guests, guestDevices, lists, mixed } = this;
    const hasAssignable = machine.devices.some(({ assignable }) => assignable !== undefined);
    const promises: readonly CallName[] = ['pviommu_attach', 'pviommu_add_vsid', 'init_vm'];
    const all: readonly RecipeEntry[] = [
      ['alloc-domain', 5, ['alloc_domain'], () => mappings.allocDomain()],
      ['free-domain', 2, ['free_domain'], () => mappings.freeDomain(), 'alloc-domain'],
      ['attach', 6, ['attach_dev'], () => mappings.attach(), 'alloc-domain'],
      [
        'attach-pasid',
        machine.smmus.some(({ ssidBits }) => ssidBits > 0) ? 8 : 0,
        ['attach_dev'],
        () => mappings.attachPasid(),
        'attach',
      ],
      ['detach', 3, ['detach_dev'], () => mappings.detach(), 'attach'],
      ['map', 24, ['map_pages'], () => mappings.map(), 'alloc-domain'],
      ['map-list', 3, ['map_sg', 'host_share_hyp'], () => lists.mapList(), 'alloc-domain'],
      ['unmap', 16, ['unmap_pages'], () => mappings.unmap(), 'map'],
      ['translate', 2, ['iova_to_phys'], () => mappings.translate(), 'alloc-domain'],
      ['set-identity', 4, ['set_identity'], () => mappings.setIdentity()],
      ['power', 2, ['hvc_pd'], () => mappings.power()],
      [
        'respond',
        machine.smmus.some(({ stallModel }) => stallModel === 'both') ? 3 : 0,
        ['page_response'],
        () => mappings.respond(),
      ],
      [
        'nested',
        1,
        ['attach_dev_nested', 'iotlb_inv_nested_domain', 'nested_cfg_sync'],
        () => mappings.nested(),
        'alloc-domain',
      ],
      ['dma', 9, [], () => mappings.dma(), 'attach'],
      ['identity-dma', 3, ['set_identity'], () => mappings.identityDma(), 'set-identity'],
      ['topup', 2, ['alloc_mgt_refill'], () => this.topup()],
      ['fill-memcache', this.memcaches === 0 ? 0 : 6, [], () => this.fillMemcache()],
      ['spoil-memcache', this.memcaches === 0 ? 0 : 1, [], () => this.spoilMemcache()],
      ['donate', 3, ['alloc_mgt_refill'], () => guests.donate()],
      ['reclaim-pool', 1, ['alloc_mgt_reclaim'], () => guests.reclaimPool()],
      ['reclaimable', 1, ['alloc_mgt_reclaimable'], () => guests.reclaimable()],
      ['share', 3, ['host_share_hyp'], () => guests.share()],
      ['unshare', 2, ['host_unshare_hyp'], () => guests.unshare(), 'share'],
      ['advance-vm', 9, [...profile.namesOf('reserve_vm'), 'init_vm', 'vcpu_load'], () => guests.advanceVm()],
      ['map-guest', 8, ['map_guest'], () => guests.mapGuest(), 'advance-vm'],
      ['give-guest', 8, ['donate_guest', 'share_guest'], () => guests.mapGuest(), 'advance-vm'],
      ['take-back', 3, ['unshare_guest', 'reclaim_dying_guest_page'], () => guests.takeBack(), 'map-guest'],
      [
        'tear-down',
        3,
        ['start_teardown_vm', 'finalize_teardown_vm', 'vcpu_put', ...profile.namesOf('unreserve_vm')],
        () => guests.tearDown(),
        'advance-vm',
      ],
      ['access', 3, [], () => guests.access()],
      [
        'give-registers',
        hasAssignable ? 4 : 0,
        ['host_donate_hyp_mmio', 'host_reclaim_hyp_mmio'],
        () => guestDevices.registers(),
      ],
      ['guest-call', hasAssignable ? 16 : 2, promises, () => guestDevices.call() ?? this.bringUp(), 'advance-vm'],
      ['guest-dma', hasAssignable ? 4 : 1, promises, () => guestDevices.dma(), 'guest-call'],
      [
        'meddle',
        hasAssignable ? 8 : 1,
        ['free_domain', 'unmap_pages', 'map_pages', 'attach_dev', 'detach_dev', 'set_identity'],
        () => guestDevices.meddle(),
        'guest-call',
      ],
      ['guest-hoard', hasAssignable ? 1 : 0, promises, () => this.many(guestDevices.hoard()), 'advance-vm'],
      ['silence', 2, [], () => guestDevices.silence()],
      ['mix', 8, [], () => mixed.mix()],
      ['repeat', 3, [], () => this.repeat()],
      ['garbage', 5, [], () => this.garbage()],
    ];
    this.recipes = all.map(([name, weight, names, make, lacks], number) => {
      const isPossible = names.every((call) => this.allowed.has(call));
      const instead = all.findIndex(([other]) => other === lacks);
      return {
        name,
        weight: isPossible ? weight : 0,
        make,
        instead: instead < 0 ? (number + 1) % all.length : instead,
      };
    });
    this.hasGuests = hasAssignable && this.recipes.some(({ name, weight }) => name === 'advance-vm' && weight > 0);
    this.repeatRecipe = all.findIndex(([name]) => name === 'repeat');
    this.weights = this.recipes.reduce((sum, { weight }) => sum + weight, 0);
  }

  /** Begin a run anew. */
  reset(prng: Choices): void {
    this.decideBy(prng);
    this.lists.reset();
    this.world.reset();
    this.again = null;
    this.isGuestRunning = false;
    this.last = null;
    this.lastRecipe = 0;
    this.repeats = 0;
  }

  /** Where the decisions come from, from now on. */
  decideBy(choices: Choices): void {
    this.prng = choices;
    this.mappings.reset(choices);
    this.guests.reset(choices);
    this.guestDevices.reset(choices);
    this.lists.decideBy(choices);
    this.mixed.decideBy(choices);
  }

  /** What is remembered, to be gone back to as often as wanted. */
  save(): Planned {
    const { again, isGuestRunning, last, lastRecipe, repeats, repeatsExactly } = this;
    const [world, list] = [this.world.save(), this.lists.save()];
    return { world, again, isGuestRunning, last, lastRecipe, repeats, repeatsExactly, list };
  }

  restore(planned: Planned): void {
    this.world.restore(planned.world);
    this.again = planned.again;
    this.isGuestRunning = planned.isGuestRunning;
    this.last = planned.last;
    this.lastRecipe = planned.lastRecipe;
    this.repeats = planned.repeats;
    this.repeatsExactly = planned.repeatsExactly;
    this.lists.restore(planned.list);
  }

  /** The next step. {@link World.observe} must be told what comes of it. */
  next(): Step {
    const due = this.dueStep();
    if (due !== null) return due;
    return this.guestGoesOn() ?? this.by(this.recipe());
  }

  /** Number of a recipe, by weight. */
  private recipe(): number {
    let at = this.prng.below(this.weights);
    return this.recipes.findIndex(({ weight }) => {
      at -= weight;
      return at < 0;
    });
  }

  /** A guest that runs goes on running for a while. */
  private guestGoesOn(): Step | null {
    if (!this.isGuestRunning || this.repeats > 0) return null;
    const step = this.prng.chance(GUEST_GOES_ON) ? this.permitted(this.guestDevices.call()) : null;
    this.isGuestRunning = step !== null;
    if (step !== null) this.last = step;
    return step;
  }

  /**
   * The next step by a recipe: what is due goes first, then a recipe that is repeated. Where the recipe has nothing, the
   * one is tried that brings about what is lacking.
   * @param from number of the recipe
   */
  nextBy(from: number): Step {
    const due = this.dueStep();
    if (due !== null) return due;
    return (from === this.repeatRecipe ? null : this.guestGoesOn()) ?? this.by(from);
  }

  /** A step for another CPU, about the same as a call in progress: with its arguments, or by the guest, or the end of a VM. */
  rival(of: CallStep | GuestStep): Step | null {
    return this.permitted(this.anyRival(of));
  }

  private anyRival(of: CallStep | GuestStep): Step | null {
    const dice = this.prng.below(100);
    // Of those who have what the call is about, its guest is one.
    const aboutThat = this.isAboutGuest(of) ? 10 : 35;
    if (dice < aboutThat) return this.mixed.about(of);
    if (dice < 45) return this.guestDevices.call();
    if (dice < 60) return this.guestDevices.meddle();
    if (!this.allowed.has('start_teardown_vm')) return null;
    return this.lists.begin(this.guests.end().filter((step) => this.permitted(step) !== null));
  }

  /** Whether the host calls about what is a guest's: a domain by its number, or a device. */
  isAboutGuest(step: Step): boolean {
    if (step.kind !== 'call') return false;
    const { domain, endpoint } = step.args;
    if (typeof domain === 'number' && domain >= this.profile.domains.hostCount) return true;
    const name = typeof endpoint === 'object' && 'name' in endpoint ? endpoint.name : '';
    return this.world.vms.some(({ claimed, routes }) => claimed.some((vsid) => routes[vsid] === name));
  }

  private by(from: number): Step {
    if (this.repeats > 0 && this.world.hasSucceeded) return this.onceMore();
    this.repeats = 0;
    const step = this.make(from) ?? this.garbage();
    this.isGuestRunning = step.kind === 'guest';
    this.last = this.spoiled(step);
    return this.last;
  }

  /** A step by that recipe, or by one that takes its place; null when none of them has any. */
  private make(from: number): Step | null {
    const { recipes } = this;
    let at = from;
    for (let i = 0; i < recipes.length; i++) {
      const { weight, make, instead } = recipes[at]!;
      const step = weight === 0 ? null : this.permitted(make());
      if (step !== null) {
        if (at !== this.repeatRecipe) this.lastRecipe = at;
        return step;
      }
      at = weight === 0 ? (at + 1) % recipes.length : instead;
    }
    return null;
  }

  /** The step, unless it is a call that may not be made: recipes come to more calls than those that they cannot do without. */
  private permitted(step: Step | null): Step | null {
    return step?.kind === 'call' && !this.allowed.has(step.call) ? null : step;
  }

  /** What was done last is done again, and again as long as it succeeds: some limits are counted up to. */
  private repeat(): Step | null {
    const { prng, last } = this;
    if (last === null || !this.world.hasSucceeded) return null;
    this.repeats = prng.pick(TIMES);
    this.repeatsExactly = last.kind === 'guest' || prng.chance(50);
    return this.onceMore();
  }

  /** A step towards a guest that makes calls, now and then with those that follow it. */
  private bringUp(): Step | null {
    const step = this.hasGuests ? this.guests.advanceVm() : null;
    if (step !== null && this.prng.chance(BRING_UP)) {
      this.repeats = BRING_UP_STEPS;
      this.repeatsExactly = false;
    }
    return step;
  }

  /** That step, and then again and again. */
  private many(step: Step | null): Step | null {
    this.repeats = step === null ? 0 : this.prng.pick(TIMES);
    this.repeatsExactly = true;
    return step;
  }

  private onceMore(): Step {
    this.repeats--;
    const step = this.repeatsExactly ? null : this.make(this.lastRecipe);
    return step ?? this.last!;
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
      const { pool, pages } = request;
      // Now and then more than that, so that the calls that follow need not ask.
      const more = this.prng.chance(40) ? this.prng.between(1, 8) : 0;
      if (pool !== 1) return { kind: 'topup', cpu, pool: 'heap', chunks: pages + more, order: 0 };
      const order = Math.ceil(Math.log2(pages));
      return { kind: 'topup', cpu, pool: 'iommu', chunks: order === 0 ? 1 + more : 1, order };
    }
    return ipa === null || !this.allowed.has('map_guest')
      ? null
      : this.guests.mapGuestAt(cpu, Math.floor(ipa / 0x1000));
  }

  private spoiled(step: Step): Step {
    const { prng } = this;
    return step.kind === 'call' && prng.chance(this.wrongArguments) ? this.withWrongArgument(step) : step;
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
      value = this.guestDevices.domainId();
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
