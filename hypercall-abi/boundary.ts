/**
 * The boundary: the one object that the host holds. Through it the host crosses into the hypervisor with eight
 * registers, and reaches memory and devices as far as its stage 2 lets it. What stands behind (the hypervisor, the
 * machine) is in private fields: neither a type nor a run-time path leads from the boundary to it.
 *
 * Every crossing is checked against the life cycles: an outcome that they forbid becomes a violation that names the
 * state, the event and the rule.
 */

import type { CallName } from './calls.ts';
import { type ArgumentValue, type CallResult, decodeFunction, decodeResult, encodeCall } from './codec.ts';
import {
  decodeGuestCall,
  decodeGuestResult,
  encodeGuestCall,
  type GuestCallName,
  type GuestExit,
  type GuestResult,
  GuestStatus,
  guestCallNamed,
} from './guest-calls.ts';
import type { Hypervisor } from './hypervisor.ts';
import type { LifeCycleTracker, LifeCycleViolation } from './life-cycles/index.ts';
import { defaultProfile, type Profile } from './profiles/index.ts';
import { copyRegisters, makeRegisters, setNumber } from './registers.ts';

/** An EL1 access that stage 2 did not let through. */
export interface Stage2Abort {
  readonly ipa: number;
  readonly write: boolean;
}

/** What the boundary needs of a CPU: accesses through stage 2 (see machine's HostPort, which fits). */
export interface CpuPort {
  readonly cpu: number;
  readonly x: Int32Array;
  el1Read32(ipa: number): number | Stage2Abort;
  el1Write32(ipa: number, value: number): Stage2Abort | null;
  el1Write64(ipa: number, hi: number, lo: number): Stage2Abort | null;
}

/** Bytes of an access. */
export type AccessWidth = 1 | 2 | 4 | 8;

/** 64 bits as two int32 words. */
export interface Word64 {
  readonly hi: number;
  readonly lo: number;
}

/** How often an access is tried again after the hypervisor said that it may: mapping on demand needs one. */
const ACCESS_TRIES = 2;

export class Boundary {
  readonly #hypervisor: Hypervisor;
  readonly #ports: readonly CpuPort[];
  readonly #tracker: LifeCycleTracker | null;
  readonly #profile: Profile;
  readonly #before = new Int32Array(16);
  readonly #guest: readonly Int32Array[];
  /** Name of what stands behind. */
  readonly identity: string;
  /** Told the name of every {@link call} before it crosses: for counting. */
  onCall: ((name: CallName) => void) | null = null;

  /**
   * @param hypervisor what serves the crossings
   * @param ports one per CPU, in order
   * @param tracker the life-cycle check, or null to go without
   */
  constructor(hypervisor: Hypervisor, ports: readonly CpuPort[], tracker: LifeCycleTracker | null) {
    this.#hypervisor = hypervisor;
    this.#ports = ports;
    this.#guest = ports.map(makeRegisters);
    this.#tracker = tracker;
    this.identity = hypervisor.identity;
    this.#profile = hypervisor.profile ?? defaultProfile;
  }

  /** The contract that stands between host and hypervisor. */
  get profile(): Profile {
    return this.#profile;
  }

  get cpus(): number {
    return this.#ports.length;
  }

  /** Life-cycle violations so far; empty without a tracker. */
  get violations(): readonly LifeCycleViolation[] {
    return this.#tracker?.violations ?? [];
  }

  /** Registers x0..x7 of a CPU, as (lo, hi) word pairs. They are the host's own. */
  registers(cpu: number): Int32Array {
    return this.#port(cpu).x;
  }

  /** Cross with whatever the registers of that CPU hold. */
  hvc(cpu: number): void {
    this.#cross(cpu, this.#port(cpu).x);
  }

