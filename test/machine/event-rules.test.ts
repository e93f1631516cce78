/** Every event of the structure tables: raised by its cause, and byte for byte as the tables encode it; or why it never is. */

import { expect, test } from 'vitest';
import { EventType, registers, type SmmuDescription, structures } from '#machine';
import { cdWord, type Setup } from './bench-setup.ts';
import { BASE, CD, DATA, IOVA, L3, NestedSetup, OFFSET, SID } from './nested-setup.ts';

const { EVENT_STRUCTURES, encode } = structures;
const { Register } = registers;
const NOWHERE = 0x2000_0000;

type Values = Readonly<Record<string, number>>;

interface Raised {
  readonly smmu?: Partial<SmmuDescription>;
  readonly cause: (n: NestedSetup) => void;
  readonly access?: (s: Setup) => void;
  readonly values: Values;
}

const input = { InputAddrLo: IOVA };
const read: Values = { RnW: 1 };
const nowhere = (word: bigint): bigint => (word & 0xfffn) | BigInt(NOWHERE);
const put = (n: NestedSetup, at: number, how: (word: bigint) => bigint): void => n.s.put(at, how(n.s.get(at)));

function off(n: NestedSetup, change: (s: Setup) => void): void {
  n.s.smmu.write32(Register.CR0, 0xc);
  change(n.s);
  n.s.smmu.write32(Register.CR0, 0xd);
}

/** The four faults of a translation: of stage 1; of stage 2 for a table; of stage 2 for the access. */
function translation(hurt: (word: bigint) => bigint, ofTable: Values = {}): Readonly<Record<string, Raised>> {
  return {
    'stage 1': { cause: (n) => put(n, n.leafAt, hurt), values: { ...input, ...read, CLASS: 2 } },
    'stage 1 that stalls': {
      smmu: { stallModel: 'both' },
      cause: (n) => {
        n.guest(CD, 0, cdWord(9) | (1n << 44n));
        put(n, n.leafAt, hurt);
      },
      values: { ...input, ...read, CLASS: 2, Stall: 1, STAG: 0 },
    },
    'stage 2, a table': {
      cause: (n) => put(n, n.stage2Of(L3), hurt),
      values: { ...input, ...read, S2: 1, CLASS: 1, IPA: L3, ...ofTable },
    },
    'stage 2, the CD': {
      cause: (n) => put(n, n.stage2Of(CD), hurt),
      values: { ...input, ...read, S2: 1, CLASS: 0, IPA: CD },
    },
    'stage 2, the access': {
      cause: (n) => put(n, n.stage2Of(DATA), hurt),
      values: { ...input, ...read, S2: 1, CLASS: 2, IPA: DATA },
    },
  };
}

const ATS: Partial<SmmuDescription> = { ats: true };

