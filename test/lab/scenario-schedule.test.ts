/** Calls in progress on several CPUs: the same every time, silent on the correct hypervisor, and races found. */
import { expect, test } from 'vitest';
import type { HypervisorFactory } from '#lab/session/session';
import type { SourceEdit } from '#lab/zoo/card';
import { buildHypervisor } from '#lab/zoo/loader';
import { tiny, twoSmmus } from '#machine';
import { InputError } from '../../lab/input-error.ts';
import { StepGenerator } from '../../lab/random/generate.ts';
import { Prng } from '../../lab/random/index.ts';
import {
  CandidateRunner,
  CannotDo,
  parseScenario,
  runScenario,
  type Step,
  shrink,
  withoutExpectation,
} from '../../lab/scenario/index.ts';
import { makeExecutor } from '../../lab/scenario/twin.ts';
import { hypervisorByIdentity } from '../../lab/zoo/index.ts';

const hypervisors = hypervisorByIdentity;
const header = 'postern scenario v1\nprofile android17\nmachine tiny\nhypervisor postern\n';
const attached = `${header}@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 attach_dev domain=d1 endpoint=disk -> 0
`;
const map = (cpu: string, iova: string, page: string): string =>
  `${cpu} map_pages domain=d1 iova=${iova} paddr=page:${page} pgsize=0x1000 pgcount=1 prot=read|write -> 0, 0x1000 bytes\n`;

test('an entry that was unmapped may be used until its call has waited for the SMMU, and not after', () => {
  const text = `${attached}${map('@cpu0', '0x1000', 'a')}disk write 0x1000 1 -> page:a
@cpu0:9 unmap_pages domain=d1 iova=0x1000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
disk write 0x1000 2 -> page:a
@cpu1 host_share_hyp pfn=page:a -> -EINVAL
@cpu0:end
disk write 0x1000 3 cached -> fault F_TRANSLATION
@cpu1 host_share_hyp pfn=page:a -> 0
`;
  const run = () => runScenario(parseScenario(text), { hypervisors });
  const report = run();
  expect(report.steps.filter(({ asExpected }) => !asExpected)).toEqual([]);
  expect(report.steps.at(-3)).toMatchObject({ text: '@cpu0:end', result: '0x1000 bytes', expected: '0x1000 bytes' });
  expect(run()).toEqual(report);
});

test('what is expected of a call is looked at where it ends', () => {
  const text = `${attached}@cpu0:2 free_domain domain=d1 -> 0\n@cpu0:1\n@cpu0:end\n`;
  const report = runScenario(parseScenario(text), { hypervisors });
  expect(report.firstDifference).toBe(5);
  expect(report.steps[5]).toMatchObject({ expected: '0', result: '-EINVAL', asExpected: false });
});

test('a call that waits for a lock stays in progress; its CPU can do nothing else', () => {
  const text = `${attached}@cpu0:3 alloc_domain domain=d2 type=s1 -> 0\n@cpu1 alloc_domain domain=d3 type=s1\n`;
  const waits = runScenario(parseScenario(`${text}@cpu0:end\n@cpu1:end\n`), { hypervisors });
  expect(waits.steps.slice(3).map(({ result }) => result)).toEqual(['in progress', 'waits for a lock', '0', '0']);
  expect(waits.ok).toBe(true);
  expect(() => runScenario(parseScenario(`${text}@cpu1 read page:a\n`), { hypervisors })).toThrow(
    /CPU 1 has alloc_domain in progress; @cpu1:end would run it to its end/,
  );
  expect(() => runScenario(parseScenario(`${header}@cpu0:3\n`), { hypervisors })).toThrow(
    /cpu: expected a call that was begun on CPU 0 before/,
  );
});

