import type { DefectCard } from '../card.ts';

/** Changes of the identity domain are skipped whether it has been made or not. */
export const z35: DefectCard = {
  id: 'Z35',
  title: 'The identity domain never hears of a change',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference:
      'The flag that the identity domain has been made was set to the negation of success: it is false before, ' +
      'and false after a snapshot that succeeded. Some published versions have it right.',
  },
  breaks: 'The identity domain leads to exactly what the host has.',
  attack: 'The host gives a page to a guest, and its device with identity goes on reaching it.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'isolation',
  edits: [
    {
      file: 'hyp/identity.ts',
      function: 'removeFromIdentity',
      before: '  if (table === null || table.root === 0) return 0;',
      after: '  if (table === null || table.root >= 0) return 0;',
    },
    {
      file: 'hyp/identity.ts',
      function: 'addToIdentity',
      before: '  if (table === null || table.root === 0) return;',
      after: '  if (table === null || table.root >= 0) return;',
    },
  ],
};
