import { performance } from 'node:perf_hooks';
import { expect, test } from 'vitest';
import { stageOf, streamsOfRoots } from '#lab/replay/bind';
import { checkAddresses } from '#lab/replay/check';
import { compareLive } from '#lab/replay/live';
import { replay } from '#lab/replay/replay';
import { operationsOf } from '#lab/trace/operations';
import { parseTrace } from '#lab/trace/parse';
import { qemuVirt, tiny } from '#machine';
import { rigFixture, rigTrace, runs } from './rig.ts';

const now = (): number => performance.now();

/** Maps and unmaps of each run, and what is live at the end: mappings per stream, or per IOVA where no domain is named. */
const expected: Readonly<Record<(typeof runs)[number], readonly [number, number, number]>> = {
  'strict-vblk': [4782, 4780, 3],
  'strict-all': [2573, 2049, 856],
  'lazy-all': [2574, 2035, 856],
  'passthrough-all': [0, 0, 0],
  'strict-qtrace': [1488, 963, 856],
  'strict-unbind': [1141, 1132, 6],
  'lazy-large-smp2': [66469, 66173, 309],
  's2-strict': [3161, 2560, 857],
  'k612-nested-strict': [3185, 2469, 857],
  'k72-s2-strict': [2850, 2433, 437],
};

test.each(runs)('%s crosses the hypercalls without a violation and ends as the real kernel did', async (run) => {
  const log = operationsOf(rigTrace(run).events);
  const fixture = rigFixture(run);
  const { report, session } = await replay(log, {
    machine: qemuVirt,
    stage: stageOf(fixture),
    streams: streamsOfRoots(log, fixture),
    now,
  });
  expect(report.violations).toEqual([]);
  expect(report.mismatches).toEqual([]);
  const [maps, unmaps, live] = expected[run];
  expect([report.maps, report.unmaps]).toEqual([maps, unmaps]);
  const comparison = compareLive(session.machine, report.roots, fixture, log.statistics.probed);
  expect(comparison).toMatchObject({ expected: live, equal: live, differences: [] });
  expect(report.syncsPerUnmap).toBe(unmaps === 0 ? 0 : 1);
});

test('a mapping that the replay got wrong is told', async () => {
  const log = operationsOf(rigTrace('strict-vblk').events);
  const fixture = rigFixture('strict-vblk');
  const streams = streamsOfRoots(log, fixture);
  const { report, session } = await replay(log, { machine: qemuVirt, stage: 1, streams, now });
  const [mapping] = fixture.expected;
  const compare = (change: Partial<typeof mapping>): readonly string[] => {
    const spoiled = { ...fixture, expected: [{ ...mapping!, ...change }, ...fixture.expected.slice(1)] };
    return compareLive(session.machine, report.roots, spoiled, true).differences;
  };
  expect(compare({ pa: 0x1000 })[0]).toMatch(/PA 0x8090000 instead of 0x1000/);
  expect(compare({ size: 0x200000 })[0]).toMatch(/size 4096 instead of 2097152/);
  expect(compare({ pte: { hi: 0, lo: 1 } })[0]).toMatch(/descriptor 0x60000008090e4b instead of 0x0*1/);
  expect(compare({ iova: 0x5000 })).toHaveLength(2);
});

test('an unmap of nothing and a map onto a mapping are told with their lines', async () => {
  const lines = [
    'a-1 [000] d.... 1.0: pg_map: (f+0x0/0x1) ops=0xffff000000000001 iova=0x10000 pa=0x40001000 pgsize=0x1000 pgcount=1 prot=0x3 pgd=0xffff000000002000',
    'a-1 [000] d.... 2.0: pg_map: (f+0x0/0x1) ops=0xffff000000000001 iova=0x10000 pa=0x40002000 pgsize=0x1000 pgcount=1 prot=0x3 pgd=0xffff000000002000',
    'a-1 [000] d.... 3.0: pg_unmap: (f+0x0/0x1) ops=0xffff000000000001 iova=0x50000 pgsize=0x1000 pgcount=1',
  ];
  const trace = parseTrace(lines.join('\n'), 'two.txt');
  expect(trace.errors).toEqual([]);
  const { report } = await replay(operationsOf(trace.events), { machine: qemuVirt, stage: 1, now });
  expect(report.violations).toEqual([]);
  expect(report.mismatches.map(({ line }) => line)).toEqual([2, 3]);
  expect(report.mismatches[0]!.what).toContain('-17');
});

test('a map of what the machine does not have names line, field and ranges', () => {
  const log = operationsOf(rigTrace('strict-vblk').events);
  expect(() => checkAddresses(log, qemuVirt, 'log')).not.toThrow();
  expect(() => checkAddresses(log, tiny, 'log')).toThrow(
    /^log:\d+: paddr: expected addresses in the RAM of tiny \(0x40000000-0x40400000\) or of one of its devices, got 0x8090000-0x8091000$/,
  );
});

test('a replay can be stopped, and tells what it did', async () => {
  const log = operationsOf(rigTrace('strict-all').events);
  let asked = 0;
  const { report } = await replay(log, { machine: qemuVirt, stage: 1, now, stop: () => ++asked > 2 });
  expect(report.interrupted).toBe(true);
  expect(report.operations).toBeLessThan(2049);
  expect(report.violations).toEqual([]);
});
