/**
 * A scenario as data: what was done to a machine, step by step, and what should come of it. It is plain JSON; its text
 * form (docs/scenarios.md) is made by `printScenario` and read by `parseScenario`.
 */

import { type CallName, findProfile, type GuestCallName, type Profile } from '#hypercall-abi';

/** The version of text, data and share strings that is written; those before are read as well. */
export const SCENARIO_VERSION = 1;

/** A whole number of 2^53 and more, below 2^64, as `0x…`: JSON has no exact one. */
export interface BigNumber {
  readonly big: string;
}

/** A page of the host by name; see {@link PageBinder} for which one it is. */
export interface PageRef {
  readonly page: string;
  /** Reserve a naturally aligned run of that many pages (a power of two) when the name is first used. */
  readonly run?: number;
  /** Pages from the named one. */
  readonly offset?: number;
  /** Bytes into that page. */
  readonly byte?: number;
}

/** A domain, a guest's domain, a VM or a device by name: the argument says which. */
export interface NameRef {
  readonly name: string;
}

/** An argument. */
export type Value = number | BigNumber | PageRef | NameRef;

export type PoolName = 'heap' | 'iommu';

/** What a call should return. What is left out is not compared; an empty one accepts anything (`*`). */
export interface CallExpectation {
  readonly errno?: number;
  /** Bytes, pages, an address or a list head. */
  readonly value?: Value;
  /** A handle, whatever its number. */
  readonly handle?: true;
  /** The hypervisor knows no such call. */
  readonly unsupported?: true;
  /** The memory that is asked for. */
  readonly request?: { readonly pool: PoolName; readonly pages: number };
}

/**
 * How far a call that is begun is run: so many pauses. It stays in progress then. Left out: to its end. What is expected of
 * a call is expected of it when it ends, wherever that is.
 */
export interface Begins {
  readonly yields?: number;
}

/** A hypercall. `args` has every argument of the call table. */
export interface CallStep extends Begins {
  readonly kind: 'call';
  readonly cpu: number;
  readonly call: CallName;
  readonly args: Readonly<Record<string, Value>>;
  /** The name that the returned VM handle gets. */
  readonly bind?: string;
  readonly expect?: CallExpectation;
}

/** A crossing with registers as they are: x0 to x7, those left out are 0. */
export interface HvcStep extends Begins {
  readonly kind: 'hvc';
  readonly cpu: number;
  readonly registers: readonly Value[];
  readonly expect?: CallExpectation;
}

/** What a guest's call asks the host for when it ends there: memory for a pool, or guest pages from `ipa`. */
export type GuestRequest =
  | { readonly pool: PoolName; readonly pages: number }
  | { readonly ipa: Value; readonly bytes: Value };

/** What a guest's call should return. What is left out is not compared; an empty one accepts anything (`*`). */
export interface GuestExpectation {
  /** One of GuestStatus. */
  readonly status?: number;
  /** Nothing was done: the guest makes the call again when the host has served it. */
  readonly again?: true;
  /** Bytes; of a raw crossing whatever is in x1. */
  readonly value?: Value;
  /** The id of a domain, whatever its number. */
  readonly domain?: true;
  /** Both halves of a token: base of the SMMU's registers, and StreamID. */
  readonly token?: readonly [Value, Value];
  readonly request?: GuestRequest;
}

/** The guest whose vCPU is loaded on that CPU makes one of its calls. `args` has every argument. */
export interface GuestStep extends Begins {
  readonly kind: 'guest';
  readonly cpu: number;
  readonly call: GuestCallName;
  readonly args: Readonly<Record<string, Value>>;
  /** The name that the returned domain gets. */
  readonly bind?: string;
  readonly expect?: GuestExpectation;
}

/** The guest crosses with registers as they are: x0 to x7, those left out are 0. */
export interface GuestHvcStep extends Begins {
  readonly kind: 'guestHvc';
  readonly cpu: number;
  readonly registers: readonly Value[];
  readonly expect?: GuestExpectation;
}

/** What an access of a CPU should come to. `bus error`: nothing answers at that address. */
export type AccessExpectation = 'ok' | 'abort' | 'bus error';

