/** Machine descriptions by preset name or from a JSON file. */
import { existsSync } from 'node:fs';
import { DescriptionError, type MachineDescription, preset, presets, validateDescription } from '#machine';
import { InputError } from '../input-error.ts';
import { readText } from './read-text.ts';

/** The preset of that name, else the description in that file. @throws InputError */
export async function readMachine(nameOrPath: string): Promise<MachineDescription> {
  if (Object.hasOwn(presets, nameOrPath)) return preset(nameOrPath);
  if (!existsSync(nameOrPath)) {
    const expected = `a preset (${Object.keys(presets).join(', ')}) or a file that describes a machine`;
    throw new InputError({ file: nameOrPath, expected, got: 'neither' });
  }
  const text = await readText(nameOrPath);
  try {
    return validateDescription(JSON.parse(text));
  } catch (error) {
    if (error instanceof DescriptionError) {
      const expected = error.message.replace(/^.*?: expected /, '');
      throw new InputError({ file: nameOrPath, field: error.field, expected });
    }
    if (error instanceof SyntaxError) throw new InputError({ file: nameOrPath, expected: 'JSON', got: error.message });
    throw error;
  }
}
