/**
 * The order of checks (Arm IHI 0070, 7.3.22, "Event queue record priorities"): for every two rules of a list, an access for
 * which both hold ends as the earlier one says. Each rule adds its cause to those of the others, so any two combine, but
 * for those that exclude each other.
 */

import { expect, test } from 'vitest';
import { type EventRecord, EventType, registers } from '#machine';
import { S1_RW, S2_RW, stage2Word } from './bench-setup.ts';
import { BASE, CD, DATA, IOVA, L1, L2, L3, NestedSetup, OFFSET, SID, VMID } from './nested-setup.ts';

const { Register } = registers;
const NOWHERE = 0x2000_0000n;
const ADDRESS = 0xffff_ffff_f000n;
/** Bit 40 of an address: outside IPS and S2PS. */
const TOO_FAR = 1n << 40n;
const AF = 1n << 10n;
const AP_USER = 1n << 6n;
const S2_READ = 1n << 6n;
const SSID = 65;
/** IPA of the leaf of CDs of {@link SSID}, and of its CD. */
const LEAF = BASE + 0x4000;
const CD_AT = LEAF + 64;
const CLASS = { CD: 0, TTD: 1, IN: 2 } as const;

/** How an access ends: an event, whose it is and what it was for; or an abort that leaves no event. */
type End = 'silent' | readonly [event: keyof typeof EventType, stage?: 1 | 2, eventClass?: keyof typeof CLASS];

class World {
  readonly n: NestedSetup;
  iova = IOVA;
  ssid: number | undefined = SSID;

  constructor(config: 5 | 6 | 7) {
    this.n = new NestedSetup({ ssidBits: 8, twoLevelCdTable: true });
    const { s } = this.n;
    // 128 CDs in leaves of 64; level 1 is where the one CD was. Outside nesting addresses are physical.
    const at = config === 7 ? 0 : OFFSET;
    for (let i = 0; i < 8; i++) this.n.guest(LEAF, 8 + i, s.get(CD + OFFSET + 8 * i));
    this.n.guest(CD, 0, 0n);
    this.n.guest(CD, 1, BigInt(LEAF + at) | 1n);
    if (config !== 7) this.move(at);
    const word0 = BigInt(CD + at) | BigInt(config << 1) | 1n | (1n << 4n) | (7n << 59n);
    this.n.attach(word0, 0xd4n, stage2Word(VMID));
    if (config === 6) this.ssid = undefined;
  }

  /** Stage 1 by itself: its tables and the page that it maps lie where they are. */
  private move(by: number): void {
    for (const at of [
      [CD_AT, 1],
      [L1, 0],
      [L2, slot(2)],
      [L3, slot(3)],
    ] as const) {
      this.change(at[0] + OFFSET + 8 * at[1], (word) => word + BigInt(by));
    }
  }

  change(pa: number, how: (word: bigint) => bigint): void {
    this.n.s.put(pa, how(this.n.s.get(pa)));
  }

  ste(word: number, how: (word: bigint) => bigint): void {
    this.change(this.n.s.steAt(SID) + 8 * word, how);
  }

  /** A word of the guest's memory. */
  guest(ipa: number, word: number, how: (word: bigint) => bigint): void {
    this.change(ipa + OFFSET + 8 * word, how);
  }

  /** The stage-2 descriptor of a guest page. */
  stage2(ipa: number, how: (word: bigint) => bigint): void {
    this.change(this.n.stage2Of(ipa), how);
  }

  registers(change: () => void): void {
    const { smmu } = this.n.s;
    const cr0 = smmu.read32(Register.CR0);
    smmu.write32(Register.CR0, cr0 & ~registers.CR0_SMMUEN);
    change();
    smmu.write32(Register.CR0, cr0);
  }

  access(): End | 'ok' {
    const { s } = this.n;
    const options = this.ssid === undefined ? {} : { ssid: this.ssid };
    const result = s.machine.device(SID).read(this.iova, 1, options);
    if (result.ok) return 'ok';
    return result.event === null ? 'silent' : endOf(result.event);
  }
}

/** Index in the table of a level of the descriptor for {@link IOVA}. */
function slot(level: 2 | 3): number {
  return Math.floor(IOVA / 2 ** (level === 2 ? 21 : 12)) % 512;
}