test('where no order of calls explains their results the oracles say that they have lost track', () => {
  const refused = (cpu: string): string =>
    `${cpu} map_pages domain=d1 iova=0x1000 paddr=page:c pgsize=0x1000 pgcount=1 prot=read -> -EEXIST, 0 bytes\n`;
  const text = (pauses: number): string =>
    `${attached}${map('@cpu0', '0x1000', 'a')}${refused(`@cpu0:${pauses}`)}@cpu1 host_share_hyp pfn=page:c\n@cpu0:end\n`;
  const reports = Array.from({ length: 14 }, (_, pauses) => runScenario(parseScenario(text(pauses)), { hypervisors }));
  expect(reports.flatMap(({ violations }) => violations)).toEqual([]);
  // While the map holds a reference that it will give back, the page cannot be shared: as if it were mapped.
  const lost = reports.filter(({ steps }) => steps[5]!.result === '-EINVAL');
  expect(lost.length).toBeGreaterThan(0);
  expect(lost.map(({ lostTrack }) => lostTrack)).toEqual(lost.map(() => 6));
  const others = reports.filter(({ steps }) => steps[5]!.result === '0');
  expect(others.map(({ lostTrack }) => lostTrack)).toEqual(others.map(() => null));
});

test.each([
  ['postern', 0],
  ['postern+Z64g', 1],
])('what init_vm has fetched counts, whatever the host makes of it on another CPU: %s', (identity, found) => {
  const text = (
    pauses: number,
  ): string => `${header.replace('postern\n', `${identity}\n`)}@cpu0 vm1 = reserve_vm -> handle
@cpu0 host_share_hyp pfn=page:k -> 0
@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> ok
@cpu0:${pauses} init_vm kvm=page:k pgd=page:t
@cpu1 write page:k.8 5 -> ok
@cpu0:end
`;
  const reports = Array.from({ length: 24 }, (_, n) => runScenario(parseScenario(text(n + 1)), { hypervisors }));
  const seen = reports.flatMap(({ violations }) => violations.slice(0, 1));
  expect(reports.map(({ lostTrack }) => lostTrack)).toEqual(reports.map(() => null));
  expect(seen.length > 0).toBe(found > 0);
});

test('a page that loses its reference while its leaf stays is a violation, when the lock of the page records is released', () => {
  const hypervisor = edited({
    file: 'hyp/map.ts',
    function: 'mapUsed',
    before: '  if (mapped < size) yield* unuseDma(h, paddr + mapped, size - mapped);',
    after: '  yield* unuseDma(h, paddr, size);',
  });
  const text = `${attached}${map('@cpu0:1', '0', 'a').replace(' -> 0, 0x1000 bytes', '')}@cpu0:end\n`;
  const runner = new CandidateRunner(tiny, hypervisor, 'never');
  const found = runner.run(parseScenario(text).steps);
  expect(found?.violation).toMatchObject({ property: 'refcount', rule: 'dropped-while-mapped' });
});

test('answers to stalled accesses that overlap are not taken for each other', () => {
  const begun = header.replace('machine tiny', 'machine two-smmus');
  const text = (
    pauses: number,
  ): string => `${begun}@cpu0:${pauses} page_response iommu=0 endpoint=disk tag=5 status=0 -> 0
@cpu1 page_response iommu=0 endpoint=disk tag=6 status=1 -> 0
@cpu0:end
@cpu1:end
`;
  const reports = Array.from({ length: 9 }, (_, n) => runScenario(parseScenario(text(n + 1)), { hypervisors }));
  expect(reports.flatMap(({ violations }) => violations)).toEqual([]);
  expect(reports.map(({ lostTrack }) => lostTrack)).toEqual(reports.map(() => null));
});

test('a page that one call gives back may be mapped by the next, before anybody has judged the first', () => {
  const text = `${header}@cpu0 topup iommu 4 -> 0
@cpu0 alloc_mgt_refill pool=heap head=page:a[4]+4 count=1 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0:1 host_share_hyp pfn=page:a -> 0
@cpu1 map_pages domain=d1 iova=0 paddr=page:a+4 pgsize=0x1000 pgcount=1 prot=write -> 0, 0x1000 bytes
@cpu0:end
@cpu0 alloc_mgt_reclaim pool=heap target=1
@cpu1:end
`;
  const { violations, lostTrack } = runScenario(parseScenario(text), { hypervisors });
  expect({ violations, lostTrack }).toEqual({ violations: [], lostTrack: null });
});

