/** Shrinking keeps the violation, loses all that does not matter, and proves that no step is left to lose. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type CallName, callNamed } from '#hypercall-abi';
import { type RunCandidate, shrink } from '../../lab/scenario/shrink.ts';
import { callOf } from '../../lab/scenario/signature.ts';
import type { CallStep, Scenario, Step, Value } from '../../lab/scenario/types.ts';
import { anyStep } from './scenario-arbitrary.ts';

const signature = { property: 'made-up', rule: 'rule', call: 'unmap_pages' };

function scenarioOf(steps: readonly Step[]): Scenario {
  return { profile: 'android17', machine: 'tiny', hypervisor: 'postern', steps };
}

function call(name: CallName, args: Record<string, Value>, cpu = 0): CallStep {
  const all = Object.fromEntries(callNamed(name).args.map((arg): [string, Value] => [arg.name, args[arg.name] ?? 0]));
  return { kind: 'call', cpu, call: name, args: all };
}

/** Violated at the first step that completes the chain: one step of each kind, in this order. */
function chain(...kinds: readonly ((step: Step) => boolean)[]): RunCandidate {
  return (steps) => {
    let next = 0;
    for (let i = 0; i < steps.length; i++) {
      if (!kinds[next]!(steps[i]!)) continue;
      next++;
      if (next === kinds.length) return { property: 'made-up', rule: 'rule', call: callOf(steps[i]!), step: i };
    }
    return null;
  };
}

const isCall =
  (name: CallName, test: (args: Readonly<Record<string, Value>>) => boolean = () => true) =>
  (step: Step): boolean =>
    step.kind === 'call' && step.call === name && test(step.args);

test('noise around a chain of steps goes, whatever it is', () => {
  const run = chain(isCall('alloc_domain'), isCall('map_pages'), isCall('unmap_pages'));
  const noise = fc.array(anyStep, { maxLength: 20 });
  fc.assert(
    fc.property(fc.tuple(noise, noise, noise, noise), ([a, b, c, d]) => {
      const steps = [
        ...a,
        call('alloc_domain', { domain: { name: 'd1' } }),
        ...b,
        call('map_pages', { domain: { name: 'd1' }, iova: 0x1000 }),
        ...c,
        call('unmap_pages', { domain: { name: 'd1' }, iova: 0x1000 }),
        ...d,
      ];
      const result = shrink(scenarioOf(steps), signature, run);
      expect(result.oneMinimal).toBe(true);
      expect(result.scenario.steps.map((step) => callOf(step))).toEqual(['alloc_domain', 'map_pages', 'unmap_pages']);
      expect(result.stepsAfter).toBe(3);
    }),
    { numRuns: 60 },
  );
});

test('the result is 1-minimal even where steps matter in groups', () => {
  // Two ways to the violation, one of them through a step that must not be alone.
  const run: RunCandidate = (steps) => {
    let pages = 0;
    let closed = false;
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i]!;
      if (step.kind === 'topup') pages += step.chunks * 2 ** step.order;
      if (step.kind === 'call' && step.call === 'vcpu_put') closed = !closed;
      if (!isCall('unmap_pages')(step) || pages < 5 || closed) continue;
      return { ...signature, step: i };
    }
    return null;
  };
  const any = fc.oneof(
    fc.record({
      kind: fc.constant('topup' as const),
      cpu: fc.nat({ max: 1 }),
      pool: fc.constant('iommu' as const),
      chunks: fc.integer({ min: 1, max: 3 }),
      order: fc.nat({ max: 1 }),
    }),
    fc.constant(call('vcpu_put', {})),
    fc.constant(call('unmap_pages', { pgcount: 1 })),
    anyStep,
  );
  fc.assert(
    fc.property(fc.array(any, { maxLength: 40 }), (steps) => {
      fc.pre(run(steps) !== null);
      const { scenario, oneMinimal } = shrink(scenarioOf(steps), signature, run);
      expect(oneMinimal).toBe(true);
      expect(run(scenario.steps)).not.toBeNull();
      for (let i = 0; i < scenario.steps.length; i++) {
        expect(run(scenario.steps.toSpliced(i, 1)), `without step ${i}`).toBeNull();
      }
    }),
    { numRuns: 100 },
  );
});

