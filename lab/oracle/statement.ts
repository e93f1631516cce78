/** The evidence that stands behind "nothing found". */

import type { Property } from './properties.ts';
import type { SometimesCount } from './sometimes.ts';

/** What an oracle has counted. */
export interface Counts {
  readonly callsChecked: number;
  /** Locked sections of them that were looked at one by one. */
  readonly sectionsChecked: number;
  readonly fullChecks: number;
  readonly callsBeforeBoot: number;
  readonly findings: number;
  /** Properties that were not reported. */
  readonly propertiesOff: readonly Property[];
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
  /** States that the machine can be in, and how often it was. */
  readonly sometimes: readonly SometimesCount[];
  /** Those that were never reached. */
  readonly neverReached: readonly string[];
  readonly notModelled: readonly string[];
}

/** What the oracle says nothing about. */
const NOT_MODELLED: readonly string[] = [
  'content of free pages and the order of the free lists of the pools',
  "TLBs and caches of the CPUs, and of the CPUs' stage 2",
  'two-level tables of context descriptors, nested translation, ATS and PRI',
  'granules other than 4 KiB',
  'what a guest does with its pages',
  'what an SMMU loses with its power beside its caches',
  'interrupts and the content of the event queue',
  'calls on several CPUs at once: each call is judged as if it ran alone',
];

/** What is off where the oracle was given no reader of registers. */
export const NO_SMMU_REGISTERS =
  'registers of the SMMUs: no reader was given, so that what boot programs is off, and stream tables and queues (with ' +
  "the pins of the event queues) are taken from the hypervisor's own records";
export const NO_SYSTEM_REGISTERS =
  'system registers of the CPUs: no reader was given, so that nothing says that the host is behind its stage 2';

/** @param off what the oracle could not check for want of a reader */
export function makeStatement(
  counts: Counts,
  rows: readonly RowHits[],
  sometimes: readonly SometimesCount[],
  off: readonly string[],
): Evidence {
  const neverHit = rows.filter(({ hits }) => hits === 0).map(({ id }) => id);
  const notModelled = [...off, ...NOT_MODELLED];
  const neverReached = sometimes.filter(({ hits }) => hits === 0).map(({ name }) => name);
  return {
    ...counts,
    sometimes,
    neverReached,
    rowsHit: rows.length - neverHit.length,
    rows: rows.length,
    neverHit,
    notModelled,
  };
}
