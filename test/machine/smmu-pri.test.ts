import { expect, test } from 'vitest';
import { type PageRequest, registers, type SmmuDescription, structures } from '#machine';
import type { Setup } from './bench-setup.ts';
import { SID, smmuWith } from './nested-setup.ts';

const { Register } = registers;
const PRIQ = 0x4001_4000;
/** Entries of the queue: four. */
const LOG2 = 2;
const PRI: Partial<SmmuDescription> = { ats: true, pri: true, priqLog2: 3, ssidBits: 8, msi: true };
const ON = registers.CR0_FIELDS | registers.CR0_PRIQEN;
const PPAR = 1n << 18n;
const EATS = 1n << 28n;
const page: PageRequest = { iova: 0x1234_5678, read: true, write: false, last: true, group: 5 };

function withPri(change: Partial<SmmuDescription> = {}, base = PRIQ): Setup {
  const s = smmuWith({ ...PRI, ...change });
  s.smmu.write64(Register.PRIQ_BASE, 0, base | LOG2);
  s.enable();
  s.ste(SID, 9n, EATS);
  s.smmu.write32(Register.CR0, ON);
  return s;
}

const ask = (s: Setup, request: Partial<PageRequest> = {}) =>
  s.machine.device(SID).requestPage({ ...page, ...request });
const told = (s: Setup, group = page.group) => s.machine.device(SID).pageResponse(group);
const entry = (s: Setup, n: number): bigint[] => [s.get(PRIQ + 16 * n), s.get(PRIQ + 16 * n + 8)];
const events = (s: Setup): number => s.smmu.read32(Register.EVENTQ_PROD);

/** Fills the queue with four requests that are not the last of their groups. */
function fill(s: Setup): void {
  for (let i = 0; i < 4; i++) expect(ask(s, { last: false, group: 100 + i })).toBe('queued');
}

test('a page request is written to the PRI queue, byte for byte', () => {
  const s = withPri();
  expect(ask(s, { write: true, ssid: 0xa5, execute: true, privileged: true })).toBe('queued');
  expect(entry(s, 0)).toEqual([0xfc00_00a5_0000_0003n, 0x1234_5005n]);
  expect(ask(s, { iova: -0x1000, last: false, group: 511 })).toBe('queued');
  expect(entry(s, 1)).toEqual([0x1000_0000_0000_0003n, 0xffff_ffff_ffff_f1ffn]);
  expect(s.smmu.read32(Register.PRIQ_PROD)).toBe(2);
  const words = s.machine.memory.words.slice(s.machine.memory.indexOf(PRIQ), s.machine.memory.indexOf(PRIQ) + 4);
  expect(structures.decode(structures.PAGE_REQUEST, words)).toEqual({
    SID,
    SSID: 0xa5,
    Priv: 1,
    X: 1,
    R: 1,
    W: 1,
    L: 1,
    SSV: 1,
    PRGIndex: 5,
    Address: 0x1234_5000,
  });
});

test('without a SubstreamID, or on an SMMU without any, X and Priv are 0', () => {
  const s = withPri();
  ask(s, { execute: true, privileged: true });
  expect(entry(s, 0)[0]).toBe(0x5000_0000_0000_0003n);
  const none = withPri({ ssidBits: 0 });
  ask(none, { execute: true, privileged: true, ssid: 7 });
  expect(entry(none, 0)[0]).toBe(0x5000_0000_0000_0003n);
});

test('CMD_PRI_RESP answers a group once; its device takes no notice of a response that it does not wait for', () => {
  const s = withPri();
  const respond = (group: number, code: bigint, q0 = 0n, sid = SID): void =>
    s.command(0x41n | q0 | (BigInt(sid) << 32n), BigInt(group) | (code << 12n));
  for (const [i, state] of (['failure', 'invalid', 'success'] as const).entries()) {
    ask(s, { group: i });
    s.smmu.write32(Register.PRIQ_CONS, s.smmu.read32(Register.PRIQ_PROD));
    respond(i, 2n, 0n, SID - 1);
    respond(i + 1, 2n);
    expect(told(s, i)).toEqual({ sid: SID, group: i, state: 'waiting', ssid: -1 });
    respond(i, BigInt(i), (1n << 11n) | (9n << 12n));
    respond(i, 2n);
    expect(s.smmu.pageGroups()).toEqual([{ sid: SID, group: i, state, ssid: 9 }]);
    expect(told(s, i)).toEqual({ sid: SID, group: i, state, ssid: 9 });
    expect(told(s, i)).toBe(null);
  }
  ask(s, { group: 7 });
  // Ignored while SMMUEN is 0.
  s.smmu.write32(Register.CR0, ON & ~registers.CR0_SMMUEN);
  respond(7, 2n);
  expect(told(s, 7)).toMatchObject({ state: 'waiting' });
});

