/**
 * As smmu-caches.property.test.ts, for nested translation: hardware, written for this test alone, that caches stage-2
 * leaves and tables, stage-1 leaves and tables as IPAs, and both combined as physical addresses. It forgets only what a
 * command covers, at the SYNC after it. Where it then takes an access must be among what the model calls possible.
 */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { mapPage, S1_RW, S2_RW } from './bench-setup.ts';
import { ASID, BASE, CD, L1, L2, L3, NestedSetup, OFFSET, SID, VMID } from './nested-setup.ts';

const MASK = 0xfffffffff000n;
/** IPA pages that stage 2 may move: stage-1 tables of two of each level, and data. */
const IPAS = [L1, L2, L3, BASE + 0x4000, BASE + 0x5000, BASE + 0x8000, BASE + 0x9000];
const TABLES = [L2, BASE + 0x4000];
const LEAF_TABLES = [L3, BASE + 0x5000];
const DATA = [BASE + 0x8000, BASE + 0x9000];
/** Pages looked at: two entries at each level. */
const PAGES = [0, 1].flatMap((a) => [0, 1].flatMap((b) => [0, 1].map((c) => a * 2 ** 18 + b * 2 ** 9 + c)));
const span = (level: number): number => 2 ** (9 * (3 - level));

interface Entry {
  /** Which cache: a stage-2 leaf or table; a stage-1 leaf or table whose target is an IPA, or physical. */
  readonly kind: 'leaf2' | 'table2' | 'leaf' | 'table';
  readonly physical: boolean;
  readonly global: boolean;
  readonly level: number;
  readonly page: number;
  readonly target: number;
  covered: boolean;
}

class NestedHardware {
  readonly n = new NestedSetup();
  private cache: Entry[] = [];
  private readonly otherTable: number;
  private readonly table2At: number;
  private readonly table2: number;

  constructor() {
    const { s, top } = this.n;
    const l2 = Number(s.get(top + 8 * Math.floor(BASE / 2 ** 30)) & MASK);
    this.table2At = l2 + 8 * (Math.floor(BASE / 2 ** 21) % 512);
    this.table2 = Number(s.get(this.table2At) & MASK);
    this.otherTable = s.page();
    for (const ipa of [CD, ...IPAS]) {
      s.put(this.otherTable + 8 * ((ipa - BASE) / 4096), BigInt(ipa + OFFSET) | BigInt(S2_RW) | 3n);
    }
    expect(mapPage(s, top, CD, s.get(this.n.stage2Of(CD))).l3).toBe(this.table2);
  }

  // ---- software

  act(what: number, a: number, b: number): void {
    const { s } = this.n;
    const index = a & 1;
    const which = (a >> 1) & 1;
    const home = (ipa: number): number => ipa + OFFSET;
    const leaf = BigInt(DATA[b % 2]!) | BigInt(b % 5 === 0 ? S1_RW & ~0x800 : S1_RW) | 3n;
    const actions = [
      () => s.put(home(LEAF_TABLES[which]!) + 8 * index, b % 4 === 0 ? 0n : leaf),
      () => s.put(home(TABLES[which]!) + 8 * index, b % 4 === 0 ? 0n : BigInt(LEAF_TABLES[b % 2]!) | 3n),
      () => s.put(home(L1) + 8 * index, b % 4 === 0 ? 0n : BigInt(TABLES[b % 2]!) | 3n),
      () => this.moveStage2(a, b),
      () => this.careless(a, b),
      () => this.replaceTable2(b),
      () => this.invalidateIpa(IPAS[a % IPAS.length]!, (b & 1) !== 0),
      () => this.invalidateVa(PAGES[a % 8]!, (b & 1) !== 0),
      () => this.invalidateAll(b % 4),
      () => this.sync(),
    ];
    (actions[what] ?? (() => this.fill(PAGES[b % 8]!, a)))();
  }

  private replaceTable2(b: number): void {
    this.n.s.put(this.table2At, BigInt(b % 3 === 0 ? this.otherTable : this.table2) | 3n);
  }

