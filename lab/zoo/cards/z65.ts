import type { DefectCard } from '../card.ts';

/** The reference of a foreign caller is taken, and given back when the owner has been compared. */
export const z65: DefectCard = {
  id: 'Z65',
  title: 'A foreign call holds a domain for a moment',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'The reference count was raised before the owner was compared, so that a caller who is to be refused ' +
      'holds the domain for a moment.',
  },
  breaks: 'A call that fails changes nothing, not even for a moment.',
  attack:
    'The host maps in a domain of a guest again and again while the guest frees it: the free finds a ' +
    'reference too many and fails, upstream with a panic.',
  profile: 'android17',
  cpus: 2,
  machine: 'two-smmus',
  interleaved: 'cpus',
  property: 'spec',
  edits: [
    {
      file: 'hyp/domain-record.ts',
      function: 'getDomain',
      before: '  if (domain < 0 || h.memory.read32(domain + OWNER) !== owner) return false;',
      after: '  if (domain < 0) return false;',
    },
    {
      file: 'hyp/domain-record.ts',
      function: 'getDomain',
      before: '    if (was === refs) return true;',
      after: [
        '    if (was === refs) {',
        '      if (h.memory.read32(domain + OWNER) === owner) return true;',
        '      yield* putDomain(h, domain);',
        '      return false;',
        '    }',
      ].join('\n'),
    },
  ],
};
