import { expect, test } from 'vitest';
import { tiny, twoSmmus } from '#machine';
import { scenarios } from '#scenarios';
import { FuzzEngine } from '../../lab/fuzz/engine.ts';
import { ALL_FEEDBACK, NO_FEEDBACK } from '../../lab/fuzz/feedback.ts';
import { FindingMaker } from '../../lab/fuzz/finding.ts';
import { parseScenario, profileOf } from '../../lab/scenario/index.ts';
import { runScenario } from '../../lab/scenario/run.ts';
import { buildHypervisor, cardOf, hypervisorByIdentity } from '../../lab/zoo/index.ts';

const correct = buildHypervisor([], { plain: true, counted: true });

function engine(seed: number, feedback = ALL_FEEDBACK): FuzzEngine {
  return new FuzzEngine({ machine: tiny, hypervisor: correct.createHypervisor, edges: correct.edges, seed, feedback });
}

test('the correct hypervisor gives no alarm, and inputs that show something new are kept', () => {
  const one = engine(1);
  for (let i = 0; i < 150; i++) expect(one.runOne()?.violation).toBeUndefined();
  expect(one.counts.runs).toBe(150);
  expect(one.corpus.size).toBeGreaterThan(20);
  expect(one.feedback.edgeCount).toBeGreaterThan(correct.edges.length / 3);
  expect(one.feedback.stateCount).toBeGreaterThan(100);
});

test('the same seed makes the same runs, another one others', () => {
  const runs = (seed: number): unknown => {
    const one = engine(seed);
    for (let i = 0; i < 40; i++) one.runOne();
    return [one.counts, one.corpus.inputs.map((input) => Buffer.from(input).toString('hex'))];
  };
  const first = runs(7);
  expect(runs(7)).toEqual(first);
  expect(runs(8)).not.toEqual(first);
});

test.each([
  { interleaved: false, runs: 48 },
  { interleaved: true, runs: 60 },
])(
  'an input is the same steps from boot and from where its first records lead, interleaved: $interleaved',
  ({ interleaved, runs }) => {
    const hypervisor = hypervisorByIdentity('postern');
    const feedback = { edges: false, states: true, rows: true };
    const options = { machine: twoSmmus, hypervisor, feedback, interleaved, maxSteps: 50 };
    const [one, fromBoot] = [new FuzzEngine({ ...options, seed: 5 }), new FuzzEngine({ ...options, seed: 6 })];
    let continued = 0;
    for (let run = 0; run < runs; run++) {
      expect(one.runOne()?.violation).toBeUndefined();
      if (one['batch']!.place.bytes > 0) continued++;
      const { bytes, length } = one['draft'];
      const steps = [...one['steps']];
      expect(fromBoot.stepsOf(bytes.slice(0, length))).toEqual(steps);
    }
    expect(continued).toBeGreaterThanOrEqual(12);
  },
);

test('without feedback nothing is kept', () => {
  const one = engine(1, NO_FEEDBACK);
  for (let i = 0; i < 20; i++) one.runOne();
  expect(one.corpus.size).toBe(0);
});

test.each(['Z14', 'Z23'])('%s is found, shrunk and shown by the shrunk text alone', (id) => {
  const card = cardOf(id);
  const { createHypervisor, edges, identity } = buildHypervisor([card], { plain: true, counted: true });
  const fuzzed = new FuzzEngine({
    machine: tiny,
    hypervisor: createHypervisor,
    edges,
    seed: 3,
    feedback: ALL_FEEDBACK,
  });
  for (let i = 0; i < 2000; i++) {
    const violated = fuzzed.runOne();
    if (violated === null) continue;
    const maker = new FindingMaker({ machine: tiny, hypervisor: hypervisorByIdentity(identity), identity });
    const finding = maker.make(violated, maker.locate(violated.steps)!);
    expect(finding.oneMinimal).toBe(true);
    expect(finding.stepsAfter).toBeLessThan(10);
    const report = runScenario(parseScenario(finding.scenario, 'finding'), {
      hypervisors: hypervisorByIdentity,
      file: 'finding',
    });
    expect(report.ok).toBe(true);
    expect(report.violations.map(({ property }) => property)).toContain(finding.property);
    return;
  }
  expect.unreachable('nothing was found');
});

test('a result near 2^64 is printed and read again', () => {
  const { createHypervisor, identity } = buildHypervisor([cardOf('Z34a')]);
  const { steps, profile } = parseScenario(scenarios.Z34a!, 'Z34a');
  const subject = { machine: tiny, hypervisor: createHypervisor, identity };
  const maker = new FindingMaker({ ...subject, profile: profileOf({ profile }) });
  const violated = { steps: steps.filter(({ kind }) => kind !== 'expect'), input: new Uint8Array(0), run: 0 };
  const located = maker.locate(violated.steps)!;
  const { scenario } = maker.make({ ...violated, violation: located.found.violation }, located);
  expect(scenario).toMatch(/iova_to_phys .* -> 0xffffffffffffff/);
});
