/**
 * One small machine, broken in one place at a time. The events are those of the architecture; where QEMU 11.1.3 was
 * asked the same question over the same tables it gave the same answer.
 */
import { expect, test } from 'vitest';
import type { Word64 } from '#lab/oracle/decode/fields';
import { decodeCapabilities } from '#lab/oracle/decode/idr';
import { chainOf, checksOf } from '#lab/views/walk-chain';
import { walkView } from '#lab/views/walk-view';
import { renderWalk, walkDocument } from '#lab/walk/render';
import type { WalkSource } from '#lab/walk/source';
import { walkAccess } from '#lab/walk/walk';
import { expectSound } from './views-rig.ts';

const SID = 8;
const IOVA = 0x12345678;
const STE = 0x40001000 + 64 * SID;
const CD = 0x40002000;
/** Stage-1 tables by level: 39 bits of input, so level 1 is the first. */
const S1 = { 1: 0x41000000, 2: 0x41001000, 3: 0x41002000 };
const S1_AT = { 1: S1[1] + 8 * 0, 2: S1[2] + 8 * 0x91, 3: S1[3] + 8 * 0x145 };
/** Stage 2: 40 bits from level 1, so two tables are concatenated. */
const S2 = { 1: 0x42000000, 2: 0x42002000, 3: 0x42003000 };
const S2_AT = { 1: S2[1] + 8 * 1, 2: S2[2] + 8 * 0x40, 3: S2[3] };
/** What stage 1 makes of IOVA, page aligned; in the 2 MiB that stage 2 maps by pages. */
const IPA = 0x48000000;
const PA = 0x4a000000;

const S1_PAGE = 0xf47n;
const S2_PAGE = 0x7ffn;
const S2_BLOCK = 0x7fdn;

/** Memory that may be changed, and registers. */
class Machine {
  readonly words = new Map<number, bigint>();
  cr0 = 1;
  gbpa = 0;
  idr0 = 0x0d44101b;
  base = 0x40001000;
  cfg = 4;

  constructor(config: 5 | 6 | 7) {
    const stage2 = config !== 5;
    this.set(STE, BigInt(config << 1) | 1n | (config !== 6 ? BigInt(CD) : 0n));
    this.set(STE + 8, 0xd6n);
    if (stage2) {
      // S2R, S2PTW, AArch64, 44 bits out, 4K, SL0 1, T0SZ 24.
      this.set(STE + 16, (0x044c_3558n << 32n) | 7n);
      this.set(STE + 24, BigInt(S2[1]));
    }
    this.set(CD, (1n << 48n) | (0xe204n << 32n) | 0xc000_3519n);
    this.set(CD + 8, BigInt(S1[1]));
    this.set(CD + 24, 0xf404ff44n);
    this.set(S1_AT[1], BigInt(S1[2]) | 3n);
    this.set(S1_AT[2], BigInt(S1[3]) | 3n);
    this.set(S1_AT[3], BigInt(config === 5 ? PA : IPA) | S1_PAGE);
    this.set(S2_AT[1], BigInt(S2[2]) | 3n);
    // The tables and the CD themselves, identity mapped in blocks of 2 MiB.
    this.set(S2[2], 0x40000000n | S2_BLOCK);
    this.set(S2[2] + 8 * 8, 0x41000000n | S2_BLOCK);
    this.set(S2_AT[2], BigInt(S2[3]) | 3n);
    this.set(S2_AT[3], BigInt(PA) | S2_PAGE);
  }

  set(pa: number, value: bigint): this {
    this.words.set(pa, value);
    return this;
  }

  /** Replaces bits [hi:lo] of a word. */
  field(pa: number, hi: number, lo: number, value: number): this {
    const mask = ((1n << BigInt(hi - lo + 1)) - 1n) << BigInt(lo);
    return this.set(pa, ((this.words.get(pa) ?? 0n) & ~mask) | (BigInt(value) << BigInt(lo)));
  }

