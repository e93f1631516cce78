import type { DefectCard } from '../card.ts';

/** map_pages does not ask that IOVA and address are multiples of the page size. */
export const z31a: DefectCard = {
  id: 'Z31a',
  title: 'A block is mapped at a misaligned address',
  kind: 'FIX',
  upstream: {
    commits: ['ba7833622fc3'],
    reference: 'iova and paddr were not compared with pgsize. The repair answers -EINVAL.',
  },
  breaks: 'A leaf leads to exactly the pages that were asked for.',
  attack:
    'The host maps a 2 MiB block at an address in the middle of one: what is counted and what the device ' +
    'reaches are not the same pages.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/entry/android17.ts',
      function: 'mapPages',
      before: "  else if (!isAligned(x, 2, 4) || !isAligned(x, 3, 4)) result = err('EINVAL');",
      after: '',
    },
  ],
};
