/** One hunt of the matrix as a row, and the file of rows that a soak is resumed from. */

import { InputError, quoted } from '../input-error.ts';

/** What became of one hunt. */
export interface Trial {
  readonly card: string;
  readonly engine: string;
  readonly seed: number;
  /** CPU time that the engine had, in seconds. */
  readonly budget: number;
  /** Whether nothing was found: the time is where the engine stopped, not how long it takes. */
  readonly censored: boolean;
  /** Property and rule of the first violation; empty when nothing was found. */
  readonly property: string;
  readonly rule: string;
  readonly runs: number;
  readonly calls: number;
  readonly cpuSeconds: number;
  /** Steps of the shrunk scenario; 0 when nothing was found. */
  readonly steps: number;
}

const COLUMNS = [
  'card',
  'engine',
  'seed',
  'budget',
  'censored',
  'property',
  'rule',
  'runs',
  'calls',
  'cpuSeconds',
  'steps',
] as const satisfies readonly (keyof Trial)[];

/** The first line of a file of trials. */
export const TRIAL_HEADER = COLUMNS.join();

/** A trial as a line, without the line break. No field has a comma: names, rules and numbers do not. */
export function trialLine(trial: Trial): string {
  return COLUMNS.map((column) => {
    const value = trial[column];
    return typeof value === 'boolean' ? (value ? '1' : '0') : String(value);
  }).join();
}

/**
 * The trials in a file.
 * @param file its name in messages
 * @throws InputError naming the line that is wrong
 */
export function parseTrials(text: string, file: string): Trial[] {
  const [header, ...lines] = text.replace(/\r/g, '').split('\n');
  if (header !== TRIAL_HEADER)
    throw new InputError({ file, line: 1, expected: TRIAL_HEADER, got: quoted(header ?? '') });
  const trials: Trial[] = [];
  lines.forEach((line, i) => {
    // A soak that was killed may have left half a line: only the last one can be.
    if (line === '' || (i === lines.length - 1 && !text.endsWith('\n'))) return;
    trials.push(parseTrial(line, file, i + 2));
  });
  return trials;
}

function parseTrial(text: string, file: string, line: number): Trial {
  const fields = text.split(',');
  if (fields.length !== COLUMNS.length) {
    throw new InputError({ file, line, expected: `${COLUMNS.length} fields`, got: `${fields.length}` });
  }
  const field = (name: keyof Trial): string => fields[COLUMNS.indexOf(name)]!;
  const number = (name: keyof Trial): number => {
    const value = Number(field(name));
    if (field(name) !== '' && Number.isFinite(value) && value >= 0) return value;
    throw new InputError({ file, line, field: name, expected: 'a number from 0', got: quoted(field(name)) });
  };
  return {
    card: field('card'),
    engine: field('engine'),
    seed: number('seed'),
    budget: number('budget'),
    censored: number('censored') === 1,
    property: field('property'),
    rule: field('rule'),
    runs: number('runs'),
    calls: number('calls'),
    cpuSeconds: number('cpuSeconds'),
    steps: number('steps'),
  };
}
