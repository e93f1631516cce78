import type { DefectCard } from '../card.ts';

/** The order of a donated chunk is not compared with the largest that the pool has. */
export const z22c: DefectCard = {
  id: 'Z22c',
  title: 'A donated chunk may be of any order',
  kind: 'FIX',
  upstream: {
    commits: ['c3f9cafa739b'],
    reference:
      'Order and alignment of what the host donates to a pool of blocks were not checked. Modelled for the ' +
      'order. The commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'A pool has no blocks larger than its largest order.',
  attack:
    'The host donates a chunk of an order that the free lists do not have: bookkeeping of the pool is written ' +
    'past its end.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/refill.ts',
      function: 'refill',
      before: '  const orderMax = pool === h.layout.heapPool ? 0 : POOL_ORDER_MAX;',
      after: '  const orderMax = ORDER_MASK;',
    },
  ],
};
