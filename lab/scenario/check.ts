/** Whether a scenario fits a machine: CPUs, devices, alignment of literal addresses. */

import type { MachineDescription } from '#machine';
import { InputError } from '../input-error.ts';
import { firstStepLine } from './print.ts';
import { namedStreams } from './streams.ts';
import { hasSchedule, type Scenario, type Step, type Value } from './types.ts';
import { isName, isPage } from './value.ts';

/** Where the steps of a scenario stand, for messages. */
export interface Placement {
  /** Name of the file. */
  readonly file?: string;
  /** Line of each step; those of the printed form when left out. */
  readonly lines?: readonly number[];
}

/** The line of step `i`. */
export function lineOf(scenario: Scenario, i: number, { lines }: Placement): number {
  return lines?.[i] ?? firstStepLine(scenario) + i;
}

/** @throws InputError at the first step that the machine cannot do */
export function checkFits(scenario: Scenario, machine: MachineDescription, placement: Placement = {}): void {
  const devices = new Set(namedStreams(machine).map(({ name }) => name));
  const begun = new Set<number>();
  scenario.steps.forEach((step, i) => {
    const fail = (field: string, expected: string, got: string): never => {
      const file = placement.file ?? 'scenario';
      throw new InputError({ file, line: lineOf(scenario, i, placement), field, expected, got });
    };
    if ('cpu' in step && step.cpu >= machine.cpus) {
      fail('cpu', `a CPU from 0 to ${machine.cpus - 1}`, `@cpu${step.cpu}`);
    }
    if ('cpu' in step && hasSchedule(scenario.steps)) {
      if (step.kind === 'run' && !begun.has(step.cpu))
        fail('cpu', `a call that was begun on CPU ${step.cpu} before`, 'none');
      // A whole call that finds a lock taken stays in progress, too.
      if (isCrossing(step)) begun.add(step.cpu);
    }
    const known = `one of the devices of ${machine.name}: ${[...devices].join(', ')}`;
    if (step.kind === 'dma' && !devices.has(step.device)) fail('device', known, step.device);
    if (step.kind === 'call') {
      const { endpoint } = step.args;
      if (endpoint !== undefined && isName(endpoint) && !devices.has(endpoint.name)) {
        fail('endpoint', known, endpoint.name);
      }
    }
    if (step.kind === 'smmu' && !machine.smmus.some(({ name }) => name === step.smmu)) {
      fail(
        'smmu',
        `one of the SMMUs of ${machine.name}: ${machine.smmus.map(({ name }) => name).join(', ')}`,
        step.smmu,
      );
    }
    const address = accessed(step);
    const width = ('width' in step && step.width) || 4;
    if (address !== null && !isAligned(address, width)) fail('address', `a multiple of ${width}`, 'one that is not');
  });
}

function isCrossing({ kind }: Step): boolean {
  return kind === 'call' || kind === 'hvc' || kind === 'guest' || kind === 'guestHvc' || kind === 'topup';
}

/** The address of an access. */
function accessed(step: Step): Value | null {
  if (step.kind === 'dma') return step.iova;
  return step.kind === 'write' || step.kind === 'read' || step.kind === 'describe' ? step.at : null;
}

function isAligned(value: Value, width: number): boolean {
  if (typeof value === 'number') return value % width === 0;
  if (isPage(value)) return (value.byte ?? 0) % width === 0;
  return !('big' in value) || BigInt(value.big) % BigInt(width) === 0n;
}