test.each([tiny, twoSmmus])('random interleavings violate nothing on the correct hypervisor, on $name', (machine) => {
  const options = { machine, hypervisor: hypervisorByIdentity('postern'), full: 'never', interleaved: true } as const;
  const { session, executor } = makeExecutor(options);
  const calls = session.profile.calls.map(({ name }) => name);
  const generator = new StepGenerator(machine, calls, new Prng(1));
  const perform = (step: Step): void => {
    try {
      const outcome = executor.perform(step);
      generator.world.observe(step, outcome.kind === 'progress' ? (outcome.ended?.outcome ?? outcome) : outcome);
    } catch (error) {
      if (!(error instanceof CannotDo)) throw error;
    }
    expect(executor.newViolations()).toEqual([]);
  };
  let judged = 0;
  for (let run = 0; run < 25; run++) {
    const prng = new Prng(9, run);
    executor.reset();
    generator.reset(prng);
    for (let i = 0; i < 100 && !session.oracle!.hasLostTrack; i++, judged++) {
      const step = generator.next();
      const moved = 'cpu' in step && prng.chance(50) ? { ...step, cpu: prng.below(2) } : step;
      const isBegun = (moved.kind === 'call' || moved.kind === 'guest') && i > 15 && prng.chance(50);
      perform(isBegun ? { ...moved, yields: prng.below(30) } : moved);
      if (prng.chance(40))
        perform({ kind: 'run', cpu: prng.below(2), yields: prng.chance(30) ? 'end' : prng.below(20) });
      if (prng.chance(10)) perform({ kind: 'drain', cpu: prng.below(2) });
    }
  }
  expect(judged).toBeGreaterThan(800);
});

function edited(...edits: readonly SourceEdit[]): HypervisorFactory {
  const sets = [{ id: 'X1', edits }];
  const stepped = () => buildHypervisor(sets, { plain: false }).createHypervisor;
  return Object.assign(buildHypervisor(sets).createHypervisor, { stepped });
}

const NO_BARRIER: SourceEdit = {
  file: 'hyp/smmu.ts',
  function: 'publishCommands',
  before: "  yield { kind: 'barrier', at: smmu };",
  after: '',
};
const NO_LOCK = ['lock', 'unlock'].map(
  (which): SourceEdit => ({
    file: 'hyp/map.ts',
    function: 'mapInDomain',
    before: `  yield* ${which}(h, domain + DOMAIN_LOCK);`,
    after: '',
  }),
);

test('a missing barrier shows as commands that hardware does not find, and shrinks to one call and one point', () => {
  const text = `${attached}${map('@cpu0', '0x1000', 'a')}${map('@cpu1', '0x2000', 'b')}@cpu0:40 unmap_pages domain=d1 iova=0x1000 pgsize=0x1000 pgcount=1
@cpu1:3 alloc_domain domain=d3 type=s2
@cpu0 drain
@cpu0:end
@cpu1:end
`;
  const scenario = parseScenario(text);
  const steps = scenario.steps.map(withoutExpectation);
  expect(new CandidateRunner(tiny, hypervisorByIdentity('postern')).run(steps)).toBeNull();
  const runner = new CandidateRunner(tiny, edited(NO_BARRIER));
  const found = runner.run(steps)!;
  expect(found).toMatchObject({ property: 'commands' });
  const small = shrink(scenario, found, (candidate) => runner.run(candidate));
  expect(small.oneMinimal).toBe(true);
  const points = small.scenario.steps.filter((step) => step.kind === 'run' || step.kind === 'drain');
  expect(points.length).toBeLessThan(2);
  expect(small.stepsAfter).toBeLessThan(6);
});

