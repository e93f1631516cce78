/** Scenarios as text. The text of equal scenarios is equal, and `parseScenario` reads it back to the same data. */

import {
  type ArgumentSpec,
  type CallName,
  type CallSpec,
  decodeFunction,
  decodeGuestCall,
  defaultProfile,
  type GuestCallSpec,
  guestCallNamed,
  type Profile,
  setBig,
} from '#hypercall-abi';
import { type Kind, kindOf, printCallExpectation, printDmaExpectation, printReadExpectation } from './expectation.ts';
import { SCENARIO_MAGIC } from './format.ts';
import { type GuestKind, printGuestExpectation } from './guest-expectation.ts';
import {
  type CallStep,
  type GuestStep,
  type HvcStep,
  profileOf,
  SCENARIO_VERSION,
  type Scenario,
  type Step,
  type TopupStep,
  type Value,
} from './types.ts';
import { printValue } from './value.ts';

/** Units whose zero goes without saying. */
const SILENT_ZERO: ReadonlySet<string> = new Set(['driver', 'iommu', 'pasid', 'pasidBits', 'attachFlags', 'flags']);

/**
 * The whole scenario.
 * @throws RangeError when a title or a text has line breaks or space around it, which would not come back
 */
export function printScenario(scenario: Scenario): string {
  const profile = profileOf(scenario);
  const steps = scenario.steps.map((step) => printStep(step, profile));
  return `${[...headerLines(scenario), '', ...steps].join('\n')}\n`;
}

function headerLines({ profile, machine, hypervisor, title }: Scenario): string[] {
  const lines = [
    `${SCENARIO_MAGIC}${SCENARIO_VERSION}`,
    `profile ${profile}`,
    `machine ${machine}`,
    `hypervisor ${hypervisor}`,
  ];
  if (title !== undefined) lines.push(`title ${oneLine(title)}`);
  return lines;
}

/** The line (from 1) on which {@link printScenario} puts the first step. */
export function firstStepLine(scenario: Scenario): number {
  return headerLines(scenario).length + 2;
}

/** One step, without a line break. */
export function printStep(step: Step, profile: Profile = defaultProfile): string {
  switch (step.kind) {
    case 'call':
      return printCall(step, profile);
    case 'hvc':
      return printHvc(step, profile);
    case 'guest':
      return printGuestCall(step, profile);
    case 'guestHvc': {
      const expected = step.expect && printGuestExpectation(step.expect, guestHvcKind(step.registers));
      return `${on(step)} guest_hvc${registerFields(step.registers)}${arrow(expected)}`;
    }
    case 'write':
      return `@cpu${step.cpu} write ${place(step.at)} ${word(step.value)}${width(step.width)}${arrow(step.expect)}`;
    case 'read': {
      const expected = step.expect === undefined ? undefined : printReadExpectation(step.expect);
      return `@cpu${step.cpu} read ${place(step.at)}${width(step.width)}${arrow(expected)}`;
    }
    case 'topup':
      return printTopup(step);
    case 'describe': {
      const { cpu, at, vm, isProtected, vcpus } = step;
      const fields = `vm=${printValue(vm, 'handle', null)} protected=${word(isProtected)} vcpus=${word(vcpus)}`;
      return `@cpu${cpu} describe ${place(at)} ${fields}${arrow(step.expect)}`;
    }
    case 'dma': {
      const { device, access, iova, value, pasid, cached } = step;
      const written = value === undefined ? '' : ` ${word(value)}`;
      const expected = step.expect === undefined ? undefined : printDmaExpectation(step.expect);
      const how = `${pasid === undefined ? '' : ` pasid=${pasid}`}${cached ? ' cached' : ''}`;
      return `${device} ${access} ${place(iova)}${written}${how}${arrow(expected)}`;
    }
    case 'run':
      return `@cpu${step.cpu}:${step.yields}`;
    case 'drain':
      return `@cpu${step.cpu} drain${step.store === undefined ? '' : ` ${step.store}`}`;
    case 'smmu':
      return `${step.smmu} ${step.answers ? 'answers again' : 'stops answering'}`;
    case 'expect':
      return `expect violation ${step.property}${step.text === undefined ? '' : ` ${oneLine(step.text)}`}`;
  }
}

