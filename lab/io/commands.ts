/** Loads the memory of an SMMUv3 command queue, plain or gzip: 16-byte commands, little endian. */
import { wordsOf } from '../fixture/base64.ts';
import { InputError } from '../input-error.ts';
import { COMMAND_BYTES } from '../oracle/decode/command.ts';
import { displayName, readBytes } from './read-text.ts';

/** The commands as int32 words. @throws InputError */
export async function readCommands(path: string): Promise<Int32Array> {
  const bytes = await readBytes(path);
  if (bytes.length % COMMAND_BYTES !== 0) {
    const expected = `whole commands of ${COMMAND_BYTES} bytes`;
    throw new InputError({ file: displayName(path), expected, got: `${bytes.length} bytes` });
  }
  return wordsOf(bytes);
}
