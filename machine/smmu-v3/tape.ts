/**
 * The adversary of streams with substreams or nesting: at each point of a translation where something cached may take
 * the place of memory, it picks one of the options. It goes through all combinations: a run follows the picks made so
 * far and takes the first option beyond them; {@link Tape.next} moves the last pick on that has options left.
 */

import { Regime } from '../table-walk.ts';
import type { Caches } from './caches.ts';
import { CD_SIZE } from './cd.ts';
import { EventClass } from './events.ts';
import { type Adversary, type TlbChoice, TlbUse } from './lookup.ts';
import { MOST_MIXES, mixes, mixOptions } from './mixes.ts';
import { Field, Kind } from './stale-set.ts';
import type { TranslationUnit } from './unit.ts';

/** A TLB entry that fits a look-up: leaf `k` of a stale run, a stale table pointer, or another live root. */
interface Candidate {
  readonly kind: 'leaf' | 'table' | 'root';
  /** Number of the stale entry or of the root. */
  readonly number: number;
  readonly k: number;
  /** Only what is global counts: the entry has another ASID. */
  readonly globalOnly: boolean;
}

/** Combinations of one access that are tried; there are more only after many changes without an invalidation. */
export const MOST_RUNS = 16 * MOST_MIXES;

export class Tape implements Adversary {
  /** What the picks of this run were, for people. */
  via: string[] = [];
  /** The stage-1 entry that was picked has another ASID: its leaf has to be global. */
  globalOnly = false;
  private readonly u: TranslationUnit;
  private readonly caches: Caches;
  private readonly sid: number;
  private readonly ssid: number;
  private picks: number[] = [];
  private counts: number[] = [];
  private position = 0;
  /** A regime for each look-up of a run: it must last as long as the run. */
  private readonly regimes: Regime[] = [];
  private lookups = 0;

  /** @param ssid index of the CD: 0 for an access without a SubstreamID */
  constructor(u: TranslationUnit, caches: Caches, sid: number, ssid: number) {
    this.u = u;
    this.caches = caches;
    this.sid = sid;
    this.ssid = ssid;
  }

  /** To be called before each run. */
  begin(): void {
    this.position = 0;
    this.lookups = 0;
    this.globalOnly = false;
    this.via = [];
  }

  /** Moves on to the next combination; false when there is none. */
  next(): boolean {
    const { picks, counts } = this;
    picks.length = counts.length = this.position;
    while (picks.length > 0) {
      const last = picks.length - 1;
      picks[last]!++;
      if (picks[last]! < counts[last]!) return true;
      picks.pop();
      counts.pop();
    }
    return false;
  }

  private pick(options: number): number {
    const at = this.position++;
    this.counts[at] = options;
    if (at >= this.picks.length) this.picks[at] = 0;
    return this.picks[at]!;
  }

  // ---- configuration

