import type { DefectCard } from '../card.ts';

/** The address of a donated chunk need not be a multiple of its size. */
export const z22d: DefectCard = {
  id: 'Z22d',
  title: 'A donated chunk may lie anywhere',
  kind: 'FIX',
  upstream: {
    commits: ['c3f9cafa739b'],
    reference:
      'Order and alignment of what the host donates to a pool of blocks were not checked. Modelled for the ' +
      'alignment. The commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'A block of the pool is naturally aligned.',
  attack:
    'The host donates a misaligned chunk: joined with its neighbours it becomes a block that overlaps pages ' +
    "which are not the pool's.",
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/refill.ts',
      function: 'refill',
      before: "    if (order > orderMax || (pa & ((PAGE_SIZE << order) - 1)) !== 0) result = err('EINVAL');",
      after: "    if (order > orderMax) result = err('EINVAL');",
    },
  ],
};
