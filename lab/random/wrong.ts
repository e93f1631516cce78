/** Random steps that are wrong on purpose: one argument that does not belong, or registers as they come. */

import { type CallName, FUNCTION_ID_BASE } from '#hypercall-abi';
import type { CallStep, Step, Value } from '../scenario/index.ts';
import { edge, edgesOf } from './edges.ts';
import type { GuestDeviceSteps } from './guest-devices.ts';
import type { Picks } from './picks.ts';

/** Units of which products are made. */
const WRAPPING: ReadonlySet<string> = new Set(['pages', 'count']);

export class WrongSteps {
  private readonly picks: Picks;
  private readonly guestDevices: GuestDeviceSteps;
  private readonly allowed: ReadonlySet<CallName>;
  private readonly edges: ReturnType<typeof edgesOf>;

  /** @param taken as for the generator */
  constructor(picks: Picks, guestDevices: GuestDeviceSteps, allowed: ReadonlySet<CallName>, taken: readonly number[]) {
    this.picks = picks;
    this.guestDevices = guestDevices;
    this.allowed = allowed;
    this.edges = edgesOf(picks.machine, taken);
  }

  /** One argument becomes an edge value, or somebody else's handle. */
  withWrongArgument(step: CallStep): CallStep {
    const { prng, world } = this.picks;
    const { args } = world.profile.call(step.call);
    if (args.length === 0) return step;
    const { name, unit } = prng.pick(args);
    let value = edge(this.edges, unit, prng);
    const right = step.args[name];
    // So much more that the product with a page's size wraps to the right one, at 32 bits or at 64.
    if (WRAPPING.has(unit) && typeof right === 'number' && prng.chance(40)) {
      value = right + (prng.chance(50) ? 2 ** 52 : 2 ** 20);
    }
    if (unit === 'domain' && world.domains.length > 0 && prng.chance(50)) {
      value = { name: prng.pick(world.domains).name };
    } else if (unit === 'domain' && prng.chance(50)) {
      value = this.guestDevices.domainId();
    }
    if (unit === 'handle' && world.vms.length > 0 && prng.chance(50)) value = { name: prng.pick(world.vms).name };
    if (unit === 'stream' && prng.chance(50)) value = { name: prng.pick(this.picks.streams).name };
    return { ...step, args: { ...step.args, [name]: value } };
  }

  /** Registers as they come. */
  garbage(): Step {
    const { prng, world } = this.picks;
    const { calls } = world.profile;
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
    return { kind: 'hvc', cpu: prng.below(this.picks.machine.cpus), registers };
  }
}

/** Registers have no sign. */
function positive(value: Value): Value {
  return typeof value === 'number' && value < 0 ? 2 ** 32 + value : value;
}
