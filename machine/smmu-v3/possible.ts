/**
 * Everything that hardware could do with a transaction now. First what the tables say; then what follows from each
 * combination of things that may still be cached: an earlier stream table or level-1 descriptor, words of an STE or CD
 * as they were (hardware reads those words in any order, so old and new may mix), and one TLB entry: a leaf, a table
 * pointer that leads to the present content of its table, or another table that is live under the same tag.
 */

import { classify, Descriptor, WalkFault } from '../table-walk.ts';
import type { Caches } from './caches.ts';
import { eventRecord, type Fault } from './events.ts';
import { CachedChoice, readEntry, TlbUse } from './lookup.ts';
import { mixes, mixOptions } from './mixes.ts';
import { CR0_SMMUEN, Register } from './registers.ts';
import { Field, Kind } from './stale-set.ts';
import { STE_SIZE, SteKind } from './ste.ts';
import { locateSte, StreamTable } from './stream-table.ts';
import { type LedContext, ledContexts, MOST_RUNS, Tape } from './tape.ts';
import { currentStreamTable, translate } from './translate.ts';
import type { Outcome } from './types.ts';
import type { TranslationUnit } from './unit.ts';

const NOT_GLOBAL = 1 << 11;
/** 64-bit words of an STE that are interpreted. */
const STE_WORDS_READ = 4;

interface SteCandidate {
  readonly at: number;
  /** The look-up reaches it, so its present words count too. */
  readonly reachable: boolean;
  readonly via: string;
}

/** Enumerates the outcomes of one access. */
export function possibleOutcomes(
  u: TranslationUnit,
  caches: Caches,
  sid: number,
  iova: number,
  write: boolean,
  ssid: number,
): Outcome[] {
  return new Enumeration(u, caches, sid, iova, write, ssid).run();
}

class Enumeration {
  private readonly u: TranslationUnit;
  private readonly caches: Caches;
  private readonly sid: number;
  private readonly iova: number;
  private readonly write: boolean;
  private readonly ssid: number;
  private readonly outcomes: Outcome[] = [];
  private readonly seen = new Set<string>();
  private readonly choice = new CachedChoice();

  constructor(u: TranslationUnit, caches: Caches, sid: number, iova: number, write: boolean, ssid: number) {
    this.u = u;
    this.caches = caches;
    this.sid = sid;
    this.iova = iova;
    this.write = write;
    this.ssid = ssid;
  }

  run(): Outcome[] {
    const { u, caches, sid } = this;
    this.attempt(null, '');
    if ((u.registers.get(Register.CR0) & CR0_SMMUEN) === 0) return this.outcomes;
    if (this.alone()) return this.outcomes;
    const tried = new Set<string>();
    const led = ledContexts(caches, sid, Math.max(0, this.ssid));
    for (const candidate of this.steCandidates()) {
      this.choice.steAt = candidate.at;
      const words = mixOptions(caches.stale, Kind.ste, sid, candidate.at, candidate.reachable);
      for (const mix of mixes(words)) {
        this.use(mix);
        const content = this.contentOf(candidate.at);
        if (tried.has(content)) continue;
        tried.add(content);
        this.throughTape(joined(candidate.via, viaOf(mix)), led);
      }
    }
    return this.outcomes;
  }

  /** There is nothing to hit but what was just walked. */
  private alone(): boolean {
    const { stale, tables } = this.caches;
    if (stale.size !== 0 || tables.top > 1) return false;
    const { ste, regime, walk } = this.u;
    if (tables.top === 0) return true;
    // A table outside memory is no root: then the only one is another stream's.
    return walk.fetches > 0 && ste.kind !== SteKind.nested && regime !== null && regime.base === tables.base(1);
  }

