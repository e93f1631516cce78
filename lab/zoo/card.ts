/**
 * What a defect of the zoo is: where it comes from, what it breaks, what an attacker gains, and the edit that puts it
 * into the correct hypervisor. An edit replaces whole lines inside one function, so that it stays readable as a diff and
 * fails loudly when the hypervisor moves on without it.
 */

import type { Property } from '../oracle/properties.ts';

/** One change of the source of `hyp` or `io-pgtable`, as it is written there: with its pauses. */
export interface SourceEdit {
  /** Path from the root of the project, for example `hyp/map.ts`. */
  readonly file: string;
  /** The function that holds the lines. */
  readonly function: string;
  /** The lines as they stand there, indentation included; they occur exactly once in the function. */
  readonly before: string;
  /** The lines that take their place. Empty: nothing does. */
  readonly after: string;
}

/** A named set of edits: what is applied as a whole. */
export interface EditSet {
  /** Short and without `+`, for example `Z14`. */
  readonly id: string;
  readonly edits: readonly SourceEdit[];
}

/**
 * How a defect is known: a published vulnerability; repaired by a published commit; wrong in one published version and
 * right in a later one; read in one version, no repair seen; of a class that is known to happen.
 */
export type DefectKind = 'CVE' | 'FIX' | 'DIFF' | 'SRC' | 'CLS';

/** Where a defect was real. */
export interface DefectOrigin {
  /** Commits that repaired it, abbreviated hashes of the Android common kernel; empty when none is published. */
  readonly commits: readonly string[];
  readonly cve?: string;
  /** What upstream did wrong, and how it was put right. */
  readonly reference: string;
}

/** A defect that really happened upstream, or one of a class that does. */
export interface DefectCard extends EditSet {
  readonly title: string;
  readonly kind: DefectKind;
  readonly upstream: DefectOrigin;
  /** The rule that no longer holds. */
  readonly breaks: string;
  /** What an attacker can do, in one sentence. */
  readonly attack: string;
  /** Generation of the interface in which it shows. */
  readonly profile: string;
  /** How many CPUs must act at the same time for an attacker to profit; finding it may take fewer. */
  readonly cpus: number;
  /** A machine preset on which it shows. */
  readonly machine: string;
  /**
   * Given where it shows only in the middle of calls: while two CPUs are in theirs (`cpus`), or while stores of one are
   * not visible to others (`stores`).
   */
  readonly interleaved?: 'cpus' | 'stores';
  /** The property of an oracle that reports it. */
  readonly property: Property;
}
