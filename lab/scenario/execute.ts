/**
 * Performs steps of a scenario on a session, quickly and again and again: one boot, then as many runs as are wanted,
 * each of which begins with the machine, the oracles and the names as they were after boot.
 */

import { HostMemcache } from '#host';
import {
  type ArgumentValue,
  Boundary,
  type CallResult,
  type CallSpec,
  decodeFunction,
  decodeGuestCall,
  decodeGuestResult,
  decodeResult,
  Errno,
  encodeCall,
  encodeGuestCall,
  type GuestCallSpec,
  type GuestExit,
  type GuestResult,
  guestCallNamed,
  listHead,
  PoolId,
  setBig,
  setNumber,
  VmDescription,
} from '#hypercall-abi';
import { BusError, type DmaDevice, type DmaRead, type DmaWrite } from '#machine';
import type { InterleavedCall } from '../oracle/interleaved.ts';
import { platformOf } from '../session/platform.ts';
import { fromLifeCycle, type Session, type Violation } from '../session/session.ts';
import { Waiting } from '../session/stepped.ts';
import type { WatchedDevice } from '../session/watched.ts';
import { type BoundNames, CannotDo, NameBinder } from './bind.ts';
import { type Begun, type Ended, InterleavedCalls, type Progress } from './interleaved.ts';
import { RecordedTracker } from './recorded-tracker.ts';
import { type NamedStream, namedStreams } from './streams.ts';
import type {
  AccessExpectation,
  CallStep,
  DescribeStep,
  DmaStep,
  GuestHvcStep,
  GuestStep,
  HvcStep,
  ReadExpectation,
  ReadStep,
  SmmuStep,
  Step,
  TopupStep,
  Value,
  WriteStep,
} from './types.ts';
import { numberValue } from './value.ts';

const TWO32 = 2 ** 32;

/** What a step came to. */
export type Outcome =
  | { readonly kind: 'call'; readonly result: CallResult; readonly spec: CallSpec | undefined }
  | { readonly kind: 'guest'; readonly result: GuestResult; readonly spec: GuestCallSpec | undefined }
  | { readonly kind: 'write'; readonly access: AccessExpectation }
  | { readonly kind: 'read'; readonly read: ReadExpectation }
  | { readonly kind: 'dma'; readonly pa: number; readonly fault: string | null; readonly data?: number }
  | { readonly kind: 'progress'; readonly progress: Progress; readonly ended: Ended | null }
  | { readonly kind: 'drain'; readonly drained: boolean }
  | { readonly kind: 'smmu' }
  | { readonly kind: 'expect' };

/** An access of a device, which may be made again. */
interface Access {
  readonly engine: WatchedDevice;
  readonly stream: number;
  readonly perform: () => DmaRead | DmaWrite;
}

type Stalled = Access & { readonly stag: number };

/** Where a run stood, to be gone back to as often as wanted until the run goes back behind it. */
export interface Savepoint {
  readonly mark: number;
  readonly names: BoundNames;
  readonly stalled: readonly Stalled[];
  readonly crossings: number;
  /** Where the second of two machines stood that run in lock step. */
  readonly other?: Savepoint;
}

export class Executor {
  readonly names: NameBinder;
  readonly boundary: Boundary;
  private readonly session: Session;
  private readonly tracker: RecordedTracker | null;
  /** Null where no call can be left in progress. */
  private readonly interleaved: InterleavedCalls | null;
  private readonly mark: number;
  private readonly streams: ReadonlyMap<string, NamedStream>;
  /** Accesses that wait for page_response. */
  private readonly stalled: Stalled[] = [];
  private seenFindings = 0;
  private seenLifeCycles = 0;

