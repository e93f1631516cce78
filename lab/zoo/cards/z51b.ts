import type { DefectCard } from '../card.ts';

/** An id that was given out is not marked as taken. */
export const z51b: DefectCard = {
  id: 'Z51b',
  title: 'Two guests get the same domain',
  kind: 'FIX',
  upstream: {
    commits: ['f0a3950f0fa3'],
    reference: 'The bitmap of the ids of guests was never written.',
  },
  breaks: 'A domain has one owner.',
  attack: 'Two guests ask for a domain and get the same id: one of them reaches the memory of the other through it.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'ownership',
  edits: [
    {
      file: 'hyp/guest-domain.ts',
      function: 'allocGuestDomain',
      before: '    yield* setTaken(h, index, true);',
      after: '',
    },
  ],
};
