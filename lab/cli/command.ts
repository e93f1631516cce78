/**
 * What a command of `postern` is. `main.ts` registers every command of `commands/index.ts`; a command gets its parsed
 * arguments and a `CliIo`, and answers with its exit code: 0 nothing found or all agree, 1 a violation or a
 * disagreement, 2 bad usage or input, 3 inconclusive. Bad input may simply be thrown, as `InputError` or `UsageError`.
 */

/** Where a command writes, and what it knows of the terminal. */
export interface CliIo {
  /** To standard output, as it is: no line break is added. */
  out(text: string): void;
  /** To standard error, likewise. */
  err(text: string): void;
  /** Is standard output a terminal? */
  readonly isTty: boolean;
  readonly columns: number;
  /**
   * Calls `stop` on the first Ctrl-C instead of ending the process at once, so that a long command may still say what
   * it found; it ends with 130 then, whatever the command returns. A second Ctrl-C ends it at once. Returns how to
   * take it back.
   */
  onInterrupt(stop: () => void): () => void;
}

/** One option: `flags` as in `--sid <stream>`, `--json`, `-o, --output <file>`. */
export interface CommandOption {
  readonly flags: string;
  readonly describe: string;
  readonly default?: string | number | boolean;
}

/**
 * What the user gave: options by their long name in camel case, arguments by their name in `Command.name`. A value
 * arrives as the text that was typed, a flag as a boolean, an option given twice as an array: read them with the
 * functions below.
 */
export type CommandArgs = Readonly<Record<string, unknown>>;

export interface Command {
  /** The command with its arguments: `walk <input>`, `replay <trace> [fixture]`, `judge [...files]`. */
  readonly name: string;
  readonly describe: string;
  readonly options: readonly CommandOption[];
  readonly examples?: readonly string[];
  run(args: CommandArgs, io: CliIo): Promise<number>;
}

/** The user asked for something that makes no sense: a message and exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** A text argument or option; undefined when it is not given. @throws UsageError when given twice */
export function textArg(args: CommandArgs, name: string): string | undefined {
  const value = args[name];
  if (value === undefined) return undefined;
  if (Array.isArray(value)) throw new UsageError(`${optionName(name)} is given more than once`);
  if (typeof value === 'boolean') throw new UsageError(`${optionName(name)} needs a value`);
  return String(value);
}

/** A text that must be there. @throws UsageError */
export function requiredText(args: CommandArgs, name: string): string {
  const value = textArg(args, name);
  if (value === undefined) throw new UsageError(`${optionName(name)} is missing`);
  return value;
}

/** A whole number from 0, decimal or 0x hexadecimal, below 2^52; undefined when not given. @throws UsageError */
export function numberArg(args: CommandArgs, name: string): number | undefined {
  const text = textArg(args, name);
  if (text === undefined) return undefined;
  const value = /^(?:\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) {
    throw new UsageError(`${optionName(name)}: expected a number such as 16 or 0x10, got ${JSON.stringify(text)}`);
  }
  if (value >= 2 ** 52) throw new UsageError(`${optionName(name)}: expected a number below 2^52, got ${text}`);
  return value;
}

/** A number that must be there. @throws UsageError */
export function requiredNumber(args: CommandArgs, name: string): number {
  const value = numberArg(args, name);
  if (value === undefined) throw new UsageError(`${optionName(name)} is missing`);
  return value;
}

/** Is a flag set? */
export function flagArg(args: CommandArgs, name: string): boolean {
  return args[name] === true;
}

function optionName(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
