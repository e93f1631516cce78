import { expect, test } from 'vitest';
import { registers, type SmmuDescription } from '#machine';
import { cdWord, mapPage, S1_RW, type Setup, stage2Word } from './bench-setup.ts';
import { CD, DATA, IOVA, NestedSetup, OFFSET, SID, smmuWith, VMID } from './nested-setup.ts';

const { Register } = registers;
const A = 0x4010_0000;
const SID_WORD = BigInt(SID) << 32n;
const FULL = 1n << 28n;
const SPLIT = 2n << 28n;
const ATS: Partial<SmmuDescription> = { ats: true };
const ATTRIBUTES = 0xd4n;

/** Stream 3 with a writable page at {@link IOVA}, and ATS as `eats` says. */
function withAts(eats = FULL, change = ATS): { s: Setup; at: number; cd: number } {
  const s = smmuWith(change).enable();
  const top = s.page();
  const cd = s.stage1(SID, 9, top);
  s.ste(SID, BigInt(cd) | 0xbn, ATTRIBUTES | eats, 0n, 0n);
  return { s, cd, at: mapPage(s, top, IOVA, BigInt(A) | BigInt(S1_RW) | 3n).at };
}

const ask = (s: Setup, write = true, iova = IOVA) => s.machine.device(SID).requestTranslation(iova, write);
const events = (s: Setup): number => s.smmu.read32(Register.EVENTQ_PROD);

function check(s: Setup, on = true): void {
  s.smmu.write32(Register.CR0, 0xd | (on ? registers.CR0_ATSCHK : 0));
}

test('a translation request is answered with address, size and permissions, and the device keeps it', () => {
  const { s, at } = withAts();
  expect(ask(s)).toMatchObject({ status: 'success', read: true, write: true, pa: A, size: 4096 });
  s.put(at, s.get(at) | 0x80n);
  // Permission: what can be granted is, and nothing is recorded.
  expect(ask(s)).toMatchObject({ status: 'success', read: true, write: false, pa: A });
  expect(events(s)).toBe(0);
  expect(s.smmu.atc()).toMatchObject([
    { sid: SID, iova: IOVA, pa: A, write: true },
    { sid: SID, iova: IOVA, pa: A, write: false },
  ]);
});

test.each([
  ['F_TRANSLATION', 0n],
  ['F_ADDR_SIZE', (1n << 40n) | BigInt(S1_RW) | 3n],
  ['F_ACCESS', BigInt(A) | BigInt(S1_RW & ~0x400) | 3n],
  ['F_PERMISSION for reads and writes', BigInt(A) | BigInt(S1_RW & ~0x40) | 3n],
])('a request that would end in %s succeeds without permissions and without an event', (_, leaf) => {
  const { s, at } = withAts();
  s.put(at, leaf);
  expect(ask(s)).toMatchObject({ status: 'success', read: false, write: false });
  expect(events(s)).toBe(0);
  expect(s.smmu.atc()).toEqual([]);
});

test('F_BAD_ATS_TREQ: a request with the SMMU off, with EATS 0, or with Config bypass', () => {
  const { s } = withAts(0n);
  const expected = [SID_WORD | 5n, 0n, BigInt(IOVA), 0n];
  expect(ask(s)).toEqual({ status: 'unsupported', recorded: true });
  expect(s.lastEvent()).toEqual(expected);
  s.ste(SID, 9n, FULL);
  expect(ask(s).status).toBe('unsupported');
  expect(s.lastEvent()).toEqual(expected);
  s.smmu.write32(Register.CR0, 0xc);
  expect(ask(s).status).toBe('unsupported');
  expect(events(s)).toBe(3);
});

test('a request of a stream that aborts is unsupported, silently; configuration errors by REC_CFG_ATS', () => {
  const { s, cd } = withAts();
  s.put(s.steAt(SID), 1n);
  expect(ask(s)).toEqual({ status: 'unsupported', recorded: false });
  const break_ = [() => s.put(s.steAt(SID), 0n), () => s.put(s.steAt(SID), BigInt(cd) | 0xbn), () => s.put(cd, 0n)];
  break_[0]!();
  expect(ask(s)).toEqual({ status: 'aborted', recorded: false });
  break_[1]!();
  break_[2]!();
  expect(ask(s)).toEqual({ status: 'aborted', recorded: false });
  expect(events(s)).toBe(0);
  s.smmu.write32(Register.CR0, 0xc);
  s.smmu.write32(Register.CR2, registers.CR2_REC_CFG_ATS);
  s.smmu.write32(Register.CR0, 0xd);
  expect(ask(s)).toEqual({ status: 'aborted', recorded: true });
  expect(s.lastEvent()[0]).toBe(SID_WORD | 10n);
});

