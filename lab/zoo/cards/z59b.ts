import type { DefectCard } from '../card.ts';

/** A page shared with a VM that is not protected is reclaimed as if it had been donated. */
export const z59b: DefectCard = {
  id: 'Z59b',
  title: 'A shared page is reclaimed like a donated one',
  kind: 'FIX',
  upstream: {
    commits: ['5e53354595c3'],
    reference:
      'Pages of VMs that are not protected were reclaimed wrongly. Modelled where pages of dying VMs are ' +
      'reclaimed: shared ones are taken, too. The commit is known by its title; how it went wrong is inferred.',
  },
  breaks: 'What is recorded of a page is what the calls have made of it.',
  attack:
    'The host reclaims a page that was shared: the hypervisor zeroes memory in use, and its records and the ' +
    'identity domain fall apart.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'panic',
  edits: [
    {
      file: 'hyp/guest-memory.ts',
      function: 'reclaimGuestPages',
      before: "    result = isProtected(h, vm) ? yield* checkGuest(h, vm, ipa, pages, PageState.owned) : err('EPERM');",
      after:
        '    result = yield* checkGuest(h, vm, ipa, pages, isProtected(h, vm) ? PageState.owned : PageState.sharedBorrowed);',
    },
  ],
};
