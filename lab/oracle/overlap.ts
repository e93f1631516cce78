/**
 * Calls that were in progress at the same time. While they are, only what must hold at every moment is looked at: locks,
 * what is released or given away while it may still be reached, commands, panics. When none is in progress any more they
 * must have had the results, and have left the state, of some order of them that keeps those apart which did not overlap.
 */

import { decodeFunction, Errno, GuestStatus, type Profile } from '#hypercall-abi';
import type { CallJudge } from './call-judge.ts';
import type { Facts } from './facts.ts';
import type { Findings } from './findings.ts';
import { holdersOf, type InterleavedCall, nameOf, ordersOf } from './interleaved.ts';
import type { Monitor } from './monitor.ts';
import type { Property } from './properties.ts';
import { type Call, guestRulesOf, type Row, type Specification } from './spec/index.ts';

/** Offset of SMMU_CMDQ_PROD. */
const CMDQ_PROD = 0x98;

/** An order of calls that overlapped, and the numbers of the rows that decide them then. */
export interface Explanation {
  readonly order: readonly InterleavedCall[];
  readonly rows: readonly number[];
}

export class Overlap {
  private readonly facts: Facts;
  private readonly collected: Findings;
  private readonly monitor: Monitor;
  private readonly specification: Specification;
  private readonly call: Call;
  private readonly judge: CallJudge;
  private readonly profile: Profile;
  /** Compares everything with the ghost. */
  private readonly checkAll: () => void;
  /** Whether calls are in progress. */
  isOn = false;
  /** Whether no order explained what came of calls that overlapped: only locks and panics are looked at from there on. */
  isLost = false;
  /** Rows that decide the calls of an order that is being tried. */
  private readonly decided: number[] = [];

  constructor(
    facts: Facts,
    collected: Findings,
    monitor: Monitor,
    specification: Specification,
    call: Call,
    judge: CallJudge,
    checkAll: () => void,
  ) {
    this.facts = facts;
    this.collected = collected;
    this.monitor = monitor;
    this.specification = specification;
    this.call = call;
    this.judge = judge;
    this.profile = facts.profile;
    this.checkAll = checkAll;
  }

  /** The machine was taken back: no call is in progress, and nothing is lost. */
  reset(): void {
    this.isOn = false;
    this.isLost = false;
    this.collected.only = null;
    this.monitor.undeferStores(true);
  }

  /** Calls begin that do not run to their end at once. */
  begin(): void {
    this.isOn = true;
    this.collected.only = holdsAlways;
    this.monitor.deferStores();
  }

  /** A call in progress has accessed the device register at `pa`. */
  registerAccessed(pa: number): void {
    const smmu = this.facts.description.smmus.findIndex(({ base }) => pa === base + CMDQ_PROD);
    if (smmu >= 0) this.monitor.queues.visible(smmu);
  }

  /**
   * No call is in progress any more, and all stores are visible. Where no order of the calls gives their results there is
   * no verdict (a call need not be one indivisible step): the oracle has lost track then.
   */
  end(calls: readonly InterleavedCall[]): Explanation | null {
    const { monitor, collected } = this;
    monitor.undeferStores(false);
    if (this.isLost) return null;
    this.isOn = false;
    collected.only = null;
    monitor.locks.clear();
    for (const { cpu, panic } of calls) if (panic !== null) this.panickedOn(cpu, panic);
    if (calls.every(({ panic }) => panic === null)) {
      const order = this.explanation(calls, false) ?? this.explanation(calls, true);
      if (order !== null) return { order, rows: [...this.decided] };
    }
    this.isLost = true;
    collected.only = (property) => property === 'lock' || property === 'panic';
    monitor.touched.clear();
    return null;
  }

  private panickedOn(cpu: number, error: unknown): void {
    this.collected.beginCall(cpu, this.call.x);
    this.judge.panicked(error);
    this.collected.endCall();
  }