test('the ATC outlives every TLB invalidation; CMD_ATC_INV and a SYNC end it', () => {
  const { s } = withAts();
  ask(s);
  const inv = (sid: number, iova: number, size: bigint, q0 = 0n): void =>
    s.command(0x40n | q0 | (BigInt(sid) << 32n), BigInt(iova) | size);
  s.command(0x30n);
  s.cfgiAll();
  s.sync();
  inv(SID, IOVA + 4096, 0n);
  inv(SID - 1, IOVA, 0n);
  inv(SID, IOVA, 52n, 1n << 11n);
  // A size that is reserved does nothing.
  inv(SID, IOVA, 53n);
  s.sync();
  expect(s.smmu.atc()).toMatchObject([{ pending: false }]);
  inv(SID, IOVA & ~0xffff, 4n);
  expect(s.smmu.atc()).toMatchObject([{ pending: true }]);
  s.sync();
  expect(s.smmu.atc()).toEqual([]);
  ask(s);
  inv(SID, 0, 52n);
  s.sync();
  expect(s.smmu.atc()).toEqual([]);
});

test('CMD_ATC_INV is ignored while SMMUEN is 0: what a device was told may come back with it', () => {
  const { s } = withAts();
  ask(s);
  s.smmu.write32(Register.CR0, 0xc);
  s.command(0x40n | SID_WORD, 52n);
  s.sync();
  expect(s.smmu.atc()).toHaveLength(1);
});

test('CERROR_ATC_INV_SYNC: a SYNC stays on what a device does not answer, and the device keeps what it was told', () => {
  const { s } = withAts();
  ask(s);
  const cons = (): number => s.smmu.read32(Register.CMDQ_CONS);
  // Without an invalidation there is nothing to time out.
  s.smmu.timeOutAtcInvalidations();
  s.sync();
  const before = cons();
  s.command(0x40n | SID_WORD, 52n);
  s.smmu.timeOutAtcInvalidations();
  s.sync();
  expect(cons()).toBe((before + 1) | (registers.CERROR_ATC_INV_SYNC << 24));
  expect(s.smmu.read32(Register.GERROR)).toBe(registers.GERROR_CMDQ_ERR);
  expect(s.smmu.atc()).toMatchObject([{ pending: false }]);
  // Acknowledged, the SYNC is fetched again, and completes nothing of it.
  s.smmu.write32(Register.GERRORN, registers.GERROR_CMDQ_ERR);
  expect(cons()).toBe(before + 2);
  expect(s.smmu.atc()).toHaveLength(1);
  s.command(0x40n | SID_WORD, 52n);
  s.sync();
  expect(s.smmu.atc()).toEqual([]);
});

test('translated traffic passes anywhere without ATSCHK, with it only where EATS allows', () => {
  const { s } = withAts();
  const device = s.machine.device(SID);
  const elsewhere = A + 0x5000;
  const translated = () => device.read(elsewhere, 1, { translated: true });
  expect(translated()).toMatchObject({ ok: true, pa: elsewhere });
  check(s);
  expect(translated()).toMatchObject({ ok: true, pa: elsewhere });
  s.put(s.steAt(SID) + 8, ATTRIBUTES);
  expect(translated()).toMatchObject({ ok: false, event: { name: 'F_TRANSL_FORBIDDEN' } });
  expect(s.lastEvent()).toEqual([SID_WORD | 7n, 1n << 35n, BigInt(elsewhere), 0n]);
  s.ste(SID, 9n, FULL);
  expect(translated()).toMatchObject({ event: { name: 'F_TRANSL_FORBIDDEN' } });
  s.put(s.steAt(SID), 1n);
  expect(translated()).toMatchObject({ ok: false, event: null });
  const before = events(s);
  s.put(s.steAt(SID), 0n);
  expect(translated()).toMatchObject({ ok: false, event: { name: 'C_BAD_STE', recorded: false } });
  expect(events(s)).toBe(before);
  s.smmu.write32(Register.CR0, 0xc | registers.CR0_ATSCHK);
  expect(translated()).toMatchObject({ ok: false, event: { name: 'F_TRANSL_FORBIDDEN' } });
  expect(events(s)).toBe(before + 1);
});

