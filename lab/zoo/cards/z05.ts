import type { DefectCard } from '../card.ts';

/** The host is told that a page is not its own after the page has been mapped for it. */
export const z05: DefectCard = {
  id: 'Z05',
  title: 'The check of an access comes after the access',
  kind: 'CVE',
  upstream: {
    commits: [],
    cve: 'CVE-2023-21264',
    reference:
      'A check of what memory the host may use stood in the wrong place of mem_protect.c. Modelled where the ' +
      "host's stage 2 grows on demand: the owner is looked at after the entry was written.",
  },
  breaks: 'The stage 2 of the host has only pages of the host.',
  attack:
    'The host touches a page of the hypervisor twice: the first access faults and maps it, the second one ' +
    'goes through.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'ownership',
  edits: [
    {
      file: 'hyp/host-stage2.ts',
      function: 'mapHostOnDemand',
      before: "  if (lo !== 0) return err('EPERM');",
      after: '',
    },
    {
      file: 'hyp/host-stage2.ts',
      function: 'mapHostOnDemand',
      before: ['  yield* writeEntry(h, at, hi, pa | attributes | VALID | (asBlock ? 0 : PAGE));', '  return 0;'].join(
        '\n',
      ),
      after: [
        '  yield* writeEntry(h, at, hi, pa | attributes | VALID | (asBlock ? 0 : PAGE));',
        "  return lo !== 0 ? err('EPERM') : 0;",
      ].join('\n'),
    },
  ],
};
