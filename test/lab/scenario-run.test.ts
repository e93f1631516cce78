/** Scenarios run: the documented ones come out as they say, and what does not fit is said where it is. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { tiny } from '#machine';
import { InputError } from '../../lab/input-error.ts';
import {
  CandidateRunner,
  decodeShare,
  encodeShare,
  parseScenario,
  parseScenarioLines,
  printScenario,
  runScenario,
  shrink,
  withoutExpectation,
} from '../../lab/scenario/index.ts';
import { hypervisorByIdentity } from '../../lab/zoo/index.ts';

const page = readFileSync(new URL('../../docs/scenarios.md', import.meta.url), 'utf8');
const blocks = (kind: string): string[] =>
  [...page.matchAll(new RegExp(`^\`\`\`${kind}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]!);
const hypervisors = hypervisorByIdentity;
const header = 'postern scenario v1\nprofile android17\nmachine tiny\nhypervisor postern\n';

test.each(blocks('scenario').map((text) => [parseScenario(text).title, text]))('documented: %s', (_, text) => {
  const { scenario, lines } = parseScenarioLines(text);
  const report = runScenario(scenario, { hypervisors, lines });
  expect(report.steps.filter(({ asExpected }) => !asExpected)).toEqual([]);
  expect(report.ok).toBe(true);
  expect(report.firstDifference).toBeNull();
});

test('the documented string is the first documented scenario', () => {
  const scenario = parseScenario(blocks('scenario')[0]!);
  expect(encodeShare(scenario)).toBe(blocks('share')[0]!.trim());
  expect(decodeShare(blocks('share')[0]!)).toEqual(scenario);
});

test('a result that is not the expected one is the first difference, with the line it stands on', () => {
  const text = `${header}\n@cpu0 topup iommu 1 -> 0\n# comment\n@cpu0 free_domain domain=d1 -> 0\n@cpu0 vcpu_put\n`;
  const { scenario, lines } = parseScenarioLines(text);
  const report = runScenario(scenario, { hypervisors, lines });
  expect(report).toMatchObject({ ok: false, firstDifference: 1, violations: [] });
  expect(report.steps[1]).toEqual({
    line: 8,
    text: '@cpu0 free_domain domain=d1 -> 0',
    result: '-ENODEV',
    expected: '0',
    asExpected: false,
    violations: [],
  });
  expect(report.steps[2]?.asExpected).toBe(true);
});

test('each kind of expectation is really compared', () => {
  const wrong = [
    '@cpu0 write page:a 1 -> abort',
    '@cpu0 read page:a -> 0x1',
    '@cpu0 read 0 -> 0',
    '@cpu0 topup iommu 1 -> -EPERM',
    '@cpu0 describe page:k vm=vm1 protected=1 vcpus=1 -> abort',
    '@cpu0 hvc x0=0xc6000014 -> 0',
    '@cpu0 reserve_vm -> -ENOMEM',
    '@cpu0 iova_to_phys domain=d1 iova=0 -> page:a',
    '@cpu0 alloc_domain domain=d1 type=s1 -> -ENOMEM request iommu 2',
    '@cpu0 alloc_domain domain=d1 type=s1 -> -ENOMEM request heap 1',
    '@cpu0 alloc_mgt_reclaimable pool=iommu -> 1 pages',
    '@cpu0 read page:a.2 width=2 -> 0x1',
    '@cpu0 read page:a width=8 -> 0xffffffffffffffff',
    '@cpu0 write page:a 1 width=1 -> abort',
    '@cpu0 guest_free_domain domain=1 -> 0',
    '@cpu0 guest_hvc x0=7 -> value 3',
    'disk read 0x1000 -> page:a',
    'disk read 0x1000 -> abort',
    'disk read 0x1000 -> fault F_TRANSLATION',
  ];
  for (const step of wrong) {
    const report = runScenario(parseScenario(`${header}${step}\n`), { hypervisors });
    expect(report.firstDifference, step).toBe(0);
    const right = step.replace(/->.*/, `-> ${report.steps[0]!.result}`);
    expect(runScenario(parseScenario(`${header}${right}\n`), { hypervisors }).ok, right).toBe(true);
  }
});

test('a violation that does not come, and one that nobody expected, are differences', () => {
  const steps = blocks('scenario').at(-1)!;
  expect(steps).toContain('hypervisor postern+Z23');
  const onCorrect = runScenario(parseScenario(steps.replace('postern+Z23', 'postern')), { hypervisors });
  expect(onCorrect).toMatchObject({ ok: false, firstDifference: 3, violations: [] });
  expect(onCorrect.steps[3]?.result).toBe('not found');
  const unexpected = runScenario(parseScenario(steps.replace(/^expect.*$/m, '')), { hypervisors });
  expect(unexpected).toMatchObject({ ok: false, firstDifference: 2 });
  const other = runScenario(parseScenario(steps.replace('violation refcount', 'violation lock')), { hypervisors });
  expect(other.firstDifference).toBe(3);
});

