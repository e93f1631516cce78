import type { DefectCard } from '../card.ts';

/** Invalidating a range takes the lock of the SMMU twice. */
export const z21: DefectCard = {
  id: 'Z21',
  title: 'An invalidation takes its lock twice',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference: 'tlb_inv_range took the lock of the IOMMU that its caller held already; a later version does not.',
  },
  breaks: 'A CPU never waits for itself.',
  attack: 'The host unmaps a page, any page: the CPU waits in EL2 for a lock that it holds itself.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/tlb.ts',
      function: 'invalidateRangeOn',
      before: '  yield* lock(h, smmu + SMMU_LOCK);',
      after: ['  yield* lock(h, smmu + SMMU_LOCK);', '  yield* lock(h, smmu + SMMU_LOCK);'].join('\n'),
    },
  ],
};
