/** What `postern fuzz` says: while it runs, of each finding, and at the end. */
import type { FuzzProgress } from '../fuzz/coordinator.ts';
import type { FuzzFinding } from '../fuzz/finding.ts';
import type { FuzzNames } from '../fuzz/worker.ts';
import type { FuzzFolder, FuzzSetup } from '../io/fuzz-folder.ts';
import { renderStory } from '../narrator/render.ts';
import { tell } from '../narrator/tell.ts';
import { encodeShare, parseScenario } from '../scenario/index.ts';
import { hypervisorByIdentity } from '../zoo/index.ts';

/** The numbers of a run: `stats.json`, and what `--json` prints. */
export interface FuzzStatistics {
  readonly schema: 'postern/fuzz-stats/0';
  readonly hypervisor: string;
  readonly profile: string;
  readonly machine: string;
  readonly seed: number;
  readonly workers: number;
  readonly seconds: number;
  readonly runs: number;
  readonly steps: number;
  readonly calls: number;
  readonly callsPerSecond: number;
  /** Inputs in which no order of overlapping calls explained what came of them: not judged from there on. */
  readonly unexplained: number;
  readonly corpus: number;
  /** Edges of the hypervisor's code that were taken, of how many. */
  readonly edges: number;
  readonly edgesOf: number;
  readonly states: number;
  /** Rows of the call specification that decided at least once, of how many, and those that never did. */
  readonly rows: number;
  readonly rowsOf: number;
  readonly neverHit: readonly string[];
  /** States that a run should have been in: how often, by name. */
  readonly sometimes: Readonly<Record<string, number>>;
  /** What was asked for with --require and never reached. */
  readonly missing: readonly string[];
  readonly violations: number;
  readonly findings: readonly Omit<FuzzFinding, 'input'>[];
  /** Why it ended. */
  readonly ended: 'found' | 'over' | 'interrupted';
}

export function fuzzStatistics(
  { job, workers, required }: FuzzSetup,
  names: FuzzNames,
  seconds: number,
  progress: FuzzProgress,
  ended: FuzzStatistics['ended'],
): FuzzStatistics {
  const { runs, steps, calls, unexplained, corpus, edges, states, rows, violations, hits, findings } = progress;
  const reached = names.sometimes.map((name, i): [string, number] => [name, progress.sometimes[i] ?? 0]);
  const counts = new Map([...names.rows.map((name, i): [string, number] => [name, hits[i] ?? 0]), ...reached]);
  return {
    schema: 'postern/fuzz-stats/0',
    hypervisor: job.hypervisor,
    profile: job.profile,
    machine: job.machine.name,
    seed: job.seed,
    workers,
    seconds: Math.round(10 * seconds) / 10,
    runs,
    steps,
    calls,
    callsPerSecond: Math.round(calls / Math.max(seconds, 0.001)),
    unexplained,
    corpus,
    edges,
    edgesOf: progress.workers[0]?.seen.edges.length ?? 0,
    states,
    rows,
    rowsOf: names.rows.length,
    neverHit: names.rows.filter((name) => counts.get(name) === 0),
    sometimes: Object.fromEntries(reached),
    missing: required.filter((name) => counts.get(name) === 0),
    violations,
    findings: findings.map(({ input: _, ...finding }) => finding),
    ended,
  };
}

const count = (n: number): string => Math.round(n).toLocaleString('en-US');

/** One line about a run that goes on. @param perSecond hypercalls */
export function statusText(seconds: number, runs: number, perSecond: number, progress: FuzzProgress | null): string {
  const parts = [clockText(seconds), `${count(runs)} inputs`, `${count(perSecond)} calls/s`];
  if (progress !== null) {
    const { corpus, edges, states, rows, findings } = progress;
    parts.push(`corpus ${count(corpus)}`, `edges ${count(edges)}`, `states ${count(states)}`, `rows ${rows}`);
    parts.push(`findings ${findings.length}`);
  }
  return parts.join(' · ');
}

function clockText(seconds: number): string {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${String(whole % 60).padStart(2, '0')}`;
}

/** The story of a finding in plain words. */
export function findingStory({ scenario }: FuzzFinding, width = 100): string {
  const parsed = parseScenario(scenario, 'finding');
  return renderStory(tell(parsed, hypervisorByIdentity(parsed.hypervisor)), width);
}

/** A finding, for people. @param folder where its files are */
export function findingText(finding: FuzzFinding, folder: FuzzFolder | null, story: string): string {
  const { property, rule, call, text, stepsBefore, stepsAfter, oneMinimal, scenario, key } = finding;
  const shrunk = `${stepsBefore} steps, shrunk to ${stepsAfter}${oneMinimal ? ' (none can go)' : ''}`;
  const where =
    folder === null
      ? `share: ${encodeShare(parseScenario(scenario, 'finding'))}`
      : `file: ${folder.file('findings', key)}.scenario`;
  return `violation of ${property} (${rule}) at ${call}: ${text}\n  ${shrunk}\n\n${story}\n${where}\n\n`;
}

/** The end of a run, for people. */
export function summaryText(statistics: FuzzStatistics, folder: FuzzFolder | null): string {
  const { hypervisor, profile, machine, seed, seconds, runs, calls, callsPerSecond, corpus, edges, edgesOf } =
    statistics;
  const { states, rows, rowsOf, findings, neverHit, missing, unexplained, ended } = statistics;
  const reached = Object.entries(statistics.sometimes);
  const never = reached.flatMap(([name, hits]) => (hits === 0 ? [name] : []));
  const lines = [
    `${hypervisor}, ${profile} on ${machine}, seed ${seed}: ${ended === 'interrupted' ? 'interrupted' : 'done'} after ${clockText(seconds)}`,
    `  inputs      ${count(runs)}, ${count(calls)} hypercalls, ${count(callsPerSecond)} a second`,
    ...(unexplained === 0
      ? []
      : [`  unexplained ${count(unexplained)} inputs: no order of their overlapping calls gives their results`]),
    `  corpus      ${count(corpus)} inputs worth keeping`,
    ...(edgesOf === 0
      ? []
      : [`  edges       ${count(edges)} of ${count(edgesOf)} (${Math.round((100 * edges) / edgesOf)} %)`]),
    `  states      ${count(states)} that differ in kind`,
    `  rows        ${rows} of ${rowsOf} of the call specification decided${neverHit.length === 0 ? '' : `; never: ${shortList(neverHit)}`}`,
    `  sometimes   ${reached.length - never.length} of ${reached.length} states that a run should have been in${never.length === 0 ? '' : `; never: ${shortList(never)}`}`,
    ...(missing.length === 0 ? [] : [`  missing     ${missing.join(', ')}: required, and never reached`]),
    `  findings    ${findings.length === 0 ? 'none' : findings.map(({ property, rule, call }) => `${property} (${rule}) at ${call}`).join('; ')}`,
    ...(folder === null ? [] : [`  folder      ${folder.path}`]),
  ];
  return `${lines.join('\n')}\n`;
}

const LISTED = 6;

function shortList(names: readonly string[]): string {
  const more = names.length - LISTED;
  return `${names.slice(0, LISTED).join(', ')}${more > 0 ? `, and ${more} more` : ''}`;
}
