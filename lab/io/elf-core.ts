/**
 * Where physical memory lies in an ELF core file: its PT_LOAD segments, by physical address. Such files come from
 * QEMU's `dump-guest-memory` and from a crashed kernel (`/proc/vmcore`). 64-bit little-endian files only.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { InputError } from '../input-error.ts';
import type { Piece } from './image.ts';

const HEADER = 64;
const PROGRAM_HEADER = 56;
const ET_CORE = 4;
const PT_LOAD = 1;
/** A count that is too large for its field: the real one is in section header 0. */
const PN_XNUM = 0xffff;

/** Is this the start of an ELF file? */
export function isElf(start: Uint8Array): boolean {
  return start[0] === 0x7f && start[1] === 0x45 && start[2] === 0x4c && start[3] === 0x46;
}

/** The pieces of memory that the core file holds. @throws InputError */
export function elfPieces(file: string): Piece[] {
  const handle = openSync(file, 'r');
  try {
    const header = bytesAt(handle, 0, HEADER, file, 'an ELF header');
    if (header[4] !== 2 || header[5] !== 1) {
      throw new InputError({ file, expected: 'a 64-bit little-endian ELF file', got: 'another kind' });
    }
    if (header.readUInt16LE(16) !== ET_CORE) {
      throw new InputError({ file, expected: 'an ELF core file', got: `e_type ${header.readUInt16LE(16)}` });
    }
    const table = number64(header, 32, file, 'e_phoff');
    const entry = header.readUInt16LE(54);
    if (entry < PROGRAM_HEADER)
      throw new InputError({ file, field: 'e_phentsize', expected: '56', got: String(entry) });
    let count = header.readUInt16LE(56);
    if (count === PN_XNUM) {
      const sections = number64(header, 40, file, 'e_shoff');
      count = bytesAt(handle, sections, 64, file, 'section header 0').readUInt32LE(44);
    }
    const pieces: Piece[] = [];
    for (let i = 0; i < count; i++) {
      const segment = bytesAt(handle, table + i * entry, PROGRAM_HEADER, file, `program header ${i}`);
      if (segment.readUInt32LE(0) !== PT_LOAD) continue;
      const field = (at: number, name: string): number => number64(segment, at, file, `program header ${i}: ${name}`);
      const size = field(40, 'p_memsz');
      if (size === 0) continue;
      const base = field(24, 'p_paddr');
      if (base % 4096 !== 0) {
        const field = `program header ${i}: p_paddr`;
        throw new InputError({ file, field, expected: 'a multiple of 4096', got: `0x${base.toString(16)}` });
      }
      pieces.push({ base, size, file, offset: field(8, 'p_offset'), fileSize: Math.min(size, field(32, 'p_filesz')) });
    }
    if (pieces.length === 0) throw new InputError({ file, expected: 'segments of memory (PT_LOAD)', got: 'none' });
    return pieces;
  } finally {
    closeSync(handle);
  }
}

function bytesAt(handle: number, at: number, length: number, file: string, what: string): Buffer {
  const bytes = Buffer.alloc(length);
  if (readSync(handle, bytes, 0, length, at) < length) {
    throw new InputError({ file, expected: what, got: 'the end of the file' });
  }
  return bytes;
}

function number64(bytes: Buffer, at: number, file: string, field: string): number {
  const value = bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
  if (value >= 2 ** 52)
    throw new InputError({ file, field, expected: 'a number below 2^52', got: `0x${value.toString(16)}` });
  return value;
}