  source(): WalkSource {
    const split = (value: bigint): Word64 => ({
      hi: Number(BigInt.asIntN(32, value >> 32n)),
      lo: Number(BigInt.asIntN(32, value)),
    });
    const inRam = (pa: number): boolean => pa >= 0x40000000 && pa < 0x50000000;
    return {
      memory: { read64: (pa) => (inRam(pa) ? split(this.words.get(pa) ?? 0n) : null) },
      capabilities: decodeCapabilities(this.idr0, 0x02730010, 0x1414, 0x74),
      cr0: this.cr0,
      cr2: 6,
      gbpa: this.gbpa,
      strtabBase: split(BigInt(this.base)),
      strtabBaseCfg: this.cfg,
    };
  }
}

const stage1 = { stage: 1, class: 'IN' };
const stage2 = { stage: 2, class: 'IN', ipa: IPA };

type Break = (machine: Machine) => void;
interface Case {
  config: 5 | 6 | 7;
  change?: Break;
  iova?: number;
  write?: true;
  expected: Record<string, unknown>;
}

/** Hardware updates of access flag and dirty state, on the SMMU, in the CD and in the page. */
function hardwareDirty(machine: Machine): Machine {
  machine.idr0 |= 2 << 6;
  return machine.field(CD, 43, 42, 3).field(S1_AT[3], 51, 51, 1);
}

