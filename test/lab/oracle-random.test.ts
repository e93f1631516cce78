/** Long random call sequences, sensible and garbage: on the hypervisor as it is the oracle has nothing to say. */

import { expect, test } from 'vitest';
import { type MachineDescription, tiny, twoSmmus } from '#machine';
import { makeRig, RandomHost, tell } from './oracle-rig.ts';

const smmu = tiny.smmus[0]!;

/** Two SMMUs, one of them without ranges in invalidations, the other without stage 1; a device page for DMA. */
const two: MachineDescription = {
  ...tiny,
  name: 'two',
  mmio: [{ name: 'doorbell', base: 0x08090000, size: 0x1000 }],
  smmus: [
    { ...smmu, rangeInvalidation: false },
    { ...smmu, name: 'smmu1', base: 0x09080000, stage1: false, oas: 48, powerDomain: 4 },
  ],
};

/** A two-level stream table. */
const wide: MachineDescription = {
  ...tiny,
  name: 'wide',
  smmus: [{ ...smmu, twoLevelStreamTable: true, sidBits: 10, oas: 44 }],
  devices: [...tiny.devices, { name: 'far', smmu: smmu.name, sid: 0x200 }],
};

test.each([tiny, two, wide, twoSmmus])('everything decoded anew after every call, machine $name', (machine) => {
  const { session, oracle } = makeRig({ machine, full: 'every' });
  const host = new RandomHost(session, 11);
  for (let i = 0; i < 250 && oracle.findings.length === 0; i++) host.step();
  expect(tell(oracle.findings)).toBe('');
  expect(oracle.statement()).toMatchObject({ callsBeforeBoot: 0, findings: 0 });
  expect(oracle.statement().fullChecks).toBeGreaterThan(250);
});

test.each([tiny, two, twoSmmus])('the same with runs of writes judged at once, machine $name', (machine) => {
  const { session, oracle } = makeRig({ machine, full: 'every', sections: false });
  const host = new RandomHost(session, 12);
  for (let i = 0; i < 250 && oracle.findings.length === 0; i++) host.step();
  expect(tell(oracle.findings)).toBe('');
});

test.each([
  { machine: tiny, seed: 1 },
  { machine: tiny, seed: 2 },
  { machine: two, seed: 3 },
  { machine: wide, seed: 4 },
  { machine: twoSmmus, seed: 5 },
])('long runs with few pages, machine $machine.name, seed $seed', ({ machine, seed }) => {
  const { session, oracle } = makeRig({ machine, full: 400 });
  const host = new RandomHost(session, seed, seed === 1 ? 6 : 40);
  for (let i = 0; i < 6000 && oracle.findings.length === 0; i++) host.step();
  oracle.checkAll();
  expect(tell(oracle.findings)).toBe('');
});

test.each([
  { machine: tiny, seed: 33 },
  { machine: two, seed: 31 },
  { machine: two, seed: 32 },
  { machine: twoSmmus, seed: 33 },
  { machine: tiny, seed: 34 },
  { machine: twoSmmus, seed: 36 },
])('SMMUs that do not answer for a while, machine $machine.name', ({ machine, seed }) => {
  const { session, oracle } = makeRig({ machine, full: 100 });
  const host = new RandomHost(session, seed);
  for (let round = 0; round < 30 && oracle.findings.length === 0; round++) {
    const smmu = session.machine.smmus[round % machine.smmus.length]!;
    for (let i = 0; i < 60; i++) host.step();
    smmu.setAnswers(false);
    for (let i = 0; i < 40 && oracle.findings.length === 0; i++) host.step();
    smmu.setAnswers(true);
  }
  oracle.checkAll();
  expect(tell(oracle.findings)).toBe('');
  const unanswered = oracle.rows().filter(({ id, hits }) => id.endsWith('/ETIMEDOUT') && hits > 0);
  expect(unanswered.length).toBeGreaterThan(2);
});

test('the oracle goes back in time with the machine', () => {
  const { session, oracle } = makeRig({ full: 'never' });
  const { memory } = session.machine;
  const host = new RandomHost(session, 5);
  for (let i = 0; i < 300; i++) host.step();
  for (let round = 0; round < 20; round++) {
    const mark = memory.mark();
    const before = session.machine.memory.words.slice();
    for (let i = 0; i < 60; i++) host.step();
    oracle.checkAll();
    if (round % 3 === 2) continue;
    memory.undo(mark);
    oracle.reset();
    expect(before.findIndex((word, i) => word !== memory.words[i])).toBe(-1);
    oracle.checkAll();
  }
  expect(tell(oracle.findings)).toBe('');
});

test('most rows of the call specification decide somewhere', () => {
  const hits = new Map<string, number>();
  [tiny, two, wide, twoSmmus].forEach((machine, i) => {
    const { session, oracle } = makeRig({ machine, full: 'never' });
    const host = new RandomHost(session, 21 + i);
    for (let n = 0; n < 5000; n++) host.step();
    for (const row of oracle.rows()) hits.set(row.id, (hits.get(row.id) ?? 0) + row.hits);
  });
  // Hardware that does not answer has a test of its own.
  const answered = [...hits].filter(([id]) => !id.endsWith('/ETIMEDOUT'));
  const never = answered.filter(([, n]) => n === 0);
  expect(never.length / answered.length).toBeLessThan(0.25);
});