function endOf({ name, type, words }: EventRecord): End {
  const event = name as keyof typeof EventType;
  if (type < EventType.F_WALK_EABT) return [event];
  const eventClass = (['CD', 'TTD', 'IN'] as const)[(words[3]! >>> 8) & 3]!;
  return [event, (words[3]! & 0x80) !== 0 ? 2 : 1, eventClass];
}

interface Rule {
  readonly name: string;
  readonly end: End;
  readonly cause: (w: World) => void;
  /** Rules that cannot hold together with this one, because both are about the same value. */
  readonly excludes?: readonly string[];
}

const rule = (name: string, end: End, cause: Rule['cause'], ...excludes: string[]): Rule => {
  return { name, end, cause, excludes };
};
const clear = (bits: bigint) => (word: bigint) => word & ~bits;
const set = (bits: bigint) => (word: bigint) => word | bits;
const toNowhere = (word: bigint): bigint => (word & ~ADDRESS) | NOWHERE | (word & TOO_FAR);

/** Up to the STE. */
const configuration: readonly Rule[] = [
  rule('SMMUEN is 0: GBPA decides', 'silent', ({ n: { s } }) => {
    s.smmu.write32(Register.CR0, 0xc);
    s.smmu.write32(Register.GBPA, registers.GBPA_ABORT | registers.GBPA_UPDATE);
  }),
  rule('C_BAD_STREAMID', ['C_BAD_STREAMID'], (w) => w.registers(() => w.n.s.smmu.write32(Register.STRTAB_BASE_CFG, 1))),
  rule('F_STE_FETCH', ['F_STE_FETCH'], (w) =>
    w.registers(() => w.n.s.smmu.write64(Register.STRTAB_BASE, 0, Number(NOWHERE))),
  ),
  rule('C_BAD_STE', ['C_BAD_STE'], (w) => w.ste(0, clear(1n))),
  rule('STE.Config 0xx', 'silent', (w) => w.ste(0, clear(8n))),
];

/** The CD, where stage 1 is on. */
const context: readonly Rule[] = [
  rule('C_BAD_SUBSTREAMID: SSID of 2^S1CDMax or more', ['C_BAD_SUBSTREAMID'], (w) => {
    w.ssid = 128;
  }),
  rule(
    'F_STREAM_DISABLED',
    ['F_STREAM_DISABLED'],
    (w) => {
      w.ssid = undefined;
      w.ste(1, clear(3n));
    },
    'C_BAD_SUBSTREAMID: SSID of 2^S1CDMax or more',
  ),
];

/** What stage 2 may refuse of the page at an IPA, in order. Each leaves room for the next. */
function stage2Rules(what: string, eventClass: keyof typeof CLASS, ipa: number): Rule[] {
  const one = (event: keyof typeof EventType, how: (word: bigint) => bigint): Rule =>
    rule(`stage 2, ${what}: ${event}`, [event, 2, eventClass], (w) => w.stage2(ipa, how));
  return [
    one('F_TRANSLATION', clear(1n)),
    one('F_ADDR_SIZE', set(TOO_FAR)),
    one('F_ACCESS', clear(AF)),
    one('F_PERMISSION', clear(S2_READ)),
  ];
}

const badL1cd = rule('C_BAD_SUBSTREAMID: L1CD invalid', ['C_BAD_SUBSTREAMID'], (w) => w.guest(CD, 1, clear(1n)));
const badCd = rule('C_BAD_CD', ['C_BAD_CD'], (w) => w.guest(CD_AT, 0, clear(1n << 31n)));

const range = rule('stage 1: F_TRANSLATION of the input address', ['F_TRANSLATION', 1, 'IN'], (w) => {
  w.iova = IOVA + 2 ** 39;
});
const disabled = rule('stage 1: F_TRANSLATION by EPD', ['F_TRANSLATION', 1, 'IN'], (w) =>
  w.guest(CD_AT, 0, set(1n << 14n)),
);

/** A stage-1 table descriptor. */
function tableRules(level: number, ipa: number, index: number): Rule[] {
  return [
    rule(`stage 1, level ${level}: F_TRANSLATION`, ['F_TRANSLATION', 1, 'IN'], (w) => w.guest(ipa, index, clear(1n))),
    rule(`stage 1, level ${level}: F_ADDR_SIZE of the next table`, ['F_ADDR_SIZE', 1, 'IN'], (w) =>
      w.guest(ipa, index, set(TOO_FAR)),
    ),
  ];
}

