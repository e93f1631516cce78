import { expect, test } from 'vitest';
import { registers, type SmmuDescription } from '#machine';
import { cdWord, EVTQ, mapPage, S1_RW, type Setup, stage2Word } from './bench-setup.ts';
import { IOVA, NestedSetup, SID, smmuWith } from './nested-setup.ts';

const { Register } = registers;
const A = 0x4010_0000;
const SID_WORD = BigInt(SID) << 32n;
const S = 1n << 44n;
const STALL = 1n << 31n;
const BOTH: Partial<SmmuDescription> = { stallModel: 'both' };

/** Stream 3 with an empty page at {@link IOVA} and a CD that stalls. */
function stalling(change = BOTH, flags = S): { s: Setup; at: number; cd: number } {
  const s = smmuWith(change).enable();
  const top = s.page();
  const cd = s.stage1(SID, 9, top);
  s.put(cd, cdWord(9) | flags);
  const { at } = mapPage(s, top, IOVA, 0n);
  return { s, at, cd };
}

const read = (s: Setup) => s.machine.device(SID).read(IOVA, 1);
const resume = (s: Setup, stag: number, flags: bigint, sid = SID): void =>
  s.command(0x44n | flags | (BigInt(sid) << 32n), BigInt(stag));
const RETRY = 1n << 12n;
const ABORT = 1n << 13n;

test('CD.S: a translation fault waits under a STAG, its event has Stall, and RESUME lets it try again', () => {
  const { s, at } = stalling();
  expect(read(s)).toMatchObject({ ok: false, stag: 0, event: { name: 'F_TRANSLATION' } });
  expect(s.lastEvent()).toEqual([SID_WORD | 0x10n, 0x0000_0208_0000_0000n | STALL, BigInt(IOVA), 0n]);
  expect(s.smmu.stalled()).toEqual([{ stag: 0, sid: SID, iova: IOVA, write: false, state: 'waiting', recorded: true }]);
  const device = s.machine.device(SID);
  expect(device.stallAnswer(0)).toBe('waiting');
  s.put(at, BigInt(A) | BigInt(S1_RW) | 3n);
  resume(s, 0, RETRY | ABORT);
  expect(device.stallAnswer(0)).toBe('retry');
  expect(device.stallAnswer(0)).toBe(null);
  expect(read(s)).toMatchObject({ ok: true, pa: A });
});

test('a fault that only a cache still leads to stalls too', () => {
  const { s, at } = stalling();
  s.put(at, BigInt(A) | BigInt(S1_RW) | 0x83n);
  s.put(at, BigInt(A) | BigInt(S1_RW) | 3n);
  const device = s.machine.device(SID);
  const outcome = device.possible(IOVA, true).findIndex(({ stalls }) => stalls === true);
  expect(outcome).toBeGreaterThan(0);
  expect(device.write(IOVA, [1], { outcome })).toMatchObject({ ok: false, stag: 0, event: { name: 'F_PERMISSION' } });
  expect(s.smmu.stalled()).toHaveLength(1);
});

test('RESUME: Ac = 0 aborts or ignores by Ab; another StreamID or STAG does nothing', () => {
  const { s } = stalling({ ...BOTH, termModel: 'both' });
  const device = s.machine.device(SID);
  read(s);
  read(s);
  expect(s.smmu.stalled().map(({ stag }) => stag)).toEqual([0, 1]);
  resume(s, 0, ABORT, SID - 1);
  resume(s, 2, ABORT);
  resume(s, 0xffff, ABORT);
  expect(s.smmu.stalled().map(({ state }) => state)).toEqual(['waiting', 'waiting']);
  resume(s, 0, ABORT);
  resume(s, 1, 0n);
  // An answered transaction is not answered again.
  resume(s, 0, RETRY);
  expect([device.stallAnswer(0), device.stallAnswer(1)]).toEqual(['abort', 'ignore']);
});

test('RESUME: with TERM_MODEL 1 Ac = 0 aborts, whatever Ab', () => {
  const { s } = stalling();
  read(s);
  resume(s, 0, 0n);
  expect(s.machine.device(SID).stallAnswer(0)).toBe('abort');
});

test('STALL_TERM ends the transactions of its stream, SMMUEN = 0 those of all', () => {
  const { s } = stalling();
  read(s);
  s.command(0x45n | (BigInt(SID - 1) << 32n));
  expect(s.smmu.stalled()[0]!.state).toBe('waiting');
  s.command(0x45n | SID_WORD);
  expect(s.smmu.stalled()[0]!.state).toBe('abort');
  read(s);
  s.smmu.write32(Register.CR0, 0xc);
  expect(s.smmu.stalled().map(({ state }) => state)).toEqual(['abort', 'abort']);
});

