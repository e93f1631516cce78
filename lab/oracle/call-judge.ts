/**
 * One call against the specification: the row that the state before it asks for, what it has returned, what is wrong with
 * that, and what it means for the ghost. The caller fills in the registers and the CPU of {@link Call} first.
 */

import {
  type CallSpec,
  decodeGuestCall,
  type GuestCallSpec,
  type GuestExit,
  PoolId,
  RequestType,
} from '#hypercall-abi';
import type { Facts } from './facts.ts';
import type { Findings } from './findings.ts';
import type { Ghost } from './ghost.ts';
import {
  type Call,
  type CallRules,
  isShortage,
  judge,
  judgeShortage,
  MADE_AGAIN,
  type Row,
  type Shortage,
  type Specification,
} from './spec/index.ts';

export class CallJudge {
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly collected: Findings;
  private readonly specification: Specification;
  private readonly call: Call;

  constructor(facts: Facts, ghost: Ghost, collected: Findings, specification: Specification, call: Call) {
    this.facts = facts;
    this.ghost = ghost;
    this.collected = collected;
    this.specification = specification;
    this.call = call;
  }

  // ---- before the call

  /** The first row that holds on the state before the call; null when there is none. */
  decide(rules: CallRules): Row | null {
    const { call } = this;
    call.monitor.releases.onMoved = null;
    rules.prepare(call);
    const { rows } = rules;
    for (let i = 0; i < rows.length; i++) if (rows[i]!.when(call)) return rows[i]!;
    return null;
  }

  /** What the guest on that CPU calls; undefined when it has no paravirtual IOMMU to call, or there is no such call. */
  guestCall(cpu: number, x: Int32Array): GuestCallSpec | undefined {
    const slot = this.ghost.vms.loadedOn(cpu);
    const mayCall = this.specification.hasGuests && slot >= 0 && this.ghost.vms.isProtected(slot);
    return mayCall ? decodeGuestCall(x) : undefined;
  }

  /** A call is made while an SMMU does not answer: what hardware may keep of it is lost for good. */
  noteSilence(): void {
    if (!this.ghost.mayHaveLost && !this.facts.allAnswer()) this.ghost.setMayHaveLost();
  }

  // ---- after it

  /** The hypercall has returned with these registers. */
  readResult(spec: CallSpec, x: Int32Array): void {
    const { call } = this;
    const errnoRegister = spec.x0 === 'errno' ? 0 : spec.x1 === 'errno' ? 1 : -1;
    call.returned(x, errnoRegister, spec.request);
    if (spec.x1 === 'handleOrErrno' && x[3]! < 0) call.errno = x[2]!;
  }

  /** The guest's call has returned with these registers, or has left the guest. */
  readGuestResult(x: Int32Array, exit: GuestExit | null): void {
    const { call } = this;
    call.returned(x, 0, false);
    call.exit = exit;
    if (exit?.reason !== 'memory') return;
    call.requestType = exit.request.pool === PoolId.heap ? RequestType.heap : RequestType.iommu;
    call.requestPages = exit.request.pages;
    if (x.every((word, i) => word === call.x[i])) call.errno = MADE_AGAIN;
  }

  /** The shortage of a row that the call has come to, if it has. */
  shortageOf({ shortages }: Row): Shortage | undefined {
    for (let i = 0; i < shortages.length; i++) if (isShortage(this.call, shortages[i]!)) return shortages[i];
    return undefined;
  }

  /** What is wrong with the outcome; null when it is as the row, or its shortage, has it. */
  problem(row: Row, shortage: Shortage | undefined): string | null {
    return shortage === undefined ? judge(this.call, row) : judgeShortage(this.call, shortage);
  }

  /**
   * The ghost takes over what the outcome means. A hypervisor that says yes where it had to say no has done the thing:
   * whoever got a page relies on it, so the row of success is applied.
   */
  take(rules: CallRules, decided: Row | Shortage): void {
    const { call } = this;
    if (call.errno === decided.errno) decided.apply(call);
    else if (call.errno === 0) rules.rows.at(-1)!.apply(call);
  }

  // ---- findings

  /** The call of that name does not keep to the row (`none` where there is none). */
  wrong(name: string, row: string, problem: string): void {
    this.collected.add('spec', row, `${name} ${problem}`, { errno: this.call.errno, value: this.call.value });
  }

  /** The hypervisor threw. */
  panicked(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.collected.add('panic', 'threw', `the hypervisor stopped: ${message}`, { message });
  }
}
