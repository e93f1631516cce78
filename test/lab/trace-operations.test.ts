import { expect, test } from 'vitest';
import type { Fixture } from '#lab/fixture/fixture';
import { streamsOfRoots } from '#lab/replay/bind';
import type { TraceEvent } from '#lab/trace/event';
import { livePages } from '#lab/trace/live';
import { operationsOf } from '#lab/trace/operations';
import { parseTrace } from '#lab/trace/parse';
import { rigFixture, rigTrace, runs } from './rig.ts';

const PAGE = 4096;
const probed = runs.filter((run) => run !== 'lazy-large-smp2' && run !== 'passthrough-all');

const parsed = new Map<string, readonly TraceEvent[]>();

function eventsOf(run: string): readonly TraceEvent[] {
  const events = parsed.get(run) ?? rigTrace(run).events;
  parsed.set(run, events);
  return events;
}

/** What the guest had mapped when it was frozen, page by page, by its first stream. */
function expectedPages({ expected }: Fixture, sid: number): string[] {
  return expected
    .filter((entry) => entry.sid === sid)
    .flatMap(({ iova, pa, size, prot }) => {
      return Array.from({ length: size / PAGE }, (_, i) => pageText(iova + i * PAGE, pa + i * PAGE, prot));
    })
    .sort();
}

function pageText(iova: number, pa: number, prot: number | null): string {
  return `${iova.toString(16)} -> ${pa.toString(16)} prot ${prot}`;
}

test.each([
  ['strict-vblk', 4782, 4780, 1],
  ['strict-all', 2573, 2049, 5],
  ['lazy-all', 2574, 2035, 5],
  ['passthrough-all', 0, 0, 0],
  ['strict-qtrace', 1488, 963, 5],
  ['strict-unbind', 1141, 1132, 3],
  ['lazy-large-smp2', 66469, 66173, 3],
  ['s2-strict', 3161, 2560, 5],
  ['k612-nested-strict', 3185, 2469, 5],
  ['k72-s2-strict', 2850, 2433, 6],
])('%s: one operation for each call of iommu_map and iommu_unmap', (run, maps, unmaps, roots) => {
  const log = operationsOf(eventsOf(run));
  const { statistics } = log;
  expect([statistics.maps, statistics.unmaps, log.roots.length]).toEqual([maps, unmaps, roots]);
  expect([statistics.unpaired, statistics.split, statistics.unmatched]).toEqual([0, 0, 0]);
  // In order, never onto what is mapped, never of what is not.
  const live = new Set<string>();
  let line = 0;
  for (const operation of log.operations) {
    if (operation.line <= line) throw new Error(`line ${operation.line} comes after line ${line}`);
    line = operation.line;
    if (operation.kind !== 'map' && operation.kind !== 'unmap') continue;
    for (let offset = 0; offset < operation.size; offset += PAGE) {
      const page = `${operation.root} ${operation.iova + offset}`;
      if (operation.kind === 'map' ? live.has(page) : !live.delete(page)) throw new Error(`line ${line}: ${page}`);
      if (operation.kind === 'map') live.add(page);
    }
  }
});

test.each(probed)('%s: what is mapped at the end is what the frozen machine has, root by root', (run) => {
  const fixture = rigFixture(run);
  const log = operationsOf(eventsOf(run));
  const bound = streamsOfRoots(log, fixture);
  const live = livePages(log.operations);
  const seen = new Set<number>();
  for (const { id } of log.roots) {
    const pages = live.filter(({ root }) => root === id);
    const sids = bound.get(id);
    if (sids === undefined) {
      expect(pages, `root ${id} has no tables`).toEqual([]);
      continue;
    }
    for (const sid of sids) {
      expect(pages.map(({ iova, pa, prot }) => pageText(iova, pa, prot)).sort()).toEqual(expectedPages(fixture, sid));
      seen.add(sid);
    }
  }
  // Every stream that has mappings was accounted for.
  for (const { sid } of fixture.expected) expect(seen.has(sid)).toBe(true);
});