  contextTable(words: Int32Array): boolean {
    const { stale } = this.caches;
    const found: number[] = [];
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.l1cd || stale.get(i, Field.addressLo) >>> 0 !== this.sid) continue;
      const first = stale.get(i, Field.addressHi);
      if (this.ssid >= first && this.ssid < first + stale.get(i, Field.tag)) found.push(i);
    }
    const chosen = found[this.pick(found.length + 1) - 1];
    if (chosen === undefined) return false;
    words[0] = stale.get(chosen, Field.oldLo);
    words[1] = stale.get(chosen, Field.oldHi);
    this.via.push(`l1cd:${chosen}`);
    return true;
  }

  contextPlace(): number {
    const { stale } = this.caches;
    const found: number[] = [];
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) !== Kind.cd || stale.get(i, Field.addressLo) >>> 0 !== this.sid) continue;
      const at = stale.at(i) - (stale.at(i) % CD_SIZE);
      if (stale.get(i, Field.addressHi) === this.ssid && !found.includes(at)) found.push(at);
    }
    return found[this.pick(found.length + 1) - 1] ?? -1;
  }

  context(at: number, fetched: boolean, words: Int32Array): void {
    const { stale } = this.caches;
    const all = mixes(mixOptions(stale, Kind.cd, this.sid, at, fetched, this.ssid));
    all[this.pick(all.length)]!.forEach((entry, word) => {
      if (entry < 0) return;
      words[2 * word] = stale.get(entry, Field.oldLo);
      words[2 * word + 1] = stale.get(entry, Field.oldHi);
      this.via.push(`cd:${entry}`);
    });
  }

  // ---- TLB

  stage1(va: number, regime: Regime, choice: TlbChoice): void {
    this.choose(this.candidates(1, va, this.u.cd.asid, regime, false), regime, choice);
  }

  stage2(ipa: number, eventClass: EventClass, choice: TlbChoice): void {
    const { stage2 } = this.u.ste;
    this.choose(this.candidates(2, ipa, 0, stage2, eventClass === EventClass.CD), stage2, choice);
  }

  private candidates(stage: 1 | 2, address: number, asid: number, own: Regime, plain: boolean): Candidate[] {
    const { stale, tables } = this.caches;
    const { vmid } = this.u.ste;
    const page = Math.floor(address / 4096);
    const found: Candidate[] = [];
    for (let i = 0; i < stale.size; i++) {
      const kind = stale.kind(i);
      if ((kind !== Kind.leaf && kind !== Kind.table) || stale.stage(i) !== stage) continue;
      // What is cached with a stage 2 is not for a stream without.
      if ((plain && stale.combined(i)) || (stage === 1 && stale.nested(i) && !own.nested)) continue;
      const tag = stale.get(i, Field.tag);
      if (tag >>> 16 !== vmid) continue;
      const sameTag = stage === 2 || stale.global(i) || (tag & 0xffff) === asid;
      if (!sameTag && kind === Kind.leaf) continue;
      const k = Math.floor((page - stale.page(i)) / stale.pagesPer(i));
      if (k < 0 || k >= stale.get(i, Field.count)) continue;
      found.push({ kind: kind === Kind.leaf ? 'leaf' : 'table', number: i, k, globalOnly: !sameTag });
    }
    for (let root = 1; root <= tables.top; root++) {
      if (tables.stage(root) !== stage || tables.tag(root) >>> 16 !== vmid) continue;
      if (stage === 1 && tables.nested(root) && !own.nested) continue;
      const sameTag = stage === 2 || (tables.tag(root) & 0xffff) === asid;
      if (sameTag && tables.base(root) === own.base && tables.nested(root) === own.nested) continue;
      found.push({ kind: 'root', number: root, k: 0, globalOnly: !sameTag });
    }
    return found;
  }

  private choose(candidates: readonly Candidate[], own: Regime, choice: TlbChoice): void {
    const { stale, tables } = this.caches;
    choice.tlb = TlbUse.none;
    choice.tlbFinal = false;
    const chosen = candidates[this.pick(candidates.length + 1) - 1];
    if (chosen === undefined) return;
    const { kind, number, k } = chosen;
    if (chosen.globalOnly) this.globalOnly = true;
    this.regimes[this.lookups] ??= new Regime();
    const regime = this.regimes[this.lookups++]!;
    choice.tlbRegime = regime;
    if (kind === 'root') {
      tables.regime(number, regime);
      choice.tlb = TlbUse.root;
      choice.tlbStart = tables.start(number) * 4096;
      choice.tlbFinal = own.nested && !tables.nested(number);
      this.via.push(`root:0x${tables.base(number).toString(16)}`);
      return;
    }
    regime.stage = own.stage;
    regime.outputBits = own.outputBits;
    regime.ignoreAccessFlag = own.ignoreAccessFlag;
    regime.flatPermissions = own.flatPermissions;
    regime.setsAccessFlag = own.setsAccessFlag;
    regime.setsDirty = own.setsDirty;
    regime.granule = stale.granule(number);
    regime.wide = stale.wide(number);
    choice.tlbFinal = own.nested && !stale.nested(number);
    if (kind === 'leaf') {
      stale.leafWord(number, k, Math.log2(stale.pagesPer(number)) + 12);
      choice.tlb = TlbUse.leaf;
      choice.tlbLevel = stale.level(number);
      choice.tlbHi = stale.leafHi;
      choice.tlbLo = stale.leafLo;
    } else {
      choice.tlb = TlbUse.table;
      choice.tlbLevel = stale.level(number) + 1;
      choice.tlbHi = stale.get(number, Field.oldHi);
      choice.tlbLo = stale.get(number, Field.oldLo);
    }
    this.via.push(`${kind}:${number}`);
  }
}
