/**
 * The ILLEGAL rules of STE and CD, by field of the structure tables: where the tables say that a field can make its entry
 * ILLEGAL, there is a case in which it does and one in which it just does not. The oracle, which has rules of its own, is
 * asked the same.
 */

import { expect, test } from 'vitest';
import { cdIllegal, decodeCapabilities, steIllegal } from '#lab/oracle/decode/index';
import { ID_FIELDS, type Smmu, type SmmuDescription, structures } from '#machine';
import { cdWord, type Setup, stage2Word } from './bench-setup.ts';
import { SID, smmuWith } from './nested-setup.ts';

const { CD, STE } = structures;
type Features = Partial<SmmuDescription>;
type Values = Readonly<Record<string, number>>;

interface Case {
  readonly why: string;
  readonly legal: boolean;
  readonly smmu: Features;
  /** Fields that differ from the plain entry. */
  readonly values: Values;
  /** For an STE: its Config. */
  readonly config: 4 | 5 | 6 | 7;
}

const config = (config: Case['config']) => ({
  illegal: (why: string, values: Values, smmu: Features = {}): Case => ({ why, legal: false, smmu, values, config }),
  legal: (why: string, values: Values, smmu: Features = {}): Case => ({ why, legal: true, smmu, values, config }),
});
const bypass = config(4);
const s1 = config(5);
const s2 = config(6);
const nested = config(7);

const TWO_LEVEL: Features = { ssidBits: 8, twoLevelCdTable: true };
const BOTH: Features = { stallModel: 'both' };
const FORCED: Features = { stallModel: 'stall' };
const ATS: Features = { ats: true };
const granule = (...granules: number[]): Features => ({ granules });