const cases: Record<string, Case> = {
  // ---- which stream
  'SMMUEN 0 bypasses': { config: 5, change: (m) => (m.cr0 = 0), expected: { kind: 'bypassed', pa: IOVA } },
  'SMMUEN 0 with GBPA.ABORT aborts': {
    config: 5,
    change: (m) => {
      m.cr0 = 0;
      m.gbpa = 0x100000;
    },
    expected: { kind: 'aborted' },
  },
  'a stream beyond the table': {
    config: 5,
    change: (m) => (m.cfg = 3),
    expected: { event: 'C_BAD_STREAMID', recorded: true },
  },
  'a stream table outside memory': {
    config: 5,
    change: (m) => (m.base = 0x80000000),
    expected: { event: 'F_STE_FETCH' },
  },
  'two levels with Span 0': {
    config: 5,
    change: (m) => (m.cfg = 0x10000 | (8 << 6) | 9),
    expected: { event: 'C_BAD_STREAMID' },
  },
  'STE.V 0': { config: 5, change: (m) => m.field(STE, 0, 0, 0), expected: { event: 'C_BAD_STE', recorded: true } },
  'STE.Config aborts': { config: 5, change: (m) => m.field(STE, 3, 1, 0), expected: { kind: 'aborted' } },
  'a reserved Config aborts too': { config: 5, change: (m) => m.field(STE, 3, 1, 2), expected: { kind: 'aborted' } },
  'STE.Config bypasses': {
    config: 5,
    change: (m) => m.field(STE, 3, 1, 4),
    expected: { kind: 'bypassed', pa: IOVA },
  },
  'a bypass beyond OAS': {
    config: 5,
    change: (m) => m.field(STE, 3, 1, 4),
    iova: 2 ** 44,
    expected: { event: 'F_ADDR_SIZE', ...stage1 },
  },
  'STE.S1STALLD without a stall model': {
    config: 5,
    change: (m) => m.field(STE + 8, 27, 27, 1),
    expected: { event: 'C_BAD_STE' },
  },
  'stage 2 on an SMMU without': { config: 6, change: (m) => (m.idr0 = 0x0d40101a), expected: { event: 'C_BAD_STE' } },

  // ---- the context descriptor
  'a CD outside memory': { config: 5, change: (m) => m.field(STE, 55, 6, 2 ** 32), expected: { event: 'F_CD_FETCH' } },
  'CD.V 0': { config: 5, change: (m) => m.field(CD, 31, 31, 0), expected: { event: 'C_BAD_CD' } },
  'CD.A 0 on an SMMU that only aborts': {
    config: 5,
    change: (m) => m.field(CD, 46, 46, 0),
    expected: { event: 'C_BAD_CD' },
  },
  'CD.S on an SMMU that only terminates': {
    config: 5,
    change: (m) => m.field(CD, 44, 44, 1),
    expected: { event: 'C_BAD_CD' },
  },
  'CD.AA64 0': { config: 5, change: (m) => m.field(CD, 41, 41, 0), expected: { event: 'C_BAD_CD' } },
  'CD.HA without hardware updates': {
    config: 5,
    change: (m) => m.field(CD, 43, 43, 1),
    expected: { event: 'C_BAD_CD' },
  },
  'CD.T0SZ 15': { config: 5, change: (m) => m.field(CD, 5, 0, 15), expected: { event: 'C_BAD_CD' } },
  'CD.T0SZ 40': { config: 5, change: (m) => m.field(CD, 5, 0, 40), expected: { event: 'C_BAD_CD' } },
  'CD.TG0 reserved': { config: 5, change: (m) => m.field(CD, 7, 6, 3), expected: { event: 'C_BAD_CD' } },
  'CD.TTB0 above IPS': { config: 5, change: (m) => m.set(CD + 8, 1n << 44n), expected: { event: 'C_BAD_CD' } },

  // ---- stage 1
  'a good read': { config: 5, expected: { kind: 'translated', pa: PA + 0x678, size: 4096 } },
  'a first table outside memory': {
    config: 5,
    change: (m) => m.set(CD + 8, 0x8000_0000n),
    expected: { event: 'F_WALK_EABT', stage: 1, class: 'TTD', level: 1 },
  },
  'a table outside memory': {
    config: 5,
    change: (m) => m.set(S1_AT[2], 0x8000_0003n),
    expected: { event: 'F_WALK_EABT', stage: 1, class: 'TTD', level: 3 },
  },
  'a table above IPS': {
    config: 5,
    change: (m) => m.set(S1_AT[2], (1n << 44n) | 3n),
    expected: { event: 'F_ADDR_SIZE', ...stage1, level: 2 },
  },
  'an invalid page': {
    config: 5,
    change: (m) => m.set(S1_AT[3], 0n),
    expected: { event: 'F_TRANSLATION', ...stage1, level: 3, recorded: true },
  },
  'an invalid page with CD.R 0': {
    config: 5,
    change: (m) => m.set(S1_AT[3], 0n).field(CD, 45, 45, 0),
    expected: { event: 'F_TRANSLATION', recorded: false },
  },
  'a reserved descriptor at level 3': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 1, 0, 1),
    expected: { event: 'F_TRANSLATION', ...stage1, level: 3 },
  },
  'an address with too many bits': {
    config: 5,
    iova: 2 ** 39,
    expected: { event: 'F_TRANSLATION', ...stage1, level: null },
  },
  'CD.EPD0': { config: 5, change: (m) => m.field(CD, 14, 14, 1), expected: { event: 'F_TRANSLATION', ...stage1 } },
  'an output above OAS': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 46, 46, 1),
    expected: { event: 'F_ADDR_SIZE', ...stage1, level: 3 },
  },
  'an output above CD.IPS': {
    config: 5,
    change: (m) => m.field(CD, 34, 32, 0).field(S1_AT[3], 33, 33, 1),
    expected: { event: 'F_ADDR_SIZE', ...stage1 },
  },
  'an access flag of 0': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 10, 10, 0),
    expected: { event: 'F_ACCESS', ...stage1 },
  },
  'an access flag of 0 with CD.AFFD': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 10, 10, 0).field(CD, 35, 35, 1),
    expected: { kind: 'translated' },
  },
  'the access flag goes before the permission': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 10, 10, 0).field(S1_AT[3], 7, 7, 1),
    write: true,
    expected: { event: 'F_ACCESS' },
  },
  'the output size goes before the access flag': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 10, 10, 0).field(S1_AT[3], 46, 46, 1),
    expected: { event: 'F_ADDR_SIZE' },
  },
  'a write to what is read only': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 7, 7, 1),
    write: true,
    expected: { event: 'F_PERMISSION', ...stage1, level: 3 },
  },
  'a read of what is read only': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 7, 7, 1),
    expected: { kind: 'translated', permissions: { read: true, write: false, execute: true } },
  },
  'an unprivileged read of privileged memory': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 6, 6, 0),
    expected: { event: 'F_PERMISSION', ...stage1 },
  },
  'the same with STE.PRIVCFG privileged': {
    config: 5,
    change: (m) => m.field(S1_AT[3], 6, 6, 0).field(STE + 8, 49, 48, 3),
    expected: { kind: 'translated' },
  },
  'a write below a table that makes everything read only': {
    config: 5,
    change: (m) => m.field(S1_AT[1], 62, 61, 2),
    write: true,
    expected: { event: 'F_PERMISSION', ...stage1 },
  },
  'the same with CD.HAD0': {
    config: 5,
    change: (m) => m.field(S1_AT[1], 62, 61, 2).field(CD + 8, 1, 1, 1),
    write: true,
    expected: { kind: 'translated' },
  },
  'a write to a clean page, where hardware keeps the dirty state': {
    config: 5,
    change: (m) => hardwareDirty(m).field(S1_AT[3], 7, 7, 1),
    write: true,
    expected: { kind: 'translated' },
  },
  'the same without DBM': {
    config: 5,
    change: (m) => hardwareDirty(m).field(S1_AT[3], 7, 7, 1).field(S1_AT[3], 51, 51, 0),
    write: true,
    expected: { event: 'F_PERMISSION', ...stage1 },
  },
  'a clean page gives nobody access who has none': {
    config: 5,
    change: (m) => hardwareDirty(m).field(S1_AT[3], 7, 6, 2),
    expected: { event: 'F_PERMISSION', ...stage1 },
  },
  'an access flag of 0, where hardware sets it': {
    config: 5,
    change: (m) => hardwareDirty(m).field(S1_AT[3], 10, 10, 0),
    expected: { kind: 'translated' },
  },
  'a block of 2 MiB': {
    config: 5,
    change: (m) => m.set(S1_AT[2], 0x48000000n | 0xf45n),
    expected: { kind: 'translated', pa: 0x48000000 + (IOVA % 0x200000), size: 0x200000 },
  },

  // ---- stage 2
  'a good read at stage 2': { config: 6, iova: IPA + 4, expected: { kind: 'translated', pa: PA + 4, size: 4096 } },
  'an unmapped IPA': {
    config: 6,
    iova: IPA + 0x1000,
    expected: { event: 'F_TRANSLATION', stage: 2, class: 'IN', ipa: IPA + 0x1000, level: 3, recorded: true },
  },
  'an unmapped IPA with S2R 0': {
    config: 6,
    change: (m) => m.field(STE + 16, 58, 58, 0),
    iova: IPA + 0x1000,
    expected: { event: 'F_TRANSLATION', recorded: false },
  },
  'a read of what is write only': {
    config: 6,
    change: (m) => m.field(S2_AT[3], 7, 6, 2),
    iova: IPA,
    expected: { event: 'F_PERMISSION', ...stage2 },
  },
  'a write to what is write only': {
    config: 6,
    change: (m) => m.field(S2_AT[3], 7, 6, 2),
    iova: IPA,
    write: true,
    expected: { kind: 'translated', permissions: { read: false, write: true, execute: true } },
  },
  'a write to what is read only at stage 2': {
    config: 6,
    change: (m) => m.field(S2_AT[3], 7, 6, 1),
    iova: IPA,
    write: true,
    expected: { event: 'F_PERMISSION', ...stage2 },
  },
  'an access flag of 0 at stage 2': {
    config: 6,
    change: (m) => m.field(S2_AT[3], 10, 10, 0),
    iova: IPA,
    expected: { event: 'F_ACCESS', ...stage2 },
  },
  'an access flag of 0 with S2AFFD': {
    config: 6,
    change: (m) => m.field(S2_AT[3], 10, 10, 0).field(STE + 16, 53, 53, 1),
    iova: IPA,
    expected: { kind: 'translated' },
  },
  'an IPA beyond S2T0SZ': { config: 6, iova: 2 ** 40, expected: { event: 'F_TRANSLATION', stage: 2, level: null } },
  'an input beyond IAS is a fault of stage 1': {
    config: 6,
    iova: 2 ** 44,
    expected: { event: 'F_ADDR_SIZE', ...stage1 },
  },
  'the second of two concatenated tables': {
    config: 6,
    change: (m) => m.set(S2[1] + 4096, 0x40000000n | S2_BLOCK),
    iova: 2 ** 39 + 0x123,
    expected: { kind: 'translated', pa: 0x40000123, size: 2 ** 30 },
  },
  'a stage-2 table outside memory': {
    config: 6,
    change: (m) => m.set(STE + 24, 0x8000_0000n),
    iova: IPA,
    expected: { event: 'F_WALK_EABT', stage: 2 },
  },
  'S2T0SZ 16 with 44 bits of OAS': {
    config: 6,
    change: (m) => m.field(STE + 16, 37, 32, 16).field(STE + 16, 39, 38, 2),
    expected: { event: 'C_BAD_STE' },
  },
  'S2SL0 that does not go with S2T0SZ': {
    config: 6,
    change: (m) => m.field(STE + 16, 37, 32, 20).field(STE + 16, 39, 38, 0),
    expected: { event: 'C_BAD_STE' },
  },
  'S2S on an SMMU that only terminates': {
    config: 6,
    change: (m) => m.field(STE + 16, 57, 57, 1),
    expected: { event: 'C_BAD_STE' },
  },
  'S2AA64 0': { config: 6, change: (m) => m.field(STE + 16, 51, 51, 0), expected: { event: 'C_BAD_STE' } },

  // ---- both
  'a good nested read': { config: 7, expected: { kind: 'translated', pa: PA + 0x678, size: 4096 } },
  'nested: stage 1 unmapped': {
    config: 7,
    change: (m) => m.set(S1_AT[3], 0n),
    expected: { event: 'F_TRANSLATION', ...stage1 },
  },
  'nested: a write to what stage 1 protects': {
    config: 7,
    change: (m) => m.field(S1_AT[3], 7, 7, 1),
    write: true,
    expected: { event: 'F_PERMISSION', ...stage1 },
  },
  'nested: the final IPA is unmapped': {
    config: 7,
    change: (m) => m.set(S2_AT[3], 0n),
    expected: { event: 'F_TRANSLATION', stage: 2, class: 'IN', ipa: IPA + 0x678 },
  },
  'nested: a write to what stage 2 protects': {
    config: 7,
    change: (m) => m.field(S2_AT[3], 7, 6, 1),
    write: true,
    expected: { event: 'F_PERMISSION', stage: 2, class: 'IN', ipa: IPA + 0x678 },
  },
  'nested: the first table is unmapped in stage 2': {
    config: 7,
    change: (m) => m.set(S2[2] + 8 * 8, 0n),
    expected: { event: 'F_TRANSLATION', stage: 2, class: 'TTD', ipa: S1_AT[1] },
  },
  'nested: tables that stage 2 makes write only': {
    config: 7,
    change: (m) => m.field(S2[2] + 8 * 8, 7, 6, 2),
    expected: { event: 'F_PERMISSION', stage: 2, class: 'TTD', ipa: S1_AT[1] },
  },
  'nested: tables that stage 2 makes read only': {
    config: 7,
    change: (m) => m.field(S2[2] + 8 * 8, 7, 6, 1),
    write: true,
    expected: { kind: 'translated' },
  },
  'nested: tables on Device memory, with S2PTW': {
    config: 7,
    change: (m) => m.field(S2[2] + 8 * 8, 5, 2, 1),
    expected: { event: 'F_PERMISSION', stage: 2, class: 'TTD' },
  },
  'nested: the CD is unmapped in stage 2': {
    config: 7,
    change: (m) => m.set(S2[2], 0n),
    expected: { event: 'F_TRANSLATION', stage: 2, class: 'CD', ipa: CD },
  },
  'nested: a block above a page gives a page': {
    config: 7,
    change: (m) => m.set(S1_AT[2], BigInt(IPA) | 0xf45n),
    iova: 0x12200004,
    expected: { kind: 'translated', pa: PA + 4, size: 4096 },
  },
};

