import type { DefectCard } from '../card.ts';

/** A stage-1 detach takes a stage-2 entry for one with context descriptors. */
export const z02a: DefectCard = {
  id: 'Z02a',
  title: 'Detach mistakes the kind of a stream',
  kind: 'CVE',
  upstream: {
    commits: ['3af14d2057f2', 'a47e0e78ad5b'],
    cve: 'CVE-2026-0027',
    reference:
      'detach_dev looked at the type of the domain that the host named, never at the entry of the stream. The ' +
      'repair compares STE.Config first.',
  },
  breaks: 'What is detached is what was attached.',
  attack:
    'The host detaches a stage-2 stream through a stage-1 domain: the hypervisor follows words of the entry ' +
    'that are no table of descriptors, and frees what they lead to.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'detachS1',
      before: "  if (steConfig(steLo(h, ste, 0)) !== STE_CONFIG_S1) return err('EACCES');",
      after: '',
    },
  ],
};
