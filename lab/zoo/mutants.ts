/**
 * Defects that nobody thought of: generic mutants of the hypervisor (an operator exchanged, a condition made constant, a
 * block emptied), each hunted by the fuzzer for a while, and then by
 * scenarios and boots. The share that is found says how much of the code the oracles
 * judge, and what survives shows what they do not.
 */

import { defaultProfile } from '#hypercall-abi';
import { sources } from '#sources';
import { FuzzEngine, type Violated } from '../fuzz/engine.ts';
import type { HypervisorFactory, Violation } from '../session/session.ts';
import { firstBadBoot, firstCrampedBoot } from './boots.ts';
import type { CpuClock } from './engine.ts';
import { bootGrounds, grounds } from './grounds.ts';
import { buildSources } from './loader.ts';
import { firstBadScenario } from './scenarios.ts';

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

/** How a mutant is hunted. */
export interface Hunt {
  readonly seed: number;
  /** CPU time of the fuzzer in all: a part of it on each ground. */
  readonly cpuSeconds: number;
  /** Inputs to begin with, by ground; none when left out. */
  readonly inputs?: readonly (readonly Uint8Array[])[];
}

/** Hunt a mutant: with the fuzzer on each ground and then, if it is still alive, with scenarios and boots. */
export function huntMutant(mutant: Mutant, { seed, cpuSeconds, inputs = [] }: Hunt, cpu: CpuClock): MutantResult {
  const began = cpu();
  const result = (fate: Fate, by = '', on = ''): MutantResult => ({
    mutant,
    fate,
    by,
    on,
    cpuSeconds: cpu() - began,
  });
  let create: HypervisorFactory;
  try {
    const tree = { ...sources, [mutant.file]: mutated(sources[mutant.file]!, mutant) };
    create = buildSources(tree, `mutant-${mutant.id}`).createHypervisor;
  } catch (error) {
    return result('invalid', message(error));
  }
  for (const [i, { machine, profile }] of grounds.entries()) {
    const on = `${profile.name}, ${machine.name}`;
    let engine: FuzzEngine;
    try {
      const feedback = { edges: false, states: true, rows: true };
      engine = new FuzzEngine({ machine, profile, hypervisor: create, seed, feedback });
    } catch (error) {
      return result('boot', message(error), on);
    }
    const violated = fuzz(engine, inputs[i] ?? [], cpuSeconds / grounds.length, cpu);
    if (violated !== null) return result('found', nameOf(violated.violation), on);
  }
  const shown = firstBadScenario(create);
  if (shown !== null) return result('found', nameOf(shown.violation), `scenario: ${shown.title}`);
  for (const { machine, profile } of bootGrounds) {
    const bad = firstBadBoot(create, machine, profile);
    if (bad !== null) return result('found', nameOf(bad.violation), `${profile.name}, ${machine.name}, ${bad.variant}`);
  }
  const cramped = firstCrampedBoot(create, defaultProfile);
  if (cramped !== null) return result('found', nameOf(cramped.violation), cramped.variant);
  return result('survived');
}

/** Run the inputs, and then whatever the engine makes up for so long. @returns the first violation, or null */
function fuzz(engine: FuzzEngine, inputs: readonly Uint8Array[], cpuSeconds: number, cpu: CpuClock): Violated | null {
  for (const input of inputs) {
    const violated = engine.judge(input);
    if (violated !== null) return violated;
  }
  for (const until = cpu() + cpuSeconds; cpu() < until; ) {
    const violated = engine.runOne();
    if (violated !== null) return violated;
  }
  return null;
}

function nameOf({ property, rule }: Violation): string {
  return `${property}/${rule}`;
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
  const properties = new Map<string, number>();
  for (const { fate, by } of valid) {
    const property = by.slice(0, by.indexOf('/'));
    if (fate === 'found') properties.set(property, (properties.get(property) ?? 0) + 1);
  }
  const byProperty = [...properties].sort(([, a], [, b]) => b - a).map(([property, n]) => `${property} ${n}`);
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
    `found by: ${byProperty.join(', ')}`,
    ...files.map((file) => `  ${file}: ${share(valid.filter(({ mutant }) => mutant.file === file))}`),
    'survivors:',
    ...survivors,
    '',
  ].join('\n');
}
