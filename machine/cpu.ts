/**
 * One CPU as far as isolation needs it: the EL2 registers that control stage 2, and the path of an EL1 access through
 * that stage 2. The registers live in a journaled file. CPU caches and TLBs are not modelled: an EL1 access sees the
 * tables as they are in memory. EL1's own stage 1 is the host's business and not modelled.
 */

import type { Bus } from './bus.ts';
import { type Stage2Fault, walkStage2 } from './stage2-walk.ts';

/** EL2 system registers, as indexes for {@link Cpu.writeSystem}. */
export const SystemRegister = { HCR_EL2: 0, VTCR_EL2: 1, VTTBR_EL2: 2 } as const;
export type SystemRegister = (typeof SystemRegister)[keyof typeof SystemRegister];

/** HCR_EL2.VM: stage 2 translates EL1's accesses. */
export const HCR_VM = 1;

/** What a kernel at EL1 can do on one CPU: memory behind stage 2, and its argument registers. Nothing else. */
export interface HostPort {
  /** Number of the CPU. */
  readonly cpu: number;
  /** x0..x7 as (lo, hi) pairs: index 2n is the low word of xn, 2n+1 the high one. */
  readonly x: Int32Array;
  /** A 32-bit read at an IPA: the word as int32, or the stage-2 fault that it takes. */
  el1Read32(ipa: number): number | Stage2Fault;
  /** A 32-bit write at an IPA: null, or the stage-2 fault that it takes (nothing is written then). */
  el1Write32(ipa: number, value: number): Stage2Fault | null;
  /** A 64-bit write at an IPA, as two int32 words. */
  el1Write64(ipa: number, hi: number, lo: number): Stage2Fault | null;
}

export class Cpu implements HostPort {
  readonly cpu: number;
  /**
   * x0..x7 as (lo, hi) pairs: index 2n is the low word of xn, 2n+1 the high one. Transport between a caller and the
   * hypervisor during one call, so it is not journaled and undo leaves it alone.
   */
  readonly x: Int32Array = new Int32Array(16);
  private readonly bus: Bus;
  private readonly file: number;

  constructor(cpu: number, bus: Bus) {
    this.cpu = cpu;
    this.bus = bus;
    this.file = bus.memory.allocFile(8);
  }

  /** Writes an EL2 system register as two int32 words. */
  writeSystem(register: SystemRegister, hi: number, lo: number): void {
    this.bus.memory.put(this.file + 2 * register, lo | 0);
    this.bus.memory.put(this.file + 2 * register + 1, hi | 0);
  }

  /** Low word of an EL2 system register. */
  systemLo(register: SystemRegister): number {
    return this.bus.memory.words[this.file + 2 * register]!;
  }

  /** High word of an EL2 system register. */
  systemHi(register: SystemRegister): number {
    return this.bus.memory.words[this.file + 2 * register + 1]!;
  }

  /**
   * Where an EL1 access to `ipa` goes: the physical address, or the stage-2 fault. Flat while HCR_EL2.VM is 0.
   */
  el1Translate(ipa: number, write: boolean): number | Stage2Fault {
    if ((this.systemLo(SystemRegister.HCR_EL2) & HCR_VM) === 0) return ipa;
    return walkStage2(
      this.bus.memory,
      this.systemHi(SystemRegister.VTTBR_EL2),
      this.systemLo(SystemRegister.VTTBR_EL2),
      this.systemLo(SystemRegister.VTCR_EL2),
      ipa,
      write,
    );
  }

  /** @throws BusError when the IPA translates to where nothing answers */
  el1Read32(ipa: number): number | Stage2Fault {
    const pa = this.el1Translate(ipa, false);
    return typeof pa === 'number' ? this.bus.read32(pa) : pa;
  }

  /** @throws BusError when the IPA translates to where nothing answers */
  el1Write32(ipa: number, value: number): Stage2Fault | null {
    const pa = this.el1Translate(ipa, true);
    if (typeof pa !== 'number') return pa;
    this.bus.write32(pa, value);
    return null;
  }

  /** @throws BusError when the IPA translates to where nothing answers */
  el1Write64(ipa: number, hi: number, lo: number): Stage2Fault | null {
    const pa = this.el1Translate(ipa, true);
    if (typeof pa !== 'number') return pa;
    this.bus.write64(pa, hi, lo);
    return null;
  }
}

/** The part of a CPU that a kernel at EL1 may hold. It keeps no way to the rest of the CPU. */
export function hostPort(cpu: Cpu): HostPort {
  return Object.freeze({
    cpu: cpu.cpu,
    x: cpu.x,
    el1Read32: (ipa: number) => cpu.el1Read32(ipa),
    el1Write32: (ipa: number, value: number) => cpu.el1Write32(ipa, value),
    el1Write64: (ipa: number, hi: number, lo: number) => cpu.el1Write64(ipa, hi, lo),
  });
}
