import type { DefectCard } from '../card.ts';

/** A page that one guest gives up counts as the host's alone, although another guest has it too. */
export const z59a: DefectCard = {
  id: 'Z59a',
  title: 'A shared page is taken back too early',
  kind: 'FIX',
  upstream: {
    commits: ['5e53354595c3'],
    reference:
      'Pages of VMs that are not protected were reclaimed wrongly. Modelled where sharing ends: the number of ' +
      'those who share is not looked at. The commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'What is recorded of a page is what the calls have made of it.',
  attack:
    'The host shares a page with two guests, takes it back from one of them, and donates it to a third: the ' +
    'other one still has it.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'ownership',
  edits: [
    {
      file: 'hyp/guest-memory.ts',
      function: 'unshareGuest',
      before: '      if ((yield* addShare(h, pa, -1)) === 0) yield* setHost(h, pa, 1, PageState.owned);',
      after: ['      yield* addShare(h, pa, -1);', '      yield* setHost(h, pa, 1, PageState.owned);'].join('\n'),
    },
  ],
};
