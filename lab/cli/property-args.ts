/** The options `--properties` and `--without` of every command that judges a hypervisor. */
import { chooseProperties, PROPERTY_NAMES, type Property } from '../oracle/index.ts';
import { type CommandArgs, type CommandOption, textArg, UsageError } from './command.ts';

export const propertyOptions: readonly CommandOption[] = [
  { flags: '--properties <names>', describe: 'Report only these properties (a,b); all are in docs/properties' },
  { flags: '--without <names>', describe: 'Report none of these properties' },
];

/** The properties that are to be reported; undefined for all. @throws UsageError naming what is no property */
export function propertiesArg(args: CommandArgs): readonly Property[] | undefined {
  const only = names(args, 'properties');
  const without = names(args, 'without');
  const option = only !== undefined ? '--properties' : '--without';
  try {
    const chosen = chooseProperties({ ...(only && { only }), ...(without && { without }) });
    return chosen.length === PROPERTY_NAMES.length ? undefined : chosen;
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`${option}: ${error.message}`);
    throw error;
  }
}

function names(args: CommandArgs, option: string): string[] | undefined {
  return textArg(args, option)
    ?.split(',')
    .map((name) => name.trim());
}
