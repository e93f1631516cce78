import type { DefectCard } from '../card.ts';

/** The end of a reclaim takes the lock of the pool where it should release it. */
export const z19: DefectCard = {
  id: 'Z19',
  title: 'A lock is taken where it should be released',
  kind: 'FIX',
  upstream: {
    commits: ['2ee3781b8da7'],
    reference: 'reclaim_pages ended with a second lock in place of the unlock.',
  },
  breaks: 'A CPU never waits for itself.',
  attack: 'The host reclaims one page: the CPU waits in EL2 for a lock that it holds itself.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/pool.ts',
      function: 'withdrawPage',
      before: '  yield* unlock(h, pool + LOCK);',
      after: '  yield* lock(h, pool + LOCK);',
    },
  ],
};