/** By field of an STE. */
const STE_CASES: Readonly<Record<string, readonly Case[]>> = {
  V: [s1.illegal('0', { V: 0 }), s1.legal('1', {})],
  Config: [
    s1.illegal('stage 1 without S1P', {}, { stage1: false }),
    s2.illegal('stage 2 without S2P', {}, { stage2: false }),
    nested.illegal('both without S1P', {}, { stage1: false }),
    nested.illegal('both without S2P', {}, { stage2: false }),
    s1.legal('stage 1 without S2P', {}, { stage2: false }),
    s2.legal('stage 2 without S1P', {}, { stage1: false }),
  ],
  S1Fmt: [
    s1.illegal('1 without CD2L', { S1Fmt: 1, S1CDMax: 4 }, { ssidBits: 8 }),
    s1.illegal('2 without CD2L', { S1Fmt: 2, S1CDMax: 4 }, { ssidBits: 8 }),
    s1.legal('3 behaves as 0', { S1Fmt: 3, S1CDMax: 4 }, { ssidBits: 8 }),
    s1.legal('ignored with one CD', { S1Fmt: 1 }, { ssidBits: 8 }),
    s1.legal('ignored without substreams', { S1Fmt: 1, S1CDMax: 4 }),
    s1.legal('with CD2L', { S1Fmt: 2, S1CDMax: 4 }, TWO_LEVEL),
  ],
  S1ContextPtr: [
    s1.illegal('PA of 2^OAS', { S1ContextPtr: 2 ** 40 }),
    nested.illegal('IPA of 2^IAS', { S1ContextPtr: 2 ** 40 }),
    s1.legal('below', { S1ContextPtr: 2 ** 40 - 64 }),
    nested.legal('IPA below', { S1ContextPtr: 2 ** 40 - 64 }),
    s2.legal('ignored without stage 1', { S1ContextPtr: 2 ** 40 }),
  ],
  S1CDMax: [
    s1.illegal('above SSIDSIZE', { S1CDMax: 9 }, { ssidBits: 8 }),
    s1.legal('SSIDSIZE', { S1CDMax: 8 }, { ssidBits: 8 }),
    s1.legal('ignored without substreams', { S1CDMax: 31 }),
  ],
  S1STALLD: [
    s1.illegal('STALL_MODEL 1', { S1STALLD: 1 }),
    s1.illegal('STALL_MODEL 2', { S1STALLD: 1 }, FORCED),
    nested.illegal('nested', { S1STALLD: 1 }),
    s1.legal('STALL_MODEL 0', { S1STALLD: 1 }, BOTH),
    s2.legal('ignored without stage 1', { S1STALLD: 1 }),
  ],
  EATS: [
    s1.illegal('2 with stage 1 alone', { EATS: 2 }, ATS),
    s2.illegal('2 with stage 2 alone', { EATS: 2 }, ATS),
    nested.illegal('2 with S2S', { EATS: 2, S2S: 1 }, { ...ATS, ...BOTH }),
    nested.illegal('2 with NS1ATS', { EATS: 2 }, { ...ATS, splitStageAts: false }),
    nested.illegal('1 with S2S', { EATS: 1, S2S: 1 }, { ...ATS, ...BOTH }),
    s2.illegal('1 with S2S, stage 2 alone', { EATS: 1, S2S: 1 }, { ...ATS, ...BOTH }),
    nested.legal('2 nested', { EATS: 2 }, ATS),
    s1.legal('1 with stage 1, whatever S2S', { EATS: 1, S2S: 1 }, { ...ATS, ...BOTH }),
    s2.legal('1 with stage 2', { EATS: 1 }, ATS),
    s1.legal('3 without a DPT', { EATS: 3 }, ATS),
    s1.legal('ignored without ATS', { EATS: 2 }),
    bypass.legal('ignored in bypass', { EATS: 2 }, ATS),
  ],
  STRW: [1, 2, 3].map((STRW) => s1.legal(`${STRW}: there are no EL2 worlds, so it is not used`, { STRW })),
  S2VMID: [
    s1.illegal('of 9 bits, stage 1', { S2VMID: 0x100 }, { vmid16: false }),
    s2.illegal('of 9 bits, stage 2', { S2VMID: 0x100 }, { vmid16: false }),
    nested.illegal('of 9 bits, nested', { S2VMID: 0x100 }, { vmid16: false }),
    s2.legal('of 8 bits', { S2VMID: 0xff }, { vmid16: false }),
    s2.legal('of 16 bits', { S2VMID: 0xffff }),
    s1.legal('ignored without S2P', { S2VMID: 0x100 }, { vmid16: false, stage2: false }),
    bypass.legal('ignored in bypass', { S2VMID: 0x100 }, { vmid16: false }),
  ],
  S2T0SZ: [
    s2.illegal('above 39', { S2T0SZ: 40, S2SL0: 0 }),
    s2.legal('39', { S2T0SZ: 39, S2SL0: 0 }),
    s2.illegal('below 64 - IAS', { S2T0SZ: 23 }),
    s2.legal('64 - IAS', { S2T0SZ: 24 }),
    s2.illegal('below 16', { S2T0SZ: 15, S2SL0: 2 }, { oas: 52 }),
    s2.legal('16', { S2T0SZ: 16, S2SL0: 2 }, { oas: 52 }),
    s2.illegal('below 12 with 64K', { S2T0SZ: 11, S2SL0: 2, S2TG: 1 }, { oas: 52, ...granule(16) }),
    s2.legal('12 with 64K', { S2T0SZ: 12, S2SL0: 2, S2TG: 1 }, { oas: 52, ...granule(16) }),
    s2.illegal('above 48 with small tables', { S2T0SZ: 49, S2SL0: 3 }, { smallTables: true }),
    s2.legal('48 with small tables', { S2T0SZ: 48, S2SL0: 3 }, { smallTables: true }),
    s2.illegal(
      'above 47 with 64K and small tables',
      { S2T0SZ: 48, S2SL0: 0, S2TG: 1 },
      { smallTables: true, ...granule(16) },
    ),
    s2.legal('47 with 64K and small tables', { S2T0SZ: 47, S2SL0: 0, S2TG: 1 }, { smallTables: true, ...granule(16) }),
    nested.illegal('nested', { S2T0SZ: 40, S2SL0: 0 }),
  ],
  S2SL0: [
    s2.illegal('more than 16 tables', { S2T0SZ: 24, S2SL0: 0 }),
    s2.illegal('a level above the one needed', { S2T0SZ: 34, S2SL0: 1 }),
    s2.illegal('3 without small tables', { S2T0SZ: 39, S2SL0: 3 }),
    s2.illegal('3 with 16K (DS)', { S2SL0: 3, S2TG: 2 }, granule(14)),
    s2.illegal('3 with 64K', { S2SL0: 3, S2TG: 1 }, granule(16)),
    s2.legal('16 tables', { S2T0SZ: 30, S2SL0: 0 }),
    s2.legal('3 with small tables', { S2T0SZ: 43, S2SL0: 3 }, { smallTables: true }),
  ],
  S2SL0_2: [s2.illegal('1 without DS', { S2SL0: 0, S2SL0_2: 1 }), s2.legal('0', {})],
  S2TG: [
    s2.illegal('reserved', { S2TG: 3 }, granule(12, 14, 16)),
    s2.illegal('64K that is missing', { S2TG: 1 }, granule(12, 14)),
    s2.illegal('16K that is missing', { S2TG: 2 }, granule(12, 16)),
    s2.illegal('4K that is missing', {}, granule(14, 16)),
    s2.legal('64K', { S2TG: 1, S2SL0: 1, S2T0SZ: 24 }, granule(16)),
    s2.legal('16K', { S2TG: 2, S2SL0: 1, S2T0SZ: 24 }, granule(14)),
  ],
  S2AA64: [s2.illegal('AArch32', { S2AA64: 0 }), s2.legal('AArch64', {}), s1.legal('ignored', { S2AA64: 0 })],
  S2ENDI: [s2.illegal('big', { S2ENDI: 1 }), s2.legal('little', {}), s1.legal('ignored', { S2ENDI: 1 })],
  S2HD: [
    s2.illegal('HTTU 0', { S2HD: 1 }),
    s2.illegal('HTTU 1', { S2HD: 1, S2HA: 1 }, { hardwareUpdate: 'access' }),
    s2.legal('HTTU 2', { S2HD: 1, S2HA: 1 }, { hardwareUpdate: 'dirty' }),
    s2.legal('HTTU 2 without S2HA', { S2HD: 1 }, { hardwareUpdate: 'dirty' }),
  ],
  S2HA: [
    s2.illegal('HTTU 0', { S2HA: 1 }),
    s2.legal('HTTU 1', { S2HA: 1 }, { hardwareUpdate: 'access' }),
    s1.legal('ignored', { S2HA: 1 }),
  ],
  S2S: [
    s2.illegal('1 with STALL_MODEL 1', { S2S: 1 }),
    s2.illegal('0 with STALL_MODEL 2', {}, FORCED),
    nested.illegal('0 with STALL_MODEL 2, nested', {}, FORCED),
    s2.legal('1 with STALL_MODEL 0', { S2S: 1 }, BOTH),
    s2.legal('1 with STALL_MODEL 2', { S2S: 1 }, FORCED),
    s1.legal('ignored without stage 2', { S2S: 1 }),
  ],
  S2TTB: [
    s2.illegal('2^S2PS', { S2TTB: 2 ** 36, S2PS: 1 }),
    s2.legal('below 2^S2PS', { S2TTB: 2 ** 36 - 2 ** 16, S2PS: 1 }),
    s2.illegal('2^OAS where S2PS is larger', { S2TTB: 2 ** 40, S2PS: 5 }),
    s2.illegal('2^48 with 4K', { S2TTB: 2 ** 48, S2PS: 6 }, { oas: 52 }),
    s2.illegal('2^48 with 16K', { S2TTB: 2 ** 48, S2PS: 6, S2TG: 2 }, { oas: 52, ...granule(14) }),
    s2.legal('2^48 with 64K', { S2TTB: 2 ** 48, S2PS: 6, S2TG: 1 }, { oas: 52, ...granule(16) }),
  ],
};

