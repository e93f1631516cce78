/**
 * The set of possible outcomes against hardware that really caches. The hardware here is written for this test alone:
 * it fetches entries at whim, keeps them, walks from whatever it holds, and forgets only what a command covers, at the
 * SYNC after it. Whatever it then does with an access must be among what the model calls possible.
 */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { cdWord, Setup, stage2Word } from './bench-setup.ts';

const TARGETS = [0x40100000, 0x40140000, 0x40180000];
const SIDS = [1, 2];
/** Pages that are looked at: two entries at each of the levels 1, 2 and 3. */
const PAGES = [0, 1].flatMap((a) => [0, 1].flatMap((b) => [0, 1].map((c) => a * 2 ** 18 + b * 2 ** 9 + c)));
const MASK = 0xfffffffff000n;

interface TlbEntry {
  readonly kind: 'leaf' | 'table';
  readonly tag: number;
  readonly asid: number;
  readonly global: boolean;
  readonly level: number;
  readonly page: number;
  readonly word: bigint;
  covered: boolean;
}

interface ConfigEntry {
  readonly words: bigint[];
  covered: boolean;
}

/** What a configuration leads to. */
interface Context {
  readonly vmid: number;
  readonly asid: number;
  readonly top: number;
}

const span = (level: number): number => 2 ** (9 * (3 - level));

class CachingHardware {
  readonly s: Setup;
  readonly stage: 1 | 2;
  readonly tops: number[];
  readonly l2: number[];
  readonly l3: number[];
  readonly cds: number[] = [];
  private readonly stes = new Map<number, ConfigEntry[]>();
  private readonly contexts = new Map<number, ConfigEntry[]>();
  private tlb: TlbEntry[] = [];

  constructor(stage: 1 | 2) {
    this.stage = stage;
    this.s = new Setup();
    const pages = Array.from({ length: 8 }, () => this.s.page());
    [this.tops, this.l2, this.l3] = [pages.slice(0, 2), pages.slice(2, 4), pages.slice(4, 6)];
    this.cds.push(pages[6]!, pages[7]!);
    this.s.enable();
  }

  // ---- software

  act(what: number, a: number, b: number): void {
    const { s } = this;
    const leaf = BigInt(TARGETS[b % 3]!) | (this.stage === 2 ? 0x7fcn : a % 5 === 0 ? 0x740n : 0xf40n) | 3n;
    const index = (a >> 3) % 2;
    const which = (a >> 4) % 2;
    const actions = [
      () => s.put(this.l3[which]! + 8 * index, b % 4 === 0 ? 0n : leaf),
      () => s.put(this.l2[which]! + 8 * index, b % 3 === 0 ? 0n : BigInt(this.l3[b % 2]!) | 3n),
      () => s.put(this.tops[which]! + 8 * index, b % 3 === 0 ? 0n : BigInt(this.l2[b % 2]!) | 3n),
      () => this.writeSte(SIDS[which]!, index, b),
      () => this.writeCd(which, index, b),
      () => this.invalidatePage(1 + (b % 2), PAGES[a % 8]!, (a & 16) !== 0, (b & 2) !== 0),
      () => this.invalidateTag(1 + (b % 2), (a & 1) !== 0),
      () => this.invalidateConfig(a % 3),
      () => this.sync(),
      () => this.fetchConfig(SIDS[which]!, a),
    ];
    (actions[what] ?? (() => this.fill(SIDS[which]!, PAGES[b % 8]!, a)))();
  }

  private writeSte(sid: number, word: number, b: number): void {
    const at = this.s.steAt(sid);
    if (this.stage === 1) {
      this.s.put(at, b % 3 === 0 ? 1n : BigInt(this.cds[b % 2]!) | 0xbn);
    } else if (word === 0) {
      this.s.put(at, b % 2 === 0 ? 1n : 0xdn);
    } else if ((b & 4) === 0) {
      this.s.put(at + 16, stage2Word(1 + (b % 2), 25, 1));
    } else {
      this.s.put(at + 24, BigInt(this.tops[b % 2]!));
    }
  }

  private writeCd(which: number, word: number, b: number): void {
    if (word === 0) this.s.put(this.cds[which]!, b % 4 === 0 ? 0n : cdWord(1 + (b % 2)));
    else this.s.put(this.cds[which]! + 8, BigInt(this.tops[b % 2]!));
  }

  // ---- commands: what they cover is marked, and goes with the SYNC

