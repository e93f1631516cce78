/**
 * What tells an input that is worth keeping: an edge of the hypervisor's code taken, or taken as often, as never before;
 * a row of the call specification that never decided before; a state of the machine, in coarse terms, that is new.
 */

import type { CheckedHypervisor } from '../oracle/index.ts';

/** Which of them count. */
export interface FeedbackChoice {
  readonly edges: boolean;
  readonly states: boolean;
  readonly rows: boolean;
}

export const ALL_FEEDBACK: FeedbackChoice = { edges: true, states: true, rows: true };
export const NO_FEEDBACK: FeedbackChoice = { edges: false, states: false, rows: false };

/** What is new about a run: code or a row, whatever else; a state alone; nothing. */
export type Novelty = 'behaviour' | 'state' | 'none';

const STATE_CELLS = 65536;
/** More rows than the specifications of all profiles have together. */
const ROWS = 4096;

/** How often, in classes, one bit each: 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more. */
const COUNT_CLASS = Uint8Array.from({ length: 256 }, (_, count) => {
  if (count === 0) return 0;
  if (count <= 3) return 1 << (count - 1);
  const limits = [7, 15, 31, 127];
  const at = limits.findIndex((limit) => count <= limit);
  return 1 << (3 + (at < 0 ? limits.length : at));
});

export class Feedback {
  /** What has been seen, of all runs: classes by edge, states by cell, rows by number. */
  readonly seenEdges: Uint8Array;
  readonly seenStates = new Uint8Array(STATE_CELLS);
  readonly seenRows = new Uint8Array(ROWS);
  edgeCount = 0;
  stateCount = 0;
  rowCount = 0;
  private readonly choice: FeedbackChoice;
  private readonly edges: Uint8Array;
  /** What this run has shown so far that is new, edges left out. */
  private novelty: Novelty = 'none';

  /** @param edges the counters of the hypervisor's code; empty when they are not counted */
  constructor(choice: FeedbackChoice, edges: Uint8Array) {
    this.choice = choice;
    this.edges = choice.edges ? edges : new Uint8Array(0);
    this.seenEdges = new Uint8Array(this.edges.length);
  }

  /** Take over what other runs have shown. @throws RangeError when it is of other code */
  restoreSeen(seen: { readonly edges: Uint8Array; readonly states: Uint8Array; readonly rows: Uint8Array }): void {
    if (seen.edges.length !== this.seenEdges.length) throw new RangeError('the edges are those of other code');
    this.seenEdges.set(seen.edges);
    this.seenStates.set(seen.states);
    this.seenRows.set(seen.rows);
    this.edgeCount = countOf(this.seenEdges);
    this.stateCount = countOf(this.seenStates);
    this.rowCount = countOf(this.seenRows);
  }

  /** A run begins: at boot, or where {@link save} was asked. */
  begin(saved: Uint8Array | null): void {
    if (saved === null) this.edges.fill(0);
    else this.edges.set(saved);
    this.novelty = 'none';
  }

  /** The counters of the run so far: those of runs that go on from there begin with them. */
  save(): Uint8Array {
    return this.edges.slice();
  }

  /** A step is over. */
  afterStep(oracle: CheckedHypervisor): void {
    const { choice } = this;
    if (choice.states) this.seeState(oracle.abstractState());
    if (choice.rows) this.seeRow(oracle.lastRow);
  }

  private seeState(hash: number): void {
    const cell = (hash ^ (hash >>> 16)) & (STATE_CELLS - 1);
    if (this.seenStates[cell] !== 0) return;
    this.seenStates[cell] = 1;
    this.stateCount++;
    if (this.novelty === 'none') this.novelty = 'state';
  }

  private seeRow(row: number): void {
    // 0: none has decided yet.
    if (row === 0 || this.seenRows[row] !== 0) return;
    this.seenRows[row] = 1;
    this.rowCount++;
    this.novelty = 'behaviour';
  }

  /** The run is over. @returns what it has shown that is new */
  end(): Novelty {
    const { edges, seenEdges } = this;
    let isNew = false;
    for (let i = 0; i < edges.length; i++) {
      const count = edges[i]!;
      if (count === 0) continue;
      const seen = seenEdges[i]!;
      const both = seen | COUNT_CLASS[count]!;
      if (both === seen) continue;
      if (seen === 0) this.edgeCount++;
      seenEdges[i] = both;
      isNew = true;
    }
    return isNew ? 'behaviour' : this.novelty;
  }
}

/** How many bytes are not 0. */
export function countOf(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if (byte !== 0) count++;
  return count;
}