test('a log without probes: as many live mappings of each IOVA as the frozen machine has', () => {
  const fixture = rigFixture('lazy-large-smp2');
  const log = operationsOf(eventsOf('lazy-large-smp2'));
  const live = livePages(log.operations);
  expect(live.length).toBe(309);
  const count = (iovas: readonly number[]): Map<number, number> => {
    const counts = new Map<number, number>();
    for (const iova of iovas.toSorted((a, b) => a - b)) counts.set(iova, (counts.get(iova) ?? 0) + 1);
    return counts;
  };
  // Streams that share tables count once.
  const first = new Map(fixture.streams.toReversed().map(({ sid, table }) => [table, sid]));
  const expected = fixture.expected.filter(({ sid }) => [...first.values()].includes(sid)).map(({ iova }) => iova);
  expect(count(live.map(({ iova }) => iova))).toEqual(count(expected));
  const { ambiguous, unmaps } = log.statistics;
  expect(ambiguous / unmaps).toBeGreaterThan(0.04);
  expect(ambiguous / unmaps).toBeLessThan(0.06);
});

test('passthrough: no map, and seven devices', () => {
  const log = operationsOf(eventsOf('passthrough-all'));
  expect(log.statistics.maps).toBe(0);
  expect(log.statistics.devices.length).toBe(7);
  const groups = log.operations.filter(({ kind }) => kind === 'group');
  expect(groups.length).toBe(7);
  expect(log.statistics.policy).toBeNull();
});

test.each([
  ['strict-vblk', 'strict'],
  ['strict-all', 'strict'],
  ['lazy-all', 'lazy'],
  ['strict-qtrace', 'strict'],
  ['strict-unbind', 'strict'],
  ['lazy-large-smp2', 'lazy'],
  ['s2-strict', 'strict'],
  ['k612-nested-strict', 'strict'],
  ['k72-s2-strict', 'strict'],
])('%s is told to be %s by its log, with probes or with stock events alone', (run, policy) => {
  const events = eventsOf(run);
  const stock = events.filter(({ kind }) => !['pg_map', 'pg_unmap', 'attach', 'cmdlist'].includes(kind));
  expect(operationsOf(events).statistics.policy).toBe(policy);
  expect(operationsOf(stock).statistics.policy).toBe(policy);
});

test('commands: in strict mode one invalidation for each unmap, in lazy mode few', () => {
  const strict = operationsOf(eventsOf('strict-all')).statistics.commands!;
  expect(strict.byName.get('TLBI_NH_VA')).toBe(2049);
  expect([strict.syncs, strict.afterUnmap]).toEqual([2080, 2049]);
  const stage2 = operationsOf(eventsOf('s2-strict')).statistics.commands!;
  // A page count that does not fit one range takes two commands.
  expect(stage2.byName.get('TLBI_S2_IPA')).toBe(2562);
  const lazy = operationsOf(eventsOf('lazy-all')).statistics.commands!;
  expect([lazy.invalidations, lazy.syncs]).toEqual([71, 96]);
  const shifted = operationsOf(eventsOf('k612-nested-strict')).statistics.commands!;
  expect([shifted.submissions, shifted.commands, shifted.invalidations, shifted.syncs]).toEqual([
    2493,
    2494,
    null,
    null,
  ]);
});

test('the first group maps its MSI page before the probes: it belongs to the root that never maps that page itself', () => {
  const log = operationsOf(eventsOf('strict-all'));
  const [first] = log.operations.filter((operation) => operation.kind === 'map');
  expect(first).toMatchObject({ iova: 0xfffff000, pa: 0x8090000, prot: null });
  expect(log.roots[first!.root]).toMatchObject({ pgd: '0xffff5b7a0816f000', origin: 'probe' });
  // On 7.2 every root maps one: the first page is in a root that the log does not name.
  const newer = operationsOf(eventsOf('k72-s2-strict'));
  expect(newer.roots.filter(({ origin }) => origin === 'inferred').length).toBe(1);
});

// ---- hand-written logs