const leaf: readonly Rule[] = [
  rule('stage 1, level 3: F_TRANSLATION', ['F_TRANSLATION', 1, 'IN'], (w) => w.guest(L3, slot(3), clear(1n))),
  rule('stage 1: F_ADDR_SIZE of the output', ['F_ADDR_SIZE', 1, 'IN'], (w) => w.guest(L3, slot(3), set(TOO_FAR))),
  rule('stage 1: F_ACCESS', ['F_ACCESS', 1, 'IN'], (w) => w.guest(L3, slot(3), clear(AF))),
  rule('stage 1: F_PERMISSION', ['F_PERMISSION', 1, 'IN'], (w) => w.guest(L3, slot(3), clear(AP_USER))),
];

const walkAbort = (what: string, stage: 1 | 2, cause: Rule['cause']): Rule =>
  rule(`F_WALK_EABT ${what}`, ['F_WALK_EABT', stage, 'TTD'], cause);

const NESTED: readonly Rule[] = [
  ...configuration,
  ...context,
  ...stage2Rules('L1CD', 'CD', CD),
  rule('F_CD_FETCH of the L1CD', ['F_CD_FETCH'], (w) => w.stage2(CD, toNowhere)),
  badL1cd,
  ...stage2Rules('CD', 'CD', LEAF),
  rule('F_CD_FETCH of the CD', ['F_CD_FETCH'], (w) => w.stage2(LEAF, toNowhere)),
  badCd,
  range,
  disabled,
  ...stage2Rules('table of level 1', 'TTD', L1),
  walkAbort('of stage 1, level 1', 1, (w) => w.stage2(L1, toNowhere)),
  ...tableRules(1, L1, 0),
  ...stage2Rules('table of level 2', 'TTD', L2),
  walkAbort('of stage 1, level 2', 1, (w) => w.stage2(L2, toNowhere)),
  ...tableRules(2, L2, slot(2)),
  ...stage2Rules('table of level 3', 'TTD', L3),
  walkAbort('of stage 1, level 3', 1, (w) => w.stage2(L3, toNowhere)),
  ...leaf,
  ...stage2Rules('the access', 'IN', DATA),
];

const STAGE1: readonly Rule[] = [
  ...configuration,
  ...context,
  rule('F_CD_FETCH of the L1CD', ['F_CD_FETCH'], (w) => w.ste(0, toNowhere)),
  badL1cd,
  rule('F_CD_FETCH of the CD', ['F_CD_FETCH'], (w) => w.guest(CD, 1, toNowhere)),
  badCd,
  range,
  disabled,
  walkAbort('of level 1', 1, (w) => w.guest(CD_AT, 1, toNowhere)),
  ...tableRules(1, L1, 0),
  walkAbort('of level 2', 1, (w) => w.guest(L1, 0, toNowhere)),
  ...tableRules(2, L2, slot(2)),
  walkAbort('of level 3', 1, (w) => w.guest(L2, slot(2), toNowhere)),
  ...leaf,
];

const STAGE2: readonly Rule[] = [
  ...configuration,
  rule('C_BAD_SUBSTREAMID: a SubstreamID without stage 1', ['C_BAD_SUBSTREAMID'], (w) => {
    w.ssid = 1;
  }),
  rule('F_ADDR_SIZE of an input beyond IAS', ['F_ADDR_SIZE', 1, 'IN'], (w) => {
    w.iova = DATA + 2 ** 45;
  }),
  rule('F_TRANSLATION of an input beyond S2T0SZ', ['F_TRANSLATION', 2, 'IN'], (w) => {
    // 39 bits in one table of level 1.
    w.ste(2, (word) => (word & ~(0x3fn << 32n)) | (25n << 32n));
    if (w.iova === DATA) w.iova = DATA + 2 ** 39;
  }),
  walkAbort('of stage 2', 2, (w) => w.ste(3, () => NOWHERE)),
  ...stage2Rules('the access', 'IN', DATA),
];

const LISTS: readonly (readonly [string, 5 | 6 | 7, readonly Rule[]])[] = [
  ['stage 1', 5, STAGE1],
  ['stage 2', 6, STAGE2],
  ['nested', 7, NESTED],
];

