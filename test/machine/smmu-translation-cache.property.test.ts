/**
 * The cache of whole translations under random histories of table writes, commands, SMMUEN and undo: what it answers is
 * always among what the model calls possible, and while nothing is stale it is what the tables say.
 */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { registers } from '#machine';
import { cdWord, S1_RW, S2_RW, stage2Word } from './bench-setup.ts';
import { ASID, BASE, CD, L1, L2, L3, NestedSetup, OFFSET, SID, VMID } from './nested-setup.ts';

/** Beside the nested stream {@link SID}: one that walks only stage 1, and one that walks only stage 2. */
const STAGE1 = 1;
const STAGE2 = 2;
const STREAMS = [STAGE1, STAGE2, SID];
const PLAIN_ASID = 7;
const PLAIN_VMID = 6;
const BLOCK = 2n ** 21n;
const READ_ONLY = 0x80n;
/** Pages of two last-level tables, so that a block can cover some; aliases of each other in the cache's sets too. */
const PAGES = [0, 1, 2, 0x200, 0x201, 0x40000];

class History {
  readonly n = new NestedSetup();
  readonly marks: number[] = [];
  readonly tables: { readonly top: number; readonly l2: number; readonly l3: readonly number[] }[];
  readonly cd: number;

  constructor() {
    const { s } = this.n;
    this.tables = [s.page(), s.pair()].map((top) => ({ top, l2: s.page(), l3: [s.page(), s.page()] }));
    for (const [i, { top, l2, l3 }] of this.tables.entries()) {
      for (const k of [0, 1]) {
        s.put(top + 8 * k, BigInt(l2) | 3n);
        s.put(l2 + 8 * k, BigInt(l3[k]!) | 3n);
        for (const m of [0, 1]) s.put(l3[k]! + 8 * m, this.leaf(i, m));
      }
    }
    this.cd = s.stage1(STAGE1, PLAIN_ASID, this.tables[0]!.top);
    s.stage2(STAGE2, PLAIN_VMID, this.tables[1]!.top, 25);
    // The guest's tables have their entries at index 0 and 1 too.
    this.n.guest(L1, 0, BigInt(L2) | 3n);
    for (const k of [0, 1]) {
      this.n.guest(L2, k, BigInt(L3) | 3n);
      this.n.guest(L3, k, BigInt(BASE + 0x8000) | BigInt(S1_RW) | 3n);
    }
    this.invalidateAll();
  }

  private leaf(stage: number, b: number): bigint {
    const bits =
      stage === 0 ? BigInt(S1_RW) | (b % 3 === 0 ? READ_ONLY : 0n) : BigInt(S2_RW) & ~(b % 3 === 0 ? 0x80n : 0n);
    // Some differ only in the upper half of the address.
    return BigInt(0x40200000 + 0x1000 * (b % 4)) | (BigInt((b >> 4) & 1) << 36n) | bits | 3n;
  }

  invalidateAll(): void {
    const { s } = this.n;
    s.cfgiAll();
    s.sync();
    s.command(0x30n);
    s.sync();
    s.cfgiAll();
    s.sync();
  }

  /** What software does: a write somewhere, a command, a mark, an undo. */
  act(what: number, a: number, b: number): void {
    const { n } = this;
    const { s } = n;
    const { memory } = s.machine;
    const stage = a & 1;
    const index = (a >> 1) & 1;
    const { top, l2, l3 } = this.tables[stage]!;
    const page = PAGES[b % PAGES.length]!;
    const entry = (table: number): bigint => (b % 4 === 0 ? 0n : BigInt(table) | 3n);
    const actions = [
      () => s.put(l3[(a >> 2) & 1]! + 8 * index, b % 5 === 0 ? 0n : this.leaf(stage, b)),
      () => s.put(l2 + 8 * index, b % 3 === 0 ? this.block(stage, b) : entry(l3[b & 1]!)),
      () => s.put(top + 8 * index, entry(l2)),
      () => n.guest(L3, index, b % 5 === 0 ? 0n : BigInt(BASE + 0x8000 + 0x1000 * (b & 1)) | BigInt(S1_RW) | 3n),
      () => n.guest(L2, index, entry(L3)),
      () => this.moveStage2(a, b),
      () => this.reconfigure(a, b),
      () => this.invalidatePage(stage, page, b),
      () => this.invalidateTag(b % 6),
      () => (b % 3 === 0 ? s.cfgiAll() : s.cfgiSte(STREAMS[b % STREAMS.length]!)),
      () => s.sync(),
      () => this.invalidateAll(),
      () => this.marks.push(memory.mark()),
      () => this.undo(),
      () => this.toggle(b),
      () => this.replace(stage, l2 + 8 * index, this.block(stage, b), 0x200 * index + (b & 1)),
      () => this.replace(stage, l3[index]! + 8 * (b & 1), this.leaf(stage, b), 0x200 * index + (b & 1)),
    ];
    actions[what]!();
  }

  private block(stage: number, b: number): bigint {
    return (this.leaf(stage, b) & ~(BLOCK - 0x1000n)) - 2n + BLOCK * BigInt(b & 2);
  }

