import type { DefectCard } from '../card.ts';

/** A donation that lacks memory for tables stops the hypervisor. */
export const z60: DefectCard = {
  id: 'Z60',
  title: 'A lack of memory stops the hypervisor',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'A failure to change a stage 2 when pages are shared or donated was a warning, which is a panic of EL2. A ' +
      'posted series hands the error on.',
  },
  breaks: 'No call of the host stops the hypervisor.',
  attack: 'The host takes back all memory of the heap and gives a page to a guest: the machine stops.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/guest-memory.ts',
      function: 'donateToGuest',
      before: '  if (result !== 0) return result;',
      after: [
        "  if (result === err('ENOMEM')) throw new Error('WARN: the stage 2 of a guest could not be changed');",
        '  if (result !== 0) return result;',
      ].join('\n'),
    },
  ],
};
