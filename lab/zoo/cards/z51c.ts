import type { DefectCard } from '../card.ts';

/** Of the place of a free id in the bitmap only the place in its word counts. */
export const z51c: DefectCard = {
  id: 'Z51c',
  title: 'The 33rd domain is the first one again',
  kind: 'FIX',
  upstream: {
    commits: ['f0a3950f0fa3'],
    reference: 'The id was computed from the position of a bit in its word, without the number of the word.',
  },
  breaks: 'A domain has one owner.',
  attack: 'A guest takes 32 ids, and the next guest gets the first of them again.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'spec',
  edits: [
    {
      file: 'hyp/guest-domain.ts',
      function: 'allocGuestDomain',
      before: '    id = hostCount + index;',
      after: '    id = hostCount + (index % 32);',
    },
  ],
};