/** Bytes of an access that are not 4. */
export type OtherWidth = 1 | 2 | 8;

/** The host writes 32 bits, or as many as `width` says. */
export interface WriteStep {
  readonly kind: 'write';
  readonly cpu: number;
  readonly at: Value;
  readonly value: Value;
  readonly width?: OtherWidth;
  readonly expect?: AccessExpectation;
}

/** What a read of the host should give. */
export type ReadExpectation = number | BigNumber | 'abort' | 'bus error';

/** The host reads 32 bits, or as many as `width` says. */
export interface ReadStep {
  readonly kind: 'read';
  readonly cpu: number;
  readonly at: Value;
  readonly width?: OtherWidth;
  readonly expect?: ReadExpectation;
}

/** The host gives `chunks` chunks of 2^order fresh pages to a pool: links written, then one refill call. */
export interface TopupStep {
  readonly kind: 'topup';
  readonly cpu: number;
  readonly pool: PoolName;
  readonly chunks: number;
  readonly order: number;
  readonly expect?: CallExpectation;
}

/** The host writes the description of a VM that init_vm will read. */
export interface DescribeStep {
  readonly kind: 'describe';
  readonly cpu: number;
  readonly at: Value;
  readonly vm: Value;
  readonly isProtected: Value;
  readonly vcpus: Value;
  readonly expect?: AccessExpectation;
}

/** Where a device's access went, the name of its fault, or that it ended without a record. */
export type DmaExpectation = { readonly reaches: Value } | { readonly fault: string } | 'abort';

/** A device reads or writes 32 bits. */
export interface DmaStep {
  readonly kind: 'dma';
  /** Name of the device, or of one of its further streams: `gpu`, `gpu-1`. */
  readonly device: string;
  readonly access: 'read' | 'write';
  readonly iova: Value;
  /** What is written. */
  readonly value?: Value;
  /** SubstreamID of the access; none when left out. */
  readonly pasid?: number;
  /** The caches answer with something other than what the tables say now, if they may still hold such a thing. */
  readonly cached?: true;
  readonly expect?: DmaExpectation;
}

/** An SMMU stops answering: its command queue is consumed no further. Or it goes on. */
export interface SmmuStep {
  readonly kind: 'smmu';
  /** Its name in the machine description. */
  readonly smmu: string;
  readonly answers: boolean;
}

/** The call in progress on that CPU runs so many pauses further, or to its end. */
export interface RunStep {
  readonly kind: 'run';
  readonly cpu: number;
  readonly yields: number | 'end';
}

/** A store of that CPU that waits becomes visible to everybody: the oldest one, or number `store` from there. */
export interface DrainStep {
  readonly kind: 'drain';
  readonly cpu: number;
  readonly store?: number;
}

/** A finding that belongs to the step before. */
export interface ExpectStep {
  readonly kind: 'expect';
  readonly property: string;
  readonly text?: string;
}

export type Step =
  | CallStep
  | HvcStep
  | GuestStep
  | GuestHvcStep
  | WriteStep
  | ReadStep
  | TopupStep
  | DescribeStep
  | DmaStep
  | SmmuStep
  | RunStep
  | DrainStep
  | ExpectStep;

export interface Scenario {
  /** Name of the profile. */
  readonly profile: string;
  /** Name of a machine preset, or of one that the user brought. */
  readonly machine: string;
  /** Identity of the hypervisor: `postern`, or `postern+Z14` with a defect of the zoo. */
  readonly hypervisor: string;
  readonly title?: string;
  readonly steps: readonly Step[];
}

/** Whether calls of these steps are left in progress: such steps need the stepped build. */
export function hasSchedule(steps: readonly Step[]): boolean {
  return steps.some(
    (step) => step.kind === 'run' || step.kind === 'drain' || ('yields' in step && step.yields !== undefined),
  );
}

/** The profile whose calls the scenario makes. @throws RangeError when there is none of that name */
export function profileOf({ profile }: Pick<Scenario, 'profile'>): Profile {
  const found = findProfile(profile);
  if (found === undefined) throw new RangeError(`no profile '${profile}'`);
  return found;
}
