import type { DefectCard } from '../card.ts';

/** Whose domain it is, map, unmap and attach do not ask. */
export const z64f: DefectCard = {
  id: 'Z64f',
  title: 'A domain of a guest is used by its id',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference: 'Ids of domains are numbers that the host can guess: each call must compare the owner.',
  },
  breaks: 'A domain is used by its owner alone.',
  attack:
    "The host unmaps what a guest has mapped, by the id of the guest's domain, or maps pages of its own " + 'there.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'spec',
  edits: [
    {
      file: 'hyp/domain-record.ts',
      function: 'getDomain',
      before: '  if (domain < 0 || h.memory.read32(domain + OWNER) !== owner) return false;',
      after: '  if (domain < 0) return false;',
    },
  ],
};
