/** A folder that `postern capture` wrote, as what takes fixtures wants it: the pages of its tables, and its commands. */
import { statSync } from 'node:fs';
import { commandHistory, freeze } from '../audit/freeze.ts';
import type { Fixture } from '../fixture/fixture.ts';
import { parseRegisterFile } from '../fixture/parse.ts';
import { frozenSource } from '../walk/source.ts';
import { readCapture } from './capture-format.ts';
import { FileMemory } from './image.ts';
import { readText } from './read-text.ts';

/** A captured machine. */
export interface CapturedRun {
  readonly fixture: Fixture;
  /** The driver's commands since boot, and the name of where they were; null when memory no longer holds them all. */
  readonly commands: { readonly file: string; readonly words: Int32Array } | null;
}

/** Is this a folder? Of all that is read as a fixture, only captures are. */
export function isCaptureFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Reads a captured folder. @throws InputError */
export async function readCapturedRun(folder: string): Promise<CapturedRun> {
  const { pieces, registersFile } = readCapture(folder);
  const registers = parseRegisterFile(await readText(registersFile), registersFile);
  const memory = new FileMemory(pieces);
  try {
    const source = frozenSource(memory, registers);
    // A fixture has one range of RAM: the largest.
    const ram = pieces.reduce((most, piece) => (piece.size > most.size ? piece : most));
    const fixture = freeze({ file: folder, source, registers, ramBase: ram.base, ramSize: ram.size });
    const words = commandHistory({ source, registers });
    return { fixture, commands: words === null ? null : { file: `${folder}, command queue`, words } };
  } finally {
    memory.close();
  }
}
