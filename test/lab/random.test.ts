/** The random finder: the same seed, the same steps; nothing on the correct hypervisor; the known defects found. */
import { expect, test } from 'vitest';
import type { Hypervisor } from '#hypercall-abi';
import { Session } from '#lab/session/session';
import { type Machine, tiny, twoSmmus } from '#machine';
import { FuzzEngine } from '../../lab/fuzz/engine.ts';
import { ALL_FEEDBACK } from '../../lab/fuzz/feedback.ts';
import { edgesOf } from '../../lab/random/edges.ts';
import { findViolation, Prng } from '../../lab/random/index.ts';
import { CandidateRunner, printScenario, runScenario, sameSignature, shrink } from '../../lab/scenario/index.ts';
import { buildHypervisor, hypervisorByIdentity } from '../../lab/zoo/index.ts';

test('random numbers are the same for ever, evenly spread, and different for each run', () => {
  const prng = new Prng(1, 2);
  expect([prng.next(), prng.next(), prng.next()]).toEqual([2238190143, 61101710, 3916794307]);
  const counts = new Array<number>(10).fill(0);
  for (let i = 0; i < 10_000; i++) counts[new Prng(7, i).below(10)]!++;
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
});

test.each([tiny, twoSmmus])(
  'the correct hypervisor violates nothing in 20 000 random hypercalls on $name',
  (machine) => {
    const hypervisor = hypervisorByIdentity('postern');
    const result = findViolation({ machine, hypervisor, identity: 'postern', seed: 5, maxCalls: 20_000 });
    expect(result.found && printScenario(result.found.scenario)).toBeNull();
    expect(result.calls).toBeGreaterThanOrEqual(20_000);
  },
  60_000,
);

test.each(['Z14', 'Z23'])(
  '%s is found, and the finding runs, shrinks and repeats',
  (id) => {
    const identity = `postern+${id}`;
    const hypervisor = hypervisorByIdentity(identity);
    const options = { machine: tiny, hypervisor, identity, seed: 1, maxCalls: 20_000 };
    const { found, calls } = findViolation(options);
    expect(found).not.toBeNull();
    const { scenario, signature, run } = found!;
    expect(findViolation(options)).toMatchObject({ calls, found: { scenario, run } });
    expect(findViolation({ ...options, firstRun: run, maxRuns: 1 }).found?.scenario).toEqual(scenario);
    expect(runScenario(scenario, { hypervisors: hypervisorByIdentity }).ok).toBe(true);
    const runner = new CandidateRunner(tiny, hypervisor);
    expect(sameSignature(runner.run(scenario.steps)!, signature)).toBe(true);
    const small = shrink(scenario, signature, (steps) => runner.run(steps));
    expect(small.oneMinimal).toBe(true);
    expect(small.stepsAfter).toBeLessThanOrEqual(6);
    // On the correct hypervisor the same steps are harmless.
    expect(new CandidateRunner(tiny, hypervisorByIdentity('postern')).run(small.scenario.steps)).toBeNull();
  },
  60_000,
);

test('the seed decides every step of every run', () => {
  const hypervisor = hypervisorByIdentity('postern');
  const search = (seed: number) => {
    const seen: number[] = [];
    const onProgress = ({ steps, calls }: { steps: number; calls: number }) => seen.push(steps, calls);
    findViolation({ machine: tiny, hypervisor, identity: 'postern', seed, maxRuns: 6, onProgress });
    return seen;
  };
  expect(search(4)).toEqual(search(4));
  expect(search(4)).not.toEqual(search(5));
});

test('only the calls that are allowed are made', () => {
  const hypervisor = hypervisorByIdentity('postern+Z23');
  const calls = ['alloc_domain', 'map_pages', 'alloc_mgt_refill'] as const;
  const { found } = findViolation({
    machine: tiny,
    hypervisor,
    identity: 'postern+Z23',
    seed: 3,
    maxCalls: 20_000,
    calls,
  });
  const made = new Set(found!.scenario.steps.flatMap((step) => (step.kind === 'call' ? [step.call] : [])));
  expect([...made].filter((call) => !(calls as readonly string[]).includes(call))).toEqual([]);
}, 60_000);

test('it tells how far it is and ends when told to', () => {
  const hypervisor = hypervisorByIdentity('postern');
  let last = 0;
  const result = findViolation({
    machine: tiny,
    hypervisor,
    identity: 'postern',
    seed: 9,
    onProgress: ({ runs }) => {
      expect(runs).toBe(last + 1);
      last = runs;
    },
    stop: () => last >= 3,
  });
  expect(result).toMatchObject({ runs: 3, found: null });
});

test('tables and queues that boot has taken over are among the pages that are tried', () => {
  const session = new Session({ machine: tiny });
  const { strtab, cmdq, evtq } = session.smmuMemory[0]!;
  const edges = edgesOf(tiny, [strtab, cmdq, evtq]);
  for (const unit of ['pa', 'list'] as const) expect(edges[unit]).toEqual(expect.arrayContaining([strtab, cmdq, evtq]));
  expect(edges.pfn).toEqual(expect.arrayContaining([strtab / 4096, cmdq / 4096, evtq / 4096]));
  const seen = new Set<unknown>();
  const factory = hypervisorByIdentity('postern');
  const watched = (machine: Machine): Hypervisor => {
    const inner = factory(machine);
    return {
      ...inner,
      hvc: (cpu, x) => {
        for (let n = 1; n < 6; n++) seen.add(x[2 * n]! >>> 0);
        inner.hvc(cpu, x);
      },
    };
  };
  const { found } = findViolation({
    machine: tiny,
    hypervisor: watched,
    identity: 'postern',
    seed: 3,
    maxCalls: 20_000,
  });
  expect(found).toBeNull();
  for (const page of [strtab, cmdq, evtq]) expect(seen.has(page) || seen.has(page / 4096)).toBe(true);
}, 60_000);

test('made-up guests and their devices reach most of what is specified for them', () => {
  const { createHypervisor, edges } = buildHypervisor([], { plain: true, counted: true });
  const engine = new FuzzEngine({
    machine: twoSmmus,
    hypervisor: createHypervisor,
    edges,
    seed: 1,
    feedback: ALL_FEEDBACK,
    weights: { 'guest-call': 80, 'guest-dma': 20, 'advance-vm': 40, 'map-guest': 30 },
    maxSteps: 250,
  });
  const missing = (): string[] => {
    const rows = engine.session.oracle!.rows().filter(({ hits }) => hits > 0);
    return GUEST_ROWS.filter((row) => !rows.some(({ id }) => id === row));
  };
  for (let run = 0; run < 4000 && (run % 50 !== 0 || missing().length > 0); run++) {
    expect(engine.runOne()?.violation).toBeUndefined();
  }
  expect(missing()).toEqual([]);
}, 60_000);

const GUEST_ROWS = [
  'guest_dev_req_dma/ok',
  'guest_attach_dev/ENOMEM-iommu',
  'guest_attach_dev/ok',
  'guest_alloc_domain/ok',
  'guest_free_domain/ok',
  'guest_map_pages/page',
  'guest_map_pages/ok',
];
