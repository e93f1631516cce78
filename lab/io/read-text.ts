/**
 * Reading text: a file, a gzip file (told by its first two bytes, not by its name), or standard input as `-`.
 * Whatever goes wrong is an InputError that names the file, and so exit code 2.
 */
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { InputError } from '../input-error.ts';

/** The path that means standard input. */
export const STANDARD_INPUT = '-';

/** The name of a path in messages. */
export function displayName(path: string): string {
  return path === STANDARD_INPUT ? 'standard input' : path;
}

/** The whole text of `path`. @throws InputError */
export async function readText(path: string, input: Readable = process.stdin): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of chunksOf(path, input)) text += decoder.decode(chunk, { stream: true });
  return text + decoder.decode();
}

/** All bytes of `path`, unpacked. @throws InputError */
export async function readBytes(path: string, input: Readable = process.stdin): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of chunksOf(path, input)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * Calls `line` with every line of `path`, numbered from 1, without its line break; the text is never held as a whole.
 * Returns the number of lines. What `line` throws ends the reading. @throws InputError
 */
export async function forEachLine(
  path: string,
  line: (text: string, number: number) => void,
  input: Readable = process.stdin,
): Promise<number> {
  const decoder = new TextDecoder();
  let rest = '';
  let count = 0;
  const feed = (text: string): void => {
    let start = 0;
    const block = rest + text;
    for (let end = block.indexOf('\n'); end >= 0; end = block.indexOf('\n', start)) {
      line(block.slice(start, block.charCodeAt(end - 1) === 13 && end > start ? end - 1 : end), ++count);
      start = end + 1;
    }
    rest = block.slice(start);
  };
  for await (const chunk of chunksOf(path, input)) feed(decoder.decode(chunk, { stream: true }));
  feed(decoder.decode());
  if (rest !== '') line(rest, ++count);
  return count;
}

/** The bytes of a path, unpacked. */
async function* chunksOf(path: string, input: Readable): AsyncGenerator<Uint8Array> {
  const file = displayName(path);
  const raw = path === STANDARD_INPUT ? input : createReadStream(path, { highWaterMark: 1 << 18 });
  try {
    const { first, whole } = await peek(raw);
    const packed = first.length >= 2 && first[0] === 0x1f && first[1] === 0x8b;
    // The callback is there for the type: an error reaches the loop below as well.
    const stream = packed ? pipeline(whole, createGunzip({ chunkSize: 1 << 18 }), () => {}) : whole;
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    throw explain(error, file);
  }
}

/** The first bytes of a stream, and an iterable that still has all of it. */
async function peek(stream: Readable): Promise<{ first: Uint8Array; whole: AsyncGenerator<Uint8Array> }> {
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array | string>;
  const held: Uint8Array[] = [];
  let size = 0;
  while (size < 2) {
    const next = await iterator.next();
    if (next.done === true) break;
    const chunk = typeof next.value === 'string' ? new TextEncoder().encode(next.value) : next.value;
    held.push(chunk);
    size += chunk.length;
  }
  const first = Buffer.concat(held);
  async function* whole(): AsyncGenerator<Uint8Array> {
    try {
      if (first.length > 0) yield first;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) {
        yield typeof next.value === 'string' ? new TextEncoder().encode(next.value) : next.value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { first, whole: whole() };
}

function explain(error: unknown, file: string): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return new InputError({ file, expected: 'a file', got: 'nothing of that name' });
  if (code === 'EISDIR') return new InputError({ file, expected: 'a file', got: 'a directory' });
  if (code === 'EACCES' || code === 'EPERM') return new InputError({ file, expected: 'a readable file', got: code });
  if (code === 'Z_BUF_ERROR')
    return new InputError({ file, expected: 'a complete gzip file', got: 'one that is cut off' });
  if (code?.startsWith('Z_') === true)
    return new InputError({ file, expected: 'a sound gzip file', got: error.message });
  if (code !== undefined && /^E[A-Z]+$/.test(code))
    return new InputError({ file, expected: 'a readable file', got: code });
  return error;
}
