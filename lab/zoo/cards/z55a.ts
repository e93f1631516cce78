import type { DefectCard } from '../card.ts';

/** An SMMU counts as on although it was not started again. */
export const z55a: DefectCard = {
  id: 'Z55a',
  title: 'An SMMU counts as on before it is',
  kind: 'DIFF',
  upstream: {
    commits: [],
    reference: 'Switching power on cleared the mark that the SMMU is off before it had been started again.',
  },
  breaks: 'The record of an SMMU says what the SMMU does.',
  attack:
    'The host switches the SMMU on and unmaps: commands go to an SMMU that does not read them, and what was ' +
    'blocked is not.',
  profile: 'android17',
  cpus: 1,
  machine: 'switched',
  property: 'structure',
  edits: [
    {
      file: 'hyp/power.ts',
      function: 'powerOn',
      before: '  const result = yield* resetSmmu(h, smmu);',
      after: '  const result = 0;',
    },
  ],
};
