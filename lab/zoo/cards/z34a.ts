import type { DefectCard } from '../card.ts';

/** iova_to_phys of a domain without a table returns an errno where an address belongs. */
export const z34a: DefectCard = {
  id: 'Z34a',
  title: 'An errno is taken for an address',
  kind: 'FIX',
  upstream: {
    commits: ['49be8251c78b'],
    reference: 'iova_to_phys returned -EINVAL as a physical address. The repair returns 0.',
  },
  breaks: 'A result is of the type that the call has.',
  attack: 'A driver that uses what it gets maps or accesses 0xffffffffffffffea.',
  profile: 'rfc-v2',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/map.ts',
      function: 'translateInDomain',
      before: '  if (domainStage(h, domain) === 0 || h.x[2 * at + 1]! >>> 20 !== 0) return 0;',
      after: [
        "  if (domainStage(h, domain) === 0) return err('EINVAL');",
        '  if (h.x[2 * at + 1]! >>> 20 !== 0) return 0;',
      ].join('\n'),
    },
  ],
};
