/** Two machines in lock step: what depends on a secret is found wherever the host sees it, and nothing else is. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { profiles } from '#hypercall-abi';
import { FuzzEngine } from '#lab/fuzz/engine';
import { NO_FEEDBACK } from '#lab/fuzz/feedback';
import { findViolation } from '#lab/random/find';
import { parseScenario, runScenario } from '#lab/scenario/index';
import type { HypervisorFactory } from '#lab/session/session';
import { buildHypervisor } from '#lab/zoo/loader';
import { tiny, twoSmmus } from '#machine';

function edited(file: string, name: string, before: string, after: string): HypervisorFactory {
  return buildHypervisor([{ id: 'leak', edits: [{ file, function: name, before, after }] }]).createHypervisor;
}

/** What non-interference says of these steps. */
function rules(hypervisor: HypervisorFactory, ...steps: string[]): string[] {
  const text = ['postern scenario v1', 'profile android17', 'machine tiny', 'hypervisor postern', ...steps].join('\n');
  const { violations } = runScenario(parseScenario(`${text}\n`, 'test'), {
    hypervisors: () => hypervisor,
    properties: ['non-interference'],
    twin: true,
  });
  return violations.map(({ property, rule }) => `${property}/${rule}`);
}

/** The last word of the heap, on a free page: bit 8 of it is the secret. */
const SECRET = '((h.memory.read32(h.layout.heap.base + h.layout.heap.size - 4) >>> 8) & 1)';

test('a secret in the result of a call', () => {
  const before = '  return pool < 0 ? 0 : freePageCount(h, pool);';
  const leak = edited('hyp/refill.ts', 'reclaimable', before, `  return freePageCount(h, pool) + ${SECRET};`);
  expect(rules(leak, '@cpu0 alloc_mgt_reclaimable pool=heap')).toEqual(['non-interference/result']);
  expect(rules(createHypervisor, '@cpu0 alloc_mgt_reclaimable pool=heap')).toEqual([]);
});

test('a secret in a register that no call speaks of', () => {
  const before = '  yield* lockHostAndHyp(h);\n  let result = yield* checkHost(h, pa, 1, PageState.owned, true);';
  const leak = edited('hyp/ownership.ts', 'shareHyp', before, `  h.x[9] = ${SECRET};\n${before}`);
  expect(rules(leak, '@cpu0 host_share_hyp pfn=page:a')).toEqual(['non-interference/registers']);
});

test('a secret in a page of the host', () => {
  const before = '  yield* lockHostAndHyp(h);\n  let result = yield* checkHost(h, pa, 1, PageState.owned, true);';
  const leak = edited('hyp/ownership.ts', 'shareHyp', before, `  h.memory.write32(pa, ${SECRET});\n${before}`);
  expect(rules(leak, '@cpu0 host_share_hyp pfn=page:a')).toEqual(['non-interference/memory']);
});

test('a secret in whether a call succeeds, and in what a device gets', () => {
  const before =
    '  yield* lock(h, domain + DOMAIN_LOCK);\n  const mapped = yield* mapLocked(h, domain, id, at, size, prot);';
  const leak = edited('hyp/map.ts', 'mapInDomain', before, `  if (${SECRET} === 1) return 0;\n${before}`);
  const steps = [
    '@cpu0 topup iommu 8',
    '@cpu0 alloc_domain domain=d1 type=s1',
    '@cpu0 attach_dev domain=d1 endpoint=disk',
    '@cpu0 map_pages domain=d1 iova=0x1000 paddr=page:a pgsize=0x1000 pgcount=1 prot=read|write',
    'disk read 0x1000',
  ];
  const found = rules(leak, ...steps);
  expect(found.slice(0, 1)).toEqual(['non-interference/result']);
  expect(found.length).toBeGreaterThan(1);
  expect(rules(createHypervisor, ...steps)).toEqual([]);
});

test('a page of a pool that is not cleared', () => {
  const before = '    h.memory.zeroPage(pa + i * PAGE_SIZE);';
  const leak = edited('hyp/pool.ts', 'allocPages', before, '');
  const steps = [
    '@cpu0 alloc_mgt_refill pool=iommu head=page:a count=1',
    '@cpu0 alloc_mgt_reclaim pool=iommu target=1',
    '@cpu0 read page:a.0x40',
  ];
  expect(rules(leak, ...steps)).toEqual(['non-interference/result']);
  expect(rules(createHypervisor, ...steps)).toEqual([]);
});

test.each(profiles.flatMap((profile) => [tiny, twoSmmus].map((machine) => ({ profile, machine }))))(
  'random runs on two machines see no difference: $profile.name on $machine.name',
  ({ profile, machine }) => {
    const options = { machine, hypervisor: createHypervisor, identity: 'postern', profile, seed: 3 };
    const { found, calls } = findViolation({ ...options, twin: true, full: 'never', maxCalls: 1500 });
    expect(found?.violation).toBeUndefined();
    expect(calls).toBeGreaterThanOrEqual(1500);
  },
);

test('random runs find a page that is given back as the guest left it', () => {
  const hypervisor = edited('hyp/guest-memory.ts', 'reclaimPage', '  h.memory.zeroPage(pa);', '');
  const properties = ['non-interference'] as const;
  const options = {
    machine: tiny,
    hypervisor,
    identity: 'leak',
    seed: 1,
    twin: true,
    properties,
    full: 'never',
  } as const;
  const { found } = findViolation({ ...options, maxCalls: 60_000 });
  expect(found?.signature).toMatchObject({ property: 'non-interference', rule: 'memory' });
});

test('the fuzzer runs on two machines, from where runs left off, without a false alarm', () => {
  const options = { machine: tiny, hypervisor: createHypervisor, seed: 4, feedback: NO_FEEDBACK, twin: true };
  const engine = new FuzzEngine({ ...options, properties: ['non-interference'] });
  for (let i = 0; i < 60; i++) expect(engine.runOne()?.violation).toBeUndefined();
});

test('and finds what depends on a secret', () => {
  const before = '  return pool < 0 ? 0 : freePageCount(h, pool);';
  const leak = edited(
    'hyp/refill.ts',
    'reclaimable',
    before,
    `  return pool < 0 ? 0 : freePageCount(h, pool) + ${SECRET};`,
  );
  const options = { machine: tiny, hypervisor: leak, seed: 4, feedback: NO_FEEDBACK, twin: true };
  const engine = new FuzzEngine({ ...options, properties: ['non-interference'] });
  let found: string | undefined;
  for (let i = 0; i < 400 && found === undefined; i++) found = engine.runOne()?.violation.rule;
  expect(found).toBe('result');
});
