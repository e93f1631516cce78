import type { DefectCard } from '../card.ts';

/** A request for IOMMU pages is made with the number of the pool in place of its type. */
export const z33: DefectCard = {
  id: 'Z33',
  title: 'Memory is asked for in the wrong place',
  kind: 'FIX',
  upstream: {
    commits: ['8fda5cb74c06'],
    reference: 'A request was constructed from the enumeration of destinations where one of types was meant.',
  },
  breaks: 'A request says which memory is missing.',
  attack: 'The host serves a request that means something else, makes the call again, and never gets on.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/request.ts',
      function: 'requestIommu',
      before: '  yield* leave(h, RequestType.iommu, pages);',
      after: '  yield* leave(h, PoolId.iommu, pages);',
    },
  ],
};
