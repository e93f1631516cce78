import type { DefectCard } from '../card.ts';

/** The pages of a list stay pinned when nothing of it could be mapped. */
export const z32: DefectCard = {
  id: 'Z32',
  title: 'A list that comes to nothing stays pinned',
  kind: 'FIX',
  upstream: {
    commits: ['bbd7152d925d', '5e75882a54ab'],
    reference:
      'map_sg looped for ever over an element of no bytes, in the host, and leaked what it keeps of a list. ' +
      'Modelled in the hypervisor, where what is kept of a list is the pin of its pages.',
  },
  breaks: 'A pin ends with the call that needs it.',
  attack:
    'The host makes calls with lists that cannot be mapped: their pages can never be unshared again, and at ' +
    '65535 pins the count is full.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'refcount',
  edits: [
    {
      file: 'hyp/entry/map-sg.ts',
      function: 'mapList',
      before: '  yield* unpinSharedRange(h, list, size);',
      after: '  if (mapped !== 0) yield* unpinSharedRange(h, list, size);',
    },
  ],
};
