import type { DefectCard } from '../card.ts';

/** Whether the pages have left the identity domain is not looked at. */
export const z39a: DefectCard = {
  id: 'Z39a',
  title: 'A removal from the identity domain that fails goes unnoticed',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference:
      'The callback that keeps the identity domain in step returned nothing, computed the size before it was ' +
      'cut to the address space, and stopped silently where unmapping returned 0. A later version returns a ' +
      'result. Modelled with a size that the page-table code does not take, that of several pages as one.',
  },
  breaks: 'A page changes hands only when the identity domain does not lead there any more.',
  attack:
    'The host donates a chunk of two pages: unmapping it does nothing, nobody notices, and the device with ' +
    'identity reaches both.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'isolation',
  edits: [
    {
      file: 'hyp/identity.ts',
      function: 'removeFromIdentity',
      before: '  yield* unmapRange(table, pa, pa + size);',
      after: '  yield* unmapPages(table, pa, size, 1);',
    },
  ],
};
