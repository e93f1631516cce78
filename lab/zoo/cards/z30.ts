import type { DefectCard } from '../card.ts';

/** The last stream loses identity, and its translations stay in the TLB. */
export const z30: DefectCard = {
  id: 'Z30',
  title: 'Changes of the identity domain are not completed',
  kind: 'FIX',
  upstream: {
    commits: ['bbab9bb9c743'],
    reference:
      'After the snapshot of the identity domain its completion was not called, so that the TLB lagged behind. ' +
      'Modelled where this model completes what it skipped: when the last stream of an SMMU loses identity, ' +
      'which is when changes cease to be invalidated there. The commit is known by its title; how it went wrong ' +
      'is inferred.',
  },
  breaks: "No translation of a page outlives the host's ownership of it.",
  attack:
    'The host turns identity off, gives a page to a guest, and turns identity on again: the old translation ' +
    'of the page is still in the TLB.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'isolation',
  edits: [
    {
      file: 'hyp/set-identity.ts',
      function: 'turnOff',
      before: '  if (result === 0 && streams === 1) result = yield* invalidateIdentityTag(h, smmu);',
      after: '',
    },
  ],
};
