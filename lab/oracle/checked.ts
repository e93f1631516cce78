/**
 * A hypervisor behind the oracle: every boot, hypercall and abort is forwarded to the hypervisor under test and judged.
 * Before the call the specification decides what must come back; while it runs the monitor watches memory; afterwards
 * the ghost takes over what the outcome means, and what was touched is compared with it.
 *
 * What was touched is compared after every call. Decoding everything anew, which trusts nothing that was counted on the
 * way, takes long: `full` says how often it is done.
 *
 * All that the oracle remembers is journaled in the machine's memory, so undoing the machine undoes the oracle. Findings
 * and the counts for {@link CheckedHypervisor.statement} are not: what was found stays found.
 */

import { type HypLayout, hypLayout } from '#hyp/layout';
import {
  type AbortOutcome,
  type BootParameters,
  type CallSpec,
  copyRegisters,
  decodeFunction,
  decodeGuestCall,
  defaultProfile,
  Errno,
  errnoName,
  FUNCTION_ID_BASE,
  formatCall,
  type GuestExit,
  GuestStatus,
  type Hypervisor,
  PoolId,
  type Profile,
  RequestType,
  setNumber,
} from '#hypercall-abi';
import { abstractState } from './abstract-state.ts';
import { Accesses, type DeviceAccess } from './accesses.ts';
import { BootRules, type Refusal } from './boot-rules.ts';
import { Comparison } from './compare.ts';
import { ExpectedStream } from './expected-stream.ts';
import { Facts, IPA_END, type OracleMachine, PAGE } from './facts.ts';
import { type Finding, Findings, hex } from './findings.ts';
import { Frame } from './frame.ts';
import { FullCheck } from './full-check.ts';
import { Ghost, Owner } from './ghost.ts';
import { Hardware } from './hardware.ts';
import { holdersOf, type InterleavedCall, nameOf, ordersOf } from './interleaved.ts';
import { LayoutReader } from './layout-reader.ts';
import { Monitor } from './monitor.ts';
import type { Property } from './properties.ts';
import { Sections } from './sections.ts';
import { Sometimes, type SometimesCount, type SometimesName } from './sometimes.ts';
import {
  Call,
  type CallRules,
  ENTRY_ROWS,
  type EntryRow,
  guestRulesOf,
  isShortage,
  judge,
  judgeShortage,
  MADE_AGAIN,
  type Row,
  rowCount,
  type Shortage,
  type Specification,
  specificationOf,
} from './spec/index.ts';
import { Stage2 } from './stage2.ts';
import { type Evidence, makeStatement, NO_SMMU_REGISTERS, NO_SYSTEM_REGISTERS } from './statement.ts';
import { Takeover } from './takeover.ts';

export interface OracleOptions {
  /** How often everything is decoded anew and compared: never, after every call, or after every so many. */
  readonly full?: 'never' | 'every' | number;
  /** Judge nothing more once something was found. */
  readonly stopAtFirst?: boolean;
  /** Whether each locked section of a call is looked at, too, and what is written outside of one; `full: 'every'` has it on. */
  readonly sections?: boolean;
  /** The properties that are reported; all when left out. What is off is judged all the same, for what follows from it. */
  readonly properties?: readonly Property[];
  /** Findings kept at most. */
  readonly maxFindings?: number;
  /** Where the hypervisor keeps its records, if not where hyp/layout.ts puts them. */
  readonly layout?: HypLayout;
}

const MAX_FINDINGS = 64;
/** Offset of SMMU_CMDQ_PROD. */
const CMDQ_PROD = 0x98;

