import type { DefectCard } from '../card.ts';

/** A nested attach does not ask whose the device is. */
export const z11: DefectCard = {
  id: 'Z11',
  title: 'A nested attach takes the device of a guest',
  kind: 'FIX',
  upstream: {
    commits: ['d518f4cc29a9'],
    reference:
      'attach_dev_nested did not look at the context of the device. The repair does, before anything else. Here ' +
      'the driver refuses nested translation in the end, so that the answer is all that differs.',
  },
  breaks: "A device that is a guest's is nobody else's.",
  attack:
    'The host attaches a device that was given to a guest to tables of its own, and reads what the guest has ' +
    'it do.',
  profile: 'android17',
  cpus: 1,
  machine: 'two-smmus',
  property: 'spec',
  edits: [
    {
      file: 'hyp/nested.ts',
      function: 'attachDevNested',
      before: [
        '  let result = yield* getDeviceContext(h, iommu, endpoint, HOST_OWNER);',
        '  if (result < 0) return result;',
        '  result = yield* pinSharedRange(h, descriptor, size);',
      ].join('\n'),
      after: '  let result = yield* pinSharedRange(h, descriptor, size);',
    },
    {
      file: 'hyp/nested.ts',
      function: 'attachDevNested',
      before: '  yield* putDeviceContext(h, iommu, endpoint);',
      after: '',
    },
  ],
};
