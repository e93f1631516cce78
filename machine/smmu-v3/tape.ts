/**
 * The adversary that owns the caches: at each point of a translation where something cached may take the place of
 * memory, it picks one of the options. It goes through all combinations: a run follows the picks made so far and takes
 * the first option beyond them; {@link Tape.next} moves the last pick on that has options left.
 *
 * A TLB entry is the result of a walk, whole or in part: it is used with the fields of the CD or STE that it was walked
 * with, and with the permissions of the tables above it as they were then.
 */

import { Regime } from '../table-walk.ts';
import type { Caches } from './caches.ts';
import { CD_SIZE } from './cd.ts';
import { EventClass } from './events.ts';
import { type Adversary, type TlbChoice, TlbUse } from './lookup.ts';
import { MOST_MIXES, mixes, mixOptions } from './mixes.ts';
import { NodeKind } from './node-store.ts';
import { Field, Kind } from './stale-set.ts';
import { isUpperHalf, withoutTopByte } from './translate.ts';
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

const CD_WORDS = CD_SIZE / 8;
/** Those that are interpreted: q0 to q3. */
const CD_WORDS_READ = 4;

export class Tape implements Adversary {
  /** What the picks of this run were, for people. */
  via: string[] = [];
  /** The stage-1 entry that was picked has another ASID: its leaf has to be global. */
  globalOnly = false;
  /** An entry was picked that no walk could have cached, or a CD whose content was tried before: the run says nothing. */
  refuted = false;
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
  private readonly led: readonly LedContext[];
  /** By content of a CD: the picks that first led to it. What follows from it does not depend on them. */
  private readonly firstPicks = new Map<string, string>();

  /**
   * @param ssid index of the CD: 0 for an access without a SubstreamID
   * @param led as {@link ledContexts} found
   */
  constructor(u: TranslationUnit, caches: Caches, sid: number, ssid: number, led: readonly LedContext[]) {
    this.u = u;
    this.caches = caches;
    this.sid = sid;
    this.ssid = ssid;
    this.led = led;
  }

