/**
 * A stepped hypervisor as one that serves whole calls, and as one whose calls are begun, advanced pause by pause and left
 * in progress while other CPUs run theirs. Stores of a CPU wait as machine/concurrency has it: others see them when its
 * call asks for it, when it releases a lock, or when they are let go.
 */

import type { AbortOutcome, BootParameters, GuestExit, Hypervisor, Profile, SteppedHypervisor } from '#hypercall-abi';
import { Interleaving, type Machine, run, type Steps, type Touch } from '#machine';

/** Puts a hypervisor on a machine that pauses wherever another CPU could step in. */
export type SteppedHypervisorFactory = (machine: Machine, profile?: Profile) => SteppedHypervisor<Touch>;

/** A 64-bit word that was written. */
export interface TouchWrite {
  readonly pa: number;
  readonly hi: number;
  readonly lo: number;
}

export type TouchListener = (cpu: number, touch: Touch, writes: readonly TouchWrite[]) => void;

const WORDS_PER_PAGE_LOG2 = 10;

/** What a call that was begun ended with. */
export interface SteppedEnd {
  readonly exit: GuestExit | null;
  /** What it threw, or null. */
  readonly panic: unknown;
}

export class SteppedCpus implements Hypervisor {
  readonly identity: string;
  readonly profile?: Profile;
  private readonly inner: SteppedHypervisor<Touch>;
  private readonly machine: Machine;
  private cpus: Interleaving;
  /**
   * Told of every pause after what it announced was done, with the 64-bit words that changed. While somebody listens each
   * store is visible at once.
   */
  onTouch: TouchListener | null = null;

  constructor(inner: SteppedHypervisor<Touch>, machine: Machine) {
    this.inner = inner;
    this.identity = inner.identity;
    if (inner.profile !== undefined) this.profile = inner.profile;
    this.machine = machine;
    this.cpus = new Interleaving(machine.memory, machine.cpus.length);
  }

  boot(parameters: BootParameters): number {
    return run(this.inner.boot(parameters));
  }

  hvc(cpu: number, x: Int32Array): void {
    this.whole(cpu, this.inner.hvc(cpu, x));
  }

  guestHvc(cpu: number, x: Int32Array): GuestExit | null {
    return this.inner.guestHvc === undefined ? null : this.whole(cpu, this.inner.guestHvc(cpu, x));
  }

  abort(cpu: number, ipa: number, write: boolean, width?: number, value?: number): AbortOutcome {
    return this.whole(cpu, this.inner.abort(cpu, ipa, write, width, value));
  }

  /** The machine was taken back: nothing is in progress, no store waits. */
  reset(): void {
    this.cpus = new Interleaving(this.machine.memory, this.machine.cpus.length);
  }

  /** Let a CPU begin a call, which runs up to its first pause. @param ended told what it ended with */
  start(cpu: number, x: Int32Array, isGuest: boolean, ended: (end: SteppedEnd) => void): void {
    const steps: Steps<unknown> =
      isGuest && this.inner.guestHvc !== undefined ? this.inner.guestHvc(cpu, x) : this.inner.hvc(cpu, x);
    this.cpus.start(cpu, reporting(steps, ended));
  }

  isBusy(cpu: number): boolean {
    return this.cpus.isBusy(cpu);
  }

  /** Whether the call on that CPU would get on: it does not wait for a lock that somebody holds. */
  isReady(cpu: number): boolean {
    return this.cpus.isReady(cpu);
  }

  /** CPUs that are busy, and wait for one another. */
  get isStuck(): boolean {
    return this.cpus.busy().length > 0 && this.cpus.ready().length === 0;
  }

  /** What the CPU is about to do; null when it is idle. */
  next(cpu: number): Touch | null {
    return this.cpus.next(cpu);
  }

  /** The word at physical address `pa`, as memory holds it. */
  word(pa: number): number {
    return this.machine.memory.read32(pa);
  }

  step(cpu: number): void {
    this.observed(cpu, this.cpus.next(cpu), () => {
      this.cpus.step(cpu);
      if (this.onTouch !== null) this.cpus.stores.drainAll(cpu);
    });
  }

  /** Do what a touch announces, and tell of it. */
  private observed(cpu: number, touch: Touch | null, perform: () => void): void {
    const { onTouch } = this;
    const { memory } = this.machine;
    if (onTouch === null || touch === null) {
      perform();
      return;
    }
    const mark = memory.mark();
    perform();
    const words = new Set([...memory.writtenSince(mark).keys()].map((index) => index & ~1));
    const writes = [...words].flatMap((index): TouchWrite[] => {
      const page = memory.paOfSlot(index >>> WORDS_PER_PAGE_LOG2);
      const pa = page + 4 * (index & (2 ** WORDS_PER_PAGE_LOG2 - 1));
      return page < 0 ? [] : [{ pa, hi: memory.words[index + 1]!, lo: memory.words[index]! }];
    });
    onTouch(cpu, touch, writes);
  }

  /** Let one waiting store of a CPU become visible; `n` counts from the oldest. @returns false when it has no such store */
  drain(cpu: number, n: number): boolean {
    if (n >= this.cpus.stores.waiting(cpu)) return false;
    this.cpus.stores.drain(cpu, n);
    return true;
  }

  /** Let all waiting stores of all CPUs become visible. */
  settle(): void {
    for (let cpu = 0; cpu < this.machine.cpus.length; cpu++) this.cpus.stores.drainAll(cpu);
  }

  /** A whole entry, each of its stores visible at once. @throws Waiting when another CPU holds what it needs */
  private whole<T>(cpu: number, steps: Steps<T>): T {
    let next = steps.next();
    while (next.done !== true) {
      const { kind, at } = next.value;
      if (kind === 'lock' && this.machine.memory.read32(at) !== 0 && this.cpus.busy().length > 0)
        throw new Waiting(cpu);
      this.observed(cpu, next.value, () => {
        next = steps.next();
      });
    }
    return next.value;
  }
}

/** A CPU would wait for a lock that another one holds, which does not run. */
export class Waiting extends Error {
  override readonly name: string = 'Waiting';

  constructor(cpu: number) {
    super(`CPU ${cpu} would wait for a lock that a call in progress on another CPU holds`);
  }
}

function* reporting(steps: Steps<unknown>, ended: (end: SteppedEnd) => void): Steps<void> {
  let end: SteppedEnd;
  try {
    const exit = (yield* steps) as GuestExit | null | undefined;
    end = { exit: exit ?? null, panic: null };
  } catch (panic) {
    end = { exit: null, panic };
  }
  ended(end);
}
