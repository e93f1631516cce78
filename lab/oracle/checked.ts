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
  setNumber,
} from '#hypercall-abi';
import { abstractState } from './abstract-state.ts';
import { Accesses, type DeviceAccess } from './accesses.ts';
import { BootRules, type Refusal } from './boot-rules.ts';
import { CallJudge } from './call-judge.ts';
import { Comparison } from './compare.ts';
import { ExpectedStream } from './expected-stream.ts';
import { Facts, IPA_END, type OracleMachine, PAGE } from './facts.ts';
import { type Finding, Findings, hex } from './findings.ts';
import { Frame } from './frame.ts';
import { FullCheck } from './full-check.ts';
import { Ghost } from './ghost.ts';
import { Owner } from './ghost-pages.ts';
import { Hardware } from './hardware.ts';
import type { InterleavedCall } from './interleaved.ts';
import { LayoutReader } from './layout-reader.ts';
import { Monitor } from './monitor.ts';
import { Overlap } from './overlap.ts';
import type { Property } from './properties.ts';
import { Sections } from './sections.ts';
import { Sometimes, type SometimesCount, type SometimesName } from './sometimes.ts';
import {
  Call,
  type CallRules,
  ENTRY_ROWS,
  type EntryRow,
  guestRulesOf,
  type Row,
  rowCount,
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
  private readonly judge: CallJudge;
  private readonly overlap: Overlap;
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
    this.judge = new CallJudge(this.facts, this.ghost, this.collected, this.specification, this.call);
    this.overlap = new Overlap(
      this.facts,
      this.collected,
      this.monitor,
      this.specification,
      this.call,
      this.judge,
      () => this.checkAll(),
    );
    this.sometimes = new Sometimes(this.facts, this.call, this.specification);
    this.monitor.tell(this.sometimes);
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
    this.overlap.reset();
  }

  // ---- calls in progress at the same time

  /**
   * Calls begin that do not run to their end at once. Until {@link endInterleaved} only what must hold at every moment is
   * looked at.
   */
  beginInterleaved(): void {
    if (this.overlap.isLost) return;
    this.sections?.forget();
    this.overlap.begin();
  }

  /** A call in progress has accessed the device register at `pa`. */
  registerAccessed(pa: number): void {
    this.overlap.registerAccessed(pa);
  }

  /** Whether no order of calls that overlapped explained what came of them: only locks and panics are looked at from there on. */
  get hasLostTrack(): boolean {
    return this.overlap.isLost;
  }

  /**
   * No call is in progress any more, and all stores are visible.
   * @returns the order of the calls that explains what came of them, or null: then the oracle has lost track
   */
  endInterleaved(calls: readonly InterleavedCall[]): readonly InterleavedCall[] | null {
    const explanation = this.overlap.end(calls);
    if (explanation === null) return null;
    this.callsChecked += explanation.order.length;
    for (const row of explanation.rows) this.hits[row]!++;
    return explanation.order;
  }

  /** Every CPU that has a call in progress waits for another. */
  deadlocked(text: string): void {
    this.collected.add('lock', 'deadlock', text);
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
    return page < 0 ? Owner.host : this.ghost.pages.owner(page);
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
    if (!this.monitor.active || this.overlap.isOn || this.overlap.isLost) return;
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
    return this.overlap.isOn || this.overlap.isLost || (this.stopAtFirst && this.collected.list.length !== 0);
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
      this.judge.panicked(error);
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
    const row = rules === undefined ? null : this.judge.decide(rules);
    this.frame.begin(this.isFullDue);
    this.sections?.begin(cpu, rules?.isPiecewise);
    this.judge.noteSilence();
    try {
      this.inner.hvc(cpu, x);
    } catch (error) {
      this.judge.panicked(error);
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
    const spec = this.judge.guestCall(cpu, x);
    const rules = spec === undefined ? undefined : guestRulesOf(spec.name);
    const row = rules === undefined ? null : this.judge.decide(rules);
    this.frame.begin(this.isFullDue);
    this.sections?.begin(cpu, rules?.isPiecewise);
    this.judge.noteSilence();
    let exit: GuestExit | null = null;
    try {
      exit = serve();
    } catch (error) {
      this.judge.panicked(error);
      this.finish(false);
      return null;
    }
    this.callsChecked++;
    this.judge.readGuestResult(x, exit);
    if (spec === undefined || rules === undefined || row === null) this.unknownGuestCall(x, exit);
    else this.judgeRow(spec.name, rules, row);
    call.exit = null;
    this.finish(call.errno < 0 && call.value === 0, true);
    return exit;
  }

  private unknownGuestCall(x: Int32Array, exit: GuestExit | null): void {
    this.hitEntry('unknown/guest-not-supported');
    if (x[0] === GuestStatus.notSupported && x[1] === -1 && exit === null) return;
    this.collected.add('spec', 'unknown/guest-not-supported', 'a call that no guest has did not return not-supported');
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
    this.judge.readResult(spec, x);
    if (spec.x0 === 'smccc' && (x[0] !== 0 || x[1] !== 0))
      this.judge.wrong(spec.name, 'none', 'did not return SMCCC success');
    if (row === null) {
      this.judge.wrong(spec.name, 'none', 'has no row for this state');
    } else {
      this.judgeRow(spec.name, rules, row);
    }
    this.finish(call.errno < 0 && (spec.x1 !== 'bytes' || call.value === 0), true);
  }

  private judgeRow(name: string, rules: CallRules, row: Row): void {
    const { judge } = this;
    const shortage = judge.shortageOf(row);
    const problem = judge.problem(row, shortage);
    const decided = shortage ?? row;
    this.hits[decided.index]!++;
    this.sometimes.returned(name);
    this.lastRow = decided.index;
    if (problem !== null) judge.wrong(name, row.id, problem);
    judge.take(rules, decided);
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
      this.judge.panicked(error);
      this.finish(false);
      return 'inject';
    }
    const page = this.facts.pageOf(ipa);
    const isHosts = page >= 0 ? this.ghost.pages.owner(page) === Owner.host : this.isHostsDevice(ipa);
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
