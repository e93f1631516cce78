/** Each feature of an SMMU off, everything else on: what that changes, and nothing else of what is looked at. */

import { expect, test } from 'vitest';
import { EVENT_NAMES, registers, type SmmuDescription, smmuFeatures } from '#machine';
import { cdWord, mapPage, S1_RW, S2_RW, type Setup, stage2Word } from './bench-setup.ts';
import { IOVA, SID, smmuWith } from './nested-setup.ts';

const { Register } = registers;
type Features = Partial<SmmuDescription>;

const FULL: Features = { ...smmuFeatures.full, sidBits: 4, cmdqLog2: 8, evtqLog2: 7, priqLog2: 4 };
const PA = 0x4010_0000;
const CD_AT = 0x4002_0000;
const ARENA = 0x4020_0000;
const SSID = 7;

/** Something that an SMMU does, by what can be seen of it. */
type Probe = (s: Setup) => string | number;

const outcome = (s: Setup, iova: number, ssid = -1, sid = SID): string => {
  const { ok, fault } = s.smmu.translate(sid, iova, false, ssid);
  return ok ? 'ok' : (EVENT_NAMES.get(fault) ?? 'silent');
};

/** Stage 1 with changes of the CD's word 0; then what an access of an empty table comes to. */
const withCd =
  (change: (word: bigint) => bigint): Probe =>
  (s) => {
    s.cd(CD_AT, 9, ARENA);
    s.put(CD_AT, change(cdWord(9)));
    s.ste(SID, BigInt(CD_AT) | 0xbn, 0xd6n, 1n << 57n, 0n);
    return outcome(s, IOVA);
  };

/** A stage-2 entry of these words. */
const withSte2 =
  (word1: bigint, word2: bigint): Probe =>
  (s) => {
    s.ste(SID, 0xdn, word1, word2, BigInt(ARENA));
    return outcome(s, IOVA);
  };

/** Stage 1 over stage 2, both empty. */
const withNested =
  (word1: bigint): Probe =>
  (s) => {
    s.ste(SID, BigInt(CD_AT) | 0xfn, word1, stage2Word(5), BigInt(ARENA));
    return outcome(s, IOVA);
  };

const withSte1 =
  (word0: bigint, word1: bigint, word2 = 0n, ssid = -1): Probe =>
  (s) => {
    s.cd(CD_AT, 9, ARENA);
    s.ste(SID, BigInt(CD_AT) | word0, word1, word2, 0n);
    return outcome(s, IOVA, ssid);
  };

const errorOf =
  (q0: bigint, q1 = 0n): Probe =>
  (s) => {
    s.command(q0, q1);
    return (s.smmu.read32(Register.CMDQ_CONS) >>> 24) & 0x7f;
  };

/** What a register keeps of a value. */
const kept =
  (offset: number, value: number): Probe =>
  ({ smmu }) => {
    smmu.write32(Register.CR0, 0);
    smmu.write32(offset, value);
    return smmu.read32(offset) & value;
  };

/** What is still cached of 16 unmapped pages after an invalidation by range. */
const afterRange: Probe = (s) => {
  s.ste(SID, 0xdn, 0n, stage2Word(5), BigInt(ARENA));
  const at = mapPage(s, ARENA, IOVA, BigInt(PA) | BigInt(S2_RW) | 3n).at;
  for (let i = 0; i < 16; i++) s.put(at + 8 * i, BigInt(PA + 4096 * i) | BigInt(S2_RW) | 3n);
  s.cfgiAll();
  s.command(0x30n);
  s.sync();
  for (let i = 0; i < 16; i++) s.put(at + 8 * i, 0n);
  s.tlbiIpa(5, IOVA, true, 15, 0, 3);
  s.sync();
  return s.smmu.stale().reduce((bytes, { size }) => bytes + size, 0) / 4096;
};

/** A stream of which only a two-level table has an STE. */
const twoLevelTable: Probe = (s) => {
  const { smmu } = s;
  s.put(ARENA, BigInt(ARENA + 0x1000) | 4n);
  s.put(ARENA + 0x1000 + 64 * SID, 9n);
  smmu.write32(Register.CR0, 0xc);
  smmu.write64(Register.STRTAB_BASE, 0, ARENA);
  smmu.write32(Register.STRTAB_BASE_CFG, 0x10000 | (6 << 6) | 4);
  smmu.write32(Register.CR0, 0xd);
  return outcome(s, PA);
};

