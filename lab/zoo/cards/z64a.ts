import type { DefectCard } from '../card.ts';

/** A domain goes without an invalidation of its tag. */
export const z64a: DefectCard = {
  id: 'Z64a',
  title: 'An id is used again with old translations',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference:
      'The id of a domain is the tag of its translations: between the end of one domain and the next with that ' +
      'id everything under the tag must be invalidated.',
  },
  breaks: 'Nothing is freed or used again while it may be cached.',
  attack:
    'The host frees a domain and allocates it again: its device reaches what the first one had mapped, and ' +
    'walks tables that were freed.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'invalidation',
  edits: [
    { file: 'io-pgtable/page-table.ts', function: 'freePageTable', before: '  yield* pt.ops.flushAll();', after: '' },
  ],
};
