/** What a step came to, against what was expected of it, and as text in the words of the format. */

import type { CallResult, CallSpec } from '#hypercall-abi';
import type { NameBinder } from './bind.ts';
import type { Outcome } from './execute.ts';
import { kindOf, printCallExpectation, printDmaExpectation, printReadExpectation } from './expectation.ts';
import type { CallExpectation, DmaExpectation, Step, Value } from './types.ts';

/** Whether the outcome is what the step expects; a step that expects nothing takes anything. */
export function matches(step: Step, outcome: Outcome, names: NameBinder): boolean {
  if (step.kind === 'expect' || step.expect === undefined) return true;
  switch (outcome.kind) {
    case 'call':
      return callMatches(step.expect as CallExpectation, outcome.result, names);
    case 'write':
      return outcome.access === step.expect;
    case 'read':
      return outcome.read === step.expect;
    case 'dma':
      return dmaMatches(step.expect as DmaExpectation, outcome.pa, outcome.fault, names);
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
    case 'write':
      return { ...step, expect: outcome.access } as Step;
    case 'read':
      return { ...step, expect: outcome.read } as Step;
    case 'dma':
      return { ...step, expect: dmaExpectation(outcome.pa, outcome.fault, names) } as Step;
    case 'expect':
      return step;
  }
}

/** The outcome in the words of the format. */
export function outcomeText(outcome: Outcome, names: NameBinder): string {
  switch (outcome.kind) {
    case 'call':
      return printCallExpectation(callExpectation(outcome.result, outcome.spec, names), kindOf(outcome.spec));
    case 'write':
      return outcome.access;
    case 'read':
      return printReadExpectation(outcome.read);
    case 'dma':
      return printDmaExpectation(dmaExpectation(outcome.pa, outcome.fault, names));
    case 'expect':
      return '';
  }
}

function callExpectation(result: CallResult, spec: CallSpec | undefined, names: NameBinder): CallExpectation {
  if (!result.supported) return { unsupported: true };
  const { errno, value, request } = result;
  const returns = kindOf(spec);
  const asked = request === null ? {} : { request: { pool: poolName(request.pool), pages: request.pages } };
  if (returns === 'handleOrErrno') return errno === 0 ? { handle: true, ...asked } : { errno, ...asked };
  if (returns === 'bytes' && spec?.x0 === 'errno') {
    return errno < 0 && value === 0 ? { errno, ...asked } : { errno, value, ...asked };
  }
  if (returns === 'bytes' || returns === 'pages') return { value, ...asked };
  if (returns === 'pa' || returns === 'list') return { value: value === 0 ? 0 : names.nameOf(value), ...asked };
  return { errno, ...asked };
}

function dmaExpectation(pa: number, fault: string | null, names: NameBinder): DmaExpectation {
  if (pa >= 0) {
    const reaches: Value = names.nameOf(pa - (pa % 4096));
    return { reaches };
  }
  return fault === null ? 'abort' : { fault };
}
