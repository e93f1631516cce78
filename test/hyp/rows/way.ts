/**
 * Ways to rows of the call specification: for each row the shortest run of calls of which the last is decided by that row.
 */

import { HypPage } from '#hyp/layout';
import { type Profile, VM_HANDLE_BASE } from '#hypercall-abi';
import type { CheckedHypervisor } from '#lab/oracle/index';
import { type LayoutReader, offsetOf } from '#lab/oracle/layout-reader';
import type { MachineDescription } from '#machine';
import { PAGE, type Rig } from '../../lab/oracle-rig.ts';

/** A way on a machine, or with a profile, of its own. */
export interface Way {
  readonly machine?: MachineDescription;
  readonly profile?: Profile;
  run(rig: Rig): unknown;
}

/** By the id of the row. */
export type Ways = Readonly<Record<string, Way | ((rig: Rig) => unknown)>>;

/** Words of the oracle's ghost that ways to a far state set by hand. */
interface Ghost {
  readonly pages: { addShare(page: number, delta: number): void };
  setDeviceContext(device: number, vm: number): void;
}

/** The oracle, as far as ways look into it. */
interface OpenOracle {
  readonly ghost: Ghost;
  readonly reader: LayoutReader;
}

function open(oracle: CheckedHypervisor): OpenOracle {
  return oracle as unknown as OpenOracle;
}

/**
 * The page counts as shared 2^32 - 1 times, to hypervisor and oracle alike, while `work` is done: no test can make so many
 * calls. It has been shared once.
 */
export function withSharesAtEnd(rig: Rig, pa: number, work: () => void): void {
  const { memory, description } = rig.machine;
  const page = (pa - description.ram[0]!.base) / PAGE;
  const at = open(rig.oracle).reader.layout.vmemmap + page * HypPage.size + offsetOf(HypPage, 'shareCount');
  const set = (count: number, delta: number): void => {
    memory.write32(at, count);
    open(rig.oracle).ghost.pages.addShare(page, delta);
  };
  set(-1, -2);
  work();
  set(1, 2);
}

/** The first device that can be assigned is a guest's, to hypervisor and oracle alike, in a profile without calls for it. */
export function assignFirstDevice(rig: Rig): void {
  const { memory } = rig.machine;
  memory.write32(open(rig.oracle).reader.layout.devices, VM_HANDLE_BASE);
  open(rig.oracle).ghost.setDeviceContext(0, VM_HANDLE_BASE);
}
