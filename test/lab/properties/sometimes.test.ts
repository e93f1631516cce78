/** States that a run should have been in: each is reached by some steps, and is not reached by idling. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { defaultProfile, profiles } from '#hypercall-abi';
import { SOMETIMES } from '#lab/oracle/index';
import { findViolation } from '#lab/random/find';
import { Executor, parseScenario } from '#lab/scenario/index';
import { Session } from '#lab/session/session';
import { type MachineDescription, tiny, twoSmmus } from '#machine';

function reached(machine: MachineDescription, ...steps: string[]): string[] {
  const session = new Session({ machine, hypervisor: createHypervisor });
  const executor = new Executor(session);
  const head = ['postern scenario v1', 'profile android17', `machine ${machine.name}`, 'hypervisor postern'];
  for (const step of parseScenario([...head, ...steps, ''].join('\n'), 'test').steps) executor.perform(step);
  expect(executor.newViolations()).toEqual([]);
  return session.oracle!.sometimesCounts().flatMap(({ name, hits }) => (hits > 0 ? [name] : []));
}

const POOL = '@cpu0 topup iommu 10';
const DOMAIN = '@cpu0 alloc_domain domain=d1 type=s1';
const ATTACH = '@cpu0 attach_dev domain=d1 endpoint=disk';
const map = (iova: number, page: string, count = 1): string =>
  `@cpu0 map_pages domain=d1 iova=${iova} paddr=${page} pgsize=0x1000 pgcount=${count} prot=read|write`;
const MAP_BLOCK = '@cpu0 map_pages domain=d1 iova=0x200000 paddr=page:b[512] pgsize=0x200000 pgcount=1 prot=read|write';

test.each([
  ['attach-again', POOL, DOMAIN, ATTACH, '@cpu0 attach_dev domain=d1 endpoint=net'],
  ['domain-freed-with-mappings', POOL, DOMAIN, map(0x1000, 'page:a'), '@cpu0 free_domain domain=d1'],
  ['free-while-attached', POOL, DOMAIN, ATTACH, '@cpu0 free_domain domain=d1'],
  ['identity-page-lost', '@cpu0 set_identity endpoint=disk on=1', POOL],
  ['map-at-once', POOL, DOMAIN, map(0x1ff000, 'page:a[2]', 2)],
  ['map-block', POOL, DOMAIN, MAP_BLOCK],
  ['map-onto-mapping', POOL, DOMAIN, map(0x200000, 'page:a'), map(0x1ff000, 'page:b[2]', 2)],
  ['map-short', '@cpu0 topup iommu 4', DOMAIN, map(0x1ff000, 'page:a[2]', 2)],
  ['page-mapped-twice', POOL, DOMAIN, map(0x1000, 'page:a'), map(0x5000, 'page:a')],
  ['pool-reclaimed', POOL, '@cpu0 alloc_mgt_reclaim pool=iommu target=1'],
  ['tag-reused', POOL, DOMAIN, '@cpu0 free_domain domain=d1', DOMAIN],
  ['unmap-part-of-block', POOL, DOMAIN, MAP_BLOCK, '@cpu0 unmap_pages domain=d1 iova=0x200000 pgsize=0x1000 pgcount=1'],
  [
    'unmap-table',
    POOL,
    DOMAIN,
    map(0x200000, 'page:a'),
    '@cpu0 unmap_pages domain=d1 iova=0x200000 pgsize=0x200000 pgcount=1',
  ],
] as const)('%s', (name, ...steps) => {
  expect(reached(tiny, ...steps)).toContain(name);
  expect(reached(tiny, ...steps.slice(0, -1))).not.toContain(name);
});

test.each([
  ['level-2-table-made', POOL, '@cpu0 alloc_domain domain=d1 type=s1', ATTACH],
  [
    'attach-pasid',
    POOL,
    DOMAIN,
    '@cpu0 attach_dev domain=d1 endpoint=disk pasidBits=4',
    '@cpu0 attach_dev domain=d1 endpoint=disk pasid=3',
  ],
  [
    'stall-answered',
    POOL,
    DOMAIN,
    '@cpu0 attach_dev domain=d1 endpoint=disk flags=stall',
    'disk read 0x1000',
    '@cpu0 page_response endpoint=disk tag=0 status=failure',
  ],
])('%s, on a machine that has it', (name, ...steps) => {
  expect(reached(twoSmmus, ...steps)).toContain(name);
  expect(reached(twoSmmus, ...steps.slice(0, -1))).not.toContain(name);
});

test('an SMMU is switched off behind which streams are attached', () => {
  const machine = { ...tiny, smmus: tiny.smmus.map((smmu) => ({ ...smmu, powerDomain: 1 })) };
  const found = reached(machine, POOL, DOMAIN, ATTACH, '@cpu0 hvc_pd device=1 on=0');
  expect(found).toContain('power-off-attached');
});

test('a run that does nothing says that it was nowhere', () => {
  const { oracle } = new Session({ machine: twoSmmus, hypervisor: createHypervisor });
  const { neverReached, sometimes } = oracle!.statement();
  expect(neverReached).toEqual(sometimes.map(({ name }) => name));
  expect(neverReached.length).toBeGreaterThan(20);
});

test('what a machine or a contract cannot do is not missed', () => {
  const names = (machine: MachineDescription, profile = defaultProfile): string[] =>
    new Session({ machine, profile, hypervisor: createHypervisor }).oracle!.sometimesCounts().map(({ name }) => name);
  expect(names(twoSmmus)).toContain('stall-answered');
  expect(names(tiny)).not.toContain('stall-answered');
  const rfc = profiles.find(({ name }) => name === 'rfc-v2')!;
  for (const name of ['guest-page-reclaimed', 'identity-page-lost', 'map-onto-mapping']) {
    expect(names(tiny)).toContain(name);
    expect(names(tiny, rfc)).not.toContain(name);
  }
});

test('a command queue that goes on at its beginning', () => {
  const once = [map(0x1000, 'page:a'), '@cpu0 unmap_pages domain=d1 iova=0x1000 pgsize=0x1000 pgcount=1'];
  const often = Array.from({ length: 200 }, () => once).flat();
  expect(reached(tiny, POOL, DOMAIN, ATTACH, ...often)).toContain('command-queue-wrapped');
  expect(reached(tiny, POOL, DOMAIN, ATTACH, ...once)).not.toContain('command-queue-wrapped');
});

test('random runs come to most of them', () => {
  const reachedOnce = new Set<string>();
  for (const machine of [tiny, twoSmmus]) {
    const options = { machine, hypervisor: createHypervisor, identity: 'postern', seed: 8, full: 'never' } as const;
    const { found, sometimes } = findViolation({ ...options, maxCalls: 6000 });
    expect(found?.violation).toBeUndefined();
    for (const { name, hits } of sometimes) if (hits > 0) reachedOnce.add(name);
  }
  expect(reachedOnce.size / Object.keys(SOMETIMES).length).toBeGreaterThan(0.6);
});
