/** Random calls of every profile with all oracles: nothing is found. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { profiles } from '#hypercall-abi';
import { findViolation } from '#lab/random/find';
import { type MachineDescription, tiny } from '#machine';

const smmu = tiny.smmus[0]!;

/** Two SMMUs of one kind: streams behind both may share a domain where the profile lets them. */
const two: MachineDescription = {
  ...tiny,
  name: 'two',
  smmus: [smmu, { ...smmu, name: 'smmu1', base: smmu.base + 0x40000 }],
  devices: [...tiny.devices, { ...tiny.devices[0]!, name: 'far', smmu: 'smmu1' }],
};

/** A two-level stream table, and an output size whose second stage begins with several tables. */
const wide: MachineDescription = {
  ...tiny,
  name: 'wide',
  smmus: [{ ...smmu, twoLevelStreamTable: true, sidBits: 10, oas: 44 }],
  devices: [...tiny.devices, { name: 'far', smmu: smmu.name, sid: 0x200 }],
};

const older = profiles.filter(({ name }) => name !== 'android17');
const cases = older.flatMap((profile) =>
  [tiny, two, wide].map((machine, i) => ({
    profile,
    machine,
    seed: i + 1,
    name: `${profile.name} on ${machine.name}`,
  })),
);

test.each(cases)('$name', ({ profile, machine, seed }) => {
  const options = { machine, hypervisor: createHypervisor, identity: 'postern', profile, seed, maxCalls: 2000 };
  expect(findViolation(options)).toMatchObject({ found: null });
});
