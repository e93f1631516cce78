/**
 * A machine with a hypervisor on it, a host in front, and the oracles watching: what every engine of the lab works on.
 * After construction the host has been de-privileged and all DMA is blocked.
 */

import { HostMemory, IommuDriver, rootOrders, type SmmuMemory, setUpSmmu } from '#host';
import { createHypervisor as createStepped } from '#hyp';
import { createHypervisor } from '#hyp/plain';
import { Boundary, type Hypervisor, LifeCycleTracker, type LifeCycleViolation, type Profile } from '#hypercall-abi';
import { createMachine, type HostPort, type Machine, type MachineDescription, streamsOf } from '#machine';
import { CheckedHypervisor, type Finding, type Property } from '../oracle/index.ts';
import { oracleView } from './oracle-view.ts';
import { platformOf } from './platform.ts';
import { SteppedCpus, type SteppedHypervisorFactory } from './stepped.ts';
import { WatchedDevice, watchedPort } from './watched.ts';

/** Makes a hypervisor for a machine: ours, an edited one, or somebody else's. */
export interface HypervisorFactory {
  (machine: Machine, profile?: Profile): Hypervisor;
  /** Makes the same one, stepped: what scenarios with schedule points need. */
  readonly stepped?: () => SteppedHypervisorFactory;
}

export interface SessionOptions {
  /** Run the stepped build, whose calls can be in progress on several CPUs at once. */
  readonly interleaved?: boolean;
  readonly machine: MachineDescription;
  /** The hypervisor under test; ours when left out. */
  readonly hypervisor?: HypervisorFactory;
  /** The contract that it is asked to keep; the default one when left out. */
  readonly profile?: Profile;
  /** Run without oracles and life cycles: for measuring, and for comparing with a run that has them. */
  readonly unchecked?: boolean;
  /**
   * How often the oracle decodes everything anew, and trusts nothing that it has counted: never, after every call, or
   * after every so many; {@link fullInterval} when left out. Whatever a call touches is compared after it in any case.
   */
  readonly full?: 'never' | 'every' | number;
  /** Whether each locked section of a call is looked at, too; with `full: 'every'` it is, when left out. */
  readonly sections?: boolean;
  /** The properties that are reported; all when left out. */
  readonly properties?: readonly Property[];
}

/** Everything that was found wrong, in the order in which it was found. */
export interface Violation {
  readonly property: Property;
  readonly rule: string;
  readonly text: string;
}

/** Calls between two full checks: a full check takes time by the pages of the machine, and is to take less than calls do. */
export function fullInterval({ ram }: MachineDescription): number {
  const pages = ram.reduce((sum, { size }) => sum + size / 4096, 0);
  return Math.max(256, Math.round(pages / 100));
}

/** @throws RangeError when a stepped build is asked for where there is none */
function makeHypervisor(machine: Machine, { hypervisor, interleaved, profile }: SessionOptions): Hypervisor {
  if (!interleaved) return (hypervisor ?? createHypervisor)(machine, profile);
  const stepped = hypervisor === undefined ? createStepped : hypervisor.stepped?.();
  if (stepped === undefined) throw new RangeError('this hypervisor has no stepped build, which schedule points need');
  return new SteppedCpus(stepped(machine, profile), machine);
}

export class Session {
  readonly machine: Machine;
  /** The hypervisor pause by pause, where the session was asked for that. */
  readonly stepped: SteppedCpus | null;
  /** The contract that the hypervisor keeps. */
  readonly profile: Profile;
  readonly boundary: Boundary;
  /** The CPUs as the host has them, and the devices: the oracle sees each access. */
  readonly ports: readonly HostPort[];
  readonly devices: readonly WatchedDevice[];
  /** Null when unchecked. */
  readonly oracle: CheckedHypervisor | null;
  /** Whether what a life cycle does not allow is reported. */
  readonly checksLifeCycles: boolean;
  private readonly properties: readonly Property[] | undefined;
  readonly hostMemory: HostMemory;
  /** The host's driver on CPU 0. */
  readonly driver: IommuDriver;
  /** What the host gave to each SMMU before it was de-privileged. */
  readonly smmuMemory: readonly SmmuMemory[];
  /** The page with the memcaches of the CPUs; 0 where pages come by requests. */
  readonly memcaches: number;