  /** To be called before each run. */
  begin(): void {
    this.position = 0;
    this.lookups = 0;
    this.globalOnly = false;
    this.refuted = false;
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

  refute(): void {
    this.refuted = true;
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
    const { led } = this;
    const chosen = this.pick(1 + found.length + led.length) - 1;
    if (chosen < found.length) return found[chosen] ?? -1;
    const { at, ste } = led[chosen - found.length]!;
    this.via.push(`ste:${ste}`);
    return at;
  }

  context(at: number, fetched: boolean, words: Int32Array): void {
    const { stale } = this.caches;
    const readable = fetched || this.led.some((context) => context.at === at);
    const all = mixes(mixOptions(stale, Kind.cd, this.sid, at, readable, this.ssid));
    all[this.pick(all.length)]!.forEach((entry, word) => {
      if (entry < 0) return;
      words[2 * word] = stale.get(entry, Field.oldLo);
      words[2 * word + 1] = stale.get(entry, Field.oldHi);
      this.via.push(`cd:${entry}`);
    });
    const picks = this.picks.slice(0, this.position).join();
    const content = words.subarray(0, 2 * CD_WORDS_READ).join();
    const first = this.firstPicks.get(content);
    if (first === undefined) this.firstPicks.set(content, picks);
    else if (first !== picks) this.refuted = true;
  }

  // ---- TLB

  stage1(va: number, regime: Regime, choice: TlbChoice): void {
    const { cd } = this.u;
    const upper = isUpperHalf(va);
    const walks = upper ? cd.walks1 : cd.walks0;
    const own = walks ? this.caches.tables.find(regime, this.u.ste.vmid, cd.asid, upper) : 0;
    this.choose(this.candidates(1, va, cd.asid, own, regime.nested, false), regime, va, choice);
  }

  stage2(ipa: number, eventClass: EventClass, choice: TlbChoice): void {
    const { stage2 } = this.u.ste;
    const own = this.caches.tables.find(stage2, this.u.ste.vmid, 0, false);
    this.choose(this.candidates(2, ipa, 0, own, false, eventClass === EventClass.CD), stage2, ipa, choice);
  }

  /**
   * TLB entries that a look-up may hit.
   * @param own the root that is walked from without one
   * @param nested what is cached with a stage 2 counts too, in stage 1
   * @param plain what is cached within stage-1 entries does not count, in stage 2
   */
  private candidates(
    stage: 1 | 2,
    address: number,
    asid: number,
    own: number,
    nested: boolean,
    plain: boolean,
  ): Candidate[] {
    const { stale, tables } = this.caches;
    const { vmid } = this.u.ste;
    const page = Math.floor(address / 4096);
    const stripped = stage === 2 ? page : Math.floor(withoutTopByte(address, isUpperHalf(address)) / 4096);
    const found: Candidate[] = [];
    if (this.refuted) return found;
    for (let i = 0; i < stale.size; i++) {
      const kind = stale.kind(i);
      if ((kind !== Kind.leaf && kind !== Kind.table) || stale.stage(i) !== stage) continue;
      // What is cached with a stage 2 is not for a stream without.
      if ((plain && stale.combined(i)) || (stage === 1 && stale.nested(i) && !nested)) continue;
      const tag = stale.get(i, Field.tag);
      if (tag >>> 16 !== vmid) continue;
      const sameTag = stage === 2 || stale.global(i) || (tag & 0xffff) === asid;
      if (!sameTag && kind === Kind.leaf) continue;
      const looked = stale.ignoresTopByte(i) ? stripped : page;
      const k = Math.floor((looked - stale.page(i)) / stale.pagesPer(i));
      if (k < 0 || k >= stale.get(i, Field.count)) continue;
      found.push({ kind: kind === Kind.leaf ? 'leaf' : 'table', number: i, k, globalOnly: !sameTag });
    }
    for (let root = 1; root <= tables.top; root++) {
      if (root === own || tables.stage(root) !== stage || tables.tag(root) >>> 16 !== vmid) continue;
      if (stage === 1 && tables.nested(root) && !nested) continue;
      const sameTag = stage === 2 || (tables.tag(root) & 0xffff) === asid;
      found.push({ kind: 'root', number: root, k: 0, globalOnly: !sameTag });
    }
    return found;
  }

  private choose(candidates: readonly Candidate[], own: Regime, address: number, choice: TlbChoice): void {
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
      const looked = regime.ignoresTopByte ? withoutTopByte(address, isUpperHalf(address)) : address;
      choice.tlb = TlbUse.root;
      choice.tlbInput = looked - tables.start(number) * 4096;
      choice.tlbFinal = own.nested && !regime.nested;
      this.via.push(this.rootName(number));
      return;
    }
    stale.regime(number, regime);
    choice.tlbLimits = stale.limits(number);
    choice.tlbFinal = own.nested && !regime.nested;
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

  /** A root that is out of reach is named by its stale entry. */
  private rootName(root: number): string {
    const { stale, tables } = this.caches;
    for (let i = 0; i < stale.size; i++) {
      if (stale.kind(i) === Kind.tag && stale.get(i, Field.root) === root) return `tag:${i}`;
    }
    return `root:0x${tables.base(root).toString(16)}`;
  }
}

/** A CD of the access that may be cached because an STE of the stream that may itself be cached leads to it. */
export interface LedContext {
  readonly at: number;
  /** Number of a stale entry of such an STE. */
  readonly ste: number;
}

/** CDs are cached by StreamID and SubstreamID, whichever STE they were fetched through. */
export function ledContexts(caches: Caches, sid: number, ssid: number): LedContext[] {
  const { stale, store, contexts } = caches;
  let ste = -1;
  for (let i = 0; i < stale.size && ste < 0; i++) {
    if (stale.kind(i) === Kind.ste && stale.get(i, Field.addressLo) >>> 0 === sid) ste = i;
  }
  const found: LedContext[] = [];
  if (ste < 0) return found;
  for (let node = 1; node <= store.top; node++) {
    const kind = store.kind(node);
    let index = -1;
    if (kind === NodeKind.cd && store.base(node) === sid && ssid === 0) index = 0;
    else if (kind === NodeKind.contexts && contexts.streamOf(store.owner(node)) === sid)
      index = ssid - store.base(node);
    if (index >= 0 && index < store.wordCount(node) / CD_WORDS) {
      found.push({ at: store.address(node) + CD_SIZE * index, ste });
    }
  }
  return found;
}
