import type { DefectCard } from '../card.ts';

/** Room for more PASIDs than a table can have stops the hypervisor. */
export const z49: DefectCard = {
  id: 'Z49',
  title: 'The host chooses an order that nobody has',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'pasid_bits comes from the host and decides the order of an allocation; one that is too large ends in a ' +
      'warning, which is a panic of EL2.',
  },
  breaks: 'No call of the host stops the hypervisor.',
  attack: 'The host attaches a stream with room for 2^12 PASIDs: the machine stops.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'panic',
  edits: [
    {
      file: 'hyp/attach.ts',
      function: 'attachFirst',
      before: "  if (!isCdTableSize(bits)) return err('E2BIG');",
      after:
        '  if (!isCdTableSize(bits)) throw new Error(`BUG: no allocation has the order of 2^${bits} descriptors`);',
    },
  ],
};
