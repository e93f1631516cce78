import type { DefectCard } from '../card.ts';

/** An element of a list is not asked to be aligned, as a call of its own is. */
export const z48: DefectCard = {
  id: 'Z48',
  title: 'A list may hold what a call may not',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'map_sg lacked tests that map_pages has: that the physical range does not wrap, and that the domain is ' +
      'not the identity domain. Here both have a second line of defence (use_dma, and no record for the ' +
      'identity domain), so it is another test of map_pages that is missing: alignment to the page size.',
  },
  breaks: 'What is refused in one way is refused in every other.',
  attack: 'The host puts into a list what map_pages refuses, here a 2 MiB block in the middle of one.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/entry/map-sg.ts',
      function: 'mapElements',
      before: '    if (!isAligned(element, IOVA, PGSIZE) || !isAligned(element, PHYS, PGSIZE)) break;',
      after: '',
    },
  ],
};
