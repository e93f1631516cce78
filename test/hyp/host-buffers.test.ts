import { expect, test } from 'vitest';
import { type SteppedHypervisor, VM_HANDLE_BASE, VmDescription } from '#hypercall-abi';
import { Prng } from '#lab/random/prng';
import { cardOf } from '#lab/zoo/identity';
import { buildHypervisor } from '#lab/zoo/loader';
import type { Machine, Touch } from '#machine';
import { PAGE, SteppedRig } from './stepped-rig.ts';

const EINVAL = -22;

/**
 * init_vm while another CPU of the host rewrites its description at every pause.
 * @returns the result, the words that the description ever held, and what is wrong with what came out
 */
function initVmUnderChange(create: ((machine: Machine) => SteppedHypervisor<Touch>) | undefined, seed: number) {
  const rig = new SteppedRig(create);
  const prng = new Prng(seed);
  const { memory } = rig.machine;
  const description = rig.memory.alloc();
  expect(rig.call('host_share_hyp', description / PAGE)[2]).toBe(0);
  const handle = rig.call('reserve_vm')[2]!;
  expect(handle).toBe(VM_HANDLE_BASE);
  const candidates = {
    [VmDescription.handle]: [handle, 0, handle + 31, 0xffffffff],
    [VmDescription.protected]: [0, 1],
    [VmDescription.vcpus]: [0, 1, 7, 0xffffffff],
  };
  const scribble = (): void => {
    for (const [offset, values] of Object.entries(candidates)) {
      memory.write32(description + Number(offset), values[prng.below(prng.chance(60) ? 1 : values.length)]! | 0);
    }
    if (prng.chance(70)) memory.write32(description + VmDescription.vcpus, 1);
  };
  scribble();
  rig.onStep = scribble;
  const x = rig.start(0, 'init_vm', description, rig.memory.alloc());
  rig.settle(prng);
  const problems = [...rig.fetchProblems, ...rig.lockProblems];
  const vcpus = memory.read32(rig.layout.vms + 4) >>> 0;
  if (x[2] === 0 && vcpus === 0) problems.push('a VM without a vCPU');
  return { errno: x[2]!, problems };
}

test('init_vm takes each word of its description once, whatever the host makes of it meanwhile', () => {
  const errnos = new Set<number>();
  for (let seed = 0; seed < 100; seed++) {
    const { errno, problems } = initVmUnderChange(undefined, seed);
    expect(problems, `seed ${seed}`).toEqual([]);
    errnos.add(errno);
  }
  expect([...errnos].sort((a, b) => a - b)).toEqual([EINVAL, 0]);
});

test('a second fetch of what was checked (defect Z64g) is found', () => {
  const { createHypervisor } = buildHypervisor([cardOf('Z64g')], { plain: false });
  const problems = new Set<string>();
  for (let seed = 0; seed < 60; seed++) {
    for (const text of initVmUnderChange(createHypervisor, seed).problems) {
      problems.add(text.replace(/0x[0-9a-f]+/, 'a word'));
    }
  }
  expect([...problems].sort()).toEqual(['CPU 0 fetches a word twice', 'a VM without a vCPU']);
});
