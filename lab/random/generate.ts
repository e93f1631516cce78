/**
 * Makes up the next step of a random run. Sensible steps lead somewhere; one in ten gets a wrong argument, a few are
 * garbage. What goes wrong in hypervisors is sought on purpose: maps that end half way (an empty pool, a range across
 * the border of a table or onto a mapping), unmaps right after maps, pages that change hands after they were mapped,
 * and device accesses that caches may still answer.
 */

import { type CallName, defaultProfile, type Profile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import type { CallStep, GuestStep, Step } from '../scenario/index.ts';
import type { Choices } from './choices.ts';
import { DeviceSteps } from './devices.ts';
import { GuestDeviceSteps } from './guest-devices.ts';
import { GuestSteps } from './guests.ts';
import { ListSteps } from './lists.ts';
import { MappingSteps } from './mappings.ts';
import { MemorySteps } from './memory.ts';
import { MixedSteps } from './mixing.ts';
import { Picks } from './picks.ts';
import { type Recipe, recipesOf } from './recipes.ts';
import { type Remembered, World } from './world.ts';
import { WrongSteps } from './wrong.ts';

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

export class StepGenerator {
  readonly world: World;
  /** What steps are made by: the same list, in the same order, for every machine and profile. */
  readonly recipes: readonly Recipe[];
  private readonly picks: Picks;
  private readonly allowed: ReadonlySet<CallName>;
  private readonly wrongArguments: number;
  private readonly weights: number;
  private readonly repeatRecipe: number;
  /** Whether VMs can be made whose guests have devices. */
  private readonly hasGuests: boolean;
  private readonly lists: ListSteps;
  private readonly memory: MemorySteps;
  private readonly guests: GuestSteps;
  private readonly guestDevices: GuestDeviceSteps;
  private readonly mixed: MixedSteps;
  private readonly wrong: WrongSteps;
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
    this.allowed = new Set(allowed);
    this.world = new World(profile);
    this.picks = new Picks(machine, this.world, prng);
    this.lists = new ListSteps(this.picks);
    this.guestDevices = new GuestDeviceSteps(this.picks);
    this.guests = new GuestSteps(this.picks, this.guestDevices);
    this.memory = new MemorySteps(this.picks, this.guests, this.allowed, taken);
    this.mixed = new MixedSteps(this.picks, this.allowed);
    this.wrong = new WrongSteps(this.picks, this.guestDevices, this.allowed, taken);
    const { lists, guests, guestDevices, memory, mixed, wrong } = this;
    const [mappings, devices] = [new MappingSteps(this.picks), new DeviceSteps(this.picks)];
    const generator = {
      callOfGuest: () => guestDevices.call() ?? this.bringUp(),
      hoard: () => this.many(guestDevices.hoard()),
      repeat: () => this.repeat(),
    };
    const makers = { mappings, devices, lists, memory, guests, guestDevices, mixed, wrong, generator };
    this.recipes = recipesOf(this.picks, this.allowed, makers);
    const hasAssignable = machine.devices.some(({ assignable }) => assignable !== undefined);
    this.hasGuests = hasAssignable && this.recipes.some(({ name, weight }) => name === 'advance-vm' && weight > 0);
    this.repeatRecipe = this.recipes.findIndex(({ name }) => name === 'repeat');
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
    this.repeatsExactly = false;
  }

  /** Where the decisions come from, from now on. */
  decideBy(choices: Choices): void {
    this.picks.prng = choices;
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
    let at = this.picks.prng.below(this.weights);
    return this.recipes.findIndex(({ weight }) => {
      at -= weight;
      return at < 0;
    });
  }

  /** A guest that runs goes on running for a while. */
  private guestGoesOn(): Step | null {
    if (!this.isGuestRunning || this.repeats > 0) return null;
    const step = this.picks.prng.chance(GUEST_GOES_ON) ? this.permitted(this.guestDevices.call()) : null;
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
    const dice = this.picks.prng.below(100);
    // Of those who have what the call is about, its guest is one.
    const isGuests = this.isAboutGuest(of);
    if (dice < (isGuests ? 10 : 35)) return this.mixed.about(of);
    if (isGuests && dice < 35) return this.guestDevices.letGo(of) ?? this.guestDevices.call();
    if (dice < 45) return this.guestDevices.call();
    if (dice < 60) return this.guestDevices.meddle();
    if (!this.allowed.has('start_teardown_vm')) return null;
    return this.lists.begin(this.guests.end().filter((step) => this.permitted(step) !== null));
  }

  /** Whether the host calls about what is a guest's: a domain by its number, or a device. */
  isAboutGuest(step: Step): boolean {
    if (step.kind !== 'call') return false;
    const { domain, endpoint } = step.args;
    if (typeof domain === 'number' && domain >= this.world.profile.domains.hostCount) return true;
    const name = typeof endpoint === 'object' && 'name' in endpoint ? endpoint.name : '';
    return this.world.vms.some(({ claimed, routes }) => claimed.some((vsid) => routes[vsid] === name));
  }

  private by(from: number): Step {
    if (this.repeats > 0 && this.world.hasSucceeded) return this.onceMore();
    this.repeats = 0;
    const step = this.make(from) ?? this.wrong.garbage();
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
    const { last, picks } = this;
    const { prng } = picks;
    if (last === null || !this.world.hasSucceeded) return null;
    this.repeats = prng.pick(TIMES);
    this.repeatsExactly = last.kind === 'guest' || prng.chance(50);
    return this.onceMore();
  }

  /** A step towards a guest that makes calls, now and then with those that follow it. */
  private bringUp(): Step | null {
    const step = this.hasGuests ? this.guests.advanceVm() : null;
    if (step !== null && this.picks.prng.chance(BRING_UP)) {
      this.repeats = BRING_UP_STEPS;
      this.repeatsExactly = false;
    }
    return step;
  }

  /** That step, and then again and again. */
  private many(step: Step | null): Step | null {
    this.repeats = step === null ? 0 : this.picks.prng.pick(TIMES);
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
    const { prng } = this.picks;
    const { asked } = this.world;
    if (asked !== null) {
      this.world.asked = null;
      const isGuest = asked.step.kind === 'guest';
      const served = prng.chance(isGuest ? SERVE_GUEST : SERVE_REQUEST) ? this.memory.serve(asked) : null;
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

  private spoiled(step: Step): Step {
    const { prng } = this.picks;
    return step.kind === 'call' && prng.chance(this.wrongArguments) ? this.wrong.withWrongArgument(step) : step;
  }
}