  /** @param session freshly booted; it belongs to the executor from here on */
  constructor(session: Session) {
    this.session = session;
    const { machine, oracle } = session;
    const platform = platformOf(machine.description);
    this.tracker = session.checksLifeCycles ? new RecordedTracker(session.profile, platform) : null;
    // A boundary of its own, because its tracker must be taken back to boot for every run.
    this.boundary = oracle === null ? session.boundary : new Boundary(oracle, session.ports, this.tracker);
    this.names = new NameBinder(machine.description, session.hostMemory);
    this.interleaved =
      session.stepped === null
        ? null
        : new InterleavedCalls(session.stepped, oracle, (order) => {
            if (order === null) this.tracker?.mute();
            else for (const one of order) this.crossed(one);
          });
    this.streams = new Map(namedStreams(machine.description).map((stream) => [stream.name, stream]));
    this.mark = machine.memory.mark();
  }

  /** Back to boot. */
  reset(): void {
    this.undo(this.mark);
    this.tracker?.reset();
    this.names.reset();
    this.stalled.length = 0;
  }

  /** Remember where the run stands, which must be free of violations. */
  save(): Savepoint {
    const mark = this.session.machine.memory.mark();
    return { mark, names: this.names.save(), stalled: [...this.stalled], crossings: this.tracker?.length ?? 0 };
  }

  /** Go back there. */
  restore({ mark, names, stalled, crossings }: Savepoint): void {
    this.undo(mark);
    this.tracker?.backTo(crossings);
    this.names.restore(names);
    this.stalled.length = 0;
    this.stalled.push(...stalled);
  }

  private undo(mark: number): void {
    this.interleaved?.reset();
    this.session.machine.memory.undo(mark);
    this.session.oracle?.reset();
    this.seenFindings = 0;
    this.seenLifeCycles = 0;
  }

  /** Whether there are violations that {@link newViolations} has not told yet. */
  get hasNewViolations(): boolean {
    const findings = this.session.oracle?.findings.length ?? 0;
    return findings !== this.seenFindings || (this.tracker?.violations.length ?? 0) !== this.seenLifeCycles;
  }

  /** Have the oracle decode everything anew, now. */
  checkAll(): void {
    this.session.oracle?.checkAll();
  }

  /** Violations since the last time this was asked. */
  newViolations(): Violation[] {
    if (!this.hasNewViolations) return NONE;
    const findings = this.session.oracle?.findings ?? [];
    const lifeCycles = this.tracker?.violations ?? [];
    const found = [
      ...findings.slice(this.seenFindings).map(({ property, rule, text }) => ({ property, rule, text })),
      ...lifeCycles.slice(this.seenLifeCycles).map(fromLifeCycle),
    ];
    this.seenFindings = findings.length;
    this.seenLifeCycles = lifeCycles.length;
    return found;
  }

  /**
   * Do one step.
   * @throws CannotDo when the machine has no such CPU or device, an address is misaligned, or pages run out
   */
  perform(step: Step): Outcome {
    if ('cpu' in step && step.cpu >= this.boundary.cpus) throw new CannotDo(`no CPU ${step.cpu}`);
    if (this.interleaved === null) return this.dispatch(step);
    if ('cpu' in step && step.kind !== 'run' && step.kind !== 'drain') this.interleaved.requireIdle(step.cpu);
    try {
      return this.dispatch(step);
    } catch (error) {
      if (error instanceof Waiting) throw new CannotDo(error.message);
      throw error;
    }
  }

  private dispatch(step: Step): Outcome {
    switch (step.kind) {
      case 'call':
        return this.call(step);
      case 'hvc':
        return this.hvc(step);
      case 'guest':
        return this.guest(step);
      case 'guestHvc':
        return this.guestHvc(step);
      case 'write':
        return { kind: 'write', access: this.hostWrite(step) };
      case 'read':
        return { kind: 'read', read: this.hostRead(step) };
      case 'topup':
        return this.topup(step);
      case 'describe':
        return { kind: 'write', access: this.describe(step) };
      case 'dma':
        return this.dma(step);
      case 'run':
        return this.scheduled().run(step.cpu, step.yields);
      case 'drain':
        return this.scheduled().drain(step.cpu, step.store ?? 0);
      case 'smmu':
        return this.smmu(step);
      case 'expect':
        return EXPECT;
    }
  }

