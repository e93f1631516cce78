/** The structures of the SMMUv3 as tables of fields: facts of the architecture, with an encoder and a decoder. */

import { COMMAND_STRUCTURES, type CommandField, type CommandName, type CommandStructure } from './commands.ts';
import { encode, type Values } from './field.ts';

export { CD, L1CD } from './cd.ts';
export {
  COMMAND_STRUCTURES,
  type CommandField,
  type CommandName,
  type CommandStructure,
  commandOf,
} from './commands.ts';
export { describe, describeCommand, describeEvent, fieldTexts, valueText } from './describe.ts';
export { EVENT_STRUCTURES, type EventName, type EventStructure, eventOf } from './events.ts';
export {
  decode,
  encode,
  type Field,
  type FieldKind,
  fits,
  getField,
  maskOf,
  type Structure,
  setField,
  setWord,
  type Values,
} from './field.ts';
export { PAGE_REQUEST } from './page-request.ts';
export { renderStructures } from './reference.ts';
export { L1STD, STE, SteConfig } from './ste.ts';

/** The four words of a command. @throws RangeError when a value does not fit its field */
export function encodeCommand<Name extends CommandName>(
  name: Name,
  values: Partial<Values<CommandField<Name>>> = {},
): Int32Array {
  const of = COMMAND_STRUCTURES[name] as CommandStructure;
  return encode<string>(of, { ...values, Opcode: of.opcode } as Values<string>);
}
