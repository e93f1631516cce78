/** The stepped hypervisor on several CPUs at once: what the tests of concurrency stand on. */

import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor } from '#hyp';
import { type HypLayout, hypLayout } from '#hyp/layout';
import {
  android17,
  type CallName,
  callNamed,
  encodeCall,
  makeRegisters,
  type SteppedHypervisor,
  VM_COUNT,
} from '#hypercall-abi';
import { Locks } from '#lab/oracle/locks';
import type { Prng } from '#lab/random/prng';
import { createMachine, hostPort, Interleaving, type Machine, run, type Touch, tiny } from '#machine';

export const PAGE = 4096;

export class SteppedRig {
  readonly machine: Machine;
  readonly memory: HostMemory;
  readonly layout: HypLayout = hypLayout(tiny);
  readonly hypervisor: SteppedHypervisor<Touch>;
  readonly cpus: Interleaving;
  /** Broken rules of locking. */
  readonly lockProblems: string[] = [];
  /** Words of host buffers that one call has fetched twice. */
  readonly fetchProblems: string[] = [];
  /** Told after every step and every drained store. */
  onStep: (() => void) | null = null;
  private readonly locks: Locks;
  private readonly fetched = Array.from({ length: tiny.cpus }, () => new Set<number>());

  constructor(create: (machine: Machine) => SteppedHypervisor<Touch> = createHypervisor) {
    this.machine = createMachine(tiny);
    this.memory = new HostMemory(tiny);
    const port = hostPort(this.machine.cpus[0]!);
    for (const smmu of tiny.smmus) setUpSmmu(port, this.memory, smmu);
    this.hypervisor = create(this.machine);
    const booted = run(this.hypervisor.boot({ smmus: tiny.smmus.map(({ base }) => base) }));
    if (booted !== 0) throw new Error(`boot: ${booted}`);
    this.cpus = new Interleaving(this.machine.memory, tiny.cpus);
    const counts = { domains: android17.domains.count, vms: VM_COUNT, smmus: tiny.smmus.length };
    this.locks = new Locks(this.layout, tiny.cpus, counts, (_rule, text) => this.lockProblems.push(text));
    this.cpus.onTouch = (cpu, { kind, at }) => {
      if (kind === 'lock') this.locks.taken(cpu, at);
      if (kind === 'unlock') this.locks.released(cpu, at);
      if (kind === 'fetch' || kind === 'fetchDouble') this.fetches(cpu, at);
      if (kind === 'fetchDouble') this.fetches(cpu, at + 4);
    };
  }

  private fetches(cpu: number, at: number): void {
    if (this.fetched[cpu]!.has(at)) this.fetchProblems.push(`CPU ${cpu} fetches 0x${at.toString(16)} twice`);
    this.fetched[cpu]!.add(at);
  }

  /** Let a CPU begin a call. @returns its registers: results stand there once it is idle */
  start(cpu: number, name: CallName, ...args: readonly number[]): Int32Array {
    const x = makeRegisters();
    encodeCall(x, callNamed(name), args);
    this.fetched[cpu]!.clear();
    this.cpus.start(cpu, this.hypervisor.hvc(cpu, x));
    return x;
  }

  /** Make a call on CPU 0 while no other runs, each store visible at once. */
  call(name: CallName, ...args: readonly number[]): Int32Array {
    const x = this.start(0, name, ...args);
    while (this.cpus.isBusy(0)) {
      this.step(0);
      this.cpus.stores.drainAll(0);
    }
    return x;
  }

  /** A domain of that stage with a stream attached, and memory for tables. */
  attachedDomain(id: number, stage: 1 | 2, sid: number): void {
    for (const x of [
      this.call('alloc_mgt_refill', 1, this.memory.alloc(4) + 4, 1),
      this.call('alloc_domain', 0, 0, id, stage - 1),
      this.call('attach_dev', 0, id, sid, 0, 0, 0),
    ]) {
      if (x[2] !== 0) throw new Error(`setting up domain ${id}: ${x[2]}`);
    }
  }

  step(cpu: number): void {
    if (this.cpus.step(cpu)) {
      const held = this.locks.heldBy(cpu);
      if (held.length !== 0) this.lockProblems.push(`CPU ${cpu} ends its call with ${held.join(', ')} held`);
    }
    this.onStep?.();
  }

  /** One step of one CPU, or one store that becomes visible, as `prng` says. @returns false when all are idle */
  stepSomething(prng: Prng, drainPercent: number): boolean {
    const { cpus } = this;
    const waiting =
      tiny.cpus === 0
        ? []
        : Array.from({ length: tiny.cpus }, (_, cpu) => cpu).filter((cpu) => cpus.stores.waiting(cpu) > 0);
    if (waiting.length !== 0 && prng.chance(drainPercent)) {
      const cpu = waiting[prng.below(waiting.length)]!;
      cpus.stores.drain(cpu, prng.below(cpus.stores.waiting(cpu)));
      this.onStep?.();
      return true;
    }
    const ready = cpus.ready();
    if (ready.length === 0) {
      const stuck = cpus.busy().map(({ cpu, touch }) => `CPU ${cpu} before ${touch.kind} 0x${touch.at.toString(16)}`);
      if (stuck.length !== 0) throw new Error(`deadlock: ${stuck.join('; ')}`);
      return false;
    }
    this.step(ready[prng.below(ready.length)]!);
    return true;
  }

  /** Until all CPUs are idle. */
  settle(prng: Prng, drainPercent = 10): void {
    while (this.stepSomething(prng, drainPercent)) {
      // stepSomething does the work.
    }
  }

  /** The vmemmap record of the page at `pa`. */
  page(pa: number): { readonly refcount: number; readonly hostState: number } {
    const record = this.machine.memory.read32(this.layout.vmemmap + 8 * ((pa - tiny.ram[0]!.base) / PAGE));
    return { refcount: record & 0xffff, hostState: (record >>> 24) & 15 };
  }

  /** Physical addresses that an access of the stream's device to `iova` may reach, through caches too. */
  reachable(device: string, iova: number): number[] {
    return this.machine
      .device(device)
      .possible(iova, true)
      .flatMap((outcome) => (outcome.ok ? [outcome.pa - (outcome.pa % PAGE)] : []));
  }
}
