/**
 * One worker of a fuzzing run. It works in epochs: so many runs, then a report, then what other workers have found. An
 * epoch depends on the options, the numbers of worker and epoch, and what was kept before, and on nothing else: so a run
 * may be interrupted between epochs and resumed, and several workers always find the same.
 */

import type { CallName } from '#hypercall-abi';
import { Prng } from '../random/prng.ts';
import type { Step } from '../scenario/index.ts';
import type { Session } from '../session/session.ts';
import { type EngineCounts, FuzzEngine, type Violated } from './engine.ts';
import type { FeedbackChoice } from './feedback.ts';
import { FindingMaker, type FuzzFinding, findingKey, type Subject } from './finding.ts';

export interface WorkerOptions extends Subject {
  readonly edges?: Uint8Array;
  readonly seed: number;
  /** Number of this worker among all of them, of all machines. */
  readonly worker: number;
  readonly feedback: FeedbackChoice;
  readonly maxSteps?: number;
  readonly calls?: readonly CallName[];
  readonly weights?: Readonly<Record<string, number>>;
  readonly prefix?: readonly Step[];
  /** End an epoch at its first finding. */
  readonly stopAtFirst?: boolean;
}

/** What a worker tells after an epoch. */
export interface EpochReport {
  /** All that it has done since it began. */
  readonly counts: EngineCounts;
  readonly seen: Seen;
  /** Inputs that this epoch has added to those of this worker: first, so many, those that it adopted from others. */
  readonly inputs: readonly Uint8Array[];
  readonly adopted: number;
  /** Which of all its inputs have shown new code or a new row: numbers, from 0. */
  readonly shared: readonly number[];
  /** What was found for the first time, shrunk. */
  readonly findings: readonly FuzzFinding[];
  /** Runs that violated something, those that showed nothing new included. */
  readonly violations: number;
  /** Whether the epoch was ended early from outside. */
  readonly isPartial: boolean;
}

/** What the runs have shown so far, as bytes (see Feedback). */
export interface Seen {
  readonly edges: Uint8Array;
  readonly states: Uint8Array;
  readonly rows: Uint8Array;
  /** How often each row of the call specification decided. */
  readonly hits: Float64Array;
  /** How often each state was reached that a run should have been in. */
  readonly sometimes: Float64Array;
}

/** All that a worker needs to go on after an epoch as if it had never stopped. */
export interface WorkerState {
  readonly counts: EngineCounts;
  readonly violations: number;
  readonly inputs: readonly Uint8Array[];
  /** Which of them have shown new code or a new row: numbers, from 0. */
  readonly shared: readonly number[];
  readonly seen: Seen;
}

/** What is counted by number, by name; the same for all workers of a run. */
export interface FuzzNames {
  /** What the first bytes of records choose. */
  readonly recipes: readonly string[];
  readonly rows: readonly string[];
  readonly sometimes: readonly string[];
}

export class FuzzWorker {
  private readonly engine: FuzzEngine;
  private readonly options: WorkerOptions;
  private readonly known = new Set<string>();
  private maker: FindingMaker | null = null;
  private violations = 0;
  /** What was counted before this boot. */
  private before: Pick<Seen, 'hits' | 'sometimes'> | null = null;

  constructor(options: WorkerOptions) {
    this.options = options;
    this.engine = new FuzzEngine(options);
  }

  /** What has been done so far, in the middle of an epoch, too. */
  get counts(): Readonly<EngineCounts> {
    return this.engine.counts;
  }

  /** What recipes, rows of the call specification and states are called. */
  get names(): FuzzNames {
    const oracle = this.engine.session.oracle!;
    return {
      recipes: this.engine.recipes,
      rows: oracle.rows().map(({ id }) => id),
      sometimes: oracle.sometimesCounts().map(({ name }) => name),
    };
  }

  /**
   * The next epoch, in slices: yields now and then, so that a caller may do other things in between.
   * @param number of the epoch
   * @param runs how many inputs
   * @param adopted inputs that other workers have kept
   * @param known keys of findings that need not be told again
   * @param isOver asked between runs whether to end the epoch early
   */
  *epoch(
    number: number,
    runs: number,
    adopted: readonly Uint8Array[],
    known: readonly string[],
    isOver: () => boolean,
  ): Generator<void, EpochReport, void> {
    const { engine, options } = this;
    for (const key of known) this.known.add(key);
    engine.reseed(new Prng(options.seed, options.worker * EPOCHS_MAX + number));
    const findings: FuzzFinding[] = [];
    const from = engine.corpus.size;
    for (const input of adopted) yield* this.judge(engine.adopt(input), findings);
    const adoptedTo = engine.corpus.size;
    let isPartial = false;
    for (let i = 0; i < runs && !isPartial; i++) {
      yield* this.judge(engine.runOne(), findings);
      if (findings.length > 0 && options.stopAtFirst) break;
      isPartial = i + 1 < runs && isOver();
    }
    return {
      counts: { ...engine.counts },
      seen: this.seen(),
      inputs: engine.corpus.inputs.slice(from),
      adopted: adoptedTo - from,
      shared: [...engine.corpus.shared],
      findings,
      violations: this.violations,
      isPartial,
    };
  }

  private *judge(violated: Violated | null, findings: FuzzFinding[]): Generator<void, void, void> {
    yield;
    if (violated === null) return;
    this.violations++;
    this.maker ??= new FindingMaker(this.options);
    const located = this.maker.locate(violated.steps);
    if (located === null) throw new Error('a run does not repeat what it violated');
    const key = findingKey(located.found);
    if (this.known.has(key)) return;
    this.known.add(key);
    yield;
    findings.push(this.maker.make(violated, located));
  }

  private seen(): Seen {
    const { feedback, session } = this.engine;
    const { hits, sometimes } = countsOf(session);
    const { before } = this;
    return {
      edges: feedback.seenEdges.slice(),
      states: feedback.seenStates.slice(),
      rows: feedback.seenRows.slice(),
      hits: hits.map((count, i) => count + (before?.hits[i] ?? 0)),
      sometimes: sometimes.map((count, i) => count + (before?.sometimes[i] ?? 0)),
    };
  }

  /** Go on from there. To be called before the first epoch. */
  restore({ counts, violations, inputs, shared, seen }: WorkerState): void {
    const { engine } = this;
    Object.assign(engine.counts, counts);
    engine.corpus.inputs.push(...inputs);
    engine.corpus.shared.push(...shared);
    engine.feedback.restoreSeen(seen);
    this.violations = violations;
    // What this boot has counted, an earlier one has counted already.
    const atBoot = countsOf(engine.session);
    this.before = {
      hits: seen.hits.map((count, i) => count - atBoot.hits[i]!),
      sometimes: seen.sometimes.map((count, i) => count - atBoot.sometimes[i]!),
    };
  }
}

/** Epochs of a worker have streams of random numbers of their own. */
const EPOCHS_MAX = 2 ** 20;

function countsOf({ oracle }: Session): Pick<Seen, 'hits' | 'sometimes'> {
  return {
    hits: Float64Array.from(oracle!.rows(), ({ hits }) => hits),
    sometimes: Float64Array.from(oracle!.sometimesCounts(), ({ hits }) => hits),
  };
}
