/** Runs one command line: parsing, help, and what becomes of errors. `main.ts` gives it the process. */
import { cac } from 'cac';
import { InputError } from '../input-error.ts';
import { type CliIo, type Command, type CommandArgs, UsageError } from './command.ts';

/** Keeps the parser from taking `-` for an option and `0x10` for a number: both must arrive as they were typed. */
const GUARD = '\u0000';

/** Name and version of the program. */
export interface Program {
  readonly name: string;
  readonly version: string;
}

/**
 * Runs `argv` (without the interpreter and the script) and returns the exit code: the command's, or 2 for bad usage
 * and bad input, with a message on standard error. An error that is neither is a bug and is thrown.
 */
export async function runCommandLine(
  program: Program,
  commands: readonly Command[],
  argv: readonly string[],
  io: CliIo,
): Promise<number> {
  try {
    const run = parse(program, commands, argv);
    return typeof run === 'number' ? run : await run(io);
  } catch (error) {
    if (!isUsersFault(error)) throw error;
    io.err(`${program.name}: ${error.message.replaceAll(GUARD, '')}\n`);
    return 2;
  }
}

function isUsersFault(error: unknown): error is Error {
  if (error instanceof InputError || error instanceof UsageError) return true;
  return error instanceof Error && error.name === 'CACError';
}

/** What the command line asks for, or the exit code where help or the version was the answer. */
function parse(
  program: Program,
  commands: readonly Command[],
  argv: readonly string[],
): number | ((io: CliIo) => Promise<number>) {
  const cli = cac(program.name);
  cli.usage('<command> [options]');
  cli.option('-h, --help', 'Say what a command does and which options it has');
  cli.version(program.version);
  let chosen: ((io: CliIo) => Promise<number>) | null = null;
  for (const command of commands) {
    const registered = cli.command(command.name, command.describe);
    for (const { flags, describe, default: initial } of command.options) {
      registered.option(flags, describe, initial === undefined ? {} : { default: initial });
    }
    for (const example of command.examples ?? []) registered.example(`  $ ${example}`);
    registered.action((...values: unknown[]) => {
      const args = argumentsOf(command, values);
      chosen = (io) => command.run(args, io);
    });
  }
  cli.parse(['', program.name, ...argv.map(guarded)], { run: false });
  const [first] = cli.args;
  if (cli.matchedCommand === undefined && first !== undefined) {
    throw new UsageError(`there is no command named ${first}; see ${program.name} --help`);
  }
  if (cli.options.help === true) {
    cli.outputHelp();
    return 0;
  }
  if (cli.matchedCommand === undefined) {
    cli.globalCommand.checkUnknownOptions();
    if (cli.options.version === true) return 0;
    cli.outputHelp();
    return 2;
  }
  cli.runMatchedCommand();
  if (chosen === null) throw new UsageError(`nothing to do; see ${program.name} --help`);
  return chosen;
}

/** The parser hands over the arguments in order, then the options. */
function argumentsOf(command: Command, values: readonly unknown[]): CommandArgs {
  const names = [...command.name.matchAll(/[<[](?:\.\.\.)?([^>\]]+)[>\]]/g)].map((match) => match[1]!);
  const given = names.map((name, i): [string, unknown] => [name, values[i]]);
  const options = Object.entries(values.at(-1) as Record<string, unknown>).filter(([name]) => name !== '--');
  return Object.fromEntries([...options, ...given].map(([name, value]) => [name, unguarded(value)]));
}

function guarded(argument: string): string {
  const option = /^(--?[^=]+=)(.*)$/s.exec(argument);
  if (option !== null) return `${option[1]}${guarded(option[2]!)}`;
  const mistaken = argument === '-' || (argument.trim() !== '' && Number.isFinite(Number(argument)));
  return mistaken && !/^-\d/.test(argument) ? `${GUARD}${argument}` : argument;
}

function unguarded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unguarded);
  return typeof value === 'string' ? value.replaceAll(GUARD, '') : value;
}
