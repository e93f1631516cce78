/** Runs one program on both sides and judges each access. */
import type { DeviationId } from './deviations.ts';
import { isTaken, mayTouch } from './layout.ts';
import { Predictor } from './predict.ts';
import type { IdRegisters } from './reference.ts';
import { Reference } from './reference.ts';
import { type AccessOutcome, outcomeKey, type Program, type Subject } from './types.ts';

/** An access on which the two sides differ, and no listed deviation says so. */
export interface Disagreement {
  /** Index of the step. */
  readonly step: number;
  readonly sid: number;
  readonly iova: number;
  readonly write: boolean;
  readonly subject: AccessOutcome;
  /** What the model allows; the first is what its tables say. */
  readonly model: readonly AccessOutcome[];
  /** What the listed deviations predict. */
  readonly predicted: AccessOutcome;
  readonly why: 'the model does not allow it' | 'a listed deviation did not happen';
}

/** What running a program gave. */
export interface Judgement {
  readonly accesses: number;
  readonly translated: number;
  readonly faulted: number;
  /** Accesses that only things still cached explain. */
  readonly cached: number;
  /** Accesses left out: they would touch what devices must not. */
  readonly skipped: number;
  readonly hits: ReadonlyMap<DeviationId, number>;
  readonly disagreement: Disagreement | null;
}

/** What stays the same from program to program. */
export class Judge {
  private readonly subject: Subject;
  private readonly reference: Reference;
  private readonly predictor: Predictor;
  /** The walk of the last access read where the board has devices, whose registers are no tables. */
  private strayed = false;

  constructor(subject: Subject, ids: IdRegisters, deviations: readonly DeviationId[]) {
    this.subject = subject;
    const reference = new Reference(ids);
    this.reference = reference;
    this.predictor = new Predictor(
      (pa) => {
        if (isTaken(pa)) this.strayed = true;
        return reference.read(pa);
      },
      reference.capabilities,
      deviations,
    );
  }

  /** Runs `program` up to its end, or to the first disagreement. */
  async run(program: Program): Promise<Judgement> {
    const { subject, reference, predictor } = this;
    const hits = new Map<DeviationId, number>();
    const count = { accesses: 0, translated: 0, faulted: 0, cached: 0, skipped: 0 };
    await subject.reset(program.setup);
    reference.reset(program.setup);
    predictor.reset(program.setup);
    for (const [i, step] of program.steps.entries()) {
      if (step.kind === 'write') {
        reference.write(step.at, step.value);
        await subject.write(step.at, step.value);
        continue;
      }
      if (step.kind === 'commands') {
        reference.commands(step.commands);
        for (const command of step.commands) predictor.command(command);
        await subject.commands(step.commands);
        continue;
      }
      const { sid, iova, write } = step;
      const model = reference.possible(sid, iova, write);
      if (model.some(forbidden)) {
        count.skipped++;
        continue;
      }
      this.strayed = false;
      const prediction = predictor.access(sid, iova, write);
      if (this.strayed || predictor.deadly || forbidden(prediction.outcome)) {
        // The predictor may now remember what the subject does not: the program ends here.
        count.skipped++;
        break;
      }
      const seen = await subject.dma(sid, iova, write);
      count.accesses++;
      if (seen.ok) count.translated++;
      else count.faulted++;
      const allowed = includes(model, seen);
      const predicted = outcomeKey(prediction.outcome) === outcomeKey(seen);
      if (predicted && allowed) {
        if (outcomeKey(model[0]!) !== outcomeKey(seen)) count.cached++;
      } else if (predicted && prediction.because.length > 0) {
        for (const id of prediction.because) hits.set(id, (hits.get(id) ?? 0) + 1);
      } else if (!allowed || !includes(model, prediction.outcome)) {
        const why = allowed ? 'a listed deviation did not happen' : 'the model does not allow it';
        const disagreement = {
          step: i,
          sid,
          iova,
          write,
          subject: seen,
          model,
          predicted: prediction.outcome,
          why,
        } as const;
        return { ...count, hits, disagreement };
      }
    }
    return { ...count, hits, disagreement: null };
  }
}

function includes(outcomes: readonly AccessOutcome[], outcome: AccessOutcome): boolean {
  const key = outcomeKey(outcome);
  return outcomes.some((other) => outcomeKey(other) === key);
}

function forbidden(outcome: AccessOutcome): boolean {
  return outcome.ok && !mayTouch(outcome.pa);
}
