/** A booted hypervisor without oracles: what the unit tests of `hyp` stand on. */

import { HostMemory, IommuDriver, type SmmuMemory, setUpSmmu } from '#host';
import { type HypLayout, hypLayout } from '#hyp/layout';
import { createHypervisor } from '#hyp/plain';
import { Boundary, type Hypervisor } from '#hypercall-abi';
import { createMachine, hostPort, type Machine, type MachineDescription, tiny } from '#machine';

export interface Harness {
  readonly machine: Machine;
  readonly boundary: Boundary;
  readonly memory: HostMemory;
  readonly driver: IommuDriver;
  readonly layout: HypLayout;
  readonly smmuMemory: readonly SmmuMemory[];
}

/** Set the SMMUs up as the host does; the hypervisor is not booted yet. */
export function unbooted(description: MachineDescription = tiny): {
  machine: Machine;
  memory: HostMemory;
  smmuMemory: SmmuMemory[];
} {
  const machine = createMachine(description);
  const memory = new HostMemory(description);
  const smmuMemory = description.smmus.map((smmu) => setUpSmmu(hostPort(machine.cpus[0]!), memory, smmu));
  return { machine, memory, smmuMemory };
}

/** @param create who is booted, if not the correct hypervisor */
export function booted(
  description: MachineDescription = tiny,
  create: (machine: Machine) => Hypervisor = createHypervisor,
): Harness {
  const { machine, memory, smmuMemory } = unbooted(description);
  const hypervisor = create(machine);
  const result = hypervisor.boot({ smmus: description.smmus.map(({ base }) => base) });
  if (result !== 0) throw new Error(`boot: ${result}`);
  const boundary = new Boundary(hypervisor, machine.cpus.map(hostPort), null);
  return {
    machine,
    boundary,
    memory,
    driver: new IommuDriver(boundary, memory),
    layout: hypLayout(description),
    smmuMemory,
  };
}

/** Opcodes of the commands that the SMMU consumes while `body` runs. */
export function commandsDuring(machine: Machine, body: () => void): number[] {
  const opcodes: number[] = [];
  const smmu = machine.smmus[0]!;
  const before = smmu.observer;
  smmu.observer = { command: (_index, _hi0, lo0) => void opcodes.push(lo0 & 0xff) };
  body();
  smmu.observer = before;
  return opcodes;
}

/** Refcount and host state of the page at `pa`. */
export function pageRecord({ machine, layout }: Harness, pa: number): { refcount: number; hostState: number } {
  let page = 0;
  for (const { base, size } of machine.description.ram) {
    if (pa >= base && pa < base + size) {
      const record = machine.memory.read32(layout.vmemmap + (page + (pa - base) / 4096) * 8);
      return { refcount: record & 0xffff, hostState: (record >>> 24) & 0xf };
    }
    page += size / 4096;
  }
  throw new RangeError('not RAM');
}
