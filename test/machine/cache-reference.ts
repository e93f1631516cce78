/**
 * A reference for what an SMMU's caches may do with an access, by brute force: the set of everything that hardware may
 * hold at a moment. It grows by every walk that is possible then, from every configuration that may be read, through
 * every table pointer that may be cached, over all pages that the test looks at; an invalidation marks what it covers,
 * and the SYNC after it removes that. Entries are results of walks, with the fields of the CD or STE that they were
 * walked with. One stage of translation, one CD a stream, 4K granule from level 1, linear stream table.
 */

import type { Setup } from './bench-setup.ts';

const MASK = 0xfffffffff000n;
const WIDTHS = [32, 36, 40, 42, 44, 48, 52, 52];
const span = (level: number): number => 2 ** (9 * (3 - level));
const bits = (word: bigint, from: number, count = 1): number =>
  Number((word >> BigInt(from)) & ((1n << BigInt(count)) - 1n));

/** How a configuration translates: what walks take from it, and what decides per access. */
interface Context {
  readonly vmid: number;
  readonly asid: number;
  readonly walks: boolean;
  readonly records: boolean;
  readonly regime: Regime;
}

/** What a TLB entry keeps of the configuration. */
interface Regime {
  readonly top: number;
  readonly inputPages: number;
  readonly outputBits: number;
  readonly ignoresAccessFlag: boolean;
  readonly flat: boolean;
  readonly ignoresTopByte: boolean;
}

interface Entry {
  readonly kind: 'leaf' | 'table';
  readonly vmid: number;
  readonly asid: number;
  readonly global: boolean;
  readonly level: number;
  readonly page: number;
  /** Output page of a leaf, address of the table that a pointer names. */
  readonly target: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly limits: number;
  readonly regime: Regime;
  covered: boolean;
}

/** What a TLB invalidation names. Absent: any. */
export interface Scope {
  readonly vmid?: number;
  readonly asid?: number;
  /** Global entries are left alone. */
  readonly sparesGlobal?: boolean;
  readonly from?: number;
  readonly to?: number;
  readonly leafOnly?: boolean;
  readonly ttl?: number;
}

/** Old values of one 64-bit word that may still be read, and whether an invalidation covers them. */
type Past = Map<bigint, boolean>;

export class CacheReference {
  private readonly s: Setup;
  private readonly stage: 1 | 2;
  private readonly sids: readonly number[];
  private readonly pages: readonly number[];
  /** By StreamID and address of a word. */
  private readonly past = new Map<string, Past>();
  private tlb = new Map<string, Entry>();

  constructor(s: Setup, stage: 1 | 2, sids: readonly number[], pages: readonly number[]) {
    this.s = s;
    this.stage = stage;
    this.sids = sids;
    this.pages = pages;
    this.fill();
  }

  // ---- what software does

  /** Writes a word of an STE, CD or table. */
  write(at: number, value: bigint): void {
    for (const sid of this.sids) {
      const ste = this.s.steAt(sid);
      const read = [ste, ...this.contextsOf(sid)].some((from) => at >= from && at < from + 64);
      if (read && this.s.get(at) !== value) this.pastOf(sid, at).set(this.s.get(at), false);
    }
    this.s.put(at, value);
    this.fill();
  }

  /** CFGI_STE of a stream, or of the CDs alone. */
  forgetConfig(sid: number, stes: boolean): void {
    for (const [key, past] of this.past) {
      const [stream, at] = key.split(' ').map(Number) as [number, number];
      const isSte = at >= this.s.steAt(stream) && at < this.s.steAt(stream) + 64;
      if (stream === sid && (stes || !isSte)) for (const value of past.keys()) past.set(value, true);
    }
  }

  forgetTlb({ vmid, asid, sparesGlobal, from, to, leafOnly, ttl }: Scope): void {
    for (const entry of this.tlb.values()) {
      if (vmid !== undefined && entry.vmid !== vmid) continue;
      if (asid !== undefined && (entry.global ? sparesGlobal === true : entry.asid !== asid)) continue;
      if (from !== undefined && (entry.page + span(entry.level) <= from || entry.page >= to!)) continue;
      if (entry.kind === 'table' ? leafOnly || (ttl && entry.level >= ttl) : ttl && entry.level !== ttl) continue;
      entry.covered = true;
    }
    // What is still in use can be cached again at once.
    this.fill();
  }

