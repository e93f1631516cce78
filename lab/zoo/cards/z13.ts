import type { DefectCard } from '../card.ts';

/** Unmapping part of a block splits it, and drops the references of the whole block. */
export const z13: DefectCard = {
  id: 'Z13',
  title: 'Part of a block is unmapped, and all of it released',
  kind: 'FIX',
  upstream: {
    commits: ['82cd807f41d8'],
    reference:
      'The page-table code split blocks in the domains whose pages are counted; the walk that drops references ' +
      'then saw the whole block go. The repair splits blocks in the identity domain only.',
  },
  breaks: 'The reference count of a page is the number of leaves that map it.',
  attack:
    'The host unmaps one page of a 2 MiB block, gives another page of it to a guest, and its device reads and ' +
    'writes that page through the rest of the block.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'refcount',
  edits: [
    {
      file: 'io-pgtable/unmap.ts',
      function: 'unmapPages',
      before: "      if (layout.profile === 'linux-7.2' || level === LAST_LEVEL) break;",
      after: '      if (level === LAST_LEVEL) break;',
    },
    {
      file: 'io-pgtable/split.ts',
      function: 'splitBlock',
      before:
        '    if (count > 0 && ops.leafRemoved !== undefined) yield* ops.leafRemoved(pa + index * size, size, count);',
      after: '    if (count > 0 && ops.leafRemoved !== undefined) yield* ops.leafRemoved(pa, layout.spans[level], 1);',
    },
  ],
};