function printCall(step: CallStep, profile: Profile): string {
  const spec = profile.call(step.call);
  const expected = step.expect === undefined ? undefined : printCallExpectation(step.expect, spec.x1);
  return `${on(step)} ${named(step)}${fields(step.args, spec.args, step.call, profile)}${arrow(expected)}`;
}

function printGuestCall(step: GuestStep, profile: Profile): string {
  const spec = guestCallNamed(step.call);
  const expected = step.expect === undefined ? undefined : printGuestExpectation(step.expect, spec.x1);
  return `${on(step)} ${named(step)}${fields(step.args, spec.args, null, profile)}${arrow(expected)}`;
}

/** Where a call is made, and how far it is run. */
function on({ cpu, yields }: { readonly cpu: number; readonly yields?: number }): string {
  return yields === undefined ? `@cpu${cpu}` : `@cpu${cpu}:${yields}`;
}

/** The call, and the name that its result gets. */
function named({ call, bind }: CallStep | GuestStep): string {
  return bind === undefined ? call : `${bind} = ${call}`;
}

function fields(
  args: Readonly<Record<string, Value>>,
  specs: readonly ArgumentSpec[],
  call: CallName | null,
  profile: Profile,
): string {
  let text = '';
  for (const { name, unit } of specs) {
    const value = args[name] ?? 0;
    if (value !== 0 || !SILENT_ZERO.has(unit)) text += ` ${name}=${printValue(value, unit, call, profile)}`;
  }
  return text;
}

function printHvc(step: HvcStep, profile: Profile): string {
  const kind = hvcKind(step.registers, profile);
  const expected = step.expect === undefined ? undefined : printCallExpectation(step.expect, kind);
  return `${on(step)} hvc${registerFields(step.registers)}${arrow(expected)}`;
}

function registerFields(registers: readonly Value[]): string {
  return registers.map((value, n) => (n > 0 && value === 0 ? '' : ` x${n}=${place(value)}`)).join('');
}

/** The call that the registers make, when x0 says so in numbers. */
export function callOfRegisters(registers: readonly Value[], profile?: Profile): CallSpec | undefined {
  const [x0 = 0] = registers;
  if (typeof x0 === 'object' && !('big' in x0)) return undefined;
  const x = new Int32Array(16);
  setBig(x, 0, BigInt(typeof x0 === 'number' ? x0 : x0.big));
  return decodeFunction(x, profile);
}

/** The guest call that the registers make, when x0 and x1 say so in numbers. */
export function guestCallOfRegisters(registers: readonly Value[]): GuestCallSpec | undefined {
  const x = new Int32Array(16);
  for (let n = 0; n < 2; n++) {
    const value = registers[n] ?? 0;
    if (typeof value === 'object' && !('big' in value)) {
      // The token's call has its first argument in x1, whatever it is.
      if (n === 0) return undefined;
      continue;
    }
    setBig(x, n, BigInt(typeof value === 'number' ? value : value.big));
  }
  const spec = decodeGuestCall(x);
  return spec !== undefined && spec.op >= 0 && typeof (registers[1] ?? 0) !== 'number' ? undefined : spec;
}

/** Result kind of that call. */
export function guestHvcKind(registers: readonly Value[]): GuestKind {
  return guestCallOfRegisters(registers)?.x1 ?? null;
}

/** Result kind of that call. */
export function hvcKind(registers: readonly Value[], profile?: Profile): Kind {
  return kindOf(callOfRegisters(registers, profile));
}

function printTopup({ cpu, pool, chunks, order, expect }: TopupStep): string {
  const count = chunks === 1 && order > 0 ? '' : ` ${chunks}`;
  const size = order === 0 ? '' : ` order=${order}`;
  const expected = expect === undefined ? undefined : printCallExpectation(expect, 'errno');
  return `@cpu${cpu} topup ${pool}${count}${size}${arrow(expected)}`;
}

function arrow(expected: string | undefined): string {
  return expected === undefined ? '' : ` -> ${expected}`;
}

function place(value: Value): string {
  return printValue(value, 'pa', null);
}

function width(bytes: number | undefined): string {
  return bytes === undefined ? '' : ` width=${bytes}`;
}

function word(value: Value): string {
  return printValue(value, 'flags', null);
}

function oneLine(text: string): string {
  if (text === '' || text !== text.trim() || /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}]/u.test(text)) {
    throw new RangeError('a title or text of a scenario must be one line without space around it');
  }
  return text;
}