const worlds = new Map(LISTS.map(([, config]) => [config, new World(config)]));

/** How the access ends with these causes; the world is as before afterwards. */
function outcome(config: 5 | 6 | 7, causes: readonly Rule[]): End | 'ok' {
  const w = worlds.get(config)!;
  const { memory } = w.n.s.machine;
  const mark = memory.mark();
  const { ssid } = w;
  w.iova = config === 6 ? DATA : IOVA;
  for (const { cause } of causes) cause(w);
  const end = w.access();
  memory.undo(mark);
  w.ssid = ssid;
  return end;
}

const cases = LISTS.flatMap(([title, config, rules]) =>
  rules.map((first, i) => [`${title}: ${first.name}`, config, first, rules.slice(i + 1)] as const),
);

test.each(LISTS)('%s: without a cause the access goes through', (_, config) => {
  expect(outcome(config, [])).toBe('ok');
});

test.each(cases)('%s comes before everything after it', (_, config, first, later) => {
  expect(outcome(config, [first])).toEqual(first.end);
  for (const second of later) {
    if (second.excludes?.includes(first.name) === true) continue;
    // In either order of the causes: what is changed last must not matter.
    expect(outcome(config, [second, first]), `with ${second.name}`).toEqual(first.end);
    expect(outcome(config, [first, second]), `with ${second.name}, other way round`).toEqual(first.end);
  }
});

/** The architecture's list, and how many rules of ours are about each of its places. */
const PRIORITIES: readonly (readonly [string, (rule: Rule) => boolean])[] = [
  ['C_BAD_STREAMID', ({ end }) => end[0] === 'C_BAD_STREAMID'],
  ['F_STE_FETCH', ({ end }) => end[0] === 'F_STE_FETCH'],
  ['C_BAD_STE', ({ end }) => end[0] === 'C_BAD_STE'],
  ['C_BAD_SUBSTREAMID', ({ end }) => end[0] === 'C_BAD_SUBSTREAMID'],
  ['F_STREAM_DISABLED', ({ end }) => end[0] === 'F_STREAM_DISABLED'],
  ['faults of stage 2, for the fetch of the CD', ({ end }) => end[1] === 2 && end[2] === 'CD'],
  ['F_CD_FETCH', ({ end }) => end[0] === 'F_CD_FETCH'],
  ['C_BAD_CD', ({ end }) => end[0] === 'C_BAD_CD'],
  ['one stage, F_TRANSLATION of the input', ({ name }) => /F_TRANSLATION (of the input|by EPD)/.test(name)],
  ['stage 2 for a descriptor', ({ end }) => end[1] === 2 && end[2] === 'TTD'],
  ['F_WALK_EABT', ({ end }) => end[0] === 'F_WALK_EABT'],
  ['F_TRANSLATION of a descriptor', ({ name }) => /^stage 1, level \d: F_TRANSLATION/.test(name)],
  ['F_ADDR_SIZE of a descriptor', ({ name }) => name.includes('F_ADDR_SIZE of the next table')],
  ['F_ADDR_SIZE of the output', ({ name }) => name.includes('F_ADDR_SIZE of the output')],
  ['F_ACCESS', ({ end }) => end[0] === 'F_ACCESS' && end[1] === 1],
  ['F_PERMISSION', ({ end }) => end[0] === 'F_PERMISSION' && end[1] === 1],
  ['stage 2 for the access', ({ end }) => end[1] === 2 && end[2] === 'IN'],
];

test.each([
  ['nested', NESTED],
  ['stage 1', STAGE1],
] as const)('%s: the rules are those of the architecture, in its order', (title, rules) => {
  const has = PRIORITIES.filter(([place]) => title === 'nested' || !place.includes('stage 2'));
  // The walk begins anew at each level: its first one counts.
  let last = -1;
  for (const [place, about] of has) {
    const first = rules.findIndex(about);
    expect(first, place).toBeGreaterThan(last);
    last = first;
  }
});

test('the causes are what they say: a leaf is readable and writable at both stages', () => {
  const { n } = worlds.get(7)!;
  expect(n.s.get(n.leafAt) & 0xfffn).toBe(BigInt(S1_RW) | 3n);
  expect(n.s.get(n.stage2Of(DATA)) & 0xfffn).toBe((BigInt(S2_RW) | 3n) & 0xfffn);
});
