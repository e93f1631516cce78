import type { DefectCard } from '../card.ts';

/** map_pages does not ask whether the domain is allocated. */
export const z46a: DefectCard = {
  id: 'Z46a',
  title: 'A domain that does not exist is mapped in',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'map_pages did not look at the reference count of the domain, whose pointer to a table is null while it ' +
      'is free.',
  },
  breaks: 'Tables are worked on only while their domain is allocated.',
  attack: 'The host maps in a domain that it never allocated: the hypervisor follows a null pointer.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/entry/android17.ts',
      function: 'mapPages',
      before: '    if (yield* getDomain(h, domain, HOST_OWNER)) {',
      after: '    if (domain >= 0) {',
    },
    { file: 'hyp/entry/android17.ts', function: 'mapPages', before: '      yield* putDomain(h, domain);', after: '' },
  ],
};
