/**
 * The model as a target of fuzzers that others wrote: any bytes are an input, and a violation is an error.
 *
 *     import { fuzzOne } from 'postern/fuzz-target';
 *     fuzzOne(bytes);
 */

import { defaultProfile, type Profile } from '#hypercall-abi';
import { type MachineDescription, tiny } from '#machine';
import type { Property } from '../oracle/properties.ts';
import { printScenario, type Scenario } from '../scenario/index.ts';
import type { Violation } from '../session/session.ts';
import { BASE_IDENTITY, hypervisorByIdentity } from '../zoo/index.ts';
import { FuzzEngine } from './engine.ts';
import { NO_FEEDBACK } from './feedback.ts';
import { padded, RECORD_BYTES } from './records.ts';

export interface TargetOptions {
  /** Who is fuzzed; `postern` when left out. */
  readonly hypervisor?: string;
  /** The machine; the preset `tiny` when left out. */
  readonly machine?: MachineDescription;
  readonly profile?: Profile;
  readonly properties?: readonly Property[];
  /** Records that count; 4096 when left out. Bytes behind them are ignored. */
  readonly maxRecords?: number;
}

/** An input has violated a property. */
export class FuzzViolation extends Error {
  override readonly name: string = 'FuzzViolation';
  readonly violation: Violation;
  /** The steps from boot, ready to be replayed and shrunk. */
  readonly scenario: Scenario;

  constructor(violation: Violation, scenario: Scenario) {
    super(`violation of ${violation.property} (${violation.rule}): ${violation.text}`);
    this.violation = violation;
    this.scenario = scenario;
  }

  /** The scenario as text. */
  get text(): string {
    return printScenario(this.scenario);
  }
}

const MAX_RECORDS = 4096;

/** One booted machine that runs inputs, each from boot. */
export class FuzzTarget {
  private readonly engine: FuzzEngine;
  private readonly identity: string;
  private readonly maxBytes: number;

  /** @throws InputError for an unknown hypervisor */
  constructor(options: TargetOptions = {}) {
    const { hypervisor = BASE_IDENTITY, machine = tiny, maxRecords = MAX_RECORDS, profile, properties } = options;
    this.identity = hypervisor;
    this.maxBytes = maxRecords * RECORD_BYTES;
    this.engine = new FuzzEngine({
      machine,
      hypervisor: hypervisorByIdentity(hypervisor),
      seed: 0,
      feedback: NO_FEEDBACK,
      maxSteps: maxRecords,
      ...(profile !== undefined && { profile }),
      ...(properties !== undefined && { properties }),
    });
  }

  /** Run one input, which may be any bytes. @throws FuzzViolation */
  run(bytes: Uint8Array): void {
    const violated = this.engine.judge(padded(bytes.subarray(0, this.maxBytes)));
    if (violated === null) return;
    const { machine, profile } = this.engine.session;
    const { steps, violation } = violated;
    throw new FuzzViolation(violation, {
      profile: profile.name,
      machine: machine.description.name,
      hypervisor: this.identity,
      steps: [...steps, { kind: 'expect', property: violation.property }],
    });
  }

  /** The steps that an input stands for, up to a violation. */
  scenario(bytes: Uint8Array): Scenario {
    const { machine, profile } = this.engine.session;
    return {
      profile: profile.name,
      machine: machine.description.name,
      hypervisor: this.identity,
      steps: this.engine.stepsOf(padded(bytes.subarray(0, this.maxBytes))),
    };
  }
}

let target: FuzzTarget | null = null;

/** Run any bytes against the correct hypervisor, under the default profile on the preset `tiny`. @throws FuzzViolation */
export function fuzzOne(bytes: Uint8Array): void {
  target ??= new FuzzTarget({ profile: defaultProfile });
  target.run(bytes);
}