/** An output address of 2^48 and more, by a 64K leaf. */
const wideOutput: Probe = (s) => {
  const word = stage2Word(5, 24, 1) | (1n << 46n);
  s.ste(SID, 0xdn, 0n, (word & ~(7n << 48n)) | (6n << 48n) | (1n << 57n), BigInt(ARENA));
  s.put(ARENA, BigInt(ARENA + 0x10000) | 3n);
  s.put(ARENA + 0x10000, 0x1000n | BigInt(S2_RW) | 3n);
  return s.smmu.translate(SID, 0, false).pa;
};

/** A stream beyond SIDSIZE, although the stream table is large enough. */
const sidWidth: Probe = (s) => {
  const { smmu } = s;
  smmu.write32(Register.CR0, 0xc);
  smmu.write32(Register.STRTAB_BASE_CFG, 4);
  smmu.write32(Register.CR0, 0xd);
  s.put(s.steAt(12), 9n);
  return outcome(s, PA, -1, 12);
};

/** How many entries a queue of LOG2SIZE 8 takes: PROD after so many. */
const eventRoom: Probe = (s) => {
  const { smmu } = s;
  smmu.write32(Register.CR0, 0x1 | registers.CR0_CMDQEN);
  smmu.write64(Register.EVENTQ_BASE, 0, ARENA | 8);
  smmu.write32(Register.CR0, 0xd);
  for (let i = 0; i < 200; i++) smmu.transact(1, 0, false);
  return smmu.read32(Register.EVENTQ_PROD) & 0xfffff;
};
const commandRoom: Probe = (s) => {
  const { smmu } = s;
  smmu.write32(Register.CR0, 0);
  smmu.write64(Register.CMDQ_BASE, 0, ARENA | 9);
  for (let i = 0; i < 512; i++) s.put(ARENA + 16 * i, 0x46n);
  smmu.write32(Register.CMDQ_PROD, 300);
  smmu.write32(Register.CMDQ_CONS, 0);
  smmu.write32(Register.CR0, registers.CR0_CMDQEN);
  return smmu.read32(Register.CMDQ_CONS);
};
const requestRoom: Probe = (s) => {
  const { smmu } = s;
  smmu.write64(Register.PRIQ_BASE, 0, ARENA | 5);
  smmu.write32(Register.CR0, 0xd | registers.CR0_PRIQEN);
  for (let i = 0; i < 40; i++) smmu.pageRequest(SID, { iova: 0, read: true, write: false, last: false, group: i });
  return smmu.read32(Register.PRIQ_PROD) & 0xfffff;
};

const ssidSte = withSte1(0xbn | (4n << 59n), 2n, 0n, SSID);
const idr0 =
  (bit: number): Probe =>
  ({ smmu }) =>
    (smmu.read32(Register.IDR0) >>> bit) & 1;

interface Row {
  readonly off: Features;
  readonly probes: readonly (readonly [what: string, probe: Probe, on: string | number, off: string | number])[];
}

const EMPTY = 'F_TRANSLATION';

