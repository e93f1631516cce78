/** Structures for people: each field that is set, with what its value stands for. */

import { hex } from '../../word64.ts';
import { COMMAND_STRUCTURES, commandOf } from './commands.ts';
import { eventOf } from './events.ts';
import { type Field, getField, type Structure } from './field.ts';

/** The value of a field as text: an address in hex, a known value with its meaning. */
export function valueText(field: Field, value: number): string {
  if (field.kind === 'address') return hex(value);
  const known = field.values[value];
  const plain = field.high - field.low >= 8 ? hex(value) : String(value);
  return known === undefined ? plain : `${plain} (${known})`;
}

/** `name=value` of each field that is not 0, in order of place. */
export function fieldTexts(of: Structure, words: ArrayLike<number>, at = 0): string[] {
  return of.fields.flatMap((field) => {
    const value = getField(words, field, at);
    return value === 0 ? [] : [`${field.name}=${valueText(field, value)}`];
  });
}

/** One line: the structure's name and the fields that are not 0. */
export function describe(of: Structure, words: ArrayLike<number>, at = 0): string {
  return [of.name, ...fieldTexts(of, words, at)].join(' ');
}

/** All but the first field, which is the opcode or the event number and so never 0. */
function argumentsOf(of: Structure, words: ArrayLike<number>, at: number): string[] {
  return fieldTexts(of, words, at).slice(1);
}

/** One line for the command at `words[at]`. CFGI_STE_RANGE over all streams is called CFGI_ALL. */
export function describeCommand(words: ArrayLike<number>, at = 0): string {
  const of = commandOf(words[at]!);
  if (of === undefined) return `opcode ${hex(words[at]! & 0xff)}`;
  const range = COMMAND_STRUCTURES.CFGI_STE_RANGE;
  const everything = of === range && getField(words, range.field.Range, at) === 31;
  return [everything ? 'CFGI_ALL' : of.name, ...argumentsOf(of, words, at)].join(' ');
}

/** One line for the event record at `words[at]`. */
export function describeEvent(words: ArrayLike<number>, at = 0): string {
  const of = eventOf(words[at]!);
  if (of === undefined) return `event ${hex(words[at]! & 0xff)}`;
  return [of.name, ...argumentsOf(of, words, at)].join(' ');
}
