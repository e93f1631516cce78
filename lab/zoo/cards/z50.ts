import type { DefectCard } from '../card.ts';

/** Room in the command queue is waited for without telling the hardware what is in it. */
export const z50: DefectCard = {
  id: 'Z50',
  title: 'A batch larger than the queue never ends',
  kind: 'SRC',
  upstream: {
    commits: [],
    reference:
      'The shadow queue has fewer entries than the queue of the host may have: waiting for room for a batch ' +
      'that is larger can never succeed, and ends in a warning, which is a panic. Modelled with the queue of ' +
      'the hypervisor and a batch of invalidations larger than it.',
  },
  breaks: 'A call of the host ends.',
  attack:
    'The host unmaps more pages at once than the queue has entries: the hypervisor waits in vain, and what it ' +
    'unmapped stays lost.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'refcount',
  edits: [
    { file: 'hyp/smmu.ts', function: 'waitForRoom', before: '  yield* publishCommands(h, smmu, producer);', after: '' },
  ],
};