  sync(): void {
    for (const [key, past] of this.past) {
      for (const [value, covered] of past) if (covered) past.delete(value);
      if (past.size === 0) this.past.delete(key);
    }
    for (const [key, entry] of this.tlb) if (entry.covered) this.tlb.delete(key);
    this.fill();
  }

  // ---- configuration

  private pastOf(sid: number, at: number): Past {
    const key = `${sid} ${at}`;
    let past = this.past.get(key);
    if (past === undefined) {
      past = new Map();
      this.past.set(key, past);
    }
    return past;
  }

  /** Every content that four words from `at` may be read with. */
  private contents(sid: number, at: number): bigint[][] {
    let all: bigint[][] = [[]];
    for (let word = at; word < at + 32; word += 8) {
      const values = new Set([this.s.get(word), ...(this.past.get(`${sid} ${word}`)?.keys() ?? [])]);
      all = all.flatMap((before) => [...values].map((value) => [...before, value]));
    }
    return all;
  }

  /** Addresses of the CDs that may be cached for a stream. */
  private contextsOf(sid: number): number[] {
    if (this.stage === 2) return [];
    const found = new Set<number>();
    for (const [word] of this.contents(sid, this.s.steAt(sid))) {
      if (bits(word!, 0) === 1 && bits(word!, 1, 3) === 5) found.add(Number(word! & 0xffffffffffffc0n));
    }
    return [...found];
  }

  /** Everything that a stream's configuration may be: contexts, and the ends of accesses that get to none. */
  private configurations(sid: number): { contexts: Context[]; ends: Set<string> } {
    const contexts = new Map<string, Context>();
    const ends = new Set<string>();
    const add = (context: Context | string): void => {
      if (typeof context === 'string') ends.add(context);
      else contexts.set(JSON.stringify(context), context);
    };
    const cds = this.contextsOf(sid).flatMap((at) => this.contents(sid, at));
    for (const ste of this.contents(sid, this.s.steAt(sid))) {
      const config = bits(ste[0]!, 1, 3);
      if (bits(ste[0]!, 0) === 0) add('C_BAD_STE');
      else if (config < 4) add('abort');
      else if (config === 6) add(stage2Context(ste));
      else for (const cd of cds) add(stage1Context(bits(ste[2]!, 0, 16), cd));
    }
    return { contexts: [...contexts.values()], ends };
  }

  // ---- walks

  /** Fills the caches with all that they could fetch now. */
  private fill(): void {
    const contexts = new Map<string, Context>();
    for (const sid of this.sids) {
      for (const context of this.configurations(sid).contexts) contexts.set(JSON.stringify(context), context);
    }
    let before = -1;
    while (before !== this.usable) {
      before = this.usable;
      for (const context of contexts.values()) {
        for (const page of this.pages) {
          if (context.walks) this.walk(context.regime, context, context.regime.top, 1, page, 0, false, true);
          for (const table of [...this.tlb.values()]) {
            if (table.kind !== 'table' || table.covered || !this.hits(table, context, page)) continue;
            this.walk(table.regime, context, table.target, table.level + 1, page, table.limits, false, true);
          }
        }
      }
    }
  }

  private get usable(): number {
    let count = 0;
    for (const entry of this.tlb.values()) if (!entry.covered) count++;
    return count;
  }

  private hits(entry: Entry, context: Context, page: number): boolean {
    if (entry.vmid !== context.vmid || !(entry.global || entry.asid === context.asid)) return false;
    return page >= entry.page && page < entry.page + span(entry.level);
  }

