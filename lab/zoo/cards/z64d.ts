import type { DefectCard } from '../card.ts';

/** A stage-2 entry is written over whatever entry the stream has. */
export const z64d: DefectCard = {
  id: 'Z64d',
  title: 'A second domain on one stream',
  kind: 'CLS',
  upstream: {
    commits: [],
    reference:
      'An entry that is valid must be taken out of use before another one takes its place, and its domain must ' +
      'lose a reference.',
  },
  breaks: 'A stream has one domain.',
  attack:
    'The host attaches a stream to a second domain: the first one can never be freed, and the entry changes ' +
    'under the eyes of the hardware.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'invalidation',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'attachS2',
      before: "  if (steLo(h, ste, 0) !== 0 || pasid !== 0) return err('EBUSY');",
      after: "  if (pasid !== 0) return err('EBUSY');",
    },
  ],
};