  #cross(cpu: number, x: Int32Array): void {
    const tracker = this.#tracker;
    if (tracker === null) this.#hypervisor.hvc(cpu, x);
    else this.#crossTracked(tracker, cpu, x);
  }

  #crossTracked(tracker: LifeCycleTracker, cpu: number, x: Int32Array): void {
    copyRegisters(this.#before, x);
    this.#hypervisor.hvc(cpu, x);
    const spec = decodeFunction(this.#before, this.#profile);
    if (spec !== undefined) tracker.crossed(spec, cpu, this.#before, x);
  }

  /** Make the named call. @throws RangeError for a wrong number of arguments */
  call(cpu: number, name: CallName, ...args: readonly ArgumentValue[]): CallResult {
    const spec = this.#profile.call(name);
    const { x } = this.#port(cpu);
    this.onCall?.(name);
    encodeCall(x, spec, args);
    this.#cross(cpu, x);
    return decodeResult(x, spec, this.#profile);
  }

  /** Registers x0..x7 of the guest whose vCPU is loaded on a CPU. */
  guestRegisters(cpu: number): Int32Array {
    this.#port(cpu);
    return this.#guest[cpu]!;
  }

  /** The guest on that CPU crosses with whatever its registers hold. @returns why the host must run first, or null */
  guestHvc(cpu: number): GuestExit | null {
    const x = this.guestRegisters(cpu);
    if (this.#hypervisor.guestHvc === undefined) {
      setNumber(x, 0, GuestStatus.notSupported);
      return null;
    }
    const tracker = this.#tracker;
    if (tracker === null) return this.#hypervisor.guestHvc(cpu, x);
    this.#before.set(x);
    const exit = this.#hypervisor.guestHvc(cpu, x);
    const spec = decodeGuestCall(this.#before);
    if (spec !== undefined) tracker.guestCrossed(spec, cpu, this.#before, x);
    return exit;
  }

  /** The guest on that CPU makes the named call. @throws RangeError for a wrong number of arguments */
  guestCall(cpu: number, name: GuestCallName, ...args: readonly ArgumentValue[]): GuestResult {
    const spec = guestCallNamed(name);
    encodeGuestCall(this.guestRegisters(cpu), spec, args);
    const exit = this.guestHvc(cpu);
    return decodeGuestResult(this.guestRegisters(cpu), spec, exit);
  }

  /** Read 32 bits at an IPA. @returns the word as int32, or null when the hypervisor injects an abort */
  read32(cpu: number, ipa: number): number | null {
    for (let i = 0; i < ACCESS_TRIES; i++) {
      const word = this.#port(cpu).el1Read32(ipa);
      if (typeof word === 'number') {
        this.#tracker?.accessed(ipa);
        return word;
      }
      const outcome = this.#hypervisor.abort(cpu, ipa, false, 4, 0);
      if (typeof outcome === 'object') return outcome.value | 0;
      if (outcome === 'inject') return null;
    }
    return null;
  }

  /** Write 32 bits at an IPA. @returns whether it went through; else the hypervisor injected an abort */
  write32(cpu: number, ipa: number, value: number): boolean {
    for (let i = 0; i < ACCESS_TRIES; i++) {
      if (this.#port(cpu).el1Write32(ipa, value) === null) {
        this.#tracker?.accessed(ipa);
        return true;
      }
      const outcome = this.#hypervisor.abort(cpu, ipa, true, 4, value);
      if (outcome !== 'retry') return outcome !== 'inject';
    }
    return false;
  }

  /** Write 64 bits at an IPA as two words. @returns whether it went through */
  write64(cpu: number, ipa: number, hi: number, lo: number): boolean {
    for (let i = 0; i < ACCESS_TRIES; i++) {
      if (this.#port(cpu).el1Write64(ipa, hi, lo) === null) {
        this.#tracker?.accessed(ipa);
        return true;
      }
      const outcome = this.#hypervisor.abort(cpu, ipa, true, 8, lo);
      if (outcome !== 'retry') return outcome !== 'inject';
    }
    return false;
  }

  /**
   * Read 1, 2, 4 or 8 bytes at an IPA that is a multiple of that.
   * @returns the bytes as low and high word, or null when the hypervisor injects an abort
   */
  read(cpu: number, ipa: number, width: AccessWidth): Word64 | null {
    const port = this.#port(cpu);
    for (let i = 0; i < ACCESS_TRIES; i++) {
      const shift = 8 * (ipa % 4);
      const word = port.el1Read32(ipa - (ipa % 4));
      const high = width === 8 ? port.el1Read32(ipa + 4) : 0;
      if (typeof word === 'number' && typeof high === 'number') {
        return { hi: high, lo: width >= 4 ? word : (word >>> shift) & (width === 1 ? 0xff : 0xffff) };
      }
      const outcome = this.#hypervisor.abort(cpu, ipa, false, width, 0);
      if (typeof outcome === 'object') return { hi: 0, lo: outcome.value | 0 };
      if (outcome === 'inject') return null;
    }
    return null;
  }

  /** Write 1, 2, 4 or 8 bytes, the low ones of hi:lo, at an IPA that is a multiple of that. @returns whether it went through */
  write(cpu: number, ipa: number, width: AccessWidth, hi: number, lo: number): boolean {
    if (width === 8) return this.write64(cpu, ipa, hi, lo);
    if (width === 4) return this.write32(cpu, ipa, lo);
    const port = this.#port(cpu);
    const shift = 8 * (ipa % 4);
    const mask = (width === 1 ? 0xff : 0xffff) << shift;
    for (let i = 0; i < ACCESS_TRIES; i++) {
      const at = ipa - (ipa % 4);
      const old = port.el1Read32(at);
      if (typeof old === 'number' && port.el1Write32(at, (old & ~mask) | ((lo << shift) & mask)) === null) return true;
      const outcome = this.#hypervisor.abort(cpu, ipa, true, width, lo);
      if (outcome !== 'retry') return outcome !== 'inject';
    }
    return false;
  }

  #port(cpu: number): CpuPort {
    const port = this.#ports[cpu];
    if (port === undefined) throw new RangeError(`no CPU ${cpu}: there are ${this.#ports.length}`);
    return port;
  }
}
