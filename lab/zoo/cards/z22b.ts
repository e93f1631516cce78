import type { DefectCard } from '../card.ts';

/** A block of two pages goes back to the host when one of its pages is free. */
export const z22b: DefectCard = {
  id: 'Z22b',
  title: 'Pages in use are reclaimed',
  kind: 'FIX',
  upstream: {
    commits: ['d038ebcf176b'],
    reference:
      'The host could take blocks of pages back from which pages were still in use. Modelled with blocks of two ' +
      'pages. The commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'What the hypervisor gives back is out of use.',
  attack:
    'The host reclaims a page of the pool and gets its neighbour with it, which holds a live translation ' +
    'table: it writes descriptors of its own there.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'ownership',
  edits: [
    {
      file: 'hyp/refill.ts',
      function: 'reclaimFrom',
      before: '    if ((yield* donateToHost(h, pa, 1)) !== 0) {',
      after: '    if ((yield* donateToHost(h, pa - (pa % (2 * PAGE_SIZE)), 2)) !== 0) {',
    },
  ],
};
