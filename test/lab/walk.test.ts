import { expect, test } from 'vitest';
import { decodeEvent } from '#lab/oracle/decode/event';
import { leavesOf } from '#lab/walk/leaves';
import type { Translated } from '#lab/walk/result';
import { walkSource } from '#lab/walk/source';
import { presentStreams } from '#lab/walk/stream';
import { walkAccess } from '#lab/walk/walk';
import { rigFixture, runs } from './rig.ts';

const READ = 1;
const WRITE = 2;
const NOEXEC = 8;

/** Does what the tables permit agree with what the guest asked for? */
function agrees(prot: number | null, config: number, { read, write, execute }: Translated['permissions']): boolean {
  if (prot === null) return true;
  if (execute !== ((prot & NOEXEC) === 0) || write !== ((prot & WRITE) !== 0)) return false;
  // Stage 1 cannot express "write only".
  return read === (config === 5 || (prot & READ) !== 0);
}

test.each([
  ['strict-vblk', 3],
  ['strict-all', 856],
  ['lazy-all', 856],
  ['passthrough-all', 0],
  ['strict-qtrace', 856],
  ['strict-unbind', 6],
  ['lazy-large-smp2', 568],
  ['s2-strict', 857],
  ['k612-nested-strict', 857],
  ['k72-s2-strict', 437],
])('%s: walking finds every mapping of the guest: address, descriptor, permissions', (run, count) => {
  const fixture = rigFixture(run);
  const source = walkSource(fixture);
  const configs = new Map(fixture.streams.map(({ sid, config }) => [sid, config]));
  let checked = 0;
  for (const { sid, iova, pa, size, prot, pte } of fixture.expected) {
    const config = configs.get(sid)!;
    // A write-only mapping of stage 2 answers to writes alone.
    const write = config === 6 && prot !== null && (prot & READ) === 0;
    let { outcome } = walkAccess(source, sid, iova, write);
    if (prot === null && outcome.kind === 'fault') outcome = walkAccess(source, sid, iova, true).outcome;
    const found = outcome as Translated;
    if (
      found.kind !== 'translated' ||
      found.pa !== pa ||
      found.size !== size ||
      !agrees(prot, config, found.permissions)
    ) {
      expect.unreachable(`stream ${sid} IOVA ${iova.toString(16)}: ${JSON.stringify(outcome)}`);
    }
    if (pte !== null) expect(found.leaf.value).toEqual(pte);
    checked++;
  }
  expect(checked).toBe(count);
});

test.each(runs)('%s: the tables hold what the guest mapped and nothing else', (run) => {
  const fixture = rigFixture(run);
  const source = walkSource(fixture);
  for (const { sid } of fixture.streams) {
    const expected = fixture.expected
      .filter((entry) => entry.sid === sid)
      .map(({ iova, pa, size }) => [iova, pa, size]);
    const found = leavesOf(source, sid).map(({ iova, pa, size }) => [iova, pa, size]);
    expect(found).toEqual(expected.sort((a, b) => a[0]! - b[0]!));
  }
});

test.each(runs)('%s: the streams that are there are those that the capture saw', (run) => {
  const fixture = rigFixture(run);
  const source = walkSource(fixture);
  const translating = fixture.streams.map(({ sid }) => sid);
  const present = presentStreams(source);
  expect(present).toEqual(run === 'passthrough-all' ? present : translating);
  if (run === 'passthrough-all') {
    expect(present.length).toBe(7);
    for (const sid of present) {
      expect(walkAccess(source, sid, 0x12345678).outcome).toMatchObject({ kind: 'bypassed', pa: 0x12345678 });
    }
  }
});

test.each(runs)('%s: every event that the SMMU recorded is what the walk of that access says', (run) => {
  const fixture = rigFixture(run);
  const source = walkSource(fixture);
  for (const words of fixture.events) {
    const { code, sid, inputAddress, fields } = decodeEvent(words);
    const field = (name: string): number => fields.find((each) => each.name === name)!.value;
    const { outcome } = walkAccess(source, sid, inputAddress!, field('RnW') === 0);
    expect(outcome).toMatchObject({ kind: 'fault', code, stage: field('S2') + 1, class: 'IN', recorded: true });
    if (outcome.kind === 'fault' && outcome.stage === 2)
      expect(outcome.ipa! - (outcome.ipa! % 4096)).toBe(field('IPA'));
  }
});

test('the account of a walk: what was fetched, where, and what it said', () => {
  const { steps } = walkAccess(walkSource(rigFixture('strict-all')), 0x10, 0xffffc123);
  expect(steps.map(({ title, address }) => [title, address.toString(16)])).toEqual([
    ['L1STD', '482e1000'],
    ['STE', '6b260400'],
    ['CD', '4c2da000'],
    ['stage 1 level 0', '4c1c8000'],
    ['stage 1 level 1', '4c185018'],
    ['stage 1 level 2', '4c182ff8'],
    ['stage 1 level 3', '4c186fe0'],
  ]);
  const field = (step: number, name: string): number => steps[step]!.fields.find((each) => each.name === name)!.value;
  expect([field(0, 'Span'), field(1, 'Config'), field(2, 'ASID'), field(3, 'next'), field(6, 'OA')]).toEqual([
    9, 5, 2, 0x4c185000, 0x4c19f000,
  ]);
  expect(steps[2]!.words[3]).toEqual({ hi: -1, lo: 0xf404ff44 | 0 });
});