export class CheckedHypervisor implements Hypervisor {
  readonly identity: string;
  readonly profile: Profile;
  private readonly inner: Hypervisor;
  private readonly facts: Facts;
  private readonly ghost: Ghost;
  private readonly collected: Findings;
  private readonly reader: LayoutReader;
  private readonly monitor: Monitor;
  private readonly comparison: Comparison;
  private readonly stage2: Stage2;
  /** Null where locked sections are not looked at. */
  private readonly sections: Sections | null;
  private readonly full: FullCheck;
  private readonly frame: Frame;
  private readonly hardware: Hardware;
  private readonly accesses: Accesses;
  private readonly bootRules: BootRules;
  private readonly takeover: Takeover;
  private readonly call: Call;
  private readonly specification: Specification;
  private readonly sometimes: Sometimes;
  private readonly interval: number;
  private readonly stopAtFirst: boolean;
  private readonly hits: Float64Array;
  /** Number of the row of the call specification that decided last; 0 when none has. */
  lastRow = 0;
  private callsChecked = 0;
  private fullChecks = 0;
  private callsBeforeBoot = 0;
  private sinceFull = 0;
  private foundAtBoot = 0;
  private isInterleaved = false;
  private isLost = false;
  /** Rows that decide the calls of an order that is being tried. */
  private readonly decided: number[] = [];

  constructor(inner: Hypervisor, machine: OracleMachine, options: OracleOptions = {}) {
    this.inner = inner;
    this.identity = inner.identity;
    this.profile = inner.profile ?? defaultProfile;
    this.facts = new Facts(machine, this.profile);
    this.collected = new Findings(options.maxFindings ?? MAX_FINDINGS, this.profile, options.properties);
    this.specification = specificationOf(this.profile);
    this.hits = new Float64Array(rowCount());
    this.ghost = new Ghost(this.facts);
    this.reader = new LayoutReader(
      machine.memory,
      options.layout ?? hypLayout(machine.description, this.profile),
      this.profile,
    );
    this.monitor = new Monitor(this.facts, this.ghost, this.collected, this.reader, this.profile.domains.count);
    this.stage2 = new Stage2(this.facts, this.ghost, this.collected, this.reader);
    this.comparison = new Comparison(
      this.facts,
      this.ghost,
      this.collected,
      this.reader,
      this.monitor,
      this.stage2,
      new ExpectedStream(this.facts),
    );
    this.full = new FullCheck(
      this.facts,
      this.ghost,
      this.collected,
      this.reader,
      this.monitor,
      this.comparison,
      this.stage2,
    );
    this.frame = new Frame(this.facts, this.ghost, this.collected);
    this.stage2.frame = this.frame;
    this.sections =
      (options.sections ?? options.full === 'every')
        ? new Sections(this.facts, this.collected, this.reader, this.monitor, this.comparison, this.frame)
        : null;
    this.hardware = new Hardware(machine, this.facts, this.collected, this.reader);
    this.bootRules = new BootRules(machine, this.facts);
    this.accesses = new Accesses(this.facts, this.ghost, this.collected);
    this.takeover = new Takeover(this.facts, this.ghost, this.collected, this.reader, this.monitor.touched);
    this.call = new Call(this.facts, this.ghost, this.reader, this.monitor);
    this.sometimes = new Sometimes(this.facts, this.call, this.specification);
    this.monitor.sometimes = this.sometimes;
    const full = options.full ?? 'never';
    this.interval = full === 'never' ? 0 : full === 'every' ? 1 : full;
    this.stopAtFirst = options.stopAtFirst ?? false;
  }

  /** What was found so far, in the order in which it was found. */
  get findings(): readonly Finding[] {
    return this.collected.list;
  }

  /**
   * The machine was taken back to an earlier mark, after boot: forget what was found since boot, and what waits to be
   * compared. The next full check is as far away as it was then.
   */
  reset(): void {
    this.collected.clear(this.foundAtBoot);
    this.collected.endCall();
    this.monitor.touched.clear();
    this.monitor.locks.clear();
    this.sections?.forget();
    this.sinceFull = 0;
    this.isInterleaved = false;
    this.isLost = false;
    this.collected.only = null;
    this.monitor.undeferCommands(true);
  }

  // ---- calls in progress at the same time

  /**
   * Calls begin that do not run to their end at once. Until {@link endInterleaved} only what must hold at every moment is
   * looked at: locks, what is released or given away while it may still be reached, commands, panics.
   */
  beginInterleaved(): void {
    if (this.isLost) return;
    this.isInterleaved = true;
    this.sections?.forget();
    this.collected.only = holdsAlways;
    this.monitor.deferCommands();
  }

