/** Random calls of every profile with all oracles: nothing is found. */

import { expect, test } from 'vitest';
import { createHypervisor } from '#hyp/plain';
import { profiles } from '#hypercall-abi';
import { findViolation } from '#lab/random/find';
import { StepGenerator } from '#lab/random/generate';
import { Prng } from '#lab/random/prng';
import { CannotDo, Executor } from '#lab/scenario/index';
import { Session } from '#lab/session/session';
import { type MachineDescription, tiny, twoSmmus } from '#machine';

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
  [tiny, two, wide, twoSmmus].map((machine, i) => ({
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

test.each(older)('$name, SMMUs that do not answer for a while', (profile) => {
  const session = new Session({ machine: two, hypervisor: createHypervisor, profile, full: 64 });
  const executor = new Executor(session);
  const taken = session.takenPages;
  const names = profile.calls.map(({ name }) => name);
  const unanswered = new Set<string>();
  for (let run = 0; run < 40; run++) {
    const prng = new Prng(9, run);
    const { smmus } = session.machine;
    executor.reset();
    const generator = new StepGenerator(two, names, prng, taken, profile);
    for (let i = 0; i < 120; i++) {
      const smmu = smmus[Math.floor(i / 60) % 2]!;
      if (i % 60 === 40) smmu.setAnswers(false);
      if (i % 60 === 59) smmu.setAnswers(true);
      const step = generator.next();
      try {
        generator.world.observe(step, executor.perform(step));
      } catch (error) {
        if (error instanceof CannotDo) break;
        throw error;
      }
    }
    for (const smmu of smmus) smmu.setAnswers(true);
    for (const { id, hits } of session.oracle!.rows()) if (id.endsWith('/ETIMEDOUT') && hits > 0) unanswered.add(id);
    executor.checkAll();
    expect(executor.newViolations(), `run ${run}`).toEqual([]);
  }
  expect([...unanswered].sort()).toEqual(expect.arrayContaining(['attach_dev/ETIMEDOUT', 'detach_dev/ETIMEDOUT']));
});
