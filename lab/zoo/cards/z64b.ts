import type { DefectCard } from '../card.ts';

/** Unmapping part of a block removes all of it, and invalidates only the part. */
export const z64b: DefectCard = {
  id: 'Z64b',
  title: 'A block goes when a part of it is unmapped',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference: 'Page-table code that finds a block where it was asked to remove a page must split it or refuse.',
  },
  breaks: 'What is unmapped is what was asked for.',
  attack:
    'The host unmaps one page of a block: all of it is released, and the translation of the rest stays in the ' +
    'TLB.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'invalidation',
  edits: [
    {
      file: 'io-pgtable/unmap.ts',
      function: 'unmapPages',
      before: "      if (layout.profile === 'linux-7.2' || level === LAST_LEVEL) break;",
      after: [
        '      if (level === LAST_LEVEL) break;',
        "      if (layout.profile === 'linux-7.2') {",
        '        yield* removeEntries(pt, iova - (iova % layout.spans[level]), at, level, 1);',
        '        yield* ops.addPages(iova, pgsize, 1);',
        '        return pgsize;',
        '      }',
      ].join('\n'),
    },
  ],
};