test('CMD_PRI_RESP with a SubstreamID on an SMMU without any is one without it', () => {
  const s = withPri({ ssidBits: 0 });
  ask(s);
  s.command(0x41n | (1n << 11n) | (9n << 12n) | (BigInt(SID) << 32n), 0x2005n);
  expect(told(s)).toEqual({ sid: SID, group: 5, state: 'success', ssid: -1 });
});

test.each([
  ['PRIQEN is 0', registers.CR0_FIELDS],
  ['SMMUEN is 0', ON & ~registers.CR0_SMMUEN],
])('while %s every request is answered with failure, a Stop Marker is lost', (_, cr0) => {
  const s = withPri();
  s.smmu.write32(Register.CR0, cr0);
  expect(ask(s, { last: false, ssid: 4 })).toBe('answered');
  expect(told(s)).toEqual({ sid: SID, group: 5, state: 'failure', ssid: -1 });
  expect(ask(s)).toBe('answered');
  expect(ask(s, { read: false, ssid: 4 })).toBe('discarded');
  expect(s.smmu.read32(Register.PRIQ_PROD)).toBe(0);
});

test('PRIQ_ABT: a queue outside memory; requests are answered with failure until it is acknowledged', () => {
  const s = withPri({}, 0x2000_0000);
  expect(ask(s)).toBe('answered');
  expect(told(s)).toMatchObject({ state: 'failure', ssid: -1 });
  expect(s.smmu.read32(Register.GERROR)).toBe(registers.GERROR_PRIQ_ABT);
  s.smmu.write32(Register.CR0, registers.CR0_FIELDS);
  s.smmu.write64(Register.PRIQ_BASE, 0, PRIQ | LOG2);
  s.smmu.write32(Register.CR0, ON);
  expect(ask(s)).toBe('answered');
  expect(s.smmu.read32(Register.PRIQ_PROD)).toBe(0);
  s.smmu.write32(Register.GERRORN, registers.GERROR_PRIQ_ABT);
  expect(ask(s)).toBe('queued');
  const broken = withPri({}, 0x2000_0000);
  expect(ask(broken, { read: false, ssid: 1 })).toBe('discarded');
});

test('overflow: OVFLG toggles once, and until it is acknowledged nothing is written although there is room', () => {
  const s = withPri();
  fill(s);
  expect(s.smmu.read32(Register.PRIQ_PROD)).toBe(4);
  expect(ask(s, { last: false })).toBe('discarded');
  expect(ask(s)).toBe('answered');
  expect(s.smmu.read32(Register.PRIQ_PROD) >>> 0).toBe(0x8000_0004);
  s.smmu.write32(Register.PRIQ_CONS, 4);
  expect(ask(s)).toBe('answered');
  s.smmu.write32(Register.PRIQ_CONS, 0x8000_0004 | 0);
  expect(ask(s)).toBe('queued');
  expect(s.smmu.read32(Register.PRIQ_PROD) >>> 0).toBe(0x8000_0005);
  expect(told(s)).toMatchObject({ state: 'waiting' });
});

test('overflow: a Stop Marker is a message too, and is lost without a response; without SSV it is none', () => {
  const s = withPri();
  fill(s);
  expect(ask(s, { read: false, ssid: 3 })).toBe('discarded');
  expect(s.smmu.read32(Register.PRIQ_PROD) >>> 0).toBe(0x8000_0004);
  expect(told(s)).toBe(null);
  expect(ask(s, { read: false })).toBe('answered');
  const free = withPri();
  expect(ask(free, { read: false, ssid: 3 })).toBe('queued');
  expect(free.smmu.pageGroups()).toEqual([]);
});