/** By field of a CD. `config` is that of the STE. */
const half = (n: 0 | 1, TG: Readonly<Record<number, number>>): Readonly<Record<string, readonly Case[]>> => {
  const on = n === 0 ? {} : { EPD0: 1, EPD1: 0, T1SZ: 25, TG1: 2, TTB1: 0 };
  const name = (field: string) => field.replace('x', `${n}`);
  const values = (more: Values): Values => ({
    ...on,
    ...Object.fromEntries(Object.entries(more).map(([field, value]) => [name(field), value])),
  });
  const size = (TxSZ: number, TGx = TG[12]!): Values => values({ TxSZ, TGx });
  const off = (more: Values): Values => ({ ...values(more), [`EPD${n}`]: 1 });
  return {
    [name('TxSZ')]: [
      s1.illegal('below 16', size(15)),
      s1.illegal('above 39', size(40)),
      s1.legal('16', size(16)),
      s1.legal('39', size(39)),
      s1.illegal('12 without 52-bit VAs', size(12, TG[16]!), granule(16)),
      s1.legal('12 with 64K and 52-bit VAs', size(12, TG[16]!), { vaBits: 52, ...granule(16) }),
      s1.illegal('below 12', size(11, TG[16]!), { vaBits: 52, ...granule(16) }),
      s1.illegal('12 with 4K (DS)', size(12), { vaBits: 52 }),
      s1.illegal('above 48 with small tables', size(49), { smallTables: true }),
      s1.legal('48 with small tables', size(48), { smallTables: true }),
      s1.illegal('48 with 64K and small tables', size(48, TG[16]!), { smallTables: true, ...granule(16) }),
      s1.legal('ignored with EPD', off({ TxSZ: 63 })),
      nested.illegal('nested', size(40)),
    ],
    [name('TGx')]: [
      s1.illegal('reserved', values({ TGx: TG[0]! }), granule(12, 14, 16)),
      s1.illegal('64K that is missing', values({ TGx: TG[16]! }), granule(12, 14)),
      s1.illegal('16K that is missing', values({ TGx: TG[14]! }), granule(12, 16)),
      s1.illegal('4K that is missing', values({ TGx: TG[12]! }), granule(14, 16)),
      s1.legal('64K', values({ TGx: TG[16]! }), granule(16)),
      s1.legal('16K', values({ TGx: TG[14]! }), granule(14)),
      s1.legal('ignored with EPD', off({ TGx: TG[0]! })),
    ],
    [name('TTBx')]: [
      s1.illegal('2^IPS', values({ TTBx: 2 ** 36, IPS: 1 })),
      s1.legal('below 2^IPS', values({ TTBx: 2 ** 36 - 2 ** 16, IPS: 1 })),
      s1.illegal('2^OAS where IPS is larger', values({ TTBx: 2 ** 40, IPS: 5 })),
      s1.illegal('2^48 with 4K', values({ TTBx: 2 ** 48, IPS: 6 }), { oas: 52 }),
      s1.legal('2^48 with 64K', values({ TTBx: 2 ** 48, IPS: 6, TGx: TG[16]! }), { oas: 52, ...granule(16) }),
      s1.legal('ignored with EPD', off({ TTBx: 2 ** 50 })),
    ],
  };
};

