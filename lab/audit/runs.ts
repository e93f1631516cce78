/**
 * Leaves in runs. A machine may map millions of pages, so what is kept is not each leaf but each stretch of leaves that
 * go on evenly: as IOVA, as PA, and as places of descriptors. Their values are read again when a report names one.
 */
/** Bytes of a descriptor. */
const DESCRIPTOR = 8;

/**
 * `count` leaves of `unit` bytes each. Leaf `i` comes from the descriptor at `entry + i * entryStep`. `R` is what they
 * permit; equal rights are the same value.
 */
export interface Run<R> {
  readonly iova: number;
  readonly pa: number;
  readonly unit: number;
  readonly count: number;
  readonly rights: R;
  readonly entry: number;
  /** 8 where the leaves lie side by side in a table, 0 where one descriptor lets all of them through. */
  readonly entryStep: number;
  /** The stage-2 descriptor beneath; null with one stage. */
  readonly beneath: number | null;
  readonly beneathStep: number;
}

type Open<T> = { -readonly [K in keyof T]: T[K] };

/** Joins leaves into runs as they come, in ascending order of IOVA. */
export class RunList<R> {
  readonly runs: Run<R>[] = [];
  private last: Open<Run<R>> | null = null;

  /** Adds leaves; the arguments are the fields of {@link Run}. One call a leaf: nothing is allocated where they join. */
  add(
    iova: number,
    pa: number,
    unit: number,
    count: number,
    rights: R,
    entry: number,
    entryStep: number,
    beneath: number | null,
    beneathStep: number,
  ): void {
    const last = this.last;
    if (
      last === null ||
      last.unit !== unit ||
      last.rights !== rights ||
      last.iova + last.count * unit !== iova ||
      last.pa + last.count * unit !== pa ||
      (last.beneath === null) !== (beneath === null)
    ) {
      this.open(iova, pa, unit, count, rights, entry, entryStep, beneath, beneathStep);
      return;
    }
    const { count: before } = last;
    const one = stepBetween(last.entry, before, last.entryStep, entry, count, entryStep);
    const two = stepBetween(last.beneath ?? 0, before, last.beneathStep, beneath ?? 0, count, beneathStep);
    if (one < 0 || two < 0) {
      this.open(iova, pa, unit, count, rights, entry, entryStep, beneath, beneathStep);
      return;
    }
    last.entryStep = one;
    last.beneathStep = two;
    last.count += count;
  }

  private open(
    iova: number,
    pa: number,
    unit: number,
    count: number,
    rights: R,
    entry: number,
    entryStep: number,
    beneath: number | null,
    beneathStep: number,
  ): void {
    this.last = { iova, pa, unit, count, rights, entry, entryStep, beneath, beneathStep };
    this.runs.push(this.last);
  }
}

/** The step that takes descriptors from the first of `a` through all of `b`; -1 when there is none. */
function stepBetween(a: number, aCount: number, aStep: number, b: number, bCount: number, bStep: number): number {
  const step = aCount > 1 ? aStep : bCount > 1 ? bStep : b - a;
  if (step !== 0 && step !== DESCRIPTOR) return -1;
  return b === a + aCount * step && (bCount === 1 || bStep === step) ? step : -1;
}

/** Where the descriptor of leaf `index` lies. */
export function entryAt(run: Run<unknown>, index: number): number {
  return run.entry + index * run.entryStep;
}

/** Where the stage-2 descriptor beneath leaf `index` lies; null with one stage. */
export function beneathAt(run: Run<unknown>, index: number): number | null {
  return run.beneath === null ? null : run.beneath + index * run.beneathStep;
}