  /** Walks on from a table. @returns the output address of the page, or the name of a fault */
  private walk(
    regime: Regime,
    { vmid, asid }: Context,
    from: number,
    first: number,
    page: number,
    limitsBefore: number,
    write: boolean,
    keep: boolean,
  ): number | string {
    let table = from;
    let limits = limitsBefore;
    if (page < 0 || page >= regime.inputPages) return 'F_TRANSLATION';
    for (let level = first; ; level++) {
      const word = this.s.get(table + 8 * (Math.floor(page / span(level)) % 512));
      if (bits(word, 0) === 0 || (level === 3 && bits(word, 1) === 0)) return 'F_TRANSLATION';
      const at = { vmid, level, page: page - (page % span(level)), regime };
      if (bits(word, 1) === 1 && level < 3) {
        table = Number(word & MASK);
        if (table >= 2 ** regime.outputBits) return 'F_ADDR_SIZE';
        if (this.stage === 1 && !regime.flat) limits |= bits(word, 61, 2);
        if (keep)
          this.keep({ ...at, kind: 'table', asid, global: false, target: table, read: false, write: false, limits });
        continue;
      }
      const target = Number(word & MASK) / 4096;
      if (target * 4096 >= 2 ** regime.outputBits) return 'F_ADDR_SIZE';
      if (bits(word, 10) === 0 && !regime.ignoresAccessFlag) return 'F_ACCESS';
      const access = this.permissions(word, limits);
      const global = this.stage === 1 && bits(word, 11) === 0;
      if (keep) this.keep({ ...at, kind: 'leaf', asid, global, target, ...access, limits: 0 });
      if (!(write ? access.write : access.read)) return 'F_PERMISSION';
      return (target + (page % span(level))) * 4096;
    }
  }

  private permissions(word: bigint, limits: number): { read: boolean; write: boolean } {
    if (this.stage === 2) return { read: bits(word, 6) === 1, write: bits(word, 7) === 1 };
    const read = bits(word, 6) === 1 && (limits & 1) === 0;
    return { read, write: read && bits(word, 7) === 0 && (limits & 2) === 0 };
  }

  private keep(entry: Omit<Entry, 'covered'>): void {
    const key = JSON.stringify(entry);
    const known = this.tlb.get(key);
    if (known === undefined) this.tlb.set(key, { ...entry, covered: false });
    else known.covered = false;
  }

  /** Everything that may become of an access: physical addresses, and names of faults (`abort` when silent). */
  outcomes(sid: number, iova: number, write: boolean): Set<number | string> {
    const { contexts, ends } = this.configurations(sid);
    const found = new Set<number | string>(ends);
    for (const context of contexts) {
      const end = (outcome: number | string): void => {
        found.add(typeof outcome === 'string' && !context.records ? `${outcome} unrecorded` : outcome);
      };
      const stripped = iova % 2 ** 56;
      const page = (context.regime.ignoresTopByte ? stripped : iova) / 4096;
      if (!context.walks) end('F_TRANSLATION');
      else end(this.walk(context.regime, context, context.regime.top, 1, page, 0, write, false));
      for (const entry of this.tlb.values()) {
        const looked = entry.regime.ignoresTopByte ? stripped / 4096 : page;
        if (!this.hits(entry, context, looked)) continue;
        if (entry.kind === 'table') {
          end(this.walk(entry.regime, context, entry.target, entry.level + 1, looked, entry.limits, write, false));
        } else if (write ? entry.write : entry.read) end((entry.target + (looked - entry.page)) * 4096);
        else end('F_PERMISSION');
      }
    }
    return found;
  }
}

function stage2Context(ste: bigint[]): Context {
  const word = ste[2]!;
  const regime = {
    top: Number(ste[3]! & MASK),
    inputPages: 2 ** (64 - bits(word, 32, 6) - 12),
    outputBits: Math.min(WIDTHS[bits(word, 48, 3)]!, 48),
    ignoresAccessFlag: bits(word, 53) === 1,
    flat: false,
    ignoresTopByte: false,
  };
  return { vmid: bits(word, 0, 16), asid: 0, walks: true, records: bits(word, 58) === 1, regime };
}

function stage1Context(vmid: number, cd: bigint[]): Context | string {
  const [q0, q1] = [cd[0]!, cd[1]!];
  if (bits(q0, 31) === 0) return 'C_BAD_CD';
  const regime = {
    top: Number(q1 & MASK),
    inputPages: 2 ** (64 - bits(q0, 0, 6) - 12),
    outputBits: Math.min(WIDTHS[bits(q0, 32, 3)]!, 48),
    ignoresAccessFlag: bits(q0, 35) === 1,
    flat: bits(q1, 1) === 1,
    ignoresTopByte: bits(q0, 38) === 1,
  };
  return { vmid, asid: bits(q0, 48, 16), walks: bits(q0, 14) === 0, records: bits(q0, 45) === 1, regime };
}
