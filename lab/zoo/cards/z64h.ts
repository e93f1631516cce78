import type { DefectCard } from '../card.ts';

/** Sharing a page with a guest does not look at the DMA references of the page. */
export const z64h: DefectCard = {
  id: 'Z64h',
  title: 'A page is shared while it is mapped',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference:
      'The copy of the source that was read does not test the count when a page is shared with a guest that is ' +
      'not protected, against the intent that its own comment states.',
  },
  breaks: "A page that leaves the host's sole ownership is out of reach of its devices.",
  attack: 'The host maps a page for DMA and shares it with a guest, which reads what the device writes.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    {
      file: 'hyp/guest-memory.ts',
      function: 'shareWithGuest',
      before: "    if (state === PageState.owned && refcountOf(record) !== 0) return err('EINVAL');",
      after: '',
    },
  ],
};
