/**
 * Several CPUs in the same code, one step at a time. Who goes next, and when a waiting store becomes visible, is the
 * caller's to choose: a test's, or an engine's that looks for races. The order of choices is all that a run depends on.
 */

import type { PhysicalMemory } from '../memory/index.ts';
import type { Steps, Touch } from '../steps.ts';
import { StoreBuffers } from './store-buffers.ts';

/** Told before a CPU does what its touch says. */
export type TouchObserver = (cpu: number, touch: Touch) => void;

export class Interleaving {
  readonly stores: StoreBuffers;
  private readonly memory: PhysicalMemory;
  private readonly running: (Steps<unknown> | null)[];
  private readonly touches: (Touch | null)[];
  /** Told of every step. */
  onTouch: TouchObserver | null = null;

  constructor(memory: PhysicalMemory, cpus: number) {
    this.memory = memory;
    this.stores = new StoreBuffers(memory, cpus);
    this.running = Array.from({ length: cpus }, () => null);
    this.touches = Array.from({ length: cpus }, () => null);
  }

  /** Let `cpu` begin a computation. It runs up to its first touch. @throws RangeError when it is busy with another */
  start(cpu: number, steps: Steps<unknown>): void {
    if (this.running[cpu] !== null) throw new RangeError(`CPU ${cpu} is busy`);
    this.running[cpu] = steps;
    this.advance(cpu, -1);
  }

  /** Whether the CPU has a computation that has not ended. */
  isBusy(cpu: number): boolean {
    return this.running[cpu] !== null;
  }

  /** What the CPU is about to do; null when it is idle. */
  next(cpu: number): Touch | null {
    return this.touches[cpu]!;
  }

  /** Whether a step of the CPU would get on: it is busy, and does not wait for a lock that somebody holds. */
  isReady(cpu: number): boolean {
    const touch = this.touches[cpu]!;
    return touch !== null && !(touch.kind === 'lock' && this.memory.read32(touch.at) !== 0);
  }

  /** CPUs that are {@link isReady}. None although some are busy: a deadlock. */
  ready(): number[] {
    return this.running.flatMap((_, cpu) => (this.isReady(cpu) ? [cpu] : []));
  }

  /** CPUs that are busy, with what they are about to do. */
  busy(): { readonly cpu: number; readonly touch: Touch }[] {
    return this.touches.flatMap((touch, cpu) => (touch === null ? [] : [{ cpu, touch }]));
  }

  /** Let the CPU do what it is about to do. @returns whether its computation has ended */
  step(cpu: number): boolean {
    const touch = this.touches[cpu];
    if (touch === null || touch === undefined) throw new RangeError(`CPU ${cpu} is idle`);
    this.onTouch?.(cpu, touch);
    if (touch.kind === 'barrier' || touch.kind === 'unlock') this.stores.drainAll(cpu);
    // A device that an access to its registers sets going sees what everybody sees.
    if (touch.kind === 'register') return this.resume(cpu);
    return this.advance(cpu, touch.kind === 'writeDescriptor' || touch.kind === 'queue' ? touch.at : -1);
  }

  /** One step with the CPU's own view of memory. */
  private advance(cpu: number, held: number): boolean {
    return this.stores.step(cpu, held, () => this.resume(cpu));
  }

  private resume(cpu: number): boolean {
    const result = this.running[cpu]!.next();
    this.touches[cpu] = result.done === true ? null : result.value;
    if (result.done === true) this.running[cpu] = null;
    return result.done === true;
  }
}
