/** The streams of a machine by name: the first of a device has the device's own, further ones are `gpu-1`, `gpu-2`. */

import { type MachineDescription, streamsOf } from '#machine';

export interface NamedStream {
  readonly name: string;
  /** Position of its device among the devices, and of the stream among the device's. */
  readonly device: number;
  readonly stream: number;
  /** Number of the SMMU, its StreamID there, and how many bits of SubstreamID it takes. */
  readonly iommu: number;
  readonly sid: number;
  readonly ssidBits: number;
}

export function namedStreams({ devices, smmus }: MachineDescription): readonly NamedStream[] {
  return devices.flatMap((description, device) =>
    streamsOf(description).map(({ smmu, sid }, stream): NamedStream => {
      const iommu = smmus.findIndex(({ name }) => name === smmu);
      const name = stream === 0 ? description.name : `${description.name}-${stream}`;
      return { name, device, stream, iommu, sid, ssidBits: smmus[iommu]!.ssidBits };
    }),
  );
}
