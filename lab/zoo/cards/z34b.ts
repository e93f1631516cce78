import type { DefectCard } from '../card.ts';

/** unmap_pages of a domain without a table returns an errno where a number of bytes belongs. */
export const z34b: DefectCard = {
  id: 'Z34b',
  title: 'An errno is taken for a number of bytes',
  kind: 'FIX',
  upstream: {
    commits: ['49be8251c78b'],
    reference: 'unmap_pages returned -ENODEV as a size. The repair returns 0.',
  },
  breaks: 'A result is of the type that the call has.',
  attack:
    'A driver that believes what it gets thinks that almost 2^64 bytes were unmapped, and gives the pages ' + 'away.',
  profile: 'android16',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/map.ts',
      function: 'unmapLocked',
      before: '  if (domainStage(h, domain) === 0 || ((x[2 * at]! | x[2 * at + 2]!) & (GRANULE - 1)) !== 0) return 0;',
      after: [
        "  if (domainStage(h, domain) === 0) return err('ENODEV');",
        '  if (((x[2 * at]! | x[2 * at + 2]!) & (GRANULE - 1)) !== 0) return 0;',
      ].join('\n'),
    },
  ],
};