  /** A call in progress has accessed the device register at `pa`. */
  registerAccessed(pa: number): void {
    const smmu = this.facts.description.smmus.findIndex(({ base }) => pa === base + CMDQ_PROD);
    if (smmu >= 0) this.monitor.commandsVisible(smmu);
  }

  /** Whether no order of calls that overlapped explained what came of them: only locks and panics are looked at from there on. */
  get hasLostTrack(): boolean {
    return this.isLost;
  }

  /**
   * No call is in progress any more, and all stores are visible. The calls must have had the results, and have left the
   * state, of some order of them that keeps those apart which did not overlap. Where no order gives the results there is no
   * verdict (a call need not be one indivisible step): the oracle has lost track then.
   * @returns that order, or null
   */
  endInterleaved(calls: readonly InterleavedCall[]): readonly InterleavedCall[] | null {
    this.monitor.undeferCommands(false);
    if (this.isLost) return null;
    this.isInterleaved = false;
    this.collected.only = null;
    this.monitor.locks.clear();
    for (const { cpu, panic } of calls) if (panic !== null) this.panickedOn(cpu, panic);
    if (calls.every(({ panic }) => panic === null)) {
      const order = this.explanation(calls, false) ?? this.explanation(calls, true);
      if (order !== null) return order;
    }
    this.isLost = true;
    this.collected.only = (property) => property === 'lock' || property === 'panic';
    this.monitor.touched.clear();
    return null;
  }

  /**
   * The first order of the calls that gives their results and leaves the state as it is; otherwise the first that gives
   * their results, with what is wrong then. The ghost takes them over in that order.
   * @param foreign whether a call may have been refused because of one that may not use the domain, which is a finding
   */
  private explanation(calls: readonly InterleavedCall[], foreign: boolean): readonly InterleavedCall[] | null {
    const { memory } = this.facts;
    const kept = this.collected.list.length;
    let explained: readonly InterleavedCall[] | null = null;
    for (const order of ordersOf(calls)) {
      const mark = memory.mark();
      this.decided.length = 0;
      if (order.every((one) => this.explains(one, calls, foreign))) {
        this.checkAll();
        if (this.collected.list.length === kept) return this.explainedBy(order);
        explained ??= order;
      }
      memory.undo(mark);
      this.collected.clear(kept);
      this.monitor.touched.clear();
    }
    if (explained === null) return null;
    this.decided.length = 0;
    for (const one of explained) this.explains(one, calls, foreign);
    this.checkAll();
    return this.explainedBy(explained);
  }

  private explainedBy(order: readonly InterleavedCall[]): readonly InterleavedCall[] {
    this.callsChecked += order.length;
    for (const row of this.decided) this.hits[row]!++;
    this.monitor.touched.clear();
    return order;
  }

  /** Every CPU that has a call in progress waits for another. */
  deadlocked(text: string): void {
    this.collected.add('lock', 'deadlock', text);
  }

  private panickedOn(cpu: number, error: unknown): void {
    this.collected.beginCall(cpu, this.call.x);
    this.panicked(error);
    this.collected.endCall();
  }

  /** Whether the result of a call is the one that the state, as the ghost has it now, asks for; the ghost takes it over. */
  private explains(one: InterleavedCall, calls: readonly InterleavedCall[], foreign: boolean): boolean {
    // Memory is as all of them have left it: a page that has left the host may have come back since.
    this.collected.only = (property) => property !== 'isolation';
    this.call.isAfterwards = true;
    this.call.fetched = one.fetched;
    this.call.isAlone = calls.length === 1;
    const isExplained = this.explainsAfterwards(one, calls, foreign);
    this.call.isAfterwards = false;
    this.call.fetched = null;
    this.call.isAlone = true;
    this.collected.only = null;
    return isExplained;
  }

