import type { DefectCard } from '../card.ts';

/** A descriptor becomes valid in the same epoch in which its other words are written. */
export const z17b: DefectCard = {
  id: 'Z17b',
  title: 'A PASID is attached with half a descriptor',
  kind: 'FIX',
  upstream: {
    commits: ['f1195d7477ae'],
    reference:
      'Context descriptors were not synchronised with the hardware as they should have been. Modelled on the ' +
      'way in: nothing waits between the body of a descriptor and its valid bit. The commit is known by its ' +
      'title; how it went wrong is inferred.',
  },
  breaks: 'A descriptor is valid only when the hardware has seen all of it.',
  attack:
    'The hardware may have read the body before it was written and the valid bit after: the device then ' +
    'translates through whatever the old words lead to.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'attachPasid',
      before: ['  const synced = yield* syncCd(h, smmu, sid, pasid);', '  if (synced !== 0) return synced;'].join('\n'),
      after: '',
    },
  ],
};