  /** Every place where hardware may have the stream's STE from. */
  private steCandidates(): SteCandidate[] {
    const { u, caches, sid } = this;
    const { stale } = caches;
    const found: SteCandidate[] = [];
    const add = (at: number, reachable: boolean, via: string): void => {
      if (!found.some((other) => other.at === at)) found.push({ at, reachable, via });
    };
    const look = (table: StreamTable, via: string): void => {
      const { place } = u;
      locateSte(u.memory, table, sid, -1, 0, 0, place);
      const { l1 } = place;
      if (place.fault === 0) add(place.pa, true, via);
      else this.attemptLocation(table, -1, 0, 0, via);
      if (l1 < 0) return;
      for (let i = 0; i < stale.size; i++) {
        if (stale.kind(i) !== Kind.l1std || stale.at(i) !== l1) continue;
        const hi = stale.get(i, Field.oldHi);
        const lo = stale.get(i, Field.oldLo);
        locateSte(u.memory, table, sid, l1, hi, lo, place);
        const through = joined(via, `l1std:${i}`);
        if (place.fault === 0) add(place.pa, true, through);
        else this.attemptLocation(table, l1, hi, lo, through);
      }
    };
    currentStreamTable(u);
    look(u.table, '');
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.strtab) continue;
      const table = new StreamTable();
      caches.config.streamTable(stale.get(i, Field.root), table);
      look(table, `strtab:${i}`);
    }
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.ste || stale.get(i, Field.addressLo) >>> 0 !== sid) continue;
      const at = stale.at(i);
      add(at - (at % STE_SIZE), false, '');
    }
    return found;
  }

  /** An outcome of a look-up that finds no STE. */
  private attemptLocation(table: StreamTable, l1At: number, l1Hi: number, l1Lo: number, via: string): void {
    const choice = new CachedChoice();
    choice.streamTable = table;
    choice.l1At = l1At;
    choice.l1Hi = l1Hi;
    choice.l1Lo = l1Lo;
    this.attempt(choice, via);
  }

  private use(mix: readonly number[]): void {
    const { stale } = this.caches;
    const { steWords } = this.choice;
    this.choice.steMask = 0;
    mix.forEach((entry, word) => {
      if (entry < 0) return;
      this.choice.steMask |= 1 << word;
      steWords[2 * word] = stale.get(entry, Field.oldLo);
      steWords[2 * word + 1] = stale.get(entry, Field.oldHi);
    });
  }

  /** The words of the STE from `at` as {@link choice} has them. */
  private contentOf(at: number): string {
    const { words } = this.u.ste;
    readEntry(this.u.memory, at, words, this.choice.steMask, this.choice.steWords);
    this.u.ste.decoded = false;
    return words.subarray(0, 2 * STE_WORDS_READ).join();
  }

  /** Everything that caches can make of an access under the STE that {@link choice} holds. */
  private throughTape(via: string, led: readonly LedContext[]): void {
    const { choice } = this;
    const tape = new Tape(this.u, this.caches, this.sid, Math.max(0, this.ssid), led);
    choice.adversary = tape;
    let runs = 0;
    do {
      tape.begin();
      choice.tlb = TlbUse.none;
      this.attempt(choice, via, tape);
    } while (tape.next() && ++runs < MOST_RUNS);
    choice.adversary = null;
    choice.tlb = TlbUse.none;
    choice.tlbFinal = false;
  }

  /** Tries one choice and keeps its outcome if it is new and could be. */
  private attempt(choice: CachedChoice | null, via: string, tape: Tape | null = null): void {
    const { u } = this;
    translate(u, this.sid, this.iova, this.write, choice, this.ssid);
    if (tape !== null && (tape.refuted || (tape.globalOnly && !cachesGlobal(u)))) return;
    const ok = u.pa >= 0;
    const { type, stalls, ignored } = u.fault;
    const key = ok ? `${u.pa}` : faultKey(u.fault);
    if (this.seen.has(key)) return;
    this.seen.add(key);
    const how = tape === null ? via : joined(via, ...tape.via);
    const event = ok || type === 0 ? null : eventRecord(u.fault);
    const outcome = { ok, pa: u.pa, event, via: how };
    if (event !== null && stalls) this.outcomes.push({ ...outcome, stalls: true });
    else this.outcomes.push(event !== null && ignored ? { ...outcome, ignored: true } : outcome);
  }
}

/** Tells faults apart that leave different records, or end otherwise. */
function faultKey(fault: Fault): string {
  const { type, recorded, stalls, ignored, stage2, eventClass, tableRead, ipa, fetchAddress } = fault;
  const page = stage2 ? Math.floor(ipa / 4096) : 0;
  const record = `${type} ${stage2} ${eventClass} ${tableRead} ${page} ${fetchAddress}`;
  return `fault ${record} ${recorded} ${stalls} ${ignored}`;
}

/** Whether the stage-1 walk came to a global leaf that TLBs may hold: what faults but for its permission is not cached. */
function cachesGlobal({ walk, regime }: TranslationUnit): boolean {
  if (walk.fault !== WalkFault.none && walk.fault !== WalkFault.permission) return false;
  if (regime === null || (walk.lo & NOT_GLOBAL) !== 0) return false;
  return classify(regime.granule, walk.level, walk.lo, regime.wide) === Descriptor.leaf;
}

function viaOf(mix: readonly number[]): string {
  return mix
    .filter((entry) => entry >= 0)
    .map((entry) => `ste:${entry}`)
    .join(' ');
}

function joined(...terms: string[]): string {
  return terms.filter((term) => term !== '').join(' ');
}
