/** The way to each row of what is no call of the table: boot, aborts, unknown function ids. The same in every profile. */

import { HostMemory, setUpSmmu } from '#host';
import { createHypervisor } from '#hyp/plain';
import type { Profile } from '#hypercall-abi';
import { CheckedHypervisor } from '#lab/oracle/index';
import type { EntryRow } from '#lab/oracle/spec/index';
import { createMachine, hostPort, tiny } from '#machine';
import { makeRig, type Rig } from '../../lab/oracle-rig.ts';
import { withFarRegisters } from './older-rig.ts';

const SMMU = tiny.smmus[0]!.base;
const GERROR = 0x60;
/** Registers below which the host's stage 2 has no table. */
const FAR = withFarRegisters.mmio[0]!.base;

function unbooted(profile: Profile): CheckedHypervisor {
  const machine = createMachine(tiny);
  setUpSmmu(hostPort(machine.cpus[0]!), new HostMemory(tiny), tiny.smmus[0]!);
  return new CheckedHypervisor(createHypervisor(machine, profile), machine);
}

/** What a booted session does. */
const then =
  (run: (rig: Rig) => unknown, machine = tiny) =>
  (profile: Profile): CheckedHypervisor => {
    const rig = makeRig({ machine, profile, full: 'never' });
    run(rig);
    return rig.oracle;
  };

function drainHeap(rig: Rig): void {
  if (!rig.session.profile.has('alloc_mgt_reclaim')) {
    // Nobody can take pages out of the heap there: aborts at addresses that are far apart use them up.
    for (let i = 0; i < 200; i++) rig.oracle.abort(0, 0x100000000 + i * 2 ** 30, false);
    return;
  }
  const args = rig.session.profile.call('alloc_mgt_reclaim').args.length === 1 ? [1000] : [0, 1000];
  while (rig.call('alloc_mgt_reclaim', ...args).value !== 0);
}

export const entryWays: Readonly<Record<EntryRow, (profile: Profile) => CheckedHypervisor>> = {
  'boot/ok': then(() => {}),
  'boot/refused': (profile) => {
    const oracle = unbooted(profile);
    oracle.boot({ smmus: [0x1234000] });
    return oracle;
  },
  'abort/retry': then((rig) => rig.session.boundary.write32(0, rig.page(), 1)),
  'abort/inject': then((rig) => rig.session.boundary.read32(0, tiny.carveOut.base)),
  'abort/ENOMEM': then((rig) => {
    drainHeap(rig);
    rig.session.boundary.read32(0, FAR);
  }, withFarRegisters),
  'abort/forwarded': then((rig) => rig.session.boundary.read32(0, SMMU + GERROR)),
  'unknown/not-supported': then((rig) => {
    rig.session.boundary.registers(0).fill(0);
    rig.session.boundary.hvc(0);
  }),
  'unknown/guest-not-supported': then((rig) => {
    rig.session.boundary.guestRegisters(0).fill(0);
    rig.session.boundary.guestHvc(0);
  }),
};