const RAISED: Readonly<Record<keyof typeof EventType, Readonly<Record<string, Raised>>>> = {
  F_UUT: {},
  C_BAD_STREAMID: {
    'a short table': { cause: (n) => off(n, (s) => s.smmu.write32(Register.STRTAB_BASE_CFG, 1)), values: {} },
  },
  F_STE_FETCH: {
    'a table outside memory': {
      cause: (n) => off(n, (s) => s.smmu.write64(Register.STRTAB_BASE, 0, NOWHERE)),
      values: { FetchAddr: NOWHERE + 64 * SID },
    },
  },
  C_BAD_STE: { 'V is 0': { cause: ({ s }) => s.put(s.steAt(SID), 0n), values: {} } },
  F_BAD_ATS_TREQ: {
    'EATS is 0': {
      smmu: ATS,
      cause: () => undefined,
      access: (s) => s.smmu.translationRequest(SID, IOVA, false),
      values: input,
    },
  },
  F_STREAM_DISABLED: {
    'S1DSS is 0': {
      smmu: { ssidBits: 4 },
      cause: (n) => n.attach(BigInt(CD) | 0xfn | (1n << 59n), 0n),
      values: {},
    },
  },
  F_TRANSL_FORBIDDEN: {
    'EATS is 0, read': {
      smmu: ATS,
      cause: ({ s }) => s.smmu.write32(Register.CR0, 0xd | registers.CR0_ATSCHK),
      access: (s) => s.smmu.translatedAccess(SID, IOVA, false),
      values: { ...input, RnW: 1 },
    },
    'SMMUEN is 0, write': {
      smmu: ATS,
      cause: ({ s }) => s.smmu.write32(Register.CR0, 0xc),
      access: (s) => s.smmu.translatedAccess(SID, -4096, true),
      values: { InputAddrLo: 0xffff_f000, InputAddrHi: 0xffff_ffff },
    },
  },
  C_BAD_SUBSTREAMID: {
    'no substreams': {
      cause: () => undefined,
      access: (s) => s.smmu.transact(SID, IOVA, false, 0, 5),
      values: { SSV: 1, SSID: 5 },
    },
  },
  F_CD_FETCH: {
    'a CD outside memory': { cause: (n) => put(n, n.stage2Of(CD), nowhere), values: { FetchAddr: NOWHERE } },
  },
  C_BAD_CD: { 'V is 0': { cause: (n) => n.guest(CD, 0, 0n), values: {} } },
  F_WALK_EABT: {
    'stage 1': {
      cause: (n) => put(n, n.stage2Of(L3), nowhere),
      values: { ...input, ...read, CLASS: 1, FetchAddr: NOWHERE + (Math.floor(IOVA / 4096) % 512) * 8 },
    },
    'stage 2': {
      cause: (n) => put(n, n.top, nowhere),
      values: { ...input, ...read, S2: 1, CLASS: 0, FetchAddr: NOWHERE + (Math.floor(BASE / 2 ** 21) % 512) * 8 },
    },
  },
  F_TRANSLATION: translation((word) => word & ~1n),
  F_ADDR_SIZE: translation((word) => word | (1n << 40n)),
  F_ACCESS: translation((word) => word & ~(1n << 10n)),
  // Stage 2 does not let a stage-1 descriptor be read.
  F_PERMISSION: translation((word) => word & ~(1n << 6n), { TTRnW: 1 }),
};

/** Events that the model never raises. */
const NEVER: Readonly<Record<string, string>> = {
  F_UUT: 'no device of the model makes a transaction that is not supported',
  F_TLB_CONFLICT: 'what may be cached is told by the possible outcomes, each of which takes one entry',
  F_CFG_CONFLICT: 'likewise for configurations',
  E_PAGE_REQUEST: 'a hint that the model does not give',
  F_VMS_FETCH: 'there is no MPAM, so there is no VMS',
};

const cases = Object.entries(RAISED).flatMap(([name, ways]) =>
  Object.entries(ways).map(([way, raised]) => [name as structures.EventName, way, raised] as const),
);

test.each(cases)('%s (%s)', (name, _, { smmu = {}, cause, access, values }) => {
  const n = new NestedSetup(smmu);
  const { s } = n;
  cause(n);
  if (access === undefined) s.machine.device(SID).read(IOVA, 1);
  else access(s);
  const of = EVENT_STRUCTURES[name] as structures.EventStructure;
  const words = encode<string>(of, { Event: of.number, SID, ...values } as Readonly<Record<string, number>>);
  const expected = [0, 2, 4, 6].map((i) => (BigInt(words[i + 1]! >>> 0) << 32n) | BigInt(words[i]! >>> 0));
  expect(s.smmu.read32(Register.EVENTQ_PROD)).toBe(1);
  expect(s.lastEvent()).toEqual(expected);
});

test('every event is raised by a case, or has a reason why it never is', () => {
  const raised = Object.entries(RAISED).flatMap(([name, ways]) => (Object.keys(ways).length > 0 ? [name] : []));
  expect([...raised, ...Object.keys(NEVER)].toSorted()).toEqual(Object.keys(EVENT_STRUCTURES).toSorted());
  for (const name of raised) expect(EventType).toHaveProperty(name);
  expect(DATA - BASE).toBeLessThan(OFFSET);
});
