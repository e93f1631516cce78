/** What a conformance run found, as text for a terminal and as one JSON document. */
import type { Disagreement, GroupCount, Tally } from './tally.ts';

/** A number of a run that is no check: a size, a count of known deviations, a window. */
export interface Note {
  readonly name: string;
  readonly text: string;
}

/** One file against the model. */
export interface ConformReport {
  readonly kind: 'vectors' | 'dump' | 'qtrace';
  /** The files that took part; the first names the report. */
  readonly files: readonly string[];
  readonly title: string;
  readonly agree: number;
  readonly checks: number;
  readonly groups: readonly GroupCount[];
  /** The first differences in full, and how many there are. */
  readonly disagreements: readonly Disagreement[];
  readonly differences: number;
  readonly notes: readonly Note[];
  /** Numbers behind the notes. */
  readonly numbers: Readonly<Record<string, unknown>>;
  readonly interrupted: boolean;
}

/** A report of what `tally` counted. */
export function reportOf(
  tally: Tally,
  rest: Omit<ConformReport, 'agree' | 'checks' | 'groups' | 'disagreements' | 'differences'>,
): ConformReport {
  return {
    ...rest,
    agree: tally.agree,
    checks: tally.checks,
    groups: tally.groups(),
    disagreements: tally.shown,
    differences: tally.differences,
  };
}

export function count(n: number): string {
  return n.toLocaleString('en-US');
}

/** The report as text. */
export function renderConform(report: ConformReport): string {
  const { groups, notes, disagreements, differences } = report;
  let text = `${report.files[0]}: ${count(report.agree)} of ${count(report.checks)} agree\n`;
  text += `  ${report.title}\n`;
  const width = Math.max(
    ...[...groups.map(({ group }) => group), ...notes.map(({ name }) => name)].map((s) => s.length),
  );
  for (const { group, agree, checks } of groups) {
    text += `  ${group.padEnd(width)}  ${count(agree)} of ${count(checks)}\n`;
  }
  for (const { name, text: note } of notes) text += `  ${name.padEnd(width)}  ${note}\n`;
  for (const [i, { group, where, what, expected, got }] of disagreements.entries()) {
    text += `\n  ${i + 1}. ${group}: ${where}\n     ${what}\n       expected ${expected}\n       got      ${got}\n`;
  }
  const hidden = differences - disagreements.length;
  if (hidden > 0) text += `\n  and ${count(hidden)} more (--max shows more of them)\n`;
  if (report.interrupted) text += '  interrupted: the rest was not compared\n';
  return text;
}

/** All reports as a JSON-able document. */
export function conformDocument(reports: readonly ConformReport[]): Record<string, unknown> {
  const sum = (of: (report: ConformReport) => number): number =>
    reports.reduce((total, report) => total + of(report), 0);
  return {
    schema: 'postern/conform/1',
    agree: sum(({ agree }) => agree),
    checks: sum(({ checks }) => checks),
    reports,
  };
}
