/** Accesses of the host to SMMU registers after boot: which are made on its behalf, and that all others abort. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { type MachineDescription, tiny } from '#machine';
import { kinds, makeRig, tell } from '../lab/oracle-rig.ts';
import { unbooted } from './harness.ts';

const smmu = tiny.smmus[0]!;
const { base } = smmu;
const GERROR = 0x60;
const GERRORN = 0x64;
const EVENTQ_PROD = 0x100a8;
const EVENTQ_CONS = 0x100ac;
const EVENT_C_BAD_STE = 0x04;

test('the host reads an event and acknowledges it', () => {
  const { session, oracle } = makeRig();
  const { boundary } = session;
  expect(boundary.read32(0, base + EVENTQ_PROD)).toBe(0);
  expect(session.devices[0]!.read(0x1000).ok).toBe(false);
  expect(boundary.read32(0, base + EVENTQ_PROD)).toBe(1);
  const word = boundary.read32(0, session.smmuMemory[0]!.evtq);
  expect([EVENT_C_BAD_STE, 0x02]).toContain(word! & 0xff);
  expect(boundary.write32(0, base + EVENTQ_CONS, 1)).toBe(true);
  expect(boundary.read32(0, base + EVENTQ_CONS)).toBe(1);
  expect(tell(oracle.findings)).toBe('');
});

test('errors are read, and acknowledged in GERRORN only', () => {
  const { session, oracle } = makeRig();
  const { boundary } = session;
  expect(boundary.read32(0, base + GERROR)).toBe(0);
  expect(boundary.read32(0, base + GERRORN)).toBe(0);
  expect(boundary.write32(0, base + GERRORN, 0)).toBe(true);
  expect(boundary.write32(0, base + GERROR, 0)).toBe(false);
  expect(tell(oracle.findings)).toBe('');
});

test('the host cannot stop the command queue by acknowledging an error that is not there', () => {
  const rig = makeRig();
  const { boundary } = rig.session;
  expect(boundary.write32(0, base + GERRORN, -1)).toBe(true);
  expect(boundary.read32(0, base + GERRORN)! & 1).toBe(0);
  expect(boundary.write32(0, base + GERRORN, 4)).toBe(true);
  expect(boundary.read32(0, base + GERRORN)).toBe(4);
  expect(rig.call('set_identity', 0, 0, 0, 1, 0).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('every other register, and every other width, aborts', () => {
  const { session, oracle } = makeRig({ full: 'never' });
  const { boundary } = session;
  const forwarded = new Set([GERROR, GERRORN, EVENTQ_PROD, EVENTQ_CONS]);
  for (const offset of [...Array(0x100).keys()].flatMap((i) => [4 * i, 0x10000 + 4 * i])) {
    if (forwarded.has(offset)) continue;
    expect(boundary.read32(0, base + offset), offset.toString(16)).toBe(null);
    expect(boundary.write32(0, base + offset, 0), offset.toString(16)).toBe(false);
  }
  for (const offset of [GERROR, EVENTQ_PROD]) expect(boundary.write64(0, base + offset, 0, 0)).toBe(false);
  expect(tell(oracle.findings)).toBe('');
});

test('widths and alignments that the boundary does not make', () => {
  const { machine } = unbooted();
  const hypervisor = createHypervisor(machine);
  expect(hypervisor.boot({ smmus: [base] })).toBe(0);
  for (const width of [1, 2, 8]) expect(hypervisor.abort(0, base + EVENTQ_CONS, false, width, 0)).toBe('inject');
  for (const byte of [1, 2, 3]) expect(hypervisor.abort(0, base + EVENTQ_CONS + byte, false, 4, 0)).toBe('inject');
  expect(hypervisor.abort(0, base + EVENTQ_CONS, false, 4, 0)).toEqual({ value: 0 });
  expect(hypervisor.abort(0, base + EVENTQ_CONS, true, 4, -1)).toEqual({ value: 0 });
  // The high bit comes back as part of an unsigned word.
  expect(hypervisor.abort(0, base + EVENTQ_CONS, false, 4, 0)).toEqual({ value: 0x800fffff });
});

test('each of several SMMUs has its own', () => {
  const two: MachineDescription = { ...tiny, smmus: [smmu, { ...smmu, name: 'smmu1', base: 0x09080000 }] };
  const { session, oracle } = makeRig({ machine: two });
  expect(session.boundary.write32(0, 0x09080000 + EVENTQ_CONS, 3)).toBe(true);
  expect(session.boundary.read32(0, base + EVENTQ_CONS)).toBe(0);
  expect(session.boundary.read32(0, 0x09080000 + EVENTQ_CONS)).toBe(3);
  expect(tell(oracle.findings)).toBe('');
});

test.each([
  ['forwards too much', (offset: number) => (offset === 0x20 ? { value: 0 } : null)],
  ['forwards nothing', (offset: number) => (offset === EVENTQ_PROD ? ('inject' as const) : null)],
  ['reads another register', (offset: number) => (offset === EVENTQ_PROD ? { value: 7 } : null)],
])('the oracle sees a hypervisor that %s', (_, lie) => {
  const { session, oracle } = makeRig({
    mischief: (inner) => ({
      identity: inner.identity,
      boot: (parameters) => inner.boot(parameters),
      hvc: (cpu, x) => inner.hvc(cpu, x),
      abort: (cpu, ipa, ...rest) => lie(ipa - base) ?? inner.abort(cpu, ipa, ...rest),
    }),
  });
  session.boundary.read32(0, base + EVENTQ_PROD);
  session.boundary.read32(0, base + 0x20);
  expect(kinds(oracle.findings)).toEqual(['spec/abort/forwarded']);
});