  /** Changes a descriptor, and invalidates one address that it maps: enough for a leaf, of whatever size. */
  private replace(stage: number, at: number, word: bigint, page: number): void {
    const { s } = this.n;
    s.put(at, word);
    if (stage === 1) s.tlbiIpa(PLAIN_VMID, page * 4096, true);
    else s.command(0x12n | (BigInt(PLAIN_ASID) << 48n), BigInt(page * 4096) | 1n);
    s.sync();
  }

  private undo(): void {
    const mark = this.marks.pop();
    if (mark !== undefined) this.n.s.machine.memory.undo(mark);
  }

  /** Turns the SMMU on or off, or, more often, changes what happens to accesses while it is off. */
  private toggle(b: number): void {
    const { smmu } = this.n.s;
    if (b % 3 !== 0) {
      smmu.write32(registers.Register.GBPA, registers.GBPA_UPDATE | (b % 3 === 1 ? registers.GBPA_ABORT : 0));
      return;
    }
    const on = smmu.read32(registers.Register.CR0);
    smmu.write32(registers.Register.CR0, on ^ registers.CR0_SMMUEN);
  }

  private moveStage2(a: number, b: number): void {
    const ipa = [CD, L1, L2, L3, BASE + 0x8000, BASE + 0x9000][a % 6]!;
    const to = [ipa + OFFSET, BASE + 0xa000 + OFFSET, 0][b % 3]!;
    this.n.s.put(this.n.stage2Of(ipa), to === 0 ? 0n : BigInt(to) | BigInt(S2_RW) | 3n);
  }

  private reconfigure(a: number, b: number): void {
    const { s } = this.n;
    const tops = this.tables.map(({ top }) => BigInt(top));
    const writes = [
      () => s.put(s.steAt(STAGE1), b % 3 === 0 ? 1n : BigInt(this.cd) | 0xbn),
      () => s.put(s.steAt(STAGE2), [1n, 0x9n, 0xdn][b % 3]!),
      () => s.put(s.steAt(STAGE2) + 16, stage2Word(PLAIN_VMID + (b & 1), 25)),
      () => s.put(this.cd, b % 3 === 0 ? 0n : cdWord(PLAIN_ASID + (b & 1))),
      () => s.put(this.cd + 8, tops[b & 1]!),
      () => s.put(s.steAt(SID), b % 3 === 0 ? 1n : BigInt(CD) | 0xfn),
    ];
    writes[a % writes.length]!();
  }

  private invalidatePage(stage: number, page: number, b: number): void {
    const { n } = this;
    const iova = page * 4096;
    const leaf = (b & 8) !== 0;
    if (stage === 1) n.s.tlbiIpa((b & 1) !== 0 ? VMID : PLAIN_VMID, iova, leaf, (b & 2) !== 0 ? 1 : 0);
    else if ((b & 1) !== 0) n.nhVa(iova, leaf);
    else n.s.command(0x12n | (BigInt(PLAIN_ASID) << 48n), BigInt(iova) | (leaf ? 1n : 0n));
  }

  private invalidateTag(which: number): void {
    const { s } = this.n;
    const tags = [
      () => s.tlbiAsid(0, PLAIN_ASID),
      () => s.tlbiVmall(PLAIN_VMID),
      () => this.n.nhAll(),
      () => s.tlbiAsid(VMID, ASID),
      () => s.tlbiVmall(VMID),
      () => s.command(0x30n),
    ];
    tags[which]!();
  }
}

const step = fc.tuple(fc.nat(16), fc.nat(255), fc.nat(255), fc.nat(255));

test('what a cache of translations answers is possible, and without stale entries what the tables say', () => {
  let stale = 0;
  let settled = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }), (steps) => {
      const history = new History();
      const { smmu } = history.n.s;
      for (const [what, a, b, access] of steps) {
        history.act(what, a, b);
        for (let i = 0; i < 6; i++) {
          const sid = STREAMS[(access + i) % STREAMS.length]!;
          const iova = 4096 * PAGES[(access * 5 + i * 7) % PAGES.length]! + 8 * i;
          const write = ((access >> 3) + i) % 4 === 0;
          const { ok, pa, fault } = smmu.translateCached(sid, iova, write);
          const fresh = { ...smmu.translate(sid, iova, write) };
          if (fresh.ok !== ok || fresh.pa !== pa || fresh.fault !== fault) stale++;
          if (smmu.stale().length === 0) {
            settled++;
            expect({ ok, pa, fault }, `stream ${sid} at 0x${iova.toString(16)}`).toEqual(fresh);
          }
          const among = smmu
            .possible(sid, iova, write)
            .some((one) => one.ok === ok && one.pa === pa && (one.event?.type ?? 0) === fault);
          if (!among) expect.fail(`stream ${sid} at 0x${iova.toString(16)} reaches 0x${pa.toString(16)}`);
        }
      }
    }),
    { numRuns: 60, seed: 5 },
  );
  // The property is not empty.
  expect(stale).toBeGreaterThan(100);
  expect(settled).toBeGreaterThan(1000);
});
