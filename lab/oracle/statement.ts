/** The evidence that stands behind "nothing found". */

/** What an oracle has counted. */
export interface Counts {
  readonly callsChecked: number;
  readonly fullChecks: number;
  readonly callsBeforeBoot: number;
  readonly findings: number;
}

export interface RowHits {
  readonly id: string;
  readonly hits: number;
}

export interface Evidence extends Counts {
  /** Rows of the call specification that decided at least once, of how many there are. */
  readonly rowsHit: number;
  readonly rows: number;
  readonly neverHit: readonly string[];
  readonly notModelled: readonly string[];
}

/** What the oracle says nothing about. */
const NOT_MODELLED: readonly string[] = [
  'content of free pages and the order of the free lists of the pools',
  "TLBs and caches of the CPUs, and of the CPUs' stage 2",
  'substreams (PASID other than 0), nested translation, ATS and PRI',
  'granules other than 4 KiB',
  'what a guest does with its pages',
  'SMMUs that are switched off and on again, or that do not answer (-ETIMEDOUT is a finding)',
  'interrupts and the content of the event queue',
  'calls on several CPUs at once: each call is judged as if it ran alone',
];

export function makeStatement(counts: Counts, rows: readonly RowHits[]): Evidence {
  const neverHit = rows.filter(({ hits }) => hits === 0).map(({ id }) => id);
  return { ...counts, rowsHit: rows.length - neverHit.length, rows: rows.length, neverHit, notModelled: NOT_MODELLED };
}
