import type { DefectCard } from '../card.ts';

/** Whether an invalidation of the identity domain was answered is not looked at. */
export const z39b: DefectCard = {
  id: 'Z39b',
  title: 'A page leaves the host without an answer from the SMMU',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference:
      'The callback that keeps the identity domain in step returned nothing: an invalidation that failed was a ' +
      'warning at most. A later version returns a result.',
  },
  breaks: 'A page changes hands only when no device can reach it any more, through caches included.',
  attack:
    'The host keeps an SMMU from answering, gives a page to a guest, and its device with identity goes on ' +
    'using the translation that was never dropped.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'isolation',
  edits: [
    {
      file: 'hyp/identity.ts',
      function: 'removeFromIdentity',
      before: '  const result = yield* invalidateIdentity(h, pa, size);',
      after: ['  yield* invalidateIdentity(h, pa, size);', '  const result = 0;'].join('\n'),
    },
  ],
};
