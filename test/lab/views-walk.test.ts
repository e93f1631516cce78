import { expect, test } from 'vitest';
import { recordScenario } from '#lab/narrator/record';
import { machineSource } from '#lab/replay/live';
import { parseScenario } from '#lab/scenario/index';
import { tablesView } from '#lab/views/tables-view';
import { checksOf } from '#lab/views/walk-chain';
import { walkView } from '#lab/views/walk-view';
import { leavesOf } from '#lab/walk/leaves';
import { walkSource } from '#lab/walk/source';
import { type TableNode, tableTree } from '#lab/walk/table-tree';
import { walkAccess } from '#lab/walk/walk';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { hex64 } from '#machine';
import { rigFixture, runs } from './rig.ts';
import { expectSound, insideBox, texts } from './views-rig.ts';

test.each(runs)('%s: walks of every outcome are drawn without a collision, and every fetched word is there', (run) => {
  const fixture = rigFixture(run);
  const source = walkSource(fixture);
  for (const sid of [...new Set(fixture.streams.map((stream) => stream.sid)), 0x7fff, 2 ** 20]) {
    const mapped = fixture.expected.find((entry) => entry.sid === sid)?.iova ?? 0;
    for (const iova of [mapped, 0x5123, 2 ** 50]) {
      const walk = walkAccess(source, sid, iova, iova === mapped);
      const scene = walkView(walk);
      expectSound(scene);
      const all = texts(scene).join('\n');
      for (const { address, words } of walk.steps) {
        expect(all).toContain(`0x${address.toString(16)}`);
        for (const { hi, lo } of words) if (hi !== 0 || lo !== 0) expect(all).toContain(hex64(hi, lo));
      }
      if (walk.outcome.kind === 'fault') {
        expect(all).toContain(walk.outcome.event);
        expect(texts(scene).filter((text) => text.startsWith('✗'))).toEqual([`✗ ${walk.outcome.event}`]);
      }
    }
  }
});

test('the chain of a walk says how each address came about, and cuts the address into indexes', () => {
  const walk = walkAccess(walkSource(rigFixture('strict-all')), 0x10, 0xffffc123);
  const scene = walkView(walk);
  expect(texts(scene)).toEqual(
    expect.arrayContaining([
      'level 3, bits 20:12',
      'index 508',
      '0x123',
      'STRTAB_BASE + 8 × 0x0, the StreamID without its low 8 bits',
      'L2Ptr + 64 × 0x10, the low 8 bits of the StreamID',
      'S1ContextPtr',
      'TTB0 + 8 × 0, IOVA bits 47:39',
      'next + 8 × 508, IOVA bits 20:12',
      'Physical address 0x4c19f123',
    ]),
  );
  expect(checksOf(walk).every(({ state }) => state === 'passed')).toBe(true);
});

test('a long note of a fetched word is broken below it', () => {
  const walk = walkAccess(walkSource(rigFixture('strict-all')), 0x10, 0x1000);
  const note = 'illegal: a reason that goes on and on, '.repeat(8).trim();
  const scene = walkView({ ...walk, steps: walk.steps.map((step) => ({ ...step, note })) });
  expectSound(scene);
  expect(texts(scene).filter((text) => text.startsWith('illegal: a reason')).length).toBe(walk.steps.length);
});

test('the check that decided is marked: those before it passed, those behind it were not reached', () => {
  const walk = walkAccess(walkSource(rigFixture('strict-all')), 0x10, 0x1000, true);
  expect(checksOf(walk).map(({ event, state }) => `${event} ${state}`)).toEqual([
    'C_BAD_STREAMID passed',
    'F_STE_FETCH passed',
    'C_BAD_STE passed',
    'F_CD_FETCH passed',
    'C_BAD_CD passed',
    'F_WALK_EABT passed',
    'F_TRANSLATION decided',
    'F_ADDR_SIZE not reached',
    'F_ACCESS not reached',
    'F_PERMISSION not reached',
  ]);
  const scene = walkView(walk);
  const culprit = scene.items.find((item) => item.kind === 'text' && item.text === 'Stage 1 level 1');
  expect(culprit?.kind === 'text' && insideBox(scene, culprit, 'bad-pale')).toBe(true);
});

test.each(runs)('%s: the tree of tables has exactly the leaves, joined into runs', (run) => {
  const fixture = rigFixture(run);
  const source = walkSource(fixture);
  for (const { sid } of fixture.streams) {
    const tree = tableTree(source, sid);
    const expanded: [number, number, number][] = [];
    const visit = (node: TableNode): void => {
      expect(node.used.length).toBe(
        node.children.reduce((sum, child) => sum + (child.kind === 'run' ? child.count : 1), 0),
      );
      for (const child of node.children) {
        if (child.kind === 'table') visit(child);
        else
          for (let i = 0; i < child.count; i++)
            expanded.push([child.iova + i * child.size, child.pa + i * child.size, child.size]);
      }
    };
    if (tree !== null) visit(tree.root);
    expect(expanded).toEqual(leavesOf(source, sid).map(({ iova, pa, size }) => [iova, pa, size]));
    expectSound(tablesView(source, sid));
  }
});

test('only leaves that follow on each other in both spaces are one run', () => {
  const map = (iova: string, page: string, count: number): string =>
    `@cpu0 map_pages domain=d1 iova=${iova} paddr=page:${page} pgsize=0x1000 pgcount=${count} prot=read`;
  const text = [
    'postern scenario v1',
    'profile android17',
    'machine tiny',
    'hypervisor postern',
    '@cpu0 topup iommu 8',
    '@cpu0 alloc_domain domain=d1 type=s1',
    '@cpu0 attach_dev domain=d1 endpoint=disk',
    map('0x1000', 'a[4]', 2),
    map('0x4000', 'a+2', 1),
    map('0x5000', 'a', 1),
    map('0x6000', 'a+1', 1).replace('read', 'write|read'),
  ].join('\n');
  const { session } = recordScenario(parseScenario(text), hypervisorByIdentity('postern'));
  const all: (readonly [number, number, boolean])[] = [];
  const visit = (node: TableNode): void => {
    for (const child of node.children) {
      if (child.kind === 'table') visit(child);
      else all.push([child.iova, child.count, child.write]);
    }
  };
  visit(tableTree(machineSource(session.machine), 0)!.root);
  expect(all).toEqual([
    [0x1000, 2, false],
    [0x4000, 1, false],
    [0x5000, 1, false],
    [0x6000, 1, true],
  ]);
});

test('a table with many runs draws some of them and counts the others', () => {
  const source = walkSource(rigFixture('strict-all'));
  const all = texts(tablesView(source, 0x18, { maxRuns: 2 }));
  expect(all.filter((text) => text.startsWith('→ 0x')).length).toBeLessThanOrEqual(2 * 8);
  expect(all.some((text) => /^and [\d,]+ more runs? with [\d,]+ mappings?$/.test(text))).toBe(true);
});
