import { expect, test } from 'vitest';
import { registers, type SmmuDescription, tiny } from '#machine';
import { cdWord, mapPage, S1_RW, S2_RW, Setup, STRTAB, stage2Word } from './bench-setup.ts';

const { Register } = registers;
const PA = 0x40100000;
const NOWHERE = 0x2000_0000;

/** The rig's board in small: 44-bit addresses, two-level stream table, 16-bit StreamIDs, device 0x30. */
function board(change: Partial<SmmuDescription> = {}): Setup {
  return new Setup({
    ...tiny,
    smmus: [{ ...tiny.smmus[0]!, oas: 44, ...change }],
    devices: [{ name: 'edu', smmu: 'smmu0', sid: 3 }],
  }).enable();
}

interface Case {
  s: Setup;
  /** Address of the STE, CD, and of the tables that translate {@link IOVA}. */
  cd: number;
  top: number;
  l2: number;
  l3: number;
  at: number;
}

const IOVA = 0x1234_5000;
const SID = 3n << 32n;

function stage1(change?: Partial<SmmuDescription>): Case {
  const s = board(change);
  const top = s.page();
  const cd = s.stage1(3, 9, top);
  return { s, cd, top, ...mapPage(s, top, IOVA, BigInt(PA) | BigInt(S1_RW) | 3n) };
}

function stage2(): Case {
  const s = board();
  const top = s.pair();
  s.stage2(3, 5, top);
  return { s, cd: 0, top, ...mapPage(s, top, IOVA, BigInt(PA) | BigInt(S2_RW) | 3n) };
}

/** Does the access; gives the physical address, or the words of the event, or `silent`. */
function access(s: Setup, iova: number, write = false): number | bigint[] | 'silent' {
  const device = s.machine.devices[0]!;
  const before = s.smmu.read32(Register.EVENTQ_PROD);
  const result = write ? device.write(iova, [1]) : device.read(iova, 1);
  if (result.ok) return result.pa;
  return s.smmu.read32(Register.EVENTQ_PROD) === before ? 'silent' : s.lastEvent();
}

const READ_IN = 0x0000_0208_0000_0000n;
const WRITE_IN = 0x0000_0200_0000_0000n;
const READ_S2 = 0x0000_0288_0000_0000n;
const READ_TTD = 0x0000_0108_0000_0000n;

test('the event words of real hardware emulation: F_TRANSLATION of SID 0x30, stage 1 and stage 2', () => {
  const s = new Setup({
    ...tiny,
    smmus: [{ ...tiny.smmus[0]!, oas: 44, sidBits: 6 }],
    devices: [{ name: 'edu', smmu: 'smmu0', sid: 0x30 }],
  }).enable(6);
  s.stage1(0x30, 1, s.page());
  expect(access(s, 0x1000)).toEqual([0x0000003000000010n, 0x0000020800000000n, 0x1000n, 0n]);
  s.stage2(0x30, 1, s.pair());
  expect(access(s, 0x1004)).toEqual([0x0000003000000010n, 0x0000028800000000n, 0x1004n, 0x1000n]);
});

test('stage 1 translates, reads and writes', () => {
  const { s } = stage1();
  s.machine.memory.write32(PA + 0x10, 0x1234);
  expect(access(s, IOVA + 0x10)).toBe(PA + 0x10);
  expect(s.machine.device('edu').read(IOVA + 0x10, 1)).toMatchObject({ data: Int32Array.of(0x1234) });
  expect(access(s, IOVA + 0x20, true)).toBe(PA + 0x20);
  expect(s.machine.memory.read32(PA + 0x20)).toBe(1);
});

test('an access that crosses a page is translated page by page and stops at the fault', () => {
  const { s } = stage1();
  mapPage(s, Number(s.get(s.steAt(3)) & 0n) || tableOf(s), IOVA + 4096, BigInt(PA + 0x5000) | BigInt(S1_RW) | 3n);
  const edu = s.machine.device('edu');
  expect(edu.write(IOVA + 4088, [1, 2, 3, 4])).toMatchObject({ ok: true, pa: PA + 4088 });
  expect([PA + 4092, PA + 0x5000].map((pa) => s.machine.memory.read32(pa))).toEqual([2, 3]);
  expect(edu.read(IOVA + 8184, 4)).toMatchObject({ ok: false, iova: IOVA + 8192, event: { name: 'F_TRANSLATION' } });
});

