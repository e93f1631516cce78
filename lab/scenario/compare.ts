/** What a step came to, against what was expected of it, and as text in the words of the format. */

import type { CallResult, CallSpec, GuestCallSpec, GuestResult } from '#hypercall-abi';
import type { NameBinder } from './bind.ts';
import type { Outcome } from './execute.ts';
import { kindOf, printCallExpectation, printDmaExpectation, printReadExpectation } from './expectation.ts';
import { printGuestExpectation } from './guest-expectation.ts';
import type { CallExpectation, DmaExpectation, GuestExpectation, ReadExpectation, Step, Value } from './types.ts';
import { numberValue } from './value.ts';

/** Whether the outcome is what the step expects; a step that expects nothing takes anything. */
export function matches(step: Step, outcome: Outcome, names: NameBinder): boolean {
  if (outcome.kind === 'progress') {
    const { ended, progress } = outcome;
    if (ended !== null) return matches(ended.step, ended.outcome, names);
    // A whole call that could not be run to its end has not come to what is expected of it.
    const isWhole = !('yields' in step) || step.yields === undefined;
    return progress !== 'waits' || !isWhole || !('expect' in step) || step.expect === undefined;
  }
  if (!('expect' in step) || step.expect === undefined) return true;
  switch (outcome.kind) {
    case 'call':
      return callMatches(step.expect as CallExpectation, outcome.result, names);
    case 'guest':
      return guestMatches(step.expect as GuestExpectation, outcome.result, names);
    case 'write':
      return outcome.access === step.expect;
    case 'read':
      return printReadExpectation(outcome.read) === printReadExpectation(step.expect as ReadExpectation);
    case 'dma':
      return dmaMatches(step.expect as DmaExpectation, outcome.pa, outcome.fault, names);
    case 'smmu':
    case 'drain':
    case 'expect':
      return true;
  }
}

function callMatches(expect: CallExpectation, result: CallResult, names: NameBinder): boolean {
  if (expect.unsupported) return !result.supported;
  const anything = expect.errno === undefined && expect.value === undefined && !expect.handle && !expect.request;
  if (anything) return true;
  if (!result.supported) return false;
  if (expect.errno !== undefined && expect.errno !== result.errno) return false;
  if (expect.handle && (result.errno !== 0 || result.value === 0)) return false;
  if (expect.value !== undefined && Number(names.resolve(expect.value, 'pa')) !== result.value) return false;
  if (expect.request === undefined) return true;
  const { request } = result;
  return request !== null && poolName(request.pool) === expect.request.pool && request.pages === expect.request.pages;
}

function guestMatches(expect: GuestExpectation, result: GuestResult, names: NameBinder): boolean {
  const number = (value: Value): number => Number(names.resolve(value, 'pa'));
  if (expect.again !== undefined && !result.again) return false;
  if (expect.status !== undefined && (result.again || expect.status !== result.status)) return false;
  if (expect.domain && (result.status !== 0 || result.value === 0)) return false;
  if (expect.value !== undefined && number(expect.value) !== result.value) return false;
  if (expect.token !== undefined) {
    const [first, second] = expect.token;
    if (result.status !== 0 || number(first) !== result.value || number(second) !== result.value2) return false;
  }
  const { request } = expect;
  if (request === undefined) return true;
  const { exit } = result;
  if (exit === null) return false;
  if ('pool' in request) {
    return (
      exit.reason === 'memory' && poolName(exit.request.pool) === request.pool && exit.request.pages === request.pages
    );
  }
  return exit.reason === 'map' && exit.ipa === number(request.ipa) && exit.size === number(request.bytes);
}

function dmaMatches(expect: DmaExpectation, pa: number, fault: string | null, names: NameBinder): boolean {
  if (expect === 'abort') return pa < 0 && fault === null;
  if ('fault' in expect) return fault === expect.fault;
  return pa >= 0 && pageOf(Number(names.resolve(expect.reaches, 'pa'))) === pageOf(pa);
}

/** A device reaches a page: where in it says the IOVA. */
function pageOf(pa: number): number {
  return Math.floor(pa / 4096);
}

function poolName(pool: number): 'heap' | 'iommu' {
  return pool === 0 ? 'heap' : 'iommu';
}

