/**
 * A scenario as a timeline: what each step did to memory and to the SMMU's queues, in order, and the windows in which
 * the SMMU may still use an entry that memory does not hold any more. The order of release and invalidation is the
 * whole safety of an unmap, and here it can be seen.
 */
import type { StaleEntry } from '#machine';
import { hex, type NameOf } from '../narrator/names.ts';
import { type RecordedStep, recordScenario } from '../narrator/record.ts';
import type { Fact } from '../narrator/recorder.ts';
import { factSentence, momentsOf } from '../narrator/sentences.ts';
import { outcomeText, type Scenario, withoutExpectation } from '../scenario/index.ts';
import { printStep } from '../scenario/print.ts';
import type { HypervisorFactory } from '../session/session.ts';

/** One thing that happened inside a step. */
export interface TimelineMoment {
  /** Number of the step, from 1, and of the moment in it, from 1: `6.2`. */
  readonly label: string;
  readonly lane: 'memory' | 'queue';
  readonly text: string;
  /** The same as a whole sentence. */
  readonly sentence: string;
  /** A page is released while an old entry still leads to it. */
  readonly early: boolean;
}

export interface TimelineStep {
  readonly number: number;
  /** The step, and what it came to. */
  readonly text: string;
  readonly moments: readonly TimelineMoment[];
  readonly violations: readonly string[];
}

/** From the removal of an entry to the CMD_SYNC after which nothing holds it. Places are indexes over all moments. */
export interface TimelineWindow {
  readonly text: string;
  /** Moment of the removal. */
  readonly from: number;
  /** Moment of the invalidation that covers it; null when none does. */
  readonly queued: number | null;
  /** Moment of the CMD_SYNC that ends it; null when it is open at the end. */
  readonly to: number | null;
  /** Moment at which a page was released although the entry may lead there; null when that does not happen. */
  readonly released: number | null;
}

export interface Timeline {
  readonly title: string;
  readonly hypervisor: string;
  readonly machine: string;
  readonly steps: readonly TimelineStep[];
  readonly windows: readonly TimelineWindow[];
}

/** Run `scenario` on `hypervisor` and take down what happens when. @throws as `recordScenario` */
export function timelineOf(scenario: Scenario, hypervisor: HypervisorFactory): Timeline {
  const steps: TimelineStep[] = [];
  const windows = new Windows();
  recordScenario(scenario, hypervisor, { each: (recorded) => steps.push(stepOf(recorded, windows)) });
  return {
    title: scenario.title ?? 'A scenario',
    hypervisor: scenario.hypervisor,
    machine: scenario.machine,
    steps,
    windows: windows.all,
  };
}

function stepOf(
  { number, step, outcome, facts, violations, executor, nameOf }: RecordedStep,
  windows: Windows,
): TimelineStep {
  const moments = momentsOf(facts, nameOf).map(({ facts: same }, i): TimelineMoment => {
    const first = same[0]!;
    windows.see(same, nameOf);
    return {
      label: `${number}.${i + 1}`,
      lane: first.kind === 'command' || first.kind === 'sync' || first.kind === 'event' ? 'queue' : 'memory',
      text: momentText(same, nameOf),
      sentence: factSentence(first, nameOf, same.length) ?? '',
      early: isEarly(first),
    };
  });
  const result = outcomeText(outcome, executor.names);
  return {
    number,
    text: `${printStep(withoutExpectation(step), executor.boundary.profile)} → ${result}`,
    moments,
    violations: violations.map(({ property, text }) => `${property}: ${text}`),
  };
}

function isEarly(fact: Fact): boolean {
  return fact.kind === 'references' && fact.to < fact.from && fact.cached && !fact.pin;
}

interface OpenWindow {
  readonly text: string;
  readonly from: number;
  readonly entries: StaleEntry[];
  queued: number | null;
  to: number | null;
  released: number | null;
}

/** Follows what may still be held through the moments of a run. */
class Windows {
  readonly all: OpenWindow[] = [];
  private moment = 0;

