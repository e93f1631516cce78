/** Where mutants of the hypervisor are hunted: contracts, and machines that between them have every feature that it looks at. */

import { type Profile, profiles } from '#hypercall-abi';
import { type MachineDescription, preset, tiny, twoSmmus } from '#machine';
import { roomy } from './boots.ts';

const [first] = tiny.smmus;

/**
 * Nothing is round: RAM in two pieces, one of them beyond 4 GiB, of which neither begins nor ends with a block of 2 MiB; an SMMU that has stage 1
 * alone, a command queue of 16 entries and streams that always stall, and one that has stage 2 alone, behind 36 bits.
 */
export const uneven: MachineDescription = {
  ...tiny,
  name: 'uneven',
  ram: [
    { base: 0x40101000, size: 0x17f000 },
    { base: 0x4_40301000, size: 0x2ff000 },
  ],
  carveOut: { base: 0x4_40400000, size: 0x100000 },
  mmio: twoSmmus.mmio,
  smmus: [
    {
      ...first!,
      sidBits: 9,
      oas: 48,
      stage2: false,
      vmid16: false,
      coherent: false,
      twoLevelStreamTable: true,
      ssidBits: 3,
      cmdqLog2: 4,
      evtqLog2: 2,
      stallModel: 'stall',
    },
    {
      ...first!,
      name: 'smmu1',
      base: 0x09090000,
      oas: 36,
      stage1: false,
      asid16: false,
      vmid16: false,
      rangeInvalidation: false,
      cmdqLog2: 3,
      powerDomain: 2,
    },
  ],
  devices: [
    { name: 'disk', smmu: 'smmu0', sid: 0x10 },
    { name: 'net', smmu: 'smmu0', sid: 0x1ff, assignable: { group: 0, mmio: ['net-registers'] } },
    { name: 'camera', smmu: 'smmu1', sid: 5, assignable: { group: 2, mmio: ['camera-registers'] } },
    { name: 'camera-dma', smmu: 'smmu1', sid: 6, assignable: { group: 2, mmio: [] } },
  ],
};

/** A contract on a machine. */
export interface Ground {
  readonly machine: MachineDescription;
  readonly profile: Profile;
}

const GROUNDS: readonly (readonly [MachineDescription, readonly string[]])[] = [
  [preset('two-smmus'), ['android17', 'android16']],
  [preset('switched'), ['android17']],
  [preset('tiny'), ['rfc-v2', 'rfc-v1']],
  [uneven, ['android17', 'rfc-v1']],
];

/** Of the grounds below those on which boots differ: they have what there is of SMMUs, and of memcaches. */
const BOOTED = [0, 4, 5];

/** All of them, in the order in which a mutant is hunted on them. */
export const grounds: readonly Ground[] = GROUNDS.flatMap(([machine, names]) =>
  names.map((name) => ({ machine, profile: profiles.find((one) => one.name === name)! })),
);

/** Contracts and machines to boot with what the host has set up changed: with room for tables and queues of several pages. */
export const bootGrounds: readonly Ground[] = grounds
  .filter((_, i) => BOOTED.includes(i))
  .map(({ machine, profile }) => ({ machine: roomy(machine), profile }));