test('arguments become as simple as the violation allows', () => {
  const number = (value: Value | undefined): number => (typeof value === 'number' ? value : -1);
  const run = chain(
    isCall(
      'map_pages',
      ({ pgcount, prot, iova }) => number(pgcount) >= 3 && (number(prot) & 2) !== 0 && number(iova) >= 0x200000,
    ),
    isCall('unmap_pages', ({ iova }) => number(iova) >= 0),
  );
  const { scenario } = shrink(
    scenarioOf([
      call(
        'map_pages',
        {
          domain: { name: 'd9' },
          iova: 0x7654000,
          paddr: { page: 'q', run: 512, offset: 7, byte: 16 },
          pgsize: 0x1000,
          pgcount: 400,
          prot: 0x3f,
        },
        1,
      ),
      call('unmap_pages', { domain: { name: 'd7' }, iova: 0x1234000, pgcount: { big: '0xffffffffffffffff' } }, 1),
    ]),
    signature,
    run,
  );
  const domain = { name: 'd1' };
  expect(scenario.steps).toEqual([
    call('map_pages', { domain, iova: 0x200000, paddr: { page: 'a' }, pgcount: 3, prot: 2 }),
    call('unmap_pages', { domain }),
  ]);
});

test('top-ups become one, and what several steps share changes in all of them', () => {
  const places = (steps: readonly Step[]): number[] =>
    steps.flatMap((step) => (step.kind === 'call' && typeof step.args.iova === 'number' ? [step.args.iova] : []));
  const run: RunCandidate = (steps) => {
    const pages = steps.reduce((sum, step) => sum + (step.kind === 'topup' ? step.chunks * 2 ** step.order : 0), 0);
    const at = steps.findIndex(isCall('unmap_pages'));
    const [first, second] = places(steps);
    return pages >= 4 && at >= 0 && first === second && first! >= 0x1000 ? { ...signature, step: at } : null;
  };
  const topup = (chunks: number, order: number): Step => ({ kind: 'topup', cpu: 0, pool: 'iommu', chunks, order });
  const { scenario } = shrink(
    scenarioOf([
      topup(1, 1),
      topup(1, 0),
      topup(1, 0),
      call('map_pages', { iova: 0x40200000 }),
      call('unmap_pages', { iova: 0x40200000 }),
    ]),
    signature,
    run,
  );
  expect(scenario.steps).toEqual([
    topup(4, 0),
    call('map_pages', { iova: 0x1000 }),
    call('unmap_pages', { iova: 0x1000 }),
  ]);
});

test('a violation of another rule, property or call does not count as the same', () => {
  const steps = [call('map_pages', {}), call('unmap_pages', {})];
  const run: RunCandidate = (candidate) => {
    const last = candidate.at(-1);
    if (last === undefined) return null;
    return {
      ...signature,
      call: callOf(last),
      rule: candidate.length === 2 ? 'rule' : 'other',
      step: candidate.length - 1,
    };
  };
  expect(shrink(scenarioOf(steps), signature, run).stepsAfter).toBe(2);
});

test('a scenario that does not show the violation is refused, and an early end is said', () => {
  expect(() => shrink(scenarioOf([call('vcpu_put', {})]), signature, () => null)).toThrow(/does not show made-up/);
  const steps = [...Array(30).fill(call('vcpu_put', {})), call('unmap_pages', {})];
  const result = shrink(scenarioOf(steps), signature, chain(isCall('unmap_pages')), { maxRuns: 2 });
  expect(result.oneMinimal).toBe(false);
  expect(result.runs).toBeLessThanOrEqual(2);
});
