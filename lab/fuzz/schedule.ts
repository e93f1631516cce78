/**
 * Which CPU goes on, in inputs whose calls overlap: some calls are begun and left in progress, run some pauses further
 * among the steps of other CPUs, and run to their end; now and then a store that waits becomes visible.
 */

import type { Outcome, Step } from '../scenario/index.ts';
import type { RecordChoices } from './records.ts';

/** Percentages: calls that are left in progress; steps that go on with one; of these, those that end it, or let a store go. */
const LEFT = 35;
const GOES_ON = 45;
const ENDS = 20;
const DRAINS = 10;
/** Pauses that a call is run at once at most. */
const PAUSES_MAX = 24;

export class Schedule {
  private readonly busy: boolean[];
  private readonly choices: RecordChoices;

  constructor(cpus: number, choices: RecordChoices) {
    this.busy = Array.from({ length: cpus }, () => false);
    this.choices = choices;
  }

  /** Nothing is in progress. */
  reset(): void {
    this.busy.fill(false);
  }

  get isBusy(): boolean {
    return this.busy.includes(true);
  }

  /** The next step. @param make makes one up that knows nothing of calls in progress */
  next(make: () => Step): Step {
    const { choices, busy } = this;
    const running = busy.flatMap((isBusy, cpu) => (isBusy ? [cpu] : []));
    if (running.length > 0 && choices.chance(GOES_ON)) return this.goOn(choices.pick(running));
    const step = make();
    // What they have read is gone when calls that overlap with them are judged.
    if (running.length > 0 && readsLists(step)) return this.goOn(choices.pick(running));
    if (!('cpu' in step)) return step;
    const cpu = this.idleCpu(step);
    if (cpu < 0) return this.goOn(step.cpu);
    const moved = cpu === step.cpu ? step : { ...step, cpu };
    const canPause = !readsLists(moved) && (moved.kind === 'call' || moved.kind === 'hvc' || moved.kind === 'guest');
    if (!canPause || !choices.chance(LEFT)) return moved;
    return { ...moved, yields: choices.between(1, PAUSES_MAX) };
  }

  /** A CPU for the step that is free to do it; -1 when there is none. A guest runs where its vCPU is loaded. */
  private idleCpu(step: Step & { readonly cpu: number }): number {
    if (this.busy[step.cpu] === false) return step.cpu;
    return step.kind === 'guest' ? -1 : this.busy.indexOf(false);
  }

  private goOn(cpu: number): Step {
    const { choices } = this;
    if (choices.chance(DRAINS)) return { kind: 'drain', cpu, store: choices.below(2) };
    return { kind: 'run', cpu, yields: choices.chance(ENDS) ? 'end' : choices.between(1, PAUSES_MAX) };
  }

  /** Learn from what came of a step. */
  observe(step: Step, outcome: Outcome): void {
    if (outcome.kind !== 'progress' || !('cpu' in step)) return;
    this.busy[step.cpu] = outcome.progress === 'runs' || outcome.progress === 'waits';
  }

  /** Steps that bring what is in progress to its end: each CPU in turn, as often as they may wait for each other. */
  *ending(): Generator<Step, void, void> {
    for (let round = 0; round < this.busy.length && this.isBusy; round++) {
      for (let cpu = 0; cpu < this.busy.length; cpu++) if (this.busy[cpu]) yield { kind: 'run', cpu, yields: 'end' };
    }
  }
}

/** Whether the step's call takes a list from the host's memory. */
function readsLists(step: Step): boolean {
  return step.kind === 'topup' || (step.kind === 'call' && LISTS.has(step.call));
}

const LISTS: ReadonlySet<string> = new Set(['alloc_mgt_refill', 'map_sg', 'donate_guest_sglist']);
