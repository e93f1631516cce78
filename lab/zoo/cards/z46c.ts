import type { DefectCard } from '../card.ts';

/** Freeing an id that was never used allocates memory for its record. */
export const z46c: DefectCard = {
  id: 'Z46c',
  title: 'Looking a domain up allocates memory',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'Every look-up of a domain made the leaf page of its record if there was none. A comment in the source ' +
      'says that only allocation has reason to.',
  },
  breaks: 'A call that fails changes nothing.',
  attack: 'The host names ids that do not exist: each failed call takes a page of the pool for good.',
  profile: 'android16',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/domain.ts',
      function: 'freeDomain',
      before: [
        '  const domain = domainRecord(h, id);',
        "  if (domain < 0) return err('EINVAL');",
        '  yield* lock(h, h.layout.domainLock);',
      ].join('\n'),
      after: [
        "  if (id >= h.profile.domains.count) return err('EINVAL');",
        '  yield* lock(h, h.layout.domainLock);',
        '  const domain = yield* needDomainRecord(h, id);',
        '  if (domain < 0) {',
        '    yield* unlock(h, h.layout.domainLock);',
        "    return err('EINVAL');",
        '  }',
      ].join('\n'),
    },
  ],
};
