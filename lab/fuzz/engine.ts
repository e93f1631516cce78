/**
 * The fuzzer's engine: inputs run one after another on one booted machine, each from boot or from where a part that it
 * shares with others left off. It is a function of its options: the same seed makes the same runs.
 */

import { type CallName, defaultProfile } from '#hypercall-abi';
import type { MachineDescription } from '#machine';
import { StepGenerator } from '../random/generate.ts';
import { Prng } from '../random/prng.ts';
import {
  CannotDo,
  type Executor,
  type JudgeOptions,
  judgedBy,
  makeExecutor,
  type Outcome,
  type Savepoint,
  type Step,
} from '../scenario/index.ts';
import type { HypervisorFactory, Session, Violation } from '../session/session.ts';
import { Corpus } from './corpus.ts';
import { Feedback, type FeedbackChoice } from './feedback.ts';
import { type Draft, fillRecord, mutate } from './mutate.ts';
import { RECORD_BYTES, RecordChoices } from './records.ts';
import { Schedule, type StepMaker } from './schedule.ts';

export interface EngineOptions extends JudgeOptions {
  readonly machine: MachineDescription;
  readonly hypervisor: HypervisorFactory;
  /** The counters of the hypervisor's code, if it counts edges. */
  readonly edges?: Uint8Array;
  readonly seed: number;
  readonly feedback: FeedbackChoice;
  /** Steps of one run at most; {@link DEFAULT_MAX_STEPS} when left out. */
  readonly maxSteps?: number;
  /** Calls that may be made; all of them when left out. */
  readonly calls?: readonly CallName[];
  /** How often recipes are chosen, by name; those left out keep their weight. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Whether calls of several CPUs overlap: on the stepped build, which the hypervisor must have. */
  readonly interleaved?: boolean;
  /** Steps that every run begins with. They must be free of violations. */
  readonly prefix?: readonly Step[];
}

export const DEFAULT_MAX_STEPS = 120;

/** What an engine has done. */
export interface EngineCounts {
  /** Inputs that were run. */
  runs: number;
  /** Steps that were performed, those left out that were gone back to. */
  steps: number;
  /** Hypercalls among them, guests' included. */
  calls: number;
  /** Inputs in which no order of overlapping calls explained what came of them: judged up to there, and run no further. */
  unexplained: number;
}

/** A run that violated something. */
export interface Violated {
  /** From boot: the prefix included. */
  readonly steps: readonly Step[];
  readonly violation: Violation;
  readonly input: Uint8Array;
  /** Number of the run. */
  readonly run: number;
}

/** Runs of which the last ends with a full check. */
const FULL_EVERY = 4;
/** Inputs that are run from one place before another is chosen. */
const BATCH = 12;
/** Percent of batches that are made up from nothing although there are inputs to change. */
const FRESH = 35;
/** Percent of changed inputs that go on with new records. */
const LONGER = 40;
const LONGER_RECORDS = 24;
const SHORTEST = 20;
/** A recipe is left out of fresh runs, or preferred by them, so often; runs that do less of everything do more of something. */
const LEFT_OUT = 25;
const PREFERRED = 15;
const PREFERENCE = 6;

export class FuzzEngine {
  readonly counts: EngineCounts = { runs: 0, steps: 0, calls: 0, unexplained: 0 };
  readonly feedback: Feedback;
  readonly corpus = new Corpus();
  readonly session: Session;
  readonly recipes: readonly string[];
  private readonly executor: Executor;
  private readonly generator: StepGenerator;
  private readonly choices = new RecordChoices();
  private prng: Prng;
  private readonly draft: Draft;
  private readonly weights: readonly number[];
  private readonly swarm: number[];
  private swarmWeight = 0;
  private readonly prefix: readonly Step[];
  /** Which CPU goes on; null where calls do not overlap. */
  private readonly schedule: Schedule | null;
  /** The recipe of the record that is performed. */
  private opened = 0;
  private readonly maker: StepMaker = {
    make: () => this.generator.nextBy(this.opened),
    rival: (of) => this.generator.rival(of),
    isContended: (step) => this.generator.isAboutGuest(step),
  };
  private readonly steps: Step[] = [];
  /** Where the prefix ends. */
  private readonly start: Place;
  private batch: { readonly place: Place; readonly parent: Uint8Array; left: number } | null = null;