type Policy = [name: string, ssid: number | undefined, prepare: (s: Setup) => void, state: string, pasid: number];
test.each<Policy>([
  ['a request without PASID', undefined, (s) => s.put(s.steAt(SID), 0n), 'success', -1],
  ['PPAR = 1', 6, (s) => s.ste(SID, 9n, EATS | PPAR), 'success', 6],
  ['PPAR = 0', 6, () => undefined, 'success', -1],
  ['PPAR = 1 in an entry that aborts', 6, (s) => s.ste(SID, 1n, PPAR), 'success', 6],
  ['an ILLEGAL STE', 6, (s) => s.put(s.steAt(SID), 0n), 'failure', -1],
])('overflow: the automatic response to %s', (_, ssid, prepare, state, pasid) => {
  const s = withPri();
  prepare(s);
  fill(s);
  expect(ask(s, ssid === undefined ? {} : { ssid })).toBe('answered');
  expect(told(s)).toEqual({ sid: SID, group: 5, state, ssid: pasid });
  expect(events(s)).toBe(0);
});

test('overflow: an STE that cannot be had for PPAR is recorded by REC_CFG_ATS, a bad StreamID by RECINVSID too', () => {
  for (const [cr2, sid, base, event] of [
    [registers.CR2_REC_CFG_ATS, SID, 0x4001_0000, 4],
    [registers.CR2_REC_CFG_ATS, SID, 0x2000_0000, 3],
    [registers.CR2_REC_CFG_ATS, 8, 0x4001_0000, 0],
    [registers.CR2_REC_CFG_ATS | registers.CR2_RECINVSID, 8, 0x4001_0000, 2],
    [registers.CR2_RECINVSID, 8, 0x4001_0000, 0],
  ] as const) {
    const s = withPri();
    s.put(s.steAt(SID), 0n);
    s.smmu.write32(Register.CR0, ON & ~registers.CR0_SMMUEN);
    s.smmu.write32(Register.CR2, cr2);
    s.smmu.write64(Register.STRTAB_BASE, 0, base);
    s.smmu.write32(Register.CR0, ON);
    fill(s);
    expect(s.smmu.pageRequest(sid, { ...page, ssid: 6 })).toBe('answered');
    expect(s.smmu.collectPageResponse(sid, 5)).toMatchObject({ state: 'failure', ssid: -1 });
    expect(events(s)).toBe(event === 0 ? 0 : 1);
    if (event !== 0) expect(s.lastEvent()[0]).toBe(BigInt(event) | (1n << 11n) | (6n << 12n) | (BigInt(sid) << 32n));
  }
});

test('ATSCHK and EATS have no say in page requests', () => {
  const s = withPri();
  s.ste(SID, 9n, 0n);
  s.smmu.write32(Register.CR0, ON | registers.CR0_ATSCHK);
  expect(ask(s)).toBe('queued');
});

test('PRIQ registers: BASE and PROD are guarded by PRIQEN as written, whatever SMMUEN; CONS is not', () => {
  const s = withPri();
  const { smmu } = s;
  const read = () => [smmu.read64(Register.PRIQ_BASE), smmu.hi, smmu.read32(Register.PRIQ_PROD)];
  const before = read();
  for (const cr0 of [ON, registers.CR0_PRIQEN]) {
    smmu.write32(Register.CR0, cr0);
    expect(smmu.read32(Register.CR0ACK)).toBe(cr0);
    smmu.write64(Register.PRIQ_BASE, 1, 0x55);
    smmu.write32(Register.PRIQ_PROD, 1);
    expect(read()).toEqual(before);
  }
  smmu.write32(Register.CR1, 0x15);
  expect(smmu.read32(Register.CR1) & registers.CR1_QUEUE_FIELDS).toBe(0);
  smmu.write32(Register.PRIQ_CONS, -1);
  expect(smmu.read32(Register.PRIQ_CONS) >>> 0).toBe(0x800f_ffff);
  smmu.write32(Register.CR0, 0);
  smmu.write64(Register.PRIQ_BASE, -1, 0x55);
  smmu.write32(Register.PRIQ_PROD, -1);
  expect(read()).toEqual([0x55, 0x400f_ffff, 0x800f_ffff | 0]);
  // LOG2SIZE beyond PRIQS counts as PRIQS.
  smmu.write64(Register.PRIQ_BASE, 0, PRIQ | 19);
  smmu.write32(Register.PRIQ_PROD, 0);
  smmu.write32(Register.PRIQ_CONS, 0);
  smmu.write32(Register.CR0, ON);
  for (let i = 0; i < 8; i++) expect(ask(s, { group: i })).toBe('queued');
  expect(ask(s)).toBe('answered');
});