  private invalidatePage(tag: number, page: number, leaf: boolean, range: boolean): void {
    const pages = range ? 2 : 1;
    const opcode = this.stage === 1 ? 0x12n | (BigInt(tag) << 48n) : 0x2an | (BigInt(tag) << 32n);
    const hint = range ? 1n << 10n : 0n;
    const num = range ? 1n << 12n : 0n;
    this.s.command(opcode | num, (BigInt(page) << 12n) | hint | (leaf ? 1n : 0n));
    for (const entry of this.tlb) {
      const size = span(entry.level);
      const hit = page < entry.page + size && entry.page < page + pages;
      const tagged = this.stage === 1 ? entry.global || entry.asid === tag : entry.tag === tag;
      if (hit && tagged && (entry.kind === 'leaf' || !leaf)) entry.covered = true;
    }
  }

  private invalidateTag(tag: number, all: boolean): void {
    if (all) this.s.command(0x30n);
    else if (this.stage === 1) this.s.tlbiAsid(0, tag);
    else this.s.tlbiVmall(tag);
    for (const entry of this.tlb) {
      if (all || (this.stage === 1 ? !entry.global && entry.asid === tag : entry.tag === tag)) entry.covered = true;
    }
  }

  private invalidateConfig(which: number): void {
    if (which === 2) this.s.cfgiAll();
    else this.s.cfgiSte(SIDS[which]!);
    for (const sid of which === 2 ? SIDS : [SIDS[which]!]) {
      for (const entry of [...(this.stes.get(sid) ?? []), ...(this.contexts.get(sid) ?? [])]) entry.covered = true;
    }
  }

  private sync(): void {
    this.s.sync();
    const stays = (entry: { covered: boolean }): boolean => !entry.covered;
    this.tlb = this.tlb.filter(stays);
    for (const map of [this.stes, this.contexts]) for (const [sid, list] of map) map.set(sid, list.filter(stays));
  }

  // ---- caching

  private read(at: number): bigint[] {
    return [0, 8, 16, 24].map((offset) => this.s.get(at + offset));
  }

  /** Fetches an STE or CD, its words perhaps at two different times: some from what was fetched before. */
  private fetchConfig(sid: number, choice: number): void {
    const mix = (map: Map<number, ConfigEntry[]>, now: bigint[]): void => {
      const list = map.get(sid) ?? [];
      const old = list.length > 0 ? list[choice % list.length] : undefined;
      const words = now.map((word, i) => (old !== undefined && (choice >> (i + 3)) & 1 ? old.words[i]! : word));
      list.push({ words, covered: old?.covered ?? false });
      map.set(sid, list);
    };
    if (this.stage === 2 || choice % 2 === 0) {
      mix(this.stes, this.read(this.s.steAt(sid)));
      return;
    }
    const stes = this.steChoices(sid);
    const [word] = stes[choice % stes.length]!;
    // A CD that was mixed with one of another address would be another matter.
    this.contexts.set(
      sid,
      (this.contexts.get(sid) ?? []).filter((entry) => entry.words[4] === word),
    );
    if ((word! & 15n) === 0xbn) mix(this.contexts, [...this.read(Number(word! & MASK)), word!]);
  }

  private steChoices(sid: number): bigint[][] {
    return [this.read(this.s.steAt(sid)), ...(this.stes.get(sid) ?? []).map((entry) => entry.words)];
  }

  /** Every context that the hardware could use for a stream now, from memory or from its caches. */
  private contextChoices(sid: number): Context[] {
    const found: Context[] = [];
    for (const ste of this.steChoices(sid)) {
      if (this.stage === 2) {
        const [config, , vtcr, top] = ste;
        if ((config! & 15n) === 0xdn && vtcr! >> 32n !== 0n && top !== 0n) {
          found.push({ vmid: Number(vtcr! & 0xffffn), asid: 0, top: Number(top! & MASK) });
        }
        continue;
      }
      if ((ste[0]! & 15n) !== 0xbn) continue;
      const cached = (this.contexts.get(sid) ?? []).filter((entry) => entry.words[4] === ste[0]);
      for (const cd of [this.read(Number(ste[0]! & MASK)), ...cached.map((entry) => entry.words)]) {
        if ((cd[0]! & (1n << 31n)) === 0n || cd[1] === 0n) continue;
        found.push({ vmid: 0, asid: Number(cd[0]! >> 48n), top: Number(cd[1]! & MASK) });
      }
    }
    return found;
  }