  private explainsAfterwards(one: InterleavedCall, calls: readonly InterleavedCall[], foreign: boolean): boolean {
    const { call } = this;
    const { cpu, isGuest, before, after, exit } = one;
    call.x.set(before);
    call.cpu = cpu;
    this.noteSilence();
    const guest = isGuest && this.mayCall(cpu) ? decodeGuestCall(before) : undefined;
    const spec = isGuest ? undefined : decodeFunction(before, this.profile);
    const rules = guest !== undefined ? guestRulesOf(guest.name) : spec && this.specification.rulesAt(spec.position);
    const row = rules === undefined ? null : decide(rules, call);
    if (rules === undefined || row === null) return after[0] === -1 && after[1] === -1 && exit === null;
    if (spec === undefined) this.readGuestResult(after, exit);
    else this.readResult(spec, after);
    const shortage = shortageOf(row, call);
    const problem = shortage === undefined ? judge(call, row) : judgeShortage(call, shortage);
    if (problem === null) this.take(rules, shortage ?? row);
    this.decided.push((shortage ?? row).index);
    call.exit = null;
    return problem === null || this.isHeldOff(row, one, calls, foreign);
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
    this.wrong(name!, row.id, 'was refused because of a call that may not use the domain');
    collected.endCall();
    return true;
  }

  /** A call is made while an SMMU does not answer: what hardware may keep of it is lost for good. */
  private noteSilence(): void {
    if (!this.ghost.mayHaveLost && !this.facts.allAnswer()) this.ghost.setMayHaveLost();
  }

  private readResult(spec: CallSpec, x: Int32Array): void {
    const { call } = this;
    const errnoRegister = spec.x0 === 'errno' ? 0 : spec.x1 === 'errno' ? 1 : -1;
    call.returned(x, errnoRegister, spec.request);
    if (spec.x1 === 'handleOrErrno' && x[3]! < 0) call.errno = x[2]!;
  }

  private readGuestResult(x: Int32Array, exit: GuestExit | null): void {
    const { call } = this;
    call.returned(x, 0, false);
    call.exit = exit;
    if (exit?.reason !== 'memory') return;
    call.requestType = exit.request.pool === PoolId.heap ? RequestType.heap : RequestType.iommu;
    call.requestPages = exit.request.pages;
    if (x.every((word, i) => word === call.x[i])) call.errno = MADE_AGAIN;
  }

  /** Somebody has seen the run in a state that no call tells. */
  saw(name: SometimesName): void {
    this.sometimes.saw(name);
  }

  /** How often the run was in each state that it should have been in. */
  sometimesCounts(): SometimesCount[] {
    return this.sometimes.counts();
  }

  /** Whom the page at `pa` belongs to, as the calls have made it: one of Owner; the host for what is no RAM. */
  ownerOf(pa: number): number {
    const page = this.facts.pageOf(pa);
    return page < 0 ? Owner.host : this.ghost.owner(page);
  }

  /** Whether a stream, or a PASID of it, is attached to a domain of a guest. */
  isGuestsStream(smmu: number, sid: number, pasid = 0): boolean {
    const id = this.ghost.streamDomain(smmu, sid, pasid);
    return id >= 0 && this.ghost.domainOwner(id) !== 0;
  }

  /** Rows of the call specification and how often each decided. */
  rows(): { readonly id: string; readonly hits: number }[] {
    return this.specification.rows.map(({ id, index }) => ({ id, hits: this.hits[index]! }));
  }

  /** A hash of the state in coarse terms, for telling states apart that differ in kind; see {@link abstractState}. */
  abstractState(): number {
    return abstractState(this.facts, this.ghost, this.monitor.stale);
  }

  /** The evidence for "nothing found": what was checked, what was never reached, what is not modelled. */
  statement(): Evidence {
    const { callsChecked, fullChecks, callsBeforeBoot } = this;
    const sectionsChecked = this.sections?.count ?? 0;
    const { list, suppressed } = this.collected;
    return makeStatement(
      {
        callsChecked,
        sectionsChecked,
        fullChecks,
        callsBeforeBoot,
        findings: list.length + suppressed,
        propertiesOff: this.collected.off,
      },
      this.rows(),
      this.sometimesCounts(),
      [
        ...(this.hardware.readsSmmus ? [] : [NO_SMMU_REGISTERS]),
        ...(this.hardware.readsCpus ? [] : [NO_SYSTEM_REGISTERS]),
      ],
    );
  }

