import type { DefectCard } from '../card.ts';

/** A transition does not look at the DMA references of a page. */
export const z64e: DefectCard = {
  id: 'Z64e',
  title: 'A page is given away while it is mapped',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference: "Every transition out of the host's sole ownership must refuse pages that devices may reach.",
  },
  breaks: 'A page that leaves the host is out of reach of its devices.',
  attack:
    'The host maps a page for DMA and gives it to a guest: its device reads and writes the memory of the ' + 'guest.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'isolation',
  edits: [
    {
      file: 'hyp/ownership.ts',
      function: 'checkHost',
      before: "    if (unreferenced && refcountOf(record) !== 0) return err('EINVAL');",
      after: '',
    },
  ],
};