const CD_CASES: Readonly<Record<string, readonly Case[]>> = {
  ...half(0, { 12: 0, 14: 2, 16: 1, 0: 3 }),
  ...half(1, { 12: 2, 14: 1, 16: 3, 0: 0 }),
  ENDI: [
    s1.illegal('big', { ENDI: 1 }),
    s1.legal('little', {}),
    s1.legal('ignored with EPD0 and EPD1', { ENDI: 1, EPD0: 1 }),
  ],
  V: [s1.illegal('0', { V: 0 }), s1.legal('1', {})],
  AA64: [s1.illegal('AArch32', { AA64: 0 }), s1.legal('AArch64', {})],
  HD: [
    s1.illegal('HTTU 0', { HD: 1 }),
    s1.illegal('HTTU 1', { HD: 1, HA: 1 }, { hardwareUpdate: 'access' }),
    s1.legal('HTTU 2', { HD: 1, HA: 1 }, { hardwareUpdate: 'dirty' }),
  ],
  HA: [s1.illegal('HTTU 0', { HA: 1 }), s1.legal('HTTU 1', { HA: 1 }, { hardwareUpdate: 'access' })],
  S: [
    s1.illegal('1 with STALL_MODEL 1', { S: 1 }),
    s1.illegal('0 with STALL_MODEL 2', {}, FORCED),
    s1.illegal('1 with S1STALLD', { S: 1, S1STALLD: 1 }, BOTH),
    s1.legal('1 with STALL_MODEL 0', { S: 1 }, BOTH),
    s1.legal('0 with STALL_MODEL 0', {}, BOTH),
    s1.legal('1 with STALL_MODEL 2', { S: 1 }, FORCED),
  ],
  A: [
    s1.illegal('0 with TERM_MODEL 1', { A: 0 }),
    s1.legal('0 with TERM_MODEL 0', { A: 0 }, { termModel: 'both' }),
    s1.legal('1 with TERM_MODEL 1', {}),
  ],
  ASID: [
    s1.illegal('of 9 bits', { ASID: 0x100 }, { asid16: false }),
    s1.legal('of 8 bits', { ASID: 0xff }, { asid16: false }),
    s1.legal('of 16 bits', { ASID: 0xffff }),
  ],
};