const ROWS: Readonly<Record<string, Row>> = {
  stage1: {
    off: { stage1: false },
    probes: [
      ['Config 101', withCd((w) => w), EMPTY, 'C_BAD_STE'],
      ['Config 111', withNested(0n), EMPTY, 'C_BAD_STE'],
      ['CMD_TLBI_NH_ALL', errorOf(0x10n), 0, 1],
    ],
  },
  stage2: {
    off: { stage2: false },
    probes: [
      ['Config 110', withSte2(0n, stage2Word(5)), EMPTY, 'C_BAD_STE'],
      ['CMD_TLBI_S12_VMALL', errorOf(0x28n), 0, 1],
      ['Config 101', withCd((w) => w), EMPTY, EMPTY],
    ],
  },
  'granules: 4K': { off: { granules: [14, 16] }, probes: [['TG0 0', withCd((w) => w), EMPTY, 'C_BAD_CD']] },
  'granules: 16K': {
    off: { granules: [12, 16] },
    probes: [['TG0 2', withCd((w) => w | (2n << 6n)), EMPTY, 'C_BAD_CD']],
  },
  'granules: 64K': {
    off: { granules: [12, 14] },
    probes: [['TG0 1', withCd((w) => w | (1n << 6n)), EMPTY, 'C_BAD_CD']],
  },
  asid16: {
    off: { asid16: false },
    probes: [['an ASID of 9 bits', withCd((w) => w | (1n << 56n)), EMPTY, 'C_BAD_CD']],
  },
  vmid16: {
    off: { vmid16: false },
    probes: [['a VMID of 9 bits', withSte2(0n, stage2Word(0x105)), EMPTY, 'C_BAD_STE']],
  },
  coherent: { off: { coherent: false }, probes: [['IDR0.COHACC, for software to heed', idr0(4), 1, 0]] },
  rangeInvalidation: { off: { rangeInvalidation: false }, probes: [['pages after a range', afterRange, 0, 15]] },
  twoLevelStreamTable: {
    off: { twoLevelStreamTable: false },
    probes: [['STRTAB_BASE_CFG.FMT 1', twoLevelTable, 'ok', 'C_BAD_STE']],
  },
  ssidBits: { off: { ssidBits: 0 }, probes: [['a SubstreamID', ssidSte, 'C_BAD_CD', 'C_BAD_SUBSTREAMID']] },
  twoLevelCdTable: {
    off: { twoLevelCdTable: false },
    probes: [['S1Fmt 1', withSte1(0xbn | (1n << 4n) | (7n << 59n), 0n, 0n, 64), 'C_BAD_SUBSTREAMID', 'C_BAD_STE']],
  },
  smallTables: {
    off: { smallTables: false },
    probes: [['T0SZ 40', withCd((w) => (w & ~63n) | 40n), EMPTY, 'C_BAD_CD']],
  },
  oas: { off: { oas: 48, vaBits: 48 }, probes: [['an output of 2^48', wideOutput, 2 ** 48, 0]] },
  vaBits: {
    off: { vaBits: 48 },
    probes: [['T0SZ 12 with 64K', withCd((w) => (w & ~63n) | 12n | (1n << 6n)), EMPTY, 'C_BAD_CD']],
  },
  'hardwareUpdate: dirty state': {
    off: { hardwareUpdate: 'access' },
    probes: [
      ['HD', withCd((w) => w | (3n << 42n)), EMPTY, 'C_BAD_CD'],
      ['HA', withCd((w) => w | (1n << 43n)), EMPTY, EMPTY],
      ['S2HD', withSte2(0n, stage2Word(5) | (3n << 55n)), EMPTY, 'C_BAD_STE'],
    ],
  },
  'hardwareUpdate: access flag': {
    off: { hardwareUpdate: 'none' },
    probes: [
      ['HA', withCd((w) => w | (1n << 43n)), EMPTY, 'C_BAD_CD'],
      ['S2HA', withSte2(0n, stage2Word(5) | (1n << 56n)), EMPTY, 'C_BAD_STE'],
    ],
  },
  'stallModel: stalls': {
    off: { stallModel: 'terminate' },
    probes: [
      ['CD.S', withCd((w) => w | (1n << 44n)), EMPTY, 'C_BAD_CD'],
      ['S2S', withSte2(0n, stage2Word(5) | (1n << 57n)), EMPTY, 'C_BAD_STE'],
      ['S1STALLD', withSte1(0xbn, (1n << 27n) | 2n), EMPTY, 'C_BAD_STE'],
      ['CMD_RESUME', errorOf(0x44n), 0, 1],
      ['CMD_STALL_TERM', errorOf(0x45n), 0, 1],
    ],
  },
  'stallModel: termination': {
    off: { stallModel: 'stall' },
    probes: [
      ['CD.S 0', withCd((w) => w), EMPTY, 'C_BAD_CD'],
      ['S2S 0', withSte2(0n, stage2Word(5)), EMPTY, 'C_BAD_STE'],
      ['S1STALLD', withSte1(0xbn, (1n << 27n) | 2n), EMPTY, 'C_BAD_STE'],
      ['CMD_RESUME', errorOf(0x44n), 0, 0],
    ],
  },
  termModel: { off: { termModel: 'abort' }, probes: [['CD.A 0', withCd((w) => w & ~(1n << 46n)), EMPTY, 'C_BAD_CD']] },
  ats: {
    off: { ats: false, pri: false },
    probes: [
      ['EATS 2 with stage 2 alone', withSte2(2n << 28n, stage2Word(5)), 'C_BAD_STE', EMPTY],
      ['CMD_ATC_INV', errorOf(0x40n, 52n), 0, 1],
      ['CR0.ATSCHK', kept(Register.CR0, registers.CR0_ATSCHK), registers.CR0_ATSCHK, 0],
      ['CR2.REC_CFG_ATS', kept(Register.CR2, registers.CR2_REC_CFG_ATS), registers.CR2_REC_CFG_ATS, 0],
    ],
  },
  splitStageAts: {
    off: { splitStageAts: false },
    probes: [['EATS 2', withNested(2n << 28n), EMPTY, 'C_BAD_STE']],
  },
  pri: {
    off: { pri: false },
    probes: [
      ['CMD_PRI_RESP', errorOf(0x41n), 0, 1],
      ['CR0.PRIQEN', kept(Register.CR0, registers.CR0_PRIQEN), registers.CR0_PRIQEN, 0],
      ['IRQ_CTRL.PRIQ', kept(Register.IRQ_CTRL, registers.IRQ_PRIQ), registers.IRQ_PRIQ, 0],
      ['PRIQ_BASE', kept(Register.PRIQ_BASE, 0x40000004), 0x40000004, 0],
      ['PRIQ_PROD', kept(Register.PRIQ_PROD, 3), 3, 0],
      ['PRIQ_CONS', kept(Register.PRIQ_CONS, 3), 3, 0],
      ['PRIQ_IRQ_CFG1', kept(Register.PRIQ_IRQ_CFG1, 3), 3, 0],
      ['GERRORN.PRIQ_ABT', kept(Register.GERRORN, registers.GERROR_PRIQ_ABT), registers.GERROR_PRIQ_ABT, 0],
    ],
  },
  msi: {
    off: { msi: false },
    probes: [
      ['GERROR_IRQ_CFG1', kept(Register.GERROR_IRQ_CFG1, 3), 3, 0],
      ['EVENTQ_IRQ_CFG1', kept(Register.EVENTQ_IRQ_CFG1, 3), 3, 0],
      ['PRIQ_IRQ_CFG1', kept(Register.PRIQ_IRQ_CFG1, 3), 3, 0],
      ['GERRORN.MSI_CMDQ', kept(Register.GERRORN, registers.GERROR_MSI_CMDQ), registers.GERROR_MSI_CMDQ, 0],
    ],
  },
  sev: {
    off: { sev: false },
    probes: [
      ['IDR0.SEV, for software to heed', idr0(14), 1, 0],
      ['CMD_SYNC with CS 2 completes', errorOf(0x2046n), 0, 0],
    ],
  },
  sidBits: { off: { sidBits: 3 }, probes: [['StreamID 12', sidWidth, 'ok', 'C_BAD_STREAMID']] },
  cmdqLog2: { off: { cmdqLog2: 7 }, probes: [['CONS after 300 commands', commandRoom, 300, 300 & 255]] },
  evtqLog2: { off: { evtqLog2: 4 }, probes: [['events of 200', eventRoom, 128, 16]] },
  priqLog2: { off: { priqLog2: 3 }, probes: [['requests of 40', requestRoom, 16, 8]] },
};

