import type { DefectCard } from '../card.ts';

/** A stage-1 detach does not compare the ASID with the domain that the host names. */
export const z02b: DefectCard = {
  id: 'Z02b',
  title: "A stream is detached through another domain's id (stage 1)",
  kind: 'CVE',
  upstream: {
    commits: ['3af14d2057f2', 'a47e0e78ad5b'],
    cve: 'CVE-2026-0027',
    reference:
      'detach_dev accepted any stage-1 domain for any stage-1 stream. The repair compares CD.ASID with the ' +
      'domain.',
  },
  breaks: 'The reference count of a domain is one and the number of its streams.',
  attack:
    'The host detaches the stream of one domain in the name of another, frees that other one while its own ' +
    'stream is attached, and its device goes on translating through freed tables.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'detachS1',
      before: "  if (cdAsid(h, cd) !== id) return err('EACCES');",
      after: '',
    },
  ],
};
