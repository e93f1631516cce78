/**
 * A fuzzing run: workers do epochs side by side, and after each one every worker gets what the others have kept. The
 * outcome of a number of runs depends on the options alone, however fast each worker is.
 */

import { countOf } from './feedback.ts';
import type { FuzzFinding } from './finding.ts';
import type { EpochReport, WorkerState } from './worker.ts';

/** A worker, wherever it works. */
export interface WorkerHandle {
  epoch(number: number, runs: number, adopted: readonly Uint8Array[], known: readonly string[]): Promise<EpochReport>;
}

export interface CoordinatorOptions {
  readonly workers: readonly WorkerHandle[];
  /** Inputs to run, of all workers together; unlimited when left out. */
  readonly runs?: number;
  /** Inputs that every worker begins with. */
  readonly known?: readonly Uint8Array[];
  /** Go on after a finding. */
  readonly keepGoing: boolean;
  /** Asked between epochs whether to end. */
  readonly isOver: () => boolean;
  /** Told after every epoch, findings first seen in it included. */
  readonly onEpoch?: (progress: FuzzProgress) => Promise<void> | void;
}

/** Where a run stands after an epoch. */
export interface FuzzProgress {
  /** Epochs that are over. */
  readonly epoch: number;
  readonly runs: number;
  readonly steps: number;
  readonly calls: number;
  /** Inputs whose overlapping calls nothing explained. */
  readonly unexplained: number;
  readonly violations: number;
  /** Inputs kept, each counted once. */
  readonly corpus: number;
  readonly edges: number;
  readonly states: number;
  /** Rows of the call specification that decided at least once. */
  readonly rows: number;
  readonly hits: Float64Array;
  readonly sometimes: Float64Array;
  readonly findings: readonly FuzzFinding[];
  /** Inputs and findings of this epoch alone, and with the first of them the inputs that were there before. */
  readonly newInputs: readonly Uint8Array[];
  readonly newFindings: readonly FuzzFinding[];
  /** Per worker: what it needs to go on from here. */
  readonly workers: readonly WorkerProgress[];
}

/** A worker's state; its inputs are numbers into the list of all inputs kept. */
export interface WorkerProgress extends Omit<WorkerState, 'inputs'> {
  readonly inputs: readonly number[];
  /** Those that it found in its last epoch and others should know, who have not seen them yet. */
  readonly fresh: readonly number[];
}

/** What an earlier run left behind. */
export interface Resumed {
  readonly epoch: number;
  readonly inputs: readonly Uint8Array[];
  readonly findings: readonly FuzzFinding[];
  readonly workers: readonly WorkerProgress[];
}

/** Runs of one worker in one epoch. */
export const EPOCH_RUNS = 256;

export class Coordinator {
  private readonly options: CoordinatorOptions;
  private readonly inputs: Uint8Array[] = [];
  private readonly findings: FuzzFinding[] = [];
  private readonly workers: { state: WorkerProgress | null; inputs: number[] }[];
  private epochs: number;
  /** Inputs that all workers get before their first epoch: numbers. */
  private begun: readonly number[];
  /** Inputs that were told of: so many, from the first. */
  private told: number;

  constructor(options: CoordinatorOptions, resumed?: Resumed) {
    this.options = options;
    this.workers = options.workers.map((_, i) => {
      const state = resumed?.workers[i] ?? null;
      return { state, inputs: [...(state?.inputs ?? [])] };
    });
    this.epochs = resumed?.epoch ?? 0;
    this.inputs.push(...(resumed?.inputs ?? options.known ?? []));
    this.told = resumed?.inputs.length ?? 0;
    this.begun = this.epochs === 0 ? [...this.inputs.keys()] : [];
    this.findings.push(...(resumed?.findings ?? []));
  }

  /** Work until the runs are made, something is found, or it is over. */
  async run(): Promise<FuzzProgress> {
    const { isOver, keepGoing, onEpoch } = this.options;
    let progress = this.progress(0);
    while (!isOver() && (keepGoing || this.findings.length === 0)) {
      const shares = this.shares();
      if (shares.every((share) => share === 0)) break;
      progress = await this.epoch(shares);
      await onEpoch?.(progress);
    }
    return progress;
  }

