import type { DefectCard } from '../card.ts';

/** What became of a switch of power is dropped. */
export const z55b: DefectCard = {
  id: 'Z55b',
  title: 'A failed switch of power is reported as done',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference: 'hvc_pd returned 0 whatever its operation had returned.',
  },
  breaks: 'A call that failed says so.',
  attack: 'The host takes an SMMU for switched that does not exist, or did not answer.',
  profile: 'android17',
  cpus: 1,
  machine: 'switched',
  property: 'spec',
  edits: [
    {
      file: 'hyp/entry/android17.ts',
      function: 'enterAndroid17',
      before: '      setNumber(x, 1, yield* switchPower(h, u64(h, 1), u64(h, 2) !== 0));',
      after: ['      yield* switchPower(h, u64(h, 1), u64(h, 2) !== 0);', '      setNumber(x, 1, 0);'].join('\n'),
    },
  ],
};
