import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { attackScenario } from '#lab/demo/attack';
import { recordScenario } from '#lab/narrator/record';
import { parseScenario } from '#lab/scenario/index';
import { Session } from '#lab/session/session';
import { memoryMap } from '#lab/views/memory-map';
import { memoryView } from '#lab/views/memory-view';
import { collisions } from '#lab/views/metrics';
import { timelineOf } from '#lab/views/timeline';
import { timelineView } from '#lab/views/timeline-view';
import { hypervisorByIdentity } from '#lab/zoo/index';
import { qemuVirt } from '#machine';
import { expectSound, texts } from './views-rig.ts';

const attack = parseScenario(attackScenario, 'attack');
const timeline = (identity: string, scenario = attack) =>
  timelineOf({ ...scenario, hypervisor: identity }, hypervisorByIdentity(identity));

test('the timeline shows at a glance that Z14 releases a page while the old entry may be used', () => {
  const correct = timeline('postern');
  const broken = timeline('postern+Z14');
  const moments = (view: typeof correct) => view.steps.flatMap((step) => step.moments);
  const leaf = (view: typeof correct) => view.windows.find(({ text }) => text.startsWith('IOVA'))!;
  expect(leaf(correct).released).toBeNull();
  const { from, queued, to, released } = leaf(broken);
  expect(from < released! && released! < queued! && queued! < to!).toBe(true);
  expect(moments(broken)[released!]).toMatchObject({
    early: true,
    lane: 'memory',
    text: 'release page secret (1 → 0)',
  });
  const order = (view: typeof correct): string[] => view.steps[12]!.moments.map(({ text }) => text.split(' ')[0]!);
  expect(order(correct)).toEqual(['clear', 'TLBI_NH_VA', 'CMD_SYNC', 'release']);
  expect(order(broken)).toEqual(['clear', 'release', 'TLBI_NH_VA', 'CMD_SYNC']);
  const red = (view: typeof correct): number =>
    timelineView(view).items.filter((item) => item.kind === 'box' && item.surface === 'bad-full' && item.height > 25)
      .length;
  expect([red(correct), red(broken)]).toEqual([0, 1]);
  expect(texts(timelineView(broken))).toContain('released too early');
  expect(timelineView(correct).description).toContain('No page is released while the SMMU may still reach it');
});

test('a timeline is sound as a whole, in part, and narrow', () => {
  for (const identity of ['postern', 'postern+Z14']) {
    for (const options of [{}, { from: 13, to: 13 }, { from: 9 }, { width: 640 }, { width: 560, from: 10 }]) {
      expectSound(timelineView(timeline(identity), options));
    }
  }
});

test('any timeline is drawn without a collision', () => {
  const words = fc.array(fc.constantFrom('page', 'a', '0x402ff000', 'TLBI_NH_VA', 'released', 'x'.repeat(90)), {
    maxLength: 14,
  });
  const text = words.map((list) => list.join(' '));
  const moment = fc.record({
    label: fc.nat(99).map((n) => `${n}.${n}`),
    lane: fc.constantFrom('memory' as const, 'queue' as const),
    text,
    sentence: text,
    early: fc.boolean(),
  });
  const step = fc.record({
    number: fc.nat(999),
    text,
    moments: fc.array(moment, { maxLength: 5 }),
    violations: fc.array(text, { maxLength: 2 }),
  });
  const any = fc
    .tuple(
      fc.array(step, { maxLength: 6 }),
      text,
      fc.array(fc.tuple(text, fc.nat(), fc.nat(9), fc.nat(9)), { maxLength: 8 }),
    )
    .map(([list, title, spans]) => {
      const steps = list.map((each, i) => ({ ...each, number: i + 1 }));
      const count = steps.reduce((sum, { moments }) => sum + moments.length, 0);
      const windows = (count === 0 ? [] : spans).map(([name, at, wait, more]) => {
        const from = at % count;
        const inside = (n: number): number | null => (n < count ? n : null);
        return {
          text: name,
          from,
          queued: inside(from + wait),
          to: inside(from + wait + more),
          released: more > 5 ? inside(from + 1) : null,
        };
      });
      return { title, hypervisor: 'postern', machine: 'tiny', steps, windows };
    });
  fc.assert(
    fc.property(any, fc.integer({ min: 560, max: 1200 }), (view, width) => {
      expect(collisions(timelineView(view, { width }))).toEqual([]);
    }),
    { numRuns: 60 },
  );
});

test('every window is closed by a CMD_SYNC, except one that no invalidation covers', () => {
  const { windows, steps } = timeline('postern');
  const moments = steps.flatMap((step) => step.moments);
  expect(windows.length).toBeGreaterThan(2);
  for (const window of windows) expect(moments[window.to!]!.text).toBe('CMD_SYNC completes');
});

test('every scenario of the documentation can be drawn', () => {
  const page = readFileSync(new URL('../../docs/scenarios.md', import.meta.url), 'utf8');
  const blocks = [...page.matchAll(/```scenario\n([\s\S]*?)```/g)].map(([, text]) =>
    parseScenario(text!, 'scenarios.md'),
  );
  expect(blocks.length).toBeGreaterThan(2);
  for (const scenario of blocks) expectSound(timelineView(timeline(scenario.hypervisor, scenario)));
});

test('memory of a small machine is a grid with one cell a page, marks where it is mapped for DMA', () => {
  const { session } = recordScenario(attack, hypervisorByIdentity('postern'), { steps: 10 });
  const map = memoryMap(session.machine);
  expect(map.runs.reduce((sum, { pages }) => sum + pages, 0)).toBe(1024);
  expect(map.runs.filter(({ mapped }) => mapped)).toMatchObject([{ pages: 1, owner: 'host', cached: false }]);
  const scene = memoryView(map);
  expectSound(scene);
  const cells = scene.items.filter((item) => item.kind === 'box' && item.width === 12);
  expect(cells.length).toBe(1024);
  const marks = scene.items.filter((item) => item.kind === 'box' && item.surface === 'ink-full' && item.width < 10);
  expect(marks.length).toBe(1);
  const after = memoryMap(recordScenario(attack, hypervisorByIdentity('postern')).session.machine);
  expect(after.runs.filter(({ owner }) => owner === 'guest')).toMatchObject([{ pages: 1, mapped: false }]);
});

test('memory of a large machine is strips with their runs', () => {
  const map = memoryMap(new Session({ machine: qemuVirt }).machine);
  const scene = memoryView(map);
  expectSound(scene);
  expect(scene.items.length).toBeLessThan(400);
  expect(texts(scene)).toContain('0x70000000 – 0x71ffffff');
});