  /** What a hypervisor does that does not know of combined entries. */
  private careless(a: number, b: number): void {
    if ((b & 8) !== 0) this.replaceTable2(b);
    else this.moveStage2(a, b);
    this.invalidateIpa(IPAS[a % IPAS.length]!, false);
    this.sync();
  }

  private moveStage2(a: number, b: number): void {
    const ipa = IPAS[a % IPAS.length]!;
    const table = (a & 64) !== 0 ? this.otherTable : this.table2;
    const to = [ipa + OFFSET, IPAS[(a + 1) % IPAS.length]! + OFFSET, 0][b % 3]!;
    this.n.s.put(table + 8 * ((ipa - BASE) / 4096), to === 0 ? 0n : BigInt(to) | BigInt(S2_RW) | 3n);
  }

  private invalidateIpa(ipa: number, leaf: boolean): void {
    this.n.s.tlbiIpa(VMID, ipa, leaf);
    for (const entry of this.cache) {
      const hit = ipa / 4096 >= entry.page && ipa / 4096 < entry.page + span(entry.level);
      if (hit && (entry.kind === 'leaf2' || (entry.kind === 'table2' && !leaf))) entry.covered = true;
    }
  }

  private invalidateVa(page: number, leaf: boolean): void {
    this.n.nhVa(page * 4096, leaf);
    for (const entry of this.cache) {
      const hit = page >= entry.page && page < entry.page + span(entry.level);
      if (hit && (entry.kind === 'leaf' || (entry.kind === 'table' && !leaf))) entry.covered = true;
    }
  }

  private invalidateAll(which: number): void {
    const { n } = this;
    if (which === 0) n.nhAll();
    else if (which === 1) n.s.tlbiAsid(VMID, ASID);
    else if (which === 2) n.s.tlbiVmall(VMID);
    else n.s.command(0x30n);
    for (const entry of this.cache) {
      const stage1 = entry.kind === 'leaf' || entry.kind === 'table';
      if (which >= 2 || (stage1 && (which === 0 || !entry.global))) entry.covered = true;
    }
  }

  private sync(): void {
    this.n.s.sync();
    this.cache = this.cache.filter((entry) => !entry.covered);
  }

  // ---- look-ups: every way, or one way at random that is remembered

  private hits(kind: Entry['kind'], page: number, usable: boolean): Entry[] {
    return this.cache.filter(
      (entry) =>
        entry.kind === kind &&
        page >= entry.page &&
        page < entry.page + span(entry.level) &&
        !(usable && entry.covered),
    );
  }

  private keep(
    kind: Entry['kind'],
    level: number,
    page: number,
    target: number,
    physical = true,
    global = false,
  ): void {
    this.cache.push({ kind, physical, global, level, page: page - (page % span(level)), target, covered: false });
  }

  private descriptor(table: number, level: number, page: number): bigint {
    const word = this.n.s.get(table + 8 * (Math.floor(page / span(level)) % 512));
    return (word & 3n) === 3n ? word : 0n;
  }

  /** Physical pages of an IPA. With `pick`, one of them, and what was used is cached. */
  private second(ipa: number, pick: ((n: number) => number) | null): number[] {
    const page = Math.floor(ipa / 4096);
    const found: number[] = this.hits('leaf2', page, pick !== null).map((entry) => entry.target);
    const starts = [
      { table: this.n.top, level: 1 },
      ...this.hits('table2', page, pick !== null).map(({ target, level }) => ({ table: target, level: level + 1 })),
    ];
    const walk = ({ table, level }: { table: number; level: number }, cache: boolean): number => {
      for (let at = table, l = level; ; l++) {
        const word = this.descriptor(at, l, page);
        if (word === 0n) return -1;
        const target = Number(word & MASK);
        if (cache) this.keep(l === 3 ? 'leaf2' : 'table2', l, page, target);
        if (l === 3) return target;
        at = target;
      }
    };
    if (pick === null) {
      for (const start of starts) found.push(walk(start, false));
      return [...new Set(found.filter((pa) => pa >= 0))];
    }
    const choice = pick(found.length + starts.length);
    const pa = choice < found.length ? found[choice]! : walk(starts[choice - found.length]!, true);
    return pa < 0 ? [] : [pa];
  }

