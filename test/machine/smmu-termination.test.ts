import { expect, test } from 'vitest';
import { registers, type SmmuDescription } from '#machine';
import { cdWord, EVTQ, mapPage, S1_RW, type Setup, stage2Word } from './bench-setup.ts';
import { CD, IOVA, L3, NestedSetup, SID, smmuWith, VMID } from './nested-setup.ts';

const { Register } = registers;
const PA = 0x4010_0000;
const A = 1n << 46n;
const R = 1n << 45n;
const S = 1n << 44n;
const BOTH: Partial<SmmuDescription> = { termModel: 'both' };

/** Stream 3: a page at {@link IOVA}, none after it, and one after that; the CD has A = 0. */
function quiet(change = BOTH, cd = cdWord(9) & ~A): { s: Setup; at: number; cd: number } {
  const s = smmuWith(change).enable();
  const top = s.page();
  const cdAt = s.stage1(SID, 9, top);
  s.put(cdAt, cd);
  const { at } = mapPage(s, top, IOVA, BigInt(PA) | BigInt(S1_RW) | 3n);
  s.put(at + 16, BigInt(PA + 0x2000) | BigInt(S1_RW) | 3n);
  return { s, at, cd: cdAt };
}

const device = (s: Setup) => s.machine.device(SID);
const events = (s: Setup): number => s.smmu.read32(Register.EVENTQ_PROD);

test('TERM_MODEL 1: a CD with A = 0 is ILLEGAL', () => {
  const { s } = quiet({});
  expect(s.smmu.translate(SID, IOVA, false).fault).toBe(0xa);
  expect(s.smmu.explain(SID, IOVA, false).cd!.illegal).toBe('A is 0 but TERM_MODEL is 1');
});

test('TERM_MODEL 0: A = 0 completes a faulting access as zeros, A = 1 aborts it; R records either', () => {
  for (const [a, r] of [
    [0n, 0n],
    [0n, R],
    [A, 0n],
    [A, R],
  ] as const) {
    const { s } = quiet(BOTH, (cdWord(9) & ~A & ~R) | a | r);
    const result = device(s).read(IOVA + 4096, 1);
    expect(result).toMatchObject({
      ok: false,
      iova: IOVA + 4096,
      event: { name: 'F_TRANSLATION', recorded: r !== 0n },
    });
    expect('ignored' in result).toBe(a === 0n);
    expect(events(s)).toBe(r === 0n ? 0 : 1);
  }
});

test('an access of several pages goes on over the one that is ignored', () => {
  const { s } = quiet();
  const { memory } = s.machine;
  const result = device(s).write(IOVA + 4092, [...Array(1026).keys()]);
  expect(result).toMatchObject({ ok: false, ignored: true, iova: IOVA + 4096 });
  expect([memory.read32(PA + 4092), memory.read32(PA + 0x1000), memory.read32(PA + 0x2000)]).toEqual([0, 0, 1025]);
});

test.each([
  ['F_TRANSLATION', (c: ReturnType<typeof quiet>) => c.s.put(c.at, 0n)],
  ['F_ADDR_SIZE', (c: ReturnType<typeof quiet>) => c.s.put(c.at, (1n << 40n) | BigInt(S1_RW) | 3n)],
  ['F_ACCESS', (c: ReturnType<typeof quiet>) => c.s.put(c.at, BigInt(PA) | BigInt(S1_RW & ~0x400) | 3n)],
  ['F_PERMISSION', (c: ReturnType<typeof quiet>) => c.s.put(c.at, BigInt(PA) | BigInt(S1_RW & ~0x40) | 3n)],
])('A = 0 hides %s', (name, change) => {
  const c = quiet();
  change(c);
  expect(device(c.s).read(IOVA, 1)).toMatchObject({ ignored: true, event: { name } });
});

test.each([
  ['F_WALK_EABT', (c: ReturnType<typeof quiet>) => c.s.put(c.cd + 8, 0x2000_0000n)],
  ['C_BAD_CD', (c: ReturnType<typeof quiet>) => c.s.put(c.cd, 0n)],
  ['C_BAD_STE', (c: ReturnType<typeof quiet>) => c.s.put(c.s.steAt(SID), 0n)],
])('A = 0 does not hide %s', (name, change) => {
  const c = quiet();
  device(c.s).read(IOVA, 1);
  change(c);
  const result = device(c.s).read(IOVA, 1);
  expect(result).toMatchObject({ ok: false, event: { name } });
  expect('ignored' in result).toBe(false);
});

test('S = 1 stalls whatever A; a fault of stage 2 always aborts', () => {
  const { s } = quiet({ ...BOTH, stallModel: 'both' }, (cdWord(9) & ~A) | S);
  const stalled = device(s).read(IOVA + 4096, 1);
  expect(stalled).toMatchObject({ stag: 0 });
  expect('ignored' in stalled).toBe(false);
  const n = new NestedSetup(BOTH);
  n.guest(CD, 0, cdWord(9) & ~A);
  n.s.cfgiAll();
  n.s.sync();
  for (const ipa of [L3, CD]) {
    n.s.put(n.stage2Of(ipa), 0n);
    const result = n.s.machine.device(SID).read(IOVA, 1);
    expect(result).toMatchObject({ ok: false, event: { name: 'F_TRANSLATION' } });
    expect('ignored' in result).toBe(false);
  }
  n.attach(undefined, undefined, stage2Word(VMID));
});

test('an access that only a cached CD hides, or shows, is a possible outcome of its own', () => {
  const { s, cd } = quiet();
  s.put(cd, cdWord(9));
  const found = device(s).possible(IOVA + 4096, false);
  expect([found[0]!.event!.name, found[0]!.ignored]).toEqual(['F_TRANSLATION', undefined]);
  const outcome = found.findIndex(({ ignored }) => ignored === true);
  expect(found[outcome]!.event!.name).toBe('F_TRANSLATION');
  const hidden = device(s).read(IOVA + 4096, 1, { outcome });
  expect(hidden).toMatchObject({ ok: false, ignored: true });
});

test('ATS requests do not see A', () => {
  const { s } = quiet({ ...BOTH, ats: true });
  const ste = s.get(s.steAt(SID));
  s.ste(SID, ste, 0xd6n | (1n << 28n));
  expect(device(s).requestTranslation(IOVA + 4096, false)).toMatchObject({ status: 'success', read: false });
});

test('STE.MEV: equal events are each recorded, with MEV and without', () => {
  for (const mev of [0n, 1n << 19n]) {
    const { s } = quiet(BOTH, cdWord(9));
    s.ste(SID, s.get(s.steAt(SID)), 0xd6n | mev);
    for (let i = 0; i < 3; i++) device(s).read(IOVA + 4096, 1);
    expect(events(s)).toBe(3);
    const record = (n: number): bigint[] => [0, 8, 16, 24].map((offset) => s.get(EVTQ + 32 * n + offset));
    expect(record(1)).toEqual(record(0));
    expect(record(2)).toEqual(record(0));
  }
});