  /** @throws Error when the hypervisor refuses to boot */
  constructor(options: SessionOptions) {
    const machine = createMachine(options.machine);
    const inner = makeHypervisor(machine, options);
    this.machine = machine;
    this.stepped = inner instanceof SteppedCpus ? inner : null;
    this.oracle = options.unchecked
      ? null
      : new CheckedHypervisor(inner, oracleView(machine), {
          full: options.full ?? fullInterval(options.machine),
          ...(options.sections !== undefined && { sections: options.sections }),
          ...(options.properties !== undefined && { properties: options.properties }),
        });
    this.properties = options.properties;
    this.checksLifeCycles = !options.unchecked && this.reports('life-cycle');
    const ports = machine.cpus.map((cpu) => watchedPort(cpu, this.oracle));
    this.ports = ports;
    this.devices = machine.devices.map((device, i) => {
      const streams = streamsOf(options.machine.devices[i]!).map(({ smmu, sid }) => ({
        smmu: options.machine.smmus.findIndex(({ name }) => name === smmu),
        sid,
      }));
      return new WatchedDevice(device, streams, this.oracle);
    });
    const platform = platformOf(options.machine);
    const tracker = this.checksLifeCycles ? new LifeCycleTracker(inner.profile, platform) : null;
    this.boundary = new Boundary(this.oracle ?? inner, ports, tracker);
    this.profile = this.boundary.profile;
    this.hostMemory = new HostMemory(options.machine);
    const { streamTableSplit, request } = this.profile;
    this.smmuMemory = options.machine.smmus.map((smmu) =>
      setUpSmmu(ports[0]!, this.hostMemory, smmu, streamTableSplit),
    );
    this.memcaches = request === 'needs-page' ? this.hostMemory.alloc() : 0;
    const booted = (this.oracle ?? inner).boot({
      smmus: options.machine.smmus.map(({ base }) => base),
      ...(this.memcaches !== 0 && { memcaches: this.memcaches }),
    });
    if (booted !== 0) throw new Error(`the hypervisor ${inner.identity} refuses to boot: ${booted}`);
    const caches = this.memcaches === 0 ? null : { page: this.memcaches, rootOrders: rootOrders(options.machine) };
    this.driver = new IommuDriver(this.boundary, this.hostMemory, 0, caches);
  }

  /** Pages that boot has taken over, or pinned: tables and queues of the SMMUs, and last the memcaches, if there are any. */
  get takenPages(): number[] {
    const ofSmmus = this.smmuMemory.flatMap(({ strtab, cmdq, evtq }) => [strtab, cmdq, evtq]);
    return this.memcaches === 0 ? ofSmmus : [...ofSmmus, this.memcaches];
  }

  /** Whether that property is among those that are reported. */
  reports(property: Property): boolean {
    return this.properties?.includes(property) ?? true;
  }

  /** All findings of the oracles and life cycles so far. */
  violations(): Violation[] {
    return [
      ...(this.oracle?.findings ?? []).map(({ property, rule, text }: Finding) => ({ property, rule, text })),
      ...this.boundary.violations.map(fromLifeCycle),
    ];
  }

  /** How many there are, without making the list. */
  violationCount(): number {
    return (this.oracle?.findings.length ?? 0) + this.boundary.violations.length;
  }
}

/** A life-cycle violation as one among others. */
export function fromLifeCycle({ machine, subject, state, event, rule, call }: LifeCycleViolation): Violation {
  const text = `${machine} ${subject} is ${state}, where ${event} must not happen: ${rule} (${call})`;
  return { property: 'life-cycle', rule, text };
}
