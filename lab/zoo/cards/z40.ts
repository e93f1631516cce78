import type { DefectCard } from '../card.ts';

/** Entries of streams enable address translation requests of the device. */
export const z40: DefectCard = {
  id: 'Z40',
  title: 'A device may send translated addresses',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference:
      'The shadow of a stream table entry kept STE.EATS as the host wrote it. Modelled in the entry that the ' +
      'hypervisor writes itself.',
  },
  breaks: 'No access of a device gets past translation.',
  attack: 'A device with ATS sends accesses marked as translated already: they bypass stage 2 and reach any page.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'streams',
  edits: [
    {
      file: 'hyp/stream-table.ts',
      function: 'writeS1Ste',
      before: '  yield* writeSteWord(h, ste, 1, 0, S1_ATTRIBUTES);',
      after: '  yield* writeSteWord(h, ste, 1, 0, S1_ATTRIBUTES | (1 << 28));',
    },
  ],
};