test.each(Object.entries(cases))('%s', (_, { config, change, iova, write, expected }) => {
  const machine = new Machine(config);
  change?.(machine);
  const walk = walkAccess(machine.source(), SID, iova ?? IOVA, write);
  const { outcome } = walk;
  expect(outcome).toMatchObject('event' in expected ? { kind: 'fault', ...expected } : expected);
  const decided = checksOf(walk).filter(({ state }) => state === 'decided');
  expect(decided.map(({ event }) => event)).toEqual(outcome.kind === 'fault' ? [outcome.event] : []);
  expectSound(walkView(walk));
});

test('the drawing of a nested walk sets what stage 2 does for stage 1 apart', () => {
  const chain = chainOf(walkAccess(new Machine(7).source(), SID, IOVA));
  const inner = chain.map(({ inner: isInner, step }) => `${step.title}${isInner ? ' (inner)' : ''}`);
  expect(inner.slice(0, 5)).toEqual([
    'STE',
    'stage 2 level 1 (inner)',
    'stage 2 level 2 (inner)',
    'CD',
    'stage 2 level 1 (inner)',
  ]);
  expect(inner.slice(-4)).toEqual(['stage 1 level 3', 'stage 2 level 1', 'stage 2 level 2', 'stage 2 level 3']);
  expect(chain.at(-4)!.from).toBe('next + 8 × 325, IOVA bits 20:12; an IPA that stage 2 has translated');
  expect(chain.at(-1)!.from).toBe('next + 8 × 0, IPA bits 20:12');
});

