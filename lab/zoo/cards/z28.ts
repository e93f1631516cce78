import type { DefectCard } from '../card.ts';

/** The registers that hold the address of an interrupt message are among those forwarded. */
export const z28: DefectCard = {
  id: 'Z28',
  title: 'The host says where the SMMU writes interrupts',
  kind: 'FIX',
  upstream: {
    commits: ['cca1c8e3d204'],
    reference:
      'The interrupt configuration registers of the host went to the hardware as they were. The repair makes ' +
      'the MSI addresses read as zero and ignores writes.',
  },
  breaks: 'The SMMU writes only where the hypervisor lets it.',
  attack:
    'The host sets the address of the message for events to a page of a guest, and has a device fault: the ' +
    'SMMU itself writes there, past all translation.',
  profile: 'android17',
  cpus: 1,
  machine: 'switched',
  property: 'spec',
  edits: [
    {
      file: 'hyp/mmio.ts',
      function: 'isForwarded',
      before: '    case Register.EVENTQ_PROD:',
      after: ['    case 0xb0:', '    case 0xb4:', '    case 0xb8:', '    case Register.EVENTQ_PROD:'].join('\n'),
    },
  ],
};