/** Fields whose rules belong to features that no SMMU of the model reports: then the field does not count. */
const IGNORED: Readonly<Record<string, { field: string; value: number; with: Values; config: Case['config'] }>> = {
  'STE.S2HAFT': { field: 'HTTU', value: 3, with: { S2HAFT: 1 }, config: 6 },
  'STE.S2POE': { field: 'S2PO', value: 1, with: { S2POE: 1 }, config: 6 },
  'STE.VMSPtr': { field: 'MPAM', value: 1, with: { S1MPAM: 1, VMSPtr: 2 ** 55 }, config: 7 },
  'STE.S2POI0': { field: 'S2PO', value: 1, with: { S2POE: 1, S2POI0: 1 }, config: 6 },
  'STE.S2POI1': { field: 'S2PO', value: 1, with: { S2POE: 1, S2POI1: 5 }, config: 6 },
  'CD.HAFT': { field: 'HTTU', value: 3, with: { HAFT: 1 }, config: 5 },
};

const CD_AT = 0x4002_0000;
const IPA = 0x1000_0000;

/** Machines by their features: they are made once. */
const setups = new Map<string, Setup>();
function setupOf(features: Features): Setup {
  const key = JSON.stringify(features);
  let s = setups.get(key);
  if (s === undefined) {
    s = smmuWith(features).enable();
    setups.set(key, s);
  }
  return s;
}

/** Writes an entry of plain fields and others; returns its words. */
function build(of: structures.Structure, plain: readonly bigint[], values: Values): Int32Array {
  const words = new Int32Array(2 * of.size);
  plain.forEach((word, i) => {
    words[2 * i] = Number(BigInt.asIntN(32, word));
    words[2 * i + 1] = Number(BigInt.asIntN(32, word >> 32n));
  });
  for (const [name, value] of Object.entries(values)) {
    const field = of.fields.find((candidate) => candidate.name === name);
    if (field !== undefined) structures.setField(words, field, value);
  }
  return words;
}

function plainSte({ config, values, smmu }: Case): Int32Array {
  const forced = smmu.stallModel === 'stall' && !('S2S' in values) && config === 5 ? 1n << 57n : 0n;
  const pointer = config === 7 ? IPA : CD_AT;
  return build(STE, [BigInt(pointer) | BigInt(config << 1) | 1n, 0xd4n, stage2Word(5) | forced], values);
}

/** Word 0 last, as a driver would: what is half written is not valid. */
function write(s: Setup, at: number, words: Int32Array): void {
  for (let i = words.length - 2; i >= 0; i -= 2) s.machine.memory.write64(at + 4 * i, words[i + 1]!, words[i]!);
}

/** What `judge` finds; the machine is as before afterwards. */
function undone<T>(s: Setup, judge: () => T): T {
  const { memory } = s.machine;
  const mark = memory.mark();
  const found = judge();
  memory.undo(mark);
  return found;
}

const capabilities = (smmu: Smmu) =>
  decodeCapabilities(smmu.read32(0), smmu.read32(4), smmu.read32(0xc), smmu.read32(0x14));