test('interrupts: when the queue is no longer empty, or with LO for the last request of a group, lost ones too', () => {
  const seen: string[] = [];
  const start = (cfg2: number): Setup => {
    const s = smmuWith(PRI);
    const { smmu } = s;
    smmu.observer = { interrupt: (which, address, data) => seen.push(`${which} ${address.toString(16)} ${data}`) };
    smmu.write64(Register.PRIQ_BASE, 0, PRIQ | LOG2);
    smmu.write64(Register.PRIQ_IRQ_CFG0, 0, 0x4010_0003);
    smmu.write32(Register.PRIQ_IRQ_CFG1, 77);
    smmu.write32(Register.PRIQ_IRQ_CFG2, cfg2);
    smmu.write32(Register.IRQ_CTRL, registers.IRQ_PRIQ);
    // Guarded now.
    smmu.write32(Register.PRIQ_IRQ_CFG1, 78);
    s.enable();
    smmu.write32(Register.CR0, ON);
    seen.length = 0;
    return s;
  };
  const first = start(0x7fff_ffff);
  expect(first.smmu.read32(Register.PRIQ_IRQ_CFG2)).toBe(0x3f);
  ask(first, { last: false });
  ask(first);
  expect(seen).toEqual(['priq 40100000 77']);
  expect(first.machine.memory.read32(0x4010_0000)).toBe(77);
  const last = start(registers.PRIQ_LAST_ONLY);
  fill(last);
  expect(seen).toEqual([]);
  ask(last);
  expect(seen).toHaveLength(1);
  last.smmu.write32(Register.PRIQ_CONS, 0x8000_0004 | 0);
  ask(last);
  expect(seen).toHaveLength(2);
  // Lost for another reason than overflow: none.
  last.smmu.write32(Register.CR0, registers.CR0_FIELDS);
  ask(last);
  expect(seen).toHaveLength(2);
});

test('an MSI of the PRI queue that nothing takes is MSI_PRIQ', () => {
  const s = smmuWith(PRI);
  s.smmu.write64(Register.PRIQ_BASE, 0, PRIQ | LOG2);
  s.smmu.write64(Register.PRIQ_IRQ_CFG0, 0, 0x2000_0000);
  s.smmu.write32(Register.IRQ_CTRL, registers.IRQ_PRIQ);
  s.enable();
  s.smmu.write32(Register.CR0, ON);
  ask(s);
  expect(s.smmu.read32(Register.GERROR)).toBe(registers.GERROR_MSI_PRIQ);
  s.smmu.write32(Register.GERRORN, -1);
  expect(s.smmu.read32(Register.GERRORN) & registers.GERROR_MSI_PRIQ).toBe(registers.GERROR_MSI_PRIQ);
});

test('without PRI its registers read zero, requests fail, CMD_PRI_RESP is ILLEGAL', () => {
  const s = withPri({ pri: false });
  const { smmu } = s;
  for (const offset of [Register.PRIQ_PROD, Register.PRIQ_CONS, Register.PRIQ_IRQ_CFG1, Register.PRIQ_BASE]) {
    smmu.write32(offset, 5);
    expect(smmu.read32(offset)).toBe(0);
  }
  smmu.write32(Register.IRQ_CTRL, 7);
  expect([smmu.read32(Register.IRQ_CTRL), smmu.read32(Register.CR0) & registers.CR0_PRIQEN]).toEqual([5, 0]);
  expect(ask(s)).toBe('answered');
  expect(told(s)).toMatchObject({ state: 'failure' });
  s.command(0x41n, 0x2000n);
  expect(smmu.read32(Register.CMDQ_CONS) >>> 24).toBe(registers.CERROR_ILL);
  smmu.write32(Register.GERRORN, -1);
  expect(smmu.read32(Register.GERRORN) & (registers.GERROR_PRIQ_ABT | registers.GERROR_MSI_PRIQ)).toBe(0);
});

test('undo takes the queue and the groups back', () => {
  const s = withPri();
  const { memory } = s.machine;
  ask(s);
  const before = [memory.stateHash(true), s.smmu.pageGroups()];
  const mark = memory.mark();
  for (let i = 0; i < 6; i++) ask(s, { group: i });
  s.command(0x41n | (BigInt(SID) << 32n), 0x2005n);
  told(s);
  expect(memory.stateHash(true)).not.toBe(before[0]);
  memory.undo(mark);
  expect([memory.stateHash(true), s.smmu.pageGroups()]).toEqual(before);
});