test('translated traffic, ATSCHK 1: configuration errors are recorded by REC_CFG_ATS, whatever RECINVSID', () => {
  const { s } = withAts();
  const { smmu } = s;
  const set = (cr2: number, base: number): void => {
    smmu.write32(Register.CR0, 0xc);
    smmu.write32(Register.CR2, cr2);
    smmu.write64(Register.STRTAB_BASE, 0, base);
    check(s);
  };
  s.put(s.steAt(SID), 0n);
  for (const [sid, base, event] of [
    [SID, 0x4001_0000, 4],
    [SID, 0x2000_0000, 3],
    [8, 0x4001_0000, 2],
  ] as const) {
    set(registers.CR2_RECINVSID, base);
    const before = events(s);
    smmu.translatedAccess(sid, A, false);
    expect(events(s)).toBe(before);
    set(registers.CR2_REC_CFG_ATS, base);
    smmu.translatedAccess(sid, A, false);
    expect(s.lastEvent()[0]).toBe(BigInt(event) | (BigInt(sid) << 32n));
  }
});

test('without ATS, translated traffic is F_TRANSL_FORBIDDEN, ATSCHK does not exist and CMD_ATC_INV is ILLEGAL', () => {
  const { s } = withAts(FULL, {});
  expect(s.machine.device(SID).read(A, 1, { translated: true })).toMatchObject({
    event: { name: 'F_TRANSL_FORBIDDEN' },
  });
  check(s);
  expect(s.smmu.read32(Register.CR0)).toBe(0xd);
  expect(s.smmu.read32(0) & 0x400).toBe(0);
  s.command(0x40n, 52n);
  expect(s.smmu.read32(Register.CMDQ_CONS) >>> 24).toBe(1);
});

test('nested, EATS 1: the answer is physical, of the smaller of both leaves', () => {
  const n = new NestedSetup(ATS);
  n.attach(undefined, ATTRIBUTES | FULL);
  expect(ask(n.s)).toMatchObject({ status: 'success', read: true, write: true, pa: DATA + OFFSET, size: 4096 });
});

test('split-stage (EATS 2): the answer is an IPA, and translated traffic goes through stage 2', () => {
  const n = new NestedSetup(ATS);
  n.attach(undefined, ATTRIBUTES | SPLIT);
  const answer = ask(n.s);
  expect(answer).toMatchObject({ status: 'success', pa: DATA });
  check(n.s);
  const device = n.s.machine.device(SID);
  expect(device.read(DATA + 8, 1, { translated: true })).toMatchObject({ ok: true, pa: DATA + OFFSET + 8 });
  n.s.put(n.stage2Of(DATA), 0n);
  expect(device.read(DATA, 1, { translated: true })).toMatchObject({ ok: false, event: { name: 'F_TRANSLATION' } });
  // The request does not ask stage 2 about the output, only about tables.
  expect(ask(n.s)).toMatchObject({ status: 'success', pa: DATA });
});

test.each<[string, bigint, bigint, bigint, boolean]>([
  ['EATS 2 without nesting', 0xbn, SPLIT, stage2Word(VMID), false],
  ['EATS 2 with S2S', 0xfn, SPLIT, stage2Word(VMID) | (1n << 57n), false],
  ['EATS 1 with S2S', 0xfn, FULL, stage2Word(VMID) | (1n << 57n), false],
  ['EATS 1 with S2S, stage 1 only', 0xbn, FULL, stage2Word(VMID) | (1n << 57n), true],
  ['EATS 3 behaves as 0', 0xfn, 3n << 28n, stage2Word(VMID), true],
])('the STE: %s', (_, config, eats, word2, legal) => {
  const n = new NestedSetup({ ...ATS, stallModel: 'both' });
  n.guest(CD, 0, cdWord(9));
  n.attach(BigInt(CD) | config, ATTRIBUTES | eats, word2);
  expect(n.s.smmu.explain(SID, IOVA, false).ste!.illegal === '').toBe(legal);
});
