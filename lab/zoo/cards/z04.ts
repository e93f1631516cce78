import type { DefectCard } from '../card.ts';

/** Transitions do not ask whether a page is RAM. */
export const z04: DefectCard = {
  id: 'Z04',
  title: 'What is not RAM may change hands',
  kind: 'CVE',
  upstream: {
    commits: [],
    cve: 'CVE-2026-0032',
    reference:
      'Sharing was allowed for addresses outside RAM, for which the vmemmap has no record. The repair admits ' +
      'RAM only.',
  },
  breaks: 'Only pages of RAM have records that transitions read and write.',
  attack:
    'The host shares an address where there is no RAM: the hypervisor reads and writes a record that is not ' +
    'in the vmemmap.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/ownership.ts',
      function: 'checkHost',
      before: "  if (!isRamRange(h, pa, pages)) return err('EINVAL');",
      after: '',
    },
  ],
};
