import type { DefectCard } from '../card.ts';

/** unmap_pages does not ask that the IOVA is a multiple of the page size. */
export const z31b: DefectCard = {
  id: 'Z31b',
  title: 'A block is unmapped from its middle',
  kind: 'FIX',
  upstream: {
    commits: ['ba7833622fc3'],
    reference: 'iova was not compared with pgsize when unmapping either. The repair unmaps nothing.',
  },
  breaks: 'What is unmapped is what was asked for.',
  attack:
    'The host unmaps a 2 MiB page from the middle of one: the block goes, and the invalidation is for a range ' +
    'that overlaps only half of it.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/entry/android17.ts',
      function: 'unmapPages',
      before: '  if (size <= 0 || additionWraps(x, 2, 3, 4, size) || !isAligned(x, 2, 3)) return 0;',
      after: '  if (size <= 0 || additionWraps(x, 2, 3, 4, size)) return 0;',
    },
  ],
};
