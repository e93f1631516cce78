/** The part of `postern replay` that runs bytes: an input of the fuzzer, or what another fuzzer has made up. */
import { FuzzTarget, FuzzViolation } from '../fuzz/target.ts';
import { readMachine } from '../io/machine.ts';
import { readBytes } from '../io/read-text.ts';
import { printScenario } from '../scenario/index.ts';
import { type CliIo, type CommandArgs, flagArg, textArg } from './command.ts';
import { profileArg } from './profile-arg.ts';
import { propertiesArg } from './property-args.ts';

/** @returns 0, or 1 for a violation; with --abort the process dies of SIGABRT instead */
export async function replayRaw(path: string, args: CommandArgs, io: CliIo): Promise<number> {
  const machine = textArg(args, 'machine');
  const hypervisor = textArg(args, 'hypervisor');
  const properties = propertiesArg(args);
  const target = new FuzzTarget({
    profile: profileArg(args),
    ...(machine !== undefined && { machine: await readMachine(machine) }),
    ...(hypervisor !== undefined && { hypervisor }),
    ...(properties !== undefined && { properties }),
  });
  const bytes = await readBytes(path);
  const violation = violationOf(target, bytes);
  const json = flagArg(args, 'json');
  if (violation === null) {
    const scenario = target.scenario(bytes);
    io.out(json ? document(bytes, null, printScenario(scenario)) : `${scenario.steps.length} steps, no violation\n`);
    return 0;
  }
  io.out(json ? document(bytes, violation.message, violation.text) : `${violation.text}\n# ${violation.message}\n`);
  if (flagArg(args, 'abort')) process.abort();
  return 1;
}

function violationOf(target: FuzzTarget, bytes: Uint8Array): FuzzViolation | null {
  try {
    target.run(bytes);
    return null;
  } catch (error) {
    if (error instanceof FuzzViolation) return error;
    throw error;
  }
}

function document(bytes: Uint8Array, violation: string | null, scenario: string): string {
  return `${JSON.stringify({ schema: 'postern/raw-run/0', bytes: bytes.length, violation, scenario }, null, 2)}\n`;
}
