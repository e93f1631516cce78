/**
 * What any hypervisor that stands behind the boundary implements, ours or a replacement. It is handed a machine by its
 * maker; the host never sees this interface, only the boundary in front of it.
 */

import type { GuestExit } from './guest-calls.ts';
import type { Profile } from './profiles/index.ts';

/** What the host hands over when it gives up its privilege; everything else stands in the SMMUs' registers. */
export interface BootParameters {
  /** Base of the register file of each SMMU, in the order of the machine description. */
  readonly smmus: readonly number[];
  /** Where pages come from memcaches: the page in which those of all CPUs lie, in the order of the CPUs. */
  readonly memcaches?: number;
}

/** An access that the hypervisor has made on behalf of the host: what a read gives, as an unsigned word. */
export interface ForwardedAccess {
  readonly value: number;
}

/** What the hypervisor decided about a stage-2 abort of the host: do it again, take an abort, or it is done. */
export type AbortOutcome = 'retry' | 'inject' | ForwardedAccess;

export interface Hypervisor {
  /** Name and version of the implementation and, for a defective one, of the defect: printed in every report. */
  readonly identity: string;
  /** The contract that it keeps; the default one when left out. */
  readonly profile?: Profile;
  /** Take over: validate what the host set up, own it, block all DMA, put the host under stage 2. 0 or -errno. */
  boot(parameters: BootParameters): number;
  /** Serve the hypercall whose registers are in `x` (x0 = function id) on `cpu`; results are left in `x`. */
  hvc(cpu: number, x: Int32Array): void;
  /**
   * Serve the HVC of the guest whose vCPU is loaded on `cpu`, with the guest's registers in `x`; results are left there.
   * Left out by a hypervisor without calls for guests.
   * @returns null when the guest goes on, else why the host must run first
   */
  guestHvc?(cpu: number, x: Int32Array): GuestExit | null;
  /**
   * Serve a stage-2 abort of the host on `cpu` at intermediate physical address `ipa`.
   * @param width bytes of the access, 4 when left out
   * @param value the word that is written, 0 when left out
   */
  abort(cpu: number, ipa: number, write: boolean, width?: number, value?: number): AbortOutcome;
}

/** The same hypervisor, stepped: each call is a generator that stops wherever another CPU or a device could step in. */
export interface SteppedHypervisor<Step> {
  readonly identity: string;
  readonly profile?: Profile;
  boot(parameters: BootParameters): Generator<Step, number, void>;
  hvc(cpu: number, x: Int32Array): Generator<Step, void, void>;
  guestHvc?(cpu: number, x: Int32Array): Generator<Step, GuestExit | null, void>;
  abort(cpu: number, ipa: number, write: boolean, width?: number, value?: number): Generator<Step, AbortOutcome, void>;
}
