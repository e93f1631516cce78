import type { DefectCard } from '../card.ts';

/** A device goes to a guest although the host still has its registers. */
export const z53a: DefectCard = {
  id: 'Z53a',
  title: 'The host is believed to have given up the registers',
  kind: 'FIX',
  upstream: {
    commits: ['c96ce3cae8c3', '78f955ff4d18'],
    reference:
      'Requests of paravirtual IOMMUs and for power trusted what the host had answered. Modelled where a device ' +
      'goes to a guest: that the host has given up its registers is taken for granted. The commit is known by ' +
      'its title; how it went wrong is inferred.',
  },
  breaks: "A device that is a guest's is nobody else's.",
  attack:
    'The host keeps the registers of a device that a guest takes for its own, and programs it to read and ' +
    'write the memory of the guest.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'spec',
  edits: [
    {
      file: 'hyp/assign.ts',
      function: 'checkGiven',
      before: "    if ((yield* hostStage2Owner(h, pa)) !== OwnerId.hyp) result = err('EPERM');",
      after: "    if ((yield* hostStage2Owner(h, pa)) === OwnerId.guest) result = err('EPERM');",
    },
  ],
};