  private guest(step: GuestStep): Outcome {
    const { cpu, call, args, bind } = step;
    const spec = guestCallNamed(call);
    const values = spec.args.map(({ name, unit }) => this.names.resolveGuest(args[name] ?? 0, unit));
    const done = (result: GuestResult): Outcome => {
      if (bind !== undefined && result.status === 0) this.names.bindGuestDomain(bind, result.value);
      return { kind: 'guest', result, spec };
    };
    if (!this.staysInProgress(step)) return done(this.boundary.guestCall(cpu, call, ...values));
    const x = this.boundary.guestRegisters(cpu);
    encodeGuestCall(x, spec, values);
    const finish = (exit: GuestExit | null): Outcome => done(decodeGuestResult(x, spec, exit));
    return this.begin({ step, cpu, x, isGuest: true, finish });
  }

  /** @throws CannotDo on a session that has no stepped build */
  private scheduled(): InterleavedCalls {
    if (this.interleaved === null) throw new CannotDo('calls cannot be left in progress here');
    return this.interleaved;
  }

  /** Whether a call runs pause by pause: it is not to run to its end, or others are in progress. */
  private staysInProgress(step: Step): boolean {
    return ('yields' in step && step.yields !== undefined) || (this.interleaved?.isBusy ?? false);
  }

  private begin(begun: Begun): Outcome {
    return this.scheduled().begin(begun, 'yields' in begun.step ? (begun.step.yields ?? 'end') : 'end');
  }

  /** A call that was in progress together with others counts, for the life cycles, where it took effect. */
  private crossed({ cpu, isGuest, before, after }: InterleavedCall): void {
    if (isGuest) {
      const spec = decodeGuestCall(before);
      if (spec !== undefined) this.tracker?.guestCrossed(spec, cpu, before, after);
    } else {
      const spec = decodeFunction(before, this.boundary.profile);
      if (spec !== undefined) this.tracker?.crossed(spec, cpu, before, after);
    }
  }

  private guestHvc(step: GuestHvcStep): Outcome {
    const { cpu, registers } = step;
    const x = this.boundary.guestRegisters(cpu);
    this.load(x, registers);
    const spec = decodeGuestCall(x);
    const finish = (exit: GuestExit | null): Outcome => ({
      kind: 'guest',
      result: decodeGuestResult(x, spec ?? UNKNOWN_GUEST_CALL, exit),
      spec,
    });
    if (this.staysInProgress(step)) return this.begin({ step, cpu, x, isGuest: true, finish });
    return finish(this.boundary.guestHvc(cpu));
  }

  private smmu({ smmu, answers }: SmmuStep): Outcome {
    // The oracle decides when a command is written whether it was answered.
    if (this.interleaved?.isBusy) throw new CannotDo('no SMMU stops or goes on while calls are in progress');
    const { machine } = this.session;
    const at = machine.description.smmus.findIndex(({ name }) => name === smmu);
    if (at < 0) throw new CannotDo(`no SMMU ${smmu}`);
    machine.smmus[at]!.setAnswers(answers);
    return SMMU;
  }

  /** Registers as they are given, the others 0. */
  private load(x: Int32Array, registers: readonly Value[]): void {
    x.fill(0);
    registers.forEach((register, n) => {
      const value = this.names.resolve(register, 'pa');
      if (typeof value === 'bigint') setBig(x, n, value);
      else setNumber(x, n, value);
    });
  }

  private call(step: CallStep): Outcome {
    const spec = this.boundary.profile.call(step.call);
    const args: ArgumentValue[] = [];
    for (const { name, unit } of spec.args) args.push(this.names.resolve(step.args[name] ?? 0, unit));
    const done = (result: CallResult): Outcome => {
      if (step.call === 'page_response') this.answerStalls();
      if (step.bind !== undefined) this.names.bindVm(step.bind, result.value);
      return { kind: 'call', result, spec };
    };
    return this.hostCall(step, step.cpu, spec, args, done);
  }

