/**
 * The one error for what a user hands in: a trace, a fixture, a scenario. It names the place and says what was
 * expected there, so that the message alone is enough to fix the file. Every tool answers it with exit code 2.
 */

/** Where and what: `line` counts from 1, `field` is a name or a path such as `pages.0x40001000.b64`. */
export interface InputProblem {
  readonly file: string;
  readonly line?: number | undefined;
  readonly field?: string | undefined;
  readonly expected: string;
  readonly got?: string | undefined;
}

/** Bad input, located. The message reads `file:line: field: expected …, got …`. */
export class InputError extends Error {
  readonly file: string;
  readonly line: number | null;
  readonly field: string | null;
  readonly expected: string;
  readonly got: string | null;

  constructor(problem: InputProblem) {
    const place = problem.line === undefined ? problem.file : `${problem.file}:${problem.line}`;
    const field = problem.field === undefined ? '' : `${problem.field}: `;
    const got = problem.got === undefined ? '' : `, got ${problem.got}`;
    super(`${place}: ${field}expected ${problem.expected}${got}`);
    this.name = 'InputError';
    this.file = problem.file;
    this.line = problem.line ?? null;
    this.field = problem.field ?? null;
    this.expected = problem.expected;
    this.got = problem.got ?? null;
  }

  /** The place inside the file: `12`, `12: iova`, `pages.0x40001000.b64`, or the empty string for the file as a whole. */
  get where(): string {
    return [this.line, this.field].filter((part) => part !== null).join(': ');
  }
}

/** `text` in quotes for a message, cut where it grows long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}