const enabled = (change: Features): Setup => smmuWith({ ...FULL, ...change }).enable();

const all = Object.entries(ROWS).flatMap(([feature, { off, probes }]) =>
  probes.map(([what, ...rest]) => [feature, what, off, ...rest] as const),
);

test.each(all)('without %s: %s', (_feature, _what, off, probe, on, without) => {
  expect(probe(enabled({})), 'with it').toBe(on);
  expect(probe(enabled(off)), 'without it').toBe(without);
});

test('every feature of a description has its row', () => {
  const named = new Set(Object.keys(ROWS).map((row) => row.split(':')[0]!));
  const known = [...Object.keys(FULL), 'splitStageAts'];
  expect([...named].toSorted()).toEqual(known.toSorted());
});

test('stage 1 works in full without stage 2, and the other way round', () => {
  const one = enabled({ ...smmuFeatures.stage1Only });
  const top = one.page();
  one.stage1(SID, 9, top);
  mapPage(one, top, IOVA, BigInt(PA) | BigInt(S1_RW) | 3n);
  expect(one.smmu.translate(SID, IOVA, true).pa).toBe(PA);
  const two = enabled({ ...smmuFeatures.stage2Only });
  const pair = two.pair();
  two.stage2(SID, 5, pair);
  mapPage(two, pair, IOVA, BigInt(PA) | BigInt(S2_RW) | 3n);
  expect(two.smmu.translate(SID, IOVA, true).pa).toBe(PA);
});
