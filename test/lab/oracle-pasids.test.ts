/** Rows of attach_dev, detach_dev and page_response about PASIDs and stalls, each reached on purpose, and what they do. */

import { expect, test } from 'vitest';
import { AttachFlag, DomainType, Errno, PageResponse } from '#hypercall-abi';
import { type MachineDescription, tiny, twoSmmus } from '#machine';
import { kinds, makeRig, PAGE, type Rig, RW, tell } from './oracle-rig.ts';

const NET = 0x20;
const IOVA = 0x10000;

function hits(rig: Rig, id: string): number {
  const row = rig.oracle.rows().find((candidate) => candidate.id === id);
  if (row === undefined) throw new Error(`no row ${id}`);
  return row.hits;
}

interface Wanted {
  readonly sid?: number;
  readonly pasid?: number;
  readonly bits?: number;
  readonly flags?: number;
}

const attach = (rig: Rig, domain: number, { sid = NET, pasid = 0, bits = 0, flags = 0 }: Wanted = {}): number =>
  rig.call('attach_dev', 0, domain, sid, pasid, bits, flags).errno;
const detach = (rig: Rig, domain: number, pasid = 0): number => rig.call('detach_dev', 0, domain, NET, pasid).errno;

/** Domains 1 and 2 at stage 1, 3 at stage 2, and memory for tables. */
function withDomains(machine: MachineDescription = twoSmmus): Rig {
  const rig = makeRig({ machine });
  rig.refill(1, 24);
  for (let i = 0; i < 5; i++) {
    expect(rig.call('alloc_mgt_refill', 1, rig.page(2) + 2, 1).errno).toBe(0);
  }
  expect(rig.call('alloc_domain', 0, 0, 1, DomainType.s1).errno).toBe(0);
  expect(rig.call('alloc_domain', 0, 0, 2, DomainType.s1).errno).toBe(0);
  expect(rig.call('alloc_domain', 0, 0, 3, DomainType.s2).errno).toBe(0);
  return rig;
}

