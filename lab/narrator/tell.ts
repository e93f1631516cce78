/**
 * Tells a scenario as a story: runs it on a fresh machine with a recorder and the oracles, and gives for each step one
 * plain sentence about what was asked and what came of it, and one for each thing that happened inside.
 */
import type { Executor, Outcome } from '../scenario/execute.ts';
import type { DmaStep, Scenario, Step } from '../scenario/index.ts';
import type { HypervisorFactory, Violation } from '../session/session.ts';
import { guestSentence } from './guest-sentences.ts';
import { hex, type NameOf } from './names.ts';
import { type RecordedStep, recordScenario } from './record.ts';
import type { Fact } from './recorder.ts';
import { callSentence, factSentence, groupFacts } from './sentences.ts';

/** One step, told. */
export interface ToldStep {
  /** Number of the step, from 1. */
  readonly number: number;
  /** The step as the scenario writes it. */
  readonly text: string;
  /** What was asked, and what came of it. */
  readonly sentence: string;
  /** What happened meanwhile, in order. */
  readonly details: readonly string[];
  readonly violations: readonly Violation[];
}

export interface Story {
  readonly title: string;
  readonly hypervisor: string;
  readonly machine: string;
  readonly steps: readonly ToldStep[];
  readonly violations: readonly Violation[];
}

/** Run `scenario` on `hypervisor` and tell it. @throws DescriptionError for an unknown machine */
export function tell(scenario: Scenario, hypervisor: HypervisorFactory): Story {
  const steps: ToldStep[] = [];
  recordScenario(scenario, hypervisor, { each: (recorded) => steps.push(told(recorded)) });
  return {
    title: scenario.title ?? 'A scenario',
    hypervisor: scenario.hypervisor,
    machine: scenario.machine,
    steps,
    violations: steps.flatMap(({ violations }) => violations),
  };
}

/** One step, told. */
export function told({ number, text, step, outcome, facts, violations, executor, nameOf }: RecordedStep): ToldStep {
  const sentence = sentenceOf(step, outcome, executor, nameOf);
  return { number, text, sentence, details: details(facts, nameOf), violations };
}

/** Facts in order; the same thing happening to many pages in a row is one sentence. */
function details(facts: readonly Fact[], nameOf: NameOf): string[] {
  return groupFacts(facts).flatMap(({ facts: same }) => factSentence(same[0]!, nameOf, same.length) ?? []);
}

function sentenceOf(step: Step, outcome: Outcome, executor: Executor, nameOf: NameOf): string {
  if (outcome.kind === 'progress' && step.kind !== 'run') {
    if (outcome.ended?.step === step) return sentenceOf(step, outcome.ended.outcome, executor, nameOf);
    const call = 'call' in step ? step.call : 'a call';
    const cpu = 'cpu' in step ? `CPU ${step.cpu}` : 'A CPU';
    return `${cpu} begins ${call}${progressEnd(outcome)}`;
  }
  switch (step.kind) {
    case 'call': {
      const spec = executor.boundary.profile.call(step.call);
      const args: Record<string, number> = {};
      for (const { name, unit } of spec.args) args[name] = Number(executor.names.resolve(step.args[name] ?? 0, unit));
      if (outcome.kind !== 'call') throw new Error('a call has the outcome of a call');
      return callSentence({ spec, cpu: step.cpu, args, result: outcome.result }, nameOf);
    }
    case 'hvc':
      return 'The host crosses with registers of its own choosing.';
    case 'guest': {
      if (outcome.kind !== 'guest') throw new Error('a guest’s call has the outcome of one');
      const args: Record<string, number> = {};
      for (const { name, unit } of outcome.spec?.args ?? []) {
        args[name] = Number(executor.names.resolveGuest(step.args[name] ?? 0, unit));
      }
      return guestSentence({ spec: outcome.spec, cpu: step.cpu, args, result: outcome.result });
    }
    case 'run': {
      const ended = outcome.kind === 'progress' ? outcome.ended : null;
      const result = ended === null ? '' : ` ${sentenceOf(ended.step, ended.outcome, executor, nameOf)}`;
      return `CPU ${step.cpu} goes on with its call${progressEnd(outcome)}${result}`;
    }
    case 'drain':
      return outcome.kind === 'drain' && outcome.drained
        ? `A store of CPU ${step.cpu} becomes visible to everybody.`
        : `No store of CPU ${step.cpu} waits.`;
    case 'guestHvc':
      return 'The guest crosses with registers of its own choosing.';
    case 'smmu':
      return step.answers
        ? `The SMMU ${step.smmu} goes on: it consumes its command queue again.`
        : `The SMMU ${step.smmu} stops answering: it consumes no more commands.`;
    case 'topup': {
      const pages = step.chunks * 2 ** step.order;
      const pool = step.pool === 'iommu' ? 'the IOMMU pool' : 'the hypervisor heap';
      return `The host donates ${pages} ${pages === 1 ? 'page' : 'pages'} to ${pool}.`;
    }
    case 'describe':
      return 'The host writes the description of a VM into a page it shares.';
    case 'write':
    case 'read': {
      const pa = Number(executor.names.resolve(step.at, 'pa'));
      const through =
        outcome.kind === 'write'
          ? outcome.access === 'ok'
          : outcome.kind === 'read' && typeof outcome.read !== 'string';
      const bytes = step.width === undefined ? '' : `${step.width} ${step.width === 1 ? 'byte' : 'bytes'} of `;
      const verb = step.kind === 'write' ? (bytes === '' ? 'writes to' : 'writes') : 'reads';
      return `The host ${verb} ${bytes}${nameOf(pa)}${through ? '' : ': the hypervisor injects an abort'}.`;
    }
    case 'dma':
      return dmaSentence(step, outcome, executor, nameOf);
    case 'expect':
      return '';
  }
}

function progressEnd(outcome: Outcome): string {
  if (outcome.kind !== 'progress') return '.';
  const ends = {
    runs: ', and is stopped in the middle of it.',
    waits: ', until it waits for a lock that another CPU holds.',
    ended: ', to its end.',
    idle: ': there is none.',
  };
  return ends[outcome.progress];
}

function dmaSentence(step: DmaStep, outcome: Outcome, executor: Executor, nameOf: NameOf): string {
  const iova = hex(Number(executor.names.resolve(step.iova, 'iova')));
  const how = step.cached ? ', by what its caches may still hold,' : '';
  const what = `The device ${step.device} ${step.access === 'read' ? 'reads' : 'writes'} at IOVA ${iova}${how}`;
  if (outcome.kind !== 'dma') return `${what}.`;
  if (outcome.pa >= 0) return `${what} and reaches ${nameOf(outcome.pa)}.`;
  return `${what} and is stopped${outcome.fault === null ? ' without a record' : ` with ${outcome.fault}`}.`;
}