  /**
   * The first order of the calls that gives their results and leaves the state as it is; otherwise the first that gives
   * their results, with what is wrong then. The ghost takes them over in that order.
   * @param foreign whether a call may have been refused because of one that may not use the domain, which is a finding
   */
  private explanation(calls: readonly InterleavedCall[], foreign: boolean): readonly InterleavedCall[] | null {
    const { collected, monitor } = this;
    const { memory } = this.facts;
    const kept = collected.list.length;
    let best: readonly InterleavedCall[] | null = null;
    for (const order of ordersOf(calls)) {
      const mark = memory.mark();
      if (this.areExplained(order, calls, foreign)) {
        this.checkAll();
        if (collected.list.length === kept) {
          monitor.touched.clear();
          return order;
        }
        best ??= order;
      }
      memory.undo(mark);
      collected.clear(kept);
      monitor.touched.clear();
    }
    if (best === null) return null;
    this.areExplained(best, calls, foreign);
    this.checkAll();
    monitor.touched.clear();
    return best;
  }

  private areExplained(
    order: readonly InterleavedCall[],
    calls: readonly InterleavedCall[],
    foreign: boolean,
  ): boolean {
    this.decided.length = 0;
    return order.every((one) => this.explains(one, calls, foreign));
  }

  /** Whether the result of a call is the one that the state, as the ghost has it now, asks for; the ghost takes it over. */
  private explains(one: InterleavedCall, calls: readonly InterleavedCall[], foreign: boolean): boolean {
    const { call, collected } = this;
    // Memory is as all of them have left it: a page that has left the host may have come back since.
    collected.only = (property) => property !== 'isolation';
    call.isAfterwards = true;
    call.fetched = one.fetched;
    call.isAlone = calls.length === 1;
    const isExplained = this.explainsAfterwards(one, calls, foreign);
    call.isAfterwards = false;
    call.fetched = null;
    call.isAlone = true;
    collected.only = null;
    return isExplained;
  }

  private explainsAfterwards(one: InterleavedCall, calls: readonly InterleavedCall[], foreign: boolean): boolean {
    const { call, judge } = this;
    const { cpu, isGuest, before, after, exit } = one;
    call.x.set(before);
    call.cpu = cpu;
    judge.noteSilence();
    const guest = isGuest ? judge.guestCall(cpu, before) : undefined;
    const spec = isGuest ? undefined : decodeFunction(before, this.profile);
    const rules = guest !== undefined ? guestRulesOf(guest.name) : spec && this.specification.rulesAt(spec.position);
    const row = rules === undefined ? null : judge.decide(rules);
    if (rules === undefined || row === null) return after[0] === -1 && after[1] === -1 && exit === null;
    if (spec === undefined) judge.readGuestResult(after, exit);
    else judge.readResult(spec, after);
    const shortage = judge.shortageOf(row);
    const isRight = judge.problem(row, shortage) === null;
    if (isRight) judge.take(rules, shortage ?? row);
    this.decided.push((shortage ?? row).index);
    call.exit = null;
    return isRight || this.isHeldOff(row, one, calls, foreign);
  }

  /** Whether a free or a detach was refused, or for another reason than else, because other calls counted the domain. */
  private isHeldOff(row: Row, one: InterleavedCall, calls: readonly InterleavedCall[], foreign: boolean): boolean {
    const { call, collected } = this;
    const { cpu, isGuest } = one;
    const name = nameOf(one, this.profile);
    const isFree = name === 'free_domain' || name === 'guest_free_domain';
    const mayBe = isFree || name === 'detach_dev' || name === 'guest_detach_dev';
    const isRefused = isFree ? call.errno === -Errno.EINVAL || call.errno === GuestStatus.invalid : call.errno < 0;
    const holders = mayBe && isRefused ? holdersOf(one, calls, this.profile) : [];
    if (row.errno !== 0 ? holders.length > 0 : holders.some((other) => other.isGuest === isGuest)) return true;
    if (!foreign || holders.length === 0) return false;
    collected.only = null;
    collected.beginCall(cpu, call.x);
    this.judge.wrong(name!, row.id, 'was refused because of a call that may not use the domain');
    collected.endCall();
    return true;
  }
}

/**
 * Findings that stand while calls are in progress: all but whose a page is that becomes a table or is mapped, which
 * another call in progress may have decided. What is left of that in the end is judged then.
 */
function holdsAlways(property: Property, rule: string): boolean {
  if (property === 'isolation') return rule !== 'foreign-page';
  return property !== 'structure' || (rule !== 'foreign-page' && rule !== 'free-page');
}