test('PASIDs of a stream translate through domains of their own', () => {
  const rig = withDomains();
  const [a, b] = [rig.page(), rig.page()];
  rig.call('map_pages', 1, IOVA, a, PAGE, 1, RW);
  rig.call('map_pages', 2, IOVA, b, PAGE, 1, RW);
  const net = rig.session.devices[1]!;
  expect(attach(rig, 1, { bits: 3 })).toBe(0);
  expect(net.read(IOVA)).toMatchObject({ ok: true, pa: a });
  expect(net.read(IOVA, { ssid: 5 })).toMatchObject({ ok: false, event: { name: 'C_BAD_CD' } });
  expect(attach(rig, 2, { pasid: 5 })).toBe(0);
  expect(net.read(IOVA, { ssid: 5 })).toMatchObject({ ok: true, pa: b });
  expect(net.read(IOVA)).toMatchObject({ ok: true, pa: a });
  expect(net.read(IOVA, { ssid: 8 })).toMatchObject({ ok: false, event: { name: 'C_BAD_SUBSTREAMID' } });
  expect(detach(rig, 2, 5)).toBe(0);
  expect(net.read(IOVA, { ssid: 5 }).ok).toBe(false);
  expect(rig.machine.smmus[0]!.stale().filter(({ kind }) => kind === 'cd' || kind === 'ste')).toEqual([]);
  expect(detach(rig, 1)).toBe(0);
  expect(net.read(IOVA).ok).toBe(false);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('PASID 0 is attached first and detached last', () => {
  const rig = withDomains();
  expect(attach(rig, 1, { pasid: 1, bits: 3 })).toBe(-Errno.EINVAL);
  expect(hits(rig, 'attach_dev/EINVAL-no-cd-table')).toBe(1);
  expect(attach(rig, 1, { bits: 3 })).toBe(0);
  expect(attach(rig, 2, { pasid: 1 })).toBe(0);
  expect(detach(rig, 1)).toBe(-Errno.EINVAL);
  expect(hits(rig, 'detach_dev/EINVAL-other-pasids')).toBe(1);
  expect(rig.call('free_domain', 2).errno).toBe(-Errno.EINVAL);
  expect(detach(rig, 2, 1)).toBe(0);
  expect(rig.call('free_domain', 2).errno).toBe(0);
  expect(detach(rig, 1)).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('the first attach fixes how many PASIDs there is room for', () => {
  const rig = withDomains();
  expect(attach(rig, 1, { bits: 2 })).toBe(0);
  expect(attach(rig, 2, { pasid: 4, bits: 10 })).toBe(-Errno.E2BIG);
  expect(attach(rig, 2, { pasid: 0xffffffff })).toBe(-Errno.E2BIG);
  expect(hits(rig, 'attach_dev/E2BIG-pasid')).toBe(2);
  expect(attach(rig, 2, { pasid: 3 })).toBe(0);
  expect(detach(rig, 2, 4)).toBe(-Errno.E2BIG);
  expect(hits(rig, 'detach_dev/E2BIG')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('a descriptor that is in use, a stage-2 stream, and a stage-2 domain take no further PASID', () => {
  const rig = withDomains();
  expect(attach(rig, 3, { pasid: 1 })).toBe(-Errno.EBUSY);
  expect(hits(rig, 'attach_dev/EBUSY-pasid-stage2')).toBe(1);
  expect(attach(rig, 1, { bits: 3 })).toBe(0);
  expect(attach(rig, 2)).toBe(-Errno.EBUSY);
  expect(hits(rig, 'attach_dev/EBUSY-in-use')).toBe(1);
  expect(attach(rig, 1, { pasid: 1 })).toBe(0);
  expect(attach(rig, 2, { pasid: 1 })).toBe(-Errno.EBUSY);
  expect(hits(rig, 'attach_dev/EBUSY-descriptor')).toBe(1);
  expect(attach(rig, 3)).toBe(-Errno.EBUSY);
  expect(hits(rig, 'attach_dev/EBUSY-in-use-stage2')).toBe(1);
  expect(attach(rig, 3, { sid: 0x10 })).toBe(0);
  expect(attach(rig, 1, { sid: 0x10, pasid: 1 })).toBe(-Errno.EBUSY);
  expect(hits(rig, 'attach_dev/EBUSY-stage2')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('a detach names a PASID that is attached, and its domain', () => {
  const rig = withDomains();
  expect(attach(rig, 1, { bits: 3 })).toBe(0);
  expect(attach(rig, 2, { pasid: 1 })).toBe(0);
  expect(detach(rig, 2, 2)).toBe(-Errno.ENOENT);
  expect(hits(rig, 'detach_dev/ENOENT')).toBe(1);
  expect(detach(rig, 1, 1)).toBe(-Errno.EACCES);
  expect(detach(rig, 2, 1)).toBe(0);
  expect(attach(rig, 2, { sid: 0x10 })).toBe(0);
  expect(detach(rig, 2)).toBe(-Errno.EACCES);
  expect(hits(rig, 'detach_dev/EACCES-domain')).toBe(2);
  expect(tell(rig.oracle.findings)).toBe('');
});

test.each([
  [0, 1],
  [6, 1],
  [7, 2],
  [10, 16],
])('room for 2^%i PASIDs is %i pages, asked for in one chunk and given back', (bits, pages) => {
  const rig = withDomains();
  // The level-2 table first, so that only the descriptors are missing.
  expect(attach(rig, 1)).toBe(0);
  expect(detach(rig, 1)).toBe(0);
  while (rig.call('alloc_mgt_reclaim', 1, 1000).value !== 0);
  const asked = rig.call('attach_dev', 0, 1, NET, 0, bits, 0);
  expect(asked).toMatchObject({ errno: -Errno.ENOMEM, request: { pool: 1, pages } });
  expect(hits(rig, 'attach_dev/ENOMEM-tables')).toBeGreaterThan(0);
  const order = Math.log2(pages);
  expect(rig.call('alloc_mgt_refill', 1, rig.page(order) + order, 1).errno).toBe(0);
  expect(attach(rig, 1, { bits })).toBe(0);
  if (bits > 0) expect(attach(rig, 2, { pasid: 2 ** bits - 1 })).toBe(0);
  if (bits > 0) expect(detach(rig, 2, 2 ** bits - 1)).toBe(0);
  expect(detach(rig, 1)).toBe(0);
  expect(rig.call('alloc_mgt_reclaimable', 1).value).toBe(pages);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('room for more than 1024 PASIDs is refused, and only as many as the hardware has are made', () => {
  const rig = withDomains();
  expect(attach(rig, 1, { bits: 11 })).toBe(-Errno.E2BIG);
  expect(attach(rig, 1, { bits: 0xffffffff })).toBe(-Errno.E2BIG);
  expect(hits(rig, 'attach_dev/E2BIG-table')).toBe(2);
  expect(tell(rig.oracle.findings)).toBe('');
  const none = withDomains(tiny);
  expect(attach(none, 1, { sid: 0, bits: 20 })).toBe(0);
  expect(attach(none, 1, { sid: 0, pasid: 1 })).toBe(-Errno.E2BIG);
  expect(tell(none.oracle.findings)).toBe('');
});

test.each([1, 3])('an access through domain %i that stalls waits for the host, and is tried again', (domain) => {
  const rig = withDomains();
  const net = rig.session.devices[1]!;
  const page = rig.page();
  expect(attach(rig, domain, { flags: AttachFlag.stall })).toBe(0);
  const waiting = net.read(IOVA);
  expect(waiting).toMatchObject({ ok: false, stag: 0, event: { name: 'F_TRANSLATION', recorded: true } });
  rig.call('map_pages', domain, IOVA, page, PAGE, 1, RW);
  expect(net.device.stallAnswer(0)).toBe('waiting');
  expect(rig.call('page_response', 0, 0, NET, 0, 0, PageResponse.success).errno).toBe(0);
  expect(net.device.stallAnswer(0)).toBe('retry');
  expect(net.read(IOVA)).toMatchObject({ ok: true, pa: page });
  expect(hits(rig, 'page_response/ok')).toBe(1);
  expect(tell(rig.oracle.findings)).toBe('');
});

test.each([
  [PageResponse.success, 'retry', {}],
  [PageResponse.invalid, 'abort', {}],
  [PageResponse.failure, 'abort', {}],
  // Where an access may end without an abort.
  [3, 'ignore', { termModel: 'both' }],
  [0xffffffff, 'ignore', { termModel: 'both' }],
  [3, 'abort', {}],
] as const)('page_response %i: %s', (status, answer, features) => {
  const rig = withDomains({
    ...twoSmmus,
    smmus: [{ ...twoSmmus.smmus[0]!, ...features }, twoSmmus.smmus[1]!],
  });
  const net = rig.session.devices[1]!;
  expect(attach(rig, 1, { flags: AttachFlag.stall })).toBe(0);
  expect(net.read(IOVA)).toMatchObject({ stag: 0 });
  expect(rig.call('page_response', 0, 0, NET, 0, 7, status).errno).toBe(0);
  expect(rig.call('page_response', 0, 0, 0x10, 0, 0, status).errno).toBe(0);
  expect(net.device.stallAnswer(0)).toBe('waiting');
  expect(rig.call('page_response', 0, 0, NET, 0, 0, status).errno).toBe(0);
  expect(net.device.stallAnswer(0)).toBe(answer);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('page_response: there is one driver, and only IOMMUs whose faults stall are answered', () => {
  const rig = withDomains();
  expect(rig.call('page_response', 1, 0, NET, 0, 0, 0).errno).toBe(-Errno.ENODEV);
  expect(hits(rig, 'page_response/ENODEV-driver')).toBe(1);
  expect(rig.call('page_response', 0, 1, 3, 0, 0, 0).errno).toBe(-Errno.ENODEV);
  expect(rig.call('page_response', 0, 2, 3, 0, 0, 0).errno).toBe(-Errno.ENODEV);
  expect(hits(rig, 'page_response/ENODEV-no-stalls')).toBe(2);
  expect(tell(rig.oracle.findings)).toBe('');
});

test('without the flag faults do not stall; where the hardware leaves no choice they do', () => {
  const rig = withDomains();
  expect(attach(rig, 1, { flags: 0xffff })).toBe(0);
  expect(rig.session.devices[1]!.read(IOVA)).not.toHaveProperty('stag');
  const forced = withDomains({
    ...twoSmmus,
    smmus: [{ ...twoSmmus.smmus[0]!, stallModel: 'stall' }, twoSmmus.smmus[1]!],
  });
  for (const domain of [1, 3]) {
    expect(attach(forced, domain)).toBe(0);
    expect(forced.session.devices[1]!.read(IOVA)).toHaveProperty('stag');
    expect(detach(forced, domain)).toBe(0);
  }
  expect(forced.call('set_identity', 0, 0, NET, 1, 0).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  expect(tell(forced.oracle.findings)).toBe('');
});

test('hardware that does not answer: a PASID stays as it was, and the domain referenced', () => {
  const rig = withDomains();
  const page = rig.page();
  rig.call('map_pages', 2, IOVA, page, PAGE, 1, RW);
  expect(attach(rig, 1, { bits: 3 })).toBe(0);
  expect(attach(rig, 2, { pasid: 1 })).toBe(0);
  rig.machine.smmus[0]!.setAnswers(false);
  expect(attach(rig, 1, { pasid: 2 })).toBe(-Errno.ETIMEDOUT);
  expect(detach(rig, 2, 1)).toBe(-Errno.ETIMEDOUT);
  expect(rig.call('page_response', 0, 0, NET, 0, 0, 0).errno).toBe(-Errno.ETIMEDOUT);
  expect(hits(rig, 'page_response/ETIMEDOUT')).toBe(1);
  rig.machine.smmus[0]!.setAnswers(true);
  expect(rig.session.devices[1]!.read(IOVA, { ssid: 1 })).toMatchObject({ ok: true, pa: page });
  expect(attach(rig, 1, { pasid: 2 })).toBe(0);
  expect(detach(rig, 1, 2)).toBe(0);
  expect(detach(rig, 2, 1)).toBe(0);
  expect(detach(rig, 1)).toBe(0);
  expect(rig.call('free_domain', 1).errno).toBe(-Errno.EINVAL);
  expect(rig.call('free_domain', 2).errno).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
});

// ---- what the oracle sees of descriptors that are not as they must be

/** Address of the first descriptor of the stream. */
function descriptors(rig: Rig): number {
  const { memory } = rig.machine;
  const base = rig.session.smmuMemory[0]!.strtab;
  const l2 = memory.read32(base + 8 * Math.floor(NET / 256)) & ~63;
  return memory.read32((l2 >>> 0) + 64 * (NET % 256)) & ~63;
}

test.each<[string, (rig: Rig, cds: number) => void, string]>([
  [
    'a descriptor that nobody asked for',
    (rig, cds) => {
      for (let i = 1; i < 16; i++)
        rig.machine.memory.write32(cds + 64 * 2 + 4 * i, rig.machine.memory.read32(cds + 4 * i));
      rig.machine.memory.write64(cds + 64 * 2, rig.machine.memory.read32(cds + 4), rig.machine.memory.read32(cds));
    },
    'streams/entry',
  ],
  [
    'a descriptor of another domain',
    (rig, cds) =>
      rig.machine.memory.write32(cds + 64 + 4, (rig.machine.memory.read32(cds + 64 + 4) & 0xffff) | (1 << 16)),
    'streams/entry',
  ],
  ['a descriptor that is gone', (rig, cds) => rig.machine.memory.write64(cds + 64, 0, 0), 'streams/entry'],
])('found: %s', (_, spoil, expected) => {
  const rig = makeRig({
    machine: twoSmmus,
    mischief: (inner, machine) => ({
      identity: inner.identity,
      boot: (parameters) => inner.boot(parameters),
      abort: (cpu, ipa, write) => inner.abort(cpu, ipa, write),
      hvc: (cpu, x) => {
        const isAnswer = (x[0]! & 0xff) === 83;
        inner.hvc(cpu, x);
        if (isAnswer) spoil({ ...rig, machine }, descriptors(rig));
      },
    }),
  });
  rig.refill(1, 24);
  rig.call('alloc_mgt_refill', 1, rig.page(2) + 2, 1);
  rig.call('alloc_domain', 0, 0, 1, DomainType.s1);
  rig.call('alloc_domain', 0, 0, 2, DomainType.s1);
  expect(attach(rig, 1, { bits: 3 })).toBe(0);
  expect(attach(rig, 2, { pasid: 1 })).toBe(0);
  expect(tell(rig.oracle.findings)).toBe('');
  rig.call('page_response', 0, 0, NET, 0, 0, 0);
  expect(kinds(rig.oracle.findings)).toContain(expected);
});