let line = 0;
const stock = (text: string, task = 'a-1'): string => `${task} [000] ..... ${++line}.0: ${text}`;
const hex = (value: number): string => `0x${value.toString(16)}`;
const map = (iova: number, pa: number, size: number, task?: string): string => {
  return stock(`map: IOMMU: iova=${hex(iova)} - ${hex(iova + size)} paddr=${hex(pa)} size=${size}`, task);
};
const unmap = (iova: number, size: number, unmapped = size): string => {
  return stock(`unmap: IOMMU: iova=${hex(iova)} - ${hex(iova + size)} size=${size} unmapped_size=${unmapped}`);
};
const pgMap = (iova: number, pa: number, pages: number, pgsize = PAGE, ops = '0x1', task?: string): string => {
  const text = `ops=${ops} iova=${hex(iova)} pa=${hex(pa)} pgsize=${hex(pgsize)} pgcount=${pages} prot=0x3 pgd=${ops}000`;
  return stock(`pg_map: (f+0x0) ${text}`, task);
};
const pgUnmap = (iova: number, pages: number, pgsize = PAGE, ops = '0x1'): string => {
  return stock(`pg_unmap: (f+0x0) ops=${ops} iova=${hex(iova)} pgsize=${hex(pgsize)} pgcount=${pages}`);
};
const log = (...lines: string[]) => {
  const trace = parseTrace(lines.join('\n'), 'x');
  expect(trace.errors).toEqual([]);
  return operationsOf(trace.events);
};
const MiB2 = 0x200000;

test('one iommu_map of several sizes is one operation, and so is its unmap', () => {
  const { operations, statistics } = log(
    pgMap(0x1ff000, 0x401ff000, 1),
    pgMap(0x200000, 0x40200000, 1, MiB2),
    pgMap(0x400000, 0x40400000, 2),
    map(0x1ff000, 0x401ff000, MiB2 + 3 * PAGE),
    pgUnmap(0x1ff000, 1),
    pgUnmap(0x200000, 1, MiB2),
    pgUnmap(0x400000, 2),
    unmap(0x1ff000, MiB2 + 3 * PAGE),
  );
  expect(operations).toEqual([
    { kind: 'map', root: 0, iova: 0x1ff000, pa: 0x401ff000, size: MiB2 + 3 * PAGE, prot: 3, line: 1 },
    { kind: 'unmap', root: 0, iova: 0x1ff000, size: MiB2 + 3 * PAGE, line: 5 },
  ]);
  expect(statistics.unpaired).toBe(0);
});

test('a call that stops at the end of a table is repeated for the rest: still one operation', () => {
  const { operations } = log(
    pgMap(0x1fe000, 0x40000000, 16),
    pgMap(0x200000, 0x40002000, 14),
    map(0x1fe000, 0x40000000, 16 * PAGE),
    pgUnmap(0x1fe000, 16),
    pgUnmap(0x200000, 14),
    unmap(0x1fe000, 16 * PAGE),
  );
  expect(operations.map(({ kind, line }) => [kind, line])).toEqual([
    ['map', 1],
    ['unmap', 4],
  ]);
});

test('an interrupt between a call and its stock event does not tear them apart', () => {
  const { operations, statistics } = log(
    pgMap(0x1000, 0x40001000, 1),
    map(0x1000, 0x40001000, PAGE),
    pgMap(0x2000, 0x40002000, 1),
    pgUnmap(0x1000, 1),
    unmap(0x1000, PAGE),
    map(0x2000, 0x40002000, PAGE),
  );
  expect(operations.map(({ kind, line }) => [kind, line])).toEqual([
    ['map', 1],
    ['map', 3],
    ['unmap', 4],
  ]);
  expect(statistics.unpaired).toBe(0);
});

test('two tasks that map the same at once: a stock event sums up the calls of its own task', () => {
  const { operations } = log(
    pgMap(0x1000, 0x40001000, 1, PAGE, '0xa', 'a-1'),
    pgMap(0x2000, 0x40002000, 1, PAGE, '0xa', 'a-1'),
    pgMap(0x1000, 0x40001000, 2, PAGE, '0xb', 'b-2'),
    map(0x1000, 0x40001000, 2 * PAGE, 'a-1'),
  );
  expect(operations).toMatchObject([
    { root: 0, size: 2 * PAGE, line: 1 },
    { root: 1, size: 2 * PAGE, line: 3 },
  ]);
});

