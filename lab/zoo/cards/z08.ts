import type { DefectCard } from '../card.ts';

/** free_domain zeroes the reference count before it asks whose the domain is. */
export const z08: DefectCard = {
  id: 'Z08',
  title: 'A refused free takes the domain away',
  kind: 'FIX',
  upstream: {
    commits: ['d9b4efaed7a5'],
    reference:
      'free_domain exchanged the count of 1 for 0 and tested the owner afterwards. The repair tests the owner ' +
      'first.',
  },
  breaks: 'A call that fails changes nothing.',
  attack:
    "The host frees an idle domain of a guest: the call fails, the count is 0 all the same, and the guest's " +
    'next attach allocates over a live table.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'unchanged',
  edits: [
    {
      file: 'hyp/domain.ts',
      function: 'freeDomain',
      before: [
        "  // Whose it is comes before the count moves: a foreign caller's failed free must change nothing.",
        "  else if (domainOwner(h, domain) !== HOST_OWNER) result = err('EINVAL');",
        '  // Only an idle domain goes, and from the same moment on no call in flight can take a reference.',
        "  else if ((yield* exchangeDomainRefs(h, domain, 1, 0)) !== 1) result = err('EINVAL');",
      ].join('\n'),
      after: [
        '  // Only an idle domain goes, and from the same moment on no call in flight can take a reference.',
        "  else if ((yield* exchangeDomainRefs(h, domain, 1, 0)) !== 1) result = err('EINVAL');",
        "  else if (domainOwner(h, domain) !== HOST_OWNER) result = err('EINVAL');",
      ].join('\n'),
    },
  ],
};
