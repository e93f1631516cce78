/**
 * Knowledge of things whose state registers do not tell for sure: of each the set of states that it may be in, as a bit
 * mask over the states of its life cycle. An event is judged against the whole set, and is a violation only where no
 * possible state allows it. What was reported once is judged no more.
 */

import {
  eventIndex,
  FORBIDDEN,
  type LifeCycle,
  type LifeCycleName,
  nextState,
  type Report,
  ruleAt,
  stateIndex,
} from './life-cycle.ts';

/** What an event, or one of several that registers do not tell apart, makes of each set of states. */
export interface Move {
  readonly events: readonly number[];
  /** Set of states after, by set before; 0 where no state allows any of the events. */
  readonly to: Uint8Array;
}

export function moveOf(lifeCycle: LifeCycle, ...names: readonly string[]): Move {
  const events = names.map((name) => eventIndex(lifeCycle, name));
  const to = new Uint8Array(1 << lifeCycle.states.length);
  for (let mask = 1; mask < to.length; mask++) {
    for (let state = 0; state < lifeCycle.states.length; state++) {
      if ((mask & (1 << state)) === 0) continue;
      for (const event of events) {
        const next = nextState(lifeCycle, state, event);
        if (next !== FORBIDDEN) to[mask]! |= 1 << next;
      }
    }
  }
  return { events, to };
}

/** The set of that one state. */
export function setOf(lifeCycle: LifeCycle, state: string): number {
  return 1 << stateIndex(lifeCycle, state);
}

/** The set of all states. */
export function anyOf(lifeCycle: LifeCycle): number {
  return (1 << lifeCycle.states.length) - 1;
}

/** Names of the states in a set. */
export function statesIn(lifeCycle: LifeCycle, mask: number): string {
  return lifeCycle.states
    .filter((_, state) => (mask & (1 << state)) !== 0)
    .map(({ name }) => name)
    .join(' or ');
}

/** Names of the events of a move. */
export function eventsIn(lifeCycle: LifeCycle, { events }: Move): string {
  return events.map((event) => lifeCycle.events[event]!.name).join(' or ');
}

/** The rules that forbid a move in every state of a set, each once. */
export function rulesFor(lifeCycle: LifeCycle, mask: number, { events }: Move): string {
  const rules = new Set<string>();
  for (let state = 0; state < lifeCycle.states.length; state++) {
    if ((mask & (1 << state)) === 0) continue;
    for (const event of events) rules.add(ruleAt(lifeCycle, state, event));
  }
  return [...rules].join(' ');
}

/** The possible states of many things of one kind, by number. */
export class Possible {
  readonly #lifeCycle: LifeCycle;
  readonly #report: Report;
  readonly #masks: Uint8Array;
  readonly #initial: number;
  readonly #any: number;

  constructor(lifeCycle: LifeCycle, count: number, report: Report) {
    this.#lifeCycle = lifeCycle;
    this.#report = report;
    this.#masks = new Uint8Array(count);
    this.#initial = 1 << lifeCycle.initial;
    this.#any = anyOf(lifeCycle);
    this.reset();
  }

  /** All are in the initial state. */
  reset(): void {
    this.#masks.fill(this.#initial);
  }

  /** The set of states of thing `i`. */
  get(i: number): number {
    return this.#masks[i]!;
  }

  set(i: number, mask: number): void {
    this.#masks[i] = mask;
  }

  /** The move has happened to thing `i`, or is reported. @returns whether it may have happened */
  judge(i: number, subject: string, move: Move): boolean {
    const mask = this.#masks[i]!;
    const to = move.to[mask]!;
    if (to !== 0) {
      this.#masks[i] = mask === this.#any ? mask : to;
      return true;
    }
    this.refuse(subject, mask, move);
    this.#masks[i] = this.#any;
    return false;
  }

  /** Report a move of a thing that has no number. */
  refuse(subject: string, mask: number, move: Move): void {
    const lifeCycle = this.#lifeCycle;
    const name = lifeCycle.name as LifeCycleName;
    this.#report(name, subject, statesIn(lifeCycle, mask), eventsIn(lifeCycle, move), rulesFor(lifeCycle, mask, move));
  }
}
