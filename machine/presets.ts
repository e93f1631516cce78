/** Machines to start from: a tiny one that can be explored exhaustively, and the one that the rig's real data is from. */

import { DescriptionError, type MachineDescription, type SmmuDescription } from './description.ts';

/** 4 MiB of RAM, one SMMU with a linear stream table, four devices: small enough to explore completely. */
export const tiny: MachineDescription = {
  name: 'tiny',
  ram: [{ base: 0x40000000, size: 0x400000 }],
  mmio: [],
  carveOut: { base: 0x40300000, size: 0x100000 },
  cpus: 2,
  smmus: [
    {
      name: 'smmu0',
      base: 0x09050000,
      sidBits: 3,
      oas: 40,
      stage1: true,
      stage2: true,
      granules: [12],
      asid16: true,
      vmid16: true,
      coherent: true,
      rangeInvalidation: true,
      twoLevelStreamTable: false,
      ssidBits: 0,
      cmdqLog2: 8,
      evtqLog2: 7,
      sev: false,
    },
  ],
  devices: [
    { name: 'disk', smmu: 'smmu0', sid: 0 },
    { name: 'net', smmu: 'smmu0', sid: 1 },
    { name: 'gpu', smmu: 'smmu0', sid: 2 },
    { name: 'usb', smmu: 'smmu0', sid: 3 },
  ],
};

/**
 * The board that real kernels were captured on: 768 MiB for the kernel; right above it 32 MiB for the hypervisor's
 * carve-out and 32 MiB that the host can donate without touching a page of a captured kernel; an SMMUv3 with both stages and 44-bit addresses, and the devices of those captures at their StreamIDs.
 */
export const qemuVirt: MachineDescription = {
  name: 'qemu-virt',
  ram: [
    { base: 0x40000000, size: 0x30000000 },
    { base: 0x70000000, size: 0x04000000 },
  ],
  mmio: [{ name: 'msi-doorbell', base: 0x08090000, size: 0x1000 }],
  carveOut: { base: 0x70000000, size: 0x02000000 },
  cpus: 2,
  smmus: [
    {
      name: 'smmu0',
      base: 0x09050000,
      sidBits: 16,
      oas: 44,
      stage1: true,
      stage2: true,
      granules: [12, 14, 16],
      asid16: true,
      vmid16: true,
      coherent: true,
      rangeInvalidation: true,
      twoLevelStreamTable: true,
      ssidBits: 0,
      cmdqLog2: 19,
      evtqLog2: 19,
      sev: false,
    },
  ],
  devices: [
    { name: 'virtio-blk', smmu: 'smmu0', sid: 0x10 },
    { name: 'nvme', smmu: 'smmu0', sid: 0x18 },
    { name: 'root-port', smmu: 'smmu0', sid: 0x20 },
    { name: 'virtio-net', smmu: 'smmu0', sid: 0x28 },
    { name: 'edu', smmu: 'smmu0', sid: 0x30 },
    { name: 'intel-hda', smmu: 'smmu0', sid: 0x40 },
    { name: 'e1000e', smmu: 'smmu0', sid: 0x100 },
  ],
};

/**
 * What an SMMU can do, to be spread over the SMMU of a machine: `{ ...tiny.smmus[0], ...smmuFeatures.nested }`.
 * `full` has everything that is modelled.
 */
export const smmuFeatures = {
  stage1Only: { stage1: true, stage2: false, vmid16: false },
  stage2Only: { stage1: false, stage2: true, asid16: false, ssidBits: 0 },
  nested: { stage1: true, stage2: true },
  substreams: { stage1: true, ssidBits: 8, twoLevelCdTable: true },
  full: {
    stage1: true,
    stage2: true,
    granules: [12, 14, 16],
    asid16: true,
    vmid16: true,
    coherent: true,
    rangeInvalidation: true,
    twoLevelStreamTable: true,
    ssidBits: 20,
    twoLevelCdTable: true,
    smallTables: true,
    oas: 52,
    vaBits: 52,
    hardwareUpdate: 'dirty',
    stallModel: 'both',
    termModel: 'both',
    ats: true,
    pri: true,
    msi: true,
    sev: true,
  },
} as const satisfies Readonly<Record<string, Partial<SmmuDescription>>>;

/** A server's SMMU on the board of {@link qemuVirt}: nesting, substreams, 48-bit addresses, flag updates, stalls, ATS. */
export const mmu700: MachineDescription = {
  ...qemuVirt,
  name: 'mmu700',
  smmus: [
    { ...qemuVirt.smmus[0]!, ...smmuFeatures.full, oas: 48, vaBits: 48, smallTables: false, sidBits: 16, sev: false },
  ],
};

/**
 * Two SMMUs and devices that a guest may be given, in the RAM of {@link tiny}. The first SMMU has a two-level stream
 * table, substreams and stalls; the second a linear one, 8-bit ASIDs and VMIDs, and no range invalidation. The GPU has
 * three streams, one of them behind the second SMMU; the camera and its DMA engine are one group.
 */
export const twoSmmus: MachineDescription = {
  ...tiny,
  name: 'two-smmus',
  mmio: [
    { name: 'net-registers', base: 0x0a000000, size: 0x1000 },
    { name: 'gpu-registers', base: 0x0a010000, size: 0x2000 },
    { name: 'gpu-doorbells', base: 0x0a014000, size: 0x1000 },
    { name: 'camera-registers', base: 0x0a020000, size: 0x1000 },
  ],
  smmus: [
    { ...tiny.smmus[0]!, sidBits: 10, oas: 44, twoLevelStreamTable: true, ssidBits: 12, stallModel: 'both' },
    {
      ...tiny.smmus[0]!,
      name: 'smmu1',
      base: 0x09090000,
      sidBits: 4,
      asid16: false,
      vmid16: false,
      rangeInvalidation: false,
    },
  ],
  devices: [
    { name: 'disk', smmu: 'smmu0', sid: 0x10 },
    { name: 'net', smmu: 'smmu0', sid: 0x20, assignable: { group: 0, mmio: ['net-registers'] } },
    {
      name: 'gpu',
      smmu: 'smmu0',
      sid: 0x200,
      moreStreams: [
        { smmu: 'smmu0', sid: 0x201 },
        { smmu: 'smmu1', sid: 3 },
      ],
      assignable: { group: 1, mmio: ['gpu-registers', 'gpu-doorbells'] },
    },
    { name: 'camera', smmu: 'smmu1', sid: 5, assignable: { group: 2, mmio: ['camera-registers'] } },
    { name: 'camera-dma', smmu: 'smmu1', sid: 6, assignable: { group: 2, mmio: [] } },
  ],
};

/** {@link tiny} with an SMMU in power domain 1, so that the host can switch it off and on, and that can send interrupts. */
export const switched: MachineDescription = {
  ...tiny,
  name: 'switched',
  smmus: [{ ...tiny.smmus[0]!, powerDomain: 1, msi: true }],
};

/** Every preset by its name. */
export const presets: Readonly<Record<string, MachineDescription>> = {
  tiny,
  switched,
  'qemu-virt': qemuVirt,
  mmu700,
  'two-smmus': twoSmmus,
};

/**
 * The preset of that name.
 * @throws DescriptionError listing the names there are
 */
export function preset(name: string): MachineDescription {
  const found = Object.hasOwn(presets, name) ? presets[name] : undefined;
  if (found === undefined) throw new DescriptionError(`preset "${name}"`, `one of ${Object.keys(presets).join(', ')}`);
  return found;
}
