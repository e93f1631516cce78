import type { DefectCard } from '../card.ts';

/** The descriptor of a detached PASID is never invalidated. */
export const z17a: DefectCard = {
  id: 'Z17a',
  title: 'A detached PASID keeps translating',
  kind: 'FIX',
  upstream: {
    commits: ['f1195d7477ae'],
    reference:
      'Context descriptors were not synchronised with the hardware as they should have been. Modelled on the ' +
      'way out: no CFGI_CD and CMD_SYNC between the first word of a descriptor and the end of the detach. The ' +
      'commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'What is detached is out of use when the call returns.',
  attack:
    'The host detaches a PASID and frees its domain: a cached descriptor still leads the device into the ' +
    'freed tables.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/context-descriptor.ts',
      function: 'clearCd',
      before: '  const synced = yield* syncCd(h, smmu, sid, pasid);',
      after: '  const synced = 0;',
    },
    {
      file: 'hyp/context-descriptor.ts',
      function: 'clearCd',
      before: '  return yield* syncCd(h, smmu, sid, pasid);',
      after: '  return 0;',
    },
  ],
};
