/**
 * A scenario in the Trace Event Format of Chrome, which Perfetto and chrome://tracing show: CPUs with their calls, SMMUs
 * with their commands, devices with their accesses, and how long an old entry may be held. There is no time in the model:
 * one microsecond is one thing that happens.
 */
import { preset } from '#machine';
import { type RecordedStep, recordScenario } from '../narrator/record.ts';
import type { Fact } from '../narrator/recorder.ts';
import { factSentence } from '../narrator/sentences.ts';
import { outcomeText, type Scenario, type Step } from '../scenario/index.ts';
import type { HypervisorFactory } from '../session/session.ts';
import { heldSentence } from '../walk/held.ts';

/** One event; see docs/emit.md for the source of the format. */
export interface TraceEvent {
  readonly name: string;
  readonly ph: 'X' | 'B' | 'E' | 'M' | 'i' | 'b' | 'e';
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly id?: string;
  readonly s?: 'g';
  readonly args?: Readonly<Record<string, unknown>>;
}

export interface ChromeTrace {
  readonly displayTimeUnit: 'ms';
  readonly otherData: Readonly<Record<string, string>>;
  readonly traceEvents: readonly TraceEvent[];
}

const Process = { cpus: 1, smmus: 2, devices: 3, caches: 4 } as const;

/** Run `scenario` on `hypervisor` and trace it. @throws as `recordScenario` */
export function chromeTrace(scenario: Scenario, hypervisor: HypervisorFactory): ChromeTrace {
  const tracer = new Tracer(scenario);
  recordScenario(scenario, hypervisor, { each: (recorded) => tracer.step(recorded) });
  const { title = 'A scenario', profile, machine } = scenario;
  return {
    displayTimeUnit: 'ms',
    otherData: { title, profile, machine, hypervisor: scenario.hypervisor },
    traceEvents: tracer.end(),
  };
}

class Tracer {
  private readonly events: TraceEvent[] = [];
  private readonly devices: readonly string[];
  /** Entries that may be held by the machine's number, which is used again, with their name and a number of their own. */
  private readonly open = new Map<number, { readonly name: string; readonly id: string }>();
  private entries = 0;
  private now = 0;

  constructor({ machine }: Scenario) {
    const { cpus, smmus, devices } = preset(machine);
    this.devices = devices.map(({ name }) => name);
    this.name(
      Process.cpus,
      'CPUs',
      Array.from({ length: cpus }, (_, cpu) => `CPU ${cpu}`),
    );
    this.name(Process.smmus, 'Command queues', [smmus.map(({ name }) => name).join(', ')]);
    this.name(Process.devices, 'Devices', this.devices);
    this.name(Process.caches, 'What caches may still hold', ['old entries']);
  }

  private name(pid: number, process: string, threads: readonly string[]): void {
    this.events.push({ name: 'process_name', ph: 'M', pid, tid: 0, args: { name: process } });
    for (const [tid, thread] of threads.entries()) {
      this.events.push({ name: 'thread_name', ph: 'M', pid, tid, args: { name: thread } });
    }
  }

  step(recorded: RecordedStep): void {
    const { step, text, outcome, executor, facts, violations, number, nameOf } = recorded;
    const begin = this.now++;
    for (const fact of facts) this.fact(fact, recorded);
    const dur = ++this.now - begin - 1;
    const sentences = facts.flatMap((fact) => factSentence(fact, nameOf) ?? []);
    const args = { step: number, text, result: outcomeText(outcome, executor.names), inside: sentences };
    const place = { ts: begin, ...this.place(step) };
    if (outcome.kind === 'progress' && outcome.progress !== 'idle') this.part(recorded, begin, args);
    else this.events.push({ name: nameOfStep(step), cat: step.kind, ph: 'X', dur, args, ...place });
    for (const { property, text: why } of violations) {
      this.events.push({
        name: `violation of ${property}`,
        cat: 'violation',
        ph: 'i',
        s: 'g',
        pid: place.pid,
        tid: place.tid,
        ts: this.now - 1,
        args: { why },
      });
    }
  }

  /** A call that is begun in one step and ends in another is a pair of events. */
  private part({ step, outcome }: RecordedStep, ts: number, args: Readonly<Record<string, unknown>>): void {
    const place = this.place(step);
    if (step.kind !== 'run') this.events.push({ name: nameOfStep(step), cat: 'call', ph: 'B', ts, args, ...place });
    if (outcome.kind !== 'progress' || outcome.ended === null) return;
    this.events.push({ name: nameOfStep(outcome.ended.step), cat: 'call', ph: 'E', ts: this.now - 1, args, ...place });
  }

  private fact(fact: Fact, { nameOf }: RecordedStep): void {
    const ts = this.now++;
    if (fact.kind === 'command' || fact.kind === 'sync') {
      const name = fact.kind === 'sync' ? 'CMD_SYNC' : fact.name;
      this.events.push({
        name,
        cat: 'command',
        ph: 'X',
        ts,
        dur: 1,
        pid: Process.smmus,
        tid: 0,
        args: { held: fact.held.length },
      });
      this.close(new Set(fact.held.map(({ id }) => id)), ts);
    }
    if (fact.kind !== 'removed') return;
    const name = heldSentence(fact.entry, fact.pa < 0 ? null : nameOf(fact.pa));
    const id = String(this.entries++);
    this.open.set(fact.entry.id, { name, id });
    this.events.push({ name, cat: 'held', ph: 'b', id, ts, pid: Process.caches, tid: 0 });
  }

  /** Whatever is not held any more has come to its end. */
  private close(held: ReadonlySet<number>, ts: number): void {
    for (const [entry, { name, id }] of this.open) {
      if (held.has(entry)) continue;
      this.open.delete(entry);
      this.events.push({ name, cat: 'held', ph: 'e', id, ts, pid: Process.caches, tid: 0 });
    }
  }

  private place(step: Step): { readonly pid: number; readonly tid: number } {
    if (step.kind === 'dma') {
      const device = this.devices.findIndex((name) => step.device === name || step.device.startsWith(`${name}-`));
      return { pid: Process.devices, tid: Math.max(0, device) };
    }
    return 'cpu' in step ? { pid: Process.cpus, tid: step.cpu } : { pid: Process.smmus, tid: 0 };
  }

  /** All events; what may be held to the end ends with it. */
  end(): readonly TraceEvent[] {
    this.close(new Set(), this.now);
    return this.events;
  }
}

function nameOfStep(step: Step): string {
  if ('call' in step) return step.call;
  if (step.kind === 'dma') return `${step.access}${step.cached ? ' cached' : ''}`;
  return step.kind;
}
