/** The folder that `postern capture` writes and `postern audit` reads: `capture.json`, registers, and images of RAM. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InputError, quoted } from '../input-error.ts';
import type { Piece } from './image.ts';

export const CAPTURE_FORMAT = 'postern-capture/1';
export const MANIFEST = 'capture.json';
export const REGISTERS = 'registers.json';

/** `capture.json`. Addresses are hexadecimal strings, sizes bytes. */
export interface CaptureManifest {
  readonly format: typeof CAPTURE_FORMAT;
  /** Who made it possible: QEMU's version. */
  readonly qemu: string;
  readonly smmu: string;
  readonly registers: typeof REGISTERS;
  readonly ram: readonly { readonly base: string; readonly size: number; readonly file: string }[];
}

/** What a capture says of itself. */
export interface Capture {
  readonly smmuBase: number;
  readonly registersFile: string;
  readonly pieces: readonly Piece[];
}

/** Reads `capture.json` of a folder. @throws InputError */
export function readCapture(folder: string): Capture {
  const file = join(folder, MANIFEST);
  let manifest: Partial<CaptureManifest>;
  try {
    manifest = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new InputError({
        file: folder,
        expected: `a folder that postern capture wrote`,
        got: `no ${MANIFEST} in it`,
      });
    }
    throw new InputError({ file, expected: 'JSON', got: (error as Error).message });
  }
  if (manifest?.format !== CAPTURE_FORMAT) {
    throw new InputError({
      file,
      field: 'format',
      expected: `"${CAPTURE_FORMAT}"`,
      got: quoted(String(manifest?.format)),
    });
  }
  if (!Array.isArray(manifest.ram) || manifest.ram.length === 0) {
    throw new InputError({ file, field: 'ram', expected: 'a list of images' });
  }
  const pieces = manifest.ram.map(({ base, size, file: image }, i): Piece => {
    const path = join(folder, String(image));
    const have = statSync(path, { throwIfNoEntry: false })?.size;
    if (have === undefined) throw new InputError({ file: path, expected: 'a file', got: 'nothing of that name' });
    if (have !== size) throw new InputError({ file: path, expected: `${size} bytes`, got: String(have) });
    return { base: address(base, file, `ram[${i}].base`), size, file: path, offset: 0, fileSize: size };
  });
  return { smmuBase: address(manifest.smmu, file, 'smmu'), registersFile: join(folder, REGISTERS), pieces };
}

function address(text: unknown, file: string, field: string): number {
  const value = typeof text === 'string' && /^0x[0-9a-f]+$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value < 2 ** 52) || value % 4096 !== 0) {
    throw new InputError({ file, field, expected: 'a page address such as "0x40000000"', got: quoted(String(text)) });
  }
  return value;
}
