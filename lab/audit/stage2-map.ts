/** The whole of a stage 2, read once: what an IPA becomes, and which pieces an IPA range falls into. */
import { Access } from '../oracle/decode/descriptor.ts';
import type { Word64 } from '../oracle/decode/fields.ts';
import type { StageTables } from '../walk/tables.ts';
import type { TableReader } from './contexts.ts';
import { entryAt, type Run, RunList } from './runs.ts';
import { type Visitor, visitTables } from './visit.ts';

/** What stage 2 makes of a part of an IPA range: leaves of one run, the first and the last perhaps not whole. */
export interface Stage2Piece {
  readonly ipa: number;
  readonly pa: number;
  readonly size: number;
  readonly access: number;
  /** Bytes of a leaf. */
  readonly unit: number;
  /** Address of the first leaf's descriptor, and the way from each to the next. */
  readonly entry: number;
  readonly entryStep: number;
}

export class Stage2Map {
  /** In ascending order of IPA; `iova` is an IPA, rights are bits of {@link Access}. */
  private readonly list = new RunList<number>();
  private last = 0;

  /** Reads all of it, up to `limit` runs; tables and gaps are reported to `visitor`. */
  constructor(
    tables: StageTables,
    read: (address: number) => Word64 | null,
    limit: number,
    visitor: Pick<Visitor, 'table' | 'gap'>,
  ) {
    visitTables(tables, read, {
      table: (address, bytes, level) => visitor.table(address, bytes, level),
      gap: (text) => visitor.gap(text),
      leaf: (ipa, pa, unit, access, entry) => {
        this.list.add(ipa, pa, unit, 1, access, entry, 0, null, 0);
        return this.list.runs.length < limit;
      },
    });
  }

  /** Every run, in ascending order of IPA. */
  *all(): Generator<Stage2Piece> {
    for (const run of this.list.runs) yield this.piece(run, run.iova, run.iova + run.unit * run.count);
  }

  /** The parts of [ipa, ipa + size) that stage 2 maps. */
  *within(ipa: number, size: number): Generator<Stage2Piece> {
    const { runs } = this.list;
    for (let i = this.firstEndingAfter(ipa); i < runs.length; i++) {
      const run = runs[i]!;
      if (run.iova >= ipa + size) return;
      yield this.piece(run, Math.max(ipa, run.iova), Math.min(ipa + size, run.iova + run.unit * run.count));
    }
  }

  /** A reader of memory at IPAs, as the walks of stage 1 read it. */
  reader(read: (pa: number) => Word64 | null): TableReader {
    return (ipa) => {
      const run = this.at(ipa);
      if (run === null || (run.rights & Access.read) === 0) return null;
      const pa = run.pa + (ipa - run.iova);
      const word = read(pa);
      return word === null ? null : { pa, word };
    };
  }

  private piece(run: Run<number>, from: number, to: number): Stage2Piece {
    const { unit, entryStep, rights: access } = run;
    const entry = entryAt(run, Math.floor((from - run.iova) / unit));
    return { ipa: from, pa: run.pa + (from - run.iova), size: to - from, access, unit, entry, entryStep };
  }

  /** The run that holds `ipa`; null when there is none. */
  private at(ipa: number): Run<number> | null {
    const guess = this.list.runs[this.last];
    if (guess !== undefined && ipa >= guess.iova && ipa < guess.iova + guess.unit * guess.count) return guess;
    const index = this.firstEndingAfter(ipa);
    const found = this.list.runs[index];
    if (found === undefined || found.iova > ipa) return null;
    this.last = index;
    return found;
  }

  private firstEndingAfter(ipa: number): number {
    const { runs } = this.list;
    let low = 0;
    let high = runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const run = runs[middle]!;
      if (run.iova + run.unit * run.count <= ipa) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
