import type { DefectCard } from '../card.ts';

/** What nobody has thought of is let through to the SMMU. */
export const z27: DefectCard = {
  id: 'Z27',
  title: 'Unknown requests to the SMMU pass',
  kind: 'FIX',
  upstream: {
    commits: ['7f31c114e925'],
    reference:
      'The filter for commands of the host let opcodes through that it did not know. This model filters no ' +
      'commands, but the registers that are accessed on behalf of the host: the default there is to let ' +
      'through.',
  },
  breaks: 'The host has no way to the SMMU but the few that it needs.',
  attack:
    'The host writes a register that the hypervisor does not list, for example CR0: the SMMU is off, or reads ' +
    'another stream table.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [{ file: 'hyp/mmio.ts', function: 'isForwarded', before: '      return false;', after: '      return true;' }],
};
