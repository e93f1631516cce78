import type { DefectCard } from '../card.ts';

/** A map that ends short takes back the references of the pages it mapped, not of those it did not. */
export const z23: DefectCard = {
  id: 'Z23',
  title: 'A short map releases the wrong pages',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference:
      'On the failure path of map_pages one published version takes references back from paddr on; a later one takes ' +
      'them back from paddr + mapped on.',
  },
  breaks: 'The reference count of a page is the number of leaves that map it.',
  attack:
    'The host makes a map end short (a leaf in the way, or no page left for the next table), donates a page that is ' +
    'mapped but no longer counted to a guest, and its device reads and writes the memory of that guest.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'refcount',
  edits: [
    {
      file: 'hyp/map.ts',
      function: 'mapUsed',
      before: '  if (mapped < size) yield* unuseDma(h, paddr + mapped, size - mapped);',
      after: '  if (mapped < size) yield* unuseDma(h, paddr, size - mapped);',
    },
  ],
};