  /** How many inputs each worker runs next. */
  private shares(): number[] {
    const { workers, runs } = this.options;
    return workers.map((_, i) => {
      if (runs === undefined) return EPOCH_RUNS;
      const all = Math.floor(runs / workers.length) + (i < runs % workers.length ? 1 : 0);
      return Math.max(0, Math.min(EPOCH_RUNS, all - (this.workers[i]!.state?.counts.runs ?? 0)));
    });
  }

  private async epoch(shares: readonly number[]): Promise<FuzzProgress> {
    const known = this.findings.map(({ key }) => key);
    const offered = this.options.workers.map((_, i) => [
      ...this.begun,
      ...this.workers.flatMap(({ state }, other) => (other === i ? [] : (state?.fresh ?? []))),
    ]);
    const reports = await Promise.all(
      this.options.workers.map((worker, i) => {
        const adopted = offered[i]!.map((number) => this.inputs[number]!);
        return worker.epoch(this.epochs, shares[i]!, adopted, known);
      }),
    );
    const findingsBefore = this.findings.length;
    // A number of runs comes to the same however often it is interrupted: half an epoch is made again, and only what it found is kept.
    if (this.options.runs !== undefined && reports.some(({ isPartial }) => isPartial)) {
      for (const { findings } of reports) this.learn(findings);
    } else {
      this.epochs++;
      this.begun = [];
      for (const [i, report] of reports.entries()) this.take(report, i, offered[i]!);
    }
    const progress = this.progress(findingsBefore);
    this.told = this.inputs.length;
    return progress;
  }

  private take(report: EpochReport, i: number, offered: readonly number[]): void {
    const worker = this.workers[i]!;
    const { counts, violations, seen, inputs, adopted, shared, findings } = report;
    // What it has found itself comes last; others know what it adopted.
    const before = worker.inputs.length + adopted;
    let next = 0;
    for (const input of inputs.slice(0, adopted)) {
      // Those that showed the worker nothing new were left out.
      while (!sameBytes(this.inputs[offered[next]!]!, input)) next++;
      worker.inputs.push(offered[next++]!);
    }
    const own = inputs.slice(adopted).map((input) => this.inputs.push(input) - 1);
    worker.inputs.push(...own);
    const fresh = shared.filter((number) => number >= before).map((number) => own[number - before]!);
    worker.state = { counts, violations, seen, inputs: worker.inputs, shared, fresh };
    this.learn(findings);
  }

  private learn(findings: readonly FuzzFinding[]): void {
    for (const finding of findings) {
      if (!this.findings.some(({ key }) => key === finding.key)) this.findings.push(finding);
    }
  }

  private progress(findingsBefore: number): FuzzProgress {
    const states = this.workers.flatMap(({ state }) => (state === null ? [] : [state]));
    const sum = (of: (state: WorkerProgress) => number): number =>
      states.reduce((total, state) => total + of(state), 0);
    const hits = total(states.map(({ seen }) => seen.hits));
    return {
      epoch: this.epochs,
      runs: sum(({ counts }) => counts.runs),
      steps: sum(({ counts }) => counts.steps),
      calls: sum(({ counts }) => counts.calls),
      unexplained: sum(({ counts }) => counts.unexplained),
      violations: sum(({ violations }) => violations),
      corpus: this.inputs.length,
      edges: united(states, 'edges'),
      states: united(states, 'states'),
      rows: hits.reduce((count, hit) => count + (hit > 0 ? 1 : 0), 0),
      hits,
      sometimes: total(states.map(({ seen }) => seen.sometimes)),
      findings: [...this.findings],
      newInputs: this.inputs.slice(this.told),
      newFindings: this.findings.slice(findingsBefore),
      workers: states,
    };
  }
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/** How many bytes are not 0 in at least one of them. */
function united(states: readonly WorkerProgress[], kind: 'edges' | 'states'): number {
  const [first, ...others] = states.map(({ seen }) => seen[kind]);
  if (first === undefined) return 0;
  return countOf(first.map((byte, i) => others.reduce((all, other) => all | other[i]!, byte)));
}

function total(lists: readonly Float64Array[]): Float64Array {
  const [first = new Float64Array(0), ...others] = lists;
  return first.map((value, i) => others.reduce((sum, other) => sum + other[i]!, value));
}
