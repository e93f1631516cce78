/** Writes a text to a file; whatever goes wrong is an InputError that names the file. */
import { rename, writeFile } from 'node:fs/promises';
import { InputError } from '../input-error.ts';

/** @throws InputError when the file cannot be written */
export async function writeText(path: string, text: string): Promise<void> {
  await naming(path, () => writeFile(path, text));
}

/**
 * The same in one step: whoever is stopped in the middle of it leaves the file as it was.
 * @throws InputError when the file, or one beside it, cannot be written
 */
export async function replaceText(path: string, text: string): Promise<void> {
  const beside = `${path}.new`;
  await naming(path, async () => {
    await writeFile(beside, text);
    await rename(beside, path);
  });
}

async function naming(path: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw new InputError({ file: path, expected: 'a file that can be written', got: code });
  }
}