test('a nested walk tells every word of both stages', () => {
  const { steps } = walkAccess(new Machine(7).source(), SID, IOVA);
  expect(steps.map(({ title }) => title)).toEqual([
    'STE',
    ...['stage 2 level 1', 'stage 2 level 2', 'CD'],
    ...['stage 2 level 1', 'stage 2 level 2', 'stage 1 level 1'],
    ...['stage 2 level 1', 'stage 2 level 2', 'stage 1 level 2'],
    ...['stage 2 level 1', 'stage 2 level 2', 'stage 1 level 3'],
    ...['stage 2 level 1', 'stage 2 level 2', 'stage 2 level 3'],
  ]);
});

test('the text names each word and the check that decided, within the columns it is given', () => {
  const machine = new Machine(6).set(S2_AT[3], 0n);
  const walk = walkAccess(machine.source(), SID, IPA);
  const text = renderWalk(walk, 80);
  expect(text).toContain('STE             0x40001200  stage 2 translates');
  expect(text).toContain('stage 2 level 3 0x42003000 = 0x0000000000000000  invalid: bit 0 is 0');
  expect(text).toContain('=> F_TRANSLATION (0x10) stage 2 level 3, class IN, IPA 0x48000000');
  expect(text).toContain('an event is recorded');
  expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(80);
  for (const step of walk.steps) expect(text).toContain(`0x${step.address.toString(16)}`);
});

test('the document has every field of every word, and survives JSON', () => {
  const document = walkDocument(walkAccess(new Machine(5).source(), SID, IOVA));
  expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  expect(document).toMatchObject({
    sid: SID,
    iova: '0x12345678',
    access: 'read',
    outcome: { kind: 'translated', pa: '0x4a000678', size: 4096, leaf: { value: '0x000000004a000f47' } },
  });
  const [ste] = document.steps as { fields: Record<string, unknown>; words: string[] }[];
  expect(ste!.words.length).toBe(8);
  expect(ste!.fields).toMatchObject({ V: 1, Config: 5, S1ContextPtr: '0x40002000', S2TTB: '0x0' });
});