  /** Decode everything and compare it with the ghost, now. Calls in progress make it mean nothing. */
  checkAll(): void {
    if (!this.monitor.active || this.isInterleaved || this.isLost) return;
    this.fullChecks++;
    this.hardware.check();
    this.full.run();
  }

  // ---- accesses

  /** An access of a device went through. */
  deviceReached(access: DeviceAccess): void {
    if (!this.monitor.active || this.stopped) return;
    this.accesses.device(access);
  }

  /** An access of the host on that CPU to `ipa` went through, and led to `pa`. */
  hostReached(cpu: number, ipa: number, pa: number, write: boolean): void {
    if (this.monitor.active && !this.stopped) this.accesses.host(cpu, ipa, pa, write);
  }

  private get stopped(): boolean {
    return this.isInterleaved || this.isLost || (this.stopAtFirst && this.collected.list.length !== 0);
  }

  private hitEntry(row: EntryRow): void {
    this.hits[ENTRY_ROWS.indexOf(row)]!++;
  }

  // ---- boot

  boot(parameters: BootParameters): number {
    let result = 0;
    this.foundAtBoot = 0;
    const refusal = this.hardware.readsSmmus ? this.bootRules.refusal(parameters) : undefined;
    this.hardware.beforeBoot();
    try {
      result = this.inner.boot(parameters);
    } catch (error) {
      this.panicked(error);
      return -1;
    }
    this.hitEntry(result === 0 ? 'boot/ok' : 'boot/refused');
    if (refusal !== undefined) this.judgeBoot(refusal, result);
    if (result !== 0) return result;
    const caches = this.profile.request === 'needs-page' ? (parameters.memcaches ?? 0) : 0;
    this.takeover.learn(this.hardware.offered, caches);
    this.frame.allow([...(caches === 0 ? [] : [{ base: caches, size: PAGE }]), ...this.hardware.eventQueues()]);
    this.monitor.start();
    this.full.afterBoot();
    this.hardware.afterBoot();
    this.finish(false);
    this.sinceFull = 0;
    this.foundAtBoot = this.collected.list.length;
    return result;
  }

  private judgeBoot(refusal: Refusal | null, result: number): void {
    if (result === (refusal?.errno ?? 0)) return;
    // What boot needs most at once is the first table of the identity domain.
    const order = Math.ceil(Math.log2(this.facts.identityGeometry.rootPages));
    if (result === -Errno.ENOMEM && this.call.poolLacks(PoolId.heap, order)) return;
    const must = refusal === null ? 'there is no reason to refuse' : `${errnoName(refusal.errno)}: ${refusal.text}`;
    const rule = refusal === null ? 'boot/ok' : 'boot/refused';
    this.collected.add('spec', rule, `boot gave ${errnoName(result)}; ${must}`, { errno: result });
  }

  // ---- hypercalls

  hvc(cpu: number, x: Int32Array): void {
    if (!this.monitor.active || this.stopped) {
      if (!this.monitor.active) this.callsBeforeBoot++;
      this.inner.hvc(cpu, x);
      return;
    }
    const { call } = this;
    copyRegisters(call.x, x);
    call.cpu = cpu;
    this.collected.beginCall(cpu, x);
    const position = x[1] === 0 ? (x[0]! - FUNCTION_ID_BASE) | 0 : -1;
    const rules = this.specification.rulesAt(position);
    const row = rules === undefined ? null : decide(rules, call);
    this.frame.begin(this.isFullDue);
    this.sections?.begin(cpu, rules?.isPiecewise);
    this.noteSilence();
    try {
      this.inner.hvc(cpu, x);
    } catch (error) {
      this.panicked(error);
      this.finish(false);
      return;
    }
    this.callsChecked++;
    if (rules === undefined) this.unknownCall(x);
    else this.judgeCall(this.profile.at(position)!, rules, row, x);
  }