/** The step with its outcome as what is expected of it. */
export function withOutcome(step: Step, outcome: Outcome, names: NameBinder): Step {
  switch (outcome.kind) {
    case 'call':
      return { ...step, expect: callExpectation(outcome.result, outcome.spec, names) } as Step;
    case 'guest':
      return { ...step, expect: guestExpectation(outcome.result, outcome.spec) } as Step;
    case 'write':
      return { ...step, expect: outcome.access } as Step;
    case 'read':
      return { ...step, expect: outcome.read } as Step;
    case 'dma':
      return { ...step, expect: dmaExpectation(outcome.pa, outcome.fault, names) } as Step;
    case 'progress':
      return outcome.ended?.step === step ? withOutcome(step, outcome.ended.outcome, names) : step;
    case 'smmu':
    case 'drain':
    case 'expect':
      return step;
  }
}

/** The outcome in the words of the format. */
export function outcomeText(outcome: Outcome, names: NameBinder): string {
  switch (outcome.kind) {
    case 'call':
      return printCallExpectation(callExpectation(outcome.result, outcome.spec, names), kindOf(outcome.spec));
    case 'guest':
      return printGuestExpectation(guestExpectation(outcome.result, outcome.spec), outcome.spec?.x1 ?? null);
    case 'write':
      return outcome.access;
    case 'read':
      return printReadExpectation(outcome.read);
    case 'dma':
      return printDmaExpectation(dmaExpectation(outcome.pa, outcome.fault, names));
    case 'progress':
      return progressText(outcome, names);
    case 'drain':
      return outcome.drained ? 'visible' : 'nothing waits';
    case 'smmu':
    case 'expect':
      return '';
  }
}

/** What a register held, from the nearest number: a wrong result may be near 2^64, where that is one too large. */
function register(value: number): Value {
  const max = 2n ** 64n - 1n;
  const exact = BigInt(value);
  return numberValue(exact > max ? max : exact);
}

function progressText({ progress, ended }: Extract<Outcome, { kind: 'progress' }>, names: NameBinder): string {
  if (ended !== null) return outcomeText(ended.outcome, names);
  const texts = { runs: 'in progress', waits: 'waits for a lock', idle: 'nothing in progress', ended: 'ended' };
  return texts[progress];
}

function callExpectation(result: CallResult, spec: CallSpec | undefined, names: NameBinder): CallExpectation {
  if (!result.supported) return { unsupported: true };
  const { errno, value, request } = result;
  const returns = kindOf(spec);
  const asked = request === null ? {} : { request: { pool: poolName(request.pool), pages: request.pages } };
  if (returns === 'handleOrErrno') return errno === 0 ? { handle: true, ...asked } : { errno, ...asked };
  if (returns === 'bytes' && spec?.x0 === 'errno') {
    return errno < 0 && value === 0 ? { errno, ...asked } : { errno, value: register(value), ...asked };
  }
  if (returns === 'bytes' || returns === 'pages') return { value: register(value), ...asked };
  if (returns === 'pa' || returns === 'list') {
    const named = value === 0 ? 0 : names.nameOf(value);
    return { value: typeof named === 'number' ? register(named) : named, ...asked };
  }
  return { errno, ...asked };
}

function guestExpectation(result: GuestResult, spec: GuestCallSpec | undefined): GuestExpectation {
  const { exit, status, value, value2 } = result;
  const asked =
    exit === null
      ? {}
      : exit.reason === 'map'
        ? { request: { ipa: exit.ipa, bytes: exit.size } }
        : { request: { pool: poolName(exit.request.pool), pages: exit.request.pages } };
  if (result.again) return { again: true, ...asked };
  if (status === 0 && spec?.x1 === 'domain') return { domain: true, ...asked };
  if (status === 0 && spec?.x1 === 'token') return { token: [register(value), register(value2)], ...asked };
  if (spec?.x1 === 'bytes' && (status === 0 || value !== 0)) return { status, value: register(value), ...asked };
  return { status, ...asked };
}

function dmaExpectation(pa: number, fault: string | null, names: NameBinder): DmaExpectation {
  if (pa >= 0) {
    const reaches: Value = names.nameOf(pa - (pa % 4096));
    return { reaches };
  }
  return fault === null ? 'abort' : { fault };
}
