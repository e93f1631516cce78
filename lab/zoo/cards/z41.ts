import type { DefectCard } from '../card.ts';

/** A stream that is attached is attached again. */
export const z41: DefectCard = {
  id: 'Z41',
  title: 'A second table of descriptors over the first',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference:
      'A stage-1 attach with PASID 0 did not ask whether the stream had an entry. A later version answers ' + '-EBUSY.',
  },
  breaks: 'A stream has one domain.',
  attack:
    'The host attaches a stream a second time: the first table of descriptors is lost, the reference of the ' +
    'first domain is never dropped, and the entry changes under the eyes of the hardware.',
  profile: 'android16',
  cpus: 1,
  machine: 'tiny',
  property: 'spec',
  edits: [
    { file: 'hyp/attach.ts', function: 'attachS1', before: "    if (first !== 0) return err('EBUSY');", after: '' },
  ],
};
