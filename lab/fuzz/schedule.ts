/**
 * Which CPU goes on, in inputs whose calls overlap. Few switches in the right places find more than many anywhere: a call
 * is begun and left after some pauses, another CPU does something about the very same things, or stores to what the call
 * reads, and the call goes on. Now and then calls go on pause by pause, and a store that waits becomes visible.
 */

import type { CallStep, GuestStep, Outcome, PageRef, Step } from '../scenario/index.ts';
import type { RecordChoices } from './records.ts';

/** Steps with which a run begins mostly in peace: there is little yet that calls could meet at. */
const PEACE = 30;
/** Percentages. Calls that are left in progress, where none is: those about what is others', else at first, later; and beside others. */
const LEFT_CONTENDED = 60;
const LEFT_AT_FIRST = 4;
const LEFT = 25;
const LEFT_BESIDE = 15;
/** Steps beside a call in progress: those that go on with it; that store to what it reads; that are about the same. */
const GOES_ON = 25;
const STORES = 15;
const RIVALS = 45;
/** Of the steps that go on with a call: those that end it, or let a store go. */
const ENDS = 35;
const DRAINS = 10;
/** Most pauses that a call is run at once: the first ones matter most, for most calls are short. */
const PAUSES = [3, 6, 12, 24, 48];
/** The same of a call about what somebody else has: most of these are refused early. */
const PAUSES_CONTENDED = [2, 3, 4, 8, 24];
/** Calls that are begun before nothing is in progress any more: of more, the oracles do not try all orders. */
const CALLS_MAX = 4;
/** Words from where an argument points to that a call may read, and values that make a difference there. */
const WORDS = 4;
const VALUES = [0, 1, 2, 0xffffffff];

/** Who makes up steps. */
export interface StepMaker {
  /** A step that knows nothing of calls in progress. */
  readonly make: () => Step;
  /** One about the same things as a call; null when there is none. */
  readonly rival: (of: CallStep | GuestStep) => Step | null;
  /** Whether a step is about what is somebody else's, who may be at work on it. */
  readonly isContended: (step: Step) => boolean;
}

export class Schedule {
  /** By CPU, the step whose call is in progress. */
  private readonly busy: (Step | null)[];
  private readonly choices: RecordChoices;
  private begun = 0;

  constructor(cpus: number, choices: RecordChoices) {
    this.busy = Array.from({ length: cpus }, () => null);
    this.choices = choices;
  }

  /** Nothing is in progress. */
  reset(): void {
    this.busy.fill(null);
    this.begun = 0;
  }

  get isBusy(): boolean {
    return this.busy.some((step) => step !== null);
  }

  /** The next step. @param done steps of the run so far */
  next({ make, rival, isContended }: StepMaker, done: number): Step {
    const { choices, busy } = this;
    const running = busy.flatMap((step, cpu) => (step === null ? [] : [cpu]));
    if (running.length === 0) {
      const step = make();
      if (isContended(step)) return this.begin(step, LEFT_CONTENDED, PAUSES_CONTENDED);
      return this.begin(step, done < PEACE ? LEFT_AT_FIRST : LEFT);
    }
    const cpu = choices.pick(running);
    if (this.begun >= CALLS_MAX || choices.chance(GOES_ON)) return this.goOn(cpu);
    const step = this.aimed(busy[cpu]!, rival) ?? make();
    return this.begin(step, LEFT_BESIDE);
  }

  /** A step against a call in progress; null when it is not to be one, or there is none. */
  private aimed(against: Step, rival: StepMaker['rival']): Step | null {
    const dice = this.choices.below(100);
    if (dice < STORES) return this.storeInto(against);
    const isCall = against.kind === 'call' || against.kind === 'guest';
    return dice < STORES + RIVALS && isCall ? rival(against) : null;
  }

  /** The host changes a word that the call may read, or has read. */
  private storeInto(step: Step): Step | null {
    const { choices } = this;
    if (step.kind !== 'call') return null;
    const pages = Object.values(step.args).filter(
      (value): value is PageRef => typeof value === 'object' && 'page' in value,
    );
    const cpu = this.busy.indexOf(null);
    if (pages.length === 0 || cpu < 0) return null;
    const { byte = 0, ...page } = choices.pick(pages);
    const at: PageRef = { ...page, byte: (byte + 4 * choices.below(WORDS)) & (PAGE - 4) };
    return { kind: 'write', cpu, at, value: choices.chance(60) ? choices.pick(VALUES) : choices.next() };
  }

  /** The step on a CPU that is free; perhaps its call stays in progress. @param left percent of calls that do */
  private begin(step: Step, left: number, pauses = PAUSES): Step {
    const { choices } = this;
    if (!('cpu' in step)) return step;
    const cpu = this.idleCpu(step);
    if (cpu < 0) return this.goOn(step.cpu);
    const moved = cpu === step.cpu ? step : { ...step, cpu };
    const canPause = moved.kind === 'call' || moved.kind === 'hvc' || moved.kind === 'guest';
    if (!canPause || !choices.chance(left)) return moved;
    // A call in progress keeps its CPU from doing anything else: it may be any of those that are free.
    const elsewhere = isBound(moved) ? cpu : this.anyIdle(cpu);
    return { ...moved, cpu: elsewhere, yields: choices.between(1, choices.pick(pauses)) };
  }

  /** A CPU for the step that is free to do it; -1 when there is none. */
  private idleCpu(step: Step & { readonly cpu: number }): number {
    if (this.busy[step.cpu] === null) return step.cpu;
    return isBound(step) ? -1 : this.busy.indexOf(null);
  }

  private anyIdle(otherwise: number): number {
    const cpu = this.choices.below(this.busy.length);
    return this.busy[cpu] === null ? cpu : otherwise;
  }

  private goOn(cpu: number): Step {
    const { choices } = this;
    if (choices.chance(DRAINS)) return { kind: 'drain', cpu, store: choices.below(2) };
    const ends = this.begun >= CALLS_MAX || choices.chance(ENDS);
    return { kind: 'run', cpu, yields: ends ? 'end' : choices.between(1, choices.pick(PAUSES)) };
  }

  /** Learn from what came of a step. */
  observe(step: Step, outcome: Outcome): void {
    if (outcome.kind !== 'progress' || !('cpu' in step)) return;
    if (step.kind !== 'run') this.begun++;
    const stays = outcome.progress === 'runs' || outcome.progress === 'waits';
    this.busy[step.cpu] = stays ? (step.kind === 'run' ? this.busy[step.cpu]! : step) : null;
    if (!this.isBusy) this.begun = 0;
  }

  /** Steps that bring what is in progress to its end: each CPU in turn, as often as they may wait for each other. */
  *ending(): Generator<Step, void, void> {
    for (let round = 0; round < this.busy.length && this.isBusy; round++) {
      for (let cpu = 0; cpu < this.busy.length; cpu++) if (this.busy[cpu]) yield { kind: 'run', cpu, yields: 'end' };
    }
  }
}

const PAGE = 0x1000;

/** Whether the step means something on its CPU alone: that on which a vCPU is loaded. */
function isBound(step: Step): boolean {
  return step.kind === 'guest' || step.kind === 'guestHvc' || (step.kind === 'call' && OF_CPU.has(step.call));
}

const OF_CPU: ReadonlySet<string> = new Set(['map_guest', 'donate_guest', 'share_guest', 'vcpu_load', 'vcpu_put']);
