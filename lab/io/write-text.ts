/** Writes a text to a file; whatever goes wrong is an InputError that names the file. */
import { writeFile } from 'node:fs/promises';
import { InputError } from '../input-error.ts';

/** @throws InputError when the file cannot be written */
export async function writeText(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw new InputError({ file: path, expected: 'a file that can be written', got: code });
  }
}
