import type { DefectCard } from '../card.ts';

/** The host lock is taken while the lock of an SMMU is held. */
export const z26: DefectCard = {
  id: 'Z26',
  title: 'Two locks are taken in either order',
  kind: 'FIX',
  upstream: {
    commits: ['5c7396dc7b32'],
    reference:
      'The lock of an SMMU and a lock over its hardware were taken in both orders. Modelled with the lock of an ' +
      'SMMU and the host lock, under which the identity table changes.',
  },
  breaks: 'Locks are taken in one order.',
  attack:
    'The host turns identity on for a stream on one CPU and donates a page on another: each waits for the ' +
    'lock that the other one holds.',
  profile: 'android17',
  cpus: 2,
  machine: 'tiny',
  property: 'lock',
  edits: [
    {
      file: 'hyp/set-identity.ts',
      function: 'turnOn',
      before: '  const { layout, root } = identityTable(h);',
      after: [
        '  yield* lock(h, h.layout.hostLock);',
        '  const { layout, root } = identityTable(h);',
        '  yield* unlock(h, h.layout.hostLock);',
      ].join('\n'),
    },
  ],
};
