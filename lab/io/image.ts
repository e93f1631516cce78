/**
 * Physical memory out of a file that is too large to be read whole: pieces of the address space at places of a file,
 * read page by page on demand, with the pages used last kept.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { InputError } from '../input-error.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import type { MemorySource } from '../walk/source.ts';

/** A piece of the address space: `fileSize` bytes lie in the file, what follows up to `size` is zero. */
export interface Piece {
  readonly base: number;
  readonly size: number;
  readonly file: string;
  readonly offset: number;
  readonly fileSize: number;
}

const PAGE = 4096;
/** 64 MiB. */
const KEPT_PAGES = 2 ** 14;

/** Memory backed by files. Close it when done. */
export class FileMemory implements MemorySource {
  private readonly pieces: readonly Piece[];
  private readonly handles = new Map<string, number>();
  private readonly pages = new Map<number, Int32Array | null>();
  /** How many pages were read, for tests of the cache. */
  pagesRead = 0;

  constructor(pieces: readonly Piece[]) {
    this.pieces = [...pieces].sort((a, b) => a.base - b.base);
  }

  read64(pa: number): Word64 | null {
    const offset = pa % PAGE;
    const page = this.page(pa - offset);
    return page === null ? null : { hi: page[offset / 4 + 1]!, lo: page[offset / 4]! };
  }

  close(): void {
    for (const handle of this.handles.values()) closeSync(handle);
    this.handles.clear();
  }

  private page(base: number): Int32Array | null {
    const known = this.pages.get(base);
    if (known !== undefined) return known;
    const page = this.load(base);
    // The first of a map is what came longest ago: enough where each table is read from end to end.
    if (this.pages.size >= KEPT_PAGES) this.pages.delete(this.pages.keys().next().value!);
    this.pages.set(base, page);
    return page;
  }

  private load(base: number): Int32Array | null {
    const piece = this.pieces.find((candidate) => base >= candidate.base && base < candidate.base + candidate.size);
    if (piece === undefined) return null;
    const bytes = Buffer.alloc(PAGE);
    const within = base - piece.base;
    const length = Math.min(PAGE, piece.fileSize - within);
    if (length > 0) {
      const read = readSync(this.handle(piece.file), bytes, 0, length, piece.offset + within);
      if (read < length) {
        throw new InputError({ file: piece.file, expected: 'a complete file', got: 'one that is cut off' });
      }
    }
    this.pagesRead++;
    return new Int32Array(bytes.buffer, bytes.byteOffset, PAGE / 4);
  }

  private handle(file: string): number {
    let handle = this.handles.get(file);
    if (handle === undefined) {
      handle = openSync(file, 'r');
      this.handles.set(file, handle);
    }
    return handle;
  }
}