test.each([
  ['machine huge', /machine: expected one of tiny.*got huge/],
  ['hypervisor postern+Z99999', /expected a defect/],
  ['@cpu7 vcpu_put', /s:5: cpu: expected a CPU from 0 to 1, got @cpu7/],
  ['floppy read 0x1000', /s:5: device: expected one of the devices of tiny: disk.*got floppy/],
  ['@cpu0 attach_dev domain=d1 endpoint=floppy', /s:5: endpoint: expected one of the devices/],
  ['disk read 0x1001', /s:5: address: expected a multiple of 4/],
  ['@cpu0 read page:a.4 width=8', /s:5: address: expected a multiple of 8/],
  ['smmu7 stops answering', /s:5: smmu: expected one of the SMMUs of tiny: smmu0, got smmu7/],
  ['@cpu0 write page:a.2 1', /s:5: address: expected a multiple of 4/],
  ['@cpu0 write page:a[65536] 1', /s:5: expected a step that the machine can do, got the host has no 65536 free pages/],
])('%s: refused with its place', (line, message) => {
  const word = line.split(' ')[0]!;
  const text = /^(machine|hypervisor)$/.test(word)
    ? header.replace(new RegExp(`^${word}.*$`, 'm'), line)
    : `${header}${line}\n`;
  const { scenario, lines } = parseScenarioLines(text, 's');
  const run = () => runScenario(scenario, { hypervisors, lines, file: 's' });
  expect(run).toThrow(InputError);
  expect(run).toThrow(message);
});

test('candidates on one booted machine come out as they do on a machine of their own', () => {
  const runner = new CandidateRunner(tiny, hypervisors('postern'));
  const pages = parseScenario(`${header}@cpu0 topup iommu 1\n@cpu0 alloc_mgt_reclaim pool=iommu target=1\n`).steps;
  const before = runner.record(pages);
  for (const text of [...blocks('scenario').slice(0, 2), ...blocks('scenario').slice(0, 2)]) {
    const { steps } = parseScenario(text);
    const bare = steps.map(withoutExpectation);
    expect(runner.run(bare)).toBeNull();
    const recorded = { ...parseScenario(text), steps: runner.record(bare) };
    expect(runScenario(recorded, { hypervisors }).ok, printScenario(recorded)).toBe(true);
  }
  expect(runner.record(pages)).toEqual(before);
});

test('a real defect shrinks to a scenario from which no step can go', () => {
  const runner = new CandidateRunner(tiny, hypervisors('postern+Z23'));
  const noise = parseScenario(`${header}@cpu1 topup heap 2
@cpu0 topup iommu 5
@cpu1 vm1 = reserve_vm
@cpu0 alloc_domain domain=d1 type=s1
@cpu1 alloc_domain domain=d2 type=s2
@cpu0 attach_dev domain=d2 endpoint=net
net read 0x4000 cached
@cpu1 map_pages domain=d2 iova=0x5ff000 paddr=page:r[16]+3 pgsize=0x1000 pgcount=5 prot=read|write|cache
@cpu0 topup iommu 1
@cpu1 map_pages domain=d2 iova=0x5ff000 paddr=page:r[16]+3 pgsize=0x1000 pgcount=5 prot=read|write|cache
@cpu0 read page:x
@cpu0 map_pages domain=d1 iova=0x7fe000 paddr=page:r[16]+8 pgsize=0x1000 pgcount=5 prot=read|write|cache
@cpu0 unmap_pages domain=d1 iova=0x7fe000 pgsize=0x1000 pgcount=5
`);
  const found = runner.run(noise.steps);
  expect(found).not.toBeNull();
  const { scenario, oneMinimal } = shrink(noise, found!, (steps) => runner.run(steps));
  expect(oneMinimal).toBe(true);
  expect(scenario.steps.length).toBeLessThanOrEqual(4);
  for (let i = 0; i < scenario.steps.length; i++) {
    const again = runner.run(scenario.steps.toSpliced(i, 1));
    expect(again !== null && again.rule === found!.rule && again.call === found!.call, `without step ${i}`).toBe(false);
  }
  const told = { ...scenario, hypervisor: 'postern+Z23', steps: runner.record(scenario.steps) };
  expect(runScenario(told, { hypervisors }).ok, printScenario(told)).toBe(true);
});

test('accesses of other widths reach just their bytes, and are nothing that the hypervisor forwards', () => {
  const text = `${header}@cpu0 write page:a 0x1122334455667788 width=8 -> ok
@cpu0 write page:a.2 0xab width=1 -> ok
@cpu0 write page:a.6 0xcdef width=2 -> ok
@cpu0 read page:a width=8 -> 0xcdef334455ab7788
@cpu0 read page:a.3 width=1 -> 0x55
@cpu0 read page:a.2 width=2 -> 0x55ab
@cpu0 read 0x90600a8 -> 0x0
@cpu0 read 0x90600a8 width=2 -> abort
@cpu0 write 0x90600a8 0 width=8 -> abort
@cpu0 read 0x1000 width=8 -> bus error
`;
  const report = runScenario(parseScenario(text), { hypervisors });
  expect(report.steps.filter(({ asExpected }) => !asExpected)).toEqual([]);
});
