/** A whole differential run: programs from one seed until enough accesses are judged; a disagreement is shrunk. */
import type { DeviationId } from './deviations.ts';
import { generate } from './generate.ts';
import { type Disagreement, Judge, type Judgement } from './judge.ts';
import type { IdRegisters } from './reference.ts';
import type { Program, StageName, Step, Subject } from './types.ts';

/** What a run is asked for. */
export interface ConformOptions {
  /** Accesses to judge. */
  readonly count: number;
  readonly seed: number;
  /** What the programs translate with. */
  readonly stage: StageName;
  /** The deviations that the subject is known for. */
  readonly deviations: readonly DeviationId[];
  readonly ids: IdRegisters;
  readonly onProgress?: (done: number, total: number) => void;
  /** Ends the run early. */
  readonly stop?: () => boolean;
}

/** What a run found. */
export interface ConformReport {
  readonly programs: number;
  readonly accesses: number;
  readonly translated: number;
  readonly faulted: number;
  readonly cached: number;
  readonly skipped: number;
  readonly hits: ReadonlyMap<DeviationId, number>;
  readonly finding: { readonly program: Program; readonly disagreement: Disagreement } | null;
  /** A program that the subject did not survive, as it was made, and what the subject said. */
  readonly ended: { readonly program: Program; readonly message: string } | null;
}

/** Programs of a run have seeds of their own, so that one can be run again alone. */
const SEEDS_APART = 1_000_003;
/** Runs that shrinking may take. */
const SHRINK_RUNS = 400;

/** Compares `subject` with the model. Ends at the first disagreement that no listed deviation predicts. */
export async function conform(subject: Subject, options: ConformOptions): Promise<ConformReport> {
  const judge = new Judge(subject, options.ids, options.deviations);
  const total = { programs: 0, accesses: 0, translated: 0, faulted: 0, cached: 0, skipped: 0 };
  const hits = new Map<DeviationId, number>();
  const stage2 = (options.ids.idr0 & 1) !== 0;
  while (total.accesses < options.count && options.stop?.() !== true) {
    const program = generate(options.seed * SEEDS_APART + total.programs, { stage: options.stage, stage2 });
    let judgement: Judgement;
    try {
      judgement = await judge.run(program);
    } catch (error) {
      if (!isGone(error)) throw error;
      return { ...total, hits, finding: null, ended: { program, message: error.message } };
    }
    total.programs++;
    for (const key of ['accesses', 'translated', 'faulted', 'cached', 'skipped'] as const) total[key] += judgement[key];
    for (const [id, n] of judgement.hits) hits.set(id, (hits.get(id) ?? 0) + n);
    options.onProgress?.(Math.min(total.accesses, options.count), options.count);
    if (judgement.disagreement !== null) {
      return { ...total, hits, finding: await shrink(judge, program, judgement), ended: null };
    }
  }
  return { ...total, hits, finding: null, ended: null };
}

/** Takes steps out as long as some access still disagrees, and for the same reason. */
async function shrink(
  judge: Judge,
  program: Program,
  first: Judgement,
): Promise<NonNullable<ConformReport['finding']>> {
  let best = { program: cut(program, first.disagreement!.step), disagreement: first.disagreement! };
  let runs = 0;
  for (let size = Math.ceil(best.program.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = best.program.steps.length - size; from > -size && runs < SHRINK_RUNS; from -= size) {
      const at = Math.max(0, from);
      const steps = best.program.steps.filter((_, i) => i < at || i >= at + size);
      if (steps.length === best.program.steps.length) continue;
      const tried = { ...best.program, steps };
      runs++;
      let disagreement: Disagreement | null;
      try {
        disagreement = (await judge.run(tried)).disagreement;
      } catch (error) {
        // A cut that the subject does not survive ends the shrinking.
        if (isGone(error)) return best;
        throw error;
      }
      if (disagreement === null || signature(disagreement) !== signature(best.disagreement)) continue;
      best = { program: cut(tried, disagreement.step), disagreement };
      from = Math.min(from, best.program.steps.length);
    }
  }
  return best;
}

/** What must stay the same while a program shrinks. */
function signature({ why, subject, model, predicted }: Disagreement): string {
  return [why, ...[subject, model[0]!, predicted].map((outcome) => (outcome.ok ? 'ok' : outcome.event))].join(' ');
}

/** Is this the end of the subject itself? */
function isGone(error: unknown): error is Error {
  return error instanceof Error && error.name === 'QemuGone';
}

function cut(program: Program, last: number): Program {
  const steps: readonly Step[] = program.steps.slice(0, last + 1);
  return { ...program, steps };
}
