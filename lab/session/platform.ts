/** What the life cycles need to know of a machine, from its description. */

import type { Platform } from '#hypercall-abi';
import { type MachineDescription, streamsOf } from '#machine';

export function platformOf({ smmus, devices, mmio }: MachineDescription): Platform {
  return {
    iommus: smmus.map(({ base, powerDomain }) => ({ base, powerDomain: powerDomain ?? null })),
    devices: devices.flatMap((device) => {
      const { assignable } = device;
      if (assignable === undefined) return [];
      const streams = streamsOf(device).map(({ smmu, sid }) => ({
        iommu: smmus.findIndex(({ name }) => name === smmu),
        sid,
      }));
      const registers = mmio.filter(({ name }) => assignable.mmio.includes(name));
      return [{ group: assignable.group, streams, registers }];
    }),
  };
}