function tableOf(s: Setup): number {
  const cd = Number(s.get(s.steAt(3)) & 0xfffffffffc0n);
  return Number(s.get(cd + 8));
}

type Fault = [name: string, build: () => Case, change: (c: Case) => void, iova: number, write: boolean, words: unknown];

const faults: Fault[] = [
  ['C_BAD_STREAMID', stage1, ({ s }) => shrink(s, 1), IOVA, false, [SID | 2n, 0n, 0n, 0n]],
  ['C_BAD_STREAMID without RECINVSID', stage1, ({ s }) => shrink(s, 1, 0), IOVA, false, 'silent'],
  ['F_STE_FETCH', stage1, ({ s }) => move(s, NOWHERE), IOVA, false, [SID | 3n, 0n, 0n, BigInt(NOWHERE + 192)]],
  ['C_BAD_STE', stage1, ({ s }) => s.put(s.steAt(3), 0n), IOVA, false, [SID | 4n, 0n, 0n, 0n]],
  ['silent abort', stage1, ({ s }) => s.put(s.steAt(3), 1n), IOVA, false, 'silent'],
  ['bypass', stage1, ({ s }) => s.put(s.steAt(3), 9n), PA, false, PA],
  ['bypass above OAS', stage1, ({ s }) => s.put(s.steAt(3), 9n), 2 ** 44, false, [SID | 0x11n, READ_IN, 1n << 44n, 0n]],
  [
    'F_CD_FETCH',
    stage1,
    ({ s }) => s.put(s.steAt(3), BigInt(NOWHERE) | 0xbn),
    IOVA,
    false,
    [SID | 9n, 0n, 0n, BigInt(NOWHERE)],
  ],
  ['C_BAD_CD', stage1, ({ s, cd }) => s.put(cd, 0n), IOVA, false, [SID | 0xan, 0n, 0n, 0n]],
  [
    'S1 table outside memory',
    stage1,
    ({ s, top }) => s.put(top, BigInt(NOWHERE) | 3n),
    IOVA,
    false,
    [SID | 0xbn, READ_TTD, BigInt(IOVA), BigInt(NOWHERE + 8 * 145)],
  ],
  ['S1 F_TRANSLATION', stage1, ({ s, at }) => s.put(at, 0n), IOVA, true, [SID | 0x10n, WRITE_IN, BigInt(IOVA), 0n]],
  ['S1 out of range', stage1, () => undefined, 2 ** 39, false, [SID | 0x10n, READ_IN, 1n << 39n, 0n]],
  [
    'S1 block at level 3',
    stage1,
    ({ s, at }) => s.put(at, BigInt(PA) | BigInt(S1_RW) | 1n),
    IOVA,
    false,
    [SID | 0x10n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'S1 upper half with EPD1',
    stage1,
    () => undefined,
    -4096,
    false,
    [SID | 0x10n, READ_IN, 0xffff_ffff_ffff_f000n, 0n],
  ],
  [
    'S1 EPD0',
    stage1,
    ({ s, cd }) => s.put(cd, s.get(cd) | 0x4000n),
    IOVA,
    false,
    [SID | 0x10n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'S1 table above IPS',
    stage1,
    ({ s, top }) => s.put(top, (1n << 40n) | 3n),
    IOVA,
    false,
    [SID | 0x11n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'S1 output above IPS',
    stage1,
    ({ s, at }) => s.put(at, (1n << 40n) | BigInt(S1_RW) | 3n),
    IOVA,
    false,
    [SID | 0x11n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'address size before access flag',
    stage1,
    ({ s, at }) => s.put(at, (1n << 40n) | 3n),
    IOVA,
    false,
    [SID | 0x11n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'F_ACCESS',
    stage1,
    ({ s, at }) => s.put(at, s.get(at) & ~0x400n),
    IOVA,
    false,
    [SID | 0x12n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'F_ACCESS before F_PERMISSION',
    stage1,
    ({ s, at }) => s.put(at, BigInt(PA) | 0x83n),
    IOVA,
    true,
    [SID | 0x12n, WRITE_IN, BigInt(IOVA), 0n],
  ],
  [
    'no F_ACCESS with AFFD',
    stage1,
    ({ s, at, cd }) => {
      s.put(at, s.get(at) & ~0x400n);
      s.put(cd, s.get(cd) | (1n << 35n));
    },
    IOVA,
    false,
    PA,
  ],
  [
    'F_PERMISSION of a write to read-only',
    stage1,
    ({ s, at }) => s.put(at, s.get(at) | 0x80n),
    IOVA,
    true,
    [SID | 0x13n, WRITE_IN, BigInt(IOVA), 0n],
  ],
  [
    'F_PERMISSION of a privileged page',
    stage1,
    ({ s, at }) => s.put(at, s.get(at) & ~0x40n),
    IOVA,
    false,
    [SID | 0x13n, READ_IN, BigInt(IOVA), 0n],
  ],
  [
    'F_PERMISSION by APTable',
    stage1,
    ({ s, top }) => s.put(top, s.get(top) | (1n << 62n)),
    IOVA,
    true,
    [SID | 0x13n, WRITE_IN, BigInt(IOVA), 0n],
  ],
  [
    'APTable is ignored with HAD0',
    stage1,
    ({ s, top, cd }) => {
      s.put(top, s.get(top) | (1n << 62n));
      s.put(cd + 8, BigInt(top) | 2n);
    },
    IOVA,
    true,
    PA,
  ],
  [
    'a fault that CD.R does not record',
    stage1,
    ({ s, at, cd }) => {
      s.put(at, 0n);
      s.put(cd, s.get(cd) & ~(1n << 45n));
    },
    IOVA,
    false,
    'silent',
  ],
  [
    'S2 F_TRANSLATION',
    stage2,
    ({ s, at }) => s.put(at, 0n),
    IOVA + 8,
    false,
    [SID | 0x10n, READ_S2, BigInt(IOVA + 8), BigInt(IOVA)],
  ],
  ['S2 out of range', stage2, () => undefined, 2 ** 40, false, [SID | 0x10n, READ_S2, 1n << 40n, 1n << 40n]],
  ['S2 above IAS', stage2, () => undefined, 2 ** 44, false, [SID | 0x11n, READ_IN, 1n << 44n, 0n]],
  [
    'S2 F_ADDR_SIZE',
    stage2,
    ({ s, at }) => s.put(at, (1n << 40n) | BigInt(S2_RW) | 3n),
    IOVA,
    false,
    [SID | 0x11n, READ_S2, BigInt(IOVA), BigInt(IOVA)],
  ],
  [
    'S2 F_ACCESS',
    stage2,
    ({ s, at }) => s.put(at, s.get(at) & ~0x400n),
    IOVA,
    false,
    [SID | 0x12n, READ_S2, BigInt(IOVA), BigInt(IOVA)],
  ],
  [
    'S2 write-only page, read',
    stage2,
    ({ s, at }) => s.put(at, s.get(at) & ~0x40n),
    IOVA,
    false,
    [SID | 0x13n, READ_S2, BigInt(IOVA), BigInt(IOVA)],
  ],
  ['S2 write-only page, write', stage2, ({ s, at }) => s.put(at, s.get(at) & ~0x40n), IOVA, true, PA],
  [
    'S2 table outside memory',
    stage2,
    ({ s, top }) => s.put(top, BigInt(NOWHERE) | 3n),
    IOVA,
    false,
    [SID | 0xbn, 0x0000_0188_0000_0000n, BigInt(IOVA), BigInt(NOWHERE + 8 * 145)],
  ],
  [
    'a fault that S2R does not record',
    stage2,
    ({ s, at }) => {
      s.put(at, 0n);
      s.put(s.steAt(3) + 16, stage2Word(5) & ~(1n << 58n));
    },
    IOVA,
    false,
    'silent',
  ],
];

function shrink(s: Setup, log2: number, cr2 = registers.CR2_RECINVSID): void {
  s.smmu.write32(Register.CR0, 0xc);
  s.smmu.write32(Register.CR2, cr2);
  s.smmu.write32(Register.STRTAB_BASE_CFG, log2);
  s.smmu.write32(Register.CR0, 0xd);
}

function move(s: Setup, base: number): void {
  s.smmu.write32(Register.CR0, 0xc);
  s.smmu.write64(Register.STRTAB_BASE, 0, base);
  s.smmu.write32(Register.CR0, 0xd);
}

test.each(faults)('%s', (_name, build, change, iova, write, expected) => {
  const c = build();
  change(c);
  expect(access(c.s, iova, write)).toEqual(expected);
});

test('an access that translates to where nothing answers is aborted without an event', () => {
  const { s, at } = stage1();
  s.put(at, BigInt(NOWHERE) | BigInt(S1_RW) | 3n);
  expect(access(s, IOVA)).toBe('silent');
});

test('blocks: 2 MiB and 1 GiB with 4K, never 512 GiB', () => {
  const { s, top, l2 } = stage1();
  s.put(l2 + 8 * 145, BigInt(0x4020_0000 + 0x1000) | BigInt(S1_RW) | 1n);
  // Bits below the block's size are ignored.
  expect(access(s, IOVA)).toBe(0x4020_0000 + (IOVA % 2 ** 21));
  s.put(top, BigInt(0x4000_0000) | BigInt(S1_RW) | 1n);
  expect(access(s, 0x10_0000)).toBe(0x4010_0000);
  const l0 = s.page();
  s.put(l0, BigInt(0x4000_0000) | BigInt(S1_RW) | 1n);
  s.stage1(3, 9, l0, 16);
  expect(access(s, 0x10_0000)).toEqual([SID | 0x10n, READ_IN, 0x10_0000n, 0n]);
});

test.each([
  [16, 0, 2 ** 47 + 0x5000],
  [25, 1, 2 ** 38 + 0x5000],
  [34, 2, 2 ** 29 + 0x5000],
])('T0SZ %i starts at level %i', (t0sz, level, iova) => {
  const s = board();
  let table = s.page();
  s.stage1(3, 9, table, t0sz);
  for (let l = level; l < 3; l++) {
    const next = s.page();
    s.put(table + 8 * (Math.floor(iova / 2 ** (12 + 9 * (3 - l))) % 512), BigInt(next) | 3n);
    table = next;
  }
  s.put(table + 8 * 5, BigInt(PA) | BigInt(S1_RW) | 3n);
  expect(access(s, iova)).toBe(PA);
  expect(s.smmu.explain(3, iova, false).descriptors.map((d) => d.level)).toEqual([0, 1, 2, 3].slice(level));
});

test('the upper half of the space is translated through TTB1', () => {
  const { s, cd } = stage1();
  const upper = s.page();
  mapPage(s, upper, IOVA, BigInt(PA + 0x7000) | BigInt(S1_RW) | 3n);
  s.put(cd + 16, BigInt(upper));
  // EPD1 = 0, T1SZ 25, TG1 4K.
  s.put(cd, (cdWord(9) & ~(1n << 30n)) | (25n << 16n) | (2n << 22n));
  expect(access(s, -(2 ** 39) + IOVA)).toBe(PA + 0x7000);
  expect(access(s, IOVA)).toBe(PA);
  expect(access(s, -(2 ** 40) + IOVA)).toEqual([
    SID | 0x10n,
    READ_IN,
    BigInt.asUintN(64, -(2n ** 40n) + BigInt(IOVA)),
    0n,
  ]);
});

test('stage 2 starts in concatenated tables, and outputs reach 44 bits', () => {
  const s = board();
  const top = s.pair();
  s.ste(3, 0xdn, 0n, stage2Word(5) | (4n << 48n), BigInt(top));
  // Bit 39 of the input selects the second of the two tables.
  const { at } = mapPage(s, top + 4096, IOVA, (1n << 43n) | BigInt(S2_RW) | 3n);
  expect(s.smmu.translate(3, 2 ** 39 + IOVA, false)).toEqual({ ok: true, pa: 2 ** 43, fault: 0 });
  s.put(at, (1n << 44n) | BigInt(S2_RW) | 3n);
  expect(s.smmu.translate(3, 2 ** 39 + IOVA, false).fault).toBe(0x11);
});

test.each<[string, bigint[], string]>([
  ['T0SZ below 64 - OAS', [0xdn, 0n, stage2Word(5, 16, 2), 0n], 'S2T0SZ is out of range'],
  ['T0SZ above 39', [0xdn, 0n, stage2Word(5, 40, 1), 0n], 'S2T0SZ is out of range'],
  [
    'a start level with more than 16 tables',
    [0xdn, 0n, stage2Word(5, 20, 1), 0n],
    'S2SL0 and S2T0SZ do not fit each other',
  ],
  [
    'a start level above the one needed',
    [0xdn, 0n, stage2Word(5, 34, 1), 0n],
    'S2SL0 and S2T0SZ do not fit each other',
  ],
  ['reserved SL0', [0xdn, 0n, stage2Word(5, 24, 3), 0n], 'S2SL0 and S2T0SZ do not fit each other'],
  [
    'an unsupported granule',
    [0xdn, 0n, stage2Word(5) | (1n << 46n), 0n],
    'S2TG selects a granule that is not supported',
  ],
  ['AArch32', [0xdn, 0n, stage2Word(5) & ~(1n << 51n), 0n], 'S2AA64 is 0: AArch32 tables are not supported'],
  ['a stage-2 table above S2PS', [0xdn, 0n, stage2Word(5), 1n << 40n], 'S2TTB exceeds the output address size'],
  ['stalls', [0xdn, 0n, stage2Word(5) | (1n << 57n), 0n], 'S2S is 1 but STALL_MODEL is 1'],
  ['stalls at stage 1', [0xbn, 1n << 27n, 0n, 0n], 'S1STALLD is 1 but STALL_MODEL is 1'],
  ['a CD pointer above OAS', [(1n << 44n) | 0xbn, 0n, 0n, 0n], 'S1ContextPtr exceeds the output address size'],
  [
    'nested translation and a reserved stage 2',
    [0xfn, 0n, stage2Word(5, 24, 3), 0n],
    'S2SL0 and S2T0SZ do not fit each other',
  ],
])('an STE with %s is ILLEGAL', (_, words, reason) => {
  const s = board();
  s.ste(3, ...words);
  expect(access(s, IOVA)).toEqual([SID | 4n, 0n, 0n, 0n]);
  expect(s.smmu.explain(3, IOVA, false).ste!.illegal).toBe(reason);
});

test.each<[string, (word: bigint) => bigint, string]>([
  ['A=0', (w) => w & ~(1n << 46n), 'A is 0 but TERM_MODEL is 1'],
  ['S=1', (w) => w | (1n << 44n), 'S is 1 but STALL_MODEL is 1'],
  ['AArch32', (w) => w & ~(1n << 41n), 'AA64 is 0: AArch32 tables are not supported'],
  ['HA', (w) => w | (1n << 43n), 'HA or HD without hardware flag update'],
  ['big endian', (w) => w | (1n << 15n), 'ENDI is 1: big-endian tables are not supported'],
  ['T0SZ 15', (w) => (w & ~0x3fn) | 15n, 'TxSZ is out of range (TTB0)'],
  ['T0SZ 40', (w) => (w & ~0x3fn) | 40n, 'TxSZ is out of range (TTB0)'],
  ['an unsupported granule', (w) => w | (1n << 6n), 'TG selects a granule that is not supported (TTB0)'],
  ['an unchecked upper half', (w) => w & ~(1n << 30n), 'TG selects a granule that is not supported (TTB1)'],
])('a CD with %s is ILLEGAL', (_, change, reason) => {
  const { s, cd } = stage1();
  s.put(cd, change(s.get(cd)));
  expect(access(s, IOVA)).toEqual([SID | 0xan, 0n, 0n, 0n]);
  expect(s.smmu.explain(3, IOVA, false).cd!.illegal).toBe(reason);
});

test('a TTB above IPS makes a CD ILLEGAL, and narrow tags reject wide ones', () => {
  const { s, cd } = stage1();
  s.put(cd + 8, 1n << 40n);
  expect(s.smmu.translate(3, IOVA, false).fault).toBe(0xa);
  const narrow = stage1({ asid16: false, vmid16: false });
  expect(narrow.s.smmu.translate(3, IOVA, false).ok).toBe(true);
  narrow.s.put(narrow.cd, cdWord(0x109));
  expect(narrow.s.smmu.translate(3, IOVA, false).fault).toBe(0xa);
  narrow.s.stage2(3, 0x105, narrow.s.pair());
  expect(narrow.s.smmu.explain(3, IOVA, false).ste!.illegal).toBe('S2VMID exceeds 8 bits');
});

test('without a SubstreamID, S1DSS decides where there are substreams', () => {
  const { s, cd } = stage1({ ssidBits: 4 });
  const word0 = BigInt(cd) | 0xbn | (2n << 59n);
  s.put(s.steAt(3), word0);
  s.put(s.steAt(3) + 8, 2n);
  expect(access(s, IOVA)).toBe(PA);
  s.put(s.steAt(3) + 8, 1n);
  expect(access(s, PA)).toBe(PA);
  s.put(s.steAt(3) + 8, 0n);
  expect(access(s, IOVA)).toEqual([SID | 6n, 0n, 0n, 0n]);
  s.put(s.steAt(3), BigInt(cd) | 0xbn | (5n << 59n));
  expect(s.smmu.explain(3, IOVA, false).ste!.illegal).toBe('S1CDMax exceeds SSIDSIZE');
});

test('a two-level stream table ends where its spans end', () => {
  const s = new Setup({
    ...tiny,
    smmus: [{ ...tiny.smmus[0]!, sidBits: 16, twoLevelStreamTable: true }],
  });
  const l2 = s.page();
  s.enable(0x10000 | (8 << 6) | 10);
  const l1 = STRTAB;
  const fault = (sid: number): number => s.smmu.translate(sid, 0x1000, false).fault;
  s.put(l2 + 64 * 7, 9n);
  s.put(l2 + 64 * 8, 9n);
  // Span 4: eight STEs for StreamIDs 256 to 263.
  s.put(l1 + 8, BigInt(l2) | 4n);
  expect([263, 264, 255, 256, 1023, 1024].map(fault)).toEqual([0, 2, 2, 4, 2, 2]);
  // Span 9 is the whole split of 8 bits; 10 is too large, 0 and 12 are invalid.
  s.put(l1 + 8, BigInt(l2) | 9n);
  expect([264, 511].map(fault)).toEqual([0, 4]);
  for (const span of [0n, 10n, 12n, 31n]) {
    s.put(l1 + 8, BigInt(l2) | span);
    expect(fault(263)).toBe(2);
  }
  s.put(l1 + 16, BigInt(NOWHERE) | 9n);
  expect(fault(512)).toBe(3);
});

test.each([
  [14, 16, 2n, [36, 25, 14]],
  [16, 16, 1n, [42, 29, 16]],
])('granule 2^%i', (granule, t0sz, tg, shifts) => {
  const s = board({ granules: [granule] });
  const cd = s.page();
  const iova = 2 ** 40 + 2 ** 30 + 3 * 2 ** granule + 0x10;
  let table = 0x40200000;
  const start = table;
  // 16K: 48 bits start at level 0, whose one index bit is bit 47.
  if (granule === 14) {
    s.put(table, BigInt(table + 0x10000) | 3n);
    table += 0x10000;
  }
  const bits = granule - 3;
  shifts.forEach((shift, i) => {
    const index = Math.floor(iova / 2 ** shift) % 2 ** bits;
    const next = i === 2 ? PA : table + 0x100000 / 2;
    s.put(table + 8 * index, BigInt(next) | (i === 2 ? BigInt(S1_RW) : 0n) | 3n);
    table = next;
  });
  s.cd(cd, 9, start, t0sz);
  s.put(cd, s.get(cd) | (tg << 6n));
  s.ste(3, BigInt(cd) | 0xbn, 0xd6n, 0n, 0n);
  expect(access(s, iova)).toBe(PA + 0x10);
});