test('two maps in one table without its lock leave a state that no order of them has', () => {
  const runner = new CandidateRunner(tiny, edited(...NO_LOCK), 'every');
  const correct = new CandidateRunner(tiny, hypervisorByIdentity('postern'), 'every');
  const found = new Set<string>();
  for (let first = 1; first < 60; first++) {
    const text = `${attached}${map(`@cpu0:${first}`, '0x1000', 'a')}${map('@cpu1', '0x1000', 'b')}@cpu0:end\n@cpu1:end\n`;
    const steps = parseScenario(text).steps.map(withoutExpectation);
    const violation = runner.run(steps);
    if (violation !== null) found.add(violation.property);
    expect(correct.run(steps)).toBeNull();
  }
  expect([...found]).not.toEqual([]);
});

test('a page that left the host in overlapping calls and is back at their end is no violation; one that stays reachable is', () => {
  const made = `@cpu0 vm1 = reserve_vm -> handle
@cpu0 host_share_hyp pfn=page:a -> 0
@cpu0 describe page:a vm=vm1 protected=0 vcpus=1 -> ok
`;
  const back = `${header}${made}@cpu0:1 init_vm kvm=page:a pgd=page:b -> 0
@cpu1 init_vm kvm=page:a pgd=page:b -> -EINVAL
@cpu0:end
@cpu0 start_teardown_vm vm=vm1 -> 0
@cpu0 finalize_teardown_vm vm=vm1 -> 0
@cpu1:end
`;
  expect(runScenario(parseScenario(back), { hypervisors })).toMatchObject({ violations: [] });
  // With this defect no transition of a page reaches the identity domain.
  const stays = `${header}${made}@cpu0 set_identity endpoint=disk on=1
@cpu0:4 init_vm kvm=page:a pgd=page:b -> 0
@cpu1 host_share_hyp pfn=page:c -> 0
@cpu0:end
`.replace('hypervisor postern', 'hypervisor postern+Z35');
  const { steps } = runScenario(parseScenario(stays), { hypervisors });
  expect(steps.slice(0, -1).flatMap(({ violations }) => violations)).toEqual([]);
  expect(steps.at(-1)!.violations.map(({ property }) => property)).toContain('isolation');
});

test('lists that overlapping calls have read are judged as they were when they were fetched', () => {
  const text = `${header}@cpu0 topup heap 4 -> 0
@cpu0 topup iommu 8 -> 0
@cpu0 alloc_domain domain=d1 type=s1 -> 0
@cpu0 host_share_hyp pfn=page:sg -> 0
@cpu0 write page:sg page:p0
@cpu0 write page:sg.0x8 0x1000
@cpu0 write page:sg.0x10 1
@cpu0 write page:b page:c
@cpu0 write page:c 0
@cpu0:END map_sg domain=d1 iova=0x1000 sg=page:sg nent=1 prot=read|write -> 0x1000 bytes
@cpu1 alloc_mgt_refill pool=iommu head=page:b count=2 -> 0
@cpu1 write page:sg page:p1
@cpu1 write page:sg.0x10 2
@cpu0:end
@cpu0 unmap_pages domain=d1 iova=0x1000 pgsize=0x1000 pgcount=1 -> 0x1000 bytes
`;
  const results = new Set<string>();
  let waits = 0;
  for (let pauses = 1; pauses <= 40; pauses++) {
    const scenario = parseScenario(text.replace('END', String(pauses)));
    try {
      const report = runScenario(scenario, { hypervisors });
      expect(report.violations, `${pauses} pauses`).toEqual([]);
      expect(report.lostTrack, `${pauses} pauses`).toBe(null);
      results.add(report.steps.map(({ result }) => result).join());
    } catch (error) {
      // The refill waits for a lock of the other call, and its CPU can write nothing meanwhile.
      if (!(error instanceof InputError)) throw error;
      waits++;
    }
  }
  expect(waits).toBeLessThan(30);
  expect(results.size).toBeGreaterThan(1);
});