  private hostCall(
    step: Step,
    cpu: number,
    spec: CallSpec,
    args: readonly ArgumentValue[],
    done: (result: CallResult) => Outcome,
  ): Outcome {
    if (!this.staysInProgress(step)) return done(this.boundary.call(cpu, spec.name, ...args));
    const x = this.boundary.registers(cpu);
    encodeCall(x, spec, args);
    const finish = (): Outcome => done(decodeResult(x, spec, this.boundary.profile));
    return this.begin({ step, cpu, x, isGuest: false, finish });
  }

  private hvc(step: HvcStep): Outcome {
    const { cpu, registers } = step;
    const x = this.boundary.registers(cpu);
    this.load(x, registers);
    const spec = decodeFunction(x, this.boundary.profile);
    const finish = (): Outcome => {
      if (spec?.name === 'page_response') this.answerStalls();
      const result = spec === undefined ? UNSUPPORTED : decodeResult(x, spec, this.boundary.profile);
      return { kind: 'call', result, spec };
    };
    if (this.staysInProgress(step)) return this.begin({ step, cpu, x, isGuest: false, finish });
    this.boundary.hvc(cpu);
    return finish();
  }

  private topup(step: TopupStep): Outcome {
    return this.session.memcaches === 0 ? this.refill(step) : this.fillMemcache(step);
  }

  /** Pages for the cache of that CPU, which has single ones only. */
  private fillMemcache({ cpu, pool, chunks, order }: TopupStep): Outcome {
    if (pool !== 'iommu' || order !== 0) return { kind: 'call', result: failed(Errno.EINVAL), spec: undefined };
    const cache = new HostMemcache(this.boundary, this.session.memcaches, cpu);
    for (let i = 0; i < chunks; i++) {
      const pa = this.names.draw(0);
      if (pa === 0) return { kind: 'call', result: failed(Errno.ENOMEM), spec: undefined };
      if (!cache.push(pa)) return { kind: 'call', result: failed(Errno.EPERM), spec: undefined };
    }
    return { kind: 'call', result: failed(0), spec: undefined };
  }

  private refill(step: TopupStep): Outcome {
    const { cpu, pool, chunks, order } = step;
    const spec = this.boundary.profile.call('alloc_mgt_refill');
    let head = 0;
    for (let i = 0; i < chunks; i++) {
      const pa = this.names.draw(order);
      if (pa === 0) return { kind: 'call', result: failed(Errno.ENOMEM), spec };
      if (!this.boundary.write64(cpu, pa, Math.floor(head / TWO32), head | 0)) {
        return { kind: 'call', result: failed(Errno.EPERM), spec };
      }
      head = listHead(pa, order);
    }
    return this.hostCall(step, cpu, spec, [PoolId[pool], head, chunks], (result) => ({ kind: 'call', result, spec }));
  }

  private describe({ cpu, at, vm, isProtected, vcpus }: DescribeStep): AccessExpectation {
    const base = this.address(at);
    const handle = this.names.resolve(vm, 'handle');
    const words = [
      [VmDescription.handle, Number(handle)],
      [VmDescription.protected, this.word(isProtected)],
      [VmDescription.vcpus, this.word(vcpus)],
    ] as const;
    for (const [offset, word] of words) {
      const access = this.write(cpu, base + offset, word);
      if (access !== 'ok') return access;
    }
    return 'ok';
  }

  private write(cpu: number, at: number, word: number): AccessExpectation {
    return orBusError(() => (this.boundary.write32(cpu, at, word | 0) ? 'ok' : 'abort'));
  }

  private hostWrite({ cpu, at, value, width }: WriteStep): AccessExpectation {
    if (width === undefined) return this.write(cpu, this.address(at), this.word(value));
    const number = this.names.resolve(value, 'flags');
    const bits = BigInt.asUintN(64, BigInt(number));
    const hi = Number(bits >> 32n) | 0;
    const lo = Number(bits & 0xffffffffn) | 0;
    const address = this.address(at, width);
    return orBusError(() => (this.boundary.write(cpu, address, width, hi, lo) ? 'ok' : 'abort'));
  }

  private hostRead({ cpu, at, width: other }: ReadStep): ReadExpectation {
    const width = other ?? 4;
    const address = this.address(at, width);
    return orBusError(() => {
      const word = this.boundary.read(cpu, address, width);
      if (word === null) return 'abort';
      return width === 8 ? numberValue((BigInt(word.hi >>> 0) << 32n) | BigInt(word.lo >>> 0)) : word.lo >>> 0;
    });
  }

