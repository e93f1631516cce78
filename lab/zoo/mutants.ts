/**
 * Defects that nobody thought of: generic mutants of the hypervisor (an operator exchanged, a condition made constant, a
 * block emptied), each hunted by the fuzzer for a while. The share that is found says how much of the code the oracles
 * judge, and what survives shows what they do not.
 */

import { type Profile, profiles } from '#hypercall-abi';
import { type MachineDescription, preset } from '#machine';
import { sources } from '#sources';
import { FuzzEngine } from '../fuzz/engine.ts';
import type { CpuClock } from './engine.ts';
import { buildSources } from './loader.ts';

/** A place in a source: line from 0, column from 0. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** One change of one source: what stands between two places becomes something else. */
export interface Mutant {
  readonly id: string;
  readonly file: string;
  /** Kind of change, for example `EqualityOperator`. */
  readonly mutator: string;
  readonly start: Place;
  readonly end: Place;
  readonly replacement: string;
}

/**
 * What became of a mutant. `found`: a violation; `boot`: the hypervisor does not even boot; `hang`: a call never returned;
 * `invalid`: not well typed, or not to be built, so that nobody could run it.
 */
export type Fate = 'found' | 'boot' | 'hang' | 'survived' | 'invalid';

export interface MutantResult {
  readonly mutant: Mutant;
  readonly fate: Fate;
  /** Property and rule of the violation, or the error. */
  readonly by: string;
  /** Where: profile and machine. */
  readonly on: string;
  readonly cpuSeconds: number;
}

/** The source with the change. */
export function mutated(source: string, { start, end, replacement }: Mutant): string {
  const lines = source.split('\n');
  const offset = ({ line, column }: Place): number =>
    lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, column);
  return source.slice(0, offset(start)) + replacement + source.slice(offset(end));
}

/** What the change is, on one line. */
export function changeText(source: string, mutant: Mutant): string {
  const { start, end } = mutant;
  const lines = source.split('\n').slice(start.line, end.line + 1);
  const last = lines.length - 1;
  lines[last] = lines[last]!.slice(0, end.column);
  lines[0] = lines[0]!.slice(start.column);
  const oneLine = (text: string): string => text.replace(/\s+/g, ' ').trim();
  return `${oneLine(lines.join(' '))} -> ${oneLine(mutant.replacement)}`;
}

/**
 * Whether a mutant is worth a hunt: pauses do nothing in the build that is hunted, and what the layout says is known to
 * the oracles from the project's own file.
 */
export function isCandidate({ file, start }: Mutant): boolean {
  if (file === 'hyp/layout.ts') return false;
  return !/^\s*yield \{/.test(sources[file]!.split('\n')[start.line]!);
}

/** Where mutants are hunted, one after the other: a part of the time on each. */
const GROUNDS: readonly (readonly [MachineDescription, readonly string[]])[] = [
  [preset('two-smmus'), ['android17', 'android16']],
  [preset('switched'), ['android17']],
  [preset('tiny'), ['rfc-v2']],
];

function grounds(): { readonly machine: MachineDescription; readonly profile: Profile }[] {
  return GROUNDS.flatMap(([machine, names]) =>
    profiles.filter(({ name }) => names.includes(name)).map((profile) => ({ machine, profile })),
  );
}

/**
 * Hunt a mutant.
 * @param cpuSeconds in all
 */
export function huntMutant(mutant: Mutant, seed: number, cpuSeconds: number, cpu: CpuClock): MutantResult {
  const began = cpu();
  const result = (fate: Fate, by = '', on = ''): MutantResult => ({
    mutant,
    fate,
    by,
    on,
    cpuSeconds: cpu() - began,
  });
  let create: ReturnType<typeof buildSources>['createHypervisor'];
  try {
    const tree = { ...sources, [mutant.file]: mutated(sources[mutant.file]!, mutant) };
    create = buildSources(tree, `mutant-${mutant.id}`).createHypervisor;
  } catch (error) {
    return result('invalid', message(error));
  }
  const places = grounds();
  for (const { machine, profile } of places) {
    const on = `${profile.name}, ${machine.name}`;
    const until = cpu() + cpuSeconds / places.length;
    let engine: FuzzEngine;
    try {
      const feedback = { edges: false, states: true, rows: true };
      engine = new FuzzEngine({ machine, profile, hypervisor: create, seed, feedback });
    } catch (error) {
      return result('boot', message(error), on);
    }
    while (cpu() < until) {
      const violated = engine.runOne();
      if (violated !== null) return result('found', `${violated.violation.property}/${violated.violation.rule}`, on);
    }
  }
  return result('survived');
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The share of mutants that were found, in all and by file, and those that survived, as text. */
export function mutantReport(results: readonly MutantResult[]): string {
  const valid = results.filter(({ fate }) => fate !== 'invalid');
  const share = (some: readonly MutantResult[]): string => {
    const dead = some.filter(({ fate }) => fate !== 'survived').length;
    return `${dead} of ${some.length} (${some.length === 0 ? 0 : Math.round((100 * dead) / some.length)} %)`;
  };
  const files = [...new Set(valid.map(({ mutant }) => mutant.file))].sort();
  const fates = (['found', 'hang', 'boot'] as const).map(
    (fate) => `${fate} ${valid.filter((one) => one.fate === fate).length}`,
  );
  const survivors = valid
    .filter(({ fate }) => fate === 'survived')
    .map(({ mutant }) => {
      const { file, start, mutator } = mutant;
      return `  ${file}:${start.line + 1} ${mutator}: ${changeText(sources[file]!, mutant)}`;
    });
  return [
    `detected ${share(valid)}: ${fates.join(', ')}; ${results.length - valid.length} more could not be built`,
    ...files.map((file) => `  ${file}: ${share(valid.filter(({ mutant }) => mutant.file === file))}`),
    'survivors:',
    ...survivors,
    '',
  ].join('\n');
}
