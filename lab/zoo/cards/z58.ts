import type { DefectCard } from '../card.ts';

/** A logical operator where bits were meant: every command names ASID 1. */
export const z58: DefectCard = {
  id: 'Z58',
  title: 'Invalidations name the wrong ASID',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'A driver for SMMUv2 tests the bit that says which register has the ASID with && instead of &, and so ' +
      'invalidates under the wrong one. Modelled in the tag of invalidations.',
  },
  breaks: 'An invalidation names what it is to invalidate.',
  attack:
    'The host unmaps a page in its second domain: another tag is invalidated, and the device goes on using ' +
    'the page.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/tlb.ts',
      function: 'tag',
      before: '  return stage === 1 ? domainId << 16 : domainId;',
      after: '  return stage === 1 ? (domainId && 1) << 16 : domainId;',
    },
  ],
};
