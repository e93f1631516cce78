import type { DefectCard } from '../card.ts';

/** The CMD_SYNC of a batch goes ahead of the commands that it is to wait for. */
export const z15: DefectCard = {
  id: 'Z15',
  title: 'A batch of invalidations is not waited for',
  kind: 'FIX',
  upstream: {
    commits: ['182a09b26ac0'],
    reference:
      'The helper that issues a batch of commands and a CMD_SYNC was wrong, so that invalidations were not ' +
      'complete when it returned. The commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'When an invalidation returns, it has been done.',
  attack:
    'The host unmaps a page and gives it to a guest while the invalidation is still in the queue: its device ' +
    'goes on using the stale translation.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/tlb.ts',
      function: 'invalidateRangeOn',
      before: [
        '  let result = hasRangeInvalidation(h, index)',
        '    ? yield* issueRanges(h, smmu, stage, h.domainId, start, size, granule, leafOnly)',
        '    : yield* issueSingles(h, smmu, stage, h.domainId, start, size, granule, leafOnly);',
        '  if (result === 0) result = yield* syncCommands(h, smmu);',
      ].join('\n'),
      after: [
        '  let result = yield* syncCommands(h, smmu);',
        '  if (result === 0) {',
        '    result = hasRangeInvalidation(h, index)',
        '      ? yield* issueRanges(h, smmu, stage, h.domainId, start, size, granule, leafOnly)',
        '      : yield* issueSingles(h, smmu, stage, h.domainId, start, size, granule, leafOnly);',
        '  }',
      ].join('\n'),
    },
  ],
};
