import type { DefectCard } from '../card.ts';

/** The mark that memory is missing is never taken back. */
export const z22a: DefectCard = {
  id: 'Z22a',
  title: 'Memory goes on being asked for',
  kind: 'FIX',
  upstream: {
    commits: ['68d34e715b21'],
    reference:
      'The flag that a pool of blocks is exhausted was never cleared. Modelled with the mark that says the same ' +
      'here: the request of a CPU, which stays when it has been told. The commit is known by its title; how it ' +
      'went wrong is inferred.',
  },
  breaks: 'Memory is asked for when some is missing.',
  attack:
    'After one shortage every call asks for memory again: a host that tops up as it is told gives away all it ' +
    'has, and no call ever counts as done.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'unchanged',
  edits: [{ file: 'hyp/request.ts', function: 'moveRequest', before: '  yield* empty(h, at);', after: '' }],
};