  private hits(context: Context, page: number): TlbEntry[] {
    return this.tlb.filter(
      (entry) =>
        entry.tag === context.vmid &&
        (entry.global || entry.asid === context.asid) &&
        page >= entry.page &&
        page < entry.page + span(entry.level),
    );
  }

  /** Walks from the table at `at` of `level`; tells each descriptor. Returns the leaf, if there is one. */
  private walk(at: number, from: number, page: number, each?: (level: number, word: bigint) => void): bigint | null {
    let table = at;
    for (let level = from; level <= 3; level++) {
      const word = this.s.get(table + 8 * (Math.floor(page / span(level)) % 512));
      if ((word & 3n) !== 3n) return null;
      each?.(level, word);
      if (level === 3) return word;
      table = Number(word & MASK);
    }
    return null;
  }

  /** Looks a page up as hardware may do at any time, and keeps what it finds. */
  private fill(sid: number, page: number, choice: number): void {
    const contexts = this.contextChoices(sid);
    if (contexts.length === 0) return;
    const context = contexts[choice % contexts.length]!;
    const tables = this.hits(context, page).filter((entry) => entry.kind === 'table');
    const start = (choice >> 3) % (tables.length + 1);
    const from = start === 0 ? null : tables[start - 1]!;
    const keep = (level: number, word: bigint): void => {
      const kind = level === 3 ? 'leaf' : 'table';
      const global = this.stage === 1 && kind === 'leaf' && (word & 0x800n) === 0n;
      const first = page - (page % span(level));
      this.tlb.push({ kind, tag: context.vmid, asid: context.asid, global, level, page: first, word, covered: false });
    };
    if (from === null) this.walk(context.top, 1, page, keep);
    else if (!from.covered) this.walk(Number(from.word & MASK), from.level + 1, page, keep);
  }

  /** Every physical page that an access may reach. */
  reachable(sid: number, page: number): Set<number> {
    const found = new Set<number>();
    const add = (word: bigint | null): void => {
      if (word !== null) found.add(Number(word & MASK));
    };
    for (const context of this.contextChoices(sid)) {
      add(this.walk(context.top, 1, page));
      for (const entry of this.hits(context, page)) {
        if (entry.kind === 'leaf') add(entry.word);
        else add(this.walk(Number(entry.word & MASK), entry.level + 1, page));
      }
    }
    return found;
  }
}

const step = fc.tuple(fc.nat(12), fc.nat(255), fc.nat(255));

test.each([2, 1] as const)('stage %i: what caching hardware does is always among the possible outcomes', (stage) => {
  let reached = 0;
  let cachedOnly = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 30, maxLength: 90, size: 'max' }), (steps) => {
      const hardware = new CachingHardware(stage);
      // Something to start from: both streams on, a path to page 0.
      for (const opening of [
        [2, 0, 4],
        [1, 0, 4],
        [0, 1, 1],
        [3, 8, 4],
        [3, 8, 0],
        [4, 8, 0],
        [4, 0, 1],
        [3, 0, 1],
      ]) {
        hardware.act(opening[0]!, opening[1]!, opening[2]!);
      }
      for (const [what, a, b] of steps) {
        hardware.act(what, a, b);
        for (const sid of SIDS) {
          for (const page of PAGES) {
            const reachable = hardware.reachable(sid, page);
            if (reachable.size === 0) continue;
            reached++;
            const possible = hardware.s.reaches(sid, page * 4096);
            for (const pa of reachable) {
              if (pa !== possible[0]) cachedOnly++;
              if (!possible.includes(pa)) expect.fail(`stream ${sid} page ${page} reaches 0x${pa.toString(16)}`);
            }
          }
        }
      }
    }),
    { numRuns: 120, seed: 1 },
  );
  // The property is not empty.
  expect(reached).toBeGreaterThan(1000);
  expect(cachedOnly).toBeGreaterThan(200);
});

test.each([2, 1] as const)('stage %i: after everything is invalidated in order, nothing is stale', (stage) => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), (steps) => {
      const hardware = new CachingHardware(stage);
      for (const [what, a, b] of steps) hardware.act(what, a, b);
      const { s } = hardware;
      s.cfgiAll();
      s.sync();
      s.command(0x30n);
      s.sync();
      expect(s.smmu.stale()).toEqual([]);
      expect(s.smmu.untracked).toBe(0);
    }),
    { numRuns: 60, seed: 2 },
  );
});
