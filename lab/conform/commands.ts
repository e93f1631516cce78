/**
 * A history of SMMUv3 commands as raw words. Each is decoded by two tables that share nothing, the oracle's and the
 * model's, and must be legal: a known command, nothing set outside its fields, and accepted by the model of the SMMU.
 */
import { structures } from '#machine';
import { COMMAND_WORDS, commandName, decodeCommand } from '../oracle/decode/command.ts';
import { hex64 } from '../oracle/decode/fields.ts';
import type { Tally } from './tally.ts';

/** Commands of a history, four int32s each. */
export type Commands = Int32Array;

export function commandCount(commands: Commands): number {
  return commands.length / COMMAND_WORDS;
}

/** Where a command stands, for messages. */
export function commandPlace(commands: Commands, i: number): string {
  const at = COMMAND_WORDS * i;
  const word = (n: number): string => hex64(commands[at + 2 * n + 1]!, commands[at + 2 * n]!);
  return `command ${i}, ${commandName(commands[at]! & 0xff)} ${word(0)} ${word(1)}`;
}

/** Decodes one command both ways. The model's verdict is asked when it is replayed. */
export function checkDecoding(commands: Commands, i: number, tally: Tally): void {
  const at = COMMAND_WORDS * i;
  tally.begin('commands decoded', () => commandPlace(commands, i));
  const decoded = decodeCommand(commands, at);
  const structure = structures.commandOf(commands[at]!);
  if (!decoded.known || structure === undefined) {
    tally.differs('opcode', 'a command of the architecture', decoded.name);
    tally.end();
    return;
  }
  const words = commands.subarray(at, at + COMMAND_WORDS);
  for (const { name, value } of decoded.fields) {
    const field = (structure.field as Readonly<Record<string, structures.Field>>)[name];
    if (field === undefined) tally.differs(name, 'a field of both tables', 'one of the oracle’s alone');
    else tally.same(name, value, unsigned(structures.getField(words, field)));
  }
  const known = structures.maskOf(structure, ...structure.fields.map(({ name }) => name));
  for (let word = 0; word < 2; word++) {
    const [lo, hi] = [words[2 * word]! & ~known[2 * word]!, words[2 * word + 1]! & ~known[2 * word + 1]!];
    if ((lo | hi) !== 0) tally.differs(`word ${word}`, 'nothing outside the fields', hex64(hi, lo));
  }
  tally.end();
}

/** Addresses of the upper half are negative in the model's table. */
function unsigned(value: number): number {
  return value < 0 ? value + 2 ** 64 : value;
}

/** How often each command occurs, by name. */
export function commandNames(commands: Commands): Map<string, number> {
  const names = new Map<string, number>();
  for (let i = 0; i < commandCount(commands); i++) {
    const { name } = decodeCommand(commands, COMMAND_WORDS * i);
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  return names;
}
