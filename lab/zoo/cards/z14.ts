import type { DefectCard } from '../card.ts';

/** Page references are dropped before the TLB invalidation that makes dropping them right. */
export const z14: DefectCard = {
  id: 'Z14',
  title: 'Pages are released before the TLB invalidation',
  kind: 'FIX',
  upstream: {
    commits: ['f81b7e2bbed1'],
    reference:
      'The SMMUv3 driver released its list of unmapped pages itself, while the IOMMU core invalidated and waited only ' +
      'after the driver had returned. The repair gathers, invalidates, waits, and only then releases.',
  },
  breaks: 'A page keeps its DMA reference until no device can reach it, through caches included.',
  attack:
    'Between the release and the invalidation the host donates the page to a guest from another CPU, and its device ' +
    'goes on reading and writing it through the stale TLB entry.',
  profile: 'android17',
  cpus: 2,
  machine: 'tiny',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/page-table-ops.ts',
      function: 'completeUnmap',
      before: ['  const result = yield* flushGather(h);', '  if (result === 0) yield* releasePages(h);'].join('\n'),
      after: ['  yield* releasePages(h);', '  yield* flushGather(h);'].join('\n'),
    },
  ],
};
