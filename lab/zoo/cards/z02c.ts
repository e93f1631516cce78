import type { DefectCard } from '../card.ts';

/** A stage-2 detach does not compare the VMID with the domain that the host names. */
export const z02c: DefectCard = {
  id: 'Z02c',
  title: "A stream is detached through another domain's id (stage 2)",
  kind: 'CVE',
  upstream: {
    commits: ['3af14d2057f2', 'a47e0e78ad5b'],
    cve: 'CVE-2026-0027',
    reference:
      'detach_dev accepted any stage-2 domain for any stage-2 stream. The repair compares STE.S2VMID with the ' +
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
      function: 'detachS2',
      before: "  if (steVmid(h, ste) !== id) return err('EACCES');",
      after: '',
    },
  ],
};
