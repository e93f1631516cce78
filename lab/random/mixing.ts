/**
 * Random calls with the arguments of others that came to something: the domain of one, the stream of another, the pages of
 * a third; what a guest got, used by the host. Handles that are right, each for its own, and wrong together.
 */

import {
  type ArgumentSpec,
  type ArgumentUnit,
  type CallName,
  type CallSpec,
  type GuestCallSpec,
  guestCallNamed,
} from '#hypercall-abi';
import type { CallStep, GuestStep, Step, Value } from '../scenario/index.ts';
import type { Used } from './known.ts';
import type { Picks } from './picks.ts';
import type { World } from './world.ts';

/** What calls may have in common that says something. */
const COMMON: ReadonlySet<ArgumentUnit> = new Set<ArgumentUnit>([
  'domain',
  'handle',
  'stream',
  'iova',
  'pfn',
  'gfn',
  'pa',
  'pool',
  'list',
]);
/** Percentages: the call itself once more, with other arguments; an argument that comes from another call than the rest. */
const SAME_CALL = 35;
const FOREIGN = 25;
const OTHER_CPU = 25;

export class MixedSteps {
  private readonly picks: Picks;
  private readonly world: World;
  private readonly calls: readonly CallSpec[];
  private readonly iommus: ReadonlyMap<string, number>;

  constructor(picks: Picks, allowed: ReadonlySet<CallName>) {
    const { streams, world } = picks;
    this.picks = picks;
    this.world = world;
    this.calls = world.profile.calls.filter(({ name, args }) => allowed.has(name) && args.some(hasCommonUnit));
    this.iommus = new Map(streams.map(({ name, iommu }) => [name, iommu]));
  }

  /** A call about what another call was about; null when none has come to anything. */
  mix(): Step | null {
    const { prng, world } = this.picks;
    if (world.used.length === 0) return null;
    return this.mixWith(prng.pick(world.used));
  }

  /** A call about what that one is about, or the same with another argument. */
  about(step: CallStep | GuestStep): Step | null {
    return this.mixWith({ step, endpoint: '' });
  }

  private mixWith(base: Used): Step | null {
    const { prng } = this.picks;
    if (prng.chance(SAME_CALL)) return this.again(base);
    const unit = this.commonUnit(base);
    const calls = this.calls.filter(({ args }) => args.some((arg) => arg.unit === unit));
    if (calls.length === 0) return this.again(base);
    const spec = prng.pick(calls);
    const args: Record<string, Value> = {};
    for (const arg of spec.args) args[arg.name] = this.argument(arg, base);
    this.matchIommu(args);
    return { kind: 'call', cpu: this.cpu(base.step.cpu), call: spec.name, args };
  }

  /** The same call, with one argument of another. */
  private again({ step }: Used): Step | null {
    const { prng, world } = this.picks;
    const { args: specs } = this.spec(step);
    const { yields: _, ...whole } = step;
    if (specs.length === 0 || world.used.length === 0) return whole;
    const { name, unit } = prng.pick(specs);
    const from = prng.pick(world.used);
    const value = step.kind === 'guest' ? ownArgument(from.step, name) : this.find(from, name, unit);
    const args = value === undefined ? step.args : { ...step.args, [name]: value };
    // A guest's call means something where its vCPU is loaded alone.
    return whole.kind === 'guest' ? { ...whole, args } : { ...whole, cpu: this.cpu(step.cpu), args };
  }

  /** What the call was about: a unit that other calls have, too. */
  private commonUnit({ step, endpoint }: Used): ArgumentUnit | null {
    const units = this.spec(step).args.flatMap(({ unit }) => (COMMON.has(unit) ? [unit] : []));
    if (endpoint !== '') units.push('stream');
    if ('call' in step && step.call === 'guest_alloc_domain') units.push('domain');
    return units.length === 0 ? null : this.picks.prng.pick(units);
  }

  private argument({ name, unit }: ArgumentSpec, base: Used): Value {
    const { prng, world } = this.picks;
    const own = prng.chance(FOREIGN) ? undefined : this.find(base, name, unit);
    if (own !== undefined) return own;
    const first = prng.below(world.used.length);
    for (let i = 0; i < world.used.length; i++) {
      const value = this.find(world.used[(first + i) % world.used.length]!, name, unit);
      if (value !== undefined) return value;
    }
    return unit === 'count' || unit === 'pages' ? 1 : 0;
  }

  /** An argument of a call by its name, or else by its unit, as the host would say it. */
  private find({ step, endpoint }: Used, name: string, unit: ArgumentUnit): Value | undefined {
    if (unit === 'stream' && endpoint !== '') return { name: endpoint };
    if (step.kind === 'guest') return this.findOfGuest(step, unit);
    const own = ownArgument(step, name);
    if (own !== undefined) return own;
    const arg = COMMON.has(unit) ? this.spec(step).args.find((one) => one.unit === unit) : undefined;
    return arg === undefined ? undefined : step.args[arg.name];
  }

  private findOfGuest(step: GuestStep, unit: ArgumentUnit): Value | undefined {
    if (unit === 'domain') {
      const value = step.args.domain;
      const name = step.bind ?? (typeof value === 'object' && 'name' in value ? value.name : '');
      for (const { domains } of this.world.vms) {
        const domain = domains.find((one) => one.name === name);
        if (domain !== undefined) return domain.id;
      }
      return undefined;
    }
    return unit === 'iova' ? step.args.iova : undefined;
  }

  /** A stream is named together with its IOMMU, most of the time. */
  private matchIommu(args: Record<string, Value>): void {
    const { endpoint } = args;
    if (args.iommu === undefined || typeof endpoint !== 'object' || !('name' in endpoint)) return;
    if (this.picks.prng.chance(90)) args.iommu = this.iommus.get(endpoint.name) ?? 0;
  }

  private cpu(cpu: number): number {
    return this.picks.prng.chance(OTHER_CPU) ? this.picks.prng.below(this.picks.machine.cpus) : cpu;
  }

  private spec(step: CallStep | GuestStep): CallSpec | GuestCallSpec {
    return step.kind === 'guest' ? guestCallNamed(step.call) : this.world.profile.call(step.call);
  }
}

function hasCommonUnit({ unit }: ArgumentSpec): boolean {
  return COMMON.has(unit);
}

function ownArgument({ args }: CallStep | GuestStep, name: string): Value | undefined {
  return Object.hasOwn(args, name) ? args[name] : undefined;
}