  /** @throws Error when the hypervisor does not boot, or the prefix violates something or cannot be done */
  constructor(options: EngineOptions) {
    const { machine, hypervisor, profile = defaultProfile, seed, maxSteps = DEFAULT_MAX_STEPS, prefix = [] } = options;
    const { interleaved = false } = options;
    const { session, executor } = makeExecutor({ ...judgedBy(options), machine, hypervisor, interleaved });
    this.session = session;
    this.schedule = interleaved ? new Schedule(machine.cpus, this.choices) : null;
    this.executor = executor;
    const allowed = options.calls ?? profile.calls.map(({ name }) => name);
    const taken = this.session.takenPages;
    this.generator = new StepGenerator(machine, allowed, this.choices, taken, profile);
    this.recipes = this.generator.recipes.map(({ name }) => name);
    this.weights = this.generator.recipes.map(({ name, weight }) =>
      weight === 0 ? 0 : (options.weights?.[name] ?? weight),
    );
    this.swarm = [...this.weights];
    this.feedback = new Feedback(options.feedback, options.edges ?? new Uint8Array(0));
    this.prng = new Prng(seed);
    this.draft = { bytes: new Uint8Array(maxSteps * RECORD_BYTES), length: 0 };
    this.prefix = prefix;
    this.start = this.afterPrefix();
  }

  /** Make up an input and run it. @returns what it violated, or null */
  runOne(): Violated | null {
    // Decoding everything anew takes as long as some dozen calls: what was touched has been compared already.
    return this.run(this.nextInput(), (this.counts.runs + 1) % FULL_EVERY === 0);
  }

  /** Choose anew from here on, by these numbers: what follows depends on them and on what was kept so far. */
  reseed(prng: Prng): void {
    this.prng = prng;
    this.batch = null;
  }

  /** Run an input that somebody else has found worth keeping; it is kept if it shows anything new here. */
  adopt(input: Uint8Array): Violated | null {
    this.take(input);
    const { runs, unexplained } = this.counts;
    const violated = this.run(this.start, false);
    // Somebody else has made it up.
    Object.assign(this.counts, { runs, unexplained });
    return violated;
  }

  /** Run an input, and decode everything anew at its end. */
  judge(input: Uint8Array): Violated | null {
    this.take(input);
    return this.run(this.start, true);
  }

  /** The steps that an input stands for, those to begin with included, up to a violation. */
  stepsOf(input: Uint8Array): readonly Step[] {
    this.judge(input);
    return [...this.prefix, ...this.steps];
  }

  private take(input: Uint8Array): void {
    this.draft.bytes.set(input.subarray(0, this.draft.bytes.length));
    this.draft.length = Math.min(input.length, this.draft.bytes.length);
    this.batch = null;
  }

  // ---- which input

  private nextInput(): Place {
    const { draft, prng, corpus } = this;
    if (this.batch === null || this.batch.left === 0) this.batch = this.nextBatch();
    this.batch.left--;
    const { place, parent } = this.batch;
    if (parent.length === 0) {
      this.fillFresh();
      return place;
    }
    draft.bytes.set(parent);
    draft.length = parent.length;
    mutate(draft, place.bytes, prng, this.recipe, corpus.pick(prng)!);
    if (prng.chance(LONGER)) this.fill(prng.between(1, LONGER_RECORDS));
    return place;
  }

  private nextBatch(): NonNullable<typeof this.batch> {
    const { corpus, prng } = this;
    this.chooseSwarm();
    if (corpus.size === 0 || prng.chance(FRESH)) return { place: this.start, parent: NOTHING, left: BATCH };
    const parent = corpus.pickParent(prng)!;
    // What comes first is run once for all of them.
    const count = parent.length / RECORD_BYTES;
    const kept = prng.chance(50) ? prng.below(count) : Math.max(0, count - prng.between(1, 8));
    const place = kept === 0 ? this.start : this.performFirst(parent, kept);
    return { place: place ?? this.start, parent, left: BATCH };
  }

  /** Run the first records of an input and remember where that leads; null when nothing can go on from there. */
  private performFirst(input: Uint8Array, count: number): Place | null {
    this.goTo(this.start);
    this.draft.bytes.set(input);
    this.draft.length = count * RECORD_BYTES;
    const { done, violated } = this.performRecords(0, count * RECORD_BYTES);
    if (violated || done < count * RECORD_BYTES || this.schedule?.isBusy || this.session.oracle!.hasLostTrack)
      return null;
    return this.here(done);
  }

  private fillFresh(): void {
    const { draft, prng } = this;
    draft.length = 0;
    this.fill(prng.between(SHORTEST, draft.bytes.length / RECORD_BYTES));
  }

  /** Add random records, as far as there is room. */
  private fill(count: number): void {
    const { draft, prng } = this;
    for (let i = 0; i < count && draft.length < draft.bytes.length; i++) {
      fillRecord(draft.bytes, draft.length, prng, this.recipe());
      draft.length += RECORD_BYTES;
    }
  }

  /** Which recipes the next inputs are made of. */
  private chooseSwarm(): void {
    const { prng, swarm, weights } = this;
    const isSwarm = prng.chance(60);
    for (let i = 0; i < weights.length; i++) {
      const kind = isSwarm ? prng.below(100) : 100;
      const factor = kind < LEFT_OUT ? 0 : kind < LEFT_OUT + PREFERRED ? PREFERENCE : 1;
      swarm[i] = weights[i]! * factor;
    }
    this.swarmWeight = swarm.reduce((sum, weight) => sum + weight, 0);
    if (this.swarmWeight > 0) return;
    swarm.splice(0, swarm.length, ...weights);
    this.swarmWeight = swarm.reduce((sum, weight) => sum + weight, 0);
  }

