/** Puts a machine together from its description. */

import { Bus, ScratchMmio } from './bus.ts';
import { Cpu } from './cpu.ts';
import { type MachineDescription, SMMU_MMIO_SIZE, streamsOf } from './description.ts';
import { DmaDevice } from './device.ts';
import { PhysicalMemory } from './memory/index.ts';
import { Smmu } from './smmu-v3/smmu.ts';

/** A machine that runs. All its state is in {@link Machine.memory}: undo there takes the whole machine back. */
export interface Machine {
  readonly description: MachineDescription;
  readonly memory: PhysicalMemory;
  readonly bus: Bus;
  readonly cpus: readonly Cpu[];
  readonly smmus: readonly Smmu[];
  readonly devices: readonly DmaDevice[];
  /** The device of that name, or with that StreamID. @throws RangeError listing the devices there are */
  device(which: string | number): DmaDevice;
  /** The SMMU of that name. @throws RangeError listing the SMMUs there are */
  smmu(name: string): Smmu;
}

/** Builds the machine that `description` describes, as it is after reset. */
export function createMachine(description: MachineDescription): Machine {
  const memory = new PhysicalMemory(description.ram);
  const bus = new Bus(memory);
  for (const { base, size } of description.mmio) bus.attach(base, size, new ScratchMmio(memory, size));
  const smmus = description.smmus.map((entry) => {
    const smmu = new Smmu(memory, entry, (pa, data) => {
      if (!bus.decodes(pa)) return false;
      bus.write32(pa, data);
      return true;
    });
    bus.attach(entry.base, SMMU_MMIO_SIZE, smmu);
    return smmu;
  });
  const smmu = (name: string): Smmu => {
    const found = smmus.find((candidate) => candidate.description.name === name);
    if (found === undefined) {
      throw new RangeError(`no SMMU "${name}": there are ${smmus.map((s) => s.description.name).join(', ')}`);
    }
    return found;
  };
  const cpus = Array.from({ length: description.cpus }, (_, i) => new Cpu(i, bus));
  const devices = description.devices.map((entry) => {
    const streams = streamsOf(entry).map((stream) => ({ smmu: smmu(stream.smmu), sid: stream.sid }));
    return new DmaDevice(entry.name, streams, bus);
  });
  const device = (which: string | number): DmaDevice => {
    const found = devices.find((candidate) => candidate.name === which || candidate.sid === which);
    if (found === undefined) {
      const known = devices.map(({ name, sid }) => `${name} (0x${sid.toString(16)})`).join(', ');
      throw new RangeError(
        `no device ${typeof which === 'number' ? `0x${which.toString(16)}` : `"${which}"`}: there are ${known}`,
      );
    }
    return found;
  };
  return { description, memory, bus, cpus, smmus, devices, device, smmu };
}