test('neighbouring calls with other permissions, or other physical addresses, are other operations', () => {
  const write = (line: string): string => line.replace('prot=0x3', 'prot=0x2');
  const { operations, statistics } = log(
    pgMap(0x1000, 0x40001000, 1),
    write(pgMap(0x2000, 0x40002000, 1)),
    map(0x2000, 0x40002000, PAGE),
    pgMap(0x3000, 0x50000000, 1),
    map(0x3000, 0x50000000, PAGE),
  );
  expect(operations).toMatchObject([
    { iova: 0x1000, prot: 3 },
    { iova: 0x2000, prot: 2 },
    { iova: 0x3000, pa: 0x50000000, prot: 3 },
  ]);
  expect(statistics.unpaired).toBe(1);
});

test('calls without a stock event stand for themselves, up to where the next one takes over', () => {
  const { operations, statistics } = log(
    pgMap(0x1fe000, 0x40000000, 16),
    pgMap(0x200000, 0x40002000, 14),
    pgUnmap(0x1fe000, 2),
  );
  expect(operations).toEqual([
    { kind: 'map', root: 0, iova: 0x1fe000, pa: 0x40000000, size: 2 * PAGE, prot: 3, line: 1 },
    { kind: 'map', root: 0, iova: 0x200000, pa: 0x40002000, size: 14 * PAGE, prot: 3, line: 2 },
    { kind: 'unmap', root: 0, iova: 0x1fe000, size: 2 * PAGE, line: 3 },
  ]);
  expect(statistics.unpaired).toBe(3);
});

test('the size of an unmap is what was really removed', () => {
  const { operations } = log(
    pgMap(0x1000, 0x40001000, 1),
    map(0x1000, 0x40001000, PAGE),
    pgUnmap(0x1000, 2),
    unmap(0x1000, 2 * PAGE, PAGE),
    pgUnmap(0x9000, 1),
    unmap(0x9000, PAGE, 0),
  );
  expect(operations.at(-1)).toMatchObject({ kind: 'unmap', size: PAGE, line: 3 });
  expect(operations.length).toBe(2);
});

test('a boot-time mapping belongs to the root that unmaps what it never mapped', () => {
  const { operations, roots } = log(
    map(0xf000, 0x8090000, PAGE),
    pgMap(0x1000, 0x40001000, 1, PAGE, '0xa'),
    pgMap(0x1000, 0x40001000, 1, PAGE, '0xb'),
    pgUnmap(0xf000, 1, PAGE, '0xb'),
    unmap(0xf000, PAGE),
  );
  expect(roots.map(({ ops }) => ops)).toEqual(['0xa', '0xb']);
  expect(operations[0]).toMatchObject({ kind: 'map', root: 1, iova: 0xf000 });
});

test('without probes an unmap takes the newest mapping of its address and size', () => {
  const { operations, statistics } = log(
    map(0x1000, 0x40001000, PAGE),
    map(0x1000, 0x50001000, PAGE),
    unmap(0x1000, PAGE),
    map(0x1000, 0x60001000, PAGE),
  );
  expect(operations.map((operation) => ('root' in operation ? operation.root : -1))).toEqual([0, 1, 1, 1]);
  expect(statistics).toMatchObject({ ambiguous: 1, unions: 0, split: 0, unmatched: 0 });
});

test('without probes the pieces of a scatter list share a root and are unmapped as one', () => {
  const { operations, statistics } = log(
    map(0x2000, 0x40001000, PAGE, 'other-9'),
    map(0x1000, 0x50001000, PAGE),
    map(0x2000, 0x60001000, 2 * PAGE),
    map(0x4000, 0x70001000, PAGE),
    unmap(0x1000, 4 * PAGE),
  );
  expect(operations.map((operation) => ('root' in operation ? operation.root : -1))).toEqual([0, 1, 1, 1, 1]);
  expect(operations.at(-1)).toMatchObject({ kind: 'unmap', iova: 0x1000, size: 4 * PAGE });
  expect(statistics).toMatchObject({ unions: 1, split: 0, unmatched: 0 });
});

test('without probes an unmap of a part leaves the rest, and one of nothing is counted', () => {
  const result = log(
    map(0x1000, 0x40001000, 4 * PAGE),
    unmap(0x2000, PAGE),
    unmap(0x9000, PAGE),
    unmap(0x3000, 2 * PAGE),
  );
  expect(livePages(result.operations)).toEqual([{ root: 0, iova: 0x1000, pa: 0x40001000, prot: null }]);
  expect(result.statistics).toMatchObject({ unmaps: 2, unmatched: 1 });
});
