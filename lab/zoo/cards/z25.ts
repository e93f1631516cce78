import type { DefectCard } from '../card.ts';

/** An SMMU that is switched on again keeps the translations that it had. */
export const z25: DefectCard = {
  id: 'Z25',
  title: 'Old translations survive a power cycle',
  kind: 'FIX',
  upstream: {
    commits: ['831624e6e530'],
    reference:
      'While an SMMU was off, changes of tables issued no invalidations, and none was made up for when the host ' +
      'switched it on. The repair invalidates everything first.',
  },
  breaks: 'What changed while an SMMU was off is invalid when it is on again.',
  attack:
    'The host switches the SMMU off, unmaps a page and gives it to a guest, and switches it on: the old ' +
    'translation still leads there.',
  profile: 'android17',
  cpus: 1,
  machine: 'switched',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/smmu.ts',
      function: 'resetSmmu',
      before: '  if (result === 0) result = yield* issueCommand(h, smmu, 0, CMD_TLBI_NSNH_ALL, 0, 0);',
      after: '',
    },
  ],
};