function judgeSte(c: Case): { model: string; oracle: string | null } {
  const s = setupOf(c.smmu);
  const ste = plainSte(c);
  return undone(s, () => {
    write(s, s.steAt(SID), ste);
    const model = s.smmu.explain(SID, IPA, false).ste!.illegal;
    expect(s.smmu.translate(SID, IPA, false).fault === 4).toBe(model !== '');
    return { model, oracle: steIllegal(ste, 0, capabilities(s.smmu)) };
  });
}

function judgeCd(c: Case): { model: string; oracle: string | null } {
  const s = setupOf(c.smmu);
  const ste = plainSte({ ...c, values: 'S1STALLD' in c.values ? { S1STALLD: c.values.S1STALLD! } : {} });
  const cd = build(CD, [cdWord(9), BigInt(CD_AT + 0x1000)], c.values);
  return undone(s, () => {
    write(s, CD_AT, cd);
    if (c.config === 7) {
      // One block of stage 2 maps the CD where it is.
      const top = CD_AT + 0x2000;
      write(s, top, new Int32Array([(CD_AT & ~0x3fff_ffff) | 0x7fd, 0]));
      ste.set([top, 0], 6);
      ste[0] = (ste[0]! & 0x3f) | (CD_AT & 0x3fff_ffff);
    }
    write(s, s.steAt(SID), ste);
    const model = s.smmu.explain(SID, IPA, false).cd!.illegal;
    expect(s.smmu.translate(SID, IPA, false).fault === 10).toBe(model !== '');
    return { model, oracle: cdIllegal(cd, 0, ste, 0, capabilities(s.smmu)) };
  });
}

const list = (name: string, cases: Readonly<Record<string, readonly Case[]>>) =>
  Object.entries(cases).flatMap(([field, rows]) =>
    rows.map((c) => [`${name}.${field}, ${c.legal ? 'legal' : 'ILLEGAL'}: ${c.why} (Config ${c.config})`, c] as const),
  );

test.each(list('STE', STE_CASES))('%s', (_, c) => {
  const { model, oracle } = judgeSte(c);
  expect([model === '', oracle === null]).toEqual([c.legal, c.legal]);
});

test.each(list('CD', CD_CASES))('%s', (_, c) => {
  const { model, oracle } = judgeCd(c);
  expect([model === '', oracle === null]).toEqual([c.legal, c.legal]);
});

test.each(Object.entries(IGNORED))('%s does not count: no SMMU of the model reports its feature', (name, rule) => {
  const id = ID_FIELDS.find((field) => field.name === rule.field)!;
  const full = setupOf({ hardwareUpdate: 'dirty' });
  expect(id.value({ hardwareUpdate: 'dirty' } as never)).not.toBe(rule.value);
  expect(full.smmu.read32(0) >>> 31).toBe(0);
  const c: Case = { why: '', legal: true, smmu: {}, values: rule.with, config: rule.config };
  expect(name.startsWith('STE') ? judgeSte(c) : judgeCd(c)).toEqual({ model: '', oracle: null });
});

test.each([
  ['STE', STE, STE_CASES],
  ['CD', CD, CD_CASES],
] as const)('every rule of the %s has its cases', (name, of, cases) => {
  const judged = of.fields.filter(({ illegal }) => illegal !== '').map((field) => field.name as string);
  const covered = [
    ...Object.keys(cases),
    ...Object.keys(IGNORED).flatMap((key) => (key.startsWith(`${name}.`) ? [key.slice(name.length + 1)] : [])),
  ];
  expect(covered.toSorted()).toEqual(judged.toSorted());
  for (const [field, rows] of Object.entries(cases)) {
    expect(
      rows.some(({ legal }) => legal),
      `${field}: a legal case`,
    ).toBe(true);
    // STRW can be ILLEGAL only where there are EL2 worlds.
    expect(
      rows.some(({ legal }) => !legal),
      `${field}: an ILLEGAL case`,
    ).toBe(field !== 'STRW');
  }
});

test('each reason that the model gives is told by a case', () => {
  const reasons = new Set([
    ...Object.values(STE_CASES)
      .flat()
      .map((c) => judgeSte(c).model),
    ...Object.values(CD_CASES)
      .flat()
      .map((c) => judgeCd(c).model),
  ]);
  expect(reasons.size).toBeGreaterThan(30);
});
