import type { DefectCard } from '../card.ts';

/** Nothing orders the entries of the command queue before the index that makes the hardware read them. */
export const z56: DefectCard = {
  id: 'Z56',
  title: 'Old commands are executed in place of new ones',
  kind: 'FIX',
  upstream: {
    commits: ['411db8809dba'],
    reference: 'There was no barrier between the write of a queue entry and the write of PROD.',
  },
  breaks: 'The hardware executes the commands that were issued.',
  attack:
    'The hardware reads the entry before the store is visible, and executes what stood there a round ago: the ' +
    'invalidation that was waited for has not been done.',
  profile: 'android17',
  cpus: 1,
  machine: 'tiny',
  interleaved: 'stores',
  property: 'commands',
  edits: [
    { file: 'hyp/smmu.ts', function: 'publishCommands', before: "  yield { kind: 'barrier', at: smmu };", after: '' },
  ],
};