  /** Physical pages of a virtual one. */
  lookUp(page: number, pick: ((n: number) => number) | null): Set<number> {
    const found = new Set<number>();
    const output = (ipa: number, cached: boolean, global: boolean): void => {
      for (const pa of this.second(ipa, pick)) {
        found.add(pa);
        if (pick !== null) this.keep('leaf', 3, page, pa, true, global);
      }
      if (pick !== null && !cached) this.keep('leaf', 3, page, ipa, false, global);
    };
    const walk = (table: number, physical: boolean, level: number): void => {
      for (const at of physical ? [table] : this.second(table, pick)) {
        if (pick !== null && !physical && level > 1) this.keep('table', level - 1, page, at, true);
        const word = this.descriptor(at, level, page);
        if (word === 0n) continue;
        const ipa = Number(word & MASK);
        if (level === 3) {
          // A table pointer that is read as a page has no access flag.
          if ((word & 0x440n) === 0x440n) output(ipa, false, (word & 0x800n) === 0n);
        } else {
          if (pick !== null) this.keep('table', level, page, ipa, false);
          walk(ipa, false, level + 1);
        }
      }
    };
    const ways = [
      () => walk(L1, false, 1),
      ...this.hits('table', page, pick !== null).map((e) => () => walk(e.target, e.physical, e.level + 1)),
      ...this.hits('leaf', page, pick !== null).map((e) => () => {
        if (e.physical) found.add(e.target);
        else output(e.target, true, e.global);
      }),
    ];
    if (pick === null) for (const way of ways) way();
    else ways[pick(ways.length)]!();
    return found;
  }

  private fill(page: number, choice: number): void {
    let rest = choice;
    this.lookUp(page, (n) => {
      const picked = rest % n;
      rest = Math.floor(rest / 2) + 1;
      return picked;
    });
  }
}

const step = fc.tuple(fc.nat(14), fc.nat(127), fc.nat(255));

test('nested: what caching hardware does is always among the possible outcomes', () => {
  let reached = 0;
  let cachedOnly = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 25, maxLength: 60, size: 'max' }), (steps) => {
      const hardware = new NestedHardware();
      for (const opening of [
        [2, 0, 2],
        [1, 0, 2],
        [0, 0, 2],
      ]) {
        hardware.act(opening[0]!, opening[1]!, opening[2]!);
      }
      for (const [what, a, b] of steps) {
        hardware.act(what, a, b);
        for (const page of PAGES) {
          const reachable = hardware.lookUp(page, null);
          if (reachable.size === 0) continue;
          reached++;
          const possible = hardware.n.s.reaches(SID, page * 4096);
          for (const pa of reachable) {
            if (pa !== possible[0]) cachedOnly++;
            if (!possible.includes(pa)) expect.fail(`page ${page} reaches 0x${pa.toString(16)}`);
          }
        }
      }
    }),
    { numRuns: 40, seed: 3 },
  );
  expect(reached).toBeGreaterThan(500);
  expect(cachedOnly).toBeGreaterThan(200);
});

test('nested: after everything is invalidated in order, nothing is stale', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 50, size: 'max' }), (steps) => {
      const hardware = new NestedHardware();
      for (const [what, a, b] of steps) hardware.act(what, a, b);
      const { s } = hardware.n;
      s.command(0x30n);
      s.sync();
      s.cfgiAll();
      s.sync();
      s.command(0x30n);
      s.sync();
      expect(s.smmu.stale()).toEqual([]);
      expect(s.smmu.untracked).toBe(0);
    }),
    { numRuns: 30, seed: 4 },
  );
});
