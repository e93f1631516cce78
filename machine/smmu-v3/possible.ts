/**
 * Everything that hardware could do with a transaction now. First what the tables say; then what follows from each
 * combination of things that may still be cached: an earlier stream table or level-1 descriptor, words of an STE or CD
 * as they were (hardware reads those words in any order, so old and new may mix), and one TLB entry: a leaf, a table
 * pointer that leads to the present content of its table, or another table that is live under the same tag.
 */

import { classify, Descriptor, Regime } from '../table-walk.ts';
import type { Caches } from './caches.ts';
import { hasContextTable } from './context-fetch.ts';
import { eventRecord } from './events.ts';
import { CachedChoice, TlbUse } from './lookup.ts';
import { mixes, mixOptions } from './mixes.ts';
import { CR0_SMMUEN, Register } from './registers.ts';
import { Field, Kind } from './stale-set.ts';
import { STE_SIZE } from './ste.ts';
import { locateSte, StreamTable } from './stream-table.ts';
import { MOST_RUNS, Tape } from './tape.ts';
import { currentStreamTable, translate } from './translate.ts';
import type { Outcome } from './types.ts';
import type { TranslationUnit } from './unit.ts';

const NOT_GLOBAL = 1 << 11;

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
  private readonly regime = new Regime();

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
    if (caches.stale.size === 0 && caches.tables.top <= 1) return this.outcomes;
    for (const candidate of this.steCandidates()) {
      this.choice.steAt = candidate.at;
      const words = mixOptions(caches.stale, Kind.ste, sid, candidate.at, candidate.reachable);
      for (const mix of mixes(words)) {
        this.use(mix, 'ste');
        const via = joined(candidate.via, viaOf('ste', mix));
        this.choice.cdMask = 0;
        this.attempt(this.choice, via);
        if (hasContextTable(u.ste)) {
          this.throughTape(via);
          continue;
        }
        const { cdAt } = u;
        if (cdAt < 0) {
          this.throughTlb(via);
          continue;
        }
        for (const cdMix of mixes(mixOptions(caches.stale, Kind.cd, sid, cdAt, true))) {
          this.use(cdMix, 'cd');
          const cdVia = joined(via, viaOf('cd', cdMix));
          this.attempt(this.choice, cdVia);
          this.throughTlb(cdVia);
        }
      }
    }
    return this.outcomes;
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

  private use(mix: readonly number[], which: 'ste' | 'cd'): void {
    const { stale } = this.caches;
    const words = which === 'ste' ? this.choice.steWords : this.choice.cdWords;
    let mask = 0;
    mix.forEach((entry, word) => {
      if (entry < 0) return;
      mask |= 1 << word;
      words[2 * word] = stale.get(entry, Field.oldLo);
      words[2 * word + 1] = stale.get(entry, Field.oldHi);
    });
    if (which === 'ste') this.choice.steMask = mask;
    else this.choice.cdMask = mask;
  }

  /** Everything that caches can make of an access of a stream with substreams or nesting, under its STE. */
  private throughTape(via: string): void {
    const { choice } = this;
    const tape = new Tape(this.u, this.caches, this.sid, Math.max(0, this.ssid));
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

  /** Outcomes that a TLB entry gives under the configuration that {@link choice} holds and that was just tried. */
  private throughTlb(via: string): void {
    const { u, caches, choice, regime } = this;
    const { stale, tables } = caches;
    if (u.stage === 0 || u.regime === null) return;
    const { stage } = u;
    const asid = stage === 1 ? u.cd.asid : 0;
    const { vmid } = u.ste;
    const page = Math.floor(this.iova / 4096);
    const outputBits = u.regime.outputBits;
    const { ignoreAccessFlag, flatPermissions, setsAccessFlag, setsDirty, base: ownBase } = u.regime;
    for (let i = 0; i < stale.size; i++) {
      const kind = stale.kind(i);
      if ((kind !== Kind.leaf && kind !== Kind.table) || stale.stage(i) !== stage) continue;
      // What belongs to a nested stream's look-ups is no TLB entry of any other stream's.
      if (stale.combined(i) || stale.nested(i)) continue;
      const tag = stale.get(i, Field.tag);
      if (tag >>> 16 !== vmid) continue;
      // Another ASID's leaf counts if it is global, and so do the global leaves below another ASID's table.
      const sameTag = stage === 2 || stale.global(i) || (tag & 0xffff) === asid;
      if (!sameTag && kind === Kind.leaf) continue;
      const pages = stale.pagesPer(i);
      const k = Math.floor((page - stale.page(i)) / pages);
      if (k < 0 || k >= stale.get(i, Field.count)) continue;
      regime.stage = stage;
      regime.granule = stale.granule(i);
      regime.outputBits = outputBits;
      regime.ignoreAccessFlag = ignoreAccessFlag;
      regime.flatPermissions = flatPermissions;
      regime.setsAccessFlag = setsAccessFlag;
      regime.setsDirty = setsDirty;
      regime.wide = stale.wide(i);
      regime.nested = false;
      choice.tlbRegime = regime;
      if (kind === Kind.leaf) {
        stale.leafWord(i, k, Math.log2(pages) + 12);
        choice.tlb = TlbUse.leaf;
        choice.tlbLevel = stale.level(i);
        choice.tlbHi = stale.leafHi;
        choice.tlbLo = stale.leafLo;
      } else {
        choice.tlb = TlbUse.table;
        choice.tlbLevel = stale.level(i) + 1;
        choice.tlbHi = stale.get(i, Field.oldHi);
        choice.tlbLo = stale.get(i, Field.oldLo);
      }
      this.attempt(choice, joined(via, `${kind === Kind.leaf ? 'leaf' : 'table'}:${i}`), !sameTag);
    }
    for (let root = 1; root <= tables.top; root++) {
      if (tables.stage(root) !== stage || tables.tag(root) >>> 16 !== vmid || tables.nested(root)) continue;
      const sameTag = stage === 2 || (tables.tag(root) & 0xffff) === asid;
      if (sameTag && via === '' && tables.base(root) === ownBase) continue;
      tables.regime(root, regime);
      choice.tlbRegime = regime;
      choice.tlb = TlbUse.root;
      choice.tlbStart = tables.start(root) * 4096;
      this.attempt(choice, joined(via, this.rootName(root)), !sameTag);
    }
    choice.tlb = TlbUse.none;
  }

  /** A root that is out of reach is named by its stale entry. */
  private rootName(root: number): string {
    const { stale, tables } = this.caches;
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) === Kind.tag && stale.get(i, Field.root) === root) return `tag:${i}`;
    }
    return `root:0x${tables.base(root).toString(16)}`;
  }

  /** Tries one choice and keeps its outcome if it is new. */
  private attempt(choice: CachedChoice | null, via: string, only: boolean | Tape = false): void {
    const { u } = this;
    translate(u, this.sid, this.iova, this.write, choice, this.ssid);
    const globalOnly = typeof only === 'boolean' ? only : only.globalOnly;
    if (globalOnly && (!isLeaf(u) || (u.walk.lo & NOT_GLOBAL) !== 0)) return;
    const ok = u.pa >= 0;
    const { type, recorded, stalls, ignored } = u.fault;
    const key = ok ? `${u.pa}` : `fault ${type} ${recorded} ${stalls} ${ignored}`;
    if (this.seen.has(key)) return;
    this.seen.add(key);
    const how = typeof only === 'boolean' ? via : joined(via, ...only.via);
    const event = ok || type === 0 ? null : eventRecord(u.fault);
    const outcome = { ok, pa: u.pa, event, via: how };
    if (event !== null && stalls) this.outcomes.push({ ...outcome, stalls: true });
    else this.outcomes.push(event !== null && ignored ? { ...outcome, ignored: true } : outcome);
  }
}

function isLeaf(u: TranslationUnit): boolean {
  const { walk, regime } = u;
  return regime !== null && classify(regime.granule, walk.level, walk.lo, regime.wide) === Descriptor.leaf;
}

function viaOf(which: 'ste' | 'cd', mix: readonly number[]): string {
  return mix
    .filter((entry) => entry >= 0)
    .map((entry) => `${which}:${entry}`)
    .join(' ');
}

function joined(...terms: string[]): string {
  return terms.filter((term) => term !== '').join(' ');
}
