/**
 * The run-time form of a life cycle: a statechart compiled to a dense table (see compile.ts), with the words that a
 * violation and a diagram need. Nothing here or in tables.ts needs XState.
 */

/** Entry of a table where the event must not happen. */
export const FORBIDDEN = 255;

export interface LifeCycleState {
  readonly name: string;
  /** What the state means, as a sentence. */
  readonly description: string;
}

export interface LifeCycleEvent {
  readonly name: string;
  /** The rule that is broken where this event must not happen. */
  readonly rule: string;
}

export interface LifeCycle {
  readonly name: string;
  readonly description: string;
  /** Index of the initial state. */
  readonly initial: number;
  readonly states: readonly LifeCycleState[];
  readonly events: readonly LifeCycleEvent[];
  /** Rules that say more than the event's own, by `state.EVENT`. */
  readonly rules: Readonly<Record<string, string>>;
  /** Next state, or {@link FORBIDDEN}, at state * events + event. */
  readonly next: Uint8Array;
}

/** Next state, or {@link FORBIDDEN}. */
export function nextState(lifeCycle: LifeCycle, state: number, event: number): number {
  return lifeCycle.next[state * lifeCycle.events.length + event]!;
}

/** Index of the state of that name. @throws RangeError when there is none */
export function stateIndex(lifeCycle: LifeCycle, name: string): number {
  const index = lifeCycle.states.findIndex((state) => state.name === name);
  if (index < 0) throw new RangeError(`life cycle ${lifeCycle.name}: no state '${name}'`);
  return index;
}

/** Index of the event of that name. @throws RangeError when there is none */
export function eventIndex(lifeCycle: LifeCycle, name: string): number {
  const index = lifeCycle.events.findIndex((event) => event.name === name);
  if (index < 0) throw new RangeError(`life cycle ${lifeCycle.name}: no event '${name}'`);
  return index;
}

/** The rule that forbids this event in this state. */
export function ruleAt(lifeCycle: LifeCycle, state: number, event: number): string {
  const { name, rule } = lifeCycle.events[event]!;
  return lifeCycle.rules[`${lifeCycle.states[state]!.name}.${name}`] ?? rule;
}

/** The one state that the event leads to wherever it is allowed, or -1 when that depends on the state before. */
export function landingState(lifeCycle: LifeCycle, event: number): number {
  const targets = new Set<number>();
  for (let state = 0; state < lifeCycle.states.length; state++) {
    const next = nextState(lifeCycle, state, event);
    if (next !== FORBIDDEN) targets.add(next);
  }
  const [only] = targets;
  return targets.size === 1 ? only! : -1;
}

/** Which life cycle. */
export type LifeCycleName =
  | 'domain'
  | 'stream'
  | 'pasid'
  | 'page'
  | 'power'
  | 'vm'
  | 'device'
  | 'pviommu'
  | 'guestDomain';

/** Is told of an event that no state in which a thing may be allows. */
export type Report = (machine: LifeCycleName, subject: string, states: string, event: string, rule: string) => void;

/** A crossing whose outcome a life cycle forbids. */
export interface LifeCycleViolation {
  readonly machine: LifeCycleName;
  /** Which instance, as text: an id, a handle, `iommu:sid`, `iommu:sid.pasid`, a physical address. */
  readonly subject: string;
  readonly state: string;
  readonly event: string;
  readonly rule: string;
  /** The call, as text. */
  readonly call: string;
}