  guestHvc(cpu: number, x: Int32Array): GuestExit | null {
    const serve = (): GuestExit | null => {
      if (this.inner.guestHvc !== undefined) return this.inner.guestHvc(cpu, x);
      setNumber(x, 0, GuestStatus.notSupported);
      return null;
    };
    if (!this.monitor.active || this.stopped) return serve();
    const { call } = this;
    copyRegisters(call.x, x);
    call.cpu = cpu;
    this.collected.beginGuestCall(cpu, x);
    const spec = this.mayCall(cpu) ? decodeGuestCall(x) : undefined;
    const rules = spec === undefined ? undefined : guestRulesOf(spec.name);
    const row = rules === undefined ? null : decide(rules, call);
    this.frame.begin(this.isFullDue);
    this.sections?.begin(cpu, rules?.isPiecewise);
    this.noteSilence();
    let exit: GuestExit | null = null;
    try {
      exit = serve();
    } catch (error) {
      this.panicked(error);
      this.finish(false);
      return null;
    }
    this.callsChecked++;
    this.readGuestResult(x, exit);
    if (spec === undefined || rules === undefined || row === null) this.unknownGuestCall(x, exit);
    else this.judgeRow(spec.name, rules, row);
    call.exit = null;
    this.finish(call.errno < 0 && call.value === 0, true);
    return exit;
  }

  /** Whether the guest on that CPU has a paravirtual IOMMU to call. */
  private mayCall(cpu: number): boolean {
    const slot = this.ghost.loadedVm(cpu);
    return this.specification.hasGuests && slot >= 0 && this.ghost.vmProtected(slot);
  }

  private unknownGuestCall(x: Int32Array, exit: GuestExit | null): void {
    this.hitEntry('unknown/guest-not-supported');
    if (x[0] === GuestStatus.notSupported && x[1] === -1 && exit === null) return;
    this.collected.add('spec', 'unknown/guest-not-supported', 'a call that no guest has did not return not-supported');
  }

  private panicked(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.collected.add('panic', 'threw', `the hypervisor stopped: ${message}`, { message });
  }

  private unknownCall(x: Int32Array): void {
    this.hitEntry('unknown/not-supported');
    if (x[0] !== -1 || x[1] !== -1) {
      this.collected.add(
        'spec',
        'unknown/not-supported',
        `${formatCall(this.call.x, this.profile)} did not return not-supported`,
      );
    }
    this.finish(true, true);
  }

  private judgeCall(spec: CallSpec, rules: CallRules, row: Row | null, x: Int32Array): void {
    const { call } = this;
    this.readResult(spec, x);
    if (spec.x0 === 'smccc' && (x[0] !== 0 || x[1] !== 0))
      this.wrong(spec.name, 'none', 'did not return SMCCC success');
    if (row === null) {
      this.wrong(spec.name, 'none', 'has no row for this state');
    } else {
      this.judgeRow(spec.name, rules, row);
    }
    this.finish(call.errno < 0 && (spec.x1 !== 'bytes' || call.value === 0), true);
  }

  private judgeRow(name: string, rules: CallRules, row: Row): void {
    const { call } = this;
    const shortage = shortageOf(row, call);
    const problem = shortage === undefined ? judge(call, row) : judgeShortage(call, shortage);
    const decided = shortage ?? row;
    this.hits[decided.index]!++;
    this.sometimes.returned(name);
    this.lastRow = decided.index;
    if (problem !== null) this.wrong(name, row.id, problem);
    this.take(rules, decided);
  }

  private wrong(name: string, rule: string, problem: string): void {
    this.collected.add('spec', rule, `${name} ${problem}`, { errno: this.call.errno, value: this.call.value });
  }

  /**
   * The ghost takes over what the outcome means. A hypervisor that says yes where it had to say no has done the thing:
   * whoever got a page relies on it, so the row of success is applied.
   */
  private take(rules: CallRules, decided: Row | Shortage): void {
    const { call } = this;
    if (call.errno === decided.errno) decided.apply(call);
    else if (call.errno === 0) rules.rows.at(-1)!.apply(call);
  }

