import type { DefectCard } from '../card.ts';

/** A domain that could not be freed loses its record all the same. */
export const z46b: DefectCard = {
  id: 'Z46b',
  title: 'A free that failed clears the record',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'free_domain cleared the slot of the domain even when its tables could not be freed. Modelled with the ' +
      'one way in which that fails here: the SMMU does not answer.',
  },
  breaks: 'A call that fails changes nothing.',
  attack:
    'The free fails and the domain is gone: its tables are lost, and the next domain of that id shares its ' +
    'tag with translations that may still be cached.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'unchanged',
  edits: [
    {
      file: 'hyp/domain.ts',
      function: 'endDomain',
      before: '  yield* exchangeDomainRefs(h, domain, 0, 1);',
      after: '  yield* clearDomain(h, domain);',
    },
  ],
};
