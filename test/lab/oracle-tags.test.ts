/** Domain ids are tags: what the hardware cannot hold is refused. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { android17, DomainType, Errno, Profile } from '#hypercall-abi';
import { Session } from '#lab/session/session';
import { twoSmmus } from '#machine';
import { tell } from './oracle-rig.ts';

/** The host may name all ids, as guests together with it may. */
const allIds = new Profile({
  name: 'android17',
  summary: android17.summary,
  calls: android17.calls,
  domainTypes: android17.domainTypes,
  tableBuilt: android17.tableBuilt,
  domainSmmus: android17.domainSmmus,
  pageStates: android17.pageStates,
  request: android17.request,
  domains: { ...android17.domains, hostCount: android17.domains.count },
});

test.each([
  [DomainType.s1, 255, 0],
  [DomainType.s1, 256, -Errno.ERANGE],
  [DomainType.s2, 255, 0],
  [DomainType.s2, 256, -Errno.ERANGE],
])('8-bit tags: type %i, id %i', (type, id, expected) => {
  const session = new Session({
    machine: twoSmmus,
    hypervisor: (machine) => createHypervisor(machine, allIds),
    full: 'every',
  });
  const { boundary, hostMemory, oracle } = session;
  boundary.call(0, 'alloc_mgt_refill', 1, hostMemory.alloc(3) + 3, 1);
  expect(boundary.call(0, 'alloc_domain', 0, 1, id, type).errno).toBe(expected);
  // The other SMMU has 16 bits.
  if (expected !== 0) expect(boundary.call(0, 'alloc_domain', 0, 0, id, type).errno).toBe(0);
  const row = oracle!.rows().find((one) => one.id === 'alloc_domain/ERANGE');
  expect(row?.hits).toBe(expected === 0 ? 0 : 1);
  expect(tell(oracle!.findings)).toBe('');
});