  /** The stream of that name. @throws CannotDo when there is none */
  protected streamNamed(device: string): NamedStream {
    const named = this.streams.get(device);
    if (named === undefined) throw new CannotDo(`no device ${device}`);
    return named;
  }

  private dma({ device, access, iova, value, pasid, cached }: DmaStep): Outcome {
    const named = this.streamNamed(device);
    const engine = this.session.devices[named.device]!;
    const { stream } = named;
    const at = this.deviceAddress(iova);
    const write = access === 'write';
    const substream = pasid === undefined ? {} : { ssid: pasid };
    const outcome = cached ? otherOutcome(engine.device, at, write, pasid, stream) : 0;
    const options = { outcome, stream, ...substream };
    const word = write ? this.word(value ?? 0) : 0;
    return this.access({
      engine,
      stream,
      perform: () => (write ? engine.write(at, word, options) : engine.read(at, options)),
    });
  }

  private access({ engine, stream, perform }: Access): Outcome {
    const done = perform();
    if (done.ok) return { kind: 'dma', pa: done.pa, fault: null, ...('data' in done && { data: done.data[0]! }) };
    if (done.stag !== undefined && done.stag >= 0) this.stalled.push({ engine, stream, perform, stag: done.stag });
    return { kind: 'dma', pa: -1, fault: done.event === null ? null : done.event.name };
  }

  /** Devices whose stalled accesses have been answered go on: they try again if they are told to. */
  private answerStalls(): void {
    for (const one of this.stalled.splice(0)) {
      const answer = one.engine.device.stallAnswer(one.stag, one.stream);
      if (answer !== 'waiting' && answer !== null) this.session.oracle?.saw('stall-answered');
      if (answer === 'waiting') this.stalled.push(one);
      else if (answer === 'retry') this.access(one);
    }
  }

  private address(value: Value, width = 4): number {
    const at = Number(this.names.resolve(value, 'pa'));
    if (at % width !== 0) throw new CannotDo(`address 0x${at.toString(16)} is not a multiple of ${width}`);
    return at;
  }

  /** An IOVA as devices take it: the upper half of the space is negative. */
  private deviceAddress(value: Value): number {
    const iova = this.names.resolve(value, 'iova');
    const at = typeof iova === 'bigint' ? Number(BigInt.asIntN(64, iova)) : iova;
    if (at % 4 !== 0) throw new CannotDo(`IOVA ${at} is not a multiple of 4`);
    return at;
  }

  /** The low 32 bits of a value. */
  private word(value: Value): number {
    const number = this.names.resolve(value, 'flags');
    return typeof number === 'bigint' ? Number(BigInt.asIntN(32, number)) : (number % TWO32) | 0;
  }
}

/** The first possible outcome, other than what the tables say, that goes through; else what the tables say. */
function otherOutcome(
  engine: DmaDevice,
  iova: number,
  write: boolean,
  pasid: number | undefined,
  stream: number,
): number {
  const other = engine.possible(iova, write, pasid, stream).findIndex(({ ok }, i) => i > 0 && ok);
  return Math.max(0, other);
}

/** What the access came to, or that nothing answers. */
function orBusError<T>(access: () => T): T | 'bus error' {
  try {
    return access();
  } catch (error) {
    if (error instanceof BusError) return 'bus error';
    throw error;
  }
}

/** Reads what a guest gets whose registers make no call: a status alone. */
const UNKNOWN_GUEST_CALL: GuestCallSpec = { ...guestCallNamed('guest_free_domain'), functionId: -1 };
const SMMU: Outcome = { kind: 'smmu' };
const EXPECT: Outcome = { kind: 'expect' };
const NONE: Violation[] = [];
const UNSUPPORTED: CallResult = { errno: 0, value: 0, supported: false, request: null };

function failed(errno: number): CallResult {
  return { errno: -errno, value: 0, supported: true, request: null };
}