  /** Whether the call being made is followed by a full check. */
  private get isFullDue(): boolean {
    return this.interval !== 0 && this.sinceFull + 1 >= this.interval;
  }

  /** @param framed whether {@link Frame.begin} has seen the memory before */
  private finish(failed: boolean, framed = false): void {
    const { touched } = this.monitor;
    if (framed) this.frame.end(touched.owners);
    this.sections?.end();
    if (touched.hasSynced) {
      touched.synced.forEach((synced, smmu) => {
        if (synced >= 0) this.hardware.checkSynced(smmu, synced);
      });
    }
    if (touched.power) {
      this.monitor.checkPower();
      this.hardware.check();
    }
    this.comparison.touched(failed);
    this.monitor.locks.clear();
    if (this.isFullDue) {
      this.sinceFull = 0;
      this.checkAll();
    } else {
      this.sinceFull++;
    }
    this.collected.endCall();
  }

  // ---- aborts

  /** Whether what is at `ipa`, where there is no RAM, is the host's to use. */
  private isHostsDevice(ipa: number): boolean {
    const resource = this.facts.resourceOf(ipa);
    return !this.facts.touchesSmmu(ipa, 1) && (resource < 0 || !this.ghost.isGiven(resource));
  }

  abort(cpu: number, ipa: number, write: boolean, width = 4, value = 0): AbortOutcome {
    if (!this.monitor.active || this.stopped) return this.inner.abort(cpu, ipa, write, width, value);
    let outcome: AbortOutcome = 'inject';
    this.frame.begin(this.isFullDue);
    this.sections?.begin(cpu);
    try {
      outcome = this.inner.abort(cpu, ipa, write, width, value);
    } catch (error) {
      this.panicked(error);
      this.finish(false);
      return 'inject';
    }
    const page = this.facts.pageOf(ipa);
    const isHosts = page >= 0 ? this.ghost.owner(page) === Owner.host : this.isHostsDevice(ipa);
    const allowed = isHosts && ipa < IPA_END;
    const forwards = this.hardware.isForwarded(ipa, write, width);
    if (typeof outcome === 'object' || forwards) {
      this.hitEntry('abort/forwarded');
      const wrong = this.hardware.judgeForwarded(forwards, outcome, ipa, write, value);
      if (wrong !== null) this.collected.add('spec', 'abort/forwarded', wrong, { ipa });
    } else if (outcome === 'retry') {
      this.hitEntry('abort/retry');
      if (!allowed) this.collected.add('spec', 'abort/inject', `the host was let through at ${hex(ipa)}`, { ipa });
      this.stage2.checkCovered(ipa);
    } else if (allowed && this.call.poolLacks(0, 0)) {
      this.hitEntry('abort/ENOMEM');
    } else {
      this.hitEntry('abort/inject');
      if (allowed) this.collected.add('spec', 'abort/retry', `the host was kept out of ${hex(ipa)}`, { ipa });
    }
    this.finish(outcome === 'inject', true);
    return outcome;
  }
}

/** The shortage of a row that the call has come to, if it has. */
function shortageOf({ shortages }: Row, call: Call): Shortage | undefined {
  for (let i = 0; i < shortages.length; i++) if (isShortage(call, shortages[i]!)) return shortages[i];
  return undefined;
}

/**
 * Findings that stand while calls are in progress: all but whose a page is that becomes a table or is mapped, which
 * another call in progress may have decided. What is left of that in the end is judged then.
 */
function holdsAlways(property: Property, rule: string): boolean {
  if (property === 'isolation') return rule !== 'foreign-page';
  return property !== 'structure' || (rule !== 'foreign-page' && rule !== 'free-page');
}

/** The first row that holds on the state before the call; null when there is none. */
function decide(rules: CallRules, call: Call): Row | null {
  rules.prepare(call);
  const { rows } = rules;
  for (let i = 0; i < rows.length; i++) if (rows[i]!.when(call)) return rows[i]!;
  return null;
}