test('R is ignored when S is 1; configuration errors and walk aborts never stall', () => {
  const { s, cd, at } = stalling();
  s.put(cd, (cdWord(9) | S) & ~(1n << 45n));
  expect(read(s)).toMatchObject({ stag: 0 });
  s.put(at, BigInt(A) | BigInt(S1_RW & ~0x400) | 3n);
  expect(read(s)).toMatchObject({ stag: 1, event: { name: 'F_ACCESS' } });
  s.put(cd + 8, 0x2000_0000n);
  expect(read(s)).toMatchObject({ event: { name: 'F_WALK_EABT' } });
  s.put(cd, 0n);
  expect(read(s)).toMatchObject({ event: { name: 'C_BAD_CD' } });
  expect(s.smmu.stalled()).toHaveLength(2);
});

test('S2S: a fault of stage 2 stalls, wherever in a nested walk', () => {
  const n = new NestedSetup(BOTH);
  n.attach(undefined, undefined, (stage2Word(5) | (1n << 57n)) & ~(1n << 58n));
  n.s.put(n.leaves[0]!, 0n);
  expect(n.access(IOVA)).toMatchObject([
    SID_WORD | 0x10n,
    (1n << 35n) | (1n << 39n) | STALL,
    BigInt(IOVA),
    0x1000_0000n,
  ]);
});

test('a stall event waits for room in the queue; it is not lost and no overflow', () => {
  const { s } = stalling();
  const net = s.machine.device(1);
  for (let i = 0; i < 128; i++) net.read(IOVA, 1);
  read(s);
  read(s);
  expect(s.smmu.stalled().map(({ recorded }) => recorded)).toEqual([false, false]);
  expect(s.smmu.read32(Register.EVENTQ_PROD)).toBe(128);
  s.smmu.write32(Register.EVENTQ_CONS, 1);
  expect(s.smmu.stalled().map(({ recorded }) => recorded)).toEqual([true, false]);
  expect(s.get(EVTQ + 8) & 0xffff_ffffn).toBe(STALL);
  s.smmu.write32(Register.EVENTQ_CONS, 2);
  expect(s.get(EVTQ + 32 + 8) & 0xffff_ffffn).toBe(STALL | 1n);
});

test('with every STAG taken a transaction waits without a record', () => {
  const { s } = stalling();
  for (let i = 0; i < 16; i++) expect(read(s)).toMatchObject({ stag: i });
  expect(read(s)).toMatchObject({ ok: false, stag: -1, event: null });
  resume(s, 5, ABORT);
  s.machine.device(SID).stallAnswer(5);
  expect(read(s)).toMatchObject({ stag: 5 });
});

test.each([
  ['S = 1 with STALL_MODEL 1', { stallModel: 'terminate' }, S, 10],
  ['S = 0 with STALL_MODEL 2', { stallModel: 'stall' }, 0n, 10],
  ['S = 1 with STALL_MODEL 2', { stallModel: 'stall' }, S, 0x10],
  ['S = 0 with STALL_MODEL 0', { stallModel: 'both' }, 0n, 0x10],
] as [string, Partial<SmmuDescription>, bigint, number][])('%s', (_, change, flags, fault) => {
  const { s } = stalling(change, flags);
  expect(s.smmu.translate(SID, IOVA, false).fault).toBe(fault);
  expect((s.smmu.read32(0) >>> 24) & 3).toBe(['both', 'terminate', 'stall'].indexOf(change.stallModel!));
});

test('S1STALLD forbids S = 1, and is ILLEGAL unless STALL_MODEL is 0; S2S follows STALL_MODEL', () => {
  const { s, cd } = stalling();
  s.ste(SID, BigInt(cd) | 0xbn, 0xd6n | (1n << 27n), 0n, 0n);
  expect(s.smmu.translate(SID, IOVA, false).fault).toBe(10);
  s.put(cd, cdWord(9));
  expect(s.smmu.translate(SID, IOVA, false).fault).toBe(0x10);
  for (const [stallModel, stalls, legal] of [
    ['both', true, true],
    ['terminate', true, false],
    ['terminate', false, true],
    ['stall', false, false],
    ['stall', true, true],
  ] as const) {
    const t = smmuWith({ stallModel }).enable();
    t.ste(SID, 0xdn, 0n, stage2Word(5) | (stalls ? 1n << 57n : 0n), BigInt(t.pair()));
    expect(t.smmu.translate(SID, IOVA, false).fault === 4).toBe(!legal);
    t.ste(SID, BigInt(cd) | 0xbn, 1n << 27n, 0n, 0n);
    expect(t.smmu.explain(SID, IOVA, false).ste!.illegal !== '').toBe(stallModel !== 'both');
  }
});

test('undo takes stalls back', () => {
  const { s } = stalling();
  const { memory } = s.machine;
  read(s);
  const before = [memory.stateHash(true), s.smmu.stalled()];
  const mark = memory.mark();
  read(s);
  resume(s, 0, RETRY);
  s.machine.device(SID).stallAnswer(0);
  memory.undo(mark);
  expect([memory.stateHash(true), s.smmu.stalled()]).toEqual(before);
});
