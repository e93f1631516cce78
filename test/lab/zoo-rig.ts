/** A machine with a hypervisor of the zoo on it, without oracles: what the tests of the zoo look at is the machine. */
import { HostMemory, IommuDriver, setUpSmmu } from '#host';
import { hypLayout } from '#hyp/layout';
import { Boundary, type Hypervisor, type SteppedHypervisor, VmDescription } from '#hypercall-abi';
import { createMachine, hostPort, type Machine, run, type Touch, tiny } from '#machine';

export const PAGE = 4096;
/** RAM that nothing but a test hands out: the host's allocator works from the other end. */
export const FREE_RAM = 0x40000000;

export class ZooRig {
  readonly machine: Machine;
  readonly boundary: Boundary;
  readonly driver: IommuDriver;
  readonly memory: HostMemory;

  constructor(create: (machine: Machine) => Hypervisor) {
    this.machine = createMachine(tiny);
    const hypervisor = create(this.machine);
    const ports = this.machine.cpus.map(hostPort);
    this.boundary = new Boundary(hypervisor, ports, null);
    this.memory = new HostMemory(tiny);
    for (const smmu of tiny.smmus) setUpSmmu(ports[0]!, this.memory, smmu);
    const booted = hypervisor.boot({ smmus: tiny.smmus.map(({ base }) => base) });
    if (booted !== 0) throw new Error(`boot: ${booted}`);
    this.driver = new IommuDriver(this.boundary, this.memory);
  }

  /** A protected VM whose vCPU is loaded on `cpu`, with memory for its tables: map_guest there can succeed. */
  startGuest(cpu: number): void {
    const { boundary, memory } = this;
    const description = memory.alloc();
    boundary.call(cpu, 'host_share_hyp', description / PAGE);
    const handle = boundary.call(cpu, 'reserve_vm').value;
    boundary.write32(cpu, description + VmDescription.handle, handle);
    boundary.write32(cpu, description + VmDescription.protected, 1);
    boundary.write32(cpu, description + VmDescription.vcpus, 1);
    const made = boundary.call(cpu, 'init_vm', description, memory.alloc());
    if (made.errno !== 0) throw new Error(`init_vm: ${made.errno}`);
    boundary.call(cpu, 'vcpu_load', handle, 0);
  }

  /** References that the hypervisor counts on the page at `pa`, read from its record. */
  refcount(pa: number): number {
    return this.machine.memory.read32(hypPageAt(pa)) & 0xffff;
  }

  /** Whether an access of `device` may reach the page at `pa`, through caches too. */
  mayReach(device: string, iova: number, pa: number): boolean {
    return this.machine
      .device(device)
      .possible(iova, true)
      .some((outcome) => outcome.ok && outcome.pa === pa);
  }
}

/** Address of the vmemmap record of the page at `pa`. */
export function hypPageAt(pa: number): number {
  return hypLayout(tiny).vmemmap + 8 * ((pa - tiny.ram[0]!.base) / PAGE);
}

/** A stepped hypervisor that runs each call to its end, as on a machine with one CPU. */
export function unpaused(create: (machine: Machine) => SteppedHypervisor<Touch>): (machine: Machine) => Hypervisor {
  return (machine) => {
    const stepped = create(machine);
    return {
      identity: stepped.identity,
      boot: (parameters) => run(stepped.boot(parameters)),
      hvc: (cpu, x) => run(stepped.hvc(cpu, x)),
      guestHvc: (cpu, x) => run(stepped.guestHvc!(cpu, x)),
      abort: (...access) => run(stepped.abort(...access)),
    };
  };
}
