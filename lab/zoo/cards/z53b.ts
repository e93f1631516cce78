import type { DefectCard } from '../card.ts';

/** A device goes to a guest although a domain of the host is attached to it. */
export const z53b: DefectCard = {
  id: 'Z53b',
  title: 'The host is believed to have detached the device',
  kind: 'FIX',
  upstream: {
    commits: ['c96ce3cae8c3', '78f955ff4d18'],
    reference:
      'Requests of paravirtual IOMMUs and for power trusted what the host had answered. Modelled where a device ' +
      'goes to a guest: that the host has blocked its streams is taken for granted. The commit is known by its ' +
      'title; how it went wrong is inferred.',
  },
  breaks: "A device that is a guest's uses no memory of anybody else.",
  attack:
    'The host leaves a domain of its own attached to a device that a guest takes for its own: what the guest ' +
    'has the device do goes through tables of the host.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'spec',
  edits: [
    {
      file: 'hyp/assign.ts',
      function: 'checkBlocked',
      before: "    result = steLo(h, ste, 0) !== 0 ? err('EINVAL') : yield* syncSte(h, smmu, sid, true);",
      after: '    result = yield* syncSte(h, smmu, sid, true);',
    },
  ],
};
