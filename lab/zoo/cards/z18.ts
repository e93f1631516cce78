import type { DefectCard } from '../card.ts';

/** set_identity(off) of a stream without identity returns with the lock of the SMMU held. */
export const z18: DefectCard = {
  id: 'Z18',
  title: 'An error path keeps a lock',
  kind: 'FIX',
  upstream: {
    commits: ['fa5b8cf412e8'],
    reference: 'set_identity(off) returned -EINVAL without releasing the lock. The repair releases it.',
  },
  breaks: 'No lock is held when a call has returned.',
  attack:
    'The host switches identity off where it is not on, once: every later call about that SMMU waits for ' + 'ever.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  property: 'lock',
  edits: [
    {
      file: 'hyp/set-identity.ts',
      function: 'setEntry',
      before: '  if (ste !== 0) result = on ? yield* turnOn(h, iommu, sid, ste) : yield* turnOff(h, smmu, sid, ste);',
      after: [
        '  if (ste !== 0) result = on ? yield* turnOn(h, iommu, sid, ste) : yield* turnOff(h, smmu, sid, ste);',
        "  if (!on && result === err('EINVAL')) return result;",
      ].join('\n'),
    },
  ],
};