  /** Bound, to be handed on. */
  private readonly recipe = (): number => {
    let at = this.prng.below(this.swarmWeight);
    for (let i = 0; i < this.swarm.length; i++) {
      at -= this.swarm[i]!;
      if (at < 0) return i;
    }
    return 0;
  };

  // ---- running it

  /** @param full whether everything is decoded anew at the end */
  private run(place: Place, full: boolean): Violated | null {
    this.goTo(place);
    const { done, violated: duringRecords } = this.performRecords(place.bytes, this.draft.length);
    const violated = duringRecords || this.endCalls();
    this.counts.runs++;
    if (this.session.oracle!.hasLostTrack) this.counts.unexplained++;
    const input = this.draft.bytes.subarray(0, done);
    if (!violated && full) this.executor.checkAll();
    const novelty = this.feedback.end();
    if (violated || this.executor.hasNewViolations) {
      this.batch = null;
      const violation = this.executor.newViolations()[0]!;
      return { steps: [...this.prefix, ...this.steps], violation, input: input.slice(), run: this.counts.runs - 1 };
    }
    if (novelty !== 'none' && done > 0) this.corpus.add(input.slice(), novelty);
    return null;
  }

  /** Bring calls in progress to their end. @returns whether that violates something */
  private endCalls(): boolean {
    for (const step of this.schedule?.ending() ?? []) if (this.perform(step) === 'violated') return true;
    return false;
  }

  /** Perform the records of the draft from byte `from` to byte `to`. @returns where it ended, and whether by a violation */
  private performRecords(from: number, to: number): { readonly done: number; readonly violated: boolean } {
    const { draft, generator, choices, schedule } = this;
    const oracle = this.session.oracle!;
    let at = from;
    for (; at < to; at += RECORD_BYTES) {
      this.opened = choices.open(draft.bytes, at) % this.recipes.length;
      const step = schedule === null ? generator.nextBy(this.opened) : schedule.next(this.maker, this.steps.length);
      const result = this.perform(step);
      // The host has no page left: the run is over. Where calls overlap, its CPU may be busy as well.
      if (result === 'impossible' && schedule === null) break;
      if (result === 'violated') return { done: at + RECORD_BYTES, violated: true };
      // From there on the oracles would say next to nothing.
      if (oracle.hasLostTrack) return { done: at + RECORD_BYTES, violated: false };
    }
    return { done: at, violated: false };
  }

  private perform(step: Step): 'done' | 'violated' | 'impossible' {
    const { executor, generator, counts } = this;
    const outcome = attempt(executor, step);
    if (outcome === null) return 'impossible';
    this.steps.push(step);
    counts.steps++;
    this.schedule?.observe(step, outcome);
    const ended = outcome.kind === 'progress' ? outcome.ended : { step, outcome };
    if (ended?.outcome.kind === 'call' || ended?.outcome.kind === 'guest') counts.calls++;
    if (executor.hasNewViolations) return 'violated';
    if (ended !== null) generator.world.observe(ended.step, ended.outcome);
    this.feedback.afterStep(this.session.oracle!);
    return 'done';
  }

  // ---- places

  private afterPrefix(): Place {
    this.executor.reset();
    this.generator.reset(this.choices);
    for (const step of this.prefix) {
      const outcome = this.executor.perform(step);
      const [violation] = this.executor.newViolations();
      if (violation !== undefined)
        throw new Error(`the steps to begin with violate ${violation.property}: ${violation.text}`);
      this.generator.world.observe(step, outcome);
    }
    this.feedback.begin(null);
    return this.here(0);
  }

  private here(bytes: number): Place {
    return {
      bytes,
      steps: [...this.steps],
      machine: this.executor.save(),
      plan: this.generator.save(),
      feedback: this.feedback.save(),
    };
  }

  private goTo(place: Place): void {
    this.executor.restore(place.machine);
    this.schedule?.reset();
    this.generator.restore(place.plan);
    this.feedback.begin(place.feedback);
    // A row of another run must not count as this one's.
    this.session.oracle!.lastRow = 0;
    this.steps.length = 0;
    this.steps.push(...place.steps);
  }
}

const NOTHING = new Uint8Array(0);

/** Where runs begin: after how many bytes of their input, and all that there is to go back to. */
interface Place {
  readonly bytes: number;
  readonly steps: readonly Step[];
  readonly machine: Savepoint;
  readonly plan: ReturnType<StepGenerator['save']>;
  readonly feedback: Uint8Array;
}

function attempt(executor: Executor, step: Step): Outcome | null {
  try {
    return executor.perform(step);
  } catch (error) {
    if (error instanceof CannotDo) return null;
    throw error;
  }
}