  see(facts: readonly Fact[], nameOf: NameOf): void {
    const at = this.moment++;
    const first = facts[0]!;
    if (first.kind === 'removed') {
      const entries = facts.flatMap((fact) => (fact.kind === 'removed' ? fact.entry : []));
      // What remains of a run of which a part was invalidated is not new.
      const fresh = entries.filter(
        (entry) => !this.open().some((window) => window.entries.some((e) => meets(e, entry))),
      );
      if (fresh.length > 0) {
        const text = heldText(fresh, facts, nameOf);
        this.all.push({ text, from: at, entries: fresh, queued: null, to: null, released: null });
      }
    } else if (first.kind === 'command' || first.kind === 'sync') {
      for (const window of this.open()) {
        const held = first.held.filter((entry) => window.entries.some((each) => meets(each, entry)));
        if (held.length === 0) window.to = at;
        else if (held.every(({ pending }) => pending)) window.queued ??= at;
      }
    } else if (isEarly(first)) {
      for (const window of this.open()) if (window.entries.some(({ kind }) => kind === 'leaf')) window.released ??= at;
    }
  }

  private open(): OpenWindow[] {
    return this.all.filter(({ to }) => to === null);
  }
}

/** Whether two entries are, at least in part, the same thing. */
function meets(a: StaleEntry, b: StaleEntry): boolean {
  if (a.kind !== b.kind || a.stage !== b.stage || a.vmid !== b.vmid || a.asid !== b.asid || a.sid !== b.sid)
    return false;
  if (a.kind !== 'leaf' && a.kind !== 'table') return a.at === b.at;
  return a.iova < b.iova + b.size && b.iova < a.iova + a.size;
}

/** An entry that may still be held, in a few words. */
function heldText(entries: readonly StaleEntry[], facts: readonly Fact[], nameOf: NameOf): string {
  const first = entries[0]!;
  const pages = entries.reduce((sum, { size }) => sum + size / 4096, 0);
  switch (first.kind) {
    case 'leaf': {
      const removed = facts.find((fact) => fact.kind === 'removed');
      const target = removed?.kind === 'removed' && removed.pa >= 0 ? ` → ${nameOf(removed.pa)}` : '';
      return `IOVA ${hex(first.iova)}${target}${pages > 1 ? ` and ${pages - 1} more` : ''}`;
    }
    case 'table':
      return `table at IOVA ${hex(first.iova)}`;
    case 'tag':
      return first.stage === 2 ? `VMID ${first.vmid}` : `ASID ${first.asid}`;
    case 'strtab':
      return 'stream table';
    case 'l1std':
      return `L1STD from stream ${hex(first.sid)}`;
    default:
      return `${first.kind.toUpperCase()} of stream ${hex(first.sid)}`;
  }
}

function momentText(facts: readonly Fact[], nameOf: NameOf): string {
  const first = facts[0]!;
  const more = facts.length > 1 ? ` and ${facts.length - 1} more` : '';
  switch (first.kind) {
    case 'removed': {
      const { entry } = first;
      if (entry.kind === 'tag') return `${heldText([entry], [first], nameOf)} is in use no more`;
      const verb = entry.kind === 'leaf' ? 'clear' : entry.kind === 'table' ? 'unlink the' : 'change the';
      return `${verb} ${heldText([entry], [first], nameOf)}${more}`;
    }
    case 'references': {
      const what = first.pin ? (first.to > first.from ? 'pin' : 'unpin') : first.to > first.from ? 'count' : 'release';
      return `${what} ${nameOf(first.pa)}${more} (${first.from} → ${first.to})`;
    }
    case 'owner':
      return `${nameOf(first.pa)}${more}: ${first.from} → ${first.to}`;
    case 'command':
      return first.name;
    case 'sync':
      return 'CMD_SYNC completes';
    case 'event':
      return `event ${first.event.name}`;
  }
}
