/** The whole of a stage 2, read once: what an IPA becomes, and which pieces an IPA range falls into. */
import { Access } from '../oracle/decode/descriptor.ts';
import type { StageTables } from '../walk/tables.ts';
import type { TableReader } from './contexts.ts';
import type { Entry } from './types.ts';
import { type Visitor, visitTables } from './visit.ts';

/** A leaf of stage 2, or the part of one that a range needs. */
export interface Stage2Piece {
  readonly ipa: number;
  readonly pa: number;
  readonly size: number;
  readonly access: number;
  readonly entry: Entry;
}

export class Stage2Map {
  /** In ascending order of IPA. */
  private readonly pieces: Stage2Piece[] = [];
  private last = 0;

  /** Reads all of it; tables and gaps are reported to `visitor`. */
  constructor(tables: StageTables, read: Parameters<typeof visitTables>[1], visitor: Pick<Visitor, 'table' | 'gap'>) {
    visitTables(tables, read, {
      table: (address, bytes, level) => visitor.table(address, bytes, level),
      gap: (text) => visitor.gap(text),
      leaf: (ipa, pa, size, access, address, value) => {
        this.pieces.push({ ipa, pa, size, access, entry: { address, value } });
      },
    });
  }

  /** Every leaf, in ascending order of IPA. */
  all(): readonly Stage2Piece[] {
    return this.pieces;
  }

  /** The leaf that holds `ipa`; null when there is none. */
  at(ipa: number): Stage2Piece | null {
    const guess = this.pieces[this.last];
    if (guess !== undefined && ipa >= guess.ipa && ipa < guess.ipa + guess.size) return guess;
    const index = this.firstEndingAfter(ipa);
    const found = this.pieces[index];
    if (found === undefined || found.ipa > ipa) return null;
    this.last = index;
    return found;
  }

  /** The parts of [ipa, ipa + size) that stage 2 maps. */
  *within(ipa: number, size: number): Generator<Stage2Piece> {
    for (let i = this.firstEndingAfter(ipa); i < this.pieces.length; i++) {
      const piece = this.pieces[i]!;
      if (piece.ipa >= ipa + size) return;
      const from = Math.max(ipa, piece.ipa);
      const to = Math.min(ipa + size, piece.ipa + piece.size);
      yield { ...piece, ipa: from, pa: piece.pa + (from - piece.ipa), size: to - from };
    }
  }

  /** A reader of memory at IPAs, as the walks of stage 1 read it. */
  reader(read: (pa: number) => { readonly hi: number; readonly lo: number } | null): TableReader {
    return (ipa) => {
      const piece = this.at(ipa);
      if (piece === null || (piece.access & Access.read) === 0) return null;
      const pa = piece.pa + (ipa - piece.ipa);
      const word = read(pa);
      return word === null ? null : { pa, word };
    };
  }

  private firstEndingAfter(ipa: number): number {
    let low = 0;
    let high = this.pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const piece = this.pieces[middle]!;
      if (piece.ipa + piece.size <= ipa) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
