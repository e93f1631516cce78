/**
 * Calls of several CPUs in progress at the same time: begun, run so many pauses further, run to their end. From the first
 * one that is begun to the moment at which none is in progress any more they are one section, which the oracles judge
 * as a whole.
 */

import type { GuestExit } from '#hypercall-abi';
import type { CheckedHypervisor } from '../oracle/index.ts';
import type { InterleavedCall } from '../oracle/interleaved.ts';
import type { SteppedCpus } from '../session/stepped.ts';
import { CannotDo } from './bind.ts';
import type { Outcome } from './execute.ts';
import type { Step } from './types.ts';

/** How far a step has brought the call of its CPU. */
export type Progress = 'runs' | 'waits' | 'ended' | 'idle';

/** A step that begins a call, its registers, and what to make of them once it has ended. */
export interface Begun {
  readonly step: Step;
  readonly cpu: number;
  readonly x: Int32Array;
  readonly isGuest: boolean;
  readonly finish: (exit: GuestExit | null) => Outcome;
}

/** A call that has ended, and the step that began it. */
export interface Ended {
  readonly step: Step;
  readonly outcome: Outcome;
}

/** Told of the calls of a section in the order in which they took effect, or null where none explains them. */
export type SectionObserver = (order: readonly InterleavedCall[] | null) => void;

interface Pending extends Begun {
  readonly before: Int32Array;
  readonly begun: number;
  fetched: Map<number, number> | null;
}

export class InterleavedCalls {
  private readonly stepped: SteppedCpus;
  private readonly oracle: CheckedHypervisor | null;
  private readonly onSection: SectionObserver;
  private readonly pending = new Map<number, Pending>();
  private readonly section: InterleavedCall[] = [];
  private clock = 0;
  /** The call that ended last, until it is asked for. */
  private last: Ended | null = null;

  constructor(stepped: SteppedCpus, oracle: CheckedHypervisor | null, onSection: SectionObserver) {
    this.stepped = stepped;
    this.oracle = oracle;
    this.onSection = onSection;
  }

  /** Forget everything: the machine was taken back. */
  reset(): void {
    this.stepped.reset();
    this.pending.clear();
    this.section.length = 0;
    this.clock = 0;
    this.last = null;
  }

  /** Whether some call is in progress. */
  get isBusy(): boolean {
    return this.pending.size > 0;
  }

  /** @throws CannotDo while that CPU has a call in progress: it cannot do anything else */
  requireIdle(cpu: number): void {
    const busy = this.pending.get(cpu);
    if (busy === undefined) return;
    const call = 'call' in busy.step ? busy.step.call : 'a call';
    throw new CannotDo(`CPU ${cpu} has ${call} in progress; @cpu${cpu}:end would run it to its end`);
  }

  /** Begin a call and run it so far. */
  begin(begun: Begun, yields: number | 'end'): Outcome {
    const { cpu, x, isGuest } = begun;
    if (!this.isBusy) {
      this.section.length = 0;
      this.oracle?.beginInterleaved();
    }
    const pending: Pending = { ...begun, before: x.slice(), begun: this.clock++, fetched: null };
    this.pending.set(cpu, pending);
    this.stepped.start(cpu, x, isGuest, ({ exit, panic }) => this.ended(pending, exit, panic));
    return this.run(cpu, yields);
  }

  /** Run the call in progress on that CPU so many pauses further, or to its end. */
  run(cpu: number, yields: number | 'end'): Outcome {
    let progress: Progress = this.pending.has(cpu) ? 'runs' : this.last === null ? 'idle' : 'ended';
    for (let n = 0; progress === 'runs' && (yields === 'end' || n < yields); n++) {
      if (this.stepped.isReady(cpu)) this.step(cpu);
      else progress = 'waits';
      if (!this.pending.has(cpu)) progress = 'ended';
    }
    if (this.stepped.isStuck) {
      const cpus = [...this.pending.keys()].map((busy) => `CPU ${busy}`).join(' and ');
      this.oracle?.deadlocked(`${cpus} wait for locks, and none of them can go on`);
    }
    const ended = this.last;
    this.last = null;
    if (!this.isBusy && this.section.length > 0) this.close();
    return { kind: 'progress', progress, ended };
  }

  private step(cpu: number): void {
    const touch = this.stepped.next(cpu);
    if (touch?.kind === 'fetch' || touch?.kind === 'fetchDouble') this.fetches(cpu, touch.at);
    if (touch?.kind === 'fetchDouble') this.fetches(cpu, touch.at + 4);
    this.stepped.step(cpu);
    if (touch?.kind === 'register') this.oracle?.registerAccessed(touch.at);
  }

  /** What a call makes of the host's word is what the word was when the call first looked. */
  private fetches(cpu: number, at: number): void {
    const pending = this.pending.get(cpu)!;
    pending.fetched ??= new Map();
    if (!pending.fetched.has(at)) pending.fetched.set(at, this.stepped.word(at));
  }

  /** Let a store of that CPU become visible that waits; `n` counts from the oldest. */
  drain(cpu: number, n: number): Outcome {
    return { kind: 'drain', drained: this.stepped.drain(cpu, n) };
  }

  private ended(
    { step, cpu, x, isGuest, finish, before, begun, fetched }: Pending,
    exit: GuestExit | null,
    panic: unknown,
  ): void {
    const ended = this.clock++;
    this.pending.delete(cpu);
    this.section.push({ cpu, isGuest, before, after: x.slice(), exit, panic, fetched, begun, ended });
    this.last = { step, outcome: finish(exit) };
  }

  /** Nothing is in progress any more. */
  private close(): void {
    this.stepped.settle();
    const calls = this.section.splice(0);
    this.onSection(this.oracle === null ? calls : this.oracle.endInterleaved(calls));
  }
}
