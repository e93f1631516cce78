/**
 * The sweep: for every call that can allocate, in many situations, and for every n, the n-th allocation fails. There is
 * no hook in the hypervisor for it: the pools hold exactly the chunks that n - 1 requests asked for. Each call must
 * fail cleanly and go on once it has got what it asked for; after all is freed, every page is accounted for.
 */

import { describe, expect, test } from 'vitest';
import { type MemoryRequest, type Profile, profiles, pureCalls } from '#hypercall-abi';
import { tell } from '../lab/oracle-rig.ts';
import { type Done, HEAP, IOMMU, SweepRig } from './sweep-rig.ts';
import { type Situation, situations } from './sweep-situations.ts';

interface Run extends Done {
  /** Pages in use when all was freed: tables of the host's stage 2 and stream tables stay. */
  readonly left: readonly [number, number];
  readonly findings: string;
}

/** Prepare, take all memory away, give back what the first `chunks` asked for, do the work, free everything. */
function runWith(profile: Profile, { machine, prepare }: Situation, chunks: readonly MemoryRequest[]): Run {
  const sweep = new SweepRig(machine, profile);
  const { work, end } = prepare(sweep);
  sweep.drain();
  for (const chunk of chunks) sweep.give(chunk);
  const done = sweep.finish(work);
  end();
  sweep.rig.oracle.checkAll();
  return { ...done, left: [sweep.used(HEAP), sweep.used(IOMMU)], findings: tell(sweep.rig.oracle.findings) };
}

describe.each(profiles)('$name', (profile) => {
  const mine = situations[profile.name];

  test.each(mine)('$name', (situation) => {
    const first = runWith(profile, situation, []);
    expect(first.findings).toBe('');
    const all = first.requests;
    expect(all).toHaveLength(situation.allocations);
    for (let n = 1; n <= all.length + 1; n++) {
      const run = runWith(profile, situation, all.slice(0, n - 1));
      expect(run.findings, `n = ${n}`).toBe('');
      expect(run.requests, `n = ${n}`).toEqual(all.slice(n - 1));
      expect({ errno: run.result.errno, bytes: run.bytes, left: run.left }, `n = ${n}`).toEqual({
        errno: first.result.errno,
        bytes: first.bytes,
        left: first.left,
      });
    }
  });

  test('a second round of the same takes no page more', () => {
    for (const situation of mine.filter(({ name }) => !name.startsWith('refill'))) {
      const sweep = new SweepRig(situation.machine, profile);
      const used: number[][] = [];
      for (let round = 0; round < 2; round++) {
        const { work, end } = situation.prepare(sweep);
        sweep.finish(work);
        end();
        used.push([sweep.used(HEAP), sweep.used(IOMMU)]);
      }
      expect(used[1], situation.name).toEqual(used[0]);
      expect(tell(sweep.rig.oracle.findings), situation.name).toBe('');
    }
  });

  test('every call that can ask for memory is swept', () => {
    const sweep = new Set(mine.map(({ machine, prepare }) => prepare(new SweepRig(machine, profile)).work.name));
    const canAsk = profile.calls.filter(({ request, name }) => request && !(name in pureCalls)).map(({ name }) => name);
    expect(canAsk.filter((name) => !sweep.has(name))).toEqual([]);
  });
});

test('an abort that finds no memory changes nothing, and goes through once there is a page', () => {
  const device = 0x20000000;
  const sweep = new SweepRig(situations.android17.find(({ name }) => name.includes('device registers'))!.machine);
  const { boundary } = sweep.rig.session;
  sweep.rig.refill(IOMMU, 1);
  sweep.drain();
  let given = 0;
  while (boundary.read32(0, device) === null && given < 5) {
    sweep.give({ pool: HEAP, pages: 1 });
    given++;
  }
  expect(given).toBe(1);
  expect(tell(sweep.rig.oracle.findings)).toBe('');
});
