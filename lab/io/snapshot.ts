/** Opens whatever holds a frozen machine: a fixture, a captured folder, an ELF core file, or a raw image of RAM. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { parseRegisterFile } from '../fixture/parse.ts';
import { InputError } from '../input-error.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import { frozenSource, type WalkSource, walkSource } from '../walk/source.ts';
import { readCapture } from './capture-format.ts';
import { elfPieces, isElf } from './elf-core.ts';
import { readFixture } from './fixture.ts';
import { FileMemory, type Piece } from './image.ts';
import { readText } from './read-text.ts';

const RAW_IMAGE = /^(.+)@(0x[0-9a-f]+|\d+)$/i;

/** A frozen machine with its memory at hand. Close it when done. */
export interface Snapshot {
  readonly source: WalkSource;
  readonly registers: ReadonlyMap<string, Word64>;
  /** Address of the SMMU's registers; null when the input does not say. */
  readonly smmuBase: number | null;
  /** What streams are called. */
  readonly names: ReadonlyMap<number, string>;
  close(): void;
}

/** Is `path` memory that is not read whole: a captured folder, an ELF core file, or an image of RAM (`FILE@BASE`)? */
export function holdsMemory(path: string): boolean {
  const exists = statSync(path, { throwIfNoEntry: false });
  if (exists === undefined) return RAW_IMAGE.test(path);
  return exists.isDirectory() || (exists.isFile() && isElf(firstBytes(path)));
}

/**
 * Opens `path`: a folder, a fixture, an ELF core file, or `FILE@BASE` for an image of RAM at a physical address.
 * `registersPath` is a file of registers; memory without one needs it. @throws InputError
 */
export async function openSnapshot(path: string, registersPath: string | undefined): Promise<Snapshot> {
  const given = registersPath === undefined ? null : parseRegisterFile(await readText(registersPath), registersPath);
  const raw = RAW_IMAGE.exec(path);
  const exists = statSync(path, { throwIfNoEntry: false });
  if (exists === undefined && raw !== null) return ofMemory([rawPiece(raw[1]!, Number(raw[2]))], given, path, null);
  if (exists?.isDirectory() === true) {
    const capture = readCapture(path);
    const registers = given ?? parseRegisterFile(await readText(capture.registersFile), capture.registersFile);
    return ofMemory(capture.pieces, registers, path, capture.smmuBase);
  }
  const start = exists === undefined ? new Uint8Array() : firstBytes(path);
  if (isElf(start)) return ofMemory(elfPieces(path), given, path, null);
  if (new TextDecoder('latin1').decode(start).startsWith('KDUMP')) {
    const expected = 'an ELF core file (dump-guest-memory without a format, or makedumpfile -E)';
    throw new InputError({ file: path, expected, got: 'a compressed dump (kdump)' });
  }
  const text = start[0] === 0x7b || (start[0] === 0x1f && start[1] === 0x8b);
  if (exists !== undefined && !text) {
    const expected = 'a fixture, a captured folder, an ELF core file, or an image with its address (FILE@BASE)';
    throw new InputError({ file: path, expected, got: 'something else' });
  }
  const fixture = await readFixture(path);
  const source = walkSource(fixture);
  const names = pciNames(fixture.pci);
  if (given === null) return { source, registers: fixture.registers, smmuBase: null, names, close() {} };
  return { source: frozenSource(source.memory, given), registers: given, smmuBase: null, names, close() {} };
}

function ofMemory(
  pieces: readonly Piece[],
  registers: ReadonlyMap<string, Word64> | null,
  path: string,
  smmuBase: number | null,
): Snapshot {
  if (registers === null) {
    const expected = 'the registers of the SMMU beside it (--regs FILE): where its tables are is in no memory';
    throw new InputError({ file: path, expected });
  }
  const memory = new FileMemory(pieces);
  return {
    source: frozenSource(memory, registers),
    registers,
    smmuBase,
    names: new Map(),
    close: () => memory.close(),
  };
}

function rawPiece(file: string, base: number): Piece {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw new InputError({ file, expected: 'a file', got: 'nothing of that name' });
  if (base % 4096 !== 0 || base >= 2 ** 52) {
    throw new InputError({ file, expected: 'a page address behind the @', got: `0x${base.toString(16)}` });
  }
  const start = firstBytes(file);
  if (start[0] === 0x1f && start[1] === 0x8b) {
    throw new InputError({ file, expected: 'an image that can be read in any order', got: 'a gzip file: unpack it' });
  }
  return { base, size: found.size - (found.size % 4096), file, offset: 0, fileSize: found.size };
}

function firstBytes(path: string): Uint8Array {
  const bytes = Buffer.alloc(8);
  const handle = openSync(path, 'r');
  try {
    return bytes.subarray(0, readSync(handle, bytes, 0, 8, 0));
  } finally {
    closeSync(handle);
  }
}

/** StreamIDs of a fixture's PCI devices: `0000:01:00.0 vendor=… driver=e1000e …` is stream 0x100. */
function pciNames(lines: readonly string[]): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of lines) {
    const place = /^0000:([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])\b/i.exec(line);
    if (place === null) continue;
    const [bus, device, part] = place.slice(1).map((digits) => Number.parseInt(digits, 16)) as [number, number, number];
    const driver = /\bdriver=(\S+)/.exec(line)?.[1];
    names.set((bus << 8) | (device << 3) | part, driver ?? place[0]);
  }
  return names;
}
